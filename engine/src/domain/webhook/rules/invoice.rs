//! Invoices: a paid period of Pro brings credits, a failed payment is noted.

use super::{Facts, RuleResult, dead, grant_key, incomplete};
use crate::amount::MoneyMinor;
use crate::domain::customer::Customer;
use crate::domain::job::Outcome;
use crate::domain::ledger::Command;
use crate::domain::period_credits::{bills_period, period_grant};
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields::{InvoiceFields, IsPro};
use crate::plan::Plan;
use std::cmp::Ordering;

/// `invoice.paid` and `invoice.payment_succeeded`: Stripe sends both for one payment.
///
/// Only the periods of a subscription bring credits ([`bills_period`]). An invoice that asks for nothing is done before
/// its customer is looked at, so that other business in the same Stripe account does not end as dead letters.
pub(super) fn paid(facts: &Facts<'_>) -> RuleResult {
    let invoice = InvoiceFields::read(facts.object);
    let missing = |what: &str| incomplete("invoice", invoice.id.as_deref(), what);
    match invoice.billing_reason.as_deref() {
        reason if bills_period(reason) => {}
        // Very old API versions give every invoice of a subscription this reason, renewal or not.
        None | Some("subscription") => return Err(missing("billing_reason")),
        Some(_) => return Err(Outcome::Done),
    }
    let is_paid = invoice.is_paid.ok_or_else(|| missing("status"))?;
    let amount_paid = invoice.amount_paid.ok_or_else(|| missing("amount_paid"))?;
    if !is_paid || amount_paid <= MoneyMinor::ZERO || invoice.is_pro(facts.pro) == IsPro::No {
        return Err(Outcome::Done);
    }
    let invoice_id = invoice.id.clone().ok_or_else(|| missing("id"))?;
    let owner = facts.owner(invoice.stripe_customer_id.as_ref())?;
    if !bills_pro(facts, &invoice)? {
        return Err(Outcome::Done);
    }
    let customer = owner.customer;
    let row = row_after_payment(facts, &invoice, customer);
    let plan = plan_after_payment(facts, row.as_ref(), customer);
    let mut verdict = owner.verdict(facts, row, plan);
    if let Some(op) = period_grant(facts.pro_credits) {
        let command = Command::internal(op, "stripe", grant_key(&invoice_id)).with_reference(invoice_id);
        verdict.ledger = Some((customer.id.clone(), command));
    }
    Ok(verdict)
}

/// `invoice.payment_failed`: the subscription is late and support can see why. Nothing is taken.
pub(super) fn payment_failed(facts: &Facts<'_>) -> RuleResult {
    let invoice = InvoiceFields::read(facts.object);
    let missing = |what: &str| incomplete("invoice", invoice.id.as_deref(), what);
    let is_first = match invoice.billing_reason.as_deref() {
        Some("subscription_create") => true,
        Some("subscription_cycle" | "subscription_update" | "subscription_threshold" | "subscription") => false,
        None => return Err(missing("billing_reason")),
        // Not a subscription's: whoever asked for that money sees the failure there.
        Some(_) => return Err(Outcome::Done),
    };
    let subscription_id = invoice.subscription_id.clone().ok_or_else(|| missing("subscription"))?;
    let is_settled = |stored: &Subscription| {
        stored.ended_at_ms.is_some()
            // A period after this invoice's has begun, so this failure is old news.
            || age(facts, &invoice, stored) == Ordering::Less
            // A subscription leaves `incomplete` only by its first payment, so that one was made.
            || (is_first && stored.status != "incomplete")
    };
    if facts.stored().is_some_and(is_settled) {
        return Err(Outcome::Done);
    }
    if facts.stored().is_none() && invoice.is_pro(facts.pro) == IsPro::No {
        return Err(Outcome::Done);
    }
    let owner = facts.owner(invoice.stripe_customer_id.as_ref())?;
    let known = match facts.stored() {
        Some(stored) => stored.clone(),
        None => {
            // A row that wrongly said "not Pro" would make later renewals bring nothing.
            bills_pro(facts, &invoice)?;
            let status = if is_first { "incomplete" } else { "past_due" }.to_owned();
            Subscription { status, ..unseen(facts, &invoice, owner.customer, subscription_id) }
        }
    };
    let row = Subscription {
        // Source: Stripe, "Subscription statuses": active (and a trial that ends) → past_due. The
        // others (incomplete, unpaid, paused) stay what they are while a payment fails.
        status: match known.status.as_str() {
            "active" | "trialing" => "past_due".to_owned(),
            _ => known.status,
        },
        past_due_since_ms: known.past_due_since_ms.or(Some(facts.now_ms)),
        past_due_reason: Some(invoice.failure_in_words()),
        ..known
    };
    // The plan stays: past_due still gives Pro, and a payment that fails gives nobody Pro.
    Ok(owner.verdict(facts, Some(row), None))
}

/// Whether the invoice bills Pro: by itself, else by what is known of its subscription.
///
/// What neither tells is dead at once, not retried: the event that would tell is one of the same
/// Stripe customer, so it waits in the same stream behind this one. A replay after it settles it.
fn bills_pro(facts: &Facts<'_>, invoice: &InvoiceFields) -> Result<bool, Outcome> {
    match (invoice.is_pro(facts.pro), facts.stored()) {
        (IsPro::Yes, _) => Ok(true),
        (IsPro::No, _) => Ok(false),
        (IsPro::Unknown, Some(stored)) => Ok(stored.is_pro),
        (IsPro::Unknown, None) => {
            let prices = invoice.price_ids();
            if prices.is_empty() {
                return Err(incomplete(
                    "invoice",
                    invoice.id.as_deref(),
                    "price, and its subscription is not known here",
                ));
            }
            Err(dead(format!(
                "pro_undecidable: invoice {} names its price only as {}, which is not the configured price id, and its \
                 subscription is not known here; configure the price id or replay this once the subscription is known",
                invoice.id.as_deref().unwrap_or("(without id)"),
                prices.join(", ")
            )))
        }
    }
}

/// The invoice against what is known: does it bill a period before (less), in (equal) or after
/// (greater) the subscription's current one? Equal if there is no telling.
fn age(facts: &Facts<'_>, invoice: &InvoiceFields, stored: &Subscription) -> Ordering {
    match (invoice.billed_until_ms(facts.pro), stored.current_period_end_ms) {
        (Some(billed), Some(current)) => billed.cmp(&current),
        _ => Ordering::Equal,
    }
}

/// The subscription after its period was paid; none if the invoice names none.
///
/// A subscription that is not known yet is written from the invoice. Otherwise, if another
/// subscription's end came in between, the customer would lose the Pro that it has just paid for; and
/// a late `created (incomplete)` could be taken for news.
fn row_after_payment(facts: &Facts<'_>, invoice: &InvoiceFields, customer: &Customer) -> Option<Subscription> {
    let id = invoice.subscription_id.clone()?;
    let Some(stored) = facts.stored() else {
        return Some(unseen(facts, invoice, customer, id));
    };
    let age = age(facts, invoice, stored);
    // A paused subscription stays paused until it is resumed (Stripe, "Subscription statuses").
    let stays = stored.status == "paused" || Subscription::status_is_final(&stored.status);
    if stays || stored.ended_at_ms.is_some() || age == Ordering::Less {
        return Some(stored.clone());
    }
    Some(Subscription {
        status: "active".to_owned(),
        // The subscription's own events know best what it is priced as now, unless this period is
        // later than all they told of.
        is_pro: stored.is_pro || age == Ordering::Greater,
        current_period_end_ms: stored.current_period_end_ms.max(invoice.billed_until_ms(facts.pro)),
        past_due_since_ms: None,
        past_due_reason: None,
        ..stored.clone()
    })
}

fn plan_after_payment(facts: &Facts<'_>, row: Option<&Subscription>, customer: &Customer) -> Option<Plan> {
    match row {
        Some(row) if row.gives_pro() => Some(Plan::Pro),
        // Paid for a subscription that ended before we heard of the payment: it has been a paying
        // customer, as it would be had the events come in order.
        Some(row) => {
            let has_ended = row.ended_at_ms.is_some() && !facts.another_gives_pro(&row.id);
            (has_ended && customer.plan == Plan::Trial).then_some(Plan::PayAsYouGo)
        }
        // The invoice names no subscription. If one has ended it may be that one's, and must not
        // bring Pro back.
        None => {
            let one_has_ended =
                facts.subscriptions_of_customer.iter().any(|row| row.is_pro && row.ended_at_ms.is_some());
            (!one_has_ended).then_some(Plan::Pro)
        }
    }
}

/// A subscription to Pro of which nothing is known but a paid invoice.
fn unseen(facts: &Facts<'_>, invoice: &InvoiceFields, customer: &Customer, id: String) -> Subscription {
    Subscription {
        id,
        customer_id: customer.id.clone(),
        status: "active".to_owned(),
        is_pro: true,
        cancel_at_period_end: false,
        current_period_end_ms: invoice.billed_until_ms(facts.pro),
        past_due_since_ms: None,
        past_due_reason: None,
        ended_at_ms: None,
    }
}
