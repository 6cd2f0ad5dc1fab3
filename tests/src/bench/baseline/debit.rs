//! The baseline's transaction: five statements, each prepared once for each connection.

use anyhow::{Context, Result};
use bursar_engine::amount::Credits;
use bursar_engine::clock::TimeMs;
use bursar_engine::domain::ledger::{Account, Command, Entry, EntryKind, decide};
use bursar_engine::error::Refusal;
use bursar_engine::ids::{CustomerId, HoldId};
use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

const LOCK: &str =
    "SELECT balance, held, version, floor, open, updated_at_ms FROM accounts WHERE customer_id = $1 FOR UPDATE";
const APPEND: &str = "INSERT INTO ledger_entries (customer_id, seq, kind, amount, held_delta, balance_after, held_after, \
     source, reference, idempotency_key, request_hash, metadata, detail, hold_id, created_at_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
     ON CONFLICT (customer_id, idempotency_key) DO NOTHING";
const UPDATE: &str = "UPDATE accounts SET balance = $2, held = $3, version = $4, open = $5, updated_at_ms = $6 \
     WHERE customer_id = $1";
const FIND: &str = "SELECT seq, kind, amount, held_delta, balance_after, held_after, source, reference, \
     idempotency_key, request_hash, metadata, detail, created_at_ms \
     FROM ledger_entries WHERE customer_id = $1 AND idempotency_key = $2";
const OWNER: &str =
    "SELECT customer_id FROM api_keys WHERE hash = $1 AND (revoked_at_ms IS NULL OR revoked_at_ms > $2)";

/// A debit in the ledger.
pub struct Applied {
    /// Its entry.
    pub entry: Entry,
    /// Whether an earlier request with the same key made it.
    pub replayed: bool,
}

/// Finds the customer of an API key by the key's hash, if the key works.
pub async fn key_owner(client: &Client, hash: &str, now_ms: TimeMs) -> Result<Option<CustomerId>> {
    let statement = client.prepare_cached(OWNER).await?;
    let row = client.query_opt(&statement, &[&hash, &now_ms]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.map(CustomerId::trusted))
}

/// Debits an account once for each idempotency key, in a transaction of its own.
pub async fn apply(
    client: &mut Client,
    customer: &CustomerId,
    command: &Command,
    now_ms: TimeMs,
) -> Result<Result<Applied, Refusal>> {
    let tx = client.transaction().await?;
    let account = lock(&tx, customer).await?;
    let decision = match decide(&account, command, now_ms) {
        Ok(decision) => decision,
        // A repeated request succeeds even if the first one spent the last credits.
        Err(refusal) => {
            let found = find(&tx, customer, command).await?;
            return Ok(found.map_or(Err(refusal), |entry| replay(entry, command)));
        }
    };
    for entry in &decision.entries {
        if append(&tx, customer, entry).await? == 0 {
            let entry = find(&tx, customer, command).await?.context("the key is taken by an entry")?;
            return Ok(replay(entry, command));
        }
    }
    let account = &decision.account;
    let open = serde_json::to_string(&account.open)?;
    let statement = tx.prepare_cached(UPDATE).await?;
    let (id, last_at_ms) = (customer.as_str(), account.last_entry_at_ms);
    tx.execute(&statement, &[&id, &account.balance.0, &account.held.0, &account.version, &open, &last_at_ms]).await?;
    tx.commit().await?;
    let entry = decision.entries.into_iter().last().context("a debit has an entry")?;
    Ok(Ok(Applied { entry, replayed: false }))
}

fn replay(entry: Entry, command: &Command) -> Result<Applied, Refusal> {
    if entry.request_hash == command.request_hash {
        Ok(Applied { entry, replayed: true })
    } else {
        Err(Refusal::KeyReused)
    }
}

async fn lock(tx: &Transaction<'_>, customer: &CustomerId) -> Result<Account> {
    let statement = tx.prepare_cached(LOCK).await?;
    let row = tx.query_one(&statement, &[&customer.as_str()]).await?;
    let open: &str = row.try_get("open")?;
    Ok(Account {
        balance: Credits(row.try_get("balance")?),
        held: Credits(row.try_get("held")?),
        version: row.try_get("version")?,
        last_entry_at_ms: row.try_get("updated_at_ms")?,
        floor: Credits(row.try_get("floor")?),
        open: serde_json::from_str(open)?,
    })
}

async fn append(tx: &Transaction<'_>, customer: &CustomerId, entry: &Entry) -> Result<u64> {
    let statement = tx.prepare_cached(APPEND).await?;
    let detail = serde_json::to_string(&entry.detail)?;
    let hold_id = entry.hold_id.as_ref().map(HoldId::as_str);
    let (id, kind) = (customer.as_str(), entry.kind.as_str());
    let values: [&(dyn ToSql + Sync); 15] = [
        &id,
        &entry.seq,
        &kind,
        &entry.amount.0,
        &entry.held_delta.0,
        &entry.balance_after.0,
        &entry.held_after.0,
        &entry.source,
        &entry.reference,
        &entry.idempotency_key,
        &entry.request_hash,
        &entry.metadata,
        &detail,
        &hold_id,
        &entry.created_at_ms,
    ];
    Ok(tx.execute(&statement, &values).await?)
}

async fn find(tx: &Transaction<'_>, customer: &CustomerId, command: &Command) -> Result<Option<Entry>> {
    let statement = tx.prepare_cached(FIND).await?;
    let row = tx.query_opt(&statement, &[&customer.as_str(), &command.idempotency_key]).await?;
    row.map(|row| read_entry(&row)).transpose()
}

fn read_entry(row: &Row) -> Result<Entry> {
    Ok(Entry {
        seq: row.try_get("seq")?,
        kind: EntryKind::parse(row.try_get("kind")?).context("the kind is known")?,
        amount: Credits(row.try_get("amount")?),
        held_delta: Credits(row.try_get("held_delta")?),
        balance_after: Credits(row.try_get("balance_after")?),
        held_after: Credits(row.try_get("held_after")?),
        source: row.try_get("source")?,
        reference: row.try_get("reference")?,
        idempotency_key: row.try_get("idempotency_key")?,
        request_hash: row.try_get("request_hash")?,
        metadata: row.try_get("metadata")?,
        hold_id: None,
        detail: serde_json::from_str(row.try_get("detail")?)?,
        created_at_ms: row.try_get("created_at_ms")?,
    })
}
