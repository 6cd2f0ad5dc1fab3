//! Runs a command with its own Postgres cluster and RabbitMQ node.
//!
//! ```text
//! with-services [--] COMMAND [ARGUMENT…]
//! ```
//!
//! The command finds the servers through two variables. A variable that is already set is kept, and no server is
//! started for it:
//!
//! - `BURSAR_TEST_DATABASE_URL`: a maintenance database, with which tests create their own databases;
//! - `BURSAR_TEST_AMQP_URL`: a broker.
//!
//! The exit code is the command's. If this program is killed, the servers are stopped and their files removed all the
//! same.

use bursar_services::{Error, Postgres, RabbitMq, ScratchDir};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

const DATABASE_URL: &str = "BURSAR_TEST_DATABASE_URL";
const AMQP_URL: &str = "BURSAR_TEST_AMQP_URL";

/// The exit code of shells for a command that cannot be started.
const CANNOT_RUN: u8 = 127;
/// The exit code for wrong usage.
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
            (None, None) => unreachable!("a server that is not given is started"),
        }
    }
    say(&used.join(", "));
    supervise(command)
}

/// Starts the missing servers concurrently.
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

/// Runs the command to its end and returns its exit code as a shell would.
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

/// The URL without its password, since this line ends up in logs.
fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => {
            format!("{}…{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

/// Prints one line to stderr; stdout belongs to the command.
fn say(text: &str) {
    // A closed stderr must not stop the command.
    let _ = writeln!(std::io::stderr().lock(), "with-services: {text}");
}
