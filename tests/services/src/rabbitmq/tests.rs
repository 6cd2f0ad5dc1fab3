//! Crashes and losses of a real node, seen by a client.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use super::RabbitMq;
use crate::ScratchDir;
use crate::amqp::{Connection, long_text, short_text};
use std::io;
use std::path::PathBuf;

const QUEUE: &str = "work";
const DURABLE: u8 = 0b10;
const PASSIVE: u8 = 0b01;

/// Declares the queue, or with [`PASSIVE`] asks for it.
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
fn a_killed_broker_keeps_its_durable_queues_and_a_wiped_one_has_none() {
    let scratch = ScratchDir::new("broker-test").unwrap();
    let mut rabbitmq = RabbitMq::start(&scratch.path().join("node")).unwrap();
    let (url, first) = (rabbitmq.url(), rabbitmq.pid().unwrap());
    assert!(declare(&rabbitmq, PASSIVE).is_err());
    declare(&rabbitmq, DURABLE).unwrap();

    rabbitmq.kill().unwrap();
    assert_eq!(rabbitmq.pid(), None);
    assert!(!proc_entry(first).exists());
    assert!(declare(&rabbitmq, PASSIVE).is_err());
    rabbitmq.start_again().unwrap();
    declare(&rabbitmq, PASSIVE).unwrap();

    rabbitmq.wipe().unwrap();
    assert!(declare(&rabbitmq, PASSIVE).is_err());
    declare(&rabbitmq, DURABLE).unwrap();
    assert_eq!(rabbitmq.url(), url);

    let last = rabbitmq.pid().unwrap();
    let mapper = rabbitmq.mapper.as_ref().unwrap().pid();
    drop(rabbitmq);
    assert!(!proc_entry(last).exists());
    assert!(!proc_entry(mapper).exists());
}

#[test]
fn a_restarted_broker_keeps_its_durable_queues() {
    let scratch = ScratchDir::new("broker-test").unwrap();
    let mut rabbitmq = RabbitMq::start(&scratch.path().join("node")).unwrap();
    declare(&rabbitmq, DURABLE).unwrap();
    rabbitmq.restart().unwrap();
    declare(&rabbitmq, PASSIVE).unwrap();
}
