//! Tests of the private SMTP server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use bursar_services::{Exim, ScratchDir};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Sends SMTP commands line by line; returns the codes of the answers.
fn speak(exim: &Exim, lines: &[&str]) -> Vec<String> {
    let url = exim.url();
    let mut stream = TcpStream::connect(url.strip_prefix("smtp://").unwrap()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut answer = || loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.as_bytes().get(3) != Some(&b'-') {
            return line.chars().take(3).collect();
        }
    };
    let mut codes = vec![answer()];
    for line in lines {
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        codes.push(answer());
    }
    codes
}

#[test]
fn mail_is_put_into_files_and_some_addresses_are_refused() {
    let scratch = ScratchDir::new("exim-test").unwrap();
    let mut exim = Exim::start(&scratch.path().join("exim")).unwrap();
    let from = "MAIL FROM:<a@example.com>";
    let codes = speak(
        &exim,
        &[
            "EHLO example.com",
            from,
            "RCPT TO:<unknown@example.com>",
            "RCPT TO:<busy@example.com>",
            "RCPT TO:<ada@example.com>",
            "DATA",
            "Subject: hello\r\n\r\nworld\r\n.",
            "QUIT",
        ],
    );
    assert_eq!(codes, ["220", "250", "250", "550", "450", "250", "354", "250", "221"]);
    let started = Instant::now();
    while exim.delivered().unwrap().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "nothing was delivered");
        std::thread::yield_now();
    }
    let delivered = exim.delivered().unwrap();
    assert_eq!(delivered.len(), 1);
    assert!(delivered[0].contains("Envelope-to: ada@example.com"), "{}", delivered[0]);

    exim.stop().unwrap();
    assert!(TcpStream::connect(exim.url().strip_prefix("smtp://").unwrap()).is_err());
    exim.start_again().unwrap();
    assert_eq!(speak(&exim, &["QUIT"]), ["220", "221"]);
}
