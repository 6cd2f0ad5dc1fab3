//! Refunds, disputes and credit notes: credits whose money is gone are clawed back, and reinstated when the money
//! returns.
//!
//! Every such event leads to the same question, asked in the charge's stream: how much of the money is gone now, and
//! how many of its credits should be gone with it? The rule is in [`crate::domain::clawback`]. It therefore does not
//! matter which events come, how often and in what order: the result agrees with Stripe's own books.

mod credit_note;
mod failed;
mod holder;
mod late;
mod lots;
mod money;
mod refund;

pub(in crate::usecase::handler) use credit_note::{paid_by, review as review_event};
pub(in crate::usecase::handler) use late::{brings_credits, review_of_late_grant};
pub(in crate::usecase::handler) use money::money_of_invoice;
pub(in crate::usecase::handler) use refund::money_of_invoice_before_refund;
pub(in crate::usecase) use refund::{
    charges_of_payment, credited_of_invoice, credits_after_refund, money_before_refund,
};

use super::EventContext;
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::charge::top_up::halt_after_return;
use crate::domain::clawback::{
    Away, Lot, LotTarget, Step, away, bought_credits, bought_of_each, credits_gone, step_towards, targets, withheld,
};
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::ledger::{Account, Command, Entry, EntryKind, Op};
use crate::domain::mail::{self, MailSubject, Template};
use crate::domain::operation::payment_key;
use crate::domain::sale::grant::{Brought, PartArgs, grant_key, grant_keys, grants, money_given_back, part_job_key};
use crate::domain::sale::level::{self, left_before_paid, taken};
use crate::domain::sale::line::{Sales, sales};
use crate::domain::sale::record::LaterGrant;
use crate::domain::sale::since::{left_since, since};
use crate::domain::sale::{Before, PriceBook, SaleRecord};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{
    self, CUSTOMER_METADATA_KEY, ChargeFields, InvoiceFields, Metadata, OPERATION_METADATA_KEY,
};
use crate::domain::webhook::rules::history_too_long;
use crate::ids::CustomerId;
use crate::infra::store::{account, payment as payments, top_up};
use crate::infra::stripe::found;
use crate::usecase::handler::invoice::{before, before_of, whole_invoice};
use crate::usecase::handler::{Deps, Failure, price};
use failed::end_failed_refunds;
use holder::{PaidFor, paid_for};
use money::{Money, Payment, money_of};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeSet;

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
    /// A person must decide how many of them should be gone.
    Unclear {
        /// Why, in words.
        reason: String,
    },
}

/// One grant of bought credits.
pub(in crate::usecase::handler) struct GrantStanding {
    /// The entry.
    pub grant: Entry,
    /// Credits that are clawed back.
    pub clawed_back: Credits,
    /// What should be.
    pub target: LotTarget,
    /// The grants that returned credits of it, if they matter.
    returned: Vec<i64>,
}

/// Compares a charge, or an invoice that no charge paid, as Stripe has it now with the ledger; `None` if it buys no
/// credits, or nobody is known who has them. `linked` is who has the Stripe customer: whoever got the credits counts
/// first.
pub(in crate::usecase::handler) async fn standing_of(
    deps: &Deps,
    linked: Option<Customer>,
    object: &Value,
    now_ms: TimeMs,
) -> Result<Option<(Customer, Standing)>, Failure> {
    let (charge, paid) = match object["object"].as_str() {
        Some("invoice") => (None, fields::id(&object["id"]).map_or(PaidFor::Other, PaidFor::Invoice)),
        _ => {
            let charge = ChargeFields::read(object);
            let paid = paid_for(deps, &charge).await?;
            (Some(charge), paid)
        }
    };
    let charge = charge.as_ref();
    let Some(customer) = paid.holder(deps).await?.or(linked) else { return Ok(None) };
    let Some(bought) = bought_with(deps, &customer, charge, &paid, now_ms).await? else { return Ok(None) };
    let money = money_of(deps, &bought.payment, charge).await?;
    let standing = compare(deps, &customer, &bought, &money, now_ms).await?;
    Ok(Some((customer, standing)))
}

/// The effect that stores how much of a payment was given back, and how much is disputed.
fn refunded(bought: &Bought, money: &Money) -> Effect {
    Effect::PaymentRefunded {
        payment: bought.payment_id.clone(),
        operation: bought.operation_id.clone(),
        refunded: money.refunded,
        disputed: money.gone.all - money.refunded,
        kept: money.gone.all - money.gone.counting(),
    }
}

/// Compares what a payment bought with the ledger. What a hold reserves is as good as spent.
async fn compare(
    deps: &Deps,
    customer: &Customer,
    bought: &Bought,
    money: &Money,
    now_ms: TimeMs,
) -> Result<Standing, Failure> {
    compare_by(deps, customer, bought, money, Account::available, now_ms).await
}

/// The same, where this many credits of the account can be taken as unspent.
async fn compare_by(
    deps: &Deps,
    customer: &Customer,
    bought: &Bought,
    money: &Money,
    available: fn(&Account) -> Credits,
    now_ms: TimeMs,
) -> Result<Standing, Failure> {
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
    let bought_of = bought_of_each(&entries);
    let all = bought_of.iter().copied().sum();
    // What was taken because the period was left cannot go once more.
    let gone = credits_gone(all, money.gone.counting(), money.total);
    let taken = match taken_of(deps, customer, bought, gone, now_ms).await? {
        Ok(taken) => taken,
        Err(reason) => return Ok(Standing::Unclear { reason }),
    };
    let is_untouched =
        money.gone.all == MoneyMinor::ZERO && entries.iter().all(|e| account.clawed_back(e.seq) == Credits::ZERO);
    let lots = match is_untouched {
        true => bought_of.into_iter().map(|bought| (Lot::untouched(bought), Vec::new())).collect(),
        false => lots::lots(deps, customer, &account, &entries, now_ms).await?,
    };
    let (lots, returned): (Vec<Lot>, Vec<Vec<i64>>) = lots.into_iter().unzip();
    let available = available(&account.settled(now_ms));
    let targets = targets(&lots, &money.gone, money.total, taken, available);
    let grants = entries.into_iter().zip(lots).zip(targets).zip(returned);
    let grants = grants.map(|(((grant, lot), target), returned)| {
        let clawed_back = lot.clawed_back;
        GrantStanding { grant, clawed_back, target, returned }
    });
    Ok(Standing::Granted { grants: grants.collect() })
}

/// What is withheld of a part of an invoice's credits that is granted now, because its money is gone: all of it, and
/// how much of that only because it is unspent.
pub(in crate::usecase::handler) async fn withheld_of_part(
    deps: &Deps,
    part: &PartArgs,
    money: &Money,
) -> crate::error::Result<(Credits, Credits)> {
    let customer_id = CustomerId::trusted(part.customer.clone());
    let keys: Vec<String> = grant_keys(&part.invoice).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (&customer_id, key.as_str())).collect();
    let entries = account::entry_find_by_keys(deps.db.read(), &pairs).await?.into_iter().map(|(_, entry)| entry);
    let before = entries.filter(|entry| entry.kind == EntryKind::Grant).map(|entry| bought_credits(&entry)).sum();
    Ok(withheld(before, part.credits, &money.gone, money.total))
}

/// The credits of a payment that are taken back already, because the period that it paid for was left. Nothing is asked
/// if none are to go. An error if not all invoices that may have left it are known; why, in words.
async fn taken_of(
    deps: &Deps,
    customer: &Customer,
    bought: &Bought,
    gone: Credits,
    now_ms: TimeMs,
) -> Result<Result<Credits, String>, Failure> {
    let Some(invoice) = bought.invoice.as_ref().filter(|_| gone > Credits::ZERO) else { return Ok(Ok(Credits::ZERO)) };
    let book = PriceBook::new(deps.catalogue.now(), []);
    let (before, book) = before_of(deps, customer, invoice, &book, now_ms).await?;
    if !before.covers(invoice) {
        let id = invoice.id.as_deref().unwrap_or_default();
        return Ok(Err(history_too_long(id, "all that may have left its period")));
    }
    Ok(Ok(level::taken_of(invoice, &before, &book, customer.credits_from_ms)))
}

/// The reviews of the payments of periods that a paid invoice leaves, if credits of them went with their money: that is
/// less than it was. It does not matter whether the invoice takes credits by itself, or only brings fewer for it.
pub(in crate::usecase::handler) async fn reviews_of_left(
    deps: &Deps,
    said: &InvoiceFields,
    before: &Before,
    now_ms: TimeMs,
) -> Result<Vec<Effect>, Failure> {
    let mut reviews = Vec::new();
    let id = said.id.as_deref().unwrap_or_default();
    for left in before.left_by(said) {
        let paid_by = paid_by(deps, left).await?;
        let review =
            |object| review_event(deps, &format!("left:{id}:{left}"), EventKind::ChargeRefunded, object, now_ms);
        reviews.extend(paid_by.map(review));
    }
    Ok(reviews)
}

/// Brings the ledger to what the money of the event's charge or invoice says now.
pub(super) async fn review(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    match about.object["object"].as_str() {
        Some("credit_note") => credit_note::hand_over(about).await,
        Some("invoice") => late::review_invoice(about).await,
        _ => review_charge(about).await,
    }
}

async fn review_charge(about: &EventContext<'_>) -> Result<Verdict, Failure> {
    let charge = charge_of(about).await?;
    let id = charge.as_ref().and_then(|charge| fields::id(&charge["id"]));
    let ended = end_failed_refunds(about, id.as_deref()).await?;
    let mut verdict = match charge {
        Some(charge) => review_money(about, &charge).await?,
        None => Outcome::Done.into(),
    };
    verdict.effects.extend(ended);
    Ok(verdict)
}

/// Brings the ledger to what the money of a charge says now.
async fn review_money(about: &EventContext<'_>, charge: &Value) -> Result<Verdict, Failure> {
    let said = ChargeFields::read(charge);
    let Some(id) = &said.id else { return Ok(Outcome::Done.into()) };
    let paid = paid_for(about.deps, &said).await?;
    let holder = match paid.holder(about.deps).await? {
        Some(holder) => Some(holder),
        None => about.owner(EventKind::ChargeRefunded, charge).await?,
    };
    let Some(customer) = holder else { return Ok(of_nobody(&said.metadata, &format!("charge {id}"))) };
    let Some(bought) = bought_with(about.deps, &customer, Some(&said), &paid, about.now_ms).await? else {
        return Ok(Outcome::Done.into());
    };
    review_bought(about, &customer, &bought, id, Some(&said)).await
}

/// Brings the ledger to what the money of a payment says now. `paid` is the charge, which is known then, or the
/// invoice.
async fn review_bought(
    about: &EventContext<'_>,
    customer: &Customer,
    bought: &Bought,
    paid: &str,
    charge: Option<&ChargeFields>,
) -> Result<Verdict, Failure> {
    let money = money_of(about.deps, &bought.payment, charge).await?;
    let standing = compare(about.deps, customer, bought, &money, about.now_ms).await?;
    let mut verdict = verdict_on(about.deps, standing, paid, customer, about.now_ms).await?;
    match change_of_gone(about.deps, &bought.payment_id, money.gone.all).await? {
        Ordering::Greater => halt_top_ups(about.deps, &mut verdict, about.now_ms).await?,
        Ordering::Less => verdict.effects.extend(waiting_parts(about.deps, customer, bought).await?),
        Ordering::Equal => {}
    }
    // While the credits are still to come, nothing follows yet from the money that is gone.
    if !matches!(verdict.outcome, Outcome::Retry { .. }) {
        verdict.effects.push(refunded(bought, &money));
    }
    Ok(verdict)
}

/// Whether more of a payment's money is gone than was stored of it, or less. If it is as much, its credits are only
/// computed anew, as when a part of them has come.
async fn change_of_gone(deps: &Deps, payment_id: &str, gone: MoneyMinor) -> crate::error::Result<Ordering> {
    let db = deps.db.read();
    let stored = match payments::invoice_find(db, payment_id).await? {
        Some(invoice) => Some(invoice.refunded + invoice.disputed),
        None => payments::charge_find(db, payment_id).await?.map(|charge| charge.refunded + charge.disputed),
    };
    Ok(stored.map_or(Ordering::Greater, |stored| gone.cmp(&stored)))
}

/// Has the parts of an invoice's credits looked at that wait because its money was gone.
async fn waiting_parts(deps: &Deps, customer: &Customer, bought: &Bought) -> crate::error::Result<Vec<Effect>> {
    let Some(id) = &bought.payment.invoice_id else { return Ok(Vec::new()) };
    let first = account::entry_find_by_key(deps.db.read(), &customer.id, &grant_key(id)).await?;
    let record = first.and_then(|entry| SaleRecord::read(entry.metadata.as_deref())).unwrap_or_default();
    let hasten =
        |part: &LaterGrant| Effect::JobHasten { key: part_job_key(&part.key), cancelled_for: money_given_back(id) };
    Ok(record.later.iter().map(hasten).collect())
}

/// The verdict that brings the ledger to where it should stand. `paid` is the charge or the invoice.
async fn verdict_on(
    deps: &Deps,
    standing: Standing,
    paid: &str,
    customer: &Customer,
    now_ms: TimeMs,
) -> Result<Verdict, Failure> {
    let grants = match standing {
        Standing::NotGranted { is_gone: false } => return Ok(Outcome::Done.into()),
        Standing::NotGranted { is_gone: true } => {
            // The payment's own event is still on its way: its credits come first, then they go.
            let reason = format!("grant_missing: the credits of {paid} are not granted yet");
            return Ok(Outcome::Retry { reason }.into());
        }
        Standing::Granted { grants } => grants,
        Standing::Unclear { reason } => return Ok(Outcome::Dead { reason }.into()),
    };
    let mut due = grants.iter().filter(|grant| grant.clawed_back != grant.target.total);
    let Some(GrantStanding { grant, clawed_back, target, returned }) = due.next() else {
        return Ok(Outcome::Done.into());
    };
    let away = if target.total < *clawed_back { read_away(deps, customer, grant).await? } else { Vec::new() };
    let step = step_towards(grant, *clawed_back, target, returned, &away, paid, now_ms);
    let Step { command, is_last } = step.expect("its target is not what is clawed back");
    // One command at a time: the next run of this job finds the others. What has come back may be what goes only as far
    // as it is unspent, and that is known only then.
    let is_done = is_last && due.next().is_none() && matches!(command.op, Op::ClawBack { .. });
    let outcome = if is_done { Outcome::Done } else { Outcome::Snooze { until_ms: now_ms } };
    let effects = review_of_lender(deps, customer, &command, now_ms).await?;
    Ok(Verdict { outcome, ledger: Some((customer.id.clone(), command)), effects })
}

/// Where credits come back that had been taken from what another payment bought: the review of that payment. Some of
/// its money may be gone, and they could not go with it while they were away.
async fn review_of_lender(
    deps: &Deps,
    customer: &Customer,
    command: &Command,
    now_ms: TimeMs,
) -> Result<Vec<Effect>, Failure> {
    let Op::Reinstate { grant, of: Some(of), total, .. } = &command.op else { return Ok(Vec::new()) };
    let lender = account::entry_find_many(deps.db.read(), &customer.id, &[*of]).await?.pop();
    let is_paid = |entry: &Entry| matches!(entry.source.as_str(), "stripe" | "purchase");
    let Some(reference) = lender.filter(is_paid).and_then(|entry| entry.reference) else { return Ok(Vec::new()) };
    let Some(object) = paid_by(deps, &reference).await? else { return Ok(Vec::new()) };
    let id = format!("returned:{}:{grant}:{of}:{total}:{now_ms}", customer.id);
    Ok(vec![review_event(deps, &id, EventKind::ChargeRefunded, object, now_ms)])
}

/// The credits of a grant that were clawed back and have not come back, by the entries that are stored.
async fn read_away(deps: &Deps, customer: &Customer, grant: &Entry) -> Result<Vec<Away>, Failure> {
    let db = deps.db.read();
    let moved = payments::entry_list_of_grants(db, &customer.id, &[grant.seq]).await?;
    let burned = moved.iter().flat_map(|entry| &entry.detail.burned).map(|burn| burn.grant);
    let others: BTreeSet<i64> = burned.filter(|seq| *seq != grant.seq).collect();
    let others: Vec<i64> = others.into_iter().collect();
    let burned = account::entry_find_many(db, &customer.id, &others).await?;
    Ok(away(grant, &moved, &burned))
}

/// Turns automatic top-ups off in the commit that claws credits back because money was returned, and mails it once for
/// each setting. Without a claw back, as when the customer keeps the credits, they stay as they are.
async fn halt_top_ups(deps: &Deps, verdict: &mut Verdict, now_ms: TimeMs) -> Result<(), Failure> {
    let Some((customer_id, Command { op: Op::ClawBack { .. }, .. })) = &verdict.ledger else { return Ok(()) };
    let setting = top_up::top_up_find(deps.db.read(), customer_id).await?;
    let Some(halt) = setting.as_ref().and_then(halt_after_return) else { return Ok(()) };
    let (code, reason) = (halt.problem.code.clone(), halt.problem.message.clone());
    let once_per = format!("{code}:{}", halt.version);
    let about = MailSubject { problem: Some(code), reason: Some(reason), ..MailSubject::default() };
    let mail = mail::job(Template::AutoTopUpStopped, &halt.customer_id, &once_per, about, now_ms);
    verdict.effects.extend([Effect::JobInsert(mail), Effect::TopUpHalt(Box::new(halt))]);
    Ok(())
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
    /// The payment's id here: that of the invoice, or of the PaymentIntent.
    payment_id: String,
    /// The operation that charged, if one did.
    operation_id: Option<String>,
    /// The invoice, if it is one.
    invoice: Option<InvoiceFields>,
    /// Whether it surely brings credits, so that a missing grant is still to come.
    is_certain: bool,
}

/// Finds what a charge, or without one an invoice, bought, wholly or in part; `None` if that brings no credits.
async fn bought_with(
    deps: &Deps,
    customer: &Customer,
    charge: Option<&ChargeFields>,
    paid: &PaidFor,
    now_ms: TimeMs,
) -> Result<Option<Bought>, Failure> {
    let id = match paid {
        PaidFor::Invoice(id) => id,
        PaidFor::Operation(operation) => {
            let intent = charge.and_then(|charge| charge.payment_intent_id.clone());
            return Ok(intent.zip(charge.and_then(Payment::of_charge)).map(|(id, payment)| Bought {
                keys: vec![payment_key(&id)],
                payment,
                payment_id: id,
                operation_id: Some(operation.clone()),
                invoice: None,
                is_certain: true,
            }));
        }
        PaidFor::Other => return Ok(None),
    };
    let Some(invoice) = whole_invoice(deps, id).await? else { return Ok(None) };
    let mut bought = bought_by(deps, customer, id, &invoice, now_ms).await?;
    bought.payment.charge_ids.extend(charge.and_then(|charge| charge.id.clone()));
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
    let (before, book) = before(deps, Some(customer), &said, &book, now_ms).await?;
    let left = left_since(&said, &before.invoices, customer.credits_from_ms);
    let is_certain = match (sales(&said, &book), taken(&left, &before, &book)) {
        (Sales::Known(sold), Ok(taken)) => {
            let counted = since(&sold, customer.credits_from_ms);
            let left_out = left_before_paid(&said, &before, &book, customer.credits_from_ms);
            let taken = taken + left_out.iter().map(|left| left.credits).sum::<Credits>();
            Brought { grants: grants(id, &counted, now_ms), taken }.now() > Credits::ZERO
        }
        _ => false,
    };
    let (keys, payment) = (grant_keys(id).collect(), Payment::of_invoice(invoice));
    let payment_id = id.to_owned();
    Ok(Bought { keys, payment, payment_id, operation_id: None, invoice: Some(said), is_certain })
}
