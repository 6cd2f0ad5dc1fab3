//! Refunds and disputes: credits whose money is gone are clawed back, and reinstated when the money returns.
//!
//! Every such event leads to the same question, asked in the charge's stream: how much of its money is gone now, and
//! how many of its credits should be gone with it? The rule is in [`crate::domain::clawback`]. It therefore does not
//! matter which events come, how often and in what order: the result agrees with Stripe's own books.

use super::{EventContext, found};
use crate::amount::{Credits, MoneyMinor};
use crate::domain::clawback::{command_towards, credits_gone};
use crate::domain::customer::Customer;
use crate::domain::effect::Verdict;
use crate::domain::job::Outcome;
use crate::domain::ledger::Entry;
use crate::domain::operation::payment_key;
use crate::domain::period_credits::invoice_brings_credits;
use crate::domain::webhook::fields::{
    self, CUSTOMER_METADATA_KEY, ChargeFields, DisputeFields, OPERATION_METADATA_KEY,
};
use crate::domain::webhook::{EventKind, grant_key};
use crate::infra::store::account;
use crate::usecase::handler::{Deps, Failure};
use serde_json::Value;

/// The state of the credits that a charge bought.
pub(in crate::usecase::handler) enum Standing {
    /// The ledger has no grant for them.
    NotGranted {
        /// Whether some of the money is gone.
        is_gone: bool,
    },
    /// The ledger has their grant.
    Granted {
        /// The entry that granted them.
        grant: Box<Entry>,
        /// Credits that are clawed back.
        clawed_back: Credits,
        /// Credits that should be.
        target: Credits,
    },
}

/// Compares a charge as Stripe has it now with the ledger; `None` if it buys no credits.
pub(in crate::usecase::handler) async fn standing(
    deps: &Deps,
    customer: &Customer,
    charge: &ChargeFields,
) -> Result<Option<Standing>, Failure> {
    let (Some(id), Some(amount)) = (&charge.id, charge.amount) else { return Ok(None) };
    let Some(bought) = bought_with(deps, charge).await? else { return Ok(None) };
    let (mut gone, mut paid) = (amount_gone(deps, charge).await?, amount);
    for other in bought.other_charges.iter().filter(|other| *other != id) {
        let Some(other) = found(deps.stripe.charge_retrieve(other).await)? else { continue };
        let other = ChargeFields::read(&other);
        gone += amount_gone(deps, &other).await?;
        paid += other.amount.filter(|_| other.is_paid).unwrap_or_default();
    }
    let db = deps.db.read();
    let Some(grant) = account::entry_find_by_key(db, &customer.id, &bought.key).await? else {
        return Ok(Some(Standing::NotGranted { is_gone: gone != MoneyMinor::ZERO }));
    };
    let account = account::account_find(db, &customer.id).await?;
    let clawed_back = account.map_or(Credits::ZERO, |account| account.clawed_back(grant.seq));
    let target = credits_gone(grant.amount, gone, paid);
    Ok(Some(Standing::Granted { grant: Box::new(grant), clawed_back, target }))
}

/// Brings the ledger to what the event's charge says now.
pub(super) async fn review(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(charge) = charge_of(about).await? else { return Ok(Outcome::Done.into()) };
    let said = ChargeFields::read(&charge);
    let Some(id) = &said.id else { return Ok(Outcome::Done.into()) };
    let Some(customer) = about.owner(EventKind::ChargeRefunded, &charge).await? else { return Ok(of_nobody(&said)) };
    let (grant, clawed_back, target) = match standing(about.deps, &customer, &said).await? {
        None | Some(Standing::NotGranted { is_gone: false }) => return Ok(Outcome::Done.into()),
        Some(Standing::NotGranted { is_gone: true }) => {
            // The payment's own event is still on its way: its credits come first, then they go.
            let reason = format!("grant_missing: the credits of {id} are not granted yet");
            return Ok(Outcome::Retry { reason }.into());
        }
        Some(Standing::Granted { grant, clawed_back, target }) => (grant, clawed_back, target),
    };
    Ok(command_towards(&grant, clawed_back, target, id).map_or_else(
        || Outcome::Done.into(),
        |command| Verdict { outcome: Outcome::Done, ledger: Some((customer.id, command)), effects: Vec::new() },
    ))
}

/// Fetches the charge that the event is about.
async fn charge_of(about: &EventContext<'_>) -> Result<Option<Value>, Failure> {
    let object = about.object;
    let id = if object["object"] == "charge" { fields::id(&object["id"]) } else { fields::id(&object["charge"]) };
    let id = match id {
        Some(id) => Some(id),
        None => match fields::id(&object["payment_intent"]) {
            Some(intent) => found(about.deps.stripe.payment_retrieve(&intent).await)?
                .and_then(|intent| fields::PaymentIntentFields::read(&intent).charge_id),
            None => None,
        },
    };
    match id {
        Some(id) => Ok(found(about.deps.stripe.charge_retrieve(&id).await)?),
        None => Ok(None),
    }
}

/// The part of a charge's money that is refunded or taken by disputes.
async fn amount_gone(deps: &Deps, charge: &ChargeFields) -> Result<MoneyMinor, Failure> {
    let mut gone = charge.amount_refunded;
    if let Some(id) = charge.id.as_ref().filter(|_| charge.is_disputed) {
        let disputes = deps.stripe.dispute_list(id).await?;
        gone += fields::rows(&disputes).iter().map(|row| DisputeFields::read(row).amount_gone()).sum::<MoneyMinor>();
    }
    Ok(gone)
}

/// The verdict on a charge of none of our customers: retried if its metadata says that it is ours, else done.
fn of_nobody(charge: &ChargeFields) -> Verdict {
    let is_ours = [OPERATION_METADATA_KEY, CUSTOMER_METADATA_KEY].iter().any(|key| charge.metadata.contains_key(*key));
    if !is_ours {
        return Outcome::Done.into();
    }
    let id = charge.id.as_deref().unwrap_or_default();
    Outcome::Retry { reason: format!("customer_unknown: no customer for charge {id}") }.into()
}

/// The credits that a charge paid for, wholly or in part.
struct Bought {
    /// Their key in the ledger.
    key: String,
    /// Other charges that paid for the same credits.
    other_charges: Vec<String>,
}

/// Finds what a charge bought; `None` if that brings no credits.
async fn bought_with(deps: &Deps, charge: &ChargeFields) -> Result<Option<Bought>, Failure> {
    let by_operation = charge.metadata.contains_key(OPERATION_METADATA_KEY) && charge.invoice_id.is_none();
    let stripe = &deps.stripe;
    let invoice_id = match (&charge.invoice_id, &charge.payment_intent_id) {
        (Some(id), _) => Some(id.clone()),
        (None, Some(intent)) if !by_operation => {
            let payments = stripe.invoice_payment_list(intent).await?;
            fields::rows(&payments).iter().find_map(|row| fields::id(&row["invoice"]))
        }
        _ => None,
    };
    let Some(id) = invoice_id else {
        let intent = charge.payment_intent_id.as_deref().filter(|_| by_operation);
        return Ok(intent.map(|id| Bought { key: payment_key(id), other_charges: Vec::new() }));
    };
    // An invoice that never brought credits has none to take back.
    let Some(invoice) = found(stripe.invoice_retrieve(&id).await)? else { return Ok(None) };
    let said = fields::InvoiceFields::read(&invoice);
    let may_be_pro = said.is_pro(&deps.pro) != fields::IsPro::No;
    let brought_credits = invoice_brings_credits(said.billing_reason.as_deref(), may_be_pro, deps.pro_credits);
    Ok(brought_credits.then(|| Bought { key: grant_key(&id), other_charges: charges_of(&invoice) }))
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
    use serde_json::json;

    #[test]
    fn all_charges_of_an_invoice_are_found() {
        let invoice = json!({"payments": {"data": [
            {"payment": {"payment_intent": {"id": "pi_1", "latest_charge": "ch_1"}}},
            {"payment": {"charge": "ch_2"}},
            {"payment": {"payment_intent": "pi_3"}},
        ]}});
        assert_eq!(charges_of(&invoice), ["ch_1", "ch_2"]);
    }
}
