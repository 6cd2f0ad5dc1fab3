//! Connects nodes and commands to the configured database.

use crate::data_folder::prepare_sqlite;
use anyhow::{Result, bail};
use bursar_engine::config::Config;
use bursar_engine::infra::store::{Db, DbOptions, NODE, explain_unreachable};

/// How long a statement of a running node may take. All of them take far less.
const STATEMENT_TIMEOUT_MS: u64 = 30_000;

/// Connects as a node without a statement timeout, for migrations.
///
/// # Errors
/// The database cannot be reached. The message tells the operator why.
pub async fn connect(config: &Config) -> Result<Db> {
    connect_within(config, 0, NODE).await
}

/// Connects as a running node, whose statements fail after [`STATEMENT_TIMEOUT_MS`].
pub(crate) async fn connect_node(config: &Config) -> Result<Db> {
    connect_within(config, STATEMENT_TIMEOUT_MS, NODE).await
}

/// Connects as a command. `name` identifies it in Postgres' list of sessions. A `SQLite` database must exist.
///
/// # Errors
/// As [`connect`].
pub async fn connect_command(config: &Config, name: &str) -> Result<Db> {
    if let Some(file) = config.sqlite_file().filter(|file| !file.exists()) {
        bail!(
            "there is no database {}: name the server's data folder with BURSAR_DATA_DIR or its file with --config, or \
             make a new and empty database with `bursar migrate up`",
            file.display()
        );
    }
    connect_within(config, 0, name).await
}

async fn connect_within(config: &Config, statement_timeout_ms: u64, application: &str) -> Result<Db> {
    prepare_sqlite(config)?;
    let options = DbOptions {
        connections_max: config.database.connections_max,
        acquire_timeout_ms: config.database.acquire_timeout_ms,
        statement_timeout_ms,
        ..DbOptions::new(config.database_url())
    };
    match Db::connect_as(&options, application).await {
        Ok(db) => Ok(db),
        Err(error) => {
            tracing::debug!(error = %error.chain(), "connecting to the database failed");
            bail!(explain_unreachable(&options, &error).await)
        }
    }
}
