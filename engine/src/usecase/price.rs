//! Support decides what a price at Stripe sells.

mod in_use;

pub use in_use::check_decision;

use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::catalogue::Catalogue;
use crate::domain::sale::{DecidedBy, Decision, KnownPrice};
use crate::error::{Error, Result};
use crate::infra::store::price::{price_decide, price_find_many, price_put_many};
use crate::infra::store::{Db, audit};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use std::collections::BTreeMap;

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

/// Stores a decision, also about a price that was never seen. Events that waited for it need a replay.
///
/// # Errors
/// `catalogue_price_unknown` if the catalogue lacks the price; not found if there is no decision to take back.
pub async fn decide(db: &Db, decided: &PriceDecision<'_>, catalogue: &Catalogue, now_ms: TimeMs) -> Result<KnownPrice> {
    let PriceDecision { id, decision, reason, actor } = decided;
    if let Some(key) = decision.price().filter(|key| catalogue.price(key).is_none()) {
        let message = format!("the catalogue has no price {key}");
        return Err(Error::NotAccepted { code: "catalogue_price_unknown", message });
    }
    let tx = db.begin().await?;
    let before = find(&tx, id).await?;
    if !price_decide(&tx, id, decision, reason, now_ms).await? {
        if *decision == Decision::Undecided {
            return Err(Error::NotFound("price"));
        }
        price_put_many(&tx, &[unseen(decided, now_ms)]).await?;
    }
    let after = find(&tx, id).await?.ok_or(Error::NotFound("price"))?;
    let said = |price: &KnownPrice| -> Value {
        json!({ "decision": price.decision.as_str(), "price": price.decision.price() })
    };
    let details = json!({ "from": before.as_ref().map(said), "to": said(&after), "reason": reason });
    audit::audit_append(&tx, &Audit::new(*actor, "price.decide", id, &details), now_ms).await?;
    tx.commit().await?;
    Ok(after)
}

async fn find(db: &impl ConnectionTrait, id: &str) -> Result<Option<KnownPrice>> {
    Ok(price_find_many(db, &[id.to_owned()]).await?.pop())
}

/// A price of which only the decision is known.
fn unseen(decided: &PriceDecision<'_>, now_ms: TimeMs) -> KnownPrice {
    KnownPrice {
        id: decided.id.to_owned(),
        product_id: None,
        lookup_key: None,
        metadata: BTreeMap::new(),
        amount: None,
        currency: None,
        every: None,
        decision: decided.decision.clone(),
        decided_by: DecidedBy::Operator,
        reason: Some(decided.reason.to_owned()),
        terms: None,
        first_seen_ms: now_ms,
        decided_at_ms: now_ms,
    }
}
