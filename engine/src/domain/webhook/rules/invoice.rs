//! Invoices: a paid period of a price of ours brings credits, a failed payment is noted.

use super::{Facts, RuleResult, incomplete, price_unknown, unclear};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::effect::Effect;
use crate::domain::job::Outcome;
use crate::domain::ledger::Command;
use crate::domain::sale::SaleRecord;
use crate::domain::sale::grant::{Brought, grant_key, grants, part_job};
use crate::domain::sale::level::{left_before_paid, taken};
use crate::domain::sale::line::{Sale, Sales, sales, tagged_at_another_price};
use crate::domain::sale::since::{left_since, since};
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use crate::key::PlanKey;
use std::cmp::Ordering;

/// `invoice.paid` and `invoice.payment_succeeded`: Stripe sends both for one payment.
///
/// What was sold is asked first, so that other business in the same Stripe account is done whoever its customer is.
pub(super) fn paid(facts: &Facts<'_>) -> RuleResult {
    let invoice = InvoiceFields::read(facts.object);
    let missing = |what: &str| incomplete("invoice", invoice.id.as_deref(), what);
    let is_paid = invoice.is_paid.ok_or_else(|| missing("status"));
    let total = invoice.total.ok_or_else(|| missing("total"));
    let from_ms = facts.customer.as_ref().and_then(|customer| customer.credits_from_ms);
    let taken = taken(&left_since(&invoice, &facts.before.invoices, from_ms), facts.before, facts.book);
    let takes_nothing = taken == Ok(Credits::ZERO);
    let credits_time = invoice.lines.iter().any(Line::credits_time);
    let settles = is_paid == Ok(true) && facts.stored().is_some_and(|row| without_paid_change(row, &invoice) != *row);
    let sold = match guarded(facts, &invoice, sales(&invoice, facts.book)) {
        Sales::Known(sold) if sold.is_empty() && takes_nothing && !settles => return Err(Outcome::Done),
        // Unpaid invoices change nothing, and free ones bring nothing, whatever they sold. What is paid by the credit
        // for a period that was left is not free, even if that had brought no credits.
        _ if is_paid == Ok(false) => return Err(Outcome::Done),
        _ if !credits_time && !settles && total.as_ref().is_ok_and(|total| *total <= MoneyMinor::ZERO) => {
            return Err(Outcome::Done);
        }
        Sales::Known(sold) => sold,
        Sales::Incomplete(what) => return Err(missing(what)),
        Sales::Undecided(why) => return Err(price_unknown("invoice", invoice.id.as_deref(), &why)),
    };
    is_paid?;
    total?;
    let taken = taken.map_err(|why| unclear(invoice.id.as_deref(), &why))?;
    let invoice_id = invoice.id.clone().ok_or_else(|| missing("id"))?;
    let owner = facts.owner(invoice.stripe_customer_id.as_ref())?;
    let customer = owner.customer;
    // An invoice that sold no period says nothing of the subscription but that a change is paid.
    let row = match sold.is_empty() {
        true => facts.stored().map(|stored| without_paid_change(stored, &invoice)),
        false => row_after_payment(facts, &invoice, &sold, customer),
    };
    let plan = row.as_ref().and_then(|row| plan_after_payment(facts, row, best_plan(facts, &sold), customer));
    let mut verdict = owner.verdict(facts, row, plan);
    let counted = since(&sold, customer.credits_from_ms);
    let left_out = match counted.is_empty() {
        true => Vec::new(),
        false => left_before_paid(&invoice, facts.before, facts.book, customer.credits_from_ms),
    };
    let taken = taken + left_out.iter().map(|left| left.credits).sum::<Credits>();
    let brought = Brought { grants: grants(&invoice_id, &counted, facts.now_ms), taken };
    let record = SaleRecord::new(&counted, taken, &brought.grants, &grant_key(&invoice_id), facts.now_ms);
    let record = SaleRecord { left_out, ..record };
    let left_by_it = facts.before.grants_left_by(&invoice);
    // What its own periods leave out comes out of what they bring.
    let left_by_it = if record.left_out.is_empty() { left_by_it } else { Some(left_by_it.unwrap_or_default()) };
    let (command, later) = brought.into_command(&invoice_id, left_by_it);
    // What it sold is kept with what it brings.
    let recorded = |command: Command| Command { metadata: Some(record.to_metadata()), ..command };
    verdict.ledger = command.map(|command| (customer.id.clone(), recorded(command)));
    let parts = later.iter().map(|grant| part_job(grant, &invoice_id, &customer.id, facts.now_ms));
    verdict.effects.extend(parts.map(Effect::JobInsert));
    Ok(verdict)
}

/// What an invoice sold. If nothing of it is known as ours, but its subscription is, a person decides, and the
/// catalogue names the price: an earlier release sold the subscription at a price that is not known, or somebody tagged
/// it.
fn guarded(facts: &Facts<'_>, invoice: &InvoiceFields, sold: Sales) -> Sales {
    if !matches!(&sold, Sales::Known(known) if known.is_empty()) {
        return sold;
    }
    let is_priced = facts.stored().is_some_and(|stored| stored.price.is_some());
    let tagged = || tagged_at_another_price(invoice, facts.book).filter(|_| !is_priced);
    facts.sold_before().or_else(tagged).map_or(sold, Sales::Undecided)
}

/// `invoice.payment_failed`: the subscription is late and support can see why. Nothing is taken. Of a voided invoice
/// nothing is late.
pub(super) fn payment_failed(facts: &Facts<'_>) -> RuleResult {
    let invoice = InvoiceFields::read(facts.object);
    let missing = |what: &str| incomplete("invoice", invoice.id.as_deref(), what);
    let is_first = invoice.billing_reason.as_deref() == Some("subscription_create");
    let sold = sales(&invoice, facts.book);
    if facts.stored().is_none_or(|stored| !stored.is_ours()) && sold == Sales::Known(Vec::new()) {
        // Other business, or not a subscription's: whoever asked for that money sees the failure there.
        return Err(Outcome::Done);
    }
    if invoice.is_void {
        return Err(Outcome::Done);
    }
    let subscription_id = invoice.subscription_id.clone().ok_or_else(|| missing("subscription"))?;
    let is_settled = |stored: &Subscription| {
        stored.ended_at_ms.is_some()
            // A period after this invoice's has begun, so this failure is old news.
            || age(&invoice, sold_of(&sold), stored) == Ordering::Less
            // A subscription leaves `incomplete` only by its first payment, so that one was made.
            || (is_first && stored.status != "incomplete")
    };
    if facts.stored().is_some_and(is_settled) {
        return Err(Outcome::Done);
    }
    if facts.stored().is_none() {
        // A row without its plan would make the customer lose it.
        match &sold {
            Sales::Known(_) => {}
            Sales::Incomplete(what) => return Err(missing(what)),
            Sales::Undecided(why) => return Err(price_unknown("invoice", invoice.id.as_deref(), why)),
        }
    }
    let owner = facts.owner(invoice.stripe_customer_id.as_ref())?;
    let known = facts.stored().cloned().unwrap_or_else(|| {
        let status = if is_first { "incomplete" } else { "past_due" }.to_owned();
        Subscription { status, ..unseen(facts, sold_of(&sold), owner.customer, subscription_id) }
    });
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
    // The plan stays: past_due still gives it, and a payment that fails gives nobody a plan.
    Ok(owner.verdict(facts, Some(row), None))
}

/// `invoice.voided`: it changes nothing by itself. What became of its subscription is asked at Stripe
/// (`usecase::handler::stripe`).
pub(super) fn voided(facts: &Facts<'_>) -> RuleResult {
    let id = InvoiceFields::read(facts.object).id;
    Err(id.map_or_else(|| incomplete("invoice", None, "id"), |_| Outcome::Done))
}

/// The sales, as far as they are known.
fn sold_of(sold: &Sales) -> &[Sale] {
    match sold {
        Sales::Known(sold) => sold,
        Sales::Incomplete(_) | Sales::Undecided(_) => &[],
    }
}

/// When the period ends that the invoice bills: that of our lines, else the latest of its lines'.
fn billed_until_ms(invoice: &InvoiceFields, sold: &[Sale]) -> Option<TimeMs> {
    let of_ours = sold.iter().filter_map(|sale| sale.until_ms).max();
    of_ours.or_else(|| invoice.lines.iter().filter_map(|line| line.period_end_ms).max())
}

/// When the period that an invoice bills begins.
fn billed_from_ms(invoice: &InvoiceFields, sold: &[Sale]) -> Option<TimeMs> {
    let of_ours = sold.iter().filter_map(|sale| sale.from_ms).min();
    of_ours.or_else(|| invoice.lines.iter().filter_map(|line| line.period_start_ms).min())
}

/// The invoice against what is known: does it bill a period before (less), in (equal) or after
/// (greater) the subscription's current one? Equal if there is no telling. A period that begins within the current one
/// and ends after it is of a change; whether that came before or after what is known, only the subscription tells.
fn age(invoice: &InvoiceFields, sold: &[Sale], stored: &Subscription) -> Ordering {
    match (billed_until_ms(invoice, sold), stored.current_period_end_ms) {
        (Some(until_ms), Some(current_ms)) => match until_ms.cmp(&current_ms) {
            Ordering::Greater if billed_from_ms(invoice, sold).is_some_and(|from_ms| from_ms < current_ms) => {
                Ordering::Equal
            }
            age => age,
        },
        _ => Ordering::Equal,
    }
}

/// The subscription after its period was paid; none if the invoice names none.
///
/// A subscription that is not known yet is written from the invoice. Otherwise, if another
/// subscription's end came in between, the customer would lose the plan that it has just paid for; and
/// a late `created (incomplete)` could be taken for news.
fn row_after_payment(
    facts: &Facts<'_>,
    invoice: &InvoiceFields,
    sold: &[Sale],
    customer: &Customer,
) -> Option<Subscription> {
    let id = invoice.subscription_id.clone()?;
    let Some(stored) = facts.stored() else {
        return Some(unseen(facts, sold, customer, id));
    };
    let stored = &without_paid_change(stored, invoice);
    let (until_ms, age) = (billed_until_ms(invoice, sold), age(invoice, sold, stored));
    // A paused subscription stays paused until it is resumed (Stripe, "Subscription statuses").
    let stays = stored.status == "paused" || Subscription::status_is_final(&stored.status);
    if stays || stored.ended_at_ms.is_some() || age == Ordering::Less {
        return Some(stored.clone());
    }
    let paid = Subscription {
        status: "active".to_owned(),
        current_period_end_ms: if age == Ordering::Greater {
            until_ms
        } else {
            stored.current_period_end_ms.or(until_ms)
        },
        past_due_since_ms: None,
        past_due_reason: None,
        ..stored.clone()
    };
    // The subscription's own events know best what it is priced as now, unless this period is
    // later than all they told of.
    Some(if age == Ordering::Greater { with_sale(paid, facts, sold) } else { paid })
}

/// The subscription without the change that waited for this invoice's payment.
fn without_paid_change(stored: &Subscription, invoice: &InvoiceFields) -> Subscription {
    let unpaid_change = stored.unpaid_change.clone().filter(|change| invoice.id.as_ref() != Some(&change.invoice_id));
    Subscription { unpaid_change, ..stored.clone() }
}

/// The change of plan after a payment for a subscription.
fn plan_after_payment(
    facts: &Facts<'_>,
    row: &Subscription,
    bought: Option<PlanKey>,
    customer: &Customer,
) -> Option<Effect> {
    // Paid for a subscription that ended before we heard of the payment: it has been a paying
    // customer, as it would be had the events come in order.
    let has_left = bought.filter(|_| row.ended_at_ms.is_some());
    facts.plan_set(customer, row, has_left.as_ref())
}

/// The best plan that the sales give.
fn best_plan(facts: &Facts<'_>, sold: &[Sale]) -> Option<PlanKey> {
    best(facts, sold).map(|sale| sale.price.plan.clone())
}

fn best<'a>(facts: &Facts<'_>, sold: &'a [Sale]) -> Option<&'a Sale> {
    let catalogue = facts.book.catalogue();
    sold.iter().reduce(|one, other| {
        if *catalogue.better(&one.price.plan, &other.price.plan) == one.price.plan { one } else { other }
    })
}

/// A subscription with what an invoice says of its plan.
fn with_sale(row: Subscription, facts: &Facts<'_>, sold: &[Sale]) -> Subscription {
    let Some(best) = best(facts, sold) else { return row };
    Subscription {
        plan: Some(best.price.plan.clone()),
        price: Some(best.price.key.clone()),
        quantity: if best.price.per_seat { best.quantity } else { 1 },
        ..row
    }
}

/// A subscription of ours of which nothing is known but an invoice.
fn unseen(facts: &Facts<'_>, sold: &[Sale], customer: &Customer, id: String) -> Subscription {
    let row = Subscription {
        id,
        customer_id: customer.id.clone(),
        status: "active".to_owned(),
        plan: None,
        price: None,
        quantity: 1,
        cancel_at_period_end: false,
        current_period_end_ms: sold.iter().filter_map(|sale| sale.until_ms).max(),
        past_due_since_ms: None,
        past_due_reason: None,
        paused_collection: None,
        unpaid_change: None,
        pending_change: None,
        ended_at_ms: None,
    };
    with_sale(row, facts, sold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::webhook::EventKind;
    use crate::domain::webhook::fixtures::{by_id, facts, row};
    use serde_json::Value;

    #[test]
    fn an_invoice_that_sold_nothing_of_ours_leaves_a_subscription_its_plan_and_price() {
        let book = by_id();
        let known = facts(EventKind::InvoicePaid, &Value::Null, &book, "pro");
        assert_eq!(with_sale(row("active"), &known, &[]), row("active"));
    }
}
