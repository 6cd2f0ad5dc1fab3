//! What other invoices of its subscription credit of an invoice's money, as Stripe has it now.

use super::{Listed, invoices_of_subscription};
use crate::amount::MoneyMinor;
use crate::domain::sale::Before;
use crate::domain::webhook::fields::{self, InvoiceFields};
use crate::usecase::handler::{Deps, Failure};
use serde_json::{Value, json};

/// The money of an invoice that was credited, or is about to be: also by invoices that are drafts, or open for weeks,
/// and by items that wait for an invoice. `None` if not all of them are known.
pub(in crate::usecase::handler) async fn credited_of_invoice(
    deps: &Deps,
    said: &InvoiceFields,
) -> Result<Option<MoneyMinor>, Failure> {
    let Some(subscription) = &said.subscription_id else { return Ok(Some(MoneyMinor::ZERO)) };
    // The items first: those that are invoiced meanwhile count twice, and not never.
    let pending = match &said.stripe_customer_id {
        Some(customer) => Some(pending_invoice(deps, customer, subscription).await?),
        None => None,
    };
    let Listed { objects, is_cut } = invoices_of_subscription(deps, subscription).await?;
    let invoices: Vec<InvoiceFields> = objects.iter().chain(&pending).map(InvoiceFields::read).collect();
    let is_whole = invoices.iter().all(|invoice| !invoice.has_more_lines);
    let before = Before { is_cut, ..Before::of(invoices) };
    Ok((is_whole && before.covers(said)).then(|| before.credited_of(said)))
}

/// The items of a subscription that wait for an invoice, as one that is still to be made.
pub(in crate::usecase::handler) async fn pending_invoice(
    deps: &Deps,
    stripe_customer_id: &str,
    subscription: &str,
) -> Result<Value, Failure> {
    let items = deps.stripe.invoice_item_list_pending(stripe_customer_id).await?;
    let is_of_it = |item: &&Value| {
        let parent = &item["parent"]["subscription_details"]["subscription"];
        [&item["subscription"], parent].into_iter().any(|place| fields::id(place).as_deref() == Some(subscription))
    };
    let lines: Vec<_> = fields::rows(&items).iter().filter(is_of_it).collect();
    let lines = json!({ "data": lines, "has_more": items["has_more"] == true });
    Ok(json!({ "object": "invoice", "id": null, "subscription": subscription, "lines": lines }))
}
