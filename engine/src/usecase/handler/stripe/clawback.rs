//! Refunds and disputes: credits whose money is gone are clawed back, and reinstated when the money returns.
//!
//! Every such event leads to the same question, asked in the charge's stream: how much of its money is gone now, and
//! how many of its credits should be gone with it? The rule is in [`crate::domain::clawback`]. It therefore does not
//! matter which events come, how often and in what order: the result agrees with Stripe's own books.

use super::EventContext;
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::clawback::{command_towards, credits_gone, distribute};
use crate::domain::customer::Customer;
use crate::domain::effect::Verdict;
use crate::domain::job::Outcome;
use crate::domain::ledger::Entry;
use crate::domain::operation::payment_key;
use crate::domain::sale::PriceBook;
use crate::domain::sale::grant::{grant_keys, grants};
use crate::domain::sale::line::{Sales, sales};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{
    self, CUSTOMER_METADATA_KEY, ChargeFields, DisputeFields, InvoiceFields, OPERATION_METADATA_KEY,
};
use crate::infra::store::account;
use crate::infra::stripe::found;
use crate::usecase::handler::invoice::whole_invoice;
use crate::usecase::handler::{Deps, Failure, price};
use serde_json::Value;
use std::collections::BTreeSet;

/// The state of the credits that a charge bought.
pub(in crate::usecase::handler) enum Standing {
    /// The ledger has no grant for them.
    NotGranted {
        /// Whether some of the money is gone.
        is_gone: bool,
    },
    /// The ledger has their grants.
    Granted {
        /// Each entry that granted some, with the credits that are clawed back of it and those that should be.
        grants: Vec<GrantStanding>,
    },
}

/// One grant of bought credits.
pub(in crate::usecase::handler) struct GrantStanding {
    /// The entry.
    pub grant: Entry,
    /// Credits that are clawed back.
    pub clawed_back: Credits,
    /// Credits that should be.
    pub target: Credits,
}

/// What is gone of the money that bought credits, and all of it.
pub(in crate::usecase::handler) struct Money {
    /// Refunded, or taken by disputes.
    pub gone: MoneyMinor,
    /// The refunded part of it.
    pub refunded: MoneyMinor,
    /// The whole price.
    pub total: MoneyMinor,
    /// A charge of which some is gone.
    pub charge: Option<Value>,
}

/// Compares a charge as Stripe has it now with the ledger; `None` if it buys no credits.
pub(in crate::usecase::handler) async fn standing(
    deps: &Deps,
    customer: &Customer,
    charge: &ChargeFields,
    now_ms: TimeMs,
) -> Result<Option<Standing>, Failure> {
    let Some(bought) = bought_with(deps, charge, now_ms).await? else { return Ok(None) };
    let money = money_of(deps, &bought, charge).await?;
    let db = deps.db.read();
    let pairs: Vec<_> = bought.keys.iter().map(|key| (&customer.id, key.as_str())).collect();
    let mut entries: Vec<Entry> =
        account::entry_find_by_keys(db, &pairs).await?.into_iter().map(|(_, entry)| entry).collect();
    if entries.is_empty() {
        let is_gone = bought.is_certain && money.gone != MoneyMinor::ZERO;
        return Ok(Some(Standing::NotGranted { is_gone }));
    }
    entries.sort_unstable_by_key(|entry| entry.seq);
    let account = account::account_find(db, &customer.id).await?.unwrap_or_default();
    let granted: Vec<Credits> = entries.iter().map(|entry| entry.amount).collect();
    let gone = credits_gone(granted.iter().copied().sum(), money.gone, money.total);
    let targets = distribute(gone, &granted);
    let grants = entries.into_iter().zip(targets).map(|(grant, target)| {
        let clawed_back = account.clawed_back(grant.seq);
        GrantStanding { grant, clawed_back, target }
    });
    Ok(Some(Standing::Granted { grants: grants.collect() }))
}

/// Brings the ledger to what the event's charge says now.
pub(super) async fn review(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(charge) = charge_of(about).await? else { return Ok(Outcome::Done.into()) };
    let said = ChargeFields::read(&charge);
    let Some(id) = &said.id else { return Ok(Outcome::Done.into()) };
    let Some(customer) = about.owner(EventKind::ChargeRefunded, &charge).await? else { return Ok(of_nobody(&said)) };
    let grants = match standing(about.deps, &customer, &said, about.now_ms).await? {
        None | Some(Standing::NotGranted { is_gone: false }) => return Ok(Outcome::Done.into()),
        Some(Standing::NotGranted { is_gone: true }) => {
            // The payment's own event is still on its way: its credits come first, then they go.
            let reason = format!("grant_missing: the credits of {id} are not granted yet");
            return Ok(Outcome::Retry { reason }.into());
        }
        Some(Standing::Granted { grants }) => grants,
    };
    let mut commands =
        grants.iter().filter_map(|grant| command_towards(&grant.grant, grant.clawed_back, grant.target, id));
    let Some(command) = commands.next() else { return Ok(Outcome::Done.into()) };
    // One command at a time: the next run of this job finds the others.
    let outcome = if commands.next().is_some() { Outcome::Snooze { until_ms: about.now_ms } } else { Outcome::Done };
    Ok(Verdict { outcome, ledger: Some((customer.id, command)), effects: Vec::new() })
}

/// What is gone of an invoice's money: of all its charges.
pub(in crate::usecase::handler) async fn money_of_invoice(deps: &Deps, id: &str) -> Result<Option<Money>, Failure> {
    let Some(invoice) = found(deps.stripe.invoice_retrieve(id).await)? else { return Ok(None) };
    let said = InvoiceFields::read(&invoice);
    let mut money = Money {
        gone: MoneyMinor::ZERO,
        refunded: MoneyMinor::ZERO,
        total: said.total.unwrap_or_default(),
        charge: None,
    };
    let ids: BTreeSet<String> = charges_of(&invoice).into_iter().chain(said.charge_ids).collect();
    for id in &ids {
        let Some(charge) = found(deps.stripe.charge_retrieve(id).await)? else { continue };
        let said = ChargeFields::read(&charge);
        let gone = amount_gone(deps, &said).await?;
        money.gone += gone;
        money.refunded += said.amount_refunded;
        money.charge = money.charge.or((gone > MoneyMinor::ZERO).then_some(charge));
    }
    Ok(Some(money))
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
        for dispute in fields::rows(&disputes).iter().map(DisputeFields::read) {
            gone += dispute.amount_gone_of(charge.amount.unwrap_or_default(), charge.currency.as_deref());
        }
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
    /// Their keys in the ledger.
    keys: Vec<String>,
    /// The whole price: an invoice may also be paid from the customer's balance, or by several charges.
    total: MoneyMinor,
    /// Other charges that paid for the same credits.
    other_charges: Vec<String>,
    /// Whether it surely brings credits, so that a missing grant is still to come.
    is_certain: bool,
}

/// Finds what a charge bought; `None` if that brings no credits.
async fn bought_with(deps: &Deps, charge: &ChargeFields, now_ms: TimeMs) -> Result<Option<Bought>, Failure> {
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
        return Ok(intent.zip(charge.amount).map(|(id, total)| Bought {
            keys: vec![payment_key(id)],
            total,
            other_charges: Vec::new(),
            is_certain: true,
        }));
    };
    let Some(invoice) = whole_invoice(deps, &id).await? else { return Ok(None) };
    let said = InvoiceFields::read(&invoice);
    let book = price::learn(deps, &PriceBook::new(deps.catalogue.now(), []), &invoice, now_ms).await?;
    // An invoice that the catalogue of its time knew may have brought credits, whatever the present one says.
    let is_certain = match sales(&said, &book) {
        Sales::Known(sold) => !grants(&id, &sold, now_ms).is_empty(),
        Sales::Incomplete(_) | Sales::Undecided(_) => false,
    };
    let other_charges = charges_of(&invoice).into_iter().filter(|other| Some(other) != charge.id.as_ref()).collect();
    let total = said.total.unwrap_or_default();
    Ok(Some(Bought { keys: grant_keys(&id).collect(), total, other_charges, is_certain }))
}

/// What is gone of the money of a charge and of the others that paid for the same.
async fn money_of(deps: &Deps, bought: &Bought, charge: &ChargeFields) -> Result<Money, Failure> {
    let (mut gone, mut refunded) = (amount_gone(deps, charge).await?, charge.amount_refunded);
    for other in &bought.other_charges {
        let Some(other) = found(deps.stripe.charge_retrieve(other).await)? else { continue };
        let other = ChargeFields::read(&other);
        gone += amount_gone(deps, &other).await?;
        refunded += other.amount_refunded;
    }
    Ok(Money { gone, refunded, total: bought.total, charge: None })
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
