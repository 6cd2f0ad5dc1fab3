//! Programs, accounts and free ports of this machine.

use crate::Error;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command whose environment has only the caller's `PATH`, so that no `PGPORT` or `RABBITMQ_…` of the machine
/// reaches it.
pub(crate) fn hermetic(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", search_path()).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// A server in the same environment, started by a shell once it reads a line from standard input. If its owner dies
/// before, it never starts.
pub(crate) fn gated(program: &Path) -> Command {
    let script = r#"read -r _ && exec "$@" </dev/null"#;
    let mut command = hermetic(Path::new("sh"));
    command.args(["-c", script, "gate"]).arg(program);
    command.stdin(Stdio::piped());
    command
}

/// `PATH` with the directories of system programs, which a plain user's may lack.
fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// The first executable called `name` on the search path.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    search_path()
        .split(':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}

/// The directory of the newest installed Postgres server: Debian has one directory for each major version; elsewhere
/// the programs are on the search path.
pub(crate) fn postgres_programs() -> Result<PathBuf, Error> {
    let complete = |dir: &PathBuf| ["initdb", "postgres", "createdb"].iter().all(|name| dir.join(name).is_file());
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
            Some((version, path.join("bin")))
        })
        .filter(|(_, bin)| complete(bin))
        .max();
    let linked = || on_path("initdb")?.parent().map(Path::to_path_buf);
    newest.map(|(_, bin)| bin).or_else(|| linked().filter(complete)).ok_or(Error::MissingProgram {
        name: "the Postgres server (initdb, postgres, createdb)".to_owned(),
        hint: "install the Debian package postgresql, or put its programs on PATH",
    })
}

/// The script that starts a RabbitMQ node in the foreground. Debian's wrapper on the search path changes the user and
/// the environment, so the original script is preferred.
pub(crate) fn rabbitmq_server() -> Result<PathBuf, Error> {
    let packaged = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
    Some(packaged).filter(|path| path.is_file()).or_else(|| on_path("rabbitmq-server")).ok_or(Error::MissingProgram {
        name: "rabbitmq-server".to_owned(),
        hint: "install the Debian package rabbitmq-server, or put it on PATH",
    })
}

/// Exim, the SMTP server.
pub(crate) fn exim() -> Result<PathBuf, Error> {
    on_path("exim4").or_else(|| on_path("exim")).ok_or(Error::MissingProgram {
        name: "exim4".to_owned(),
        hint: "install the Debian package exim4-daemon-light, or put it on PATH",
    })
}

/// Chromium, the browser.
pub(crate) fn chromium() -> Result<PathBuf, Error> {
    on_path("chromium").or_else(|| on_path("chromium-headless-shell")).ok_or(Error::MissingProgram {
        name: "chromium".to_owned(),
        hint: "install the Debian package chromium, or put it on PATH",
    })
}

/// Erlang's port mapper, which some installations have outside of the search path.
pub(crate) fn epmd() -> Result<PathBuf, Error> {
    let in_erlang = || {
        std::fs::read_dir("/usr/lib/erlang")
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path().join("bin/epmd")))
            .find(|path| path.is_file())
    };
    on_path("epmd").or_else(in_erlang).ok_or(Error::MissingProgram {
        name: "epmd".to_owned(),
        hint: "it is part of Erlang (Debian package erlang-base)",
    })
}

/// A user and group of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// The user id.
    pub(crate) uid: u32,
    /// The user's primary group id.
    pub(crate) gid: u32,
}

/// The account for a server that refuses root: `None` if we are not root.
pub(crate) fn unprivileged(name: &str) -> Result<Option<Account>, Error> {
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    Ok(Some(Account { uid: id(&["-u", name])?, gid: id(&["-g", name])? }))
}

/// The account of this process.
pub(crate) fn own_account() -> Result<Account, Error> {
    Ok(Account { uid: id(&["-u"])?, gid: id(&["-g"])? })
}

fn id(arguments: &[&str]) -> Result<u32, Error> {
    let what = format!("id {}", arguments.join(" "));
    let output = hermetic(Path::new("id")).args(arguments).output().map_err(Error::io(what.clone()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| Error::Failed {
        what: format!("{what} gave no number"),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A free port of 127.0.0.1.
///
/// It lies below the kernel's ephemeral ports. A client that keeps trying to reach a stopped server could otherwise
/// be given the server's own port, connect to itself, and block the server's restart.
pub(crate) fn free_port() -> Result<u16, Error> {
    const LOWEST: u16 = 10_000;
    const TRIES: u64 = 200;
    let span = u64::from(first_outgoing_port().saturating_sub(LOWEST));
    if span >= 1_000 {
        let random = RandomState::new();
        for attempt in 0..TRIES {
            let offset = random.hash_one(attempt) % span;
            let port = LOWEST + u16::try_from(offset).expect("a span of ports fits u16");
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(port);
            }
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("no free port on 127.0.0.1"))?;
    let address = listener.local_addr().map_err(Error::io("no free port on 127.0.0.1"))?;
    Ok(address.port())
}

/// The first ephemeral port; Linux's default if unknown.
fn first_outgoing_port() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_not_one_that_outgoing_connections_get() {
        let first_outgoing = first_outgoing_port();
        for _ in 0..50 {
            let port = free_port().expect("this machine has a free port");
            assert!(port < first_outgoing || first_outgoing < 11_000);
        }
    }
}
