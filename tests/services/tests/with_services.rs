//! Tests of the program `with-services`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use bursar_services::ScratchDir;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Prints both URLs, one on each line.
const SHOW: &str = r#"printf '%s\n' "$BURSAR_TEST_DATABASE_URL" "$BURSAR_TEST_AMQP_URL""#;

/// The program without the variables that the test run may have, and with `dir` for its temporary files.
fn with_services(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_with-services"));
    command.env_remove("BURSAR_TEST_DATABASE_URL").env_remove("BURSAR_TEST_AMQP_URL").env("TMPDIR", dir);
    command
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Whether something listens on the port that a URL names.
fn answers(url: &str) -> bool {
    let address = url.rsplit('@').next().unwrap();
    TcpStream::connect(address.split('/').next().unwrap()).is_ok()
}

#[test]
fn the_command_gets_both_servers_and_its_exit_code_comes_back() {
    let scratch = ScratchDir::new("with-services-test").unwrap();
    let output = with_services(scratch.path()).args(["--", "sh", "-c", &format!("{SHOW}; exit 7")]).output().unwrap();
    assert_eq!(output.status.code(), Some(7));

    let urls = lines(&output);
    assert!(urls[0].starts_with("postgres://postgres@127.0.0.1:"));
    assert!(urls[0].ends_with("/postgres"));
    assert!(urls[1].starts_with("amqp://guest:guest@127.0.0.1:"));
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(report.contains(&urls[0]) && report.contains(&urls[1]));

    assert!(!answers(&urls[0]) && !answers(&urls[1]));
    assert_eq!(entries(scratch.path()), 0);
}

#[test]
fn given_servers_are_passed_on_and_none_is_started() {
    let scratch = ScratchDir::new("with-services-test").unwrap();
    let output = with_services(scratch.path())
        .env("BURSAR_TEST_DATABASE_URL", "postgres://me:secret@db/test")
        .env("BURSAR_TEST_AMQP_URL", "amqp://broker/%2f")
        .args(["sh", "-c", &format!("{SHOW}; ls \"$TMPDIR\"")])
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(lines(&output), ["postgres://me:secret@db/test", "amqp://broker/%2f"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
}

#[test]
fn a_killed_program_leaves_no_servers_or_files() {
    let scratch = ScratchDir::new("with-services-test").unwrap();
    let mut program = with_services(scratch.path())
        // One server suffices, and this one starts quickly.
        .env("BURSAR_TEST_AMQP_URL", "amqp://broker/%2f")
        // The command runs until its input ends, at the latest with this test.
        .args(["sh", "-c", &format!("{SHOW}; cat")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _input = program.stdin.take();
    let output = BufReader::new(program.stdout.take().unwrap());
    let url = output.lines().next().unwrap().unwrap();
    assert!(answers(&url));

    program.kill().unwrap();
    program.wait().unwrap();
    let started = Instant::now();
    while answers(&url) || entries(scratch.path()) > 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}
