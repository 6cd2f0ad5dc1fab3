//! Crashes and data losses of a real node, from a client's view.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use super::RabbitMq;
use crate::ScratchDir;
use crate::amqp::{Connection, long_text, short_text};
use std::io;
use std::path::PathBuf;

const QUEUE: &str = "work";
const DURABLE: u8 = 0b10;
const PASSIVE: u8 = 0b01;

/// Declares the queue, or with [`PASSIVE`] checks that it exists.
fn declare(rabbitmq: &RabbitMq, how: u8) -> io::Result<()> {
    let mut connection = Connection::open(rabbitmq.port(), &rabbitmq.name())?;
    connection.send(1, (20, 10), &short_text(""))?;
    connection.expect((20, 11))?;
    let arguments = [&[0, 0][..], &short_text(QUEUE), &[how], &long_text(b"")];
    connection.send(1, (50, 10), &arguments.concat())?;
    connection.expect((50, 11))?;
    connection.close()
}

fn proc_entry(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

#[test]
fn a_broker_that_was_restarted_or_killed_keeps_its_queues_and_its_port() {
    let scratch = ScratchDir::new("broker-test").unwrap();
    let mut rabbitmq = RabbitMq::start(&scratch.path().join("node")).unwrap();
    let (url, first) = (rabbitmq.url(), rabbitmq.pid().unwrap());
    assert!(declare(&rabbitmq, PASSIVE).is_err());
    declare(&rabbitmq, DURABLE).unwrap();
    // In order first: a broker stores a new queue shortly after confirming it, and loses it if it is killed in
    // between.
    rabbitmq.restart().unwrap();
    assert!(!proc_entry(first).exists());
    declare(&rabbitmq, PASSIVE).unwrap();

    let second = rabbitmq.pid().unwrap();
    rabbitmq.kill().unwrap();
    assert_eq!(rabbitmq.pid(), None);
    assert!(!proc_entry(second).exists());
    assert!(declare(&rabbitmq, PASSIVE).is_err());
    rabbitmq.start_again().unwrap();
    declare(&rabbitmq, PASSIVE).unwrap();
    assert_eq!(rabbitmq.url(), url);
}

#[test]
fn a_wiped_broker_has_no_queues_and_a_dropped_one_no_processes() {
    let scratch = ScratchDir::new("broker-test").unwrap();
    let mut rabbitmq = RabbitMq::start(&scratch.path().join("node")).unwrap();
    let url = rabbitmq.url();
    declare(&rabbitmq, DURABLE).unwrap();
    rabbitmq.wipe().unwrap();
    assert_eq!(rabbitmq.url(), url);
    assert!(declare(&rabbitmq, PASSIVE).is_err());
    declare(&rabbitmq, DURABLE).unwrap();

    let node = rabbitmq.pid().unwrap();
    let mapper = rabbitmq.mapper.as_ref().unwrap().pid();
    drop(rabbitmq);
    assert!(!proc_entry(node).exists());
    assert!(!proc_entry(mapper).exists());
}
