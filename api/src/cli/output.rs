//! The one place that writes to the terminal.
//!
//! Results go to the standard output, everything else (notes, questions, progress, errors) to the
//! standard error, so that results can be piped.

use super::PROGRAM;
use serde_json::Value;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;

/// Narrower terminals are treated as this wide.
const WIDTH_MIN: u16 = 40;
/// The width of a terminal that does not report its own.
const WIDTH_DEFAULT: u16 = 80;

/// Prints a result. A closed pipe (`| head`) is not an error.
///
/// # Errors
/// The output cannot be written, for instance because the disk is full.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints an answer as JSON.
///
/// # Errors
/// The output cannot be written.
pub fn print_json(answer: &Value) -> anyhow::Result<ExitCode> {
    print(&serde_json::to_string_pretty(answer)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a chunk of a result unchanged. Returns false if the pipe is closed.
///
/// # Errors
/// The output cannot be written.
pub fn print_bytes(chunk: &[u8]) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(chunk).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Prints a note that is not part of the result.
#[allow(clippy::print_stderr, reason = "this is the one place that may")]
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// Prints the error of a command, if any, and returns the exit code: that of the result, 1 failed, 2 wrong usage. As
/// JSON, the error is one object on a line of its own, `{"error": …}`, after the notes on the standard error.
pub fn report(result: anyhow::Result<ExitCode>, is_json: bool) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_json => {
            note(&serde_json::json!({ "error": super::error::to_json(&error) }).to_string());
            let is_usage = error.downcast_ref::<clap::Error>().is_some();
            if is_usage { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
        Err(error) => match error.downcast_ref::<clap::Error>() {
            Some(usage) => {
                note(usage.render().to_string().trim_end());
                ExitCode::from(2)
            }
            None => {
                note(&format!("error: {}", sanitize(&format!("{error:#}"))));
                ExitCode::FAILURE
            }
        },
    }
}

/// Asks a yes-or-no question. No answer counts as no.
///
/// # Errors
/// The terminal cannot be used.
pub fn confirm(question: &str) -> anyhow::Result<bool> {
    Ok(matches!(ask(&format!("{question} [y/N]"))?.to_lowercase().as_str(), "y" | "yes"))
}

/// Asks for a line of text, which is empty without an answer.
///
/// # Errors
/// The terminal cannot be used.
pub fn ask(question: &str) -> anyhow::Result<String> {
    let mut err = io::stderr().lock();
    write!(err, "{question} ")?;
    err.flush()?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        writeln!(err)?;
    }
    Ok(answer.trim().to_owned())
}

/// Whether questions can be asked on a terminal.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The width of the terminal that results go to. `None` for a pipe or a file, where lines may have any length.
pub fn width() -> Option<u16> {
    static WIDTH: OnceLock<Option<u16>> = OnceLock::new();
    *WIDTH.get_or_init(|| {
        let out = io::stdout();
        if !out.is_terminal() {
            return None;
        }
        let configured = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
        let width = configured.or_else(|| stty_columns(&out)).filter(|columns| *columns > 0).unwrap_or(WIDTH_DEFAULT);
        Some(width.max(WIDTH_MIN))
    })
}

/// Reads the width with `stty`: the system call would need unsafe code or another dependency.
fn stty_columns(out: &io::Stdout) -> Option<u16> {
    let terminal = out.as_fd().try_clone_to_owned().ok()?;
    let asked = Command::new("stty").arg("size").stdin(Stdio::from(terminal)).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(asked.stdout).ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// Replaces characters that could control the terminal or reorder text: much of the output was written by strangers.
pub fn sanitize(text: &str) -> String {
    let is_unsafe =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Formats a command of this program for a hint.
pub fn hint(arguments: &str) -> String {
    format!("{PROGRAM} {arguments}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_control_the_terminal_are_replaced() {
        assert_eq!(sanitize("a\u{1b}[2Jb\u{202e}c\nd"), "a\u{fffd}[2Jb\u{fffd}c\nd");
    }
}
