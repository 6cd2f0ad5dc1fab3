//! The kinds of jobs and their policies.

/// What happens to a stream when one of its jobs keeps failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The death of the job pauses the stream until a person replays the job or resumes the stream.
    Block,
    /// The dead job is parked and the stream continues, for kinds whose later jobs do not depend on earlier ones.
    ParkAndContinue,
    /// From the second attempt on, the rule uses the object's present state at Stripe, because order of arrival
    /// means nothing. A dead job is parked and the stream continues.
    RefetchLatest,
}

/// A kind of job. A new one needs a variant here and a handler in `handler.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Processes one stored Stripe event.
    StripeEvent,
    /// Processes one stored event of GitHub.
    GithubEvent,
    /// Settles one purchase on GitHub Marketplace.
    MarketplaceSettle,
    /// Settles expired holds and grants of one account. This release creates no such job, because the sweep finds
    /// accounts by `next_settle_at_ms`. Nodes of the previous release do during a rolling deploy, and their jobs
    /// still run.
    AccountSettle,
    /// Runs one replay.
    ReplayRun,
    /// Runs one operation at Stripe.
    OperationRun,
    /// Creates a customer's Stripe customer.
    StripeCustomer,
    /// Takes over what a Stripe customer has that support linked: payment methods, subscriptions, paid invoices.
    StripeAdopt,
    /// Compares Bursar's records with Stripe's.
    StripeReconcile,
    /// Applies a catalogue.
    CatalogueApply,
    /// Grants a part of a paid invoice's credits at its time.
    CreditsGrant,
    /// Sends one mail.
    MailSend,
    /// Deletes rows older than the retention time.
    Retention,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::StripeEvent,
        Self::GithubEvent,
        Self::MarketplaceSettle,
        Self::AccountSettle,
        Self::ReplayRun,
        Self::OperationRun,
        Self::StripeCustomer,
        Self::StripeAdopt,
        Self::StripeReconcile,
        Self::CatalogueApply,
        Self::CreditsGrant,
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
            Self::StripeAdopt => "stripe.adopt",
            Self::StripeReconcile => "stripe.reconcile",
            Self::CatalogueApply => "catalogue.apply",
            Self::CreditsGrant => "credits.grant",
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
            // Stripe may be down for days, and an accepted operation must still be settled. With the longest wait
            // below, three days and a half.
            Self::OperationRun | Self::StripeCustomer | Self::StripeAdopt | Self::CreditsGrant => 1_000,
            // Three days with the default backoff.
            Self::MailSend => 20,
            Self::AccountSettle
            | Self::MarketplaceSettle
            | Self::ReplayRun
            | Self::Retention
            | Self::CatalogueApply
            | Self::StripeReconcile => 20,
        }
    }

    /// The longest wait between two attempts of kinds for which somebody waits.
    pub fn backoff_max_ms(self) -> i64 {
        match self {
            Self::OperationRun
            | Self::StripeCustomer
            | Self::StripeAdopt
            | Self::CreditsGrant
            | Self::CatalogueApply => 5 * 60 * 1_000,
            _ => i64::MAX,
        }
    }

    /// Whether the handler decides by the catalogue what was sold or what a customer pays.
    pub fn needs_catalogue(self) -> bool {
        matches!(
            self,
            Self::StripeEvent
                | Self::GithubEvent
                | Self::MarketplaceSettle
                | Self::OperationRun
                | Self::StripeReconcile
        )
    }

    /// Whether the handler only reads (at least with `Deps::is_dry_run`), so that a dry run can show what it would
    /// change.
    pub fn has_dry_run(self) -> bool {
        matches!(self, Self::StripeEvent | Self::GithubEvent | Self::MarketplaceSettle | Self::AccountSettle)
    }

    /// What happens to its stream when it keeps failing.
    pub fn policy(self) -> Policy {
        match self {
            Self::StripeEvent => Policy::RefetchLatest,
            // A replay has a stream of its own and records its own failure.
            Self::ReplayRun
            | Self::GithubEvent
            | Self::MarketplaceSettle
            | Self::OperationRun
            | Self::StripeCustomer
            | Self::StripeAdopt
            | Self::StripeReconcile
            | Self::CatalogueApply
            | Self::CreditsGrant
            | Self::MailSend
            | Self::Retention => Policy::ParkAndContinue,
            Self::AccountSettle => Policy::Block,
        }
    }
}
