//! Payments for support: rows of `invoices`, and charges among `operations`.

use super::{Kind, Rows, containing, execute, from_json, get, operation, query_all, query_by, query_one, to_json};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::ledger::{Detail, Entry, EntryKind};
use crate::domain::operation::{Operation, PURCHASE_KINDS};
use crate::domain::payment::{Invoice, Payment, PaymentGone};
use crate::domain::sale::SoldTerms;
use crate::error::Result;
use crate::ids::{CustomerId, JobId};
use crate::infra::store::account;
use crate::infra::store::summary::NOT_USAGE;
use sea_orm::{ConnectionTrait, QueryResult, Value};
use std::collections::HashMap;

const COLUMNS: &str = "id, customer_id, subscription_id, is_paid, amount, currency, credits, brings_now, failure, \
                       failure_code, decline_code, terms, refunded, disputed, kept, created_at_ms, updated_at_ms";
/// Maximum number of lines of the ledger that are read of one payment.
const ENTRIES_MAX: i64 = 2_000;

/// Which payments to list.
#[derive(Debug, Clone, Default)]
pub struct PaymentFilter {
    /// Of this customer only.
    pub customer: Option<CustomerId>,
    /// In this state only.
    pub state: Option<PaymentStateFilter>,
    /// Asked for at this time or later.
    pub from_ms: Option<TimeMs>,
    /// Asked for before this time.
    pub to_ms: Option<TimeMs>,
    /// Text that the reason of a failure contains.
    pub reason: Option<String>,
}

/// The states that a list can be narrowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStateFilter {
    /// Under way.
    Processing,
    /// Waits for the customer.
    RequiresAction,
    /// Failed.
    Failed,
    /// Paid, and nothing was given back.
    Paid,
    /// Paid, and some or all of it was given back.
    Refunded,
    /// Paid, and a dispute holds or has taken some or all of it.
    Disputed,
}

impl PaymentStateFilter {
    fn of_operations(self) -> &'static str {
        match self {
            Self::Processing => "state = 'processing'",
            Self::RequiresAction => "state = 'requires_action'",
            Self::Failed => "state = 'failed'",
            Self::Paid => "state = 'succeeded' AND stripe_id IS NOT NULL AND refunded = 0 AND disputed = 0",
            Self::Refunded => "refunded > 0",
            Self::Disputed => "disputed > 0",
        }
    }

    fn of_invoices(self) -> &'static str {
        match self {
            Self::Processing | Self::RequiresAction => "1 = 0",
            Self::Failed => "NOT is_paid",
            Self::Paid => "is_paid AND refunded = 0 AND disputed = 0",
            Self::Refunded => "refunded > 0",
            Self::Disputed => "disputed > 0",
        }
    }

    /// Stripe calls an invoice paid that only credits, but nobody pays it.
    fn of_payments_of_invoices(self) -> &'static str {
        match self {
            Self::Paid => "is_paid AND (amount IS NULL OR amount >= 0) AND refunded = 0 AND disputed = 0",
            _ => self.of_invoices(),
        }
    }
}

fn read(row: &QueryResult) -> Result<Invoice> {
    Ok(Invoice {
        id: get(row, "id")?,
        customer_id: CustomerId::trusted(get(row, "customer_id")?),
        subscription_id: get(row, "subscription_id")?,
        is_paid: get(row, "is_paid")?,
        amount: get::<Option<i64>>(row, "amount")?.map(MoneyMinor),
        currency: get(row, "currency")?,
        credits: Credits(get(row, "credits")?),
        brings_now: get(row, "brings_now")?,
        failure: get(row, "failure")?,
        failure_code: get(row, "failure_code")?,
        decline_code: get(row, "decline_code")?,
        terms: get::<Option<String>>(row, "terms")?.map(|text| from_json(&text)).transpose()?,
        refunded: MoneyMinor(get(row, "refunded")?),
        disputed: MoneyMinor(get(row, "disputed")?),
        kept: MoneyMinor(get(row, "kept")?),
        created_at_ms: get(row, "created_at_ms")?,
        updated_at_ms: get(row, "updated_at_ms")?,
    })
}

fn read_charge(row: &QueryResult) -> Result<Option<Payment>> {
    let gone = PaymentGone { refunded: MoneyMinor(get(row, "refunded")?), disputed: MoneyMinor(get(row, "disputed")?) };
    Ok(Payment::of_operation(&operation::read(row)?, gone))
}

/// Stores what is said of invoices, each once. A paid one stays paid, whatever event about an earlier failure comes
/// late, stays with the customer that it was stored as paid for, and keeps the terms that it was decided on. An unpaid
/// one stays with its customer until it is paid, perhaps by another one that got the Stripe customer since. One that
/// brought nothing may bring credits later, by an earlier date of a link; if the ledger of its customer has nothing of
/// it, it goes over to whoever gets them. What an unpaid one would bring may change, as when it is voided. The codes of
/// a failure stay until others are told or it is paid.
pub async fn invoice_put_many(db: &impl ConnectionTrait, invoices: &[&Invoice]) -> Result<()> {
    let mut rows = Rows::new(&[
        ("id", Kind::Text),
        ("customer_id", Kind::Text),
        ("subscription_id", Kind::Text),
        ("is_paid", Kind::Int),
        ("amount", Kind::Int),
        ("currency", Kind::Text),
        ("credits", Kind::Int),
        ("brings_now", Kind::Int),
        ("failure", Kind::Text),
        ("failure_code", Kind::Text),
        ("decline_code", Kind::Text),
        ("terms", Kind::Text),
        ("created_at_ms", Kind::Int),
        ("updated_at_ms", Kind::Int),
    ]);
    for invoice in invoices {
        rows.push([
            invoice.id.as_str().into(),
            invoice.customer_id.as_str().into(),
            invoice.subscription_id.clone().into(),
            i64::from(invoice.is_paid).into(),
            invoice.amount.map(|amount| amount.0).into(),
            invoice.currency.clone().into(),
            invoice.credits.0.into(),
            i64::from(invoice.brings_now).into(),
            invoice.failure.clone().into(),
            invoice.failure_code.clone().into(),
            invoice.decline_code.clone().into(),
            invoice.terms.as_ref().map(to_json).transpose()?.into(),
            invoice.created_at_ms.into(),
            invoice.updated_at_ms.into(),
        ]);
    }
    let sql = "INSERT INTO invoices (id, customer_id, subscription_id, is_paid, amount, currency, credits, brings_now, \
               failure, failure_code, decline_code, terms, refunded, created_at_ms, updated_at_ms) \
               SELECT id, customer_id, subscription_id, is_paid <> 0, amount, currency, credits, brings_now <> 0, \
               failure, failure_code, decline_code, terms, 0, created_at_ms, updated_at_ms \
               FROM {rows} WHERE true \
               ON CONFLICT (id) DO UPDATE SET customer_id = excluded.customer_id, \
               subscription_id = excluded.subscription_id, \
               is_paid = excluded.is_paid, amount = excluded.amount, currency = excluded.currency, \
               credits = excluded.credits, brings_now = excluded.brings_now, failure = excluded.failure, \
               failure_code = CASE WHEN excluded.is_paid OR excluded.failure_code IS NOT NULL \
               THEN excluded.failure_code ELSE invoices.failure_code END, \
               decline_code = CASE WHEN excluded.is_paid OR excluded.failure_code IS NOT NULL \
               THEN excluded.decline_code ELSE invoices.decline_code END, \
               terms = COALESCE(invoices.terms, excluded.terms), \
               created_at_ms = excluded.created_at_ms, updated_at_ms = excluded.updated_at_ms \
               WHERE (invoices.customer_id = excluded.customer_id OR (excluded.is_paid AND NOT invoices.is_paid) \
               OR ((excluded.credits > 0 OR excluded.brings_now) AND invoices.is_paid \
               AND NOT EXISTS (SELECT 1 FROM ledger_entries e WHERE e.customer_id = invoices.customer_id \
               AND e.idempotency_key = 'stripe:invoice:' || invoices.id))) \
               AND (excluded.is_paid OR NOT invoices.is_paid) \
               AND (invoices.customer_id <> excluded.customer_id \
               OR invoices.amount IS NULL OR invoices.is_paid <> excluded.is_paid \
               OR (invoices.credits = 0 AND excluded.credits > 0) \
               OR (NOT excluded.is_paid AND invoices.credits <> excluded.credits) \
               OR (invoices.terms IS NULL AND excluded.terms IS NOT NULL) \
               OR (excluded.failure_code IS NOT NULL AND COALESCE(invoices.failure_code, '') <> excluded.failure_code) \
               OR (excluded.failure_code IS NOT NULL \
               AND COALESCE(invoices.decline_code, '') <> COALESCE(excluded.decline_code, '')) \
               OR COALESCE(invoices.failure, '') <> COALESCE(excluded.failure, ''))";
    db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    Ok(())
}

/// Whether a subscription of a customer has another paid invoice than this one that was made between two times.
pub async fn invoice_is_made_between(
    db: &impl ConnectionTrait,
    (customer, subscription): (&CustomerId, &str),
    (from_ms, until_ms): (TimeMs, TimeMs),
    except: &str,
) -> Result<bool> {
    let sql = "SELECT id FROM invoices WHERE customer_id = $1 AND created_at_ms >= $2 AND created_at_ms <= $3 \
               AND subscription_id = $4 AND is_paid AND id <> $5 LIMIT 1";
    let values = [customer.as_str().into(), from_ms.into(), until_ms.into(), subscription.into(), except.into()];
    Ok(query_one(db, sql, values).await?.is_some())
}

/// Stores how much of an invoice, if the payment is one, was given back, how much disputes hold or have taken, and the
/// part of both whose credits stay (`kept`): later ones come as far as they do.
pub async fn invoice_set_gone(
    db: &impl ConnectionTrait,
    payment: &str,
    (refunded, disputed): (MoneyMinor, MoneyMinor),
    kept: MoneyMinor,
) -> Result<()> {
    let sql = "UPDATE invoices SET refunded = $2, disputed = $3, kept = $4 \
               WHERE (refunded <> $2 OR disputed <> $3 OR kept <> $4) AND id = $1";
    execute(db, sql, [payment.into(), refunded.0.into(), disputed.0.into(), kept.0.into()]).await?;
    Ok(())
}

/// Stores how much was given back, and how much disputes hold or have taken, of the charge that this PaymentIntent made,
/// if the payment is one. An operation that was paid by another one is left alone, although the charge may name it.
pub async fn charge_set_gone(
    db: &impl ConnectionTrait,
    payment: &str,
    operation: Option<&str>,
    (refunded, disputed): (MoneyMinor, MoneyMinor),
) -> Result<()> {
    let set = "SET refunded = $2, disputed = $3";
    let changes = "(refunded <> $2 OR disputed <> $3)";
    let values: [Value; 3] = [payment.into(), refunded.0.into(), disputed.0.into()];
    execute(db, &format!("UPDATE operations {set} WHERE {changes} AND stripe_id = $1"), values).await?;
    if let Some(operation) = operation {
        let values: [Value; 3] = [operation.into(), refunded.0.into(), disputed.0.into()];
        let sql = format!("UPDATE operations {set} WHERE {changes} AND id = $1 AND stripe_id IS NULL");
        execute(db, &sql, values).await?;
    }
    Ok(())
}

/// Finds an invoice.
pub async fn invoice_find(db: &impl ConnectionTrait, id: &str) -> Result<Option<Invoice>> {
    let sql = format!("SELECT {COLUMNS} FROM invoices WHERE id = $1");
    query_one(db, &sql, [id.into()]).await?.map(|row| read(&row)).transpose()
}

/// Whose paid invoices these are, by the invoices' ids; invoices that are not stored or not paid are left out.
pub async fn invoice_payer_find_many(db: &impl ConnectionTrait, ids: &[String]) -> Result<HashMap<String, CustomerId>> {
    let sql = "SELECT i.id AS id, i.customer_id AS customer_id, i.is_paid AS is_paid \
               FROM {rows} JOIN invoices i ON i.id = {r.sought}";
    let mut payers = HashMap::new();
    for row in query_by(db, sql, ids).await? {
        if get::<bool>(&row, "is_paid")? {
            payers.insert(get(&row, "id")?, CustomerId::trusted(get(&row, "customer_id")?));
        }
    }
    Ok(payers)
}

/// The terms that paid invoices were decided on, by the ids of those of which they were kept.
pub async fn invoice_terms_of(db: &impl ConnectionTrait, ids: &[String]) -> Result<HashMap<String, Vec<SoldTerms>>> {
    let sql = "SELECT i.id AS id, i.terms AS terms FROM {rows} JOIN invoices i ON i.id = {r.sought} \
               WHERE i.terms IS NOT NULL";
    let read = |row: &QueryResult| Ok((get(row, "id")?, from_json(&get::<String>(row, "terms")?)?));
    query_by(db, sql, ids).await?.iter().map(read).collect()
}

/// Finds the charge of an operation, by the operation's id or by that of its PaymentIntent.
pub async fn charge_find(db: &impl ConnectionTrait, id: &str) -> Result<Option<Payment>> {
    let sql = format!(
        "SELECT {}, refunded, disputed FROM operations WHERE kind IN {PURCHASE_KINDS} AND (id = $1 OR stripe_id = $1) LIMIT 1",
        operation::COLUMNS
    );
    query_one(db, &sql, [id.into()]).await?.map_or(Ok(None), |row| read_charge(&row))
}

/// Payments, the latest first, before this one (its time and id).
pub async fn payment_list(
    db: &impl ConnectionTrait,
    filter: &PaymentFilter,
    before: Option<(TimeMs, &str)>,
    limit: u64,
) -> Result<Vec<Payment>> {
    let of_operations = filter.state.map_or("1 = 1", PaymentStateFilter::of_operations);
    let rows = format!(
        "{}, refunded, disputed FROM operations WHERE kind IN {PURCHASE_KINDS} AND {of_operations}",
        operation::COLUMNS
    );
    let rows = (rows.as_str(), &["problem"][..]);
    let mut found = Vec::new();
    for row in page(db, rows, filter, before, limit).await? {
        found.extend(read_charge(&row)?);
    }
    let of_invoices = filter.state.map_or("1 = 1", PaymentStateFilter::of_payments_of_invoices);
    found.extend(invoices_where(db, of_invoices, filter, before, limit).await?.into_iter().map(Payment::of_invoice));
    found.sort_by(|one, other| (other.created_at_ms, &other.id).cmp(&(one.created_at_ms, &one.id)));
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found)
}

/// Invoices, the latest first, before this one (its time and id).
pub async fn invoice_list(
    db: &impl ConnectionTrait,
    filter: &PaymentFilter,
    before: Option<(TimeMs, &str)>,
    limit: u64,
) -> Result<Vec<Invoice>> {
    let of_invoices = filter.state.map_or("1 = 1", PaymentStateFilter::of_invoices);
    invoices_where(db, of_invoices, filter, before, limit).await
}

async fn invoices_where(
    db: &impl ConnectionTrait,
    condition: &str,
    filter: &PaymentFilter,
    before: Option<(TimeMs, &str)>,
    limit: u64,
) -> Result<Vec<Invoice>> {
    let rows = format!("{COLUMNS} FROM invoices WHERE {condition}");
    let why = ["failure", "failure_code", "decline_code"];
    page(db, (&rows, &why), filter, before, limit).await?.iter().map(read).collect()
}

/// A page of rows; `why` are the columns with the reason of a failure.
async fn page(
    db: &impl ConnectionTrait,
    (rows, why): (&str, &[&str]),
    filter: &PaymentFilter,
    before: Option<(TimeMs, &str)>,
    limit: u64,
) -> Result<Vec<QueryResult>> {
    let whose = of_customer(filter.customer.as_ref());
    let contains: Vec<String> = why.iter().map(|column| format!("{column} LIKE $7 ESCAPE '\\'")).collect();
    let why = if filter.reason.is_some() { format!("({})", contains.join(" OR ")) } else { "1 = 1".to_owned() };
    let sql = format!(
        "SELECT {rows} AND {whose} AND {why} AND created_at_ms >= $2 AND created_at_ms < $3 AND created_at_ms <= $4 \
         AND (created_at_ms < $4 OR id < $5) ORDER BY created_at_ms DESC, id DESC LIMIT $6"
    );
    let (before_ms, before_id) = before.unwrap_or((TimeMs::MAX, ""));
    let mut values: Vec<Value> = vec![
        filter.customer.as_ref().map_or("", CustomerId::as_str).into(),
        filter.from_ms.unwrap_or(TimeMs::MIN).into(),
        filter.to_ms.unwrap_or(TimeMs::MAX).into(),
        before_ms.into(),
        before_id.into(),
        limit.cast_signed().into(),
    ];
    values.extend(filter.reason.as_deref().map(|reason| Value::from(containing(reason))));
    query_all(db, &sql, values).await
}

/// The ids and arguments of those of the jobs with these unique keys that wait.
pub async fn part_job_waiting(db: &impl ConnectionTrait, keys: &[String]) -> Result<Vec<(JobId, String)>> {
    let sql = "SELECT j.id AS id, j.args AS args FROM {rows} JOIN jobs j ON j.unique_key = {r.sought} \
               WHERE j.state = 'available'";
    let read = |row: &QueryResult| Ok((JobId::trusted(get(row, "id")?), get(row, "args")?));
    query_by(db, sql, keys).await?.iter().map(read).collect()
}

/// The arguments of those of the jobs with these unique keys that have not been cancelled.
pub async fn part_job_list(db: &impl ConnectionTrait, keys: &[String]) -> Result<Vec<String>> {
    let sql = "SELECT j.args AS args FROM {rows} JOIN jobs j ON j.unique_key = {r.sought} WHERE j.state <> 'cancelled'";
    query_by(db, sql, keys).await?.iter().map(|row| get(row, "args")).collect()
}

/// The condition for a customer in `$1`, in a form for which the index of customers is used.
fn of_customer(customer: Option<&CustomerId>) -> &'static str {
    if customer.is_some() { "customer_id = $1" } else { "$1 = ''" }
}

/// Which operations to list.
#[derive(Debug, Clone, Default)]
pub struct OperationFilter {
    /// Of this customer only.
    pub customer: Option<CustomerId>,
    /// Of this kind only.
    pub kind: Option<String>,
    /// In this state only.
    pub state: Option<String>,
    /// Asked for at this time or later.
    pub from_ms: Option<TimeMs>,
    /// Asked for before this time.
    pub to_ms: Option<TimeMs>,
    /// Text that the reason of a failure contains.
    pub reason: Option<String>,
}

/// Operations of all customers, the latest first, before this one.
pub async fn operation_list_all(
    db: &impl ConnectionTrait,
    filter: &OperationFilter,
    before: Option<&str>,
    limit: u64,
) -> Result<Vec<Operation>> {
    let sql = format!(
        "SELECT {} FROM operations WHERE {} AND ($2 = '' OR kind = $2) AND ($3 = '' OR state = $3) \
         AND created_at_ms >= $4 AND created_at_ms < $5 AND ($6 = '' OR id < $6) AND {} ORDER BY id DESC LIMIT $7",
        operation::COLUMNS,
        of_customer(filter.customer.as_ref()),
        if filter.reason.is_some() { "problem LIKE $8 ESCAPE '\\'" } else { "1 = 1" }
    );
    let mut values: Vec<Value> = vec![
        filter.customer.as_ref().map_or("", CustomerId::as_str).into(),
        filter.kind.as_deref().unwrap_or_default().into(),
        filter.state.as_deref().unwrap_or_default().into(),
        filter.from_ms.unwrap_or(TimeMs::MIN).into(),
        filter.to_ms.unwrap_or(TimeMs::MAX).into(),
        before.unwrap_or_default().into(),
        limit.cast_signed().into(),
    ];
    values.extend(filter.reason.as_deref().map(|reason| Value::from(containing(reason))));
    query_all(db, &sql, values).await?.iter().map(operation::read).collect()
}

/// How many credits of a grant expired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// The grant, and those that returned credits of it after they were taken back, whichever payment took them.
    pub grants: Vec<i64>,
    /// The credits of all of these that expired.
    pub credits: Credits,
}

/// What expired of each of these grants, in one read of the customer's entries after the first of them, without usage.
pub async fn entry_expired_of(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    grants: &[i64],
) -> Result<HashMap<i64, Expired>> {
    let own = |grant: &i64| (*grant, Expired { grants: vec![*grant], ..Expired::default() });
    let mut expired: HashMap<i64, Expired> = grants.iter().map(own).collect();
    let Some(first) = grants.iter().min() else { return Ok(expired) };
    let mut origins: HashMap<i64, i64> = grants.iter().map(|grant| (*grant, *grant)).collect();
    for row in query_all(db, &expired_since(), [customer.as_str().into(), (*first).into()]).await? {
        let detail: Detail = from_json(&get::<String>(&row, "detail")?)?;
        let Some(origin) = detail.of.or(detail.grant).and_then(|of| origins.get(&of)).copied() else { continue };
        let of_origin = expired.entry(origin).or_default();
        let (seq, kind): (i64, String) = (get(&row, "seq")?, get(&row, "kind")?);
        if kind == EntryKind::Expire.as_str() {
            of_origin.credits -= Credits(get(&row, "amount")?);
        } else {
            origins.insert(seq, origin);
            of_origin.grants.push(seq);
        }
    }
    Ok(expired)
}

/// The statement that reads a customer's grants after an entry, and what expired. It names the condition of the index
/// `ledger_entries_flows`, so that no usage is read.
fn expired_since() -> String {
    format!(
        "SELECT seq, kind, amount, detail FROM ledger_entries \
         WHERE customer_id = $1 AND seq > $2 AND {NOT_USAGE} AND kind IN ('expire', 'grant') ORDER BY seq"
    )
}

/// What the details of an entry that names a grant are like: a field of JSON is followed by a comma or the end.
fn naming(grant: i64) -> [String; 2] {
    [format!("%\"grant\":{grant},%"), format!("%\"grant\":{grant}}}%")]
}

/// The lines of a customer's ledger that took credits of these grants back, paid the debt that this made, or returned
/// credits, in their order.
pub async fn entry_list_of_grants(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    grants: &[i64],
) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for grant in grants {
        let [inside, last] = naming(*grant);
        let sql = "SELECT seq FROM ledger_entries WHERE customer_id = $1 AND seq > $2 AND kind IN ('claw_back', 'grant', 'terms') \
                   AND (detail LIKE $3 OR detail LIKE $4) ORDER BY seq LIMIT $5";
        let values: [Value; 5] =
            [customer.as_str().into(), (*grant).into(), inside.into(), last.into(), ENTRIES_MAX.into()];
        for row in query_all(db, sql, values).await? {
            let seq: i64 = get(&row, "seq")?;
            let entry = account::entry_list(db, customer, Some(seq + 1), 1).await?.pop();
            let is_of = |entry: &Entry| entry.detail.grant == Some(*grant) || entry.paid_for(*grant) > Credits::ZERO;
            found.extend(entry.filter(is_of));
        }
    }
    found.sort_by_key(|entry| entry.seq);
    Ok(found)
}

#[cfg(test)]
mod tests;
