//! Support decides what a price at Stripe sells.

mod in_use;

pub use in_use::check_decision;

use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::catalogue::{Catalogue, Price};
use crate::domain::job::{JobKind, Wake};
use crate::domain::sale::judge::judge;
use crate::domain::sale::{DecidedBy, Decision, KnownPrice, SubscribedPrice};
use crate::domain::subscription::change::check;
use crate::domain::subscription::{Change, ChangeRefusal, Subscription};
use crate::domain::webhook::fields;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::audit;
use crate::infra::store::job::job_hasten_looked_at;
use crate::infra::store::price::{price_decide, price_find_many, price_put_many};
use crate::infra::store::subscription::{subscription_stripe_price, subscription_stripe_price_list};
use crate::infra::stripe::StripeError;
use crate::usecase::handler::{DECISION_WAIT_MS, Deps};
use crate::usecase::stripe_link::unreachable;
use crate::usecase::version;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// What support decides of a price, and who says why.
#[derive(Debug, Clone)]
pub struct PriceDecision<'a> {
    /// The price's id at Stripe.
    pub id: &'a str,
    /// What it sells; `Undecided` takes an earlier decision back, so that the rules decide again.
    pub decision: Decision,
    /// The reason, for the audit log.
    pub reason: &'a str,
    /// Who decides.
    pub actor: &'a str,
}

/// Stores a decision, also about a price that was never seen, as long as Stripe has it. Months of a year that wait for
/// it are looked at now: returns their jobs, to announce. Events that waited for it need a replay, and those that were
/// done as other business a comparison with Stripe.
///
/// # Errors
/// `catalogue_price_unknown` if the catalogue in force lacks the price; `stripe_price_unknown` if Stripe lacks it;
/// `stripe_unavailable`; not found if there is no decision to take back.
pub async fn decide(deps: &Deps, decided: &PriceDecision<'_>, now_ms: TimeMs) -> Result<(KnownPrice, Vec<Wake>)> {
    let PriceDecision { id, decision, reason, actor } = decided;
    let db = &deps.db;
    // The price may have come with a version that another node has applied just now.
    version::refresh(db.read(), &deps.catalogue).await?;
    let catalogue = deps.catalogue.now();
    if let Some(key) = decision.price().filter(|key| catalogue.price(key).is_none()) {
        let message = format!("the catalogue has no price {key}");
        return Err(Error::NotAccepted { code: "catalogue_price_unknown", message });
    }
    let is_known = find(db.read(), id).await?.is_some();
    let seen = if is_known { None } else { Some(see(deps, decided, &catalogue, now_ms).await?) };
    let tx = db.begin().await?;
    let before = find(&tx, id).await?;
    if !price_decide(&tx, id, decision, reason, now_ms).await? {
        let seen = seen.ok_or(Error::NotFound("price"))?;
        price_put_many(&tx, &[seen]).await?;
    }
    let after = find(&tx, id).await?.ok_or(Error::NotFound("price"))?;
    let said = |price: &KnownPrice| -> Value {
        json!({ "decision": price.decision.as_str(), "price": price.decision.price() })
    };
    let details = json!({ "from": before.as_ref().map(said), "to": said(&after), "reason": reason });
    audit::audit_append(&tx, &Audit::new(*actor, "price.decide", id, &details), now_ms).await?;
    let wakes = job_hasten_looked_at(&tx, JobKind::CreditsGrant, now_ms + DECISION_WAIT_MS, now_ms).await?;
    tx.commit().await?;
    Ok((after, wakes))
}

/// What a customer's subscription costs and brings, if that is known.
///
/// # Errors
/// Errors of the database.
pub async fn subscribed(
    db: &impl ConnectionTrait,
    catalogue: &Catalogue,
    row: &Subscription,
) -> Result<Option<SubscribedPrice>> {
    let Some(key) = &row.price else { return Ok(None) };
    let Some(id) = subscription_stripe_price(db, &row.customer_id, &row.id).await? else { return Ok(None) };
    Ok(find(db, &id).await?.and_then(|known| known.subscribed(key, catalogue)))
}

/// What a customer's subscriptions cost and bring, by the ids of those of which it is known.
///
/// # Errors
/// Errors of the database.
pub async fn subscribed_many(
    db: &impl ConnectionTrait,
    catalogue: &Catalogue,
    customer: &CustomerId,
    rows: &[Subscription],
) -> Result<HashMap<String, SubscribedPrice>> {
    let had = subscription_stripe_price_list(db, customer).await?;
    let ids: Vec<String> = had.values().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let known = price_find_many(db, &ids).await?;
    let of_row = |row: &Subscription| {
        let (key, id) = (row.price.as_ref()?, had.get(&row.id)?);
        let price = known.iter().find(|price| price.id == *id)?;
        Some((row.id.clone(), price.subscribed(key, catalogue)?))
    };
    Ok(rows.iter().filter_map(of_row).collect())
}

/// The catalogue's price that a change leads to, if it is possible as far as is stored here. An inner error says why
/// not.
///
/// # Errors
/// Errors of the database.
pub async fn check_change<'a>(
    db: &impl ConnectionTrait,
    row: Option<&Subscription>,
    catalogue: &'a Catalogue,
    change: &Change,
) -> Result<std::result::Result<&'a Price, ChangeRefusal>> {
    let terms = match row {
        Some(row) => subscribed(db, catalogue, row).await?,
        None => None,
    };
    Ok(check(row, catalogue, change, terms.as_ref()))
}

async fn find(db: &impl ConnectionTrait, id: &str) -> Result<Option<KnownPrice>> {
    Ok(price_find_many(db, &[id.to_owned()]).await?.pop())
}

/// A price that was never seen, as Stripe has it and as it is decided. Without a Stripe key it is taken as it is named.
async fn see(deps: &Deps, decided: &PriceDecision<'_>, catalogue: &Catalogue, now_ms: TimeMs) -> Result<KnownPrice> {
    if decided.decision == Decision::Undecided {
        return Err(Error::NotFound("price"));
    }
    let said = match deps.stripe.price_retrieve(decided.id).await {
        Ok(object) => fields::Price::read_object(&object),
        Err(StripeError::NotConfigured) => {
            fields::Price { ids: vec![decided.id.to_owned()], ..fields::Price::default() }
        }
        // For an id of another form Stripe says that the request is invalid.
        Err(StripeError::NotFound { .. } | StripeError::Invalid { .. }) => {
            let message = format!(
                "Stripe has no price {} in the account and the mode of this server's key: check the id",
                decided.id
            );
            return Err(Error::NotAccepted { code: "stripe_price_unknown", message });
        }
        Err(error) => return Err(unreachable(error)),
    };
    Ok(KnownPrice {
        id: decided.id.to_owned(),
        decision: decided.decision.clone(),
        decided_by: DecidedBy::Operator,
        reason: Some(decided.reason.to_owned()),
        ..judge(&said, catalogue, &[], now_ms)
    })
}
