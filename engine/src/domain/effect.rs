//! Changes that commit together with a job's or a use case's result.

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

/// One change, besides those of the ledger and the job itself.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Moves a customer to a plan. A move off Pro takes effect only if no stored subscription or Marketplace
    /// purchase still gives Pro: when two end at once, each handler still sees the other.
    PlanSet {
        /// The customer.
        customer_id: CustomerId,
        /// Its new plan.
        plan: Plan,
    },
    /// Links a customer to its Stripe customer.
    StripeLink {
        /// The customer.
        customer_id: CustomerId,
        /// Its id at Stripe.
        stripe_customer_id: String,
    },
    /// Removes a deleted Stripe customer from its customer, with its payment methods.
    StripeUnlink {
        /// The customer.
        customer_id: CustomerId,
        /// The deleted id at Stripe.
        stripe_customer_id: String,
    },
    /// Stores an operation.
    OperationPut(Box<Operation>),
    /// Stores an attached payment method, as the default if it says so.
    PaymentMethodPut(PaymentMethod),
    /// Makes a payment method the default.
    PaymentMethodDefault {
        /// Its customer.
        customer_id: CustomerId,
        /// Its id at Stripe.
        id: String,
    },
    /// Marks a payment method as detached.
    PaymentMethodDetach {
        /// Its customer.
        customer_id: CustomerId,
        /// Its id at Stripe.
        id: String,
    },
    /// Stores a subscription.
    SubscriptionPut(Subscription),
    /// Stores a purchase on GitHub Marketplace, except which customer it is linked to.
    MarketplacePut(Box<MarketplaceAccount>),
    /// Stores an event unless it is known: the full form of a thin one.
    EventTake(Box<Delivery>),
    /// Creates a job.
    JobInsert(NewJob),
    /// Replaces a job's arguments, to delete a secret from them.
    JobArgs {
        /// The job.
        job_id: JobId,
        /// The new arguments as JSON.
        args: String,
    },
    /// Stores a mail that was sent, or is only stored.
    MailPut(Box<Mail>),
    /// Makes an ended job run again.
    JobRequeue {
        /// The job.
        job_id: JobId,
    },
    /// Records processed items of a replay, if it still runs at commit.
    ReplayItems {
        /// The replay.
        replay_id: ReplayId,
        /// The result of each.
        steps: Vec<ReplayStep>,
    },
    /// Ends a running replay.
    ReplayEnd {
        /// The replay.
        replay_id: ReplayId,
        /// `done` or `failed`.
        state: &'static str,
    },
    /// Stores a reconciliation's progress.
    ReconciliationStep(Box<Step>),
    /// Records a privileged act.
    Audit(Audit),
}

impl Effect {
    /// Stores an operation.
    pub fn operation(operation: Operation) -> Self {
        Self::OperationPut(Box::new(operation))
    }
}

/// An outcome with the changes that commit together with it.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// How the attempt ended.
    pub outcome: Outcome,
    /// A command for one customer's account, decided at commit.
    pub ledger: Option<(CustomerId, Command)>,
    /// Other changes.
    pub effects: Vec<Effect>,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, ledger: None, effects: Vec::new() }
    }
}
