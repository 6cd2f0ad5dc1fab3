//! Tests of the private Postgres cluster.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use bursar_services::{Error, Postgres, ScratchDir};
use std::net::TcpStream;
use std::path::Path;

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_restarted_postgres_keeps_its_data_and_its_port() {
    let scratch = ScratchDir::new("postgres-test").unwrap();
    let mut postgres = Postgres::start(&scratch.path().join("cluster")).unwrap();
    let url = postgres.create_database("ledger").unwrap();
    let first = postgres.pid().unwrap();

    postgres.restart().unwrap();
    assert_ne!(postgres.pid(), Some(first));
    assert!(!runs(first));
    assert_eq!(postgres.url("ledger"), url);
    let again = postgres.create_database("ledger").unwrap_err();
    assert!(again.to_string().contains("already exists"), "{again}");
}

#[test]
fn a_stopped_postgres_answers_nobody_until_it_is_started_again() {
    let scratch = ScratchDir::new("postgres-test").unwrap();
    let mut postgres = Postgres::start(&scratch.path().join("cluster")).unwrap();
    let address = ("127.0.0.1", postgres.port());

    postgres.stop().unwrap();
    assert_eq!(postgres.pid(), None);
    assert!(TcpStream::connect(address).is_err());
    assert!(matches!(postgres.create_database("ledger"), Err(Error::Failed { .. })));

    postgres.start_again().unwrap();
    postgres.create_database("ledger").unwrap();
}

#[test]
fn a_dropped_postgres_leaves_no_process_and_its_data_can_be_used_again() {
    let scratch = ScratchDir::new("postgres-test").unwrap();
    let dir = scratch.path().join("cluster");
    let first = Postgres::start(&dir).unwrap();
    first.create_database("ledger").unwrap();
    let pid = first.pid().unwrap();
    drop(first);
    assert!(!runs(pid));

    let second = Postgres::start(&dir).unwrap();
    assert!(second.create_database("ledger").is_err());
}
