//! Connections to the configured database: of a node, and of a command.

use crate::data_folder::prepare_sqlite;
use anyhow::{Result, bail};
use bursar_engine::config::Config;
use bursar_engine::infra::store::{Db, DbOptions, NODE, explain_unreachable};

/// How long a statement of a running application may take. Everything it does takes far less.
const STATEMENT_TIMEOUT_MS: u64 = 30_000;

/// Connects to the configured database as a node, for work that may take its time.
///
/// # Errors
/// It cannot be reached; the message says why, for whoever runs the program.
pub async fn connect(config: &Config) -> Result<Db> {
    connect_within(config, 0, NODE).await
}

/// The same for the statements of a running node, which end after [`STATEMENT_TIMEOUT_MS`].
pub(crate) async fn connect_node(config: &Config) -> Result<Db> {
    connect_within(config, STATEMENT_TIMEOUT_MS, NODE).await
}

/// The same for a command that Postgres' list of sessions is to tell from a node. It makes no database.
///
/// # Errors
/// As [`connect`].
pub async fn connect_command(config: &Config, name: &str) -> Result<Db> {
    if let Some(file) = config.sqlite_file().filter(|file| !file.exists()) {
        bail!("there is no database {}: run `bursar migrate up`", file.display());
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
