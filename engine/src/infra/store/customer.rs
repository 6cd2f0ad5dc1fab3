//! Rows of `customers`.

mod plan;

pub use plan::{PlanChange, customer_count_on_plan, customer_list_on_plan, customer_plan_list, customer_set_plan_many};

use super::marketplace::marketplace_find_by_customer;
use super::{Kind, Rows, containing, execute, get, query_all, query_by, query_one};
use crate::clock::TimeMs;
use crate::domain::address::{AddressState, Confirmation};
use crate::domain::customer::Customer;
use crate::domain::email::Email;
use crate::domain::github;
use crate::domain::job::JobOwner;
use crate::domain::webhook::stripe_stream;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::key::PlanKey;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult};

pub(super) const COLUMNS: &str = "id, email, name, source, plan, stripe_customer_id, has_payment_method, created_at_ms, \
                                  credits_from_ms, address_state, address_confirmed_at_ms";

pub(super) fn read(row: &QueryResult) -> Result<Customer> {
    Ok(Customer {
        id: CustomerId::trusted(get(row, "id")?),
        email: get(row, "email")?,
        name: get(row, "name")?,
        source: get(row, "source")?,
        plan: PlanKey::trusted(&get::<String>(row, "plan")?),
        stripe_customer_id: get(row, "stripe_customer_id")?,
        former_stripe_ids: Vec::new(),
        credits_from_ms: get(row, "credits_from_ms")?,
        has_payment_method: get(row, "has_payment_method")?,
        confirmation: read_confirmation(row)?,
        created_at_ms: get(row, "created_at_ms")?,
    })
}

fn read_confirmation(row: &QueryResult) -> Result<Confirmation> {
    let state: String = get(row, "address_state")?;
    let state = AddressState::parse(&state).ok_or_else(|| Error::Corrupt(format!("address state {state}")))?;
    Ok(Confirmation { state, at_ms: get(row, "address_confirmed_at_ms")? })
}

/// Inserts a customer. False if its e-mail address is taken.
pub async fn customer_insert(db: &impl ConnectionTrait, customer: &Customer, email: &Email) -> Result<bool> {
    let rows = execute(
        db,
        "INSERT INTO customers (id, email, email_normalized, name, source, plan, stripe_customer_id, \
         has_payment_method, created_at_ms, updated_at_ms, address_state, address_confirmed_at_ms) \
         VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$9,$10,$11) \
         ON CONFLICT (email_normalized) DO NOTHING",
        [
            customer.id.as_str().into(),
            email.given.as_str().into(),
            email.normalized.as_str().into(),
            customer.name.as_str().into(),
            customer.source.as_str().into(),
            customer.plan.as_str().into(),
            customer.stripe_customer_id.clone().into(),
            customer.has_payment_method.into(),
            customer.created_at_ms.into(),
            customer.confirmation.state.as_str().into(),
            customer.confirmation.at_ms.into(),
        ],
    )
    .await?;
    Ok(rows == 1)
}

/// Records that a mailbox gets the free credits. False if it already had them.
pub async fn free_credits_insert(
    db: &impl ConnectionTrait,
    mailbox: &str,
    customer: &CustomerId,
    now_ms: TimeMs,
) -> Result<bool> {
    let sql = "INSERT INTO free_credits (mailbox, customer_id, given_at_ms) VALUES ($1,$2,$3) \
               ON CONFLICT (mailbox) DO NOTHING";
    Ok(execute(db, sql, [mailbox.into(), customer.as_str().into(), now_ms.into()]).await? == 1)
}

/// Finds a customer.
pub async fn customer_find(db: &impl ConnectionTrait, id: &CustomerId) -> Result<Option<Customer>> {
    let sql = format!("SELECT {COLUMNS} FROM customers WHERE id = $1");
    query_one(db, &sql, [id.as_str().into()]).await?.map(|row| read(&row)).transpose()
}

/// The column to find customers by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Their id.
    Id,
    /// Their Stripe customer.
    StripeId,
}

/// Finds many customers; missing ones are left out.
pub async fn customer_find_many(db: &impl ConnectionTrait, by: By, ids: &[String]) -> Result<Vec<Customer>> {
    let column = match by {
        By::Id => "id",
        By::StripeId => "stripe_customer_id",
    };
    let columns = COLUMNS.split(", ").map(|column| format!("c.{column} AS {column}")).collect::<Vec<_>>();
    let sql = format!("SELECT {} FROM {{rows}} JOIN customers c ON c.{column} = {{r.sought}}", columns.join(", "));
    query_by(db, &sql, ids).await?.iter().map(read).collect()
}

/// Changes a customer's address. False if another customer has it.
pub async fn customer_set_email(
    db: &impl ConnectionTrait,
    id: &CustomerId,
    email: &Email,
    now_ms: TimeMs,
) -> Result<bool> {
    let sql = "UPDATE customers SET email = $2, email_normalized = $3, updated_at_ms = $4 WHERE id = $1 \
               AND NOT EXISTS (SELECT 1 FROM customers c WHERE c.email_normalized = $3 AND c.id <> $1)";
    let values = [id.as_str().into(), email.given.as_str().into(), email.normalized.as_str().into(), now_ms.into()];
    Ok(execute(db, sql, values).await? == 1)
}

/// Finds a customer by its normalized address.
pub async fn customer_find_by_email(db: &impl ConnectionTrait, normalized: &str) -> Result<Option<Customer>> {
    let sql = format!("SELECT {COLUMNS} FROM customers WHERE email_normalized = $1");
    query_one(db, &sql, [normalized.into()]).await?.map(|row| read(&row)).transpose()
}

/// Customers with the text in address or name, or of whom it is the id, an id at Stripe (of the Stripe customer, a
/// subscription, an invoice, a PaymentIntent) or the id of an operation; newest first, before the cursor. Only those
/// that were made at or after a time.
pub async fn customer_search(
    db: &impl ConnectionTrait,
    text: &str,
    from_ms: Option<TimeMs>,
    before: Option<&str>,
    limit: u64,
) -> Result<Vec<Customer>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM customers WHERE ($1 = '' OR email_normalized LIKE $2 ESCAPE '\\' \
         OR LOWER(name) LIKE $2 ESCAPE '\\' OR id = $1 OR stripe_customer_id = $1 OR id IN ( \
         SELECT customer_id FROM stripe_customers_former WHERE stripe_customer_id = $1 UNION ALL \
         SELECT customer_id FROM subscriptions WHERE id = $1 UNION ALL \
         SELECT customer_id FROM invoices WHERE id = $1 UNION ALL \
         SELECT customer_id FROM operations WHERE id = $1 UNION ALL \
         SELECT customer_id FROM operations WHERE stripe_id = $1)) \
         AND ($3 = '' OR id < $3) AND created_at_ms >= $5 ORDER BY id DESC LIMIT $4"
    );
    let values = [
        text.into(),
        containing(&text.to_lowercase()).into(),
        before.unwrap_or_default().into(),
        limit.cast_signed().into(),
        from_ms.unwrap_or(TimeMs::MIN).into(),
    ];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// Prevents changes to a customer and its keys until the transaction ends: without the lock, two transactions could
/// each rely on a row that the other removes. False if there is no such customer. SQLite runs one writing
/// transaction at a time.
pub async fn customer_lock(db: &impl ConnectionTrait, id: &CustomerId) -> Result<bool> {
    let sql = format!("SELECT id FROM customers WHERE id = $1{}", lock_clause(db, "customers"));
    Ok(query_one(db, &sql, [id.as_str().into()]).await?.is_some())
}

/// The clause that locks the rows of a table in a query. Not FOR UPDATE, which would block inserts of the
/// customer's entries and jobs.
fn lock_clause(db: &impl ConnectionTrait, table: &str) -> String {
    match db.get_database_backend() {
        DbBackend::Postgres => format!(" FOR NO KEY UPDATE OF {table}"),
        _ => String::new(),
    }
}

/// The former customers of deleted Stripe customers.
pub async fn stripe_customer_former_find_many(
    db: &impl ConnectionTrait,
    ids: &[String],
) -> Result<Vec<(String, CustomerId)>> {
    let sql = "SELECT f.stripe_customer_id AS stripe_customer_id, f.customer_id AS customer_id \
               FROM {rows} JOIN stripe_customers_former f ON f.stripe_customer_id = {r.sought}";
    let rows = query_by(db, sql, ids).await?;
    rows.iter()
        .map(|row| Ok((get(row, "stripe_customer_id")?, CustomerId::trusted(get(row, "customer_id")?))))
        .collect()
}

/// All Stripe customers of a customer: its own, if it has one, then deleted ones and those that it has besides.
pub async fn stripe_customers_of(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Vec<String>> {
    let own = customer_find(db, customer).await?.and_then(|found| found.stripe_customer_id);
    Ok(own.into_iter().chain(stripe_customer_former_list(db, customer).await?).collect())
}

/// Whose jobs are searched for: the customer with the streams of its events.
pub async fn customer_job_owner(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<JobOwner> {
    let stripe = stripe_customers_of(db, customer).await?;
    let bought = marketplace_find_by_customer(db, customer).await?;
    let streams = stripe.iter().map(|id| stripe_stream(id));
    let streams = streams.chain(bought.map(|account| github::stream_key(account.github_account_id)));
    Ok(JobOwner { customer: customer.clone(), streams: streams.collect() })
}

/// The deleted Stripe customers of a customer.
pub async fn stripe_customer_former_list(db: &impl ConnectionTrait, customer: &CustomerId) -> Result<Vec<String>> {
    let sql = "SELECT stripe_customer_id FROM stripe_customers_former WHERE customer_id = $1 ORDER BY gone_at_ms";
    query_all(db, sql, [customer.as_str().into()]).await?.iter().map(|row| get(row, "stripe_customer_id")).collect()
}

/// Links customers to their Stripe customers, each once, unless they have one. A deleted Stripe customer is never
/// linked again, no matter which events arrive late.
pub async fn customer_link_stripe_many(
    db: &impl ConnectionTrait,
    links: &[(&CustomerId, &str)],
    now_ms: TimeMs,
) -> Result<()> {
    let mut rows = Rows::new(&[("id", Kind::Text), ("stripe_customer_id", Kind::Text), ("now_ms", Kind::Int)]);
    for (id, stripe_customer_id) in links {
        rows.push([id.as_str().into(), (*stripe_customer_id).into(), now_ms.into()]);
    }
    let sql = "UPDATE customers SET stripe_customer_id = r.stripe_customer_id, updated_at_ms = r.now_ms FROM {rows} \
               WHERE customers.id = {r.id} AND customers.stripe_customer_id IS NULL AND NOT EXISTS \
               (SELECT 1 FROM stripe_customers_former f WHERE f.stripe_customer_id = r.stripe_customer_id)";
    db.execute_raw(rows.statement(db.get_database_backend(), sql)).await?;
    Ok(())
}

/// Adds another Stripe customer to a customer: in place of `replaces`, if that is still linked and no payment method is
/// attached, else beside it. Nothing changes if it is linked to anybody by now, or was.
pub async fn customer_adopt_stripe(
    db: &impl ConnectionTrait,
    id: &CustomerId,
    stripe_customer_id: &str,
    replaces: Option<&str>,
    now_ms: TimeMs,
) -> Result<()> {
    const IS_FREE: &str = "NOT EXISTS (SELECT 1 FROM customers c WHERE c.stripe_customer_id = $2) \
                           AND NOT EXISTS (SELECT 1 FROM stripe_customers_former f WHERE f.stripe_customer_id = $2)";
    let mut replaced = 0;
    if let Some(old) = replaces {
        let sql = format!(
            "UPDATE customers SET stripe_customer_id = $2, plan_before_link = NULL, updated_at_ms = $3 WHERE id = $1 \
             AND stripe_customer_id = $4 AND NOT has_payment_method AND {IS_FREE}"
        );
        let values = [id.as_str().into(), stripe_customer_id.into(), now_ms.into(), old.into()];
        replaced = execute(db, &sql, values).await?;
    }
    let sql = "INSERT INTO stripe_customers_former (customer_id, stripe_customer_id, gone_at_ms) VALUES ($1,$2,$3) \
               ON CONFLICT DO NOTHING";
    if let (1, Some(old)) = (replaced, replaces) {
        execute(db, sql, [id.as_str().into(), old.into(), now_ms.into()]).await?;
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO stripe_customers_former (customer_id, stripe_customer_id, gone_at_ms) SELECT $1, $2, $3 \
         WHERE {IS_FREE} ON CONFLICT DO NOTHING"
    );
    execute(db, &sql, [id.as_str().into(), stripe_customer_id.into(), now_ms.into()]).await?;
    Ok(())
}

/// Removes the link to a Stripe customer if it is still this one, and records it as former.
pub async fn customer_unlink_stripe(
    db: &impl ConnectionTrait,
    id: &CustomerId,
    stripe_customer_id: &str,
    now_ms: TimeMs,
) -> Result<()> {
    let values = [id.as_str().into(), stripe_customer_id.into(), now_ms.into()];
    let unlinked = execute(
        db,
        "UPDATE customers SET stripe_customer_id = NULL, plan_before_link = NULL, updated_at_ms = $3 WHERE id = $1 \
         AND stripe_customer_id = $2",
        values.clone(),
    )
    .await?;
    if unlinked == 1 {
        let sql = "INSERT INTO stripe_customers_former (customer_id, stripe_customer_id, gone_at_ms) \
                   VALUES ($1,$2,$3) ON CONFLICT DO NOTHING";
        execute(db, sql, values).await?;
    }
    Ok(())
}
