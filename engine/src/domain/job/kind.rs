//! The kinds of jobs, and what each kind's policy is.

/// What happens to a stream one of whose jobs keeps failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// When the job is dead, the stream is paused until a person replays the job or resumes the stream.
    Block,
    /// The dead job is parked and the stream goes on. Kinds choose this when what comes later does
    /// not depend on what came before.
    ParkAndContinue,
    /// From the second attempt on, Stripe is asked for the present state of what the job is about;
    /// order of arrival means nothing. Dead nevertheless, it is parked and the stream goes on.
    RefetchLatest,
}

/// A kind of job. To add one: a variant here, its handler in `handler.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Processes one stored Stripe event.
    StripeEvent,
    /// Processes one stored event of GitHub.
    GithubEvent,
    /// Does what is due for one purchase on GitHub Marketplace.
    MarketplaceSettle,
    /// Settles the holds and grants of one account whose time ran out. Nothing makes such a job any more: the
    /// sweep finds accounts by `next_settle_at_ms`. Nodes of the release before do during a rolling deploy, and
    /// what they leave is carried out.
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
    pub const ALL: [Self; 10] = [
        Self::StripeEvent,
        Self::GithubEvent,
        Self::MarketplaceSettle,
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
            Self::GithubEvent => "github.event",
            Self::MarketplaceSettle => "marketplace.settle",
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
            Self::StripeEvent | Self::GithubEvent => 8,
            // Stripe may be away for days; an operation once accepted is settled nevertheless. With the
            // longest wait below, three days and a half.
            Self::OperationRun | Self::StripeCustomer => 1_000,
            // With the default backoff, three days.
            Self::MailSend => 20,
            Self::AccountSettle
            | Self::MarketplaceSettle
            | Self::ReplayRun
            | Self::Retention
            | Self::StripeReconcile => 20,
        }
    }

    /// The longest wait between two attempts, where the general one is too long: a customer is waiting.
    pub fn backoff_max_ms(self) -> i64 {
        match self {
            Self::OperationRun | Self::StripeCustomer => 5 * 60 * 1_000,
            _ => i64::MAX,
        }
    }

    /// Whether its handler only reads (with `Deps::is_dry_run` at least), so that it can be run to see what it
    /// would change.
    pub fn has_dry_run(self) -> bool {
        matches!(self, Self::StripeEvent | Self::GithubEvent | Self::MarketplaceSettle | Self::AccountSettle)
    }

    /// What becomes of its stream when it keeps failing.
    pub fn policy(self) -> Policy {
        match self {
            Self::StripeEvent => Policy::RefetchLatest,
            // A replay has a stream of its own and says itself that it failed.
            Self::ReplayRun
            | Self::GithubEvent
            | Self::MarketplaceSettle
            | Self::OperationRun
            | Self::StripeCustomer
            | Self::StripeReconcile
            | Self::MailSend
            | Self::Retention => Policy::ParkAndContinue,
            Self::AccountSettle => Policy::Block,
        }
    }
}
