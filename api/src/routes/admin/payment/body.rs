//! Bodies of the routes of payments.

use crate::routes::page::page;
use crate::sample;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::operation::{Operation, Request};
use bursar_engine::domain::payment::{Invoice, InvoiceCredits, Payment, PaymentState, asked_by};
use bursar_engine::usecase::payment::PaymentStep;
use poem_openapi::Object;
use poem_openapi::types::Example;

/// A payment.
#[derive(Debug, Object)]
#[oai(example)]
pub(in crate::routes::admin) struct PaymentBody {
    /// Its identifier: that of the operation that charged, or of the invoice at Stripe.
    id: String,
    /// Its customer.
    customer_id: String,
    /// `charge`, or `invoice`.
    kind: String,
    /// `processing`, `requires_action`, `failed`, `not_charged` (nothing was to be paid: credits paid for the request,
    /// or the invoice credits more than it charges), `paid`, `partly_refunded`, `refunded`, or `disputed` if a dispute
    /// holds or has taken some of it.
    state: String,
    /// What is or was to be paid, in minor units, of an invoice with what the customer's balance at Stripe paid of it, which
    /// no refund gives back; null before that is decided, and for invoices that were stored before
    /// amounts were. An invoice of 0 took no money: it credits time of a period that was left, or a coupon left nothing
    /// of it.
    amount_minor: Option<i64>,
    /// What the invoice credits to the customer's balance at Stripe, in minor units, because the time that it credits
    /// is worth more than what it charges.
    balance_credit_minor: Option<i64>,
    /// ISO 4217 code.
    currency: Option<String>,
    /// Credits that it buys.
    credits: i64,
    /// What of it was given back, in minor units, as Stripe last reported.
    refunded_minor: i64,
    /// What of it disputes hold or have taken, in minor units, as Stripe last reported.
    disputed_minor: i64,
    /// Why it failed, or what it waits for: a code such as `card_declined`.
    reason: Option<String>,
    /// The issuer's reason.
    decline_code: Option<String>,
    /// The same in words.
    detail: Option<String>,
    /// The Idempotency-Key under which the customer asked for it.
    idempotency_key: Option<String>,
    /// The operation that charged.
    operation_id: Option<String>,
    /// The PaymentIntent at Stripe, of a charge.
    payment_intent: Option<String>,
    /// The invoice at Stripe, if it pays one.
    invoice: Option<String>,
    /// The subscription at Stripe that the invoice bills.
    subscription: Option<String>,
    /// When it was asked for, or the invoice was made.
    created_at: String,
    /// When it last changed.
    updated_at: String,
}

impl From<Payment> for PaymentBody {
    fn from(payment: Payment) -> Self {
        let problem = payment.problem.unwrap_or_default();
        let is_there = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: payment.id,
            customer_id: payment.customer_id.to_string(),
            kind: payment.kind.as_str().to_owned(),
            state: payment.state.as_str().to_owned(),
            amount_minor: payment.amount.map(|amount| amount.0),
            balance_credit_minor: payment.balance_credit.map(|amount| amount.0),
            currency: payment.currency,
            credits: payment.credits.0,
            refunded_minor: payment.refunded.0,
            disputed_minor: payment.disputed.0,
            reason: is_there(problem.code),
            decline_code: problem.decline_code,
            detail: is_there(problem.message),
            idempotency_key: payment.idempotency_key,
            operation_id: payment.operation_id.map(|id| id.to_string()),
            payment_intent: payment.payment_intent_id,
            invoice: payment.invoice_id,
            subscription: payment.subscription_id,
            created_at: rfc3339(payment.created_at_ms),
            updated_at: rfc3339(payment.updated_at_ms),
        }
    }
}

impl Example for PaymentBody {
    fn example() -> Self {
        Self {
            id: sample::OPERATION.to_owned(),
            customer_id: sample::CUSTOMER.to_owned(),
            kind: "charge".to_owned(),
            state: "paid".to_owned(),
            amount_minor: Some(2_900),
            balance_credit_minor: None,
            currency: sample::text("usd"),
            credits: 1,
            refunded_minor: 0,
            disputed_minor: 0,
            reason: None,
            decline_code: None,
            detail: None,
            idempotency_key: sample::text("deploy-4711"),
            operation_id: sample::text(sample::OPERATION),
            payment_intent: sample::text(sample::PAYMENT_INTENT),
            invoice: None,
            subscription: None,
            created_at: sample::AT.to_owned(),
            updated_at: sample::AT.to_owned(),
        }
    }
}

page! {
    /// A page of payments, latest first.
    pub(super) PaymentPage of PaymentBody
}

/// Something that happened to a payment.
#[derive(Debug, Object)]
struct PaymentStepBody {
    /// When.
    at: String,
    /// What, in plain words.
    what: String,
}

/// A payment with its history.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct PaymentDetail {
    /// The payment.
    payment: PaymentBody,
    /// What happened to it, in order.
    history: Vec<PaymentStepBody>,
}

impl PaymentDetail {
    pub(super) fn new(payment: Payment, steps: Vec<PaymentStep>) -> Self {
        let step = |step: PaymentStep| PaymentStepBody { at: rfc3339(step.at_ms), what: step.what };
        Self { payment: payment.into(), history: steps.into_iter().map(step).collect() }
    }
}

impl Example for PaymentDetail {
    fn example() -> Self {
        let step = |what: &str| PaymentStepBody { at: sample::AT.to_owned(), what: what.to_owned() };
        let history = vec![
            step(
                "the customer asked for work of 1 credits, which takes 1 more credits, for $29.00, \
                 Idempotency-Key deploy-4711",
            ),
            step("Stripe took the money (pi_3MtwBwLkdIwHu7ix28a3tqPa)"),
            step("1 credits were granted; the balance was 1 afterwards"),
            step("1 credits were spent; the balance was 0 afterwards"),
        ];
        Self { payment: PaymentBody::example(), history }
    }
}

/// An invoice for what is sold here.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct AdminInvoice {
    /// Its id at Stripe.
    id: String,
    /// Its customer.
    customer_id: String,
    /// The subscription that it bills.
    subscription: Option<String>,
    /// `paid`, `partly_refunded`, `refunded`, `disputed`, or `failed` if its last payment failed. As at Stripe, one of
    /// which nothing was to be paid is `paid`.
    state: String,
    /// Its total in minor units, 0 or less if it credits as much time that was left as it costs, or more, and 0 if a
    /// coupon leaves nothing of it; null if it was stored before amounts were.
    amount_minor: Option<i64>,
    /// What it credits to the customer's balance at Stripe, in minor units, because the time that it credits is worth
    /// more than what it charges.
    balance_credit_minor: Option<i64>,
    /// ISO 4217 code.
    currency: Option<String>,
    /// Credits that it brings in all, if it is paid.
    credits: i64,
    /// Credits that it has brought so far; negative if it took back more.
    credits_granted: i64,
    /// Credits that it will still bring: later parts, or all of them once it is paid.
    credits_to_come: i64,
    /// What of it was given back, in minor units.
    refunded_minor: i64,
    /// What of it disputes hold or have taken, in minor units.
    disputed_minor: i64,
    /// Why its last payment failed: a code such as `card_declined`.
    reason: Option<String>,
    /// The issuer's reason.
    decline_code: Option<String>,
    /// The same in words, and what Stripe does next.
    detail: Option<String>,
    /// When it was made.
    created_at: String,
    /// When it last changed here.
    updated_at: String,
}

impl AdminInvoice {
    pub(super) fn new(invoice: Invoice, credits: InvoiceCredits) -> Self {
        let (brings, total) = (invoice.credits.0, invoice.amount);
        let payment = Payment::of_invoice(invoice);
        let state = if payment.state == PaymentState::NotCharged { PaymentState::Paid } else { payment.state };
        let problem = payment.problem.unwrap_or_default();
        let is_there = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            id: payment.id,
            customer_id: payment.customer_id.to_string(),
            subscription: payment.subscription_id,
            state: state.as_str().to_owned(),
            amount_minor: total.map(|total| total.0),
            balance_credit_minor: payment.balance_credit.map(|amount| amount.0),
            currency: payment.currency,
            credits: brings,
            credits_granted: credits.granted.0,
            credits_to_come: credits.to_come.0,
            refunded_minor: payment.refunded.0,
            disputed_minor: payment.disputed.0,
            reason: is_there(problem.code),
            decline_code: problem.decline_code,
            detail: is_there(problem.message),
            created_at: rfc3339(payment.created_at_ms),
            updated_at: rfc3339(payment.updated_at_ms),
        }
    }
}

impl Example for AdminInvoice {
    fn example() -> Self {
        Self {
            id: sample::INVOICE.to_owned(),
            customer_id: sample::CUSTOMER.to_owned(),
            subscription: sample::text(sample::SUBSCRIPTION),
            state: "paid".to_owned(),
            amount_minor: Some(59_900),
            balance_credit_minor: None,
            currency: sample::text("usd"),
            credits: 60,
            credits_granted: 60,
            credits_to_come: 0,
            refunded_minor: 0,
            disputed_minor: 0,
            reason: None,
            decline_code: None,
            detail: None,
            created_at: sample::AT.to_owned(),
            updated_at: sample::AT.to_owned(),
        }
    }
}

page! {
    /// A page of invoices, latest first.
    pub(super) AdminInvoicePage of AdminInvoice
}

/// An operation of a customer.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct OperationRow {
    /// Its identifier.
    id: String,
    /// Its customer.
    customer_id: String,
    /// `usage_charge`, `pack_purchase`, `payment_method_attach`, `subscription_create`, `payment_refund` …
    kind: String,
    /// `processing`, `requires_action`, `succeeded` or `failed`.
    state: String,
    /// Number of the attempt, from 1: each has keys of its own at Stripe.
    round: i64,
    /// Money that it takes or gives back, in minor units.
    amount_minor: Option<i64>,
    /// ISO 4217 code.
    currency: Option<String>,
    /// What Stripe made of it: a PaymentIntent, a subscription, a payment method, a refund.
    stripe_id: Option<String>,
    /// Why it failed, or what it waits for.
    reason: Option<String>,
    /// The same in words.
    detail: Option<String>,
    /// Who asked for it: `customer`, `staff`, or `bursar` by itself.
    asked_by: String,
    /// The Idempotency-Key of that request, as it was sent.
    idempotency_key: Option<String>,
    /// When it was asked for.
    created_at: String,
    /// When it last changed.
    updated_at: String,
}

impl From<&Operation> for OperationRow {
    fn from(operation: &Operation) -> Self {
        let money = match &operation.request {
            Request::PaymentRefund { amount_minor, currency, .. } => Some((amount_minor.0, currency.clone())),
            other => other.charge().map(|charge| (charge.amount_minor.0, charge.currency.clone())),
        };
        let problem = operation.problem.as_ref();
        let (asked_by, own_key) = asked_by(&operation.idempotency_key);
        Self {
            id: operation.id.to_string(),
            customer_id: operation.customer_id.to_string(),
            kind: operation.request.kind().to_owned(),
            state: operation.state.as_str().to_owned(),
            round: operation.round,
            amount_minor: money.as_ref().map(|(amount, _)| *amount),
            currency: money.map(|(_, currency)| currency),
            stripe_id: operation.stripe_id.clone(),
            reason: problem.map(|problem| problem.code.clone()),
            detail: problem.map(|problem| problem.message.clone()),
            asked_by: asked_by.to_owned(),
            idempotency_key: own_key.map(str::to_owned),
            created_at: rfc3339(operation.created_at_ms),
            updated_at: rfc3339(operation.updated_at_ms),
        }
    }
}

impl Example for OperationRow {
    fn example() -> Self {
        Self {
            id: sample::OPERATION.to_owned(),
            customer_id: sample::CUSTOMER.to_owned(),
            kind: "usage_charge".to_owned(),
            state: "failed".to_owned(),
            round: 1,
            amount_minor: Some(2_900),
            currency: sample::text("usd"),
            stripe_id: None,
            reason: sample::text("card_declined"),
            detail: sample::text("Your card was declined."),
            asked_by: "customer".to_owned(),
            idempotency_key: sample::text("deploy-4711"),
            created_at: sample::AT.to_owned(),
            updated_at: sample::AT.to_owned(),
        }
    }
}

page! {
    /// A page of operations, latest first.
    pub(super) AdminOperationPage of OperationRow
}
