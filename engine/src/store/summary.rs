//! Sums over one customer's rows. Each query reads the rows of one customer only, by a key that begins
//! with the customer.

use super::{get, query_all};
use crate::clock::TimeMs;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::ledger::EntryKind;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};

/// Most combinations of kind, source and grant kind. There are a few dozen: the engine names them.
const FLOWS_MAX: i64 = 200;
/// Most currencies that a customer was charged in.
const CURRENCIES_MAX: i64 = 200;
/// Most days in one answer.
const DAYS_MAX: i64 = 400;

/// Entries of one sort, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// What they did.
    pub kind: EntryKind,
    /// Who caused them.
    pub source: String,
    /// Of grants: what their credits are.
    pub grant_kind: Option<String>,
    /// Change of the balance by all of them.
    pub total: i64,
    /// Change of the balance by those of the period.
    pub period: i64,
}

/// Charges for units beyond the credits, added up, in one currency. Refunds are not taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged {
    /// ISO 4217 code, in lower case.
    pub currency: String,
    /// All of them, in minor units.
    pub total_minor: i64,
    /// How many there were.
    pub count: i64,
    /// Those of the period, in minor units.
    pub period_minor: i64,
    /// How many there were in the period.
    pub period_count: i64,
}

/// What moved a customer's balance, up to and including the entry `upto`; what comes behind the entry
/// `before_period` is of the period.
pub async fn flow_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    before_period: i64,
    upto: i64,
) -> Result<Vec<Flow>> {
    // Inside of a JSON string the quotes would be escaped, so this finds the field and nothing else.
    let of_kind = |kind: &str| format!("WHEN detail LIKE '%\"grant_kind\":\"{kind}\"%' THEN '{kind}'");
    let kinds = ["promotional", "adjustment", "included", "purchased"].map(of_kind).join(" ");
    let sql = format!(
        "SELECT kind, source, grant_kind, CAST(SUM(amount) AS BIGINT) AS total, \
         CAST(SUM(CASE WHEN seq > $2 THEN amount ELSE 0 END) AS BIGINT) AS period \
         FROM (SELECT seq, kind, source, amount, CASE WHEN kind <> 'grant' THEN NULL {kinds} END AS grant_kind \
         FROM ledger_entries WHERE customer_id = $1 AND seq <= $3 AND amount <> 0) AS e \
         GROUP BY kind, source, grant_kind ORDER BY kind, source, grant_kind LIMIT $4"
    );
    let values = [customer.as_str().into(), before_period.into(), upto.into(), FLOWS_MAX.into()];
    query_all(db, &sql, values).await?.iter().map(read_flow).collect()
}

fn read_flow(row: &QueryResult) -> Result<Flow> {
    let kind: String = get(row, "kind")?;
    Ok(Flow {
        kind: EntryKind::parse(&kind).ok_or_else(|| Error::Corrupt(format!("entry kind {kind}")))?,
        source: get(row, "source")?,
        grant_kind: get(row, "grant_kind")?,
        total: get(row, "total")?,
        period: get(row, "period")?,
    })
}

/// Credits spent and entries that spent them for each day (in UTC, counted from the epoch) with usage,
/// from behind the entry `after` up to and including the entry `upto`.
pub async fn day_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    after: i64,
    upto: i64,
) -> Result<Vec<(i64, i64, i64)>> {
    let sql = "SELECT created_at_ms / 86400000 AS day, CAST(SUM(-amount) AS BIGINT) AS spent, COUNT(*) AS n \
               FROM ledger_entries WHERE customer_id = $1 AND seq > $2 AND seq <= $3 \
               AND kind IN ('debit', 'capture') GROUP BY created_at_ms / 86400000 ORDER BY day LIMIT $4";
    let values = [customer.as_str().into(), after.into(), upto.into(), DAYS_MAX.into()];
    let rows = query_all(db, sql, values).await?;
    rows.iter().map(|row| Ok((get(row, "day")?, get(row, "spent")?, get(row, "n")?))).collect()
}

/// What a customer was charged for units beyond its credits, by currency; a charge is of the period if it
/// succeeded at or after `period_start_ms`.
pub async fn charged_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    period_start_ms: TimeMs,
) -> Result<Vec<Charged>> {
    // The databases spell a field of JSON text in different ways.
    let field = |name: &str| match db.get_database_backend() {
        DbBackend::Postgres => format!("CAST(request AS jsonb) ->> '{name}'"),
        _ => format!("request ->> '{name}'"),
    };
    let (amount, currency) = (field("amount_minor"), field("currency"));
    let sql = format!(
        "SELECT currency, CAST(SUM(amount) AS BIGINT) AS total, COUNT(*) AS n, \
         CAST(SUM(CASE WHEN updated_at_ms >= $2 THEN amount ELSE 0 END) AS BIGINT) AS period, \
         CAST(SUM(CASE WHEN updated_at_ms >= $2 THEN 1 ELSE 0 END) AS BIGINT) AS period_n \
         FROM (SELECT updated_at_ms, CAST({amount} AS BIGINT) AS amount, {currency} AS currency FROM operations \
         WHERE customer_id = $1 AND kind = 'usage_charge' AND state = 'succeeded') AS o \
         GROUP BY currency ORDER BY currency LIMIT $3"
    );
    let values = [customer.as_str().into(), period_start_ms.into(), CURRENCIES_MAX.into()];
    let rows = query_all(db, &sql, values).await?;
    let read = |row: &QueryResult| {
        Ok(Charged {
            currency: get(row, "currency")?,
            total_minor: get(row, "total")?,
            count: get(row, "n")?,
            period_minor: get(row, "period")?,
            period_count: get(row, "period_n")?,
        })
    };
    rows.iter().map(read).collect()
}
