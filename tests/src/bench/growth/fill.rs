//! Fills a database with years of work, by SQL alone but with exactly the rows that the application would leave.

use super::super::seed::CREDITS;
use anyhow::{Context, Result};
use bursar_engine::clock::Clock;
use bursar_engine::infra::store::Db;
use sea_orm::{ConnectionTrait, Statement};

/// Rows that one statement inserts.
const ROWS_AT_ONCE: u64 = 500_000;
/// Scheduled jobs of one customer.
const JOBS_EACH: u64 = 10;
/// Maximum number of ledger entries for each customer, so that its credits suffice.
const ENTRIES_EACH_MAX: u64 = 500_000;
/// Time between the due times of two scheduled jobs. Ten million are due within 80 days.
const DUE_EVERY_MS: i64 = 700;
/// How far ahead the first scheduled job is due: longer than any run.
const DUE_AFTER_MS: i64 = 24 * 60 * 60 * 1_000;
/// Jobs in every database that ended long ago, for the retention to delete.
pub const ENDED_JOBS: u64 = 3_000;

/// The size of a database.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Customers with an account and an API key.
    pub customers: u64,
    /// Jobs that are scheduled.
    pub jobs: u64,
    /// Debits in the ledger; rounded up to the same number for each customer.
    pub entries: u64,
}

/// Fills a database that already has its customers.
///
/// # Errors
/// When the database refuses a row, or its user is not a superuser.
pub async fn fill(db: &Db, size: Size) -> Result<()> {
    let now_ms = Clock::System.now_ms();
    let each = size.entries.div_ceil(size.customers);
    anyhow::ensure!(each <= ENTRIES_EACH_MAX, "so many entries take more customers");
    let mut statements = vec![ended_jobs()];
    for (from, upto) in chunks(size.jobs) {
        statements.push(scheduled_jobs(from, upto, now_ms));
    }
    // Customers alternate, as they would over time.
    for (from, upto) in chunks_of(each, (ROWS_AT_ONCE / size.customers).max(1)) {
        statements.push(debits(from, upto, size.customers));
    }
    statements.push(accounts(each));
    let tx = db.begin().await?;
    // All references are valid; checking ten million of them takes minutes.
    tx.execute_unprepared("SET LOCAL session_replication_role = replica").await?;
    for statement in &statements {
        tx.execute_unprepared(statement).await?;
    }
    tx.commit().await?;
    for tidy in ["VACUUM ANALYZE", "CHECKPOINT"] {
        db.write().execute_unprepared(tidy).await?;
    }
    Ok(())
}

/// Counts scheduled jobs and ledger entries.
///
/// # Errors
/// When the database fails.
pub async fn count(db: &Db) -> Result<(i64, i64)> {
    let sql = "SELECT (SELECT COUNT(*) FROM jobs WHERE state = 'available'), (SELECT COUNT(*) FROM ledger_entries)";
    let row = db.read().query_one_raw(Statement::from_string(db.backend(), sql)).await?.context("a row")?;
    Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))
}

fn chunks(rows: u64) -> Vec<(u64, u64)> {
    chunks_of(rows, ROWS_AT_ONCE)
}

/// Splits 0..`rows` into parts, each given by its first and last number.
fn chunks_of(rows: u64, part: u64) -> Vec<(u64, u64)> {
    (0..rows.div_ceil(part)).map(|n| (n * part, (n * part + part).min(rows) - 1)).collect()
}

/// Jobs that expire holds and grants, each with its own stream.
fn scheduled_jobs(from: u64, upto: u64, now_ms: i64) -> String {
    let (first_ms, id) = (now_ms + DUE_AFTER_MS, "'job_1' || lpad(n::text, 25, '0')");
    format!(
        "WITH made AS (INSERT INTO streams (key, last_seq) \
         SELECT 'job:' || {id}, 1 FROM generate_series({from}, {upto}) AS n) \
         INSERT INTO jobs (id, kind, args, stream_key, seq, state, attempts_max, run_at_ms, unique_key, customer_id, \
         created_at_ms) SELECT {id}, 'account.settle', \
         '{{\"customer\":\"cst_' || lpad((n / {JOBS_EACH})::text, 26, '0') || '\"}}', \
         'job:' || {id}, 1, 'available', 20, {first_ms} + n::bigint * {DUE_EVERY_MS}, \
         'settle:hld_' || lpad(n::text, 26, '0'), 'cst_' || lpad((n / {JOBS_EACH})::text, 26, '0'), {now_ms} \
         FROM generate_series({from}, {upto}) AS n"
    )
}

/// Jobs that ended in 1970. Their ids sort first, as those of older jobs do.
fn ended_jobs() -> String {
    let id = "'job_0' || lpad(n::text, 25, '0')";
    format!(
        "WITH made AS (INSERT INTO streams (key, last_seq) \
         SELECT 'job:' || {id}, 1 FROM generate_series(1, {ENDED_JOBS}) AS n) \
         INSERT INTO jobs (id, kind, args, stream_key, seq, state, attempt, attempts_max, run_at_ms, created_at_ms, \
         finished_at_ms) SELECT {id}, 'account.settle', '{{}}', 'job:' || {id}, 1, 'succeeded', 1, 20, 0, 0, n \
         FROM generate_series(1, {ENDED_JOBS}) AS n"
    )
}

/// Debits of one credit, number `from` to `upto` of each customer, counted from 0.
fn debits(from: u64, upto: u64, customers: u64) -> String {
    format!(
        "INSERT INTO ledger_entries (customer_id, seq, kind, amount, held_delta, balance_after, held_after, source, \
         idempotency_key, request_hash, detail, created_at_ms) \
         SELECT 'cst_' || lpad(n::text, 26, '0'), s + 2, 'debit', -1, 0, {CREDITS} - 1 - s, 0, 'usage', \
         'api:grown-' || s, md5(s::text) || md5(n::text), '{{\"burned\":[{{\"grant\":1,\"credits\":1}}]}}', s \
         FROM generate_series({from}, {upto}) AS s, generate_series(0, {customers} - 1) AS n ORDER BY s, n"
    )
}

/// Sets each account to its balance after the debits.
fn accounts(each: u64) -> String {
    let each = each.cast_signed();
    let balance = CREDITS - each;
    format!(
        "UPDATE accounts SET balance = {balance}, version = {}, updated_at_ms = {}, \
         open = '{{\"grants\":[{{\"seq\":1,\"kind\":\"promotional\",\"remaining\":{balance}}}]}}'",
        each + 1,
        (each - 1).max(0)
    )
}
