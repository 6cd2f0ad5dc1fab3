//! The statements of `bursar verify`. Nothing here writes.
//!
//! **Correct while others write.** Each [`Check`] is one statement, and a statement sees one moment of the database
//! (its own snapshot on Postgres at any isolation level, a read transaction on SQLite). Every check holds after
//! every commit, so an offending row is wrong and not just in transition. The fold needs two statements;
//! [`check_entries`] explains why that is correct.

mod statements;

pub use statements::CHECKS;

use super::{Kind, Rows, from_json, get, query_all, query_one};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Account, Entry, EntryKind};
use crate::domain::operation::PURCHASE_KINDS;
use crate::error::Result;
use crate::ids::{CustomerId, HoldId};
use sea_orm::{ConnectionTrait, QueryResult};

/// A claim about the stored data, with the statement that finds violations.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The number of its proof obligation.
    pub obligation: u8,
    /// The claim.
    pub name: &'static str,
    /// The checked rows: the FROM clause of a count.
    pub population: &'static str,
    /// Selects one row with a description `what` for each violation.
    offenders: &'static str,
}

/// Puts the lists that are kept elsewhere in place of their names in braces.
fn with_lists(sql: String) -> String {
    sql.replace("{purchase_kinds}", PURCHASE_KINDS)
}

/// The approximate number of rows to check, counted just before the check.
pub async fn check_count(db: &impl ConnectionTrait, population: &str) -> Result<u64> {
    let sql = with_lists(format!("SELECT COUNT(*) AS n FROM {population}"));
    let row = query_one(db, &sql, []).await?;
    row.map_or(Ok(0), |row| Ok(get::<i64>(&row, "n")?.cast_unsigned()))
}

/// Descriptions of the first `limit` violations, and their total number.
pub async fn check_offenders(db: &impl ConnectionTrait, check: &Check, limit: u64) -> Result<(Vec<String>, u64)> {
    let sql = with_lists(format!(
        "SELECT what, COUNT(*) OVER () AS total FROM ({}) AS offenders ORDER BY what LIMIT $1",
        check.offenders
    ));
    let rows = query_all(db, &sql, [limit.cast_signed().into()]).await?;
    let total = rows.first().map_or(Ok(0), |row| get::<i64>(row, "total"))?;
    let words = rows.iter().map(|row| get(row, "what")).collect::<Result<_>>()?;
    Ok((words, total.cast_unsigned()))
}

/// A stored account.
#[derive(Debug, Clone)]
pub struct StoredAccount {
    /// The account's customer.
    pub customer_id: CustomerId,
    /// The account, without open items if they are unreadable.
    pub account: Account,
    /// The stored time of settling, which the sweep uses.
    pub next_settle_at_ms: Option<TimeMs>,
    /// Why the open items are unreadable.
    pub unreadable: Option<String>,
}

/// Accounts after the cursor, ordered by customer, including unreadable ones.
pub async fn check_accounts(db: &impl ConnectionTrait, after: &str, limit: u64) -> Result<Vec<StoredAccount>> {
    let sql = "SELECT customer_id, balance, held, version, floor, open, next_settle_at_ms FROM accounts \
               WHERE customer_id > $1 ORDER BY customer_id LIMIT $2";
    query_all(db, sql, [after.into(), limit.cast_signed().into()]).await?.iter().map(read_account).collect()
}

fn read_account(row: &QueryResult) -> Result<StoredAccount> {
    let text: String = get(row, "open")?;
    let (open, unreadable) = match from_json(&text) {
        Ok(open) => (open, None),
        Err(error) => (Default::default(), Some(error.to_string())),
    };
    let account = Account {
        balance: Credits(get(row, "balance")?),
        held: Credits(get(row, "held")?),
        version: get(row, "version")?,
        // The fold ignores times; a separate check compares them.
        last_entry_at_ms: 0,
        floor: Credits(get(row, "floor")?),
        open,
    };
    Ok(StoredAccount {
        customer_id: CustomerId::trusted(get(row, "customer_id")?),
        account,
        next_settle_at_ms: get(row, "next_settle_at_ms")?,
        unreadable,
    })
}

/// A part of one customer's ledger.
#[derive(Debug, Clone, Copy)]
pub struct EntryRange<'a> {
    /// The ledger's customer.
    pub customer_id: &'a CustomerId,
    /// Entries with a greater sequence number …
    pub after: i64,
    /// … up to and including this, which must not be greater than the version of an account already read.
    pub upto: i64,
}

/// An entry with the fields that the fold needs, or its sequence number and why it is unreadable.
pub type ReadEntry = std::result::Result<Entry, (i64, String)>;

/// The entries of many ranges, ordered by customer and sequence number. Only fields that `Account::apply` uses are
/// filled in.
///
/// A second statement is correct here: entries are append-only and commit together with their account's version, so
/// the entries up to a version already read are complete and never change.
pub async fn check_entries(
    db: &impl ConnectionTrait,
    ranges: &[EntryRange<'_>],
) -> Result<Vec<(CustomerId, ReadEntry)>> {
    let mut rows = Rows::new(&[("customer", Kind::Text), ("after", Kind::Int), ("upto", Kind::Int)]);
    for range in ranges {
        rows.push([range.customer_id.as_str().into(), range.after.into(), range.upto.into()]);
    }
    let sql = "SELECT e.customer_id AS customer_id, e.seq AS seq, e.kind AS kind, e.amount AS amount, \
               e.held_delta AS held_delta, e.balance_after AS balance_after, e.held_after AS held_after, \
               e.detail AS detail, e.hold_id AS hold_id, e.created_at_ms AS created_at_ms \
               FROM {rows} JOIN ledger_entries e ON e.customer_id = r.customer AND e.seq > r.after \
               AND e.seq <= r.upto ORDER BY e.customer_id, e.seq";
    let found = db.query_all_raw(rows.statement(db.get_database_backend(), sql)).await?;
    found.iter().map(|row| Ok((CustomerId::trusted(get(row, "customer_id")?), read_entry(row)?))).collect()
}

fn read_entry(row: &QueryResult) -> Result<ReadEntry> {
    let seq: i64 = get(row, "seq")?;
    let kind: String = get(row, "kind")?;
    let Some(kind) = EntryKind::parse(&kind) else {
        return Ok(Err((seq, format!("its kind {kind} is unknown"))));
    };
    let detail = match from_json(&get::<String>(row, "detail")?) {
        Ok(detail) => detail,
        Err(error) => return Ok(Err((seq, error.to_string()))),
    };
    Ok(Ok(Entry {
        seq,
        kind,
        amount: Credits(get(row, "amount")?),
        held_delta: Credits(get(row, "held_delta")?),
        balance_after: Credits(get(row, "balance_after")?),
        held_after: Credits(get(row, "held_after")?),
        hold_id: get::<Option<String>>(row, "hold_id")?.map(HoldId::trusted),
        detail,
        source: String::new(),
        reference: None,
        idempotency_key: None,
        request_hash: None,
        metadata: None,
        created_at_ms: get(row, "created_at_ms")?,
    }))
}

/// The entries that invoices brought, as the FROM clause of a count.
pub const SOLD_GRANTS: &str = "ledger_entries WHERE kind IN ('grant', 'claw_back') AND source = 'stripe' AND idempotency_key LIKE 'stripe:invoice:%'";

/// A grant for an invoice, or what it took back of a period that was left.
#[derive(Debug, Clone)]
pub struct SoldGrant {
    /// Its customer.
    pub customer_id: CustomerId,
    /// Its place in the ledger.
    pub seq: i64,
    /// Its idempotency key.
    pub key: String,
    /// Its credits; negative if it took some back.
    pub amount: Credits,
    /// What is kept with it.
    pub metadata: Option<String>,
    /// When it was made.
    pub created_at_ms: TimeMs,
}

/// Grants for invoices after the cursor, a customer and a place in its ledger.
pub async fn check_sold(db: &impl ConnectionTrait, after: (&str, i64), limit: u64) -> Result<Vec<SoldGrant>> {
    let sql = format!(
        "SELECT customer_id, seq, idempotency_key, amount, metadata, created_at_ms FROM {SOLD_GRANTS} \
         AND (customer_id > $1 OR (customer_id = $1 AND seq > $2)) ORDER BY customer_id, seq LIMIT $3"
    );
    let rows = query_all(db, &sql, [after.0.into(), after.1.into(), limit.cast_signed().into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(SoldGrant {
                customer_id: CustomerId::trusted(get(row, "customer_id")?),
                seq: get(row, "seq")?,
                key: get::<Option<String>>(row, "idempotency_key")?.unwrap_or_default(),
                amount: Credits(get(row, "amount")?),
                metadata: get(row, "metadata")?,
                created_at_ms: get(row, "created_at_ms")?,
            })
        })
        .collect()
}

/// When the first grant was made that keeps what its invoice sold.
pub async fn check_sold_since(db: &impl ConnectionTrait) -> Result<Option<TimeMs>> {
    let sql = format!("SELECT MIN(created_at_ms) AS at FROM {SOLD_GRANTS} AND metadata LIKE '{{\"sold\":%'");
    query_one(db, &sql, []).await?.map_or(Ok(None), |row| get(&row, "at"))
}

/// A part of an invoice's credits whose time has come.
#[derive(Debug, Clone)]
pub struct DuePart {
    /// Its customer.
    pub customer_id: CustomerId,
    /// The place in the ledger of the invoice's first grant.
    pub first: i64,
    /// Its key in the ledger.
    pub key: String,
    /// When it was due.
    pub at_ms: TimeMs,
}

/// Those of the parts that were neither granted nor given up, with whether their job is dead; else there is none. A job
/// that was given up because the money is gone is cancelled, and credits of the invoice were clawed back.
pub async fn check_parts(db: &impl ConnectionTrait, parts: &[DuePart]) -> Result<Vec<(DuePart, bool)>> {
    let mut rows =
        Rows::new(&[("n", Kind::Int), ("customer", Kind::Text), ("first", Kind::Int), ("grant_key", Kind::Text)]);
    for (n, part) in (0_i64..).zip(parts) {
        rows.push([n.into(), part.customer_id.as_str().into(), part.first.into(), part.key.as_str().into()]);
    }
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT r.n AS n, j.state AS state FROM {rows} LEFT JOIN ledger_entries e ON e.customer_id = r.customer \
               AND e.idempotency_key = r.grant_key LEFT JOIN jobs j ON j.unique_key = 'grant:' || r.grant_key \
               WHERE e.seq IS NULL AND COALESCE(j.state, 'dead') = 'dead' AND NOT EXISTS \
               (SELECT 1 FROM ledger_entries c WHERE c.customer_id = r.customer AND c.kind = 'claw_back' \
               AND (c.detail LIKE '%\"grant\":' || r.first || ',%' OR c.detail LIKE '%\"grant\":' || r.first || '}%'))";
    let found = db.query_all_raw(rows.statement(db.get_database_backend(), sql)).await?;
    found
        .iter()
        .filter_map(|row| match (get::<i64>(row, "n"), get::<Option<String>>(row, "state")) {
            (Ok(n), Ok(state)) => {
                let part = parts.get(usize::try_from(n).ok()?)?.clone();
                Some(Ok((part, state.is_some())))
            }
            (Err(error), _) | (_, Err(error)) => Some(Err(error)),
        })
        .collect()
}
