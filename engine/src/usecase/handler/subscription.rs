//! Applies the rules of events to a subscription that Stripe answered, for events and operations alike.

use super::invoice::{Decided, Heard, before, complete};
use super::operation::{count, settle_job};
use super::{Deps, Failure, price};
use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::charge::record::records;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict, merge};
use crate::domain::job::Outcome;
use crate::domain::operation::{Operation, State};
use crate::domain::sale::PriceBook;
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields::{self, InvoiceFields, OPERATION_METADATA_KEY, SubscriptionFields};
use crate::domain::webhook::{self, EventKind, Facts};
use crate::error::Result;
use crate::ids::OperationId;
use crate::infra::store::subscription::By;
use crate::infra::store::{operation, subscription};
use serde_json::Value;

/// The verdict of the event rules on a subscription as Stripe has it now, with its latest invoice. So one
/// event also makes up for lost or late events about either. `heard` is when Stripe said so.
pub(super) async fn apply_rules(
    deps: &Deps,
    customer: Option<Customer>,
    object: &Value,
    may_relink: bool,
    heard: Heard,
    now_ms: TimeMs,
) -> std::result::Result<Verdict, Failure> {
    let book = price::learn(deps, &PriceBook::new(deps.catalogue.now(), []), object, now_ms).await?;
    let rows = match &customer {
        Some(customer) => subscription::subscription_list(deps.db.read(), &customer.id).await?,
        None => Vec::new(),
    };
    let ids: Vec<String> = fields::id(&object["id"]).into_iter().collect();
    let stored = subscription::subscription_find_many(deps.db.read(), By::Id, &ids).await?.pop();
    let invoice = &object["latest_invoice"];
    let said = InvoiceFields::read(invoice);
    let (before, book) = before(deps, customer.as_ref(), &said, &book, now_ms).await?;
    let facts = |kind, object, subscription| Facts {
        kind,
        object,
        customer: customer.clone(),
        subscription,
        subscriptions_of_customer: rows.clone(),
        book: &book,
        before: &before,
        may_relink,
        now_ms,
    };
    let mut verdict = webhook::decide(&facts(EventKind::SubscriptionUpdated, object, stored.clone()));
    if !matches!(verdict.outcome, Outcome::Done) {
        return Ok(verdict);
    }
    if let Some(customer) = &customer {
        verdict.effects.extend(first_paid(deps, customer, object, now_ms).await?);
        verdict.effects.extend(ended_unpaid(deps, customer, object, now_ms).await?);
        verdict.effects.extend(price_seen(deps, customer, object, &book).await?);
    }
    if !invoice.is_object() {
        return Ok(verdict);
    }
    // The rules for its invoice get the subscription as it is now.
    let row: Option<Subscription> = verdict.effects.iter().rev().find_map(|effect| match effect {
        Effect::SubscriptionPut(row) => Some(row.clone()),
        _ => None,
    });
    let of_invoice = webhook::decide(&facts(EventKind::InvoicePaid, invoice, row.clone().or_else(|| stored.clone())));
    if !matches!(of_invoice.outcome, Outcome::Done) {
        return Ok(verdict);
    }
    let decided = Decided {
        kind: EventKind::InvoicePaid,
        said: &said,
        customer: customer.as_ref(),
        before: &before,
        book: &book,
        payer: None,
        heard,
        now_ms,
    };
    let mut of_invoice = complete(deps, of_invoice, &decided).await?;
    if row.or(stored).is_some() {
        // The subscription knows its own status best, so only the credits are taken from the invoice.
        let is_old = |effect: &Effect| matches!(effect, Effect::SubscriptionPut(_) | Effect::PlanSet { .. });
        of_invoice.effects.retain(|effect| !is_old(effect));
    }
    Ok(merge(verdict, of_invoice))
}

/// The price at Stripe of a subscription's plan, unless it is stored: whose terms the customer keeps.
async fn price_seen(deps: &Deps, customer: &Customer, object: &Value, book: &PriceBook) -> Result<Option<Effect>> {
    let said = SubscriptionFields::read(object);
    let Some((id, stripe_price)) = said.id.clone().zip(book.stripe_price_of(&said)) else { return Ok(None) };
    let stored = subscription::subscription_stripe_price(deps.db.read(), &customer.id, &id).await?;
    let is_news = stored.as_ref() != Some(&stripe_price);
    Ok(is_news.then_some(Effect::SubscriptionPriceSet { id, stripe_price }))
}

/// The success of the operation that created a subscription, and of its charge if there was one, once that is paid.
async fn first_paid(deps: &Deps, customer: &Customer, object: &Value, now_ms: TimeMs) -> Result<Vec<Effect>> {
    if !matches!(object["status"].as_str(), Some("active" | "trialing")) {
        return Ok(Vec::new());
    }
    let Some(operation) = open_maker(deps, customer, object).await? else { return Ok(Vec::new()) };
    let after = operation.succeeded(fields::id(&object["id"]), now_ms);
    count(&operation, &after);
    let was_paid = first_was_paid(object);
    let charges = records(&operation, &after).into_iter();
    let charges = charges.map(|charge| if was_paid { charge } else { charge.without_payment() });
    let charges = charges.map(|charge| Effect::ChargePut(Box::new(charge)));
    Ok(charges.chain([Effect::operation(after)]).collect())
}

/// The job that ends the operation that created a subscription, if that has ended while its first payment was awaited.
/// Without it, whoever waits would learn that from the next check only.
async fn ended_unpaid(deps: &Deps, customer: &Customer, object: &Value, now_ms: TimeMs) -> Result<Option<Effect>> {
    if !object["status"].as_str().is_some_and(Subscription::status_is_final) {
        return Ok(None);
    }
    let waiting = open_maker(deps, customer, object).await?.filter(|operation| operation.stripe_id.is_some());
    Ok(waiting.map(|operation| Effect::JobInsert(settle_job(&operation, customer, now_ms))))
}

/// The customer's operation that created a subscription, if it has not ended.
async fn open_maker(deps: &Deps, customer: &Customer, object: &Value) -> Result<Option<Operation>> {
    let id = object["metadata"][OPERATION_METADATA_KEY].as_str().and_then(|id| OperationId::parse(id).ok());
    let Some(id) = id else { return Ok(None) };
    let operation = operation::operation_find(deps.db.read(), &id).await?;
    let is_open = |state: State| matches!(state, State::Processing | State::RequiresAction);
    Ok(operation.filter(|operation| operation.customer_id == customer.id && is_open(operation.state)))
}

/// Whether money was paid for a subscription's latest invoice: for its first period, while there is no other.
pub(super) fn first_was_paid(object: &Value) -> bool {
    let invoice = InvoiceFields::read(&object["latest_invoice"]);
    invoice.is_paid == Some(true) && invoice.amount_paid.is_some_and(|amount| amount > MoneyMinor::ZERO)
}
