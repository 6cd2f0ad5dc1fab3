//! A minimal Postgres client that checks whether a server accepts queries.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long one answer may take before the server counts as not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// Logs in as `postgres` and waits until the server is ready for a query. A recovering server accepts the connection
/// but answers with an error.
pub(crate) fn takes_queries(port: u16) -> bool {
    login(port).unwrap_or(false)
}

fn login(port: u16) -> io::Result<bool> {
    const PROTOCOL_3_0: i32 = 196_608;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;

    let mut body = PROTOCOL_3_0.to_be_bytes().to_vec();
    body.extend(b"user\0postgres\0database\0postgres\0\0");
    stream.write_all(&with_length(&body))?;
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u64::from(u32::from_be_bytes(length)).saturating_sub(4);
        io::copy(&mut (&mut stream).take(length), &mut io::sink())?;
        match kind {
            b'Z' => break,
            b'E' => return Ok(false),
            _ => {}
        }
    }
    stream.write_all(b"X\0\0\0\x04")?;
    Ok(true)
}

/// Prepends the length, which includes itself.
fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a startup message is short");
    [&length.to_be_bytes(), body].concat()
}
