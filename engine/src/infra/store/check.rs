//! What `bursar verify` asks the database. Nothing here writes.
//!
//! **Sound while others write.** Each [`Check`] is one statement, and one statement sees one moment
//! of the database (its own snapshot on Postgres at any isolation level, a read transaction on
//! SQLite). What a check demands holds after every commit, so a row that it finds is wrong, not
//! merely in the making. The fold needs two statements, and [`check_entries`] says why that is sound.

mod statements;

pub use statements::CHECKS;

use super::{Kind, Rows, from_json, get, query_all, query_one};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Account, Entry, EntryKind};
use crate::error::Result;
use crate::ids::{CustomerId, HoldId};
use sea_orm::{ConnectionTrait, QueryResult};

/// One claim about the stored data, with the statement that finds what contradicts it.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// The proof obligation that it belongs to.
    pub obligation: u8,
    /// What is proven, in words.
    pub name: &'static str,
    /// What is looked at: the FROM clause of a count.
    pub population: &'static str,
    /// Gives one row with one column `what`, in words, for each offender.
    offenders: &'static str,
}

/// How many rows a check looks at, about: it is counted just before the check.
pub async fn check_count(db: &impl ConnectionTrait, population: &str) -> Result<u64> {
    let row = query_one(db, &format!("SELECT COUNT(*) AS n FROM {population}"), []).await?;
    row.map_or(Ok(0), |row| Ok(get::<i64>(&row, "n")?.cast_unsigned()))
}

/// The first `limit` offenders in words, and how many there are in all.
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

/// An account as stored.
#[derive(Debug, Clone)]
pub struct StoredAccount {
    /// Whose it is.
    pub customer_id: CustomerId,
    /// The account. Nothing is open on it if that cannot be read.
    pub account: Account,
    /// When it is next to be settled, as the sweep sees it.
    pub next_settle_at_ms: Option<TimeMs>,
    /// Why what is open cannot be read.
    pub unreadable: Option<String>,
}

/// Accounts after the cursor in the order of their customers. It also gives
/// those that cannot be read.
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
        // The fold leaves times out; a check of its own looks at them.
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

/// Part of one customer's ledger.
#[derive(Debug, Clone, Copy)]
pub struct EntryRange<'a> {
    /// Whose ledger.
    pub customer_id: &'a CustomerId,
    /// Entries with a sequence number above this …
    pub after: i64,
    /// … up to and including this, which must not be above the version of an account already read.
    pub upto: i64,
}

/// An entry as far as the fold needs it, or its place and why it cannot be read.
pub type ReadEntry = std::result::Result<Entry, (i64, String)>;

/// The entries of many ranges in order, with whose they are; only what `Account::apply` looks at is
/// filled in.
///
/// This is sound although it is not the statement that read the accounts: entries are append-only
/// and commit together with the account whose version they make, so those up to a version that was
/// seen are all there and never change.
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
