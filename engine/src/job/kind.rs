//! The kinds of jobs, and what each kind's policy is.

/// What happens to a stream when one of its jobs dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeath {
    /// The stream is paused until a person replays or skips the job.
    Block,
    /// The dead job is parked and the stream goes on. Kinds choose this when what comes later does
    /// not depend on what came before.
    ParkAndContinue,
}

/// A kind of job. To add one: a variant here, its handler in `handler.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Processes one stored Stripe event.
    StripeEvent,
    /// Settles the holds and grants of one account whose time ran out.
    AccountSettle,
    /// Works off one replay.
    ReplayRun,
    /// Carries out one operation at Stripe.
    OperationRun,
    /// Makes a customer's Stripe customer.
    StripeCustomer,
    /// Compares what is known here with Stripe.
    StripeReconcile,
    /// Sends one mail.
    MailSend,
    /// Deletes what is older than the retention time.
    Retention,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::StripeEvent,
        Self::AccountSettle,
        Self::ReplayRun,
        Self::OperationRun,
        Self::StripeCustomer,
        Self::StripeReconcile,
        Self::MailSend,
        Self::Retention,
    ];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StripeEvent => "stripe.event",
            Self::AccountSettle => "account.settle",
            Self::ReplayRun => "replay.run",
            Self::OperationRun => "operation.run",
            Self::StripeCustomer => "stripe.customer",
            Self::StripeReconcile => "stripe.reconcile",
            Self::MailSend => "mail.send",
            Self::Retention => "retention",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Attempts after which a job of this kind is dead, unless the configuration says otherwise.
    pub fn attempts_max(self) -> i64 {
        match self {
            Self::StripeEvent => 8,
            // Stripe may be away for days; an operation once accepted is settled nevertheless. With the
            // longest wait below, three days and a half.
            Self::OperationRun | Self::StripeCustomer => 1_000,
            // With the default backoff, three days.
            Self::MailSend => 20,
            Self::AccountSettle | Self::ReplayRun | Self::Retention | Self::StripeReconcile => 20,
        }
    }

    /// The longest wait between two attempts, where the general one is too long: a customer is waiting.
    pub fn backoff_max_ms(self) -> i64 {
        match self {
            Self::OperationRun | Self::StripeCustomer => 5 * 60 * 1_000,
            _ => i64::MAX,
        }
    }

    /// Whether its handler only reads, so that it can be run to see what it would change.
    pub fn has_dry_run(self) -> bool {
        matches!(self, Self::StripeEvent | Self::AccountSettle)
    }

    /// What its death does to its stream.
    pub fn on_death(self) -> OnDeath {
        match self {
            Self::StripeEvent
            | Self::OperationRun
            | Self::StripeCustomer
            | Self::StripeReconcile
            | Self::MailSend
            | Self::Retention => OnDeath::ParkAndContinue,
            Self::AccountSettle | Self::ReplayRun => OnDeath::Block,
        }
    }
}
