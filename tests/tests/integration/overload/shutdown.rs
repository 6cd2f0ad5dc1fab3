//! SIGTERM: connections that are in use end in good order.

use super::attack::Target;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// As many as a load balancer keeps open.
const CLIENTS: usize = 32;
const REQUEST: &[u8] = b"GET /api/v1/plans HTTP/1.1\r\nHost: bursar\r\n\r\n";

/// Reads one answer; returns its head, in lower case. `None` if the connection ended before the whole answer.
async fn read_answer(stream: &mut TcpStream) -> Option<String> {
    let mut answer = Vec::new();
    let head_len = loop {
        let byte = stream.read_u8().await.ok()?;
        answer.push(byte);
        if answer.ends_with(b"\r\n\r\n") {
            break answer.len();
        }
    };
    let head = String::from_utf8(answer[..head_len].to_vec()).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(head)
}

/// Sends one request after the other until the server says that it closes the connection. Returns how many were
/// answered; `None` if one was not.
async fn use_up(stream: &mut TcpStream) -> Option<usize> {
    let mut answered = 0;
    loop {
        stream.write_all(REQUEST).await.ok()?;
        let head = read_answer(stream).await?;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        answered += 1;
        if head.contains("\r\nconnection: close\r\n") {
            return Some(answered);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_breaks_none_of_32_connections_in_use() {
    // Longer than one of the clients may wait for its turn on a busy machine.
    let target = Target::start(&[("BURSAR_HTTP__STOP_GRACE_MS", "3000")]).await;
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(target.address).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        read_answer(&mut stream).await.unwrap();
        streams.push(stream);
    }
    let clients = join_all(streams.iter_mut().map(use_up));
    let terminated = async { target.node.terminate(&mut *target.node.lock().await).await.unwrap().unwrap() };
    let (answered, _) = tokio::join!(clients, terminated);
    let broken = answered.iter().filter(|answered| answered.is_none()).count();
    assert_eq!(broken, 0, "of {CLIENTS}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sigterm_idle_connections_are_closed_and_the_server_is_not_ready() {
    let target = Target::start(&[("BURSAR_HTTP__STOP_GRACE_MS", "1000")]).await;
    let mut idle = TcpStream::connect(target.address).await.unwrap();
    idle.write_all(REQUEST).await.unwrap();
    read_answer(&mut idle).await.unwrap();
    let mut unused = TcpStream::connect(target.address).await.unwrap();
    let terminated = async { target.node.terminate(&mut *target.node.lock().await).await.unwrap().unwrap() };
    let probe = async {
        // In the grace time a new connection is answered, and readiness tells load balancers to leave.
        bursar_tests::wait::until("the server is not ready", || async {
            let answer = reqwest::Client::new().get(format!("{}/health/ready", target.node.base)).send().await;
            answer.map_or(Some(()), |answer| (answer.status() == 503).then_some(()))
        })
        .await;
        let mut rest = Vec::new();
        assert_eq!(idle.read_to_end(&mut rest).await.unwrap(), 0);
        assert_eq!(unused.read_to_end(&mut rest).await.unwrap(), 0);
    };
    tokio::join!(terminated, probe);
}
