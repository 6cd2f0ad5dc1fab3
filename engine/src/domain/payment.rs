//! Payments as support sees them: charges of operations, and payments of invoices.

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
    /// It was not needed: credits paid for the request.
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

    /// The payment of an invoice.
    pub fn of_invoice(invoice: Invoice) -> Self {
        let state = match invoice.is_paid {
            true => PaymentState::of_paid(
                invoice.amount,
                PaymentGone { refunded: invoice.refunded, disputed: invoice.disputed },
            ),
            false => PaymentState::Failed,
        };
        let problem = invoice.failure.map(|message| Problem {
            code: "invoice_payment_failed".to_owned(),
            message,
            ..Problem::default()
        });
        Self {
            customer_id: invoice.customer_id,
            kind: PaymentKind::Invoice,
            state,
            amount: invoice.amount,
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
mod tests {
    use super::*;
    use crate::domain::operation::{Charge, Request, UsageCharge};
    use crate::domain::webhook::fixtures::{PRICE, by_id, customer};
    use serde_json::{Value, json};

    fn charge() -> Operation {
        let charge = Charge {
            credits: Credits(1),
            amount_minor: MoneyMinor(2_900),
            currency: "usd".to_owned(),
            payment_method_id: "pm_1".to_owned(),
            card: String::new(),
            description: "1 fix".to_owned(),
            reserved: None,
            lifetime_days: None,
        };
        let undecided = undecided();
        Operation { request: undecided.request.with_charge(charge), ..undecided }
    }

    fn undecided() -> Operation {
        let usage = UsageCharge { units: Credits(2), reference: None, metadata: None, charge: None };
        let request = Request::UsageCharge(usage);
        Operation::new(&CustomerId::new(), request, "api:deploy-1".to_owned(), "h".to_owned(), 1_000)
    }

    fn state(operation: &Operation, refunded: i64) -> PaymentState {
        let gone = PaymentGone { refunded: MoneyMinor(refunded), ..PaymentGone::default() };
        Payment::of_operation(operation, gone).expect("a payment").state
    }

    #[test]
    fn a_key_is_shown_as_its_owner_gave_it() {
        assert_eq!(asked_by("api:m1"), ("customer", Some("m1")));
        assert_eq!(asked_by("admin:api:m1"), ("staff", Some("m1")));
        assert_eq!(asked_by("top_up:cst_1"), ("bursar", None));
    }

    #[test]
    fn a_charge_is_paid_until_its_money_goes_back_and_needs_money_to_be_paid() {
        let paid = charge().succeeded(Some("pi_1".to_owned()), 2_000);
        assert_eq!((state(&paid, 0), state(&paid, 900)), (PaymentState::Paid, PaymentState::PartlyRefunded));
        assert_eq!(state(&paid, 2_900), PaymentState::Refunded);
        assert_eq!(state(&charge().succeeded(None, 2_000), 0), PaymentState::NotCharged);
        let gone = PaymentGone { refunded: MoneyMinor(900), disputed: MoneyMinor(2_000) };
        let disputed = Payment::of_operation(&paid, gone).expect("a payment");
        assert_eq!((disputed.state, disputed.is_paid()), (PaymentState::Disputed, true));
        assert_eq!(state(&charge(), 0), PaymentState::Processing);
        let waiting = Payment::of_operation(&undecided(), PaymentGone::default()).expect("a payment");
        assert_eq!((waiting.state, waiting.amount), (PaymentState::Processing, None));
        let declined =
            charge().failed(Problem { payment_intent_id: Some("pi_9".to_owned()), ..Problem::default() }, 2_000);
        let shown = Payment::of_operation(&declined, PaymentGone::default()).expect("a payment");
        assert_eq!((shown.state, shown.payment_intent_id.as_deref()), (PaymentState::Failed, Some("pi_9")));
        assert_eq!((shown.idempotency_key.as_deref(), shown.credits), (Some("deploy-1"), Credits(1)));
    }

    #[test]
    fn what_is_refunded_and_was_credited_is_given_beyond_what_was_paid_only_as_far_as_it_is_more() {
        let beyond = |refunded: i64, credited: i64| {
            let gone = PaymentGone { refunded: MoneyMinor(refunded), ..PaymentGone::default() };
            let paid = Payment::of_operation(&charge().succeeded(Some("pi_1".to_owned()), 2_000), gone);
            paid.expect("a payment").given_beyond(MoneyMinor(credited)).map(|amount| amount.0)
        };
        assert_eq!([beyond(2_900, 2_000), beyond(1_000, 2_000)], [Some(2_000), Some(100)]);
        assert_eq!([beyond(900, 2_000), beyond(2_900, 0), beyond(0, 3_000)], [None; 3]);
    }

    #[test]
    fn an_operation_that_charges_nothing_is_no_payment() {
        let request = Request::SubscriptionResume { subscription_id: "sub_1".to_owned(), payer: None };
        let operation = Operation::new(&CustomerId::new(), request, "k".to_owned(), "h".to_owned(), 1);
        assert_eq!(Payment::of_operation(&operation, PaymentGone::default()), None);
    }

    fn invoice(status: &str, price: &str) -> Value {
        json!({
            "id": "in_1", "object": "invoice", "customer": "cus_1", "subscription": "sub_1", "status": status,
            "total": 59_900, "amount_paid": 59_900, "currency": "usd", "created": 7,
            "lines": { "data": [{ "amount": 59_900, "price": { "id": price }, "period": { "start": 10, "end": 20 } }] },
        })
    }

    #[test]
    fn an_invoice_is_stored_if_it_bills_a_price_of_ours_and_its_payment_is_news() {
        let ada = customer("pro");
        let brought = (Credits(60), true);
        let read = |kind, object: &Value, customer| {
            Invoice::read(kind, &InvoiceFields::read(object), customer, &by_id(), brought, 30_000)
        };
        let paid = read(EventKind::InvoicePaid, &invoice("paid", PRICE), &ada).expect("an invoice");
        assert_eq!((paid.is_paid, paid.amount, paid.credits), (true, Some(MoneyMinor(59_900)), Credits(60)));
        assert!(paid.brings_now);
        assert_eq!((paid.subscription_id.as_deref(), paid.created_at_ms), (Some("sub_1"), 7_000));
        let terms = paid.terms.as_deref().and_then(|terms| terms.first()).expect("its terms");
        assert_eq!((&terms.ids[..], terms.price.credits), (&[PRICE.to_owned()][..], Credits(60)));
        let failed = read(EventKind::InvoicePaymentFailed, &invoice("open", PRICE), &ada).expect("an invoice");
        assert!(!failed.is_paid && failed.failure.is_some() && failed.terms.is_none());
        let void = read(EventKind::InvoicePaymentFailed, &invoice("void", PRICE), &ada).expect("an invoice");
        assert_eq!((void.is_paid, void.credits), (false, Credits::ZERO), "it is not paid any more");
        let linked = Customer { credits_from_ms: Some(10_001), ..ada.clone() };
        let old = read(EventKind::InvoicePaymentFailed, &invoice("open", PRICE), &linked).expect("an invoice");
        assert_eq!((failed.credits, old.credits), (Credits(60), Credits::ZERO), "what it would bring");
        let mut change = invoice("paid", PRICE);
        change["lines"]["data"][0]["proration"] = json!(true);
        assert!(read(EventKind::InvoicePaid, &change, &ada).is_some(), "the rest of a period of ours");
        for total in [0, -1_400] {
            change["total"] = json!(total);
            let credited = read(EventKind::InvoicePaid, &change, &ada).expect("a change that costs nothing");
            assert_eq!((credited.is_paid, credited.amount), (true, Some(MoneyMinor(total))));
            change["status"] = json!("open");
            assert_eq!(read(EventKind::InvoicePaymentFailed, &change, &ada), None);
            change["status"] = json!("paid");
        }
        let mut free = invoice("paid", PRICE);
        free["total"] = json!(0);
        free["lines"]["data"][0]["discount_amounts"] = json!([{ "amount": 59_900 }]);
        let nothing = (Credits::ZERO, false);
        let free = InvoiceFields::read(&free);
        let free =
            Invoice::read(EventKind::InvoicePaid, &free, &ada, &by_id(), nothing, 30_000).expect("a free period");
        let shown = (free.is_paid, free.amount, free.credits, free.brings_now);
        assert_eq!(shown, (true, Some(MoneyMinor::ZERO), Credits::ZERO, false));
        let other = json!({ "id": "price_other", "lookup_key": "other" });
        let mut of_others = invoice("paid", "");
        of_others["lines"]["data"][0]["price"] = other;
        for (kind, object) in [
            (EventKind::InvoicePaid, of_others),
            (EventKind::InvoicePaid, invoice("open", PRICE)),
            (EventKind::SubscriptionUpdated, invoice("paid", PRICE)),
        ] {
            assert_eq!(read(kind, &object, &ada), None);
        }
    }
}
