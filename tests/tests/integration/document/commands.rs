//! Every command that a document tells somebody to type is one of the program.

use super::documents;
use bursar::cli::Cli;
use clap::error::ErrorKind;
use std::ffi::OsString;

/// What stands for the head of an audit log.
const HEAD: &str = "1:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// The words of a line of shell up to its comment, pipe or redirection.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted, mut has_word) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => (is_quoted, has_word) = (!is_quoted, true),
            _ if is_quoted => word.push(c),
            '#' if !has_word => break,
            '|' | '>' | '<' => break,
            c if c.is_whitespace() => {
                if std::mem::take(&mut has_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                word.push(c);
                has_word = true;
            }
        }
    }
    words.extend(has_word.then_some(word));
    words
}

/// The commands of the program in the blocks of shell of a document, each as its words after the program's name.
fn commands(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    let lines = blocks.flat_map(|block| {
        let joined = block.replace("\\\n", " ");
        joined.lines().map(|line| words(line.trim())).collect::<Vec<_>>()
    });
    let command = |words: Vec<String>| {
        let mut words = words.into_iter().skip_while(|word| word.contains('=') && !word.starts_with('-'));
        (words.next().as_deref() == Some("bursar")).then(|| words.collect())
    };
    lines.filter_map(command).collect()
}

#[test]
fn every_documented_command_is_accepted_by_the_program() {
    let mut accepted = 0;
    for (name, text) in documents() {
        for words in commands(&text) {
            let typed = words.iter().map(|word| if word == "HEAD" { HEAD } else { word.as_str() });
            let typed = std::iter::once("bursar").chain(typed).map(OsString::from);
            match Cli::parse_from_words(typed) {
                Ok(_) => accepted += 1,
                Err(error) if error.kind() == ErrorKind::DisplayHelp => accepted += 1,
                Err(error) => panic!("{name}: {}: {error}", words.join(" ")),
            }
        }
    }
    assert!(accepted > 100, "{accepted}");
}

#[test]
fn words_end_at_comments_and_redirections_and_quotes_keep_them_together() {
    for (line, expected) in [
        (
            r#"bursar jobs cancel job_1 --reason "a # b"   # c"#,
            &["bursar", "jobs", "cancel", "job_1", "--reason", "a # b"][..],
        ),
        ("bursar audit export > audit.jsonl", &["bursar", "audit", "export"]),
        (r#"x --reason """#, &["x", "--reason", ""]),
        ("  # nothing", &[]),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
}
