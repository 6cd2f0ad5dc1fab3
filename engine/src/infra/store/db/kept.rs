//! Keeps connections between statements.
//!
//! sqlx pings a connection each time it returns to its pool, and hands out the one that was idle longest. For
//! statements of a tenth of a millisecond that adds a second round trip each, on a session with a cold cache. Here
//! a recently used connection is reused at once; others return to the pool, which handles their age and failures.

use super::demotion;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::postgres::PgArguments;
use sea_orm::sqlx::{Arguments as _, AssertSqlSafe, Error as SqlxError, Postgres, query_with};
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, Value,
};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A connection that was idle for this long returns to its pool, which pings it.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// A pool that keeps connections between statements, on Postgres. On SQLite it is a plain pool.
#[derive(Clone)]
pub struct Kept {
    pool: DatabaseConnection,
    shared: Arc<Shared>,
}

struct Shared {
    /// One permit for each connection of the pool, so that a holder always finds a connection.
    permits: Semaphore,
    /// The most recently used one is last.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    taken: PooledConnection,
    since: Instant,
}

struct PooledConnection {
    connection: PoolConnection<Postgres>,
    /// When it was taken from the pool.
    at: Instant,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Kept {
    /// Keeps connections of a pool with at most `connections_max`.
    pub(super) fn new(pool: DatabaseConnection, connections_max: u32) -> Self {
        let permits = Semaphore::new(connections_max as usize);
        Self { pool, shared: Arc::new(Shared { permits, idle: Mutex::default() }) }
    }

    /// The pool itself.
    pub(super) fn pool(&self) -> &DatabaseConnection {
        &self.pool
    }

    /// The number of kept connections that are idle.
    pub(super) fn idle(&self) -> usize {
        self.lock_idle().len()
    }

    /// Returns all connections to the pool and closes it.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        self.lock_idle().clear();
        self.pool.close_by_ref().await
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self) -> Result<PooledConnection, DbErr> {
        let kept = {
            let mut idle = self.lock_idle();
            // After a refused write, older connections are not even good for reads.
            let is_good =
                |last: &Idle| last.since.elapsed() < IDLE_MAX && !demotion::predates_refusal(last.taken.at.elapsed());
            let last = idle.pop().filter(is_good);
            if last.is_none() {
                // The others were used before it.
                idle.clear();
            }
            last
        };
        if let Some(kept) = kept {
            return Ok(kept.taken);
        }
        let acquired = self.pool.get_postgres_connection_pool().acquire().await.map_err(|error| match error {
            SqlxError::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
            SqlxError::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
            error => DbErr::Conn(RuntimeErr::SqlxError(error.into())),
        });
        Ok(PooledConnection { connection: acquired?, at: Instant::now() })
    }

    fn keep(&self, taken: PooledConnection) {
        if !self.pool.get_postgres_connection_pool().is_closed() {
            self.lock_idle().push(Idle { taken, since: Instant::now() });
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Kept {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    // These use the pool directly, which needs a free connection for them.
    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.lock_idle().clear();
        self.pool.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.lock_idle().clear();
        self.pool.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.query_all_raw(statement).await?.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        if self.get_database_backend() != DbBackend::Postgres {
            return self.pool.query_all_raw(statement).await;
        }
        let Statement { sql, values, .. } = statement;
        let arguments = to_arguments(values.map(|values| values.0).unwrap_or_default())?;
        let closed = |_| DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        let _permit = self.shared.permits.acquire().await.map_err(closed)?;
        let mut taken = self.take().await?;
        match query_with(AssertSqlSafe(sql), arguments).fetch_all(&mut *taken.connection).await {
            Ok(rows) => {
                self.keep(taken);
                Ok(rows.into_iter().map(QueryResult::from).collect())
            }
            Err(error) => {
                if error.as_database_error().is_none() {
                    // The failure of one connection may affect all.
                    self.lock_idle().clear();
                }
                Err(DbErr::Query(RuntimeErr::SqlxError(error.into())))
            }
        }
    }
}

/// Moves the values of a statement into arguments: lists of text, numbers or bytes, and single values.
fn to_arguments(values: Vec<Value>) -> Result<PgArguments, DbErr> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Array(_, Some(items)) => match items.first() {
                Some(Value::BigInt(_)) => arguments.add(to_numbers(*items)),
                Some(Value::Bytes(_)) => arguments.add(to_bytes(*items)),
                _ => arguments.add(to_texts(*items)),
            },
            Value::String(text) => arguments.add(text),
            Value::BigInt(number) => arguments.add(number),
            Value::Bytes(bytes) => arguments.add(bytes),
            other => return Err(DbErr::Type(format!("the ledger's pool takes no argument such as {other:?}"))),
        };
        added.map_err(|error| DbErr::Query(RuntimeErr::SqlxError(SqlxError::Encode(error).into())))?;
    }
    Ok(arguments)
}

fn to_texts(items: Vec<Value>) -> Vec<Option<String>> {
    items.into_iter().map(|item| if let Value::String(text) = item { text } else { None }).collect()
}

fn to_numbers(items: Vec<Value>) -> Vec<Option<i64>> {
    items.into_iter().map(|item| if let Value::BigInt(number) = item { number } else { None }).collect()
}

fn to_bytes(items: Vec<Value>) -> Vec<Option<Vec<u8>>> {
    items.into_iter().map(|item| if let Value::Bytes(bytes) = item { bytes } else { None }).collect()
}
