//! Which catalogue `catalogue show` and `catalogue export` print: the one in force, or one of a file.

use super::super::client::{Client, admin_path};
use super::super::error::Error;
use super::super::{Cli, output};
use super::Checked;
use crate::database::connect_command;
use anyhow::Context;
use bursar_engine::config::Config;
use bursar_engine::domain::catalogue::Catalogue;
use bursar_engine::domain::catalogue::read::{Problem, read_version};
use bursar_engine::domain::catalogue::write::write;
use bursar_engine::usecase::schema::schema;
use bursar_engine::usecase::version;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Which catalogue.
#[derive(Debug, Args)]
pub struct WhichArgs {
    /// A file instead of what is in force; without FILE the one that a first start would use.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    file: Option<Option<PathBuf>>,
}

/// A catalogue, and where it is from.
#[derive(Debug)]
pub struct Found {
    /// The catalogue.
    pub catalogue: Catalogue,
    /// It as TOML.
    pub text: String,
    origin: Origin,
}

/// Where a catalogue is from.
#[derive(Debug)]
enum Origin {
    /// This version is in force at this server.
    Server { url: String, version: i64 },
    /// This version is the latest in the configured database.
    Database { version: i64 },
    /// Nobody has said whether it is in force.
    File { name: String },
}

impl Found {
    /// Says which one it is.
    pub fn heading(&self) -> String {
        match &self.origin {
            Origin::Server { url, version } => format!("Version {version}, in force at {url}"),
            Origin::Database { version } => format!("Version {version}, in force in the configured database"),
            Origin::File { name } => format!("{name}, which need not be what is in force"),
        }
    }

    /// The same for programs.
    pub fn source(&self) -> Value {
        match &self.origin {
            Origin::Server { url, version } => json!({ "kind": "server", "url": url, "version": version }),
            Origin::Database { version } => json!({ "kind": "database", "version": version }),
            Origin::File { name } => json!({ "kind": "file", "name": name }),
        }
    }

    fn of_version(text: String, version: i64, origin: Origin) -> anyhow::Result<Self> {
        let unreadable = |problems: Vec<Problem>| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!(
                "this program cannot read version {version} of the catalogue: {}. `catalogue export --version {version}` \
                 prints it as it is",
                problems.join("; ")
            )
        };
        Ok(Self { catalogue: read_version(&text).map_err(unreadable)?, text, origin })
    }

    fn of_file(checked: &Checked) -> Self {
        let catalogue = Catalogue::clone(&checked.catalogue);
        Self { text: write(&catalogue), catalogue, origin: Origin::File { name: checked.name.clone() } }
    }
}

/// Finds a catalogue: that of a file if one is asked for, else the one in force. A server counts first, then the
/// configured database. Where there is neither, it is the one that a first start would use, and a note says so.
///
/// # Errors
/// The server that was named cannot be asked, the database cannot be read, or the file has problems.
pub async fn find(cli: &Cli, which: &WhichArgs) -> anyhow::Result<Found> {
    let file = cli.config.as_deref();
    match &which.file {
        Some(Some(path)) => return Ok(Found::of_file(&Checked::of_file(path)?)),
        Some(None) => return Ok(Found::of_file(&Checked::of_server(file)?)),
        None => {}
    }
    let why = match of_server(cli).await {
        Ok(found) => return Ok(found),
        Err(why) if cli.connection.is_named() || !is_absent(&why) => return Err(why),
        Err(why) => why,
    };
    let config = Config::load_for_client(file)?;
    if has_database(&config) {
        let hint = "no server can be asked, and the database cannot be read; --file prints the local file";
        return of_database(&config).await.context(hint);
    }
    output::note(&format!("note: no server was asked for what is in force: {}", output::sanitize(&why.to_string())));
    Ok(Found::of_file(&Checked::of_server(file)?))
}

async fn of_server(cli: &Cli) -> anyhow::Result<Found> {
    let client = Client::new(cli)?;
    let mut answer = client.get(&admin_path(&["catalogue"])?, &[]).await?;
    let (version, url) = (answer["version"]["version"].as_i64(), client.base().to_owned());
    let (Some(version), Value::String(text)) = (version, answer["catalogue"].take()) else {
        return Err(Error::Unreadable { url, reason: "the answer has no catalogue".to_owned() }.into());
    };
    Found::of_version(text, version, Origin::Server { url, version })
}

/// Whether there is no server, as opposed to one that refuses to answer.
fn is_absent(why: &anyhow::Error) -> bool {
    why.downcast_ref::<Error>().is_none_or(|error| matches!(error, Error::NoServer { .. } | Error::Transport { .. }))
}

/// Whether the configuration names a database, or the data folder has one.
fn has_database(config: &Config) -> bool {
    !config.database_url.is_empty() || config.sqlite_file().as_deref().is_some_and(Path::exists)
}

async fn of_database(config: &Config) -> anyhow::Result<Found> {
    let db = connect_command(config, "bursar catalogue").await?;
    let schema = schema(&db).await?;
    if !schema.is_served() {
        anyhow::bail!(schema.problem().unwrap_or_default());
    }
    let latest = version::in_force(&db).await.context("no server has started on the database yet")?;
    Found::of_version(latest.catalogue, latest.version, Origin::Database { version: latest.version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_refuses_is_no_absent_one() {
        let absent = Error::NoServer { url: "http://h".to_owned() };
        let refusing = Error::from_answer(reqwest::StatusCode::UNAUTHORIZED, "{}");
        assert!(is_absent(&absent.into()) && is_absent(&anyhow::anyhow!("no admin token")));
        assert!(!is_absent(&refusing.into()));
    }

    #[test]
    fn what_is_printed_is_said() {
        let found = |origin| Found { catalogue: Catalogue::clone(&Catalogue::built_in()), text: String::new(), origin };
        let server = found(Origin::Server { url: "http://h".to_owned(), version: 3 });
        assert_eq!(server.heading(), "Version 3, in force at http://h");
        assert_eq!(server.source()["version"], 3);
        let file = found(Origin::File { name: "x.toml".to_owned() });
        assert_eq!(file.heading(), "x.toml, which need not be what is in force");
        assert_eq!(file.source()["kind"], "file");
    }
}
