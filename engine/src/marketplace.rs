//! GitHub Marketplace: who bought which plan there, and which customer that is.
//!
//! A purchase is told by GitHub before anybody signs up, so it is kept by GitHub's account and
//! **linked** to a customer later: with a one-time token at signup, or by support ([`link`]). What a
//! purchase then means for plan and credits is in [`rules`].

pub mod link;
pub mod period;
pub mod rules;

use crate::clock::TimeMs;
use crate::customer::Plan;
use crate::github::{self, Action};
use crate::ids::CustomerId;
use crate::job::{JobKind, NewJob};
use serde::{Deserialize, Serialize};

/// Where a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurchaseState {
    /// Only what is to come was told of it so far.
    Announced,
    /// It is in force.
    Purchased,
    /// It has ended.
    Cancelled,
}

impl PurchaseState {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Purchased => "purchased",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Announced, Self::Purchased, Self::Cancelled].into_iter().find(|state| state.as_str() == text)
    }
}

/// A plan of the listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingPlan {
    /// GitHub's id of it.
    pub id: i64,
    /// What the listing calls it.
    pub name: String,
    /// Which of our plans it is; none if the configuration does not say.
    pub plan: Option<Plan>,
}

/// What is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// When.
    pub at_ms: TimeMs,
    /// The plan from then on; none if the purchase ends.
    pub plan: Option<ListingPlan>,
    /// It was taken back. Kept, so that news of it that come late bring nothing back.
    pub is_withdrawn: bool,
}

/// A time for which Pro was paid and whose credits are still to be granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// When its first period begins.
    pub from_ms: TimeMs,
    /// When Pro ended, or other news of it came into force; none while it lasts. A period that had begun
    /// before was paid.
    pub until_ms: Option<TimeMs>,
    /// The billing date that its periods are counted by.
    pub billing_ms: Option<TimeMs>,
}

impl Owed {
    /// Whether Pro was on then.
    pub fn contains(&self, at_ms: TimeMs) -> bool {
        self.from_ms <= at_ms && self.until_ms.is_none_or(|until_ms| at_ms < until_ms)
    }

    /// What of it is left from a time on.
    pub fn after(self, at_ms: TimeMs) -> Option<Self> {
        let left = Self { from_ms: self.from_ms.max(at_ms), ..self };
        left.until_ms.is_none_or(|until_ms| left.from_ms < until_ms).then_some(left)
    }

    /// What of it came before a time.
    pub fn before(self, at_ms: TimeMs) -> Option<Self> {
        let until_ms = self.until_ms.map_or(at_ms, |until_ms| until_ms.min(at_ms));
        (self.from_ms < until_ms).then_some(Self { until_ms: Some(until_ms), ..self })
    }
}

/// The purchase of one GitHub account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarketplaceAccount {
    /// GitHub's id of the account.
    pub github_account_id: i64,
    /// Its name at GitHub when it was last told of.
    pub login: String,
    /// `User` or `Organization`.
    pub account_type: String,
    /// Where an organisation is billed.
    pub email: Option<String>,
    /// Where the purchase stands.
    pub state: PurchaseState,
    /// The plan in force, or the last one.
    pub plan: ListingPlan,
    /// `monthly` or `yearly`; none for a free plan.
    pub billing_cycle: Option<String>,
    /// Units bought, of a plan that is sold by the unit.
    pub unit_count: i64,
    /// Nothing is paid yet.
    pub on_free_trial: bool,
    /// When the free trial ends.
    pub free_trial_ends_ms: Option<TimeMs>,
    /// When the next paid period began when this was last told.
    pub next_billing_ms: Option<TimeMs>,
    /// Since when it has stood so.
    pub effective_ms: TimeMs,
    /// By which action.
    pub last_action: Action,
    /// What is to come.
    pub pending: Option<Pending>,
    /// For which times credits are still to be granted, in order; only the last may have no end.
    pub owed: Vec<Owed>,
    /// When the last period ends whose credits were granted.
    pub covered_until_ms: Option<TimeMs>,
    /// The customer that it is linked to. Only [`link`] writes this and the next.
    pub customer_id: Option<CustomerId>,
    /// Since when.
    pub linked_at_ms: Option<TimeMs>,
    /// When it was first told of.
    pub created_at_ms: TimeMs,
    /// When it last changed.
    pub updated_at_ms: TimeMs,
}

impl MarketplaceAccount {
    /// Whether the plan in force is Pro, be it linked or not.
    pub fn is_pro(&self) -> bool {
        self.state == PurchaseState::Purchased && self.plan.plan == Some(Plan::Pro)
    }

    /// Whether it makes its customer a Pro customer.
    pub fn gives_pro(&self) -> bool {
        self.customer_id.is_some() && self.is_pro()
    }

    /// When the first paid period begins whose credits are still to be granted.
    pub fn next_credits_ms(&self) -> Option<TimeMs> {
        self.owed.first().map(|owed| owed.from_ms)
    }

    /// What is to come, unless it was taken back.
    pub fn coming(&self) -> Option<&Pending> {
        self.pending.as_ref().filter(|pending| !pending.is_withdrawn)
    }
}

/// The job that settles an account now, after all that is in its stream already.
pub fn settle_job(github_account_id: i64, now_ms: TimeMs) -> NewJob {
    let args = serde_json::json!({ "github_account_id": github_account_id }).to_string();
    let mut job = NewJob::new(JobKind::MarketplaceSettle, args, now_ms);
    job.stream_key = Some(github::stream_key(github_account_id));
    job
}

/// The job that has an account settled at a time. It waits in a stream of its own: at the head of the
/// account's it would keep events waiting that come before its day.
pub fn timer_job(github_account_id: i64, at_ms: TimeMs) -> NewJob {
    let mut job = settle_job(github_account_id, at_ms);
    job.stream_key = None;
    job.unique_key = Some(format!("marketplace:{github_account_id}:{at_ms}"));
    job
}
