//! Changes that commit together with a job's or a use case's result.

use crate::amount::MoneyMinor;
use crate::domain::audit::Audit;
use crate::domain::bonus::Bonus;
use crate::domain::catalogue::Catalogue;
use crate::domain::charge::record::ChargeRecord;
use crate::domain::charge::top_up::TopUpHalt;
use crate::domain::job::{NewJob, Outcome};
use crate::domain::ledger::Command;
use crate::domain::mail::Mail;
use crate::domain::marketplace::MarketplaceAccount;
use crate::domain::operation::Operation;
use crate::domain::payment::Invoice;
use crate::domain::payment_method::PaymentMethod;
use crate::domain::reconcile::Step;
use crate::domain::replay::ReplayStep;
use crate::domain::sale::AppliedCatalogue;
use crate::domain::subscription::Subscription;
use crate::domain::webhook::delivery::Delivery;
use crate::ids::{CustomerId, JobId, ReplayId};
use crate::key::PlanKey;
use std::sync::Arc;

/// One change, besides those of the ledger and the job itself.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Moves a customer to a plan. A customer who is not on `plan` gets the plan that follows at commit from all stored
    /// subscriptions and Marketplace purchases: when two end at once, each handler still sees the other.
    ///
    /// A change that gives a plan comes with this effect even if the customer is on that plan already, because another
    /// source of it may end meanwhile. A change that takes a plan away, or gives a worse one, names it in `has_left`.
    PlanSet {
        /// The customer.
        customer_id: CustomerId,
        /// The plan that follows from what the handler knew.
        plan: PlanKey,
        /// A plan that the customer paid for and that this change may have taken away. Then the plan is computed anew
        /// even for a customer who is on `plan`.
        has_left: Option<PlanKey>,
        /// The catalogue that the handler decided by.
        catalogue: Arc<Catalogue>,
    },
    /// Links a customer to its Stripe customer.
    StripeLink {
        /// The customer.
        customer_id: CustomerId,
        /// Its id at Stripe.
        stripe_customer_id: String,
    },
    /// Makes another Stripe customer one of a customer's, because what it bought names that customer. It takes the
    /// place of the one that the customer has if `replaces` names that and it has no payment method; else it is one
    /// more, whose events count.
    StripeAdopt {
        /// The customer.
        customer_id: CustomerId,
        /// The id at Stripe of the other one.
        stripe_customer_id: String,
        /// The id at Stripe that it may replace.
        replaces: Option<String>,
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
    /// Stores where a charge stands, unless it is known to have succeeded.
    ChargePut(Box<ChargeRecord>),
    /// Turns a customer's automatic top-ups off, or makes them wait, unless their setting was changed.
    TopUpHalt(Box<TopUpHalt>),
    /// Stores an attached payment method, as the default if it says so.
    PaymentMethodPut(PaymentMethod),
    /// Records what the credits for a payment method are given for. Fails if another customer got them for it.
    BonusPut(Box<Bonus>),
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
    /// Stores what is said of an invoice of ours.
    InvoicePut(Box<Invoice>),
    /// Stores which price at Stripe a subscription has.
    SubscriptionPriceSet {
        /// The subscription at Stripe.
        id: String,
        /// The price at Stripe.
        stripe_price: String,
    },
    /// Stores how much of a payment was given back, and how much disputes hold or have taken.
    PaymentRefunded {
        /// The PaymentIntent of a charge, or the invoice at Stripe.
        payment: String,
        /// The operation that a charge names. It counts where it is not known yet which payment paid it.
        operation: Option<String>,
        /// How much was given back, in all.
        refunded: MoneyMinor,
        /// How much disputes hold or have taken, in all.
        disputed: MoneyMinor,
        /// The part of both whose credits stay.
        kept: MoneyMinor,
    },
    /// Stores an operation unless there is one under its key: a second payment of another one.
    OperationInsert(Box<Operation>),
    /// Makes a job due now that was looked at and waits for another look, or that cancelled itself for this reason.
    JobHasten {
        /// Its unique key.
        key: String,
        /// The reason.
        cancelled_for: String,
    },
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
    /// Makes the jobs of a stream that failed and wait for another attempt due now.
    StreamHasten {
        /// The stream.
        stream_key: String,
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
    /// Puts a version of the catalogue into force. Fails if there is one with this number.
    CatalogueApply(Box<AppliedCatalogue>),
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

/// Combines the changes of two verdicts, with the outcome of the second.
pub fn merge(mut first: Verdict, second: Verdict) -> Verdict {
    first.effects.extend(second.effects);
    Verdict { outcome: second.outcome, ledger: second.ledger.or(first.ledger), effects: first.effects }
}

impl Verdict {
    /// The operations that it stores.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::OperationPut(operation) => Some(&**operation),
            _ => None,
        })
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, ledger: None, effects: Vec::new() }
    }
}
