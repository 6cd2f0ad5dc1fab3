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
    Timeouts { idle: timeout, answer: timeout }
}

fn connection(timeout: Duration) -> (Connection<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(1_024);
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    (Connection::new(near, permit, timeouts(timeout)), far)
}

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_connection_beyond_the_limit_is_accepted_once_another_has_ended() {
    let (first, _far) = duplex(1);
    let (second, _other_far) = duplex(1);
    let mut acceptor = LimitedAcceptor::new(Pipes([first, second].into()), 1, timeouts(LONG));
    let held = acceptor.accept().await.unwrap();
    {
        let mut next = pin!(acceptor.accept());
        assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(held);
        next.await.unwrap();
    }
    assert!(acceptor.inner.0.is_empty());
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
    let accepted = connection.timer.deadline();
    far.write_all(b"??").await.unwrap();
    connection.read_u8().await.unwrap();
    let begun = connection.timer.deadline();
    assert!(begun > accepted);
    connection.read_u8().await.unwrap();
    assert_eq!(connection.timer.deadline(), begun);
    connection.write_u8(b'!').await.unwrap();
    let answered = connection.timer.deadline();
    assert!(answered > begun);
    far.write_u8(b'?').await.unwrap();
    connection.read_u8().await.unwrap();
    assert!(connection.timer.deadline() > answered);
}

#[tokio::test]
async fn a_slow_reader_gets_more_time_only_for_the_bytes_it_reads() {
    let (near, mut far) = duplex(1_024);
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let mut connection = Connection::new(near, permit, Timeouts { idle: LONG * 2, answer: LONG });
    let answer = [0; 64 * 1_024];
    let begun = Instant::now();
    // A write that succeeds at once leaves the idle timeout; one that stalls starts the answer timeout.
    assert_eq!(connection.write(&answer).await.unwrap(), 1_024);
    assert!(connection.timer.deadline() >= begun + LONG * 2);
    assert!(pin!(connection.write(&answer)).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let stalled = connection.timer.deadline();
    assert!(stalled < begun + LONG * 2);
    for taken in 1..=3 {
        far.read_exact(&mut [0; 512]).await.unwrap();
        assert_eq!(connection.write(&answer).await.unwrap(), 512);
        let earned = Duration::from_secs(1) * 512 * taken / ANSWER_RATE_MIN;
        assert_eq!(connection.timer.deadline(), stalled + earned);
    }
    // The end of an answer gives time for the next request.
    far.read_exact(&mut [0; 1_024]).await.unwrap();
    connection.write_all(&answer[..512]).await.unwrap();
    assert!(connection.timer.deadline() >= begun + LONG * 2);
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

#[test]
fn the_limit_of_open_files_is_read_from_the_table_of_limits() {
    let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             127000               127000               processes \n\
                 Max open files            1024                 524288               files     \n";
    assert_eq!(descriptors_max(table), Some(1_024));
    assert_eq!(descriptors_max("Max open files            unlimited            unlimited            files"), None);
    assert_eq!(descriptors_max(""), None);
}
