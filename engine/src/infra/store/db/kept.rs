//! Connections that are kept between statements.
//!
//! sqlx asks a connection for a sign of life each time it comes back to its pool, and hands out the one that
//! has been idle for longest. For statements of a tenth of a millisecond that is a second round trip each, on
//! a session whose memory is cold. Here a connection that was used a moment ago is used again at once; one
//! that was not goes back to its pool, with all that the pool does about age and death.

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

/// A connection that was idle for this long goes back to its pool, which asks it for a sign of life.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// A pool whose connections are kept between statements, on Postgres. On SQLite it is a plain pool.
#[derive(Clone)]
pub struct Kept {
    pool: DatabaseConnection,
    shared: Arc<Shared>,
}

struct Shared {
    /// One permit for each connection of the pool: whoever has one finds a connection here or there.
    permits: Semaphore,
    /// The one that was used last is at the end.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    taken: Taken,
    since: Instant,
}

struct Taken {
    connection: PoolConnection<Postgres>,
    /// When it came from the pool.
    at: Instant,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl Kept {
    /// Keeps connections of a pool of so many.
    pub(super) fn new(pool: DatabaseConnection, connections_max: u32) -> Self {
        let permits = Semaphore::new(connections_max as usize);
        Self { pool, shared: Arc::new(Shared { permits, idle: Mutex::default() }) }
    }

    /// The pool itself.
    pub(super) fn pool(&self) -> &DatabaseConnection {
        &self.pool
    }

    /// How many connections are kept and not in use.
    pub(super) fn idle(&self) -> usize {
        self.kept().len()
    }

    /// Gives all back to the pool and closes it.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        self.kept().clear();
        self.pool.close_by_ref().await
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(&self) -> Result<Taken, DbErr> {
        let kept = {
            let mut idle = self.kept();
            // Of a server that takes no writes any more, not even reads are good.
            let is_good = |last: &Idle| last.since.elapsed() < KEPT_FOR && !demotion::is_older(last.taken.at.elapsed());
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
        Ok(Taken { connection: acquired?, at: Instant::now() })
    }

    fn keep(&self, taken: Taken) {
        if !self.pool.get_postgres_connection_pool().is_closed() {
            self.kept().push(Idle { taken, since: Instant::now() });
        }
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Kept {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    // These go by way of the pool, which must have a connection for them.
    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.kept().clear();
        self.pool.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.kept().clear();
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
        let arguments = arguments(values.map(|values| values.0).unwrap_or_default())?;
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
                    // What broke this one may have broken all.
                    self.kept().clear();
                }
                Err(DbErr::Query(RuntimeErr::SqlxError(error.into())))
            }
        }
    }
}

/// The values of a statement, moved: lists of text, numbers or bytes, and single ones.
fn arguments(values: Vec<Value>) -> Result<PgArguments, DbErr> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Array(_, Some(items)) => match items.first() {
                Some(Value::BigInt(_)) => arguments.add(numbers(*items)),
                Some(Value::Bytes(_)) => arguments.add(bytes(*items)),
                _ => arguments.add(texts(*items)),
            },
            Value::String(text) => arguments.add(text),
            Value::BigInt(number) => arguments.add(number),
            Value::Bytes(bytes) => arguments.add(bytes),
            other => return Err(DbErr::Type(format!("no argument of the ledger's is {other:?}"))),
        };
        added.map_err(|error| DbErr::Query(RuntimeErr::SqlxError(SqlxError::Encode(error).into())))?;
    }
    Ok(arguments)
}

fn texts(items: Vec<Value>) -> Vec<Option<String>> {
    items.into_iter().map(|item| if let Value::String(text) = item { text } else { None }).collect()
}

fn numbers(items: Vec<Value>) -> Vec<Option<i64>> {
    items.into_iter().map(|item| if let Value::BigInt(number) = item { number } else { None }).collect()
}

fn bytes(items: Vec<Value>) -> Vec<Option<Vec<u8>>> {
    items.into_iter().map(|item| if let Value::Bytes(bytes) = item { bytes } else { None }).collect()
}
