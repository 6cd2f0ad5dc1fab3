//! Rows of `operations`.

use super::{Kind, Rows, execute, field, from_json, get, query_all, query_by, query_one, to_json};
use crate::domain::operation::{Operation, PURCHASE_KINDS, State};
use crate::error::{Error, Result};
use crate::ids::{CustomerId, OperationId};
use sea_orm::{ConnectionTrait, QueryResult};

/// Maximum number of refunds of one customer that are looked at.
const REFUNDS_MAX: i64 = 200;
/// Maximum number of operations under way of one customer that are looked at. Its purchases alone may be 50.
const OPEN_MAX: i64 = 200;

pub(super) const COLUMNS: &str = "id, customer_id, request, idempotency_key, request_hash, state, round, stripe_id, problem, \
                       created_at_ms, round_at_ms, updated_at_ms";

pub(super) fn read(row: &QueryResult) -> Result<Operation> {
    let state: String = get(row, "state")?;
    let problem: Option<String> = get(row, "problem")?;
    Ok(Operation {
        id: OperationId::trusted(get(row, "id")?),
        customer_id: CustomerId::trusted(get(row, "customer_id")?),
        request: from_json(&get::<String>(row, "request")?)?,
        idempotency_key: get(row, "idempotency_key")?,
        request_hash: get(row, "request_hash")?,
        state: State::parse(&state).ok_or_else(|| Error::Corrupt(format!("state {state} of an operation")))?,
        round: get(row, "round")?,
        stripe_id: get(row, "stripe_id")?,
        problem: problem.as_deref().map(from_json).transpose()?,
        created_at_ms: get(row, "created_at_ms")?,
        round_at_ms: get(row, "round_at_ms")?,
        updated_at_ms: get(row, "updated_at_ms")?,
    })
}

/// Inserts an operation. False if the customer already used its key or is subscribing: a customer has one
/// subscription under way at a time, even if its requests reach several nodes.
pub async fn operation_insert(db: &impl ConnectionTrait, operation: &Operation) -> Result<bool> {
    let sql = format!(
        "INSERT INTO operations (kind, {COLUMNS}) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) \
         ON CONFLICT DO NOTHING"
    );
    let values = [
        operation.request.kind().into(),
        operation.id.as_str().into(),
        operation.customer_id.as_str().into(),
        to_json(&operation.request)?.into(),
        operation.idempotency_key.as_str().into(),
        operation.request_hash.as_str().into(),
        operation.state.as_str().into(),
        operation.round.into(),
        operation.stripe_id.clone().into(),
        operation.problem.as_ref().map(to_json).transpose()?.into(),
        operation.created_at_ms.into(),
        operation.round_at_ms.into(),
        operation.updated_at_ms.into(),
    ];
    Ok(execute(db, &sql, values).await? == 1)
}

/// Finds an operation of any customer.
pub async fn operation_find(db: &impl ConnectionTrait, id: &OperationId) -> Result<Option<Operation>> {
    let sql = format!("SELECT {COLUMNS} FROM operations WHERE id = $1");
    query_one(db, &sql, [id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds many operations; missing ones are left out.
pub async fn operation_find_many(db: &impl ConnectionTrait, ids: &[String]) -> Result<Vec<Operation>> {
    let sql = format!("SELECT {} FROM {{rows}} JOIN operations o ON o.id = {{r.sought}}", columns_of("o"));
    query_by(db, &sql, ids).await?.iter().map(read).collect()
}

/// Finds a customer's operation by its key.
pub async fn operation_find_by_key(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    key: &str,
) -> Result<Option<Operation>> {
    let sql = format!("SELECT {COLUMNS} FROM operations WHERE customer_id = $1 AND idempotency_key = $2");
    query_one(db, &sql, [customer.as_str().into(), key.into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds the subscription that a customer's request is making.
pub async fn operation_find_subscribing(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Option<Operation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operations \
         WHERE customer_id = $1 AND kind = 'subscription_create' AND state = 'processing'"
    );
    query_one(db, &sql, [customer.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// A customer's operations that have not ended, at most `OPEN_MAX`.
pub async fn operation_list_open(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Vec<Operation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operations WHERE customer_id = $1 AND state IN ('processing', 'requires_action') \
         ORDER BY id DESC LIMIT $2"
    );
    query_all(db, &sql, [customer.as_str().into(), OPEN_MAX.into()]).await?.iter().map(read).collect()
}

/// A customer's purchases whose payment waits for the customer, the earliest first, at most `OPEN_MAX`.
pub async fn operation_list_awaiting(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Vec<Operation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operations WHERE customer_id = $1 AND state = 'requires_action' \
         AND kind IN {PURCHASE_KINDS} ORDER BY id LIMIT $2"
    );
    query_all(db, &sql, [customer.as_str().into(), OPEN_MAX.into()]).await?.iter().map(read).collect()
}

/// The number of a customer's purchases that wait for their turn or are under way.
pub async fn operation_count_purchasing(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<i64> {
    let sql = format!(
        "SELECT COUNT(*) AS n FROM operations WHERE customer_id = $1 AND state = 'processing' AND kind IN {PURCHASE_KINDS}"
    );
    query_one(db, &sql, [customer.as_str().into()]).await?.map_or(Ok(0), |row| get(&row, "n"))
}

/// A customer's operations, newest first.
pub async fn operation_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    before: Option<&str>,
    limit: u64,
) -> Result<Vec<Operation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operations WHERE customer_id = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3"
    );
    let values = [customer.as_str().into(), before.unwrap_or_default().into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// A customer's refunds by support, the latest first, at most `REFUNDS_MAX`.
pub async fn operation_refund_list(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Vec<Operation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operations WHERE customer_id = $1 AND kind = 'payment_refund' ORDER BY id DESC LIMIT $2"
    );
    query_all(db, &sql, [customer.as_str().into(), REFUNDS_MAX.into()]).await?.iter().map(read).collect()
}

/// Finds the refund by support of a payment that has this key, whoever's operation it is: the payment may have gone over
/// to another customer since.
pub async fn operation_find_refund(
    db: &impl ConnectionTrait,
    payment_id: &str,
    key: &str,
) -> Result<Option<Operation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM operations WHERE kind = 'payment_refund' AND idempotency_key = $1 AND {} = $2 LIMIT 1",
        field(db, "request", "payment_id")
    );
    query_one(db, &sql, [key.into(), payment_id.into()]).await?.map(|row| read(&row)).transpose()
}

/// The refunds by support that made these refunds at Stripe, whoever's operations they are.
pub async fn operation_list_of_refunds(db: &impl ConnectionTrait, refund_ids: &[String]) -> Result<Vec<Operation>> {
    let sql = format!(
        "SELECT {} FROM {{rows}} JOIN operations o ON o.stripe_id = {{r.sought}} WHERE o.kind = 'payment_refund'",
        columns_of("o")
    );
    query_by(db, &sql, refund_ids).await?.iter().map(read).collect()
}

/// The refunds by support of these payments that are being carried out, whoever's operations they are. All of them: one
/// at a time may be asked for.
pub async fn operation_list_refunding(db: &impl ConnectionTrait, payment_ids: &[String]) -> Result<Vec<Operation>> {
    let sql = format!(
        "SELECT {} FROM {{rows}} JOIN operations o ON {} = {{r.sought}} \
         WHERE o.state = 'processing' AND o.kind = 'payment_refund'",
        columns_of("o"),
        field(db, "o.request", "payment_id")
    );
    query_by(db, &sql, payment_ids).await?.iter().map(read).collect()
}

/// The changes of a subscription that are being carried out and have a job that does it, whoever's operations they are.
/// Nobody carries out one whose job is dead or cancelled, until it begins anew.
pub async fn operation_list_changing(db: &impl ConnectionTrait, subscription_id: &str) -> Result<Vec<Operation>> {
    let sql = format!(
        "SELECT {} FROM operations o JOIN jobs j ON j.unique_key = 'operation:' || o.id || ':' || CAST(o.round AS TEXT) \
         WHERE o.state = 'processing' AND o.kind = 'subscription_change' AND j.state IN ('available', 'running') \
         AND {} = $1",
        columns_of("o"),
        field(db, "o.request", "subscription_id")
    );
    query_all(db, &sql, [subscription_id.into()]).await?.iter().map(read).collect()
}

/// The columns of operations under another name of the table.
fn columns_of(table: &str) -> String {
    COLUMNS.split(", ").map(|column| format!("{table}.{column} AS {column}")).collect::<Vec<_>>().join(", ")
}

/// Writes operations, each once. A succeeded one stays so, and no earlier round overwrites a later one; only a
/// payment found late is added to an operation that succeeded without one, and a refund that failed at Stripe after it
/// was made ends as failed. Returns the number written.
pub async fn operation_put_many(db: &impl ConnectionTrait, operations: &[&Operation]) -> Result<u64> {
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("request", Kind::Text),
        ("state", Kind::Text),
        ("round", Kind::Int),
        ("stripe_id", Kind::Text),
        ("problem", Kind::Text),
        ("round_at_ms", Kind::Int),
        ("updated_at_ms", Kind::Int),
    ]);
    for operation in operations {
        rows.push([
            operation.id.as_str().into(),
            to_json(&operation.request)?.into(),
            operation.state.as_str().into(),
            operation.round.into(),
            operation.stripe_id.clone().into(),
            operation.problem.as_ref().map(to_json).transpose()?.into(),
            operation.round_at_ms.into(),
            operation.updated_at_ms.into(),
        ]);
    }
    let sql = "UPDATE operations SET request = r.request, state = r.state, round = r.round, stripe_id = r.stripe_id, \
               problem = r.problem, round_at_ms = r.round_at_ms, updated_at_ms = r.updated_at_ms FROM {rows} \
               WHERE operations.id = {r.id} AND operations.round <= r.round AND (operations.state <> 'succeeded' \
               OR (r.state = 'succeeded' AND operations.stripe_id IS NULL AND r.stripe_id IS NOT NULL) \
               OR (r.state = 'failed' AND operations.kind = 'payment_refund' AND operations.stripe_id = r.stripe_id))";
    Ok(db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?.rows_affected())
}

/// Begins the next round of a failed operation. False if it is not (any more) at the round before, because another
/// node began it, or if it would be a second subscription under way. A unique violation if that one begins at the
/// same moment.
pub async fn operation_begin_round(db: &impl ConnectionTrait, operation: &Operation) -> Result<bool> {
    let sql = "UPDATE operations SET request = $2, state = 'processing', round = $3, stripe_id = NULL, problem = NULL, \
               round_at_ms = $4, updated_at_ms = $4 WHERE id = $1 AND state = 'failed' AND round = $3 - 1 \
               AND (kind <> 'subscription_create' OR NOT EXISTS (SELECT 1 FROM operations o \
               WHERE o.customer_id = operations.customer_id AND o.kind = 'subscription_create' \
               AND o.state = 'processing'))";
    let values = [
        operation.id.as_str().into(),
        to_json(&operation.request)?.into(),
        operation.round.into(),
        operation.round_at_ms.into(),
    ];
    Ok(execute(db, sql, values).await? == 1)
}
