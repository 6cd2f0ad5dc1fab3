//! Limit and timeouts of connections, over in-memory pipes.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::collections::VecDeque;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// An acceptor that yields these pipes in order.
struct Pipes(VecDeque<DuplexStream>);

impl Acceptor for Pipes {
    type Io = DuplexStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        Vec::new()
    }

    fn accept(&mut self) -> impl Future<Output = io::Result<(DuplexStream, LocalAddr, RemoteAddr, Scheme)>> + Send {
        let pipe = self.0.pop_front().ok_or(io::ErrorKind::ConnectionAborted.into());
        ready(pipe.map(|pipe| (pipe, LocalAddr::default(), RemoteAddr::default(), Scheme::HTTP)))
    }
}

fn timeouts(timeout: Duration) -> Timeouts {
    Timeouts { idle: timeout, head: timeout, answer: timeout }
}

fn exchange() -> Exchange {
    Exchange::new(Places::new(1, 1).take(Peer::Proxy).unwrap())
}

fn connection(timeout: Duration) -> (Connection<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(1_024);
    (Connection::new(near, exchange(), timeouts(timeout)), far)
}

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_connection_beyond_the_limit_is_accepted_once_another_has_ended() {
    let (first, _far) = duplex(1);
    let (second, _other_far) = duplex(1);
    let pipes = Pipes([first, second].into());
    let mut acceptor = LimitedAcceptor::new(pipes, Places::new(1, 1), Vec::new(), timeouts(LONG));
    let held = acceptor.accept().await.unwrap();
    let served = held.0.exchange().begin();
    {
        let mut next = pin!(acceptor.accept());
        assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop((held, served));
        next.await.unwrap();
    }
    assert!(acceptor.inner.0.is_empty());
}

#[tokio::test]
async fn a_connection_beyond_its_peers_limit_is_told_so() {
    let (first, _far) = duplex(1_024);
    let (second, mut refused) = duplex(1_024);
    let pipes = Pipes([first, second].into());
    let mut acceptor = LimitedAcceptor::new(pipes, Places::new(9, 1), Vec::new(), timeouts(LONG));
    let _held = acceptor.accept().await.unwrap();
    // The pipes are at their end.
    assert!(acceptor.accept().await.is_err());
    let mut answer = String::new();
    refused.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("too_many_connections"), "{answer}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_answered_with_a_problem() {
    let (near, mut far) = duplex(1_024);
    let mut connection = Connection::new(near, exchange(), Timeouts { head: SHORT, ..timeouts(LONG) });
    far.write_all(b"GET / HTTP/1.1\r\nHost: bur").await.unwrap();
    let mut head = Vec::new();
    assert_eq!(connection.read_to_end(&mut head).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(connection);
    let mut answer = String::new();
    far.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"head_timeout\""), "{answer}");
}

#[tokio::test]
async fn an_empty_answer_to_a_bad_head_becomes_a_problem() {
    let (mut connection, mut far) = connection(LONG);
    far.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    connection.read_u8().await.unwrap();
    let empty = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(connection.write(empty).await.unwrap(), empty.len());
    let mut answer = String::new();
    drop(connection);
    far.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("\"head_too_large\""), "{answer}");
    assert!(!answer.contains("content-length: 0"), "{answer}");
}

#[tokio::test]
async fn a_request_that_is_served_answers_for_itself() {
    let (mut connection, mut far) = connection(LONG);
    far.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    connection.read_u8().await.unwrap();
    let served = connection.exchange().begin();
    let own = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    connection.write_all(own).await.unwrap();
    drop((served, connection));
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, own);
}

#[tokio::test]
async fn when_the_server_stops_an_idle_connection_ends_and_a_request_that_came_is_read() {
    let (mut connection, mut far) = connection(LONG);
    far.write_all(b"GET").await.unwrap();
    connection.exchange().close_idle_at(Instant::now());
    let mut head = [0; 3];
    connection.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"GET");
    let served = connection.exchange().begin();
    connection.write_all(b"an answer").await.unwrap();
    drop(served);
    connection.write_all(b", its end").await.unwrap();
    connection.flush().await.unwrap();
    assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_silent_client_is_disconnected() {
    let (mut connection, _far) = connection(SHORT);
    assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_client_whose_request_never_ends_is_disconnected() {
    let (mut connection, mut far) = connection(SHORT);
    let drip = tokio::spawn(async move {
        while far.write_u8(b'x').await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    while connection.read_u8().await.is_ok() {}
    drop(connection);
    drip.await.unwrap();
}

#[tokio::test]
async fn a_client_that_reads_no_answer_is_disconnected() {
    let (mut connection, _far) = connection(SHORT);
    assert_eq!(connection.write_all(&[0; 4_096]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn the_first_byte_of_a_request_and_its_answer_extend_the_timer() {
    let (mut connection, mut far) = connection(LONG);
    let accepted = connection.idle_until;
    far.write_all(b"??").await.unwrap();
    connection.read_u8().await.unwrap();
    let begun = connection.idle_until;
    assert!(begun > accepted);
    connection.read_u8().await.unwrap();
    assert_eq!(connection.idle_until, begun);
    drop(connection.exchange().begin());
    connection.write_u8(b'!').await.unwrap();
    let answered = connection.idle_until;
    assert!(answered > begun);
    far.write_u8(b'?').await.unwrap();
    connection.read_u8().await.unwrap();
    assert!(connection.idle_until > answered);
}

#[tokio::test]
async fn a_slow_reader_gets_more_time_only_for_the_bytes_it_reads() {
    let (near, mut far) = duplex(1_024);
    let mut connection = Connection::new(near, exchange(), Timeouts { idle: LONG * 2, head: LONG, answer: LONG });
    let answer = [0; 64 * 1_024];
    let begun = Instant::now();
    // A write that succeeds at once leaves the idle timeout; one that stalls starts the answer timeout.
    assert_eq!(connection.write(&answer).await.unwrap(), 1_024);
    assert!(connection.idle_until >= begun + LONG * 2);
    assert!(pin!(connection.write(&answer)).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let stalled = connection.idle_until;
    assert!(stalled < begun + LONG * 2);
    for taken in 1..=3 {
        far.read_exact(&mut [0; 512]).await.unwrap();
        assert_eq!(connection.write(&answer).await.unwrap(), 512);
        let earned = Duration::from_secs(1) * 512 * taken / ANSWER_RATE_MIN;
        assert_eq!(connection.idle_until, stalled + earned);
    }
    // The end of an answer gives time for the next request.
    far.read_exact(&mut [0; 1_024]).await.unwrap();
    connection.write_all(&answer[..512]).await.unwrap();
    assert!(connection.idle_until >= begun + LONG * 2);
}

#[tokio::test]
async fn a_client_that_still_sends_can_read_the_last_answer() {
    let (mut connection, mut far) = connection(LONG);
    let sending = tokio::spawn(async move {
        far.write_all(&[0; 100 * 1_024]).await.unwrap();
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        answer
    });
    connection.write_all(b"no").await.unwrap();
    connection.shutdown().await.unwrap();
    drop(connection);
    assert_eq!(sending.await.unwrap(), b"no");
}

#[tokio::test]
async fn a_client_that_keeps_sending_after_the_last_answer_is_cut_off() {
    let (mut connection, mut far) = connection(LONG);
    let sending = tokio::spawn(async move { while far.write_all(&[0; 1_024]).await.is_ok() {} });
    connection.shutdown().await.unwrap();
    drop(connection);
    sending.await.unwrap();
}
