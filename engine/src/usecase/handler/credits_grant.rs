//! Grants a part of a paid invoice's credits when its time has come: a month of a year, or credits that end apart from
//! the invoice's others.

use super::invoice::{Listed, brought_before, invoices_of_subscription, pending_invoice, whole_invoice};
use super::stripe::clawback::{money_of_invoice, review_event, withheld_of_part};
use super::{Claimed, Deps, Failure, args, price};
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::effect::Verdict;
use crate::domain::job::Outcome;
use crate::domain::sale::grant::{PartArgs, money_given_back};
use crate::domain::sale::level::part_left;
use crate::domain::sale::{Before, PriceBook};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::InvoiceFields;
use crate::domain::webhook::rules::history_too_long;
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::customer::{By, customer_find_many};
use serde_json::{Value, json};

/// Wait between checks whether a dispute about all of the money is decided, or whether a change is paid or decided.
pub(in crate::usecase) const DECISION_WAIT_MS: i64 = 24 * 60 * 60 * 1_000;

/// Grants the part that the job names, unless all of the money that bought it is gone by now. If some of it is, its share is
/// withheld from the part. An event is made as well, after which that share goes of a part from which nothing can be
/// withheld, or whose money went at the same moment. Of a month that the subscription no longer pays for,
/// because it was changed or ended and the time was credited, nothing or the rest is granted.
pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let part: PartArgs = args(claimed)?;
    let money = match money_of_invoice(deps, &part.invoice).await {
        Ok(money) => money,
        Err(Failure::Engine(error)) => return Err(error),
        Err(Failure::Stripe(error)) => return Ok(Outcome::Retry { reason: error.to_string() }.into()),
    };
    // What was exchanged for credits of a period that was left was paid with other money.
    if let Some(money) =
        money.as_ref().filter(|money| money.gone.counting() >= money.total && money.total > MoneyMinor::ZERO)
        && withheld_of_part(deps, &part, money).await?.0 >= part.credits
    {
        return Ok(match money.refunded >= money.total {
            true => Outcome::Cancel { reason: money_given_back(&part.invoice) },
            // A dispute may still be won.
            false => Outcome::Snooze { until_ms: now_ms + DECISION_WAIT_MS },
        }
        .into());
    }
    let part = match paid_part(deps, part, now_ms).await {
        Ok(Paid::Decided(part)) => part,
        Ok(Paid::Open) => return Ok(Outcome::Snooze { until_ms: now_ms + DECISION_WAIT_MS }.into()),
        Ok(Paid::Unclear(reason)) => return Ok(Outcome::Dead { reason }.into()),
        Err(Failure::Engine(error)) => return Err(error),
        Err(Failure::Stripe(error)) => return Ok(Outcome::Retry { reason: error.to_string() }.into()),
    };
    if part.credits == Credits::ZERO {
        return Ok(Outcome::Cancel { reason: format!("the time that {} paid for was credited", part.invoice) }.into());
    }
    let withheld = match money.as_ref().filter(|money| money.gone.all > MoneyMinor::ZERO) {
        Some(money) => withheld_of_part(deps, &part, money).await?,
        None => Default::default(),
    };
    let ledger = Some((CustomerId::trusted(part.customer.clone()), part.command(withheld)));
    let reviewed = money.and_then(|money| money.reviewed);
    let review = reviewed.map(|object| {
        // Of the charge's or the invoice's stream.
        review_event(deps, &format!("grant:{}", part.key), EventKind::ChargeRefunded, object, now_ms)
    });
    Ok(Verdict { outcome: Outcome::Done, ledger, effects: review.into_iter().collect() })
}

/// What is paid of a part.
enum Paid {
    /// The part, with the credits that are paid for.
    Decided(PartArgs),
    /// A change that would take some is not paid yet, so it may never have been, or a person must decide what it sold.
    Open,
    /// A person must decide; why, in words.
    Unclear(String),
}

/// Finds what the subscription still pays for of a month when the month begins: by what its invoices, and the items
/// that wait for one, credit.
async fn paid_part(deps: &Deps, part: PartArgs, now_ms: TimeMs) -> std::result::Result<Paid, Failure> {
    let Some(month) = part.month() else { return Ok(Paid::Decided(part)) };
    let Some(object) = whole_invoice(deps, &part.invoice).await? else { return Ok(Paid::Decided(part)) };
    let base = InvoiceFields::read(&object);
    if let Some(reason) = other_owner(deps, &part, &base).await? {
        return Ok(Paid::Unclear(reason));
    }
    let Some(subscription) = base.subscription_id.as_deref() else { return Ok(Paid::Decided(part)) };
    let Listed { mut objects, is_cut } = invoices_of_subscription(deps, subscription).await?;
    if let Some(customer) = base.stripe_customer_id.as_deref() {
        let mut pending = pending_invoice(deps, customer, subscription).await?;
        pending["subscription_details"] = json!({ "metadata": base.subscription_metadata });
        objects.push(pending);
    }
    let book = price::learn(deps, &PriceBook::new(deps.catalogue.now(), []), &object, now_ms).await?;
    let book = price::learn_all(deps, &book, &objects, now_ms).await?;
    let is_paid = |object: &&Value| !matches!(object["status"].as_str(), Some("draft" | "open"));
    let all: Vec<InvoiceFields> = objects.iter().map(InvoiceFields::read).collect();
    let paid: Vec<InvoiceFields> = objects.iter().filter(is_paid).map(InvoiceFields::read).collect();
    let ids = all.iter().chain([&base]).filter_map(|invoice| invoice.id.clone()).collect();
    let brought = brought_before(deps, &CustomerId::trusted(part.customer.clone()), ids).await?;
    let all = Before { invoices: all, brought: brought.clone(), is_cut, ..Before::default() };
    if !all.covers(&base) {
        return Ok(Paid::Unclear(history_too_long(&part.invoice, "all that have changed its period")));
    }
    let paid = Before { invoices: paid, brought, is_cut, ..Before::default() };
    let left = |before: &Before| part_left(part.credits, month, &base, before, &book);
    match (left(&paid), left(&all)) {
        (Ok(left), Ok(if_paid)) if if_paid >= left => Ok(Paid::Decided(PartArgs { credits: left, ..part })),
        _ => Ok(Paid::Open),
    }
}

/// Why a month does not come by itself: support has linked the invoice's Stripe customer to another customer than the one
/// that got the months before. `None` if it has not.
async fn other_owner(deps: &Deps, part: &PartArgs, invoice: &InvoiceFields) -> Result<Option<String>> {
    let Some(stripe_customer) = invoice.stripe_customer_id.clone() else { return Ok(None) };
    let owner = customer_find_many(deps.db.read(), By::StripeId, std::slice::from_ref(&stripe_customer)).await?.pop();
    let other = owner.filter(|owner| owner.id.as_str() != part.customer);
    Ok(other.map(|other| {
        let (credits, invoice, before) = (part.credits, &part.invoice, &part.customer);
        format!(
            "customer_relinked: {stripe_customer} belongs to {} now, and these {credits} credits of {invoice} were to come to \
             {before}",
            other.id
        )
    }))
}
