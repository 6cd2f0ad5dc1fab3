//! Rows of `accounts` and `ledger_entries`.

use super::{
    Columns, Kind, Rows, execute, from_json, get, postgres_statement, postgres_text, query_all, query_by, query_one,
    seek, to_json,
};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::ledger::{Account, Entry, EntryKind};
use crate::error::{Error, Result};
use crate::ids::{CustomerId, HoldId};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};
use std::sync::LazyLock;

pub(super) const ENTRY_COLUMNS: &str = "customer_id, seq, kind, amount, held_delta, balance_after, held_after, source, \
                             reference, idempotency_key, request_hash, metadata, detail, hold_id, created_at_ms";

/// The new state of one account, with the entries that lead to it.
#[derive(Debug, Clone)]
pub struct AccountWrite {
    /// The account's customer.
    pub customer_id: CustomerId,
    /// The version of the account that was decided on; the write fails if the stored one differs.
    pub expected_version: i64,
    /// The resulting account.
    pub account: Account,
    /// Entries to append.
    pub entries: Vec<Entry>,
}

/// Inserts a new account, in the state after its first entries.
pub async fn account_insert(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    account: &Account,
    now_ms: TimeMs,
) -> Result<()> {
    execute(
        db,
        "INSERT INTO accounts (customer_id, balance, held, version, floor, open, next_settle_at_ms, updated_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        [
            customer.as_str().into(),
            account.balance.0.into(),
            account.held.0.into(),
            account.version.into(),
            account.floor.0.into(),
            to_json(&account.open)?.into(),
            account.next_settle_at_ms().into(),
            now_ms.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The columns of an account `a`.
pub(super) const ACCOUNT_COLUMNS: &str = "a.balance AS balance, a.held AS held, a.version AS version, \
                                          a.floor AS floor, a.open AS open, a.updated_at_ms AS updated_at_ms";

/// Reads an account joined to another row, if there is one.
pub(super) fn read_joined(row: &QueryResult) -> Result<Option<Account>> {
    get::<Option<i64>>(row, "version")?.map(|_| read_account(row)).transpose()
}

fn read_account(row: &QueryResult) -> Result<Account> {
    let open: String = get(row, "open")?;
    Ok(Account {
        balance: Credits(get(row, "balance")?),
        held: Credits(get(row, "held")?),
        version: get(row, "version")?,
        last_entry_at_ms: get(row, "updated_at_ms")?,
        floor: Credits(get(row, "floor")?),
        open: from_json(&open)?,
    })
}

/// Finds an account.
pub async fn account_find(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Option<Account>> {
    let sql = "SELECT balance, held, version, floor, open, updated_at_ms FROM accounts WHERE customer_id = $1";
    query_one(db, sql, [customer.as_str().into()]).await?.map(|row| read_account(&row)).transpose()
}

/// Finds an account and locks it until the transaction ends. SQLite has no row locks, but runs one writing
/// transaction at a time.
pub async fn account_lock(tx: &impl ConnectionTrait, customer: &CustomerId) -> Result<Option<Account>> {
    let lock = if tx.get_database_backend() == DbBackend::Postgres { "FOR UPDATE" } else { "" };
    let sql = format!(
        "SELECT balance, held, version, floor, open, updated_at_ms FROM accounts WHERE customer_id = $1 {lock}"
    );
    query_one(tx, &sql, [customer.as_str().into()]).await?.map(|row| read_account(&row)).transpose()
}

/// Finds many accounts; missing ones are left out.
pub async fn account_find_many(db: &impl ConnectionTrait, customers: &[String]) -> Result<Vec<(CustomerId, Account)>> {
    let accounts = seek(db.get_database_backend(), "accounts a", "a.customer_id = r.sought");
    let sql = format!("SELECT a.customer_id AS customer_id, {ACCOUNT_COLUMNS} FROM {{rows}} {accounts}");
    let rows = query_by(db, &sql, customers).await?;
    rows.iter().map(|row| Ok((CustomerId::trusted(get(row, "customer_id")?), read_account(row)?))).collect()
}

const ACCOUNT_ROW: Columns = &[
    ("customer_id", Kind::SomeText),
    ("expected", Kind::SomeInt),
    ("balance", Kind::SomeInt),
    ("held", Kind::SomeInt),
    ("version", Kind::SomeInt),
    ("floor", Kind::SomeInt),
    ("open", Kind::SomeText),
    ("next_settle_at_ms", Kind::Int),
    ("at_ms", Kind::SomeInt),
];

/// The new states of accounts, as rows.
fn account_rows(writes: &[&AccountWrite]) -> Result<Rows> {
    let mut rows = Rows::new(ACCOUNT_ROW);
    for write in writes {
        rows.push([
            write.customer_id.as_str().into(),
            write.expected_version.into(),
            write.account.balance.0.into(),
            write.account.held.0.into(),
            write.account.version.into(),
            write.account.floor.0.into(),
            to_json(&write.account.open)?.into(),
            write.account.next_settle_at_ms().into(),
            write.account.last_entry_at_ms.into(),
        ]);
    }
    Ok(rows)
}

/// More rows than any list has.
const LIST_MAX: i64 = 1_000_000;

/// The assignments from a row `r`.
const ACCOUNT_SET: &str = "balance = r.balance, held = r.held, version = r.version, floor = r.floor, open = r.open, \
                           next_settle_at_ms = r.next_settle_at_ms, updated_at_ms = r.at_ms";

const ENTRY_ROW: Columns = &[
    ("customer_id", Kind::SomeText),
    ("seq", Kind::SomeInt),
    ("kind", Kind::SomeText),
    ("amount", Kind::SomeInt),
    ("held_delta", Kind::SomeInt),
    ("balance_after", Kind::SomeInt),
    ("held_after", Kind::SomeInt),
    ("source", Kind::SomeText),
    ("reference", Kind::Text),
    ("idempotency_key", Kind::Text),
    ("request_hash", Kind::Text),
    ("metadata", Kind::Text),
    ("detail", Kind::SomeText),
    ("hold_id", Kind::Text),
    ("created_at_ms", Kind::SomeInt),
];

/// New entries, as rows.
fn entry_rows(writes: &[&AccountWrite]) -> Result<Rows> {
    let mut rows = Rows::new(ENTRY_ROW);
    for write in writes {
        for entry in &write.entries {
            rows.push([
                write.customer_id.as_str().into(),
                entry.seq.into(),
                entry.kind.as_str().into(),
                entry.amount.0.into(),
                entry.held_delta.0.into(),
                entry.balance_after.0.into(),
                entry.held_after.0.into(),
                entry.source.as_str().into(),
                entry.reference.clone().into(),
                entry.idempotency_key.clone().into(),
                entry.request_hash.clone().into(),
                entry.metadata.clone().into(),
                to_json(&entry.detail)?.into(),
                entry.hold_id.as_ref().map(|id| id.as_str().to_owned()).into(),
                entry.created_at_ms.into(),
            ]);
        }
    }
    Ok(rows)
}

/// Writes many accounts, each only if its stored version is the expected one. Returns the customers of those
/// written.
pub async fn account_update_many(db: &impl ConnectionTrait, writes: &[&AccountWrite]) -> Result<Vec<String>> {
    let sql = format!(
        "UPDATE accounts SET {ACCOUNT_SET} FROM {{rows}} \
         WHERE accounts.customer_id = {{r.customer_id}} AND accounts.version = r.expected \
         RETURNING accounts.customer_id AS customer_id"
    );
    let updated = db.query_all_raw(account_rows(writes)?.statement(db.get_database_backend(), &sql)).await?;
    updated.iter().map(|row| get(row, "customer_id")).collect()
}

/// An account due for settling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleDue {
    /// When it became due.
    pub at_ms: TimeMs,
    /// The account's customer.
    pub customer_id: CustomerId,
}

/// Accounts due for settling, the earliest first, after `after`.
pub async fn account_settle_due(
    db: &impl ConnectionTrait,
    now_ms: TimeMs,
    after: Option<&SettleDue>,
    limit: u64,
) -> Result<Vec<SettleDue>> {
    let sql = "SELECT next_settle_at_ms, customer_id FROM accounts WHERE next_settle_at_ms <= $1 \
               AND (next_settle_at_ms, customer_id) > ($2, $3) ORDER BY next_settle_at_ms, customer_id LIMIT $4";
    let (at_ms, customer) = after.map_or((TimeMs::MIN, ""), |due| (due.at_ms, due.customer_id.as_str()));
    let values = [now_ms.into(), at_ms.into(), customer.into(), limit.cast_signed().into()];
    let rows = query_all(db, sql, values).await?;
    let read = |row: &QueryResult| {
        Ok(SettleDue {
            at_ms: get(row, "next_settle_at_ms")?,
            customer_id: CustomerId::trusted(get(row, "customer_id")?),
        })
    };
    rows.iter().map(read).collect()
}

/// When the next account is due for settling; in the past if one is overdue.
pub async fn account_settle_next(db: &impl ConnectionTrait) -> Result<Option<TimeMs>> {
    let sql = "SELECT next_settle_at_ms FROM accounts WHERE next_settle_at_ms IS NOT NULL \
               ORDER BY next_settle_at_ms LIMIT 1";
    query_one(db, sql, []).await?.map(|row| get(&row, "next_settle_at_ms")).transpose()
}

/// Corrects the stored times of settling. Returns the number of wrong ones, which only a node older than the column
/// can leave behind.
pub async fn account_settle_correct(db: &impl ConnectionTrait, customers: &[String]) -> Result<u64> {
    let mut rows = Rows::new(&[("customer_id", Kind::Text), ("version", Kind::Int), ("at_ms", Kind::Int)]);
    // In the order in which every transaction locks accounts.
    let mut found = account_find_many(db, customers).await?;
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (customer, account) in found {
        rows.push([customer.as_str().into(), account.version.into(), account.next_settle_at_ms().into()]);
    }
    if rows.is_empty() {
        return Ok(0);
    }
    let sql = "UPDATE accounts SET next_settle_at_ms = r.at_ms FROM {rows} WHERE accounts.customer_id = {r.customer_id} \
               AND accounts.version = r.version AND accounts.next_settle_at_ms IS DISTINCT FROM r.at_ms";
    Ok(db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?.rows_affected())
}

/// Appends the entries of many accounts. Returns the number appended, which is lower than expected if an
/// idempotency key was already used.
pub async fn entry_append_many(db: &impl ConnectionTrait, writes: &[&AccountWrite]) -> Result<u64> {
    let sql = format!(
        "INSERT INTO ledger_entries ({ENTRY_COLUMNS}) SELECT {ENTRY_COLUMNS} FROM {{rows}} \
         WHERE true ON CONFLICT (customer_id, idempotency_key) DO NOTHING"
    );
    let inserted = db.execute_raw(entry_rows(writes)?.statement(db.get_database_backend(), &sql)).await?;
    Ok(inserted.rows_affected())
}

/// Writes many accounts and their entries in one statement of Postgres, a transaction by itself. An account is
/// skipped with all its entries if its stored version is not the expected one or one of its idempotency keys was
/// already used. Returns the customers of those written.
///
/// Looking up the keys first is safe because of the version: using a key also writes the account, so a key used
/// after this statement began changes the expected version.
pub async fn account_commit_many(db: &impl ConnectionTrait, writes: &[&AccountWrite]) -> Result<Vec<String>> {
    let statement = postgres_statement(&COMMIT_MANY, [entry_rows(writes)?, account_rows(writes)?]);
    let written = db.query_all_raw(statement).await?;
    written.iter().map(|row| get(row, "customer_id")).collect()
}

/// The text of [`account_commit_many`], built once.
//
// The connection keeps its first plan, possibly made while the tables are nearly empty, when scanning a whole index
// looks cheap. So the text leaves no choice: rows and keys are looked up one by one in subqueries that cannot
// become joins, an account is found by its ctid, and an unknown limit makes the list look short. `IN` inside `CASE`
// uses a hash table.
static COMMIT_MANY: LazyLock<String> = LazyLock::new(|| {
    let sql = format!(
        "WITH entry AS MATERIALIZED (SELECT * FROM {{entries}}), \
         used AS MATERIALIZED (SELECT e.customer_id FROM entry e WHERE (SELECT l.seq FROM ledger_entries l \
         WHERE l.customer_id = e.customer_id AND l.idempotency_key = e.idempotency_key) IS NOT NULL), \
         target AS MATERIALIZED (SELECT r.*, (SELECT a.ctid FROM accounts a WHERE a.customer_id = r.customer_id) \
         AS place FROM {{accounts}} \
         WHERE CASE WHEN r.customer_id IN (SELECT customer_id FROM used) THEN false ELSE true END \
         LIMIT (SELECT {LIST_MAX})), \
         written AS (UPDATE accounts SET {ACCOUNT_SET} FROM target r \
         WHERE accounts.ctid = r.place AND accounts.version = r.expected \
         RETURNING accounts.customer_id AS customer_id), \
         appended AS (INSERT INTO ledger_entries ({ENTRY_COLUMNS}) SELECT {ENTRY_COLUMNS} FROM entry \
         WHERE CASE WHEN customer_id IN (SELECT customer_id FROM written) THEN true ELSE false END) \
         SELECT customer_id FROM written"
    );
    postgres_text(&sql, &[("{entries}", ENTRY_ROW), ("{accounts}", ACCOUNT_ROW)])
});

/// The columns of an entry `e`.
fn columns_of_entry() -> String {
    let columns = ENTRY_COLUMNS.split(", ").map(|column| format!("e.{column} AS {column}"));
    columns.collect::<Vec<_>>().join(", ")
}

/// Reads a row of [`ENTRY_COLUMNS`] with its customer.
pub(super) fn read_entry_of(row: &QueryResult) -> Result<(CustomerId, Entry)> {
    Ok((CustomerId::trusted(get(row, "customer_id")?), read_entry(row)?))
}

fn read_entry(row: &QueryResult) -> Result<Entry> {
    let kind: String = get(row, "kind")?;
    let detail: String = get(row, "detail")?;
    let hold_id: Option<String> = get(row, "hold_id")?;
    Ok(Entry {
        seq: get(row, "seq")?,
        kind: EntryKind::parse(&kind).ok_or_else(|| Error::Corrupt(format!("entry kind {kind}")))?,
        amount: Credits(get(row, "amount")?),
        held_delta: Credits(get(row, "held_delta")?),
        balance_after: Credits(get(row, "balance_after")?),
        held_after: Credits(get(row, "held_after")?),
        source: get(row, "source")?,
        reference: get(row, "reference")?,
        idempotency_key: get(row, "idempotency_key")?,
        request_hash: get(row, "request_hash")?,
        metadata: get(row, "metadata")?,
        hold_id: hold_id.map(HoldId::trusted),
        detail: from_json(&detail)?,
        created_at_ms: get(row, "created_at_ms")?,
    })
}

/// A part of a ledger, oldest first: at most `limit` entries after `after`, up to and including `upto`.
pub async fn entry_list_up(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    after: i64,
    upto: i64,
    limit: u64,
) -> Result<Vec<Entry>> {
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM ledger_entries WHERE customer_id = $1 AND seq > $2 AND seq <= $3 \
         ORDER BY seq LIMIT $4"
    );
    let values = [customer.as_str().into(), after.into(), upto.into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read_entry).collect()
}

/// Whether a customer has ever spent a credit.
pub async fn account_has_spent(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<bool> {
    let sql = "SELECT seq FROM ledger_entries WHERE customer_id = $1 AND kind IN ('debit', 'capture') LIMIT 1";
    Ok(query_one(db, sql, [customer.as_str().into()]).await?.is_some())
}

/// The entry with an idempotency key.
pub async fn entry_find_by_key(db: &impl ConnectionTrait, customer: &CustomerId, key: &str) -> Result<Option<Entry>> {
    let sql = format!("SELECT {ENTRY_COLUMNS} FROM ledger_entries WHERE customer_id = $1 AND idempotency_key = $2");
    query_one(db, &sql, [customer.as_str().into(), key.into()]).await?.map(|row| read_entry(&row)).transpose()
}

/// The entries of those (customer, key) pairs that were already used.
pub async fn entry_find_by_keys(
    db: &impl ConnectionTrait,
    pairs: &[(&CustomerId, &str)],
) -> Result<Vec<(String, Entry)>> {
    let mut rows = Rows::new(&[("customer", Kind::Text), ("key", Kind::Text)]);
    for (customer, key) in pairs {
        rows.push([customer.as_str().into(), (*key).into()]);
    }
    let backend = db.get_database_backend();
    let entries = seek(backend, "ledger_entries e", "e.customer_id = r.customer AND e.idempotency_key = r.key");
    let sql = format!("SELECT {} FROM {{rows}} {entries}", columns_of_entry());
    let found = db.query_all_raw(rows.statement(backend, &sql)).await?;
    found.iter().map(|row| Ok((get(row, "customer_id")?, read_entry(row)?))).collect()
}

/// The entries of a customer with these numbers; missing ones are left out.
pub async fn entry_find_many(db: &impl ConnectionTrait, customer: &CustomerId, seqs: &[i64]) -> Result<Vec<Entry>> {
    if seqs.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Rows::new(&[("customer", Kind::Text), ("place", Kind::Int)]);
    for seq in seqs {
        rows.push([customer.as_str().into(), (*seq).into()]);
    }
    let backend = db.get_database_backend();
    let entries = seek(backend, "ledger_entries e", "e.customer_id = r.customer AND e.seq = r.place");
    let sql = format!("SELECT {} FROM {{rows}} {entries}", columns_of_entry());
    db.query_all_raw(rows.statement(backend, &sql)).await?.iter().map(read_entry).collect()
}

/// The latest entry of a hold, which opened or closed it.
pub async fn entry_last_of_hold(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    hold: &HoldId,
) -> Result<Option<Entry>> {
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM ledger_entries WHERE customer_id = $1 AND hold_id = $2 ORDER BY seq DESC LIMIT 1"
    );
    query_one(db, &sql, [customer.as_str().into(), hold.as_str().into()]).await?.map(|row| read_entry(&row)).transpose()
}

/// A customer's entries, latest first, below `before`.
pub async fn entry_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<Entry>> {
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM ledger_entries WHERE customer_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3"
    );
    let values = [customer.as_str().into(), before.unwrap_or(i64::MAX).into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read_entry).collect()
}
