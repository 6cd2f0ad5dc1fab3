//! Connections to the database.

pub(crate) mod demotion;
mod kept;

pub use kept::Kept;

use crate::error::{Error, Result};
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    TransactionTrait,
};
use std::fmt;
use std::time::Duration;

/// Connections for reading a SQLite database, in addition to the writer.
const SQLITE_READERS_MAX: u32 = 4;
/// How long a statement of SQLite waits for another process, such as `bursar verify`.
const SQLITE_BUSY_MS: u64 = 5_000;

/// A connection that was idle for this long is tested before use.
const IDLE_TEST_MS: u64 = 1_000;

/// How long a statement of Postgres waits for a locked row, in milliseconds. Then it fails temporarily (55P03)
/// instead of holding its connection forever. It is longer than the deadlock timeout, which ends only one of the
/// transactions in a deadlock.
const LOCK_TIMEOUT_MS: &str = "2000";
/// The same for rows that are known to be locked: other items would share the wait.
const SHORT_LOCK_TIMEOUT_MS: u64 = 100;

/// How long a transaction may wait for its next statement before Postgres ends it. Transactions contain no other
/// calls, so one that waits this long belongs to a host that is gone, and would keep its rows locked until the
/// server's TCP notices: hours by default.
const IDLE_TRANSACTION_TIMEOUT_MS: u64 = 10_000;
/// How the server detects that a session's host is gone: it sends a probe after 10 s of silence and then every 5 s,
/// and ends the session after three, or when data is not acknowledged for 20 s. Postgres ignores these for a Unix
/// socket.
const TCP_SETTINGS: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20000"),
];
/// How long a connection that returns to its pool may take to answer a ping. Without this, a connection that was
/// abandoned in the middle of a statement would keep its place in the pool forever. sqlx pings once more after that,
/// without a limit and without a way to set one: see docs/operations.md, "Connections to Postgres that go silent".
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The application name of nodes in Postgres.
pub const NODE: &str = "bursar";

/// How to connect. `Debug` does not show the URL, which holds a password.
#[derive(Clone)]
pub struct DbOptions {
    /// `postgres://…` or `sqlite://…`.
    pub url: String,
    /// Maximum number of connections to Postgres.
    pub connections_max: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout_ms: u64,
    /// The longest statement of Postgres; 0 for no limit.
    pub statement_timeout_ms: u64,
    /// How long a transaction of Postgres may wait for its next statement; 0 for no limit.
    pub idle_transaction_timeout_ms: u64,
}

impl fmt::Debug for DbOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbOptions").field("connections_max", &self.connections_max).finish_non_exhaustive()
    }
}

impl DbOptions {
    /// Options for a command: a few connections to the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections_max: 4,
            acquire_timeout_ms: 10_000,
            statement_timeout_ms: 0,
            idle_transaction_timeout_ms: IDLE_TRANSACTION_TIMEOUT_MS,
        }
    }
}

/// A pool of connections with session settings for its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Commits of plain ledger decisions, loads of accounts, look-ups of API keys: a few statements that run
    /// thousands of times a second and always use an index.
    Ledger,
    /// All other writes: jobs, events, use cases.
    Write,
    /// Reads outside a transaction: lists, reports, details of refusals.
    Read,
}

impl Lane {
    /// All lanes of Postgres.
    pub const ALL: [Self; 3] = [Self::Ledger, Self::Write, Self::Read];

    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Write => "write",
            Self::Read => "read",
        }
    }

    /// Its share of the connections, at least one; the shares add up to `all`.
    fn connections_max(self, all: u32) -> u32 {
        let side = (all * 3 / 10).max(1);
        match self {
            Self::Ledger | Self::Read => side,
            Self::Write => all.saturating_sub(2 * side).max(1),
        }
    }

    /// Settings of its sessions. Rows are always found by an index, and the planner is told so: a plan made while a
    /// table is empty would read the whole table. Without `jit = off`, a plan that has no index to use looks so costly
    /// that it is compiled first.
    ///
    /// The ledger's statements are planned once for each connection, because planning them costs more than running
    /// them, and are written so that only one plan is left (PostgreSQL manual, "Query Planning"). The others are
    /// planned each time, by the sizes of that moment, and without bitmaps, which read more entries than a `LIMIT` asks
    /// for.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Ledger => &[
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
                ("jit", "off"),
            ],
            Self::Write => &[
                ("plan_cache_mode", "force_custom_plan"),
                ("enable_seqscan", "off"),
                ("enable_bitmapscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
                ("jit", "off"),
            ],
            Self::Read => &[],
        }
    }
}

/// A connected database. On Postgres each [`Lane`] has its own pool, so that many reads never delay a commit.
/// SQLite has one writer and several readers.
#[derive(Debug, Clone)]
pub struct Db {
    ledger: Kept,
    write: DatabaseConnection,
    read: DatabaseConnection,
    connections_max: u32,
    short_lock_wait: bool,
}

/// The usage of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUsage {
    /// The pool.
    pub lane: Lane,
    /// Connections in use.
    pub in_use: u32,
    /// Maximum number of connections.
    pub max: u32,
}

impl Db {
    /// Connects as a node; does not migrate.
    pub async fn connect(options: &DbOptions) -> Result<Self> {
        Self::connect_as(options, NODE).await
    }

    /// Connects under another name, which distinguishes commands from nodes in Postgres' list of sessions.
    pub async fn connect_as(options: &DbOptions, application: &str) -> Result<Self> {
        let connections_max = options.connections_max;
        if options.url.starts_with("sqlite:") {
            let write = Database::connect(sqlite_options(options, 1)).await?;
            let read = Database::connect(sqlite_options(options, SQLITE_READERS_MAX)).await?;
            let ledger = Kept::new(read.clone(), SQLITE_READERS_MAX);
            return Ok(Self { ledger, write, read, connections_max, short_lock_wait: false });
        }
        if !options.url.starts_with("postgres:") && !options.url.starts_with("postgresql:") {
            return Err(Error::Config(vec!["DATABASE_URL must begin with postgres:// or sqlite://".to_owned()]));
        }
        let connect = |lane| Database::connect(postgres_options(options, lane, application));
        Ok(Self {
            ledger: Kept::new(connect(Lane::Ledger).await?, Lane::Ledger.connections_max(connections_max)),
            write: connect(Lane::Write).await?,
            read: connect(Lane::Read).await?,
            connections_max,
            short_lock_wait: false,
        })
    }

    /// The same database, but with a short wait for locked rows if `short_lock_wait`.
    pub fn with_short_lock_wait(&self, short_lock_wait: bool) -> Self {
        Self { short_lock_wait, ..self.clone() }
    }

    /// Whether waits for locked rows are short.
    pub fn short_lock_wait(&self) -> bool {
        self.short_lock_wait
    }

    /// Connection for reads outside a transaction.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Connection for the ledger's statements, see [`Lane::Ledger`]. On SQLite it only reads.
    pub fn ledger(&self) -> &Kept {
        &self.ledger
    }

    /// Connection for single writing statements.
    pub fn write(&self) -> &DatabaseConnection {
        &self.write
    }

    /// Begins a transaction that writes.
    pub async fn begin(&self) -> Result<DatabaseTransaction> {
        let tx = self.write.begin().await?;
        // SQLite has no row locks.
        if self.short_lock_wait && self.is_postgres() {
            tx.execute_unprepared(&format!("SET LOCAL lock_timeout = {SHORT_LOCK_TIMEOUT_MS}")).await?;
        }
        Ok(tx)
    }

    /// The kind of database.
    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// Whether this is Postgres, which several nodes can share.
    pub fn is_postgres(&self) -> bool {
        self.backend() == DbBackend::Postgres
    }

    /// Whether the database accepts no writes now: it is a standby, or its operator or a full disk made it
    /// read-only.
    pub async fn is_read_only(&self) -> Result<bool> {
        if !self.is_postgres() {
            return Ok(false);
        }
        let statement = Statement::from_string(DbBackend::Postgres, "SHOW transaction_read_only");
        let row = self.write.query_one_raw(statement).await?;
        let is_read_only = row.map(|row| row.try_get_by_index::<String>(0)).transpose()?.is_some_and(|on| on == "on");
        if is_read_only {
            demotion::record_refusal();
        }
        Ok(is_read_only)
    }

    /// The usage of each pool. SQLite has no ledger lane: its one writer is under `Write`.
    pub fn pool_usage(&self) -> Vec<PoolUsage> {
        let in_use = |size: u32, idle: usize| size.saturating_sub(u32::try_from(idle).unwrap_or(u32::MAX));
        let usage = |lane: Lane| {
            let (connection, kept) = match lane {
                Lane::Ledger => (self.ledger.pool(), self.ledger.idle()),
                Lane::Write => (&self.write, 0),
                Lane::Read => (&self.read, 0),
            };
            let (in_use, max) = if self.is_postgres() {
                let pool = connection.get_postgres_connection_pool();
                (in_use(pool.size(), pool.num_idle() + kept), lane.connections_max(self.connections_max))
            } else {
                let pool = connection.get_sqlite_connection_pool();
                (in_use(pool.size(), pool.num_idle()), if lane == Lane::Read { SQLITE_READERS_MAX } else { 1 })
            };
            PoolUsage { lane, in_use, max }
        };
        let lanes = Lane::ALL.into_iter().filter(|lane| self.is_postgres() || *lane != Lane::Ledger);
        lanes.map(usage).collect()
    }

    /// Closes all connections.
    pub async fn close(&self) {
        // Closing fails if it was done before (SQLite shares a pool) or after a failure; nothing is left to do
        // then.
        let _ = self.ledger.close().await;
        for connection in [&self.write, &self.read] {
            let _ = connection.close_by_ref().await;
        }
    }
}

fn postgres_options(options: &DbOptions, lane: Lane, application: &str) -> ConnectOptions {
    let statement_timeout = options.statement_timeout_ms.to_string();
    let idle_timeout = options.idle_transaction_timeout_ms.to_string();
    let mut connect = ConnectOptions::new(options.url.clone());
    connect
        .max_connections(lane.connections_max(options.connections_max))
        .acquire_timeout(Duration::from_millis(options.acquire_timeout_ms))
        .connect_timeout(Duration::from_millis(options.acquire_timeout_ms))
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(Duration::from_millis(IDLE_TEST_MS))
        .set_application_name(application)
        .map_sqlx_postgres_opts(move |postgres| {
            postgres
                .options([("lock_timeout", LOCK_TIMEOUT_MS), ("statement_timeout", statement_timeout.as_str())])
                .options([("idle_in_transaction_session_timeout", idle_timeout.as_str())])
                .options(TCP_SETTINGS)
                .options(lane.settings().iter().copied())
        })
        .map_sqlx_postgres_before_acquire(|_, meta| Box::pin(async move { Ok(!demotion::predates_refusal(meta.age)) }))
        .map_sqlx_postgres_pool_opts(|pool| {
            pool.after_release(|connection, meta| {
                Box::pin(async move { Ok(!demotion::predates_refusal(meta.age) && is_alive(connection).await?) })
            })
        })
        .sqlx_logging(false);
    connect
}

/// Whether a connection answers in time. The pool closes one that does not.
async fn is_alive(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(RELEASE_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
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
                // Without this, REPLACE would bypass the triggers of append-only tables.
                .pragma("recursive_triggers", "ON")
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_millis(SQLITE_BUSY_MS))
        });
    connect
}
