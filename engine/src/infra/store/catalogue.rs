//! Rows of `catalogue_versions`, and the numbers of customers that a change of the catalogue touches.

use super::{execute, from_json, get, price, query_all, query_one};
use crate::domain::catalogue::refusal::refusals;
use crate::domain::catalogue::{CatalogueVersion, InUse};
use crate::domain::operation::Request;
use crate::domain::sale::AppliedCatalogue;
use crate::domain::subscription::PendingChange;
use crate::error::{Error, Result};
use crate::key::{PackKey, PlanKey, PriceKey};
use sea_orm::{ConnectionTrait, QueryResult};

const COLUMNS: &str = "version, catalogue, applied_by, reason, applied_at_ms";

fn read(row: &QueryResult) -> Result<CatalogueVersion> {
    Ok(CatalogueVersion {
        version: get(row, "version")?,
        catalogue: get(row, "catalogue")?,
        applied_by: get(row, "applied_by")?,
        reason: get(row, "reason")?,
        applied_at_ms: get(row, "applied_at_ms")?,
    })
}

/// The version in force, if its number is greater than `after`.
pub async fn catalogue_version_latest(db: &impl ConnectionTrait, after: i64) -> Result<Option<CatalogueVersion>> {
    let sql = format!("SELECT {COLUMNS} FROM catalogue_versions WHERE version > $1 ORDER BY version DESC LIMIT 1");
    query_one(db, &sql, [after.into()]).await?.map(|row| read(&row)).transpose()
}

/// Finds a version.
pub async fn catalogue_version_find(db: &impl ConnectionTrait, version: i64) -> Result<Option<CatalogueVersion>> {
    let sql = format!("SELECT {COLUMNS} FROM catalogue_versions WHERE version = $1");
    query_one(db, &sql, [version.into()]).await?.map(|row| read(&row)).transpose()
}

/// The latest version that has a plan.
pub async fn catalogue_version_with_plan(
    db: &impl ConnectionTrait,
    plan: &PlanKey,
) -> Result<Option<CatalogueVersion>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM catalogue_versions WHERE REPLACE(catalogue, $1, '') <> catalogue \
         ORDER BY version DESC LIMIT 1"
    );
    query_one(db, &sql, [table_of(plan).into()]).await?.map(|row| read(&row)).transpose()
}

/// The head of a plan's table, as versions are written.
fn table_of(plan: &PlanKey) -> String {
    format!("[plans.{plan}]")
}

/// A page of versions, latest first, before this one.
pub async fn catalogue_version_list(
    db: &impl ConnectionTrait,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<CatalogueVersion>> {
    let sql = format!("SELECT {COLUMNS} FROM catalogue_versions WHERE version < $1 ORDER BY version DESC LIMIT $2");
    let values = [before.unwrap_or(i64::MAX).into(), limit.cast_signed().into()];
    query_all(db, &sql, values).await?.iter().map(read).collect()
}

/// Inserts a version. False if there is one with this number.
pub async fn catalogue_version_insert(db: &impl ConnectionTrait, version: &CatalogueVersion) -> Result<bool> {
    let sql = format!(
        "INSERT INTO catalogue_versions ({COLUMNS}) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (version) DO NOTHING"
    );
    let values = [
        version.version.into(),
        version.catalogue.as_str().into(),
        version.applied_by.as_str().into(),
        version.reason.as_str().into(),
        version.applied_at_ms.into(),
    ];
    Ok(execute(db, &sql, values).await? == 1)
}

/// Puts a version into force, with the terms that former prices at Stripe keep and the present prices.
///
/// # Errors
/// `Conflict` if there is a version with this number, or if somebody has or will have by now what it removes; the
/// transaction must be rolled back.
pub async fn catalogue_version_apply(db: &impl ConnectionTrait, applied: &AppliedCatalogue) -> Result<()> {
    if !catalogue_version_insert(db, &applied.version).await? {
        let message = format!("version {} of the catalogue exists already", applied.version.version);
        return Err(Error::conflict("catalogue_version_changed", message));
    }
    if applied.removes_something() {
        check_unused(db, applied).await?;
    }
    for kept in &applied.kept {
        price::price_keep_terms(db, &kept.terms, kept.present.as_deref()).await?;
    }
    price::price_put_many(db, &applied.present).await?;
    for present in &applied.present {
        if let Some(key) = present.decision.price() {
            price::price_drop_terms(db, &present.id, key).await?;
        }
    }
    Ok(())
}

/// Looks again, in the transaction, whether what is removed is in use: prices were made at Stripe since the last look.
/// A request that is stored after this one commits is carried out by the new catalogue.
async fn check_unused(db: &impl ConnectionTrait, applied: &AppliedCatalogue) -> Result<()> {
    let named: Vec<String> = applied.catalogue.prices.iter().flat_map(|price| price.stripe.clone()).collect();
    let in_use = catalogue_in_use(db, &named).await?;
    let refusals = refusals(&applied.before, &applied.catalogue, &in_use);
    if refusals.is_empty() {
        return Ok(());
    }
    let messages: Vec<String> = refusals.into_iter().map(|refusal| refusal.message).collect();
    Err(Error::conflict("catalogue_refused", messages.join("; ")))
}

/// What customers have of plans and prices. `named` are ids at Stripe of which it says what they sell.
///
/// It reads every pending change and every request under way, of which there are few.
pub async fn catalogue_in_use(db: &impl ConnectionTrait, named: &[String]) -> Result<InUse> {
    let mut in_use = InUse::default();
    for row in query_all(db, "SELECT plan, COUNT(*) AS n FROM customers GROUP BY plan", []).await? {
        in_use.customers.insert(PlanKey::trusted(&get::<String>(&row, "plan")?), count(&row)?);
    }
    let sql = "SELECT plan, price, COUNT(*) AS n FROM subscriptions WHERE ended_at_ms IS NULL AND plan IS NOT NULL \
               GROUP BY plan, price";
    for row in query_all(db, sql, []).await? {
        let plan = PlanKey::trusted(&get::<String>(&row, "plan")?);
        let n = count(&row)?;
        match get::<Option<String>>(&row, "price")? {
            Some(key) => *in_use.subscriptions.entry(PriceKey::trusted(&key)).or_default() += n,
            None => *in_use.unpriced.entry(plan.clone()).or_default() += n,
        }
        *in_use.subscribed.entry(plan).or_default() += n;
    }
    // A price at Stripe stores the terms that it keeps once it is a former one.
    let sql = "SELECT s.price AS price, COUNT(*) AS n FROM subscriptions s JOIN prices p ON p.id = s.stripe_price \
               WHERE s.ended_at_ms IS NULL AND s.plan IS NOT NULL AND p.catalogue_price = s.price \
               AND p.terms IS NOT NULL GROUP BY s.price";
    for row in query_all(db, sql, []).await? {
        in_use.former.insert(PriceKey::trusted(&get::<String>(&row, "price")?), count(&row)?);
    }
    for known in price::price_find_many(db, named).await? {
        in_use.sold.extend(known.decision.price().map(|key| (known.id.clone(), key.clone())));
    }
    count_coming(db, &mut in_use).await?;
    Ok(in_use)
}

/// Adds what will have prices and packs.
async fn count_coming(db: &impl ConnectionTrait, in_use: &mut InUse) -> Result<()> {
    let sql = "SELECT pending_change FROM subscriptions WHERE ended_at_ms IS NULL AND pending_change IS NOT NULL";
    for row in query_all(db, sql, []).await? {
        let change: PendingChange = from_json(&get::<String>(&row, "pending_change")?)?;
        in_use.coming.entry(change.price).or_default().changes += 1;
    }
    let sql = "SELECT request FROM operations WHERE state IN ('processing', 'requires_action') \
               AND kind IN ('subscription_create', 'subscription_change', 'pack_purchase')";
    for row in query_all(db, sql, []).await? {
        match from_json(&get::<String>(&row, "request")?)? {
            Request::SubscriptionCreate { price: Some(price), .. } => {
                in_use.coming.entry(price).or_default().requests += 1;
            }
            Request::SubscriptionChange { change, .. } => {
                in_use.coming.entry(change.price).or_default().requests += 1;
            }
            Request::PackPurchase(purchase) => in_use.buying.entry(purchase.pack.key).or_default().requests += 1,
            _ => {}
        }
    }
    let sql = "SELECT pack, COUNT(*) AS n FROM auto_top_ups WHERE is_on AND pack IS NOT NULL GROUP BY pack";
    for row in query_all(db, sql, []).await? {
        let pack = PackKey::trusted(&get::<String>(&row, "pack")?);
        in_use.buying.entry(pack).or_default().top_ups = count(&row)?;
    }
    Ok(())
}

fn count(row: &QueryResult) -> Result<u64> {
    Ok(get::<i64>(row, "n")?.cast_unsigned())
}
