//! Refunds, disputes and credit notes: credits whose money is gone are clawed back, and reinstated when the money
//! returns.
//!
//! Every such event leads to the same question, asked in the charge's stream: how much of the money is gone now, and
//! how many of its credits should be gone with it? The rule is in [`crate::domain::clawback`]. It therefore does not
//! matter which events come, how often and in what order: the result agrees with Stripe's own books.

mod credit_note;
mod money;
mod refund;

pub(in crate::usecase::handler) use credit_note::review as review_event;
pub(in crate::usecase::handler) use money::money_of_invoice;
pub(in crate::usecase) use refund::{charges_of_payment, credits_after_refund};

use super::EventContext;
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::clawback::{command_towards, distribute};
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::ledger::{Entry, EntryKind, OpenGrant};
use crate::domain::operation::payment_key;
use crate::domain::refund::credits_to_go;
use crate::domain::sale::PriceBook;
use crate::domain::sale::grant::{Brought, grant_keys, grants};
use crate::domain::sale::level::taken;
use crate::domain::sale::line::{Sales, sales};
use crate::domain::sale::since::{left_since, since};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{
    self, CUSTOMER_METADATA_KEY, ChargeFields, InvoiceFields, Metadata, OPERATION_METADATA_KEY,
};
use crate::infra::store::{account, payment as payments};
use crate::infra::stripe::found;
use crate::usecase::handler::invoice::{other_invoices, whole_invoice};
use crate::usecase::handler::{Deps, Failure, price};
use money::{Money, Payment, money_of};
use serde_json::Value;

/// The state of the credits that a payment bought.
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

/// Compares a charge as Stripe has it now with the ledger; `None` if it buys no credits.
pub(in crate::usecase::handler) async fn standing(
    deps: &Deps,
    customer: &Customer,
    charge: &ChargeFields,
    now_ms: TimeMs,
) -> Result<Option<Standing>, Failure> {
    let Some(bought) = bought_with(deps, customer, charge, now_ms).await? else { return Ok(None) };
    let money = money_of(deps, &bought.payment, Some(charge)).await?;
    Ok(Some(compare(deps, customer, &bought, &money).await?))
}

/// The effect that stores how much of a payment was given back, and how much is disputed.
fn refunded(bought: &Bought, metadata: &Metadata, money: &Money) -> Option<Effect> {
    let operation = || metadata.get(OPERATION_METADATA_KEY).cloned();
    let payment = bought.payment.invoice_id.clone().or_else(operation)?;
    let disputed = money.gone.all - money.refunded;
    Some(Effect::PaymentRefunded { payment, refunded: money.refunded, disputed })
}

/// Compares what a payment bought with the ledger.
async fn compare(deps: &Deps, customer: &Customer, bought: &Bought, money: &Money) -> Result<Standing, Failure> {
    let db = deps.db.read();
    let pairs: Vec<_> = bought.keys.iter().map(|key| (&customer.id, key.as_str())).collect();
    let mut entries: Vec<Entry> =
        account::entry_find_by_keys(db, &pairs).await?.into_iter().map(|(_, entry)| entry).collect();
    // An invoice that credits more than it bills has taken credits instead.
    entries.retain(|entry| entry.kind == EntryKind::Grant);
    if entries.is_empty() {
        let is_gone = bought.is_certain && money.gone.all != MoneyMinor::ZERO;
        return Ok(Standing::NotGranted { is_gone });
    }
    entries.sort_unstable_by_key(|entry| entry.seq);
    let account = account::account_find(db, &customer.id).await?.unwrap_or_default();
    let granted: Vec<Credits> = entries.iter().map(|entry| entry.amount).collect();
    let clawed_back = entries.iter().map(|entry| account.clawed_back(entry.seq)).sum();
    let is_of_these = |open: &&OpenGrant| entries.iter().any(|entry| entry.seq == open.seq);
    let remaining: Credits = account.open.grants.iter().filter(is_of_these).map(|open| open.remaining).sum();
    // What a hold reserves is as good as spent.
    let left = remaining.min(account.available());
    let gone = credits_to_go(granted.iter().copied().sum(), &money.gone, money.total, clawed_back, left);
    let targets = distribute(gone, &granted);
    let grants = entries.into_iter().zip(targets).map(|(grant, target)| {
        let clawed_back = account.clawed_back(grant.seq);
        GrantStanding { grant, clawed_back, target }
    });
    Ok(Standing::Granted { grants: grants.collect() })
}

/// Brings the ledger to what the money of the event's charge or invoice says now.
pub(super) async fn review(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    match about.object["object"].as_str() {
        Some("credit_note") => credit_note::hand_over(about).await,
        Some("invoice") => review_invoice(about).await,
        _ => review_charge(about).await,
    }
}

async fn review_charge(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(charge) = charge_of(about).await? else { return Ok(Outcome::Done.into()) };
    let said = ChargeFields::read(&charge);
    let Some(id) = &said.id else { return Ok(Outcome::Done.into()) };
    let Some(customer) = about.owner(EventKind::ChargeRefunded, &charge).await? else {
        return Ok(of_nobody(&said.metadata, &format!("charge {id}")));
    };
    let Some(bought) = bought_with(about.deps, &customer, &said, about.now_ms).await? else {
        return Ok(Outcome::Done.into());
    };
    if let Some(dead) = of_another(about.deps, &customer, &bought).await? {
        return Ok(dead);
    }
    let money = money_of(about.deps, &bought.payment, Some(&said)).await?;
    let standing = compare(about.deps, &customer, &bought, &money).await?;
    let mut verdict = verdict_on(standing, id, &customer, about.now_ms);
    verdict.effects.extend(refunded(&bought, &said.metadata, &money));
    Ok(verdict)
}

/// Reviews an invoice that no charge paid: there is nothing to refund, and credit notes may give its money back.
async fn review_invoice(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let Some(id) = fields::id(&about.object["id"]) else { return Ok(Outcome::Done.into()) };
    let Some(invoice) = whole_invoice(about.deps, &id).await? else { return Ok(Outcome::Done.into()) };
    let Some(customer) = about.owner(EventKind::InvoicePaid, &invoice).await? else {
        return Ok(of_nobody(&InvoiceFields::read(&invoice).metadata, &format!("invoice {id}")));
    };
    let bought = bought_by(about.deps, &customer, &id, &invoice, about.now_ms).await?;
    if let Some(dead) = of_another(about.deps, &customer, &bought).await? {
        return Ok(dead);
    }
    let money = money_of(about.deps, &bought.payment, None).await?;
    let standing = compare(about.deps, &customer, &bought, &money).await?;
    let mut verdict = verdict_on(standing, &id, &customer, about.now_ms);
    verdict.effects.extend(refunded(&bought, &Metadata::new(), &money));
    Ok(verdict)
}

/// The verdict that brings the ledger to where it should stand. `paid` is the charge or the invoice.
fn verdict_on(standing: Standing, paid: &str, customer: &Customer, now_ms: TimeMs) -> Verdict {
    let grants = match standing {
        Standing::NotGranted { is_gone: false } => return Outcome::Done.into(),
        Standing::NotGranted { is_gone: true } => {
            // The payment's own event is still on its way: its credits come first, then they go.
            let reason = format!("grant_missing: the credits of {paid} are not granted yet");
            return Outcome::Retry { reason }.into();
        }
        Standing::Granted { grants } => grants,
    };
    let mut commands =
        grants.iter().filter_map(|grant| command_towards(&grant.grant, grant.clawed_back, grant.target, paid));
    let Some(command) = commands.next() else { return Outcome::Done.into() };
    // One command at a time: the next run of this job finds the others.
    let outcome = if commands.next().is_some() { Outcome::Snooze { until_ms: now_ms } } else { Outcome::Done };
    Verdict { outcome, ledger: Some((customer.id.clone(), command)), effects: Vec::new() }
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

/// The verdict on an invoice whose credits another customer got, before support unlinked that one from the Stripe
/// customer: a person knows who has them by now.
async fn of_another(deps: &Deps, customer: &Customer, bought: &Bought) -> Result<Option<Verdict>, Failure> {
    let Some(id) = &bought.payment.invoice_id else { return Ok(None) };
    let stored = payments::invoice_find(deps.db.read(), id).await?;
    Ok(stored.filter(|stored| stored.customer_id != customer.id).map(|stored| {
        let holder = stored.customer_id;
        let reason =
            format!("customer_mismatch: the credits of invoice {id} were granted to {holder}, not to {}", customer.id);
        Outcome::Dead { reason }.into()
    }))
}

/// The verdict on a payment of none of our customers: retried if its metadata says that it is ours, else done.
fn of_nobody(metadata: &Metadata, paid: &str) -> Verdict {
    let is_ours = [OPERATION_METADATA_KEY, CUSTOMER_METADATA_KEY].iter().any(|key| metadata.contains_key(*key));
    if !is_ours {
        return Outcome::Done.into();
    }
    Outcome::Retry { reason: format!("customer_unknown: no customer for {paid}") }.into()
}

/// The credits that a payment bought.
struct Bought {
    /// Their keys in the ledger.
    keys: Vec<String>,
    /// What paid for them.
    payment: Payment,
    /// Whether it surely brings credits, so that a missing grant is still to come.
    is_certain: bool,
}

/// Finds what a charge bought, wholly or in part; `None` if that brings no credits.
async fn bought_with(
    deps: &Deps,
    customer: &Customer,
    charge: &ChargeFields,
    now_ms: TimeMs,
) -> Result<Option<Bought>, Failure> {
    let by_operation = charge.metadata.contains_key(OPERATION_METADATA_KEY) && charge.invoice_id.is_none();
    let invoice_id = match (&charge.invoice_id, &charge.payment_intent_id) {
        (Some(id), _) => Some(id.clone()),
        (None, Some(intent)) if !by_operation => {
            let payments = deps.stripe.invoice_payment_list(intent).await?;
            fields::rows(&payments).iter().find_map(|row| fields::id(&row["invoice"]))
        }
        _ => None,
    };
    let Some(id) = invoice_id else {
        let intent = charge.payment_intent_id.as_deref().filter(|_| by_operation);
        return Ok(intent.zip(Payment::of_charge(charge)).map(|(id, payment)| Bought {
            keys: vec![payment_key(id)],
            payment,
            is_certain: true,
        }));
    };
    let Some(invoice) = whole_invoice(deps, &id).await? else { return Ok(None) };
    let mut bought = bought_by(deps, customer, &id, &invoice, now_ms).await?;
    bought.payment.charge_ids.extend(charge.id.clone());
    Ok(Some(bought))
}

/// Finds what an invoice bought for a customer.
async fn bought_by(
    deps: &Deps,
    customer: &Customer,
    id: &str,
    invoice: &Value,
    now_ms: TimeMs,
) -> Result<Bought, Failure> {
    let book = price::learn(deps, &PriceBook::new(deps.catalogue.now(), []), invoice, now_ms).await?;
    // An invoice that the catalogue of its time knew may have brought credits, whatever the present one says.
    let said = InvoiceFields::read(invoice);
    let others = other_invoices(deps, invoice).await?;
    let left = left_since(&said, &others, customer.credits_from_ms);
    let is_certain = match (sales(&said, &book), taken(&left, &others, &book)) {
        (Sales::Known(sold), Ok(taken)) => {
            let counted = since(&sold, customer.credits_from_ms);
            Brought::new(grants(id, &counted, now_ms), taken).now() > Credits::ZERO
        }
        _ => false,
    };
    Ok(Bought { keys: grant_keys(id).collect(), payment: Payment::of_invoice(invoice), is_certain })
}
