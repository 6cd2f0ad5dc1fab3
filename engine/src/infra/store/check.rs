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

/// The approximate number of rows to check, counted just before the check.
pub async fn check_count(db: &impl ConnectionTrait, population: &str) -> Result<u64> {
    let row = query_one(db, &format!("SELECT COUNT(*) AS n FROM {population}"), []).await?;
    row.map_or(Ok(0), |row| Ok(get::<i64>(&row, "n")?.cast_unsigned()))
}

/// Descriptions of the first `limit` violations, and their total number.
pub async fn check_offenders(db: &impl ConnectionTrait, check: &Check, limit: u64) -> Result<(Vec<String>, u64)> {
    let sql = format!(
        "SELECT what, COUNT(*) OVER () AS total FROM ({}) AS offenders ORDER BY what LIMIT $1",
        check.offenders
    );
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
               e.detail AS detail, e.hold_id AS hold_id \
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
        created_at_ms: 0,
    }))
}
