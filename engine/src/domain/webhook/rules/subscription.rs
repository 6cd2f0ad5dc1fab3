//! Subscriptions: what Stripe says of one is kept, and the plan follows.
//!
//! Statuses and their order: Stripe, "Subscription statuses". A subscription begins as `incomplete`
//! or further on, never returns to it, and never leaves `canceled` or `incomplete_expired`.

use super::{Facts, RuleResult, incomplete, price_unknown};
use crate::amount::MoneyMinor;
use crate::domain::catalogue::Price;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::sale::Sold;
use crate::domain::subscription::{PausedCollection, PendingChange, Subscription, UnpaidChange};
use crate::domain::webhook::fields::{InvoiceFields, Item, SubscriptionFields, without_next_attempt};
use crate::key::PlanKey;

/// `customer.subscription.created`. It is the first that Stripe has to tell, so whatever is known
/// already is later: a late `created (incomplete)` must not take a plan away.
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
    let is_known = stored.is_some();
    let has_ended = is_deleted || Subscription::status_is_final(&status);
    // What is stored counts for what cannot be decided.
    let (ours, kept) = match sold(facts, &said) {
        Subscribed::Ours(item, price) => (Some((item, price)), None),
        // Other business of the same Stripe account.
        Subscribed::NotOurs if !is_known => return Err(Outcome::Done),
        // A person will see it in the next reconciliation; meanwhile nothing is taken away.
        Subscribed::NotOurs if facts.sold_before().is_some() => (None, stored),
        Subscribed::NotOurs => (None, None),
        Subscribed::Unnamed | Subscribed::Undecided(_) if is_known => (None, stored),
        Subscribed::Unnamed => return Err(missing("price")),
        Subscribed::Undecided(why) => return Err(price_unknown("subscription", said.id.as_deref(), &why)),
    };
    let owner = facts.owner(said.stripe_customer_id.as_ref())?;
    let item = ours.as_ref().map(|(item, _)| *item);
    let row = late_payment(
        Subscription {
            id,
            customer_id: owner.customer.id.clone(),
            plan: ours.as_ref().map(|(_, price)| price.plan.clone()).or_else(|| kept.and_then(|row| row.plan.clone())),
            price: ours.as_ref().map(|(_, price)| price.key.clone()).or_else(|| kept.and_then(|row| row.price.clone())),
            quantity: match &ours {
                Some((item, price)) if price.per_seat => item.quantity.unwrap_or(1),
                Some(_) => 1,
                None => kept.map_or(1, |row| row.quantity),
            },
            cancel_at_period_end: said.ends_with_period(item),
            current_period_end_ms: said
                .period_end_ms(item)
                .or_else(|| stored.and_then(|stored| stored.current_period_end_ms)),
            past_due_since_ms: stored.and_then(|stored| stored.past_due_since_ms),
            past_due_reason: stored.and_then(|stored| stored.past_due_reason.clone()),
            paused_collection: said
                .pause_behavior
                .clone()
                .filter(|_| !has_ended)
                .map(|behavior| PausedCollection { behavior, resumes_at_ms: said.pause_resumes_at_ms }),
            unpaid_change: ours
                .as_ref()
                .filter(|_| !has_ended)
                .and_then(|(_, price)| unpaid_change(facts, &said, &status, &price.plan)),
            pending_change: if has_ended { None } else { pending_change(facts, &said) },
            // Not `canceled_at`: that is when cancelling was asked for.
            ended_at_ms: has_ended.then(|| said.ended_at_ms.unwrap_or(facts.now_ms)),
            status,
        },
        facts,
    );
    // A subscription of which nothing was known may be what gave the customer its plan, unless it was never paid.
    let may_have_given = !is_known && row.gives_plan().is_none() && !row.status.starts_with("incomplete");
    let has_left = row.plan.as_ref().filter(|plan| may_have_given && **plan == owner.customer.plan);
    let plan = facts.plan_set(owner.customer, &row, has_left);
    Ok(owner.verdict(facts, Some(row), plan))
}

/// The change that waits for the latest invoice: the plan is better than the one that is paid, and the invoice is not
/// paid. A renewal of the plan that the customer has is no change, so a plan whose renewal fails stays.
fn unpaid_change(facts: &Facts<'_>, said: &SubscriptionFields, status: &str, sells: &PlanKey) -> Option<UnpaidChange> {
    let latest = &facts.object["latest_invoice"];
    let stored = facts.stored().and_then(|stored| stored.unpaid_change.clone());
    if !latest.is_object() {
        return stored.filter(|change| said.latest_invoice_id.as_ref() == Some(&change.invoice_id));
    }
    let invoice = InvoiceFields::read(latest);
    let costs = invoice.total.is_some_and(|total| total > MoneyMinor::ZERO);
    if status == "trialing" || invoice.is_paid != Some(false) || !costs {
        return None;
    }
    let gave = facts.stored().and_then(Subscription::gives_plan);
    let is_news = match gave {
        Some(gave) => gave != sells && facts.book.catalogue().better(gave, sells) == sells,
        // Of a subscription that was not heard of, a renewal tells that it was paid before.
        None => invoice.billing_reason.as_deref() != Some("subscription_cycle"),
    };
    // Voiding an invoice leaves what it billed: nobody has paid that.
    let is_void = invoice.is_void;
    Some(UnpaidChange { invoice_id: invoice.id?, plan: gave.cloned(), is_void }).filter(|_| is_news)
}

/// The change to a price of ours that the subscription's schedule has for the end of the present phase.
fn pending_change(facts: &Facts<'_>, said: &SubscriptionFields) -> Option<PendingChange> {
    let schedule = said.schedule.as_ref()?;
    if !schedule.is_whole {
        return facts.stored().and_then(|stored| stored.pending_change.clone());
    }
    let (at_ms, items) = schedule.next.as_ref()?;
    let ours = |item: &Item| match facts.book.item(item, items, &said.metadata) {
        Sold::Ours(price) => {
            let quantity = if price.per_seat { item.quantity.unwrap_or(1) } else { 1 };
            // What one costs is up to the price at Stripe, which a schedule may only name.
            let known = || facts.book.known(&item.price).and_then(|known| known.amount);
            let one = item.price.amount.or_else(known).unwrap_or(price.amount);
            let amount = one.0.checked_mul(item.quantity.unwrap_or(1)).map(MoneyMinor);
            let next = PendingChange { price: price.key, quantity, amount, at_ms: *at_ms };
            // An earlier release stored no amount.
            let stored = facts.stored().and_then(|stored| stored.pending_change.clone());
            Some(stored.filter(|stored| *stored == PendingChange { amount: None, ..next.clone() }).unwrap_or(next))
        }
        Sold::NotOurs | Sold::Unnamed | Sold::Undecided(_) => None,
    };
    let is_present = |item: &&Item| {
        let is_same = |one: &Item| one.price.ids == item.price.ids && one.quantity == item.quantity;
        !item.price.ids.is_empty() && said.items.iter().any(is_same)
    };
    items.iter().filter(|item| !is_present(item)).find_map(ours)
}

/// What a subscription sells.
enum Subscribed<'a> {
    /// The price of ours with the best plan, and its item.
    Ours(&'a Item, Price),
    /// Other business.
    NotOurs,
    /// The object names no price, or not all.
    Unnamed,
    /// A price may be ours; why that cannot be decided.
    Undecided(String),
}

fn sold<'a>(facts: &Facts<'_>, said: &'a SubscriptionFields) -> Subscribed<'a> {
    let catalogue = facts.book.catalogue();
    let mut best: Option<(&Item, Price)> = None;
    let mut undecided = None;
    let mut is_unnamed = !said.has_all_items();
    for item in &said.items {
        match facts.book.item(item, &said.items, &said.metadata) {
            Sold::Ours(price) => {
                let is_better =
                    best.as_ref().is_none_or(|(_, known)| *catalogue.better(&known.plan, &price.plan) != known.plan);
                if is_better {
                    best = Some((item, *price));
                }
            }
            Sold::NotOurs => {}
            Sold::Unnamed => is_unnamed = true,
            Sold::Undecided(why) => undecided = Some(why),
        }
    }
    match (best, undecided) {
        (Some((item, price)), _) => Subscribed::Ours(item, price),
        (None, Some(why)) => Subscribed::Undecided(why),
        (None, None) if is_unnamed => Subscribed::Unnamed,
        (None, None) => Subscribed::NotOurs,
    }
}

/// Keeps since when and why a payment is missing, and forgets it once nothing is missing. Ended
/// subscriptions keep it, so that support sees what they ended of, but not when Stripe would have tried again.
fn late_payment(row: Subscription, facts: &Facts<'_>) -> Subscription {
    match row.status.as_str() {
        "active" | "trialing" => Subscription { past_due_since_ms: None, past_due_reason: None, ..row },
        "past_due" | "unpaid" => {
            Subscription { past_due_since_ms: row.past_due_since_ms.or(Some(facts.now_ms)), ..row }
        }
        _ if row.ended_at_ms.is_some() => {
            let past_due_reason = row.past_due_reason.as_deref().map(|reason| without_next_attempt(reason).to_owned());
            Subscription { past_due_reason, ..row }
        }
        _ => row,
    }
}
