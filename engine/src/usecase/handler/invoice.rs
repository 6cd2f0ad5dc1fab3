//! Invoices: all their lines, what is stored of them, and the later parts of their credits.

mod complete;
mod credited;

pub(super) use complete::{Decided, Heard, complete};
pub(super) use credited::{credited_of_invoice, pending_invoice};

use super::{Deps, Failure, price};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::{JobKind, NewJob, Outcome};
use crate::domain::ledger::{Entry, EntryKind, Op};
use crate::domain::operation::Problem;
use crate::domain::payment::Invoice;
use crate::domain::sale::grant::{PartArgs, grant_key, grant_keys, invoice_of, month_of, net_credits, part_job_key};
use crate::domain::sale::level::part_left;
use crate::domain::sale::{Before, BroughtBefore, PriceBook, SaleRecord};
use crate::domain::webhook::fields::InvoiceFields;
use crate::domain::webhook::{EventKind, fields};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::{account, payment};
use crate::infra::stripe::StripeError;
use crate::infra::stripe::found;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of pages of an invoice's lines, of 100 lines each.
const LINE_PAGES_MAX: usize = 20;
/// Maximum number of pages of a subscription's invoices, of 100 invoices each: 1,000 invoices. What older ones would
/// have to tell waits for a person.
const INVOICE_PAGES_MAX: usize = 10;

/// What is stored of an invoice that an event says is paid.
#[derive(Debug, Clone)]
pub(super) struct PaidInvoice {
    /// For whom it was stored as paid before.
    pub payer: Option<CustomerId>,
}

/// An invoice as Stripe has it now, with all its lines: the object itself has the first few only. Source: Stripe,
/// "Retrieve an invoice's line items".
pub(super) async fn whole_invoice(deps: &Deps, id: &str) -> std::result::Result<Option<Value>, Failure> {
    let Some(mut invoice) = found(deps.stripe.invoice_retrieve(id).await)? else { return Ok(None) };
    if invoice["lines"]["has_more"] != true {
        return Ok(Some(invoice));
    }
    let (mut lines, mut after): (Vec<Value>, Option<String>) = (Vec::new(), None);
    for _ in 0..LINE_PAGES_MAX {
        let page = deps.stripe.invoice_line_list(id, after.as_deref()).await?;
        let rows = fields::rows(&page);
        after = rows.last().and_then(|line| fields::id(&line["id"])).filter(|_| page["has_more"] == true);
        lines.extend_from_slice(rows);
        if after.is_none() {
            break;
        }
    }
    invoice["lines"] = json!({ "object": "list", "data": lines, "has_more": after.is_some() });
    Ok(Some(invoice))
}

/// What has to be known of the other invoices of a paid invoice that credits time that was left, or that was paid late:
/// by them it is decided which of that time had brought credits, and how many, or whether its own was left meanwhile.
/// Nothing for any other object. With the book, which knows the prices of all of them.
pub(super) async fn before(
    deps: &Deps,
    customer: Option<&Customer>,
    said: &InvoiceFields,
    book: &PriceBook,
    now_ms: TimeMs,
) -> std::result::Result<(Before, PriceBook), Failure> {
    let Some(customer) = customer else { return Ok((Before::default(), book.clone())) };
    match said.needs_others() || is_followed(deps, customer, said).await? {
        true => before_of(deps, customer, said, book, now_ms).await,
        false => Ok((Before::default(), book.clone())),
    }
}

/// Whether another paid invoice of its subscription was made while an invoice was a draft, and is decided already: it may
/// have left its periods, and took nothing of what was not paid. One that is made or decided later takes what this one
/// brings.
async fn is_followed(deps: &Deps, customer: &Customer, said: &InvoiceFields) -> Result<bool> {
    let (Some(id), Some(subscription)) = (&said.id, &said.subscription_id) else { return Ok(false) };
    let Some(between) = said.created_ms.zip(said.paid_at_ms).filter(|_| said.was_draft()) else { return Ok(false) };
    payment::invoice_is_made_between(deps.db.read(), (&customer.id, subscription), between, id).await
}

/// What is known of the other invoices of an invoice's subscription, with the book that knows their prices.
pub(super) async fn before_of(
    deps: &Deps,
    customer: &Customer,
    said: &InvoiceFields,
    book: &PriceBook,
    now_ms: TimeMs,
) -> std::result::Result<(Before, PriceBook), Failure> {
    let (objects, mut before) = load_before(deps, customer, said).await?;
    learn_left(deps, &customer.id, said, &mut before, now_ms).await?;
    let book = price::learn_all(deps, book, &objects, now_ms).await?;
    Ok((before, book))
}

/// Learns which grants returned credits of the periods that an invoice leaves, or that it billed and others leave, and
/// how many of these expired, whether or not an entry takes them away yet.
async fn learn_left(
    deps: &Deps,
    customer_id: &CustomerId,
    said: &InvoiceFields,
    before: &mut Before,
    now_ms: TimeMs,
) -> Result<()> {
    let (db, left) = (deps.db.read(), before.grants_of_left(said));
    if left.values().all(Vec::is_empty) {
        return Ok(());
    }
    let account = account::account_find(db, customer_id).await?.unwrap_or_default();
    let settled = account.settled(now_ms);
    let all: BTreeSet<i64> = left.values().flatten().copied().collect();
    let all: Vec<i64> = all.into_iter().collect();
    let gone = payment::entry_expired_of(db, customer_id, &all).await?;
    let grants = account::entry_find_many(db, customer_id, &all).await?;
    for (end_ms, seqs) in left {
        for grant in grants.iter().filter(|grant| seqs.contains(&grant.seq)) {
            let month = grant.idempotency_key.as_deref().and_then(month_of).unwrap_or(0);
            let Some(gone) = gone.get(&grant.seq) else { continue };
            let unwritten = account.remaining_of(&gone.grants) - settled.remaining_of(&gone.grants);
            let sum = before.expired.entry((end_ms, month)).or_default();
            *sum += gone.credits + unwritten;
        }
    }
    for brought in before.brought.values_mut() {
        let of = |grant: &i64| gone.get(grant).map_or_else(|| vec![*grant], |gone| gone.grants.clone());
        brought.grants = brought.grants.iter().flat_map(of).collect();
    }
    Ok(())
}

/// What is known of the other invoices of an invoice's subscription, with all of them.
async fn load_before(
    deps: &Deps,
    customer: &Customer,
    said: &InvoiceFields,
) -> std::result::Result<(Vec<Value>, Before), Failure> {
    let Some(id) = &said.subscription_id else { return Ok(Default::default()) };
    let Listed { objects, is_cut } = match invoices_of_subscription(deps, id).await {
        // Whoever runs without Stripe's key takes what is credited for granted.
        Err(Failure::Stripe(StripeError::NotConfigured)) => Listed::default(),
        found => found?,
    };
    let invoices: Vec<InvoiceFields> = objects.iter().map(InvoiceFields::read).collect();
    let ids = invoices.iter().filter_map(|invoice| invoice.id.clone()).chain(said.id.clone());
    let brought = brought_before(deps, &customer.id, ids.collect()).await?;
    Ok((objects, Before { invoices, brought, is_cut, ..Before::default() }))
}

/// What the ledger says of invoices, by their ids.
pub(super) async fn brought_before(
    deps: &Deps,
    customer_id: &CustomerId,
    ids: BTreeSet<String>,
) -> Result<BTreeMap<String, BroughtBefore>> {
    let keys: Vec<(String, String)> = ids.into_iter().map(|id| (grant_key(&id), id)).collect();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let pairs: Vec<_> = keys.iter().map(|(key, _)| (customer_id, key.as_str())).collect();
    let entries = account::entry_find_by_keys(deps.db.read(), &pairs).await?;
    let clawed_back = clawed_back(deps, customer_id).await?;
    let of_entry = |entry: Entry| {
        let id = invoice_of(entry.idempotency_key.as_deref()?)?.to_owned();
        let (granted, taken) = match entry.kind {
            EntryKind::Grant => (entry.amount, Credits::ZERO),
            _ => (Credits::ZERO, -entry.amount),
        };
        let record = SaleRecord::read(entry.metadata.as_deref());
        let record = record.unwrap_or_else(|| SaleRecord { taken, ..SaleRecord::default() });
        let is_clawed_back = clawed_back.contains(&id);
        let grants = if entry.kind == EntryKind::Grant { vec![entry.seq] } else { Vec::new() };
        Some((id, BroughtBefore { record, granted, grants, is_clawed_back }))
    };
    let mut brought = entries.into_iter().filter_map(|(_, entry)| of_entry(entry)).collect();
    add_later_grants(deps, customer_id, &mut brought).await?;
    Ok(brought)
}

/// Adds the grants that invoices made apart from their first.
async fn add_later_grants(
    deps: &Deps,
    customer_id: &CustomerId,
    brought: &mut BTreeMap<String, BroughtBefore>,
) -> Result<()> {
    let keys: Vec<String> =
        brought.values().flat_map(|brought| brought.record.later.iter().map(|later| later.key.clone())).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let pairs: Vec<_> = keys.iter().map(|key| (customer_id, key.as_str())).collect();
    for (_, entry) in account::entry_find_by_keys(deps.db.read(), &pairs).await? {
        let invoice = entry.idempotency_key.as_deref().and_then(invoice_of);
        if let Some(brought) = invoice.and_then(|invoice| brought.get_mut(invoice)) {
            brought.grants.push(entry.seq);
        }
    }
    Ok(())
}

/// The invoices of a customer of whose credits some are clawed back.
async fn clawed_back(deps: &Deps, customer_id: &CustomerId) -> Result<BTreeSet<String>> {
    let account = account::account_find(deps.db.read(), customer_id).await?.unwrap_or_default();
    let seqs: Vec<i64> = account.open.clawed.iter().map(|(seq, _)| *seq).collect();
    let grants = account::entry_find_many(deps.db.read(), customer_id, &seqs).await?;
    let invoice = |grant: &Entry| Some(invoice_of(grant.idempotency_key.as_deref()?)?.to_owned());
    Ok(grants.iter().filter_map(invoice).collect())
}

/// The latest invoices of a subscription.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Those that are paid, may be, or were to be, drafts among them, with all their lines.
    pub objects: Vec<Value>,
    /// Whether there are older ones, which were not listed.
    pub is_cut: bool,
}

/// A subscription's latest invoices, at most [`INVOICE_PAGES_MAX`] pages.
pub(super) async fn invoices_of_subscription(deps: &Deps, id: &str) -> std::result::Result<Listed, Failure> {
    let mut listed = invoices_without_lines(deps, id).await?;
    for object in &mut listed.objects {
        *object = with_all_lines(deps, object.take()).await?;
    }
    Ok(listed)
}

/// The same invoices, each with as many of its lines as the list shows.
async fn invoices_without_lines(deps: &Deps, id: &str) -> std::result::Result<Listed, Failure> {
    let (mut listed, mut after) = (Listed::default(), None);
    for _ in 0..INVOICE_PAGES_MAX {
        let page = deps.stripe.invoice_list_of_subscription(id, after.as_deref()).await?;
        listed.objects.extend_from_slice(fields::rows(&page));
        let last = fields::rows(&page).last().and_then(|invoice| fields::id(&invoice["id"]));
        after = last.filter(|_| page["has_more"] == true);
        if after.is_none() {
            break;
        }
    }
    listed.is_cut = after.is_some();
    Ok(listed)
}

/// The id of the invoice with which a subscription began; `None` if Stripe lists none.
///
/// Source: Stripe, "The Invoice object", `billing_reason`.
pub(in crate::usecase) async fn first_invoice_id(
    deps: &Deps,
    subscription_id: &str,
) -> std::result::Result<Option<String>, Failure> {
    let listed = invoices_without_lines(deps, subscription_id).await?;
    let first = listed.objects.iter().rev().find(|object| object["billing_reason"] == "subscription_create");
    Ok(first.and_then(|first| fields::id(&first["id"])))
}

/// An invoice with all its lines, of which a list shows only the first.
pub(super) async fn with_all_lines(deps: &Deps, object: Value) -> std::result::Result<Value, Failure> {
    let cut = fields::id(&object["id"]).filter(|_| object["lines"]["has_more"] == true);
    let whole = match cut {
        Some(id) => whole_invoice(deps, &id).await?,
        None => None,
    };
    Ok(whole.unwrap_or(object))
}

/// Notes with the jobs of later months what will be left of them, of the periods that a paid invoice leaves: so support
/// sees what is to come. Each job decides again when it is due.
async fn parts_of_left(deps: &Deps, said: &InvoiceFields, before: &Before, book: &PriceBook) -> Result<Vec<Effect>> {
    let keys: Vec<String> = before.later_left_by(said).iter().map(|key| part_job_key(key)).collect();
    if keys.is_empty() || said.is_paid != Some(true) {
        return Ok(Vec::new());
    }
    let is_paid = |invoice: &&InvoiceFields| invoice.is_paid == Some(true) && invoice.id != said.id;
    let paid: Vec<InvoiceFields> = before.invoices.iter().filter(is_paid).chain([said]).cloned().collect();
    let paid = Before { invoices: paid, ..before.clone() };
    let mut noted = Vec::new();
    for (job_id, args) in payment::part_job_waiting(deps.db.read(), &keys).await? {
        let Ok(part) = serde_json::from_str::<PartArgs>(&args) else { continue };
        let base = paid.invoices.iter().find(|invoice| invoice.id.as_deref() == Some(part.invoice.as_str()));
        let Some((month, base)) = part.month().zip(base) else { continue };
        let Ok(left) = part_left(part.credits, month, base, &paid, book) else { continue };
        if left != part.expected() {
            let args = serde_json::to_string(&PartArgs { left: Some(left), ..part });
            let args = args.map_err(|error| Error::Corrupt(format!("arguments of a job: {error}")))?;
            noted.push(Effect::JobArgs { job_id, args });
        }
    }
    Ok(noted)
}

/// The verdict with what it says of an invoice of ours, for support.
fn with_record(
    mut verdict: Verdict,
    kind: EventKind,
    said: &InvoiceFields,
    customer: Option<&Customer>,
    book: &PriceBook,
    now_ms: TimeMs,
) -> Verdict {
    if let Some(customer) = customer.filter(|_| matches!(verdict.outcome, Outcome::Done)) {
        let brought = credits_brought(&verdict);
        let invoice = Invoice::read(kind, said, customer, book, brought, now_ms);
        verdict.effects.extend(invoice.map(|invoice| Effect::InvoicePut(Box::new(invoice))));
    }
    verdict
}

/// What is stored of an invoice of ours whose payment failed, as Stripe has it now. Nothing if it is paid by now.
/// `problem` is why the operation failed that asked for its payment, if that is known.
pub(super) async fn failed_invoice(
    deps: &Deps,
    customer: &Customer,
    invoice: &Value,
    problem: Option<&Problem>,
    now_ms: TimeMs,
) -> std::result::Result<Option<Effect>, Failure> {
    let said = InvoiceFields::read(invoice);
    if said.is_paid == Some(true) {
        return Ok(None);
    }
    let book = price::learn(deps, &PriceBook::new(deps.catalogue.now(), []), invoice, now_ms).await?;
    let nothing = (Credits::ZERO, false);
    let failed = Invoice::read(EventKind::InvoicePaymentFailed, &said, customer, &book, nothing, now_ms);
    Ok(failed.map(|failed| Effect::InvoicePut(Box::new(failed.with_codes_of(problem)))))
}

/// The credits that a verdict on an invoice brings, now by its command and later by its jobs, and whether some come
/// now.
fn credits_brought(verdict: &Verdict) -> (Credits, bool) {
    let command = verdict.ledger.as_ref().map(|(_, command)| command);
    let now = command.map_or(Credits::ZERO, net_credits).max(Credits::ZERO);
    let brings_now = command.is_some_and(|command| matches!(command.op, Op::Grant { .. } | Op::Exchange { .. }));
    let later = verdict.effects.iter().filter_map(part_job);
    let later = later.filter_map(|job| serde_json::from_str(&job.args).ok()).map(|part: PartArgs| part.credits);
    (now + later.sum::<Credits>(), brings_now)
}

/// The job that an effect makes, if that grants a later part of an invoice's credits.
pub(super) fn part_job(effect: &Effect) -> Option<&NewJob> {
    match effect {
        Effect::JobInsert(job) => Some(job).filter(|job| job.kind == JobKind::CreditsGrant),
        _ => None,
    }
}

/// The invoice that a verdict stores.
fn stored_by(verdict: &Verdict) -> Option<&Invoice> {
    verdict.effects.iter().find_map(|effect| match effect {
        Effect::InvoicePut(invoice) => Some(invoice.as_ref()),
        _ => None,
    })
}

/// The verdict without what the money of the invoice that it stores has brought another customer: support has unlinked
/// that one from the Stripe customer. Money brings credits once; support moves those that the other has. If it has
/// brought that one nothing, its credits are for whoever has the Stripe customer now. `known` says for whom it was stored
/// as paid, if that was looked up.
async fn without_what_another_has(deps: &Deps, mut verdict: Verdict, known: Option<&PaidInvoice>) -> Result<Verdict> {
    let Some(invoice) = stored_by(&verdict) else { return Ok(verdict) };
    let payer = match known {
        Some(known) => known.payer.clone(),
        None => {
            let payers = payment::invoice_payer_find_many(deps.db.read(), std::slice::from_ref(&invoice.id)).await?;
            payers.get(&invoice.id).cloned()
        }
    };
    let Some(payer) = payer.filter(|payer| *payer != invoice.customer_id) else { return Ok(verdict) };
    if has_brought(deps, &payer, &invoice.id).await? {
        verdict.ledger = None;
        verdict.effects.retain(|effect| !is_part(effect) && !matches!(effect, Effect::InvoicePut(_)));
    }
    Ok(verdict)
}

/// Whether an invoice has brought or taken credits of a customer's, or will bring it some.
async fn has_brought(deps: &Deps, customer: &CustomerId, invoice_id: &str) -> Result<bool> {
    let keys: Vec<String> = grant_keys(invoice_id).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (customer, key.as_str())).collect();
    if !account::entry_find_by_keys(deps.db.read(), &pairs).await?.is_empty() {
        return Ok(true);
    }
    let jobs: Vec<String> = keys.iter().map(|key| part_job_key(key)).collect();
    let is_its =
        |args: &String| serde_json::from_str(args).is_ok_and(|part: PartArgs| part.customer == customer.as_str());
    Ok(payment::part_job_list(deps.db.read(), &jobs).await?.iter().any(is_its))
}

/// Whether an effect grants a part of an invoice's credits later.
fn is_part(effect: &Effect) -> bool {
    part_job(effect).is_some()
}

/// The verdict without the later parts of an invoice's credits, if its first part is in the ledger already: a catalogue
/// that changed since must not grant the invoice once more in another way.
async fn without_parts_of_granted(deps: &Deps, mut verdict: Verdict) -> Result<Verdict> {
    if verdict.effects.iter().any(is_part) && has_first_grant(deps, &verdict).await? {
        verdict.effects.retain(|effect| !is_part(effect));
    }
    Ok(verdict)
}

/// Whether the ledger has what a verdict does to it.
async fn has_first_grant(deps: &Deps, verdict: &Verdict) -> Result<bool> {
    let command = verdict.ledger.as_ref();
    let Some((customer, key)) = command.and_then(|(customer, it)| Some((customer, it.idempotency_key.as_ref()?)))
    else {
        return Ok(false);
    };
    Ok(account::entry_find_by_key(deps.db.read(), customer, key).await?.is_some())
}
