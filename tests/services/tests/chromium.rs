//! Tests of the private browser.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use bursar_services::{Chromium, ScratchDir};
use std::io::{BufRead, BufReader, Write};

#[test]
fn a_browser_answers_over_its_pipes() {
    let scratch = ScratchDir::new("chromium-test").unwrap();
    let browser = Chromium::start(&scratch.path().join("chromium")).unwrap();
    browser.requests().write_all(b"{\"id\":1,\"method\":\"Browser.getVersion\"}\0").unwrap();
    let mut answer = Vec::new();
    BufReader::new(browser.answers().unwrap()).read_until(0, &mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("\"id\":1") && answer.contains("Chrom"), "{answer}");
}
