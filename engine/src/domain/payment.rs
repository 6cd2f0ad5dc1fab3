//! Payments as support sees them: charges of operations, and payments of invoices.

mod unstored;

pub use unstored::describe_unstored;

use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::clawback::to_come;
use crate::domain::customer::Customer;
use crate::domain::operation::{Operation, Problem, State};
use crate::domain::refund::Gone;
use crate::domain::sale::book::Sold;
use crate::domain::sale::grant::grants;
use crate::domain::sale::line::{Sales, sales};
use crate::domain::sale::since::since;
use crate::domain::sale::{PriceBook, SoldTerms};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use crate::ids::{CustomerId, OperationId};

/// What is stored of an invoice for what we sell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Its id at Stripe.
    pub id: String,
    /// Its customer.
    pub customer_id: CustomerId,
    /// Its subscription.
    pub subscription_id: Option<String>,
    /// Whether it is paid; else a payment of it failed.
    pub is_paid: bool,
    /// Its total; `None` if it was stored before amounts were.
    pub amount: Option<MoneyMinor>,
    /// ISO currency, in lower case.
    pub currency: Option<String>,
    /// Credits that it brings in all.
    pub credits: Credits,
    /// Whether some of them came with its payment, and not all in later parts.
    pub brings_now: bool,
    /// The terms of the prices that it sold, once it is paid; none if they were not kept then.
    pub terms: Option<Vec<SoldTerms>>,
    /// Why its last payment failed, in words.
    pub failure: Option<String>,
    /// The same as Stripe's code, such as `card_declined`, if that was told.
    pub failure_code: Option<String>,
    /// The issuer's reason, if that was told.
    pub decline_code: Option<String>,
    /// What of it was given back.
    pub refunded: MoneyMinor,
    /// What of it disputes hold or have taken.
    pub disputed: MoneyMinor,
    /// The part of what is refunded or disputed whose credits stay.
    pub kept: MoneyMinor,
    /// When it was made at Stripe, else when it was first seen.
    pub created_at_ms: TimeMs,
    /// When it last changed here.
    pub updated_at_ms: TimeMs,
}

impl Invoice {
    /// What an event says of an invoice: that it was paid, or that a payment failed. `None` if it is about something
    /// else, or bills nothing of ours. `brought` are the credits of a paid one, and whether some came at once.
    pub fn read(
        kind: EventKind,
        said: &InvoiceFields,
        customer: &Customer,
        book: &PriceBook,
        (brought, brings_now): (Credits, bool),
        now_ms: TimeMs,
    ) -> Option<Self> {
        let is_paid = match kind {
            EventKind::InvoicePaid | EventKind::InvoicePaymentSucceeded => said.is_paid == Some(true),
            EventKind::InvoicePaymentFailed | EventKind::InvoicePaymentActionRequired => false,
            _ => return None,
        };
        let is_news =
            is_paid || matches!(kind, EventKind::InvoicePaymentFailed | EventKind::InvoicePaymentActionRequired);
        let Sales::Known(sold) = sales(said, book) else { return None };
        // A coupon may leave nothing of a period, which then brings nothing.
        let bills_ours = |line: &Line| {
            (line.bills_priced_period() || line.prorates()) && matches!(book.line_of(said, line), Sold::Ours(_))
        };
        let is_ours = !sold.is_empty() || said.lines.iter().any(bills_ours);
        // What is paid with credit for time that was left may cost nothing, or less.
        let is_free = said.total.is_none_or(|total| !is_paid && total <= MoneyMinor::ZERO);
        if !is_news || !is_ours || is_free {
            return None;
        }
        let id = said.id.clone()?;
        let failure = said.failure.as_ref().filter(|_| !is_paid);
        let expected = || grants(&id, &since(&sold, customer.credits_from_ms), now_ms).iter().map(|g| g.credits).sum();
        Some(Self {
            customer_id: customer.id.clone(),
            subscription_id: said.subscription_id.clone(),
            is_paid,
            amount: said.total,
            currency: said.currency.clone(),
            credits: match is_paid {
                true => brought,
                // It is not paid any more.
                false if said.is_void => Credits::ZERO,
                false => expected(),
            },
            brings_now: is_paid && brings_now,
            failure: (!is_paid).then(|| said.failure_in_words()),
            failure_code: failure.and_then(|failure| failure.code.clone()),
            decline_code: failure.and_then(|failure| failure.decline_code.clone()),
            refunded: MoneyMinor::ZERO,
            disputed: MoneyMinor::ZERO,
            kept: MoneyMinor::ZERO,
            terms: is_paid.then(|| book.terms_of(said)),
            created_at_ms: said.created_ms.unwrap_or(now_ms),
            updated_at_ms: now_ms,
            id,
        })
    }
}

impl Invoice {
    /// The invoice with the codes of its failure as the operation knows them that asked for its payment, unless it has
    /// them itself: Stripe clears the error of a PaymentIntent that is changed, and voiding the invoice cancels it.
    #[must_use]
    pub fn with_codes_of(self, problem: Option<&Problem>) -> Self {
        match problem.filter(|_| !self.is_paid && self.failure_code.is_none()) {
            Some(problem) => {
                let (code, decline_code) = (problem.code.clone(), problem.decline_code.clone());
                Self { failure_code: Some(code), decline_code, ..self }
            }
            None => self,
        }
    }

    /// What it credits to the customer's balance at Stripe, because the time that it credits is worth more than what it
    /// charges. Source: Stripe, "Customer credit balance".
    pub fn balance_credit(&self) -> Option<MoneyMinor> {
        let credit = self.amount.filter(|total| self.is_paid && *total < MoneyMinor::ZERO);
        credit.map(|total| MoneyMinor(total.0.saturating_neg()))
    }

    /// What still comes of parts of its credits, after those that have come (`before`), as far as its money is left.
    pub fn to_come(&self, before: Credits, parts: Credits) -> Credits {
        let gone = Gone { all: self.refunded + self.disputed, keeps: self.kept, ..Gone::default() };
        to_come(before, parts, &gone, self.amount.unwrap_or_default())
    }
}

/// What is gone of a payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaymentGone {
    /// What was given back.
    pub refunded: MoneyMinor,
    /// What disputes hold or have taken.
    pub disputed: MoneyMinor,
}

/// What an invoice has brought, and what it will.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InvoiceCredits {
    /// Credits that it has granted so far; negative if it took back more.
    pub granted: Credits,
    /// Credits that it will still grant: later parts, or all of them once it is paid.
    pub to_come: Credits,
}

/// The kind of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentKind {
    /// A charge that an operation made.
    Charge,
    /// The payment of an invoice.
    Invoice,
}

impl PaymentKind {
    /// The name as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Invoice => "invoice",
        }
    }
}

/// The state of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentState {
    /// It is under way.
    Processing,
    /// The customer has to authenticate it.
    RequiresAction,
    /// It was declined or could not be made.
    Failed,
    /// It was not needed: credits paid for the request, or the invoice credits more than it charges.
    NotCharged,
    /// It was paid.
    Paid,
    /// A part of it was given back.
    PartlyRefunded,
    /// All of it was given back.
    Refunded,
    /// A dispute holds or has taken some or all of it.
    Disputed,
}

impl PaymentState {
    /// The name as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::RequiresAction => "requires_action",
            Self::Failed => "failed",
            Self::NotCharged => "not_charged",
            Self::Paid => "paid",
            Self::PartlyRefunded => "partly_refunded",
            Self::Refunded => "refunded",
            Self::Disputed => "disputed",
        }
    }

    fn of_paid(amount: Option<MoneyMinor>, gone: PaymentGone) -> Self {
        let PaymentGone { refunded, disputed } = gone;
        match amount {
            _ if disputed > MoneyMinor::ZERO => Self::Disputed,
            _ if refunded <= MoneyMinor::ZERO => Self::Paid,
            Some(amount) if refunded >= amount => Self::Refunded,
            _ => Self::PartlyRefunded,
        }
    }
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id: that of the operation that charged, or of the invoice at Stripe.
    pub id: String,
    /// Its customer.
    pub customer_id: CustomerId,
    /// What it is for.
    pub kind: PaymentKind,
    /// Where it stands.
    pub state: PaymentState,
    /// What is or was to be paid; `None` before that is decided.
    pub amount: Option<MoneyMinor>,
    /// What the invoice credits to the customer's balance at Stripe instead.
    pub balance_credit: Option<MoneyMinor>,
    /// ISO currency, in lower case.
    pub currency: Option<String>,
    /// Credits that it buys or bought.
    pub credits: Credits,
    /// What of it was given back, as Stripe last reported.
    pub refunded: MoneyMinor,
    /// What of it disputes hold or have taken, as Stripe last reported.
    pub disputed: MoneyMinor,
    /// Why it failed, or what it waits for.
    pub problem: Option<Problem>,
    /// The key under which the customer asked for it.
    pub idempotency_key: Option<String>,
    /// The operation that charged.
    pub operation_id: Option<OperationId>,
    /// The PaymentIntent, of a charge.
    pub payment_intent_id: Option<String>,
    /// The invoice, if it pays one.
    pub invoice_id: Option<String>,
    /// The subscription that the invoice bills.
    pub subscription_id: Option<String>,
    /// When it was asked for.
    pub created_at_ms: TimeMs,
    /// When it last changed.
    pub updated_at_ms: TimeMs,
}

/// Who asked for an operation, and under which key of its own: `customer`, `staff`, or `bursar` by itself.
pub fn asked_by(idempotency_key: &str) -> (&'static str, Option<&str>) {
    if let Some(own) = idempotency_key.strip_prefix(CALLERS_KEY) {
        ("customer", Some(own))
    } else if let Some(own) = idempotency_key.strip_prefix(STAFFS_KEY) {
        ("staff", Some(own))
    } else {
        ("bursar", None)
    }
}

/// The prefix of the keys that callers of the API chose, as stored.
const CALLERS_KEY: &str = "api:";
/// What the keys of staff begin with.
const STAFFS_KEY: &str = "admin:api:";

impl Payment {
    /// The payment of an operation; `None` if it charges nothing.
    pub fn of_operation(operation: &Operation, gone: PaymentGone) -> Option<Self> {
        if !operation.request.is_purchase() {
            return None;
        }
        let charge = operation.request.charge();
        let amount = charge.map(|charge| charge.amount_minor);
        let state = match operation.state {
            State::Processing => PaymentState::Processing,
            State::RequiresAction => PaymentState::RequiresAction,
            State::Failed => PaymentState::Failed,
            State::Succeeded if operation.stripe_id.is_none() => PaymentState::NotCharged,
            State::Succeeded => PaymentState::of_paid(amount, gone),
        };
        let own_key = operation.idempotency_key.strip_prefix(CALLERS_KEY);
        Some(Self {
            id: operation.id.to_string(),
            customer_id: operation.customer_id.clone(),
            kind: PaymentKind::Charge,
            state,
            amount,
            balance_credit: None,
            currency: charge.map(|charge| charge.currency.clone()),
            credits: charge.map_or(Credits::ZERO, |charge| charge.credits),
            refunded: gone.refunded,
            disputed: gone.disputed,
            problem: operation.problem.clone(),
            idempotency_key: own_key.map(str::to_owned),
            operation_id: Some(operation.id.clone()),
            payment_intent_id: payment_intent_of(operation),
            invoice_id: None,
            subscription_id: None,
            created_at_ms: operation.created_at_ms,
            updated_at_ms: operation.updated_at_ms,
        })
    }

    /// The payment of an invoice. Nobody pays one of which nothing is left but a credit.
    pub fn of_invoice(invoice: Invoice) -> Self {
        let balance_credit = invoice.balance_credit();
        let state = match invoice.is_paid {
            true if balance_credit.is_some() => PaymentState::NotCharged,
            true => PaymentState::of_paid(
                invoice.amount,
                PaymentGone { refunded: invoice.refunded, disputed: invoice.disputed },
            ),
            false => PaymentState::Failed,
        };
        let code = invoice.failure_code.unwrap_or_else(|| "invoice_payment_failed".to_owned());
        let decline_code = invoice.decline_code;
        let problem = invoice.failure.map(|message| Problem { code, message, decline_code, ..Problem::default() });
        Self {
            customer_id: invoice.customer_id,
            kind: PaymentKind::Invoice,
            state,
            amount: if balance_credit.is_some() { Some(MoneyMinor::ZERO) } else { invoice.amount },
            balance_credit,
            currency: invoice.currency,
            credits: invoice.credits,
            refunded: invoice.refunded,
            disputed: invoice.disputed,
            problem,
            idempotency_key: None,
            operation_id: None,
            payment_intent_id: None,
            invoice_id: Some(invoice.id.clone()),
            subscription_id: invoice.subscription_id,
            created_at_ms: invoice.created_at_ms,
            updated_at_ms: invoice.updated_at_ms,
            id: invoice.id,
        }
    }

    /// What refunds and credit notes gave back beyond what changes of the subscription had left of it: these credited
    /// so much of it. `None` if that is nothing. A dispute may still be won, so it does not count.
    pub fn given_beyond(&self, credited: MoneyMinor) -> Option<MoneyMinor> {
        let beyond = self.refunded + credited - self.amount?;
        Some(beyond).filter(|beyond| self.refunded > MoneyMinor::ZERO && *beyond > MoneyMinor::ZERO)
    }

    /// Whether money was taken.
    pub fn is_paid(&self) -> bool {
        matches!(
            self.state,
            PaymentState::Paid | PaymentState::PartlyRefunded | PaymentState::Refunded | PaymentState::Disputed
        )
    }
}

/// The PaymentIntent of an operation: of one that failed, its problem names it.
fn payment_intent_of(operation: &Operation) -> Option<String> {
    let of_problem = || operation.problem.as_ref().and_then(|problem| problem.payment_intent_id.clone());
    operation.stripe_id.clone().or_else(of_problem)
}

#[cfg(test)]
mod tests;
