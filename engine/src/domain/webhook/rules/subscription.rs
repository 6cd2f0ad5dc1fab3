//! Subscriptions: what Stripe says of one is kept, and the plan follows.
//!
//! Statuses and their order: Stripe, "Subscription statuses". A subscription begins as `incomplete`
//! or further on, never returns to it, and never leaves `canceled` or `incomplete_expired`.

use super::{Facts, Owner, RuleResult, incomplete};
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields::{IsPro, SubscriptionFields};
use crate::plan::Plan;

/// `customer.subscription.created`. It is the first that Stripe has to tell, so whatever is known
/// already is later: a late `created (incomplete)` must not take Pro away.
pub(super) fn created(facts: &Facts<'_>) -> RuleResult {
    if facts.stored().is_some() {
        return Err(Outcome::Done);
    }
    changed(facts, false)
}

/// `customer.subscription.updated`.
pub(super) fn updated(facts: &Facts<'_>) -> RuleResult {
    changed(facts, false)
}

/// `customer.subscription.deleted`: it has ended, whatever status the object shows.
pub(super) fn deleted(facts: &Facts<'_>) -> RuleResult {
    changed(facts, true)
}

/// An end is final. But how it ended may have been taken for something else, if its customer was deleted at
/// Stripe and that was told before the first payment was.
fn ended_otherwise(stored: &Subscription, said: Option<&str>) -> RuleResult {
    match said.filter(|status| Subscription::status_is_final(status) && **status != stored.status) {
        Some(status) => {
            let row = Subscription { status: status.to_owned(), ..stored.clone() };
            Ok(Verdict { outcome: Outcome::Done, ledger: None, effects: vec![Effect::SubscriptionPut(row)] })
        }
        None => Err(Outcome::Done),
    }
}

fn changed(facts: &Facts<'_>, is_deleted: bool) -> RuleResult {
    let said = SubscriptionFields::read(facts.object);
    let stored = facts.stored();
    if let Some(stored) = stored.filter(|stored| stored.ended_at_ms.is_some()) {
        return ended_otherwise(stored, said.status.as_deref());
    }
    let missing = |what: &str| incomplete("subscription", said.id.as_deref(), what);
    let id = said.id.clone().ok_or_else(|| missing("id"))?;
    let status = match said.status.clone() {
        Some(status) if !is_deleted || Subscription::status_is_final(&status) => status,
        _ if is_deleted => "canceled".to_owned(),
        _ => return Err(missing("status")),
    };
    if status == "incomplete" && stored.is_some_and(|stored| stored.status != "incomplete") {
        return Err(Outcome::Done);
    }
    if facts.customer.is_none() && said.is_pro(facts.pro) == IsPro::No {
        // Other business of the same Stripe account.
        return Err(Outcome::Done);
    }
    let owner = facts.owner(said.stripe_customer_id.as_ref())?;
    let has_ended = is_deleted || Subscription::status_is_final(&status);
    let is_pro = match (said.is_pro(facts.pro), stored) {
        (IsPro::Yes, _) => true,
        (IsPro::No, _) => false,
        (IsPro::Unknown, Some(stored)) => stored.is_pro,
        // An end must be kept, or a late event would revive it. As an ended subscription gives
        // nothing, taking it for Pro's only matters to a Pro customer that no other one explains.
        (IsPro::Unknown, None) if has_ended => true,
        (IsPro::Unknown, None) => return Err(missing("price")),
    };
    let row = late_payment(
        Subscription {
            id,
            customer_id: owner.customer.id.clone(),
            is_pro,
            cancel_at_period_end: said.ends_with_period(facts.pro),
            current_period_end_ms: said
                .period_end_ms(facts.pro)
                .or_else(|| stored.and_then(|stored| stored.current_period_end_ms)),
            past_due_since_ms: stored.and_then(|stored| stored.past_due_since_ms),
            past_due_reason: stored.and_then(|stored| stored.past_due_reason.clone()),
            // Not `canceled_at`: that is when cancelling was asked for.
            ended_at_ms: has_ended.then(|| said.ended_at_ms.unwrap_or(facts.now_ms)),
            status,
        },
        facts,
    );
    let plan = plan_after(facts, &owner, &row);
    Ok(owner.verdict(facts, Some(row), plan))
}

/// Keeps since when and why a payment is missing, and forgets it once nothing is missing. Ended
/// subscriptions keep it, so that support sees what they ended of.
fn late_payment(row: Subscription, facts: &Facts<'_>) -> Subscription {
    match row.status.as_str() {
        "active" | "trialing" => Subscription { past_due_since_ms: None, past_due_reason: None, ..row },
        "past_due" | "unpaid" => {
            Subscription { past_due_since_ms: row.past_due_since_ms.or(Some(facts.now_ms)), ..row }
        }
        _ => row,
    }
}

/// The plan that follows: Pro if this gives it; pay as you go if this was what gave it and no other
/// does. A trial customer whose subscription never gave Pro stays on trial.
fn plan_after(facts: &Facts<'_>, owner: &Owner<'_>, row: &Subscription) -> Option<Plan> {
    if row.gives_pro() {
        return Some(Plan::Pro);
    }
    let gave_pro = facts.stored().is_some_and(Subscription::gives_pro);
    // Of what is not known here the status tells: an incomplete one never gave anything.
    let may_have_given_pro = match facts.stored() {
        None => row.is_pro && !row.status.starts_with("incomplete"),
        Some(stored) => (row.is_pro || stored.is_pro) && row.ended_at_ms.is_some(),
    };
    let loses_pro = gave_pro || (owner.customer.plan == Plan::Pro && may_have_given_pro);
    (loses_pro && !facts.another_gives_pro(&row.id)).then_some(Plan::PayAsYouGo)
}
