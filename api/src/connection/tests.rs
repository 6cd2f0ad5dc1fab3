//! The rules of one connection, with a pipe for a socket.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::collections::VecDeque;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Hands out these pipes, one after the other.
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

fn connection(idle_timeout: Duration) -> (Connection<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(1_024);
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    (Connection::new(near, permit, idle_timeout), far)
}

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_connection_beyond_the_bound_is_accepted_once_another_has_ended() {
    let (first, _far) = duplex(1);
    let (second, _other_far) = duplex(1);
    let mut acceptor = Bounded::new(Pipes([first, second].into()), 1, LONG);
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
async fn a_silent_client_is_let_go() {
    let (mut connection, _far) = connection(SHORT);
    assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_request_that_never_ends_is_let_go() {
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
async fn a_client_that_takes_no_answer_is_let_go() {
    let (mut connection, _far) = connection(SHORT);
    assert_eq!(connection.write_all(&[0; 4_096]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn the_beginning_of_a_request_and_its_answer_give_more_time_and_further_bytes_do_not() {
    let (mut connection, mut far) = connection(LONG);
    let accepted = connection.end.deadline();
    far.write_all(b"??").await.unwrap();
    connection.read_u8().await.unwrap();
    let begun = connection.end.deadline();
    assert!(begun > accepted);
    connection.read_u8().await.unwrap();
    assert_eq!(connection.end.deadline(), begun);
    connection.write_u8(b'!').await.unwrap();
    let answered = connection.end.deadline();
    assert!(answered > begun);
    far.write_u8(b'?').await.unwrap();
    connection.read_u8().await.unwrap();
    assert!(connection.end.deadline() > answered);
}

#[test]
fn the_limit_of_open_files_is_read_from_the_systems_table() {
    let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             127000               127000               processes \n\
                 Max open files            1024                 524288               files     \n";
    assert_eq!(descriptors_max(table), Some(1_024));
    assert_eq!(descriptors_max("Max open files            unlimited            unlimited            files"), None);
    assert_eq!(descriptors_max(""), None);
}
