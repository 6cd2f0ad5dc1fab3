//! Runs a command with a Postgres cluster and a RabbitMQ node of its own.
//!
//! ```text
//! with-services [--] COMMAND [ARGUMENT…]
//! ```
//!
//! The command finds the servers through two variables. One that is set already is left
//! as it is, and no server is started for it:
//!
//! - `BURSAR_TEST_DATABASE_URL`: a maintenance database, in which tests create
//!   databases of their own;
//! - `BURSAR_TEST_AMQP_URL`: a broker.
//!
//! The exit code is the command's. When this program is killed, the servers end and their
//! files go away all the same.

use bursar_services::{Error, Postgres, RabbitMq, ScratchDir};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

const DATABASE_URL: &str = "BURSAR_TEST_DATABASE_URL";
const AMQP_URL: &str = "BURSAR_TEST_AMQP_URL";

/// What shells exit with when a command cannot be started.
const CANNOT_RUN: u8 = 127;
/// What this program exits with when it is called wrongly.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == "--") {
        words.remove(0);
    }
    let Some((program, arguments)) = words.split_first() else {
        say("usage: with-services [--] COMMAND [ARGUMENT...]");
        return ExitCode::from(BAD_USAGE);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    run(command).unwrap_or_else(|error| {
        say(&error.to_string());
        ExitCode::from(CANNOT_RUN)
    })
}

fn run(mut command: Command) -> Result<ExitCode, Error> {
    let database = given(DATABASE_URL);
    let amqp = given(AMQP_URL);
    // Dropped in the opposite order: the servers first, then their files.
    let scratch = match (&database, &amqp) {
        (Some(_), Some(_)) => None,
        _ => Some(ScratchDir::new("services")?),
    };
    let (postgres, rabbitmq) = start_missing(scratch.as_ref(), database.is_none(), amqp.is_none())?;

    let mut used = Vec::new();
    for (name, given, started) in [
        (DATABASE_URL, database, postgres.as_ref().map(maintenance)),
        (AMQP_URL, amqp, rabbitmq.as_ref().map(RabbitMq::url)),
    ] {
        match (started, given) {
            (Some(url), _) => {
                command.env(name, &url);
                used.push(format!("{name}={url} (started here)"));
            }
            (None, Some(url)) => used.push(format!("{name}={} (given)", without_password(&url))),
            (None, None) => unreachable!("what is not given is started"),
        }
    }
    say(&used.join(", "));
    supervise(command)
}

/// Starts the servers that are wanted, at the same time.
fn start_missing(
    scratch: Option<&ScratchDir>,
    postgres: bool,
    rabbitmq: bool,
) -> Result<(Option<Postgres>, Option<RabbitMq>), Error> {
    let Some(dir) = scratch.map(ScratchDir::path) else {
        return Ok((None, None));
    };
    match (postgres, rabbitmq) {
        (true, true) => {
            let (postgres, rabbitmq) = bursar_services::start_both(dir)?;
            Ok((Some(postgres), Some(rabbitmq)))
        }
        (true, false) => Ok((Some(Postgres::start(&dir.join("postgres"))?), None)),
        (false, true) => Ok((None, Some(RabbitMq::start(&dir.join("rabbitmq"))?))),
        (false, false) => Ok((None, None)),
    }
}

/// Runs the command to its end and gives its exit code as a shell would.
fn supervise(mut command: Command) -> Result<ExitCode, Error> {
    let what = format!("cannot run {}", command.get_program().display());
    let status = command.status().map_err(|source| Error::Io { what, source })?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn maintenance(postgres: &Postgres) -> String {
    postgres.url("postgres")
}

/// A variable's value; an empty one counts as not set.
fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|url| !url.is_empty())
}

/// A URL as it may be shown: this line ends up in the logs of test runs.
fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => {
            format!("{}…{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

/// One line for the person who runs this; the output is the command's alone.
fn say(text: &str) {
    // Nobody listens any more, and the command's work is worth more than this line.
    let _ = writeln!(std::io::stderr().lock(), "with-services: {text}");
}
