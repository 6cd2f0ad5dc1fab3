//! A minimal AMQP 0-9-1 client that checks whether a node accepts clients, and which node it is.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long one answer may take before the node counts as not ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest frame that this client accepts.
const FRAME_MAX: u32 = 131_072;

/// The highest channel number of this client; the node does not allow "unlimited".
const CHANNEL_MAX: u16 = 16;

/// A method: the number of its class, and its own.
pub(crate) type Method = (u16, u16);

const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CLOSE_OK: Method = (10, 51);

/// Logs in as `guest`, opens the default virtual host and leaves. Returns true if all of this works and the node's
/// name is `node`, so that no other broker is mistaken for it.
pub(crate) fn takes_clients(port: u16, node: &str) -> bool {
    Connection::open(port, node).and_then(Connection::close).is_ok()
}

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects to the node called `node`.
    pub(crate) fn open(port: u16, node: &str) -> io::Result<Connection> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Connection { stream };

        connection.stream.write_all(b"AMQP\0\0\x09\x01")?;
        // The node's name is part of the cluster's, one of the server's properties.
        let properties = connection.expect(START)?;
        let name = format!("{node}@");
        if !properties.windows(name.len()).any(|part| part == name.as_bytes()) {
            return Err(io::Error::other("another broker answers"));
        }
        let login = [&long_text(b"")[..], &short_text("PLAIN"), &long_text(b"\0guest\0guest"), &short_text("en_US")];
        connection.send(0, START_OK, &login.concat())?;
        connection.expect(TUNE)?;
        let limits = [&CHANNEL_MAX.to_be_bytes()[..], &FRAME_MAX.to_be_bytes(), &[0, 0]];
        connection.send(0, TUNE_OK, &limits.concat())?;
        let virtual_host = [&short_text("/")[..], &short_text(""), &[0]];
        connection.send(0, OPEN, &virtual_host.concat())?;
        connection.expect(OPEN_OK)?;
        Ok(connection)
    }

    /// Closes the connection in order, so that the node logs no error.
    pub(crate) fn close(mut self) -> io::Result<()> {
        let reason = [&200_u16.to_be_bytes()[..], &short_text("bye"), &[0; 4]];
        self.send(0, CLOSE, &reason.concat())?;
        self.expect(CLOSE_OK)?;
        Ok(())
    }

    /// Sends a method on a channel.
    pub(crate) fn send(&mut self, channel: u16, method: Method, arguments: &[u8]) -> io::Result<()> {
        const METHOD_FRAME: u8 = 1;
        const FRAME_END: u8 = 0xCE;
        let size = u32::try_from(arguments.len() + 4).expect("our methods are short");
        let frame = [
            &[METHOD_FRAME][..],
            &channel.to_be_bytes(),
            &size.to_be_bytes(),
            &method.0.to_be_bytes(),
            &method.1.to_be_bytes(),
            arguments,
            &[FRAME_END],
        ];
        self.stream.write_all(&frame.concat())
    }

    /// Reads one frame, which must be the method `wanted`, and returns its arguments.
    pub(crate) fn expect(&mut self, wanted: Method) -> io::Result<Vec<u8>> {
        let mut head = [0; 11];
        self.stream.read_exact(&mut head)?;
        let [_, _, _, s0, s1, s2, s3, c0, c1, m0, m1] = head;
        let method = (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1]));
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        if method != wanted || size > FRAME_MAX {
            let text = format!("the broker answers {method:?} instead of {wanted:?}");
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        // The size counts the four bytes of the method; one byte ends the frame.
        let mut rest = vec![0; size.saturating_sub(3) as usize];
        self.stream.read_exact(&mut rest)?;
        rest.pop();
        Ok(rest)
    }
}

/// A text with one byte for its length.
pub(crate) fn short_text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("our names are short");
    [&[length], text.as_bytes()].concat()
}

/// Bytes with four bytes for their length; without bytes it is also an empty table.
pub(crate) fn long_text(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("our values are short");
    [&length.to_be_bytes(), bytes].concat()
}
