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

/// How long a transaction of ours may wait for its next statement before Postgres ends it. Between two
/// statements there is no call to anybody else, so one that waits this long belongs to a host that is gone,
/// and would keep its rows locked for as long as the server's TCP takes to notice: hours by default.
const IDLE_TRANSACTION_TIMEOUT_MS: u64 = 10_000;
/// How the server finds out that the host behind a session is gone: it asks after 10 s of silence, every 5 s,
/// and gives the session up after three questions, or when what it sent is not acknowledged for 20 s. Postgres
/// ignores these for a Unix socket.
const TCP_SETTINGS: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20000"),
];
/// How long a connection that goes back to its pool may take for a sign of life. One that was given up in the
/// middle of a statement, because nothing came back, would otherwise keep its place in the pool for ever.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// How long a transaction of Postgres may wait for its next statement; 0 for as long as it likes.
    pub idle_transaction_timeout_ms: u64,
}

impl DbOptions {
    /// A few connections to the database at `url`, with the limits of a command.
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

/// A pool of connections with the session settings that suit its statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Commits of plain ledger decisions, loads of accounts, look-ups of API keys: a handful of statements
    /// that run thousands of times a second and always by index.
    Ledger,
    /// Everything else that writes: jobs, events, use cases.
    Write,
    /// Reads outside a transaction: lists, reports, what is behind a refusal.
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

    /// Its share of the connections: each lane has one at least, and together they have as many as given.
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
    /// them, and are written so that only one plan is left (PostgreSQL manual, "Query Planning"). The others are planned
    /// each time, by the sizes of that moment, and without bitmaps, which read more entries than a `LIMIT` asks for.
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

/// A connected database. On Postgres each [`Lane`] has a pool of its own, so that a flood of reads never
/// keeps a commit waiting. SQLite has one writer, and readers beside it.
#[derive(Debug, Clone)]
pub struct Db {
    ledger: Kept,
    write: DatabaseConnection,
    read: DatabaseConnection,
    connections_max: u32,
    is_hasty: bool,
}

/// How much of a pool is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUsage {
    /// The pool.
    pub lane: Lane,
    /// Connections in use.
    pub in_use: u32,
    /// Most connections there may be.
    pub max: u32,
}

impl Db {
    /// Connects as a node; does not migrate.
    pub async fn connect(options: &DbOptions) -> Result<Self> {
        Self::connect_as(options, NODE).await
    }

    /// Connects under another name, which tells commands from nodes in Postgres' list of sessions.
    pub async fn connect_as(options: &DbOptions, application: &str) -> Result<Self> {
        let connections_max = options.connections_max;
        if options.url.starts_with("sqlite:") {
            let write = Database::connect(sqlite_options(options, 1)).await?;
            let read = Database::connect(sqlite_options(options, SQLITE_READERS_MAX)).await?;
            let ledger = Kept::new(read.clone(), SQLITE_READERS_MAX);
            return Ok(Self { ledger, write, read, connections_max, is_hasty: false });
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
            is_hasty: false,
        })
    }

    /// The same database for a caller that does not wait long for a row that somebody keeps locked.
    pub fn in_haste(&self, is_hasty: bool) -> Self {
        Self { is_hasty, ..self.clone() }
    }

    /// Whether the caller does not wait long for a locked row.
    pub fn is_hasty(&self) -> bool {
        self.is_hasty
    }

    /// Connection for reads outside a transaction.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Connection for the ledger's own statements: see [`Lane::Ledger`]. On SQLite it only reads.
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

    /// Whether the database takes no writes just now: a standby, or what its operator or a full disk made so.
    pub async fn is_read_only(&self) -> Result<bool> {
        if !self.is_postgres() {
            return Ok(false);
        }
        let statement = Statement::from_string(DbBackend::Postgres, "SHOW transaction_read_only");
        let row = self.write.query_one_raw(statement).await?;
        let is_read_only = row.map(|row| row.try_get_by_index::<String>(0)).transpose()?.is_some_and(|on| on == "on");
        if is_read_only {
            demotion::notice();
        }
        Ok(is_read_only)
    }

    /// How much of each pool is in use. SQLite has no ledger lane: its one writer is under `Write`.
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
        // Closing twice (SQLite shares a pool) or after a failure has nothing left to do.
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
        .map_sqlx_postgres_before_acquire(|_, meta| Box::pin(async move { Ok(!demotion::is_older(meta.age)) }))
        .map_sqlx_postgres_pool_opts(|pool| {
            pool.after_release(|connection, meta| {
                Box::pin(async move { Ok(!demotion::is_older(meta.age) && is_alive(connection).await?) })
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
                // Without this, REPLACE would delete rows of an append-only table past its trigger.
                .pragma("recursive_triggers", "ON")
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_millis(SQLITE_BUSY_MS))
        });
    connect
}
