//! Rows of `charges` and `spend_caps`.

use super::{Kind, Rows, execute, get, query_all, query_one};
use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::catalogue::currency::Currency;
use crate::domain::charge::cap::{CustomerCaps, PerSpan, Span};
use crate::domain::charge::decline::{PAST_CHARGES_MAX, PastCharge};
use crate::domain::charge::record::{ChargeRecord, ChargeState};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use sea_orm::{ConnectionTrait, QueryResult};

/// Writes charges, each once. One that succeeded stays so.
pub async fn charge_put_many(db: &impl ConnectionTrait, charges: &[&ChargeRecord]) -> Result<()> {
    let mut rows = Rows::new(&[
        ("operation_id", Kind::Text),
        ("round", Kind::Int),
        ("customer_id", Kind::Text),
        ("card", Kind::Text),
        ("amount_minor", Kind::Int),
        ("currency", Kind::Text),
        ("state", Kind::Text),
        ("advice_code", Kind::Text),
        ("decided_at_ms", Kind::Int),
        ("ended_at_ms", Kind::Int),
    ]);
    for charge in charges {
        rows.push([
            charge.operation_id.as_str().into(),
            charge.round.into(),
            charge.customer_id.as_str().into(),
            charge.card.as_str().into(),
            charge.amount_minor.0.into(),
            charge.currency.as_str().into(),
            charge.state.as_str().into(),
            charge.advice_code.clone().into(),
            charge.at_ms.into(),
            (charge.state != ChargeState::Open).then_some(charge.at_ms).into(),
        ]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let columns = "operation_id, round, customer_id, card, amount_minor, currency, state, advice_code, decided_at_ms, \
                   ended_at_ms";
    let sql = format!(
        "INSERT INTO charges ({columns}) SELECT {columns} FROM {{rows}} WHERE true \
         ON CONFLICT (operation_id, round) DO UPDATE SET state = excluded.state, advice_code = excluded.advice_code, \
         ended_at_ms = excluded.ended_at_ms WHERE charges.state <> 'succeeded'"
    );
    db.execute_raw(rows.statement(db.get_database_backend(), &sql)).await?;
    Ok(())
}

/// What a customer was charged in the present day and month in a currency, with what charges under way may still take.
pub async fn charged_in_spans(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    currency: &Currency,
    now_ms: TimeMs,
) -> Result<PerSpan<MoneyMinor>> {
    let sql = format!(
        "SELECT {CHARGED} FROM charges WHERE customer_id = $1 AND currency = $4 AND decided_at_ms >= $2 \
         AND state IN ('open', 'succeeded')"
    );
    let (month_ms, day_ms) = (Span::Month.around(now_ms).0, Span::Day.around(now_ms).0);
    let values = [customer.as_str().into(), month_ms.into(), day_ms.into(), currency.as_str().into()];
    query_one(db, &sql, values).await?.map_or(Ok(PerSpan::default()), |row| read_charged(&row))
}

/// What a customer was charged in the present day and month in each currency, with what charges under way may still
/// take. Currencies without a charge in the month are left out.
pub async fn charged_by_currency(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    now_ms: TimeMs,
) -> Result<Vec<(Currency, PerSpan<MoneyMinor>)>> {
    let sql = format!(
        "SELECT currency, {CHARGED} FROM charges WHERE customer_id = $1 AND decided_at_ms >= $2 \
         AND state IN ('open', 'succeeded') GROUP BY currency ORDER BY currency"
    );
    let (month_ms, day_ms) = (Span::Month.around(now_ms).0, Span::Day.around(now_ms).0);
    let rows = query_all(db, &sql, [customer.as_str().into(), month_ms.into(), day_ms.into()]).await?;
    rows.iter().map(|row| Ok((read_currency(row, "charge")?, read_charged(row)?))).collect()
}

/// The sums of the month and of the day, which begins at `$3`.
const CHARGED: &str = "CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) AS of_month, \
                       CAST(COALESCE(SUM(CASE WHEN decided_at_ms >= $3 THEN amount_minor ELSE 0 END), 0) AS BIGINT) AS of_day";

fn read_charged(row: &QueryResult) -> Result<PerSpan<MoneyMinor>> {
    Ok(PerSpan { day: MoneyMinor(get(row, "of_day")?), month: MoneyMinor(get(row, "of_month")?) })
}

fn read_currency(row: &QueryResult, what: &str) -> Result<Currency> {
    let code: String = get(row, "currency")?;
    Currency::parse(&code).ok_or_else(|| Error::Corrupt(format!("currency {code} of a {what}")))
}

/// The last charges of a customer's card that were paid or declined, the latest first.
pub async fn charge_past(db: &impl ConnectionTrait, customer: &CustomerId, card: &str) -> Result<Vec<PastCharge>> {
    let sql = "SELECT state, advice_code, ended_at_ms FROM charges WHERE customer_id = $1 AND card = $2 \
               AND state IN ('declined', 'succeeded') ORDER BY ended_at_ms DESC, round DESC LIMIT $3";
    let limit = i64::try_from(PAST_CHARGES_MAX).unwrap_or(i64::MAX);
    let rows = query_all(db, sql, [customer.as_str().into(), card.into(), limit.into()]).await?;
    let read = |row: &QueryResult| {
        Ok(PastCharge {
            was_declined: get::<String>(row, "state")? == ChargeState::Declined.as_str(),
            advice_code: get(row, "advice_code")?,
            ended_at_ms: get(row, "ended_at_ms")?,
        })
    };
    rows.iter().map(read).collect()
}

/// The caps that were set for a customer.
pub async fn spend_caps_find(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Option<CustomerCaps>> {
    let sql = "SELECT currency, own_day, own_month, staff_day, staff_month FROM spend_caps WHERE customer_id = $1";
    let Some(row) = query_one(db, sql, [customer.as_str().into()]).await? else { return Ok(None) };
    let cap = |column: &str| Ok::<_, Error>(get::<Option<i64>>(&row, column)?.map(MoneyMinor));
    Ok(Some(CustomerCaps {
        currency: read_currency(&row, "cap")?,
        own: PerSpan { day: cap("own_day")?, month: cap("own_month")? },
        staff: PerSpan { day: cap("staff_day")?, month: cap("staff_month")? },
    }))
}

/// Writes the caps that a customer sets for itself. `currency` is that of the caps; those that were set before keep
/// theirs, so it must be the same.
pub async fn spend_caps_put_own(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    currency: &Currency,
    caps: PerSpan<Option<MoneyMinor>>,
    now_ms: TimeMs,
) -> Result<()> {
    spend_caps_put(db, customer, currency, ("own", caps), now_ms).await
}

/// Writes the caps that staff sets for a customer, in the currency of those that were set before.
pub async fn spend_caps_put_staff(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    currency: &Currency,
    caps: PerSpan<Option<MoneyMinor>>,
    now_ms: TimeMs,
) -> Result<()> {
    spend_caps_put(db, customer, currency, ("staff", caps), now_ms).await
}

/// Writes the caps of one side, so that neither side overwrites the other's. The currency of a row never changes, so
/// that the numbers of both sides stay what they are.
async fn spend_caps_put(
    db: &impl ConnectionTrait,
    customer: &CustomerId,
    currency: &Currency,
    (side, caps): (&str, PerSpan<Option<MoneyMinor>>),
    now_ms: TimeMs,
) -> Result<()> {
    let sql = format!(
        "INSERT INTO spend_caps (customer_id, currency, {side}_day, {side}_month, updated_at_ms) \
         VALUES ($1,$2,$3,$4,$5) ON CONFLICT (customer_id) DO UPDATE SET {side}_day = excluded.{side}_day, \
         {side}_month = excluded.{side}_month, updated_at_ms = excluded.updated_at_ms"
    );
    let minor = |amount: Option<MoneyMinor>| amount.map(|amount| amount.0);
    let values = [
        customer.as_str().into(),
        currency.as_str().into(),
        minor(caps.day).into(),
        minor(caps.month).into(),
        now_ms.into(),
    ];
    execute(db, &sql, values).await?;
    Ok(())
}
