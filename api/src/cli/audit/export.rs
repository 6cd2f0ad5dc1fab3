//! `bursar audit export`, `head` and `check`: the audit log as a file, and what a file proves.
//!
//! An export is checked while it is written: each line has to follow from the one before. So nobody has to trust the
//! server for it.

use crate::audit_lines::Line;
use crate::cli::client::admin_path;
use crate::cli::{Session, output, usage};
use crate::export::escape_formula;
use anyhow::{Context, Result, bail};
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::audit::chain::{Head, SealedRow};
use clap::Args;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The longest line that is read, in bytes.
const LINE_MAX_BYTES: usize = 4 * 1_024 * 1_024;
/// The columns of the CSV. New ones are only ever added at the end.
const COLUMNS: [&str; 9] = ["seal", "at", "actor", "action", "target", "details", "id", "sealed_at", "hash"];

/// Options of an export.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Write CSV for spreadsheets instead of JSON lines. Only JSON lines can be checked again.
    #[arg(long)]
    pub csv: bool,
    /// Only what came after this head of an earlier export; fails unless the log still has it.
    #[arg(long, value_name = "HEAD", value_parser = parse_head)]
    pub after: Option<Head>,
}

/// Options of a check.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The file of an export as JSON lines; `-` for the standard input.
    pub file: PathBuf,
    /// The head after which the file was exported, if it does not begin with the first row.
    #[arg(long, value_name = "HEAD", value_parser = parse_head)]
    pub after: Option<Head>,
}

/// Reads a head such as `42:9f86d081…`.
///
/// # Errors
/// It has another form.
pub fn parse_head(text: &str) -> Result<Head, String> {
    Head::parse(text)
        .ok_or_else(|| "must be a head as `bursar audit export` prints it, such as 42:9f86d081…".to_owned())
}

/// Fetches the head of the log.
///
/// # Errors
/// See [`crate::cli::error::Error`].
pub async fn head(session: &Session) -> Result<ExitCode> {
    let answer = session.client.get(&admin_path(&["audit", "head"])?, &[]).await?;
    session.show(&answer, |answer| answer["head"].as_str().unwrap_or_default().to_owned())
}

/// Writes the sealed log to the standard output and checks it. The head goes to the standard error.
///
/// # Errors
/// See [`crate::cli::error::Error`]; or the log is not what it was.
pub async fn export(session: &Session, args: &ExportArgs) -> Result<ExitCode> {
    if session.json {
        return Err(usage("audit export prints JSON lines, or CSV with --csv: leave out --json"));
    }
    let answer = session.client.get(&admin_path(&["audit", "head"])?, &[]).await?;
    let last = answer["head"].as_str().and_then(Head::parse).context("the server's answer has no head")?;
    let mut reader = Reader::new(args.after.clone().unwrap_or_else(Head::empty));
    if reader.head.seal > last.seal {
        bail!("the log ends with seal {}, before seal {}: rows were removed", last.seal, reader.head.seal);
    }
    let query = [("after", reader.head.seal.to_string()), ("upto", last.seal.to_string())];
    let writer = Writer { csv: args.csv };
    writer.begin()?;
    let path = admin_path(&["audit", "export"])?;
    session.client.get_chunks(&path, &query, |chunk| reader.read(chunk, |line| writer.write(line))).await?;
    finish(reader, Some(&last))
}

/// Checks a file of JSON lines and prints its head.
///
/// # Errors
/// The file cannot be read, or is not a chain.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?)
    };
    let mut input = BufReader::new(input);
    let mut reader = Reader::new(args.after.clone().unwrap_or_else(Head::empty));
    loop {
        let chunk = input.fill_buf().context("the file cannot be read")?;
        let len = chunk.len();
        if len == 0 {
            break;
        }
        reader.read(chunk, |_| Ok(true))?;
        input.consume(len);
    }
    let head = reader.head.clone();
    let code = finish(reader, None)?;
    output::print(&head.to_string())?;
    Ok(code)
}

/// Says what was found, and fails if the rows are no chain that ends as it has to.
fn finish(reader: Reader, expected: Option<&Head>) -> Result<ExitCode> {
    if !reader.rest.is_empty() {
        bail!("the last line is not complete");
    }
    if let Some(problem) = reader.problem {
        bail!("the audit log was changed: {problem}");
    }
    let head = reader.head;
    if expected.is_some_and(|expected| *expected != head) && !reader.is_closed {
        bail!("the audit log was changed: it ends with {head}, and its head is {}", expected.unwrap_or(&head));
    }
    if expected.is_some() && !reader.is_closed {
        output::note(&format!("{} rows, each of them follows from the one before. Head: {head}", reader.rows));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads lines from chunks and follows their chain.
struct Reader {
    head: Head,
    rows: u64,
    /// The first row that does not follow from the one before.
    problem: Option<String>,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
    /// Whether nobody reads the output any more.
    is_closed: bool,
}

impl Reader {
    fn new(head: Head) -> Self {
        Self { head, rows: 0, problem: None, rest: Vec::new(), is_closed: false }
    }

    /// Reads a chunk and passes each of its lines to `write`, until that returns false. Returns whether to go on.
    fn read(&mut self, chunk: &[u8], mut write: impl FnMut(&Line) -> io::Result<bool>) -> io::Result<bool> {
        self.rest.extend_from_slice(chunk);
        let mut from = 0;
        while let Some(len) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            let line: Line = serde_json::from_slice(&self.rest[from..from + len]).map_err(io::Error::other)?;
            from += len + 1;
            self.rows += 1;
            let followed = self.head.follow(&SealedRow::from(line.clone())).and_then(|()| check_time(&line));
            self.problem = self.problem.take().or(followed.err());
            if !write(&line)? {
                self.rest.clear();
                self.is_closed = true;
                return Ok(false);
            }
        }
        self.rest.drain(..from);
        if self.rest.len() > LINE_MAX_BYTES {
            return Err(io::Error::other(format!("a line is longer than {LINE_MAX_BYTES} bytes")));
        }
        Ok(true)
    }
}

/// Checks that a line says the time that is sealed: the chain is of the number, and people read the text beside it.
fn check_time(line: &Line) -> std::result::Result<(), String> {
    let Line { seal, at, at_ms, .. } = line;
    if *at == rfc3339(*at_ms) { Ok(()) } else { Err(format!("seal {seal}: at is {at}, which is not at_ms")) }
}

/// Writes lines to the standard output.
struct Writer {
    csv: bool,
}

impl Writer {
    fn begin(&self) -> io::Result<bool> {
        if self.csv { output::print_bytes(&record(COLUMNS)?) } else { Ok(true) }
    }

    fn write(&self, line: &Line) -> io::Result<bool> {
        let mut bytes = Vec::new();
        if self.csv {
            let (seal, sealed_at) = (line.seal.to_string(), rfc3339(line.sealed_at_ms));
            let [actor, target, details] =
                [&line.actor, &line.target, &line.details].map(|text| escape_formula(Some(text.as_str())));
            bytes =
                record([&seal, &line.at, &actor, &line.action, &target, &details, &line.id, &sealed_at, &line.hash])?;
        } else {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.write_all(b"\n")?;
        }
        output::print_bytes(&bytes)
    }
}

/// A line of CSV (RFC 4180).
fn record<T: AsRef<[u8]>>(cells: impl IntoIterator<Item = T>) -> io::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(cells)?;
    writer.into_inner().map_err(|error| error.into_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_engine::domain::audit::AuditRow;

    fn lines(len: i64) -> (Vec<u8>, Vec<SealedRow>) {
        let (mut head, mut bytes, mut rows) = (Head::empty(), Vec::new(), Vec::new());
        for n in 1..=len {
            let text = |text: &str| text.to_owned();
            let row = AuditRow {
                id: format!("aud_{n}"),
                actor: text("admin:ada/adt_1"),
                action: text("stream.pause"),
                target: text("=cmd"),
                details: text("{\"reason\":\"ü\"}"),
                at_ms: n,
            };
            let sealed = head.seal(row, n);
            head = sealed.head();
            serde_json::to_writer(&mut bytes, &Line::from(sealed.clone())).expect("JSON");
            bytes.push(b'\n');
            rows.push(sealed);
        }
        (bytes, rows)
    }

    fn read(after: Head, bytes: &[u8], chunk: usize) -> Reader {
        let mut reader = Reader::new(after);
        for chunk in bytes.chunks(chunk) {
            assert!(reader.read(chunk, |_| Ok(true)).expect("lines"));
        }
        reader
    }

    #[test]
    fn a_time_for_people_that_is_not_the_sealed_one_is_found() {
        let (bytes, _) = lines(2);
        let text = String::from_utf8(bytes).expect("text").replacen("\"at\":\"1970", "\"at\":\"2020", 1);
        let reader = read(Head::empty(), text.as_bytes(), 100);
        assert!(reader.problem.is_some_and(|problem| problem.contains("at is 2020-01-01")));
    }

    #[test]
    fn lines_are_read_however_they_are_cut() {
        let (bytes, rows) = lines(3);
        for chunk in [1, 7, 100, bytes.len()] {
            let reader = read(Head::empty(), &bytes, chunk);
            assert_eq!((reader.rows, reader.problem, reader.rest.len()), (3, None, 0), "{chunk}");
            assert_eq!(reader.head, rows[2].head());
        }
    }

    #[test]
    fn a_changed_or_missing_line_and_a_wrong_start_are_found() {
        let (bytes, rows) = lines(3);
        let text = String::from_utf8(bytes.clone()).expect("UTF-8");
        let changed = text.replacen("ada", "bob", 1);
        assert!(read(Head::empty(), changed.as_bytes(), 50).problem.is_some_and(|problem| problem.contains("seal 1")));
        let without_first = text.split_once('\n').expect("lines").1;
        assert!(read(Head::empty(), without_first.as_bytes(), 50).problem.is_some());
        assert_eq!(read(rows[0].head(), without_first.as_bytes(), 50).problem, None);
        let other = Head { seal: 1, hash: "0".repeat(64) };
        assert!(read(other, without_first.as_bytes(), 50).problem.is_some());
        assert!(finish(read(Head::empty(), &bytes[..bytes.len() - 1], 50), None).is_err(), "the end is missing");
        let short = read(Head::empty(), text.split_inclusive('\n').next().expect("a line").as_bytes(), 50);
        assert!(finish(short, Some(&rows[2].head())).is_err(), "the last rows are missing");
    }

    #[test]
    fn a_row_of_csv_has_every_column_and_no_formula() {
        let bytes = record(["1", "a,b", "'=cmd"]).expect("CSV");
        assert_eq!(String::from_utf8(bytes).expect("UTF-8"), "1,\"a,b\",'=cmd\r\n");
    }
}
