//! Changes that a handler or a use case wants committed together with its result.

use crate::domain::audit::Audit;
use crate::domain::job::{NewJob, Outcome};
use crate::domain::ledger::Command;
use crate::domain::mail::Mail;
use crate::domain::marketplace::MarketplaceAccount;
use crate::domain::operation::Operation;
use crate::domain::payment_method::PaymentMethod;
use crate::domain::reconcile::Step;
use crate::domain::replay::ReplayStep;
use crate::domain::subscription::Subscription;
use crate::domain::webhook::delivery::Delivery;
use crate::ids::{CustomerId, JobId, ReplayId};
use crate::plan::Plan;

/// One change besides the ledger's and the job's own.
#[derive(Debug, Clone)]
pub enum Effect {
    /// A customer moves to a plan. Off Pro it moves only if no subscription and no purchase on the
    /// Marketplace gives it Pro any more, as stored when this is written: two that end at one moment are
    /// each told of without the other.
    PlanSet {
        /// The customer.
        customer_id: CustomerId,
        /// Its plan from now on.
        plan: Plan,
    },
    /// A customer is linked to its Stripe customer.
    StripeLink {
        /// The customer.
        customer_id: CustomerId,
        /// Its id at Stripe.
        stripe_customer_id: String,
    },
    /// A customer's Stripe customer is gone: it has none, and nothing to pay with.
    StripeUnlink {
        /// The customer.
        customer_id: CustomerId,
        /// The id at Stripe that is gone.
        stripe_customer_id: String,
    },
    /// Where an operation stands.
    OperationPut(Box<Operation>),
    /// What is known of an attached payment method; the one that is charged, if it says so.
    PaymentMethodPut(PaymentMethod),
    /// A payment method is the one that is charged from now on.
    PaymentMethodDefault {
        /// Whose it is.
        customer_id: CustomerId,
        /// Its id at Stripe.
        id: String,
    },
    /// A payment method is detached.
    PaymentMethodDetach {
        /// Whose it was.
        customer_id: CustomerId,
        /// Its id at Stripe.
        id: String,
    },
    /// What is known of a subscription, from now on.
    SubscriptionPut(Subscription),
    /// What is known of a purchase on GitHub Marketplace, from now on; not whom it is linked to.
    MarketplacePut(Box<MarketplaceAccount>),
    /// An event is taken in, unless it was before: the twin of a thin one.
    EventTake(Box<Delivery>),
    /// A job is made.
    JobInsert(NewJob),
    /// A job's arguments are others from now on: a secret in them is not needed any more.
    JobArgs {
        /// The job.
        job_id: JobId,
        /// Its arguments as JSON.
        args: String,
    },
    /// A mail was sent, or is stored.
    MailPut(Box<Mail>),
    /// An ended job runs again.
    JobRequeue {
        /// The job.
        job_id: JobId,
    },
    /// Items of a replay are worked off, if it still runs when this is committed.
    ReplayItems {
        /// The replay.
        replay_id: ReplayId,
        /// What came of each.
        steps: Vec<ReplayStep>,
    },
    /// A running replay ends.
    ReplayEnd {
        /// The replay.
        replay_id: ReplayId,
        /// `done` or `failed`.
        state: &'static str,
    },
    /// A reconciliation has come this far.
    ReconciliationStep(Box<Step>),
    /// A privileged act is recorded.
    Audit(Audit),
}

impl Effect {
    /// Where an operation stands from now on.
    pub fn operation(operation: Operation) -> Self {
        Self::OperationPut(Box::new(operation))
    }
}

/// An outcome with the changes that commit together with it.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What came of the attempt.
    pub outcome: Outcome,
    /// A command for one customer's account, decided when it is committed.
    pub ledger: Option<(CustomerId, Command)>,
    /// Other changes.
    pub effects: Vec<Effect>,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, ledger: None, effects: Vec::new() }
    }
}
