//! Operations: what a customer asked for that only Stripe can do. Charging for a unit, adding a card,
//! subscribing.
//!
//! An operation is recorded before Stripe is called, with a job that carries it out. Every call goes under a
//! key made of the operation and its round, so a crash at any step is followed by the same call and the same
//! answer. What Stripe answered commits together with its effects. A new round, and with it a new key, begins
//! only once the round before is known to have left nothing that could still be paid: after a decline, or
//! after Stripe was asked what it has of the operation. Each round leaves its mark in the metadata of what it
//! makes.

mod payer;
mod problem;
mod purchase;
mod refund;

pub use payer::Payer;
pub use problem::Problem;
pub use purchase::{
    AutoTopUp, Charge, DebtPayment, DuplicatePayment, HoldCharge, PURCHASE_KINDS, PackPurchase, RESERVED_FOR_MS,
    Reservation, TopUpTerms, UsageCharge,
};

use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::refund::CreditsChoice;
use crate::domain::subscription::{Change, ChangeTime};
use crate::ids::{CustomerId, OperationId};
use crate::key::PriceKey;
use serde::{Deserialize, Serialize};

/// For how long Stripe keeps an idempotency key, less a margin. Source: Stripe, "Idempotent
/// requests": keys may be pruned after 24 hours.
pub const KEY_GOOD_FOR_MS: i64 = 23 * 60 * 60 * 1_000;
/// How long a customer has to authenticate a payment. Source: Stripe, "Subscription statuses": an
/// incomplete subscription ends after 23 hours; a payment for a unit gets the same.
pub const ACTION_TTL_MS: i64 = 23 * 60 * 60 * 1_000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Request {
    /// Units of work without credits left: charge, grant, debit.
    UsageCharge(UsageCharge),
    /// A hold without enough credits: charge, grant, hold.
    HoldCharge(HoldCharge),
    /// A pack: charge, grant.
    PackPurchase(PackPurchase),
    /// A debt of credits: charge, grant.
    DebtPayment(DebtPayment),
    /// An automatic top-up: charge, grant.
    AutoTopUp(AutoTopUp),
    /// A second payment of an operation that was paid before: charge, grant.
    DuplicatePayment(DuplicatePayment),
    /// A payment method is added.
    PaymentMethodAttach {
        /// Its id at Stripe.
        payment_method_id: String,
        /// When the customer consented to being charged.
        consent_at_ms: TimeMs,
        /// Whether it is to be the one that is charged.
        make_default: bool,
    },
    /// A payment method is taken away.
    PaymentMethodDetach {
        /// Its id at Stripe.
        payment_method_id: String,
    },
    /// Another payment method is the one that is charged.
    PaymentMethodDefault {
        /// Its id at Stripe.
        payment_method_id: String,
    },
    /// A subscription.
    SubscriptionCreate {
        /// What pays for it.
        payment_method_id: String,
        /// The catalogue's price. Requests of the release before the catalogue name none: the only one that is offered
        /// is meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        price: Option<PriceKey>,
        /// How many of it.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        quantity: i64,
        /// What pays, once that is decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payer: Option<Payer>,
    },
    /// The end of a subscription.
    SubscriptionCancel {
        /// Its id at Stripe.
        subscription_id: String,
        /// Whether it lasts until its period ends.
        at_period_end: bool,
    },
    /// A subscription sells another price, or another number of it.
    SubscriptionChange {
        /// Its id at Stripe.
        subscription_id: String,
        /// To what.
        change: Change,
        /// What pays at once, once that is decided; `None` for ever if the change charges nothing at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payer: Option<Payer>,
    },
    /// The end of a subscription is taken back.
    SubscriptionResume {
        /// Its id at Stripe.
        subscription_id: String,
        /// What pays at once, once that is decided; `None` for ever if nothing is charged, because it was not paused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payer: Option<Payer>,
    },
    /// Support gives money back.
    PaymentRefund {
        /// The payment: an operation, or an invoice at Stripe.
        payment_id: String,
        /// The charge at Stripe that took the money.
        charge_id: String,
        /// How much.
        amount_minor: MoneyMinor,
        /// ISO currency, in lower case.
        currency: String,
        /// What becomes of the credits.
        credits: CreditsChoice,
        /// Whether the amount may have been credited to the customer already.
        #[serde(default, skip_serializing_if = "is_false")]
        beyond_credited: bool,
    },
}

fn one() -> i64 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(quantity: &i64) -> bool {
    *quantity == 1
}

impl Request {
    /// The name as shown and counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UsageCharge(_) => "usage_charge",
            Self::HoldCharge(_) => "hold_charge",
            Self::PackPurchase(_) => "pack_purchase",
            Self::DebtPayment(_) => "debt_payment",
            Self::AutoTopUp(_) => "auto_top_up",
            Self::DuplicatePayment(_) => "duplicate_payment",
            Self::PaymentMethodAttach { .. } => "payment_method_attach",
            Self::PaymentMethodDetach { .. } => "payment_method_detach",
            Self::PaymentMethodDefault { .. } => "payment_method_default",
            Self::SubscriptionCreate { .. } => "subscription_create",
            Self::SubscriptionCancel { .. } => "subscription_cancel",
            Self::SubscriptionChange { .. } => "subscription_change",
            Self::SubscriptionResume { .. } => "subscription_resume",
            Self::PaymentRefund { .. } => "payment_refund",
        }
    }

    /// Whether it makes, changes or ends a subscription, whose payments are its invoices.
    pub fn is_of_subscription(&self) -> bool {
        matches!(
            self,
            Self::SubscriptionCreate { .. }
                | Self::SubscriptionCancel { .. }
                | Self::SubscriptionChange { .. }
                | Self::SubscriptionResume { .. }
        )
    }

    /// Whether it may credit the time that is left of a period that was paid.
    pub fn credits_time(&self) -> bool {
        matches!(self, Self::SubscriptionChange { change, .. } if change.when == ChangeTime::Now)
    }
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is being carried out, now or after Stripe is back.
    Processing,
    /// The customer has to authenticate the payment.
    RequiresAction,
    /// Done.
    Succeeded,
    /// Not done; the same request begins a new round.
    Failed,
}

impl State {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::RequiresAction => "requires_action",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Processing, Self::RequiresAction, Self::Succeeded, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// What a job does for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// It carries the round out.
    CarryOut,
    /// It checks whether something has changed at Stripe.
    Check,
    /// It cancels a payment that waits for its customer, because the customer wants that.
    Cancel,
    /// It cancels such a payment, because the customer asked for another purchase.
    GiveWay,
    /// It cancels such a payment, because the customer asked again and has another payment method, and begins anew.
    Replace,
}

impl Task {
    /// Whether a payment that waits for its customer is cancelled.
    pub fn ends_wait(self) -> bool {
        matches!(self, Self::Cancel | Self::GiveWay | Self::Replace)
    }
}

/// An operation as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its identifier.
    pub id: OperationId,
    /// Whose it is.
    pub customer_id: CustomerId,
    /// What is asked for.
    pub request: Request,
    /// Under which key the customer asked.
    pub idempotency_key: String,
    /// SHA-256 of the customer's request.
    pub request_hash: String,
    /// Where it stands.
    pub state: State,
    /// Number of the round, from 1.
    pub round: i64,
    /// What Stripe made of it: a PaymentIntent, a subscription, a payment method.
    pub stripe_id: Option<String>,
    /// Why it failed, or what it waits for.
    pub problem: Option<Problem>,
    /// When it was asked for.
    pub created_at_ms: TimeMs,
    /// When its round began: the age of its key at Stripe.
    pub round_at_ms: TimeMs,
    /// When it last changed.
    pub updated_at_ms: TimeMs,
}

impl Operation {
    /// A new operation.
    pub fn new(customer_id: &CustomerId, request: Request, key: String, hash: String, now_ms: TimeMs) -> Self {
        Self {
            id: OperationId::new(),
            customer_id: customer_id.clone(),
            request,
            idempotency_key: key,
            request_hash: hash,
            state: State::Processing,
            round: 1,
            stripe_id: None,
            problem: None,
            created_at_ms: now_ms,
            round_at_ms: now_ms,
            updated_at_ms: now_ms,
        }
    }

    /// The key of one of its calls to Stripe.
    pub fn stripe_key(&self, call: &str) -> String {
        format!("bursar:{}:{}:{call}", self.id, self.round)
    }

    /// The unique key of the job that carries its round out.
    pub fn job_key(&self) -> String {
        format!("operation:{}:{}", self.id, self.round)
    }

    /// The unique key of the job that checks whether something of its round has changed at Stripe.
    pub fn check_key(&self) -> String {
        format!("{}:look", self.job_key())
    }

    /// The unique key of the job that cancels its round's payment because the customer wants that.
    pub fn cancel_key(&self) -> String {
        format!("{}:cancel", self.job_key())
    }

    /// The unique key of the job that begins anew with this payment method, if the customer has one.
    pub fn replace_key(&self, payment_method_id: Option<&str>) -> String {
        format!("{}:replace:{}", self.job_key(), payment_method_id.unwrap_or_default())
    }

    /// What a job with this unique key is to do for it; `None` if it is not one of its round's.
    pub fn task_of(&self, unique_key: &str) -> Option<Task> {
        match unique_key.strip_prefix(&self.job_key())? {
            ":look" => Some(Task::Check),
            ":cancel" => Some(Task::Cancel),
            rest if rest.starts_with(":replace:") => Some(Task::Replace),
            rest if rest.is_empty() || rest.starts_with(':') => Some(Task::CarryOut),
            _ => None,
        }
    }

    /// Whether Stripe may have forgotten its key, so that only a search there tells what became of the call.
    pub fn key_is_stale(&self, now_ms: TimeMs) -> bool {
        now_ms >= self.key_ends_at_ms()
    }

    /// Whether it is too late to begin a call under its key: the call's result must have `doubt_ms` to show at Stripe
    /// before the key is stale and a new one takes its place.
    pub fn key_is_closing(&self, doubt_ms: i64, now_ms: TimeMs) -> bool {
        now_ms >= self.key_ends_at_ms() - doubt_ms.min(KEY_GOOD_FOR_MS)
    }

    /// When its key may be forgotten at Stripe.
    pub fn key_ends_at_ms(&self) -> TimeMs {
        self.round_at_ms + KEY_GOOD_FOR_MS
    }

    /// The next round, under a new key.
    pub fn next_round(&self, request: Request, now_ms: TimeMs) -> Self {
        Self {
            request,
            state: State::Processing,
            round: self.round + 1,
            stripe_id: None,
            problem: None,
            round_at_ms: now_ms,
            updated_at_ms: now_ms,
            ..self.clone()
        }
    }

    /// The same operation, ended well.
    pub fn succeeded(&self, stripe_id: Option<String>, now_ms: TimeMs) -> Self {
        Self {
            state: State::Succeeded,
            stripe_id: stripe_id.or_else(|| self.stripe_id.clone()),
            problem: None,
            updated_at_ms: now_ms,
            ..self.clone()
        }
    }

    /// The same operation, ended badly.
    pub fn failed(&self, problem: Problem, now_ms: TimeMs) -> Self {
        Self { state: State::Failed, problem: Some(problem), updated_at_ms: now_ms, ..self.clone() }
    }

    /// The same operation, waiting for the customer.
    pub fn waits_for_customer(&self, problem: Problem, stripe_id: Option<String>, now_ms: TimeMs) -> Self {
        Self {
            state: State::RequiresAction,
            stripe_id: stripe_id.or_else(|| self.stripe_id.clone()),
            problem: Some(problem),
            updated_at_ms: now_ms,
            ..self.clone()
        }
    }
}

/// The ledger key of credits that a payment bought.
pub fn payment_key(payment_intent_id: &str) -> String {
    format!("stripe:payment:{payment_intent_id}")
}

/// The ledger key of the credits for adding a payment method, once in a customer's life.
pub const BONUS_KEY: &str = "bonus:payment_method";

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribe() -> Request {
        Request::SubscriptionCreate { payment_method_id: "pm_1".to_owned(), price: None, quantity: 1, payer: None }
    }

    fn operation() -> Operation {
        Operation::new(&CustomerId::new(), subscribe(), "api:k".to_owned(), "h".to_owned(), 1_000)
    }

    #[test]
    fn only_a_change_at_once_may_credit_time_and_only_what_charges_a_subscription_has_a_payer() {
        let change = |when: ChangeTime| Request::SubscriptionChange {
            subscription_id: "sub_1".to_owned(),
            change: Change { price: PriceKey::trusted("pro"), quantity: 1, when, present_terms: false },
            payer: None,
        };
        assert!(change(ChangeTime::Now).credits_time());
        assert!(!change(ChangeTime::PeriodEnd).credits_time() && !subscribe().credits_time());
        let payer = Payer { payment_method_id: "pm_2".to_owned(), card: "visa".to_owned(), currency: "usd".to_owned() };
        assert_eq!(change(ChangeTime::Now).with_payer(payer.clone()).payer(), Some(&payer));
        let cancel = Request::SubscriptionCancel { subscription_id: "sub_1".to_owned(), at_period_end: true };
        assert_eq!((cancel.with_payer(payer).payer(), cancel.is_of_subscription()), (None, true));
    }

    #[test]
    fn every_call_of_a_round_has_its_own_key_and_keeps_it() {
        let operation = operation();
        assert_eq!(operation.stripe_key("create"), operation.clone().stripe_key("create"));
        assert_ne!(operation.stripe_key("create"), operation.stripe_key("cancel"));
    }

    #[test]
    fn a_new_round_has_new_keys_at_stripe_and_the_same_key_towards_the_customer() {
        let first = Operation { stripe_id: Some("pi_1".to_owned()), ..operation() };
        let second = first.failed(Problem::default(), 2_000).next_round(first.request.clone(), 3_000);
        assert_eq!(second.stripe_id, None, "what the round before made is not looked at again");
        assert_ne!(first.stripe_key("create"), second.stripe_key("create"));
        assert_eq!(first.idempotency_key, second.idempotency_key);
        assert_eq!((second.state, second.problem), (State::Processing, None));
    }

    #[test]
    fn a_job_belongs_to_one_round() {
        let operation = operation();
        assert_eq!(operation.task_of(&operation.job_key()), Some(Task::CarryOut));
        assert_eq!(operation.task_of(&operation.check_key()), Some(Task::Check));
        assert_eq!(operation.task_of(&format!("{}:settle:7", operation.job_key())), Some(Task::CarryOut));
        assert_eq!(operation.task_of(&operation.cancel_key()), Some(Task::Cancel));
        for method in [None, Some("pm_2")] {
            assert_eq!(operation.task_of(&operation.replace_key(method)), Some(Task::Replace));
        }
        assert_eq!(operation.task_of(&format!("{}1", operation.job_key())), None, "of round 11");
        assert_eq!(operation.next_round(operation.request.clone(), 2).task_of(&operation.job_key()), None);
    }

    #[test]
    fn a_key_is_trusted_for_less_than_a_day() {
        let operation = operation();
        assert!(!operation.key_is_stale(1_000 + KEY_GOOD_FOR_MS - 1));
        assert!(operation.key_is_stale(1_000 + KEY_GOOD_FOR_MS));
        assert!(!operation.key_is_closing(10, 1_000 + KEY_GOOD_FOR_MS - 11));
        assert!(operation.key_is_closing(10, 1_000 + KEY_GOOD_FOR_MS - 10));
    }

    fn payer() -> Payer {
        let (payment_method_id, card, currency) = ("pm_1".to_owned(), "f1:2030:4".to_owned(), "usd".to_owned());
        Payer { payment_method_id, card, currency }
    }

    #[test]
    fn a_stored_request_reads_back() {
        for request in [
            Request::SubscriptionResume { subscription_id: "sub_1".to_owned(), payer: None },
            Request::SubscriptionResume { subscription_id: "sub_1".to_owned(), payer: Some(payer()) },
            Request::SubscriptionCreate {
                payment_method_id: "pm_1".to_owned(),
                price: PriceKey::parse("team_yearly"),
                quantity: 3,
                payer: Some(payer()),
            },
            Request::PaymentMethodAttach { payment_method_id: "pm_1".to_owned(), consent_at_ms: 1, make_default: true },
            Request::SubscriptionChange {
                subscription_id: "sub_1".to_owned(),
                change: Change {
                    price: PriceKey::trusted("team_yearly"),
                    quantity: 3,
                    when: ChangeTime::PeriodEnd,
                    present_terms: true,
                },
                payer: Some(payer()),
            },
        ] {
            let text = serde_json::to_string(&request).expect("plain data");
            assert_eq!(serde_json::from_str::<Request>(&text).expect("it reads back"), request);
            assert!(text.contains(request.kind()), "{text}");
        }
        let old = r#"{"kind":"subscription_create","payment_method_id":"pm_1"}"#;
        assert_eq!(serde_json::from_str::<Request>(old).expect("an old request reads"), subscribe());
        let old = concat!(
            r#"{"kind":"payment_refund","payment_id":"in_1","charge_id":"ch_1","#,
            r#""amount_minor":7,"currency":"usd","credits":"none"}"#
        );
        let refund: Request = serde_json::from_str(old).expect("an old refund reads");
        assert!(matches!(&refund, Request::PaymentRefund { beyond_credited: false, .. }), "{refund:?}");
        assert_eq!(serde_json::to_string(&refund).expect("plain data"), old);
        let old = r#"{"price":"pro_monthly","quantity":1,"when":"now"}"#;
        let change: Change = serde_json::from_str(old).expect("an old change reads");
        assert_eq!(serde_json::to_string(&change).expect("plain data"), old);
    }
}
