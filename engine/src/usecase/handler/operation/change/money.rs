//! The money of the present period, as Stripe has it now: whether it came, and whether it was given back.

use crate::domain::operation::Request;
use crate::domain::subscription::ChangeRefusal;
use crate::domain::subscription::given_back::{check_given_back, check_not_ending, check_paid, invoices_of_left};
use crate::domain::webhook::fields::{InvoiceFields, Line, SubscriptionFields};
use crate::infra::store::operation::operation_list_refunding;
use crate::infra::stripe::change::ItemChange;
use crate::usecase::handler::invoice::{Listed, invoices_of_subscription};
use crate::usecase::handler::stripe::clawback::money_of_invoice;
use crate::usecase::handler::{Deps, Failure};
use serde_json::Value;
use std::collections::BTreeMap;

/// Checks that the invoice of a change of a subscription, `object`, credits no money that never came or could not come
/// in time, or that was given back or is about to be: a refund by support that is under way counts like one that was
/// made. Stripe is asked for the invoices of the periods that are left, and only if the change credits time: what is
/// stored may be of another customer, or lack what came late.
///
/// The refunds under way are read before Stripe is asked: one that ends in between is found there, and one that counts
/// twice only lets the change fail. See [`super::super::refund`] for all orders in which both can happen.
pub(super) async fn check_money(
    deps: &Deps,
    object: &Value,
    asked: &ItemChange<'_>,
    invoice: &Value,
) -> Result<Result<(), ChangeRefusal>, Failure> {
    let (change, said) = (InvoiceFields::read(invoice), SubscriptionFields::read(object));
    let item = said.items.iter().find(|item| item.id.as_deref() == Some(asked.item_id));
    if let Err(refusal) = check_not_ending(&change, said.period_end_ms(item)) {
        return Ok(Err(refusal));
    }
    if !change.lines.iter().any(Line::credits_time) {
        return Ok(Ok(()));
    }
    let Listed { objects, is_cut } = invoices_of_subscription(deps, asked.subscription_id).await?;
    let others: Vec<InvoiceFields> = objects.iter().map(InvoiceFields::read).collect();
    let left = match invoices_of_left(&change, &others, is_cut) {
        Ok(left) => left,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(refusal) = check_paid(&change, &others) {
        return Ok(Err(refusal));
    }
    let under_way = operation_list_refunding(deps.db.read(), &left).await?;
    let mut gone_of = BTreeMap::new();
    for id in left {
        let gone = money_of_invoice(deps, &id).await?.map(|money| money.gone).unwrap_or_default();
        gone_of.insert(id, gone);
    }
    for refund in under_way {
        if let Request::PaymentRefund { payment_id, amount_minor, credits, .. } = refund.request
            && let Some(gone) = gone_of.get_mut(&payment_id)
        {
            gone.add(amount_minor, credits);
        }
    }
    Ok(check_given_back(&change, &others, &gone_of))
}
