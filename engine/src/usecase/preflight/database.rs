//! Preflight: the database.

use super::{CONNECT_LIMIT, LIMIT, Surroundings, within_limit};
use crate::clock::{Clock, process_us};
use crate::config::Config;
use crate::domain::preflight::Finding;
use crate::domain::preflight::database::{
    CLOCK, CONNECTIONS, PRIVILEGES, REACHABLE, SCHEMA, VERSION, WRITABLE, judge_connections, judge_privileges,
    judge_schema, judge_version, judge_writable,
};
use crate::domain::preflight::machine::judge_database_clock;
use crate::error::{Error, Result};
use crate::infra::store::clock::clock_read;
use crate::infra::store::preflight::{
    preflight_connections, preflight_postgres_version, preflight_privileges, preflight_sqlite_version,
};
use crate::infra::store::{Db, DbOptions, explain_unreachable};
use crate::usecase::schema::{known, schema};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

/// Connections that a preflight opens: one for each pool, and a second one that writes.
const CONNECTIONS_MAX: u32 = 4;
/// How long it waits for one of them, at most.
const ACQUIRE_TIMEOUT_MS: u64 = 3_000;
/// How long a statement may take.
const STATEMENT_TIMEOUT_MS: u64 = 5_000;
/// The name in Postgres' list of sessions.
const APPLICATION: &str = "bursar preflight";

/// The database, once it is connected: `None` if it is a file that is still to be made, else why it cannot be reached.
pub(super) type Connecting = Shared<BoxFuture<'static, std::result::Result<Option<Db>, String>>>;

/// Connects. All checks that need the database share the connection.
pub(super) fn connect(config: &Config) -> Connecting {
    let config = config.clone();
    let connecting = async move {
        match tokio::time::timeout(CONNECT_LIMIT, open(&config)).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("the database did not answer within {} s", CONNECT_LIMIT.as_secs())),
        }
    };
    connecting.boxed().shared()
}

async fn open(config: &Config) -> std::result::Result<Option<Db>, String> {
    // Connecting would make the file.
    if config.sqlite_file().is_some_and(|file| !file.exists()) {
        return Ok(None);
    }
    let options = DbOptions {
        connections_max: CONNECTIONS_MAX,
        acquire_timeout_ms: config.database.acquire_timeout_ms.min(ACQUIRE_TIMEOUT_MS),
        statement_timeout_ms: STATEMENT_TIMEOUT_MS,
        ..DbOptions::new(config.database_url())
    };
    match Db::connect_as(&options, APPLICATION).await {
        Ok(db) => Ok(Some(db)),
        Err(error) => Err(explain_unreachable(&options, &error).await),
    }
}

/// Closes the connection, once all checks have ended.
pub(super) async fn close(db: Connecting) {
    if let Ok(Some(db)) = db.await {
        // The answers are known; a connection that does not close in time ends with the process.
        let _ = tokio::time::timeout(LIMIT, db.close()).await;
    }
}

/// Looks at the database.
pub(super) async fn check(of: &Surroundings, db: Connecting) -> Vec<Finding> {
    let (clock, config) = (of.clock.clone(), &of.config);
    let (connections_max, offset_max_ms) = (config.database.connections_max, config.database.clock_offset_max_ms);
    let (reachable, version, writable, privileges, schema, connections, clock) = tokio::join!(
        within_limit(&[REACHABLE], reachable(db.clone())),
        ask(VERSION, db.clone(), version),
        ask(WRITABLE, db.clone(), async |db: Db| Ok(judge_writable(db.is_read_only().await?))),
        ask(PRIVILEGES, db.clone(), privileges),
        ask(SCHEMA, db.clone(), async |db: Db| Ok(judge_schema(&schema(&db).await?, known().len()))),
        ask(CONNECTIONS, db.clone(), move |db| connections(db, connections_max)),
        ask(CLOCK, db, move |db| offset(db, clock, offset_max_ms)),
    );
    [reachable, version, writable, privileges, schema, connections, clock].concat()
}

async fn reachable(db: Connecting) -> Vec<Finding> {
    vec![match db.await {
        Ok(Some(db)) if db.is_postgres() => Finding::ok(REACHABLE, "Postgres answers, and accepts the login"),
        Ok(Some(_)) => Finding::ok(REACHABLE, "the database's file can be opened"),
        Ok(None) => Finding::ok(REACHABLE, "the database's file is made at the first start"),
        Err(why) => Finding::fail(REACHABLE, why, "the server does not start without its database"),
    }]
}

/// Asks the database, if it can be reached.
async fn ask<A, F>(name: &'static str, db: Connecting, asked: A) -> Vec<Finding>
where
    A: FnOnce(Db) -> F + Send + 'static,
    F: Future<Output = Result<Finding>> + Send + 'static,
{
    let answer = async move {
        vec![match db.await {
            Ok(Some(db)) => asked(db).await.unwrap_or_else(|error| {
                Finding::fail(name, format!("the database does not say: {}", error.chain()), "see the database's log")
            }),
            Ok(None) => Finding::skipped(name, "the database's file is made at the first start"),
            Err(_) => Finding::skipped(name, "the database cannot be reached"),
        }]
    };
    within_limit(&[name], answer).await
}

async fn version(db: Db) -> Result<Finding> {
    if db.is_postgres() {
        return Ok(judge_version(&preflight_postgres_version(db.read()).await?));
    }
    let version = preflight_sqlite_version(db.read()).await?;
    Ok(Finding::ok(VERSION, format!("SQLite {version}, a part of this program")))
}

async fn privileges(db: Db) -> Result<Finding> {
    if !db.is_postgres() {
        return Ok(Finding::skipped(PRIVILEGES, "SQLite has no users"));
    }
    // Whoever may not even read which migrations are applied is told so by the other check.
    let is_migrated = schema(&db).await.is_ok_and(|schema| schema.is_served());
    Ok(judge_privileges(&preflight_privileges(db.read()).await?, is_migrated))
}

async fn connections(db: Db, connections_max: u32) -> Result<Finding> {
    if !db.is_postgres() {
        return Ok(Finding::skipped(CONNECTIONS, "SQLite serves one process"));
    }
    Ok(judge_connections(preflight_connections(db.read()).await?, connections_max))
}

async fn offset(db: Db, clock: Clock, offset_max_ms: i64) -> Result<Finding> {
    if !db.is_postgres() {
        return Ok(Finding::skipped(CLOCK, "SQLite uses the machine's clock"));
    }
    let readings = clock_read(&db).await?;
    // The machine's time at the zero of the process's own clock.
    let zero_us = clock.uncorrected_ms() * 1_000 - process_us();
    // The shortest reading is the most exact.
    let exact = readings.iter().min_by_key(|reading| reading.answered_us - reading.asked_us);
    let exact = exact.ok_or_else(|| Error::Corrupt("the database returned no time".to_owned()))?;
    let machine_us = zero_us + i64::midpoint(exact.asked_us, exact.answered_us);
    Ok(judge_database_clock(CLOCK, (machine_us - exact.database_us) / 1_000, offset_max_ms))
}
