//! Connections to the database.

use crate::error::{Error, Result};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, TransactionTrait,
};
use std::time::Duration;

/// Readers beside the one writer of a SQLite database.
const SQLITE_READERS_MAX: u32 = 4;
/// How long a statement of SQLite waits for another process, such as `bursar verify`.
const SQLITE_BUSY_MS: u64 = 5_000;

/// A connection that was idle for this long is asked for a sign of life before it is used.
const IDLE_TEST_MS: u64 = 1_000;

/// How long a statement of Postgres waits for a row that somebody else keeps locked, in milliseconds.
/// It then fails in a way that passes (55P03), instead of holding its connection for ever. Longer than
/// Postgres takes to find a deadlock, which hits one of those in it instead of all.
const LOCK_TIMEOUT_MS: &str = "2000";
/// The same for whoever is in haste: what is known to be locked is not worth a wait that others share.
const HASTY_LOCK_TIMEOUT_MS: u64 = 100;

/// What nodes call themselves to Postgres.
pub const NODE: &str = "bursar";

/// How to connect.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// `postgres://…` or `sqlite://…`.
    pub url: String,
    /// Most connections to Postgres.
    pub connections_max: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout_ms: u64,
    /// How long a statement of Postgres may take; 0 for as long as it likes.
    pub statement_timeout_ms: u64,
}

/// A connected database. Writes and reads go through pools of their own: SQLite has one writer, and
/// with readers apart nobody waits for it. On Postgres both are the same pool.
#[derive(Debug, Clone)]
pub struct Db {
    write: DatabaseConnection,
    read: DatabaseConnection,
    connections_max: u32,
    is_hasty: bool,
}

impl Db {
    /// Connects as a node; does not migrate.
    pub async fn connect(options: &DbOptions) -> Result<Self> {
        Self::connect_as(options, NODE).await
    }

    /// Connects under another name, which tells commands from nodes in Postgres' list of sessions.
    pub async fn connect_as(options: &DbOptions, application: &str) -> Result<Self> {
        if options.url.starts_with("sqlite:") {
            let write = Database::connect(sqlite_options(options, 1)).await?;
            let read = Database::connect(sqlite_options(options, SQLITE_READERS_MAX)).await?;
            return Ok(Self { write, read, connections_max: SQLITE_READERS_MAX + 1, is_hasty: false });
        }
        if !options.url.starts_with("postgres:") && !options.url.starts_with("postgresql:") {
            return Err(Error::Config(vec!["DATABASE_URL must begin with postgres:// or sqlite://".to_owned()]));
        }
        let statement_timeout_ms = options.statement_timeout_ms;
        let mut connect = ConnectOptions::new(options.url.clone());
        connect
            .max_connections(options.connections_max)
            .acquire_timeout(Duration::from_millis(options.acquire_timeout_ms))
            .connect_timeout(Duration::from_millis(options.acquire_timeout_ms))
            .test_before_acquire(false)
            .test_before_acquire_if_idle_for(Duration::from_millis(IDLE_TEST_MS))
            .set_application_name(application)
            .map_sqlx_postgres_opts(move |postgres| {
                let statement_timeout = statement_timeout_ms.to_string();
                postgres.options([("lock_timeout", LOCK_TIMEOUT_MS), ("statement_timeout", statement_timeout.as_str())])
            })
            .sqlx_logging(false);
        let write = Database::connect(connect).await?;
        Ok(Self { read: write.clone(), write, connections_max: options.connections_max, is_hasty: false })
    }

    /// The same database for a caller that does not wait long for a row that somebody keeps locked.
    pub fn in_haste(&self, is_hasty: bool) -> Self {
        Self { is_hasty, ..self.clone() }
    }

    /// Connection for reads outside a transaction.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Connection for single writing statements.
    pub fn write(&self) -> &DatabaseConnection {
        &self.write
    }

    /// Begins a transaction that writes.
    pub async fn begin(&self) -> Result<DatabaseTransaction> {
        let tx = self.write.begin().await?;
        // SQLite has no locks on rows.
        if self.is_hasty && self.is_postgres() {
            tx.execute_unprepared(&format!("SET LOCAL lock_timeout = {HASTY_LOCK_TIMEOUT_MS}")).await?;
        }
        Ok(tx)
    }

    /// Which database this is.
    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// Whether this is Postgres, which several nodes can share.
    pub fn is_postgres(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    /// Asks for a sign of life.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.read.ping().await?)
    }

    /// Connections in use and the most there may be.
    pub fn pool_usage(&self) -> (u32, u32) {
        let in_use = |size: u32, idle: usize| size.saturating_sub(u32::try_from(idle).unwrap_or(u32::MAX));
        let used = if self.is_postgres() {
            let pool = self.write.get_postgres_connection_pool();
            in_use(pool.size(), pool.num_idle())
        } else {
            [&self.write, &self.read]
                .iter()
                .map(|connection| connection.get_sqlite_connection_pool())
                .map(|pool| in_use(pool.size(), pool.num_idle()))
                .sum()
        };
        (used, self.connections_max)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        // Closing twice (Postgres shares the pool) or after a failure has nothing left to do.
        let _ = self.write.close_by_ref().await;
        let _ = self.read.close_by_ref().await;
    }
}

/// WAL with `synchronous = FULL`: a commit is on the disk before it is acknowledged.
fn sqlite_options(options: &DbOptions, connections_max: u32) -> ConnectOptions {
    let mut connect = ConnectOptions::new(options.url.clone());
    connect
        .max_connections(connections_max)
        .min_connections(1)
        .acquire_timeout(Duration::from_millis(options.acquire_timeout_ms))
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                .foreign_keys(true)
                // Without this, REPLACE would delete rows of an append-only table past its trigger.
                .pragma("recursive_triggers", "ON")
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_millis(SQLITE_BUSY_MS))
        });
    connect
}
