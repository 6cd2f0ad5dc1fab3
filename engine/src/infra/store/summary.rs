//! Sums over one customer's rows, and its ledger at past moments.
//!
//! No query reads all usage of a busy account: the ledger at a moment is found by binary search over its key, other
//! changes of the balance have their own index, and usage is the difference.

use super::{Kind, Rows, field, get, query_all};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::ledger::EntryKind;
use crate::domain::operation::PURCHASE_KINDS;
use crate::domain::summary::{Charged, Flow, Standing};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use sea_orm::{ConnectionTrait, QueryResult};

/// Maximum number of combinations of kind, source and grant kind. The engine defines a few dozen.
const FLOWS_MAX: i64 = 200;
/// Maximum number of currencies that a customer was charged in.
const CURRENCIES_MAX: i64 = 200;
/// Maximum number of days in one answer.
const DAYS_MAX: i64 = 400;

/// The condition of the index `ledger_entries_flows`, in the same words: all changes of a balance except usage.
pub(super) const NOT_USAGE: &str = "kind IN ('grant', 'adjust', 'claw_back', 'expire')";

/// The state of a customer's ledger at these moments, which must be distinct and ascending. Empty if there is no
/// such account.
///
/// The times of a ledger never go back and its numbers have no gaps, so binary search reads some twenty rows for
/// each moment, whatever the length of the ledger.
pub async fn standing_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    moments_ms: &[TimeMs],
) -> Result<Vec<Standing>> {
    let mut rows = Rows::new(&[("customer", Kind::Text), ("at_ms", Kind::Int)]);
    for at_ms in moments_ms {
        rows.push([customer.as_str().into(), (*at_ms).into()]);
    }
    let sql = "WITH RECURSIVE s(customer_id, at_ms, lo, hi) AS ( \
               SELECT a.customer_id, r.at_ms, CAST(0 AS BIGINT), a.version \
               FROM {rows} JOIN accounts a ON a.customer_id = r.customer UNION ALL \
               SELECT s.customer_id, s.at_ms, CASE WHEN e.created_at_ms <= s.at_ms THEN e.seq ELSE s.lo END, \
               CASE WHEN e.created_at_ms <= s.at_ms THEN s.hi ELSE e.seq - 1 END \
               FROM s JOIN ledger_entries e ON e.customer_id = s.customer_id AND e.seq = (s.lo + s.hi + 1) / 2 \
               WHERE s.lo < s.hi) \
               SELECT s.lo AS seq, COALESCE(e.balance_after, 0) AS balance, COALESCE(e.held_after, 0) AS held \
               FROM s LEFT JOIN ledger_entries e ON e.customer_id = s.customer_id AND e.seq = s.lo \
               WHERE s.lo >= s.hi ORDER BY s.at_ms";
    let found = db.query_all_raw(rows.statement(db.get_database_backend(), sql)).await?;
    let read = |row: &QueryResult| {
        Ok(Standing { seq: get(row, "seq")?, balance: Credits(get(row, "balance")?), held: Credits(get(row, "held")?) })
    };
    found.iter().map(read).collect()
}

/// The changes of a customer's balance except usage, up to and including the entry `upto`; the period begins after
/// the entry `before_period`.
pub async fn flow_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    before_period: i64,
    upto: i64,
) -> Result<Vec<Flow>> {
    // Quotes inside a JSON string would be escaped, so this matches only the field.
    let of_kind = |kind: &str| format!("WHEN detail LIKE '%\"grant_kind\":\"{kind}\"%' THEN '{kind}'");
    let kinds = ["promotional", "adjustment", "included", "purchased"].map(of_kind).join(" ");
    let sql = format!(
        "SELECT kind, source, grant_kind, CAST(SUM(amount) AS BIGINT) AS total, \
         CAST(SUM(CASE WHEN seq > $2 THEN amount ELSE 0 END) AS BIGINT) AS period \
         FROM (SELECT seq, kind, source, amount, CASE WHEN kind <> 'grant' THEN NULL {kinds} END AS grant_kind \
         FROM ledger_entries WHERE customer_id = $1 AND seq <= $3 AND {NOT_USAGE}) AS e \
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
        total: Credits(get(row, "total")?),
        period: Credits(get(row, "period")?),
    })
}

/// The change of the balance by each day's entries except usage: (days since the epoch in UTC, credits), after the
/// entry `after`, up to and including the entry `upto`.
pub async fn flow_day_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    after: i64,
    upto: i64,
) -> Result<Vec<(i64, Credits)>> {
    let sql = format!(
        "SELECT created_at_ms / 86400000 AS day, CAST(SUM(amount) AS BIGINT) AS credits FROM ledger_entries \
         WHERE customer_id = $1 AND seq > $2 AND seq <= $3 AND {NOT_USAGE} \
         GROUP BY created_at_ms / 86400000 ORDER BY day LIMIT $4"
    );
    let values = [customer.as_str().into(), after.into(), upto.into(), DAYS_MAX.into()];
    query_all(db, &sql, values).await?.iter().map(|row| Ok((get(row, "day")?, Credits(get(row, "credits")?)))).collect()
}

/// A customer's charges for credits (units, packs, top-ups and debts), by currency. A charge is in the period if it
/// succeeded at or after `period_start_ms`. Units that credits paid for in the end, without a payment, are not
/// included.
pub async fn charged_list(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    period_start_ms: TimeMs,
) -> Result<Vec<Charged>> {
    let (amount, currency) = (field(db, "request", "amount_minor"), field(db, "request", "currency"));
    let sql = format!(
        "SELECT currency, CAST(SUM(amount) AS BIGINT) AS total, COUNT(*) AS n, \
         CAST(SUM(CASE WHEN updated_at_ms >= $2 THEN amount ELSE 0 END) AS BIGINT) AS period, \
         CAST(SUM(CASE WHEN updated_at_ms >= $2 THEN 1 ELSE 0 END) AS BIGINT) AS period_n \
         FROM (SELECT updated_at_ms, CAST({amount} AS BIGINT) AS amount, {currency} AS currency FROM operations \
         WHERE customer_id = $1 AND kind IN {PURCHASE_KINDS} AND state = 'succeeded' \
         AND stripe_id IS NOT NULL) AS o \
         GROUP BY currency ORDER BY currency LIMIT $3"
    );
    let values = [customer.as_str().into(), period_start_ms.into(), CURRENCIES_MAX.into()];
    let rows = query_all(db, &sql, values).await?;
    let read = |row: &QueryResult| {
        Ok(Charged {
            currency: get(row, "currency")?,
            total_minor: MoneyMinor(get(row, "total")?),
            count: get(row, "n")?,
            period_minor: MoneyMinor(get(row, "period")?),
            period_count: get(row, "period_n")?,
        })
    };
    rows.iter().map(read).collect()
}
