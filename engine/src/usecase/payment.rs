//! Support finds a payment and reads what became of it.

use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::catalogue::currency::money;
use crate::domain::clawback::bought_credits;
use crate::domain::ledger::{Entry, EntryKind};
use crate::domain::operation::{Operation, Request, State, payment_key};
use crate::domain::payment::{Invoice, InvoiceCredits, Payment, PaymentKind, describe_unstored};
use crate::domain::sale::SaleRecord;
use crate::domain::sale::grant::{PartArgs, grant_key, grant_keys, part_job_key, taken_key};
use crate::domain::webhook::fields::{self, ChargeFields, OPERATION_METADATA_KEY, PaymentIntentFields};
use crate::error::Result;
use crate::ids::OperationId;
use crate::infra::store::{Db, account, customer, operation, payment as rows};
use crate::infra::stripe::{StripeError, found};
use crate::stripe_id::is_stripe_id;
use crate::usecase::handler::{Deps, Failure, charges_of_payment, credited_of_invoice, first_invoice_id};
use crate::usecase::stripe_link::unreachable;
use std::collections::HashMap;

/// What the ids of charges begin with; those of bank debits have one of their own.
const PREFIXES_OF_CHARGES: [&str; 2] = ["ch_", "py_"];

/// Something that happened to a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentStep {
    /// When.
    pub at_ms: TimeMs,
    /// What, in a sentence.
    pub what: String,
}

/// Finds a payment by the id of its operation, its PaymentIntent, its invoice or its charge. The operation that made a
/// subscription stands for its first payment. Stripe is asked only about what is not stored, such as a charge's id.
///
/// # Errors
/// If Stripe must be asked: `stripe_unavailable` if it does not answer, `stripe_not_configured`.
pub async fn find(deps: &Deps, id: &str) -> Result<Option<Payment>> {
    let db = deps.db.read();
    if let Some(charge) = rows::charge_find(db, id).await? {
        return Ok(Some(charge));
    }
    if let Some(invoice) = rows::invoice_find(db, id).await? {
        return Ok(Some(Payment::of_invoice(invoice)));
    }
    if let Some(operation) = operation_of(deps, id).await? {
        let first = first_invoice_of(deps, &operation).await?;
        let Some(invoice) = first else { return Ok(None) };
        return Ok(rows::invoice_find(db, &invoice).await?.map(Payment::of_invoice));
    }
    if !is_stripe_id(id) {
        return Ok(None);
    }
    let Some(paid) = ask_what_it_paid(deps, id).await? else { return Ok(None) };
    if let Some(intent) = &paid.payment_intent_id
        && let Some(charge) = rows::charge_find(db, intent).await?
    {
        return Ok(Some(charge));
    }
    if let Some(operation) = &paid.operation_id
        && let Some(charge) = rows::charge_find(db, operation).await?
    {
        // A second payment that is not recorded yet must not be taken for the first one.
        let is_another = paid.is_paid && charge.is_paid() && charge.payment_intent_id != paid.payment_intent_id;
        return Ok(Some(charge).filter(|_| !is_another));
    }
    if let Some(invoice) = paid.invoice_id {
        return Ok(rows::invoice_find(db, &invoice).await?.map(Payment::of_invoice));
    }
    let Some(intent) = paid.payment_intent_id else { return Ok(None) };
    let Some(paid) = ask(deps.stripe.invoice_payment_list(&intent).await)? else { return Ok(None) };
    let Some(invoice) = fields::rows(&paid).iter().find_map(|row| fields::id(&row["invoice"])) else { return Ok(None) };
    Ok(rows::invoice_find(db, &invoice).await?.map(Payment::of_invoice))
}

/// Why nothing is found by the id of an operation of a subscription, or of a customer's invoice that is not stored, and
/// what helps; `None` for other ids.
///
/// # Errors
/// The database cannot be reached; of an invoice, `stripe_unavailable` if Stripe does not answer.
pub async fn why_not_found(deps: &Deps, id: &str) -> Result<Option<String>> {
    if id.starts_with("in_") && is_stripe_id(id) {
        return describe_invoice(deps, id).await;
    }
    let operation = operation_of(deps, id).await?.filter(|operation| operation.request.is_of_subscription());
    Ok(operation.map(|operation| {
        format!(
            "The operation {id} ({}) is no payment of its own: a subscription is paid by its invoices. Use the id of one \
             (in_…), as bursar payments list --customer {} shows them.",
            operation.request.kind(),
            operation.customer_id
        )
    }))
}

/// Where an invoice stands at Stripe, if its Stripe customer is one of ours: nothing is told of other business.
async fn describe_invoice(deps: &Deps, id: &str) -> Result<Option<String>> {
    let invoice = match deps.stripe.invoice_retrieve(id).await {
        Err(StripeError::NotConfigured) => return Ok(None),
        answer => ask(answer)?,
    };
    let Some(invoice) = invoice else { return Ok(None) };
    let Some(payer) = fields::stripe_customer_id(&invoice) else { return Ok(None) };
    let payers = customer::customer_find_many(deps.db.read(), customer::By::StripeId, &[payer]).await?;
    Ok(payers.first().and_then(|customer| describe_unstored(&invoice, &customer.id)))
}

async fn operation_of(deps: &Deps, id: &str) -> Result<Option<Operation>> {
    match OperationId::parse(id) {
        Ok(id) => operation::operation_find(deps.db.read(), &id).await,
        Err(_) => Ok(None),
    }
}

/// The invoice with which the subscription began that an operation made.
async fn first_invoice_of(deps: &Deps, operation: &Operation) -> Result<Option<String>> {
    let made = operation.stripe_id.as_ref().filter(|_| matches!(operation.request, Request::SubscriptionCreate { .. }));
    let Some(subscription) = made else { return Ok(None) };
    match first_invoice_id(deps, subscription).await {
        Err(Failure::Stripe(StripeError::NotFound { .. } | StripeError::Invalid { .. })) => Ok(None),
        Err(Failure::Stripe(error)) => Err(unreachable(error)),
        Err(Failure::Engine(error)) => Err(error),
        Ok(first) => Ok(first),
    }
}

/// What Stripe says that a charge or a PaymentIntent is for.
struct PaidFor {
    operation_id: Option<String>,
    invoice_id: Option<String>,
    payment_intent_id: Option<String>,
    is_paid: bool,
}

async fn ask_what_it_paid(deps: &Deps, id: &str) -> Result<Option<PaidFor>> {
    if PREFIXES_OF_CHARGES.iter().any(|prefix| id.starts_with(prefix)) {
        let Some(charge) = ask(deps.stripe.charge_retrieve(id).await)? else { return Ok(None) };
        let said = ChargeFields::read(&charge);
        return Ok(Some(PaidFor {
            operation_id: said.metadata.get(OPERATION_METADATA_KEY).cloned(),
            invoice_id: said.invoice_id,
            payment_intent_id: said.payment_intent_id,
            is_paid: said.is_paid,
        }));
    }
    if !id.starts_with("pi_") {
        return Ok(None);
    }
    // A PaymentIntent that failed is not stored with its operation, and names it.
    let Some(intent) = ask(deps.stripe.payment_retrieve(id).await)? else { return Ok(None) };
    let said = PaymentIntentFields::read(&intent);
    Ok(Some(PaidFor {
        operation_id: said.metadata.get(OPERATION_METADATA_KEY).cloned(),
        invoice_id: None,
        payment_intent_id: Some(id.to_owned()),
        is_paid: said.status.as_deref() == Some("succeeded"),
    }))
}

/// Whether only Stripe may know which payment this id at Stripe belongs to.
pub fn is_of_payment_at_stripe(id: &str) -> bool {
    is_stripe_id(id) && (id.starts_with("pi_") || PREFIXES_OF_CHARGES.iter().any(|prefix| id.starts_with(prefix)))
}

fn ask(answer: Result<serde_json::Value, StripeError>) -> Result<Option<serde_json::Value>> {
    match answer {
        Err(StripeError::Invalid { .. }) => Ok(None),
        answer => found(answer).map_err(unreachable),
    }
}

/// What each of these invoices has brought and will, in their order: from the ledger, and from the jobs of the parts
/// that come later.
///
/// # Errors
/// The database cannot be reached.
pub async fn invoice_credits(db: &Db, invoices: &[Invoice]) -> Result<Vec<InvoiceCredits>> {
    let paid: Vec<&Invoice> = invoices.iter().filter(|invoice| invoice.is_paid).collect();
    let mut entries = HashMap::new();
    let first: Vec<_> = paid.iter().map(|invoice| (*invoice, grant_key(&invoice.id))).collect();
    add_entries(db, &first, &mut entries).await?;
    let later: Vec<_> = paid.iter().flat_map(|invoice| later_keys(invoice, &entries)).collect();
    add_entries(db, &later, &mut entries).await?;
    let open: Vec<String> =
        later.iter().filter(|(_, key)| !entries.contains_key(key)).map(|(_, key)| part_job_key(key)).collect();
    let mut brought: HashMap<&str, BroughtParts> = HashMap::new();
    for (invoice, key) in first.iter().chain(&later) {
        let of_invoice = brought.entry(invoice.id.as_str()).or_default();
        if let Some(entry) = entries.get(key) {
            of_invoice.granted += entry.amount - taken_apart(entry);
            of_invoice.bought += if entry.kind == EntryKind::Grant { bought_credits(entry) } else { Credits::ZERO };
        }
    }
    let parts = rows::part_job_list(db.read(), &open).await?;
    for part in parts.iter().filter_map(|args| serde_json::from_str::<PartArgs>(args).ok()) {
        if let Some(of_invoice) = brought.get_mut(part.invoice.as_str()) {
            of_invoice.later += part.expected();
        }
    }
    let credits_of = |invoice: &Invoice| match brought.get(invoice.id.as_str()) {
        Some(parts) => InvoiceCredits { granted: parts.granted, to_come: invoice.to_come(parts.bought, parts.later) },
        None => InvoiceCredits { granted: Credits::ZERO, to_come: invoice.credits },
    };
    Ok(invoices.iter().map(credits_of).collect())
}

/// What is known of the parts of an invoice's credits.
#[derive(Default)]
struct BroughtParts {
    /// What came; negative if more was taken.
    granted: Credits,
    /// What the invoice's money bought of that, with what was withheld because the money is gone.
    bought: Credits,
    /// What still comes while the money is there.
    later: Credits,
}

fn taken_apart(entry: &Entry) -> Credits {
    SaleRecord::read(entry.metadata.as_deref()).map_or(Credits::ZERO, |record| record.taken_apart())
}

async fn add_entries(db: &Db, keys: &[(&Invoice, String)], entries: &mut HashMap<String, Entry>) -> Result<()> {
    let pairs: Vec<_> = keys.iter().map(|(invoice, key)| (&invoice.customer_id, key.as_str())).collect();
    let found = account::entry_find_by_keys(db.read(), &pairs).await?;
    entries.extend(found.into_iter().filter_map(|(_, entry)| Some((entry.idempotency_key.clone()?, entry))));
    Ok(())
}

/// The keys of the parts of an invoice's credits beside the first: as its first entry says, else all that there may be.
fn later_keys<'a>(invoice: &'a Invoice, entries: &HashMap<String, Entry>) -> Vec<(&'a Invoice, String)> {
    let first = entries.get(&grant_key(&invoice.id));
    let keys: Vec<String> = match first.and_then(|entry| SaleRecord::read(entry.metadata.as_deref())) {
        Some(record) => record.later.into_iter().map(|part| part.key).collect(),
        None => grant_keys(&invoice.id).skip(1).collect(),
    };
    keys.into_iter().map(|key| (invoice, key)).collect()
}

/// What happened to a payment, in order: from the operation, the ledger and the refunds.
///
/// # Errors
/// The database cannot be reached.
pub async fn explain(deps: &Deps, payment: &Payment) -> Result<Vec<PaymentStep>> {
    let db = deps.db.read();
    let mut keys = Vec::new();
    let mut steps = Vec::new();
    match (&payment.kind, &payment.operation_id) {
        (PaymentKind::Charge, Some(id)) => {
            keys.extend(payment.payment_intent_id.as_deref().map(payment_key));
            if let Some(operation) = operation::operation_find(db, id).await? {
                keys.push(operation.idempotency_key.clone());
                steps.extend(steps_of_charge(payment, &operation));
            }
        }
        _ => {
            keys.extend(grant_keys(&payment.id).chain([taken_key(&payment.id)]));
            steps.extend(steps_of_invoice(payment));
        }
    }
    let pairs: Vec<_> = keys.iter().map(|key| (&payment.customer_id, key.as_str())).collect();
    let entries = account::entry_find_by_keys(db, &pairs).await?.into_iter().map(|(_, entry)| entry);
    let entries: Vec<Entry> = entries.collect();
    let grants: Vec<i64> = entries.iter().filter(|entry| entry.kind == EntryKind::Grant).map(|e| e.seq).collect();
    let mut taken = rows::entry_list_of_grants(db, &payment.customer_id, &grants).await?;
    taken.retain(|entry| entry.detail.grant.is_some_and(|grant| grants.contains(&grant)));
    steps.extend(entries.iter().chain(&taken).map(step_of_entry));
    steps.extend(steps_of_disputes(deps, payment, &taken).await);
    for refund in operation::operation_refund_list(db, &payment.customer_id).await? {
        steps.extend(step_of_refund(payment, &refund));
    }
    steps.sort_by_key(|step| step.at_ms);
    let last_ms = steps.last().map_or(payment.updated_at_ms, |step| step.at_ms);
    steps.extend(step_of_credited(deps, payment, last_ms).await?);
    Ok(steps)
}

fn step(at_ms: TimeMs, what: impl Into<String>) -> PaymentStep {
    PaymentStep { at_ms, what: what.into() }
}

/// An amount of a payment, in words.
fn in_words(amount: Option<MoneyMinor>, currency: Option<&str>) -> String {
    match amount.zip(currency) {
        Some((amount, currency)) => money(amount, currency),
        None => "an amount that is not known".to_owned(),
    }
}

fn amount_of(payment: &Payment) -> String {
    in_words(payment.amount, payment.currency.as_deref())
}

fn steps_of_charge(payment: &Payment, operation: &Operation) -> Vec<PaymentStep> {
    let under = payment.idempotency_key.as_deref().map(|key| format!(", Idempotency-Key {key}")).unwrap_or_default();
    let what = asked_for(&operation.request);
    let asked = match operation.request.charge() {
        Some(charge) if matches!(operation.request, Request::DuplicatePayment(_)) => {
            format!("{what}, which brings {} credits once more, for {}", charge.credits, amount_of(payment))
        }
        Some(charge) => {
            format!("{what}, which takes {} more credits, for {}{under}", charge.credits, amount_of(payment))
        }
        None => format!("{what}{under}"),
    };
    let mut steps = vec![step(operation.created_at_ms, asked)];
    if operation.round > 1 {
        steps.push(step(operation.round_at_ms, format!("attempt {} began", operation.round)));
    }
    let intent = operation.stripe_id.as_deref().unwrap_or("no payment");
    let end = match operation.state {
        State::Processing => return steps,
        State::Succeeded if operation.stripe_id.is_none() => {
            "credits paid for the work: nothing was charged".to_owned()
        }
        State::Succeeded => format!("Stripe took the money ({intent})"),
        State::RequiresAction => format!("the bank wants the customer to authenticate it ({intent})"),
        State::Failed => {
            let problem = operation.problem.clone().unwrap_or_default();
            let reason = problem.decline_code.map(|code| format!(", {code}")).unwrap_or_default();
            format!("nothing was charged: {} ({}{reason})", problem.message, problem.code)
        }
    };
    steps.push(step(operation.updated_at_ms, end));
    steps
}

/// What a purchase is for, in words.
fn asked_for(request: &Request) -> String {
    match request {
        Request::HoldCharge(hold) => format!("the customer asked to reserve {} credits", hold.units),
        Request::PackPurchase(purchase) => format!("the customer asked for the pack {}", purchase.pack.name),
        Request::DebtPayment(_) => "the customer asked to pay its debt".to_owned(),
        Request::AutoTopUp(_) => "few credits were left, so a top-up began by itself".to_owned(),
        Request::DuplicatePayment(duplicate) => format!("operation {} was paid a second time", duplicate.of),
        _ => {
            let units = request.wanted_units().unwrap_or_default();
            format!("the customer asked for work of {units} credits")
        }
    }
}

fn steps_of_invoice(payment: &Payment) -> Vec<PaymentStep> {
    let of = payment.subscription_id.as_deref().map(|id| format!(" of {id}")).unwrap_or_default();
    let made = match payment.balance_credit {
        Some(credit) => {
            let credit = in_words(Some(credit), payment.currency.as_deref());
            format!("the invoice{of} was made, which credits {credit} to the customer's balance at Stripe")
        }
        None => format!("the invoice{of} was made, for {}", amount_of(payment)),
    };
    let mut steps = vec![step(payment.created_at_ms, made)];
    let end = match &payment.problem {
        Some(problem) => format!("its payment failed: {}", problem.message),
        None if payment.balance_credit.is_some() => "nothing was to be paid".to_owned(),
        None => "it was paid".to_owned(),
    };
    steps.push(step(payment.updated_at_ms, end));
    steps
}

fn step_of_entry(entry: &Entry) -> PaymentStep {
    let (amount, balance) = (entry.amount.0.unsigned_abs(), entry.balance_after);
    let what = match (entry.kind, entry.detail.grant) {
        (EntryKind::ClawBack, _) => format!("{amount} credits were taken back"),
        (EntryKind::Grant, Some(_)) => format!("{amount} credits were returned"),
        (EntryKind::Grant, None) => format!("{amount} credits were granted"),
        (EntryKind::Hold, _) => format!("{} credits were reserved", entry.held_delta),
        (EntryKind::Release, _) => format!("{} reserved credits were released", entry.held_delta.0.unsigned_abs()),
        (EntryKind::Expire, _) => format!("{amount} credits expired"),
        (EntryKind::Adjust, _) => format!("support changed the balance by {}", entry.amount),
        (EntryKind::Terms, _) => "the terms of the account changed".to_owned(),
        (EntryKind::Debit | EntryKind::Capture, _) => format!("{amount} credits were spent"),
    };
    step(entry.created_at_ms, format!("{what}; the balance was {balance} afterwards"))
}

/// The disputes of a payment, with the ids by which they are found at Stripe. Stripe is asked only where money or
/// credits went, or came back.
async fn steps_of_disputes(deps: &Deps, payment: &Payment, taken: &[Entry]) -> Vec<PaymentStep> {
    let is_charge = |id: &&String| PREFIXES_OF_CHARGES.iter().any(|prefix| id.starts_with(prefix));
    let taken_for = taken.iter().filter_map(|entry| entry.reference.as_ref()).find(is_charge);
    let charges = match taken_for {
        Some(charge) => vec![charge.clone()],
        // Its credits were gone before, or were spent and stay.
        None if payment.disputed > MoneyMinor::ZERO => disputed_charges(deps, payment).await,
        None => Vec::new(),
    };
    let (mut steps, mut is_known) = (Vec::new(), !charges.is_empty());
    for charge in &charges {
        match deps.stripe.dispute_list(charge).await {
            Ok(list) => steps.extend(fields::rows(&list).iter().filter_map(step_of_dispute)),
            Err(_) => is_known = false,
        }
    }
    if !is_known && payment.disputed > MoneyMinor::ZERO {
        let disputed = in_words(Some(payment.disputed), payment.currency.as_deref());
        steps.push(step(payment.updated_at_ms, format!("since then, disputes hold or took {disputed}")));
    }
    steps
}

/// The charges of a payment that were disputed; none if Stripe does not tell.
async fn disputed_charges(deps: &Deps, payment: &Payment) -> Vec<String> {
    let charges = charges_of_payment(deps, payment).await.unwrap_or_default();
    charges.into_iter().filter(|charge| charge.charge.is_disputed).map(|charge| charge.id).collect()
}

/// What changes of the subscription have credited of money that was given back, or that a dispute holds or took: nothing
/// takes that back by itself. Only Stripe knows it; the step is left out if it does not answer.
async fn step_of_credited(deps: &Deps, payment: &Payment, at_ms: TimeMs) -> Result<Option<PaymentStep>> {
    let is_gone = payment.refunded > MoneyMinor::ZERO || payment.disputed > MoneyMinor::ZERO;
    let Some(invoice) = payment.invoice_id.as_ref().filter(|_| is_gone) else { return Ok(None) };
    let credited = match credited_of_invoice(deps, invoice).await {
        Ok(credited) => credited.unwrap_or_default(),
        Err(Failure::Stripe(_)) => return Ok(None),
        Err(Failure::Engine(error)) => return Err(error),
    };
    if credited <= MoneyMinor::ZERO {
        return Ok(None);
    }
    let words = |amount| in_words(Some(amount), payment.currency.as_deref());
    let which = if payment.disputed > MoneyMinor::ZERO { "disputed money" } else { "money" };
    let beyond = payment
        .given_beyond(credited)
        .map(|beyond| format!("; with refunds and credit notes, {} more was given than was paid, unless it was taken off the balance since", words(beyond)));
    let what = format!(
        "changes of the subscription credited {} of this {which} to the customer's balance at Stripe, or to what they \
         charged{}",
        words(credited),
        beyond.unwrap_or_default()
    );
    Ok(Some(step(at_ms, what)))
}

fn step_of_dispute(dispute: &serde_json::Value) -> Option<PaymentStep> {
    let id = fields::id(&dispute["id"])?;
    let text = |name: &str| dispute[name].as_str().unwrap_or("unknown").replace('_', " ");
    let amount = dispute["amount"].as_i64().map(MoneyMinor);
    let amount = amount.map(|amount| format!(" of {}", in_words(Some(amount), dispute["currency"].as_str())));
    let what = format!("dispute {id}{} ({}): {}", amount.unwrap_or_default(), text("reason"), text("status"));
    Some(step(fields::created_ms(dispute)?, what))
}

fn step_of_refund(payment: &Payment, refund: &Operation) -> Option<PaymentStep> {
    let Request::PaymentRefund { payment_id, amount_minor, currency, credits, .. } = &refund.request else {
        return None;
    };
    if *payment_id != payment.id {
        return None;
    }
    let state = match refund.state {
        State::Succeeded => "was made".to_owned(),
        State::Failed => format!("failed: {}", refund.problem.clone().unwrap_or_default().message),
        State::Processing | State::RequiresAction => "is under way".to_owned(),
    };
    let amount = money(*amount_minor, currency);
    let what = format!("a refund of {amount} by support {state} ({}, credits: {})", refund.id, credits.as_str());
    Some(step(refund.updated_at_ms, what))
}
