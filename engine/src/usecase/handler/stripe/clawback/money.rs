//! What is gone of the money that bought credits: refunds and disputes of its charges, and what credit notes of its
//! invoice gave back in other ways.

use crate::amount::MoneyMinor;
use crate::domain::refund::Gone;
use crate::domain::webhook::fields::{self, ChargeFields, CreditNoteFields, DisputeFields, InvoiceFields};
use crate::infra::stripe::found;
use crate::usecase::handler::{Deps, Failure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What paid for credits.
pub(super) struct Payment {
    /// The whole price: an invoice may also be paid from the customer's balance, or by several charges.
    pub total: MoneyMinor,
    /// The charges that paid it.
    pub charge_ids: BTreeSet<String>,
    /// The invoice, if there is one.
    pub invoice_id: Option<String>,
    /// Whether the invoice may have credit notes that gave money back.
    has_credit_notes: bool,
}

/// What is gone of the money that bought credits, and all of it.
pub(in crate::usecase::handler) struct Money {
    /// Given back, or taken by disputes.
    pub gone: Gone,
    /// The part of it that was given back: by refunds and credit notes.
    pub refunded: MoneyMinor,
    /// The part of that which credit notes gave back in other ways than by refunds, such as to the customer's balance.
    pub noted: MoneyMinor,
    /// The whole price.
    pub total: MoneyMinor,
    /// If some is gone: the object of the event that reviews it, see [`reviewed`].
    pub reviewed: Option<Value>,
}

impl Payment {
    /// The payment of a unit.
    pub(super) fn of_charge(charge: &ChargeFields) -> Option<Self> {
        let charge_ids = charge.id.iter().cloned().collect();
        Some(Self { total: charge.amount?, charge_ids, invoice_id: None, has_credit_notes: false })
    }

    /// The payment of an invoice.
    pub(super) fn of_invoice(invoice: &Value) -> Self {
        let said = InvoiceFields::read(invoice);
        Self {
            total: said.total.unwrap_or_default(),
            charge_ids: charges_of(invoice).into_iter().chain(said.charge_ids).collect(),
            invoice_id: said.id,
            // The sum of those that were issued after the payment. Source: Stripe, "The Invoice object".
            has_credit_notes: invoice["post_payment_credit_notes_amount"] != 0,
        }
    }
}

/// What is gone of an invoice's money.
pub(in crate::usecase::handler) async fn money_of_invoice(deps: &Deps, id: &str) -> Result<Option<Money>, Failure> {
    let Some(invoice) = found(deps.stripe.invoice_retrieve(id).await)? else { return Ok(None) };
    Ok(Some(money_of(deps, &Payment::of_invoice(&invoice), None).await?))
}

/// What is gone of a payment. `known` is one of its charges.
pub(super) async fn money_of(deps: &Deps, payment: &Payment, known: Option<&ChargeFields>) -> Result<Money, Failure> {
    let none = MoneyMinor::ZERO;
    let mut money = Money { gone: Gone::default(), refunded: none, noted: none, total: payment.total, reviewed: None };
    let mut charge_found = None;
    for id in &payment.charge_ids {
        if let Some(charge) = known.filter(|known| known.id.as_ref() == Some(id)) {
            add_charge(deps, charge, &mut money).await?;
        } else if let Some(object) = found(deps.stripe.charge_retrieve(id).await)? {
            let charge = ChargeFields::read(&object);
            add_charge(deps, &charge, &mut money).await?;
            charge_found = charge_found.or(Some(object));
        }
    }
    if let Some(id) = payment.invoice_id.as_ref().filter(|_| payment.has_credit_notes)
        && let Some(notes) = found(deps.stripe.credit_note_list(id).await)?
    {
        let given_back: MoneyMinor =
            fields::rows(&notes).iter().map(|note| CreditNoteFields::read(note).gone_beside_refunds()).sum();
        money.gone.all += given_back;
        money.refunded += given_back;
        money.noted += given_back;
    }
    if money.gone.all > MoneyMinor::ZERO {
        money.reviewed = payment.invoice_id.as_ref().map(|id| reviewed(charge_found, id));
    }
    Ok(money)
}

/// Adds what is gone of a charge, with the choices that its refunds carry.
async fn add_charge(deps: &Deps, charge: &ChargeFields, money: &mut Money) -> Result<(), Failure> {
    money.gone.all += amount_gone(deps, charge).await?;
    money.refunded += charge.amount_refunded;
    if let Some(id) = charge.id.as_ref().filter(|_| charge.amount_refunded > MoneyMinor::ZERO)
        && let Some(refunds) = found(deps.stripe.refund_list(id).await)?
    {
        money.gone.mark_refunds(fields::rows(&refunds));
    }
    Ok(())
}

/// The object of an event that reviews the credits of an invoice: a charge that paid it, so that the event is in the
/// stream of the charge's refunds. Without one it is the invoice's id alone: that makes a stream of its own, where
/// waiting for the grant holds up nothing else of the customer.
pub(super) fn reviewed(charge: Option<Value>, invoice_id: &str) -> Value {
    charge.unwrap_or_else(|| json!({ "id": invoice_id, "object": "invoice" }))
}

/// The part of a charge's money that is refunded or taken by disputes.
async fn amount_gone(deps: &Deps, charge: &ChargeFields) -> Result<MoneyMinor, Failure> {
    let mut gone = charge.amount_refunded;
    if let Some(id) = charge.id.as_ref().filter(|_| charge.is_disputed) {
        let disputes = deps.stripe.dispute_list(id).await?;
        for dispute in fields::rows(&disputes).iter().map(DisputeFields::read) {
            gone += dispute.amount_gone_of(charge.amount.unwrap_or_default(), charge.currency.as_deref());
        }
    }
    Ok(gone)
}

/// The charges that an invoice names as its payments.
fn charges_of(invoice: &Value) -> Vec<String> {
    let payments = fields::rows(&invoice["payments"]).iter().map(|row| &row["payment"]);
    payments
        .filter_map(|payment| {
            fields::id(&payment["charge"]).or_else(|| fields::id(&payment["payment_intent"]["latest_charge"]))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_charges_of_an_invoice_are_found() {
        let invoice = json!({"id": "in_1", "payments": {"data": [
            {"payment": {"payment_intent": {"id": "pi_1", "latest_charge": "ch_1"}}},
            {"payment": {"charge": "ch_2"}},
            {"payment": {"payment_intent": "pi_3"}},
        ]}});
        assert_eq!(charges_of(&invoice), ["ch_1", "ch_2"]);
        assert_eq!(Payment::of_invoice(&invoice).charge_ids.len(), 2);
    }

    #[test]
    fn credit_notes_are_asked_for_unless_the_invoice_says_that_none_gave_money_back() {
        for (amount, has_some) in [(json!(0), false), (json!(5), true), (Value::Null, true)] {
            let invoice = json!({"id": "in_1", "post_payment_credit_notes_amount": amount});
            assert_eq!(Payment::of_invoice(&invoice).has_credit_notes, has_some, "{amount}");
        }
    }

    #[test]
    fn a_review_is_in_the_stream_of_the_charge_or_of_the_invoice_alone() {
        let charge = json!({"id": "ch_1", "object": "charge", "customer": "cus_1"});
        assert_eq!(reviewed(Some(charge.clone()), "in_1"), charge);
        assert_eq!(reviewed(None, "in_1"), json!({"id": "in_1", "object": "invoice"}));
    }
}
