//! Rows of `auto_top_ups`.

use super::{execute, from_json, get, query_all, query_one, to_json};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::catalogue::currency::Currency;
use crate::domain::charge::cap::Span;
use crate::domain::charge::top_up::{TopUpHalt, TopUpSetting};
use crate::domain::operation::{PURCHASE_KINDS, TopUpTerms};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::key::PackKey;
use sea_orm::{ConnectionTrait, QueryResult};

const COLUMNS: &str = "t.customer_id AS customer_id, t.version AS version, t.is_on AS is_on, t.threshold AS threshold, \
                       t.target AS target, t.pack AS pack, t.cap_month AS cap_month, t.begun AS begun, \
                       t.stopped AS stopped, t.waits_until_ms AS waits_until_ms";

/// Whether the customer of the setting `t` and the account `a` itself left so few credits. What made them fewer last
/// decides: the customer spent or reserved some and is within its credit limit, or it set its top-ups later.
/// `updated_at_ms` is the time of that.
const IS_CALLED_FOR: &str = "COALESCE((SELECT l.created_at_ms <= t.updated_at_ms OR (l.kind IN ('debit', 'hold') \
                             AND a.balance - a.held >= a.floor) FROM ledger_entries l WHERE l.customer_id = t.customer_id \
                             AND l.kind IN ('debit', 'hold', 'adjust', 'claw_back', 'expire') \
                             ORDER BY l.seq DESC LIMIT 1), true)";

fn read(row: &QueryResult) -> Result<TopUpSetting> {
    let pack: Option<String> = get(row, "pack")?;
    let pack = pack.map(|key| PackKey::parse(&key).ok_or_else(|| Error::Corrupt(format!("pack {key} of a top-up"))));
    let stopped: Option<String> = get(row, "stopped")?;
    Ok(TopUpSetting {
        customer_id: CustomerId::trusted(get(row, "customer_id")?),
        version: get(row, "version")?,
        is_on: get(row, "is_on")?,
        terms: TopUpTerms {
            threshold: Credits(get(row, "threshold")?),
            target: Credits(get(row, "target")?),
            pack: pack.transpose()?,
            cap_month: get::<Option<i64>>(row, "cap_month")?.map(MoneyMinor),
        },
        begun: get(row, "begun")?,
        stopped: stopped.as_deref().map(from_json).transpose()?,
        waits_until_ms: get(row, "waits_until_ms")?,
    })
}

/// Finds what a customer has set.
pub async fn top_up_find(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Option<TopUpSetting>> {
    let sql = format!("SELECT {COLUMNS} FROM auto_top_ups t WHERE t.customer_id = $1");
    query_one(db, &sql, [customer.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// Writes what a customer sets, as the next version, and forgets why the one before was stopped.
pub async fn top_up_put(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    is_on: bool,
    terms: &TopUpTerms,
    now_ms: TimeMs,
) -> Result<()> {
    let sql = "INSERT INTO auto_top_ups (customer_id, version, is_on, threshold, target, pack, cap_month, begun, \
               updated_at_ms) VALUES ($1, 1, $2, $3, $4, $5, $6, 0, $7) ON CONFLICT (customer_id) DO UPDATE SET \
               version = auto_top_ups.version + 1, is_on = excluded.is_on, threshold = excluded.threshold, \
               target = excluded.target, pack = excluded.pack, cap_month = excluded.cap_month, stopped = NULL, \
               waits_until_ms = NULL, updated_at_ms = excluded.updated_at_ms";
    let values = [
        customer.as_str().into(),
        is_on.into(),
        terms.threshold.0.into(),
        terms.target.0.into(),
        terms.pack.as_ref().map(|key| key.as_str().to_owned()).into(),
        terms.cap_month.map(|cap| cap.0).into(),
        now_ms.into(),
    ];
    execute(db, sql, values).await?;
    Ok(())
}

/// The last of the next so many customers whose top-ups are on, in the order of their ids from `first`; `None` if there
/// are fewer.
pub async fn top_up_page_end(
    db: &impl ConnectionTrait,
    first: Option<&CustomerId>,
    size: u64,
) -> Result<Option<CustomerId>> {
    let sql = "SELECT customer_id FROM auto_top_ups WHERE is_on AND customer_id >= $1 \
               ORDER BY customer_id LIMIT 1 OFFSET $2";
    let values = [id_or_empty(first).into(), size.saturating_sub(1).cast_signed().into()];
    query_one(db, sql, values).await?.map(|row| Ok(CustomerId::trusted(get(&row, "customer_id")?))).transpose()
}

/// Whether a customer itself left so few credits as it has.
pub async fn top_up_is_called_for(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<bool> {
    let sql = format!(
        "SELECT t.customer_id FROM auto_top_ups t JOIN accounts a ON a.customer_id = t.customer_id \
         WHERE t.customer_id = $1 AND {IS_CALLED_FOR}"
    );
    Ok(query_one(db, &sql, [customer.as_str().into()]).await?.is_some())
}

/// The settings of the customers from `first` to `last`, both included, under which credits have to be bought now and
/// no top-up is under way, nor a purchase that waits for its customer: that one keeps credits. The balance may count
/// credits that have just expired.
pub async fn top_up_due(
    db: &impl ConnectionTrait,
    first: Option<&CustomerId>,
    last: Option<&CustomerId>,
    now_ms: TimeMs,
) -> Result<Vec<TopUpSetting>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM auto_top_ups t JOIN accounts a ON a.customer_id = t.customer_id \
         WHERE t.is_on AND t.customer_id >= $1 AND ($2 = '' OR t.customer_id <= $2) \
         AND (t.waits_until_ms IS NULL OR t.waits_until_ms <= $3) AND a.balance - a.held < t.threshold \
         AND a.open NOT LIKE '%\"suspended\":true%' \
         AND NOT EXISTS (SELECT 1 FROM operations o WHERE o.customer_id = t.customer_id AND (o.state = 'processing' \
         AND o.kind = 'auto_top_up' OR o.state = 'requires_action' AND o.kind IN {PURCHASE_KINDS})) AND {IS_CALLED_FOR} ORDER BY t.customer_id"
    );
    let values = [id_or_empty(first).into(), id_or_empty(last).into(), now_ms.into()];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

fn id_or_empty(customer: Option<&CustomerId>) -> String {
    customer.map_or("", CustomerId::as_str).to_owned()
}

/// Counts a top-up as begun. False if the setting was changed, or another node has begun this one.
pub async fn top_up_begin(db: &impl ConnectionTrait, setting: &TopUpSetting) -> Result<bool> {
    let sql =
        "UPDATE auto_top_ups SET begun = begun + 1 WHERE customer_id = $1 AND version = $2 AND begun = $3 AND is_on";
    let values = [setting.customer_id.as_str().into(), setting.version.into(), setting.begun.into()];
    Ok(execute(db, sql, values).await? == 1)
}

/// Turns top-ups off, or makes them wait, unless their setting was changed.
pub async fn top_up_halt(db: &impl ConnectionTrait, halt: &TopUpHalt) -> Result<()> {
    let sql = "UPDATE auto_top_ups SET is_on = $3, stopped = $4, waits_until_ms = $5 \
               WHERE customer_id = $1 AND version = $2 AND is_on";
    let values = [
        halt.customer_id.as_str().into(),
        halt.version.into(),
        halt.until_ms.is_some().into(),
        to_json(&halt.problem)?.into(),
        halt.until_ms.into(),
    ];
    execute(db, sql, values).await?;
    Ok(())
}

/// Lets top-ups that wait for a cap or a card try again, because a cap was changed, or another card is there.
pub async fn top_up_wake(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<()> {
    let sql = "UPDATE auto_top_ups SET waits_until_ms = NULL, stopped = NULL \
               WHERE customer_id = $1 AND is_on AND waits_until_ms IS NOT NULL";
    execute(db, sql, [customer.as_str().into()]).await?;
    Ok(())
}

/// What a customer's top-ups have cost in the present month in a currency, with what one under way may still take.
pub async fn top_up_charged(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    currency: &Currency,
    now_ms: TimeMs,
) -> Result<MoneyMinor> {
    let sql = "SELECT CAST(COALESCE(SUM(c.amount_minor), 0) AS BIGINT) AS minor FROM charges c \
               JOIN operations o ON o.id = c.operation_id WHERE c.customer_id = $1 AND c.currency = $2 \
               AND c.decided_at_ms >= $3 AND c.state IN ('open', 'succeeded') AND o.kind = 'auto_top_up'";
    let values = [customer.as_str().into(), currency.as_str().into(), Span::Month.around(now_ms).0.into()];
    query_one(db, sql, values).await?.map_or(Ok(MoneyMinor::ZERO), |row| Ok(MoneyMinor(get(&row, "minor")?)))
}
