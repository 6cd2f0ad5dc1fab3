//! GitHub Marketplace: who bought which plan there, and which customer that is.
//!
//! GitHub reports a purchase before anybody signs up, so it is kept by GitHub's account and **linked** to a
//! customer later: with a one-time token at signup, or by support.
//!
//! | module | question |
//! |---|---|
//! | [`order`] | in which order did things happen? |
//! | [`period`] | which months of Pro were paid, and which one is granted next? |
//! | [`rules`] | what does an event change, for the account and for its customer? |
//! | [`earlier`] | what do rows of the release before say? |

pub mod earlier;
pub mod order;
pub mod period;
pub mod rules;

use crate::clock::TimeMs;
use crate::domain::github::{self, Action};
use crate::domain::job::{JobKind, NewJob};
use crate::ids::CustomerId;
use crate::plan::Plan;
use period::{PaidSpan, Period};
use serde::{Deserialize, Serialize};

/// The most pieces of news kept of one account. The oldest are forgotten, with the months that they brought to
/// an account that nobody is linked to yet.
const NEWS_MAX: usize = 100;

/// Where a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseState {
    /// Only a coming change was reported so far.
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

/// Who reported a piece of news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reporter {
    /// GitHub, by an event of the day itself.
    Github,
    /// GitHub, by an earlier announcement whose day has come. The event of the day replaces it.
    Announcement,
    /// Support, by hand.
    Support,
    /// A node of the release before, which kept the result and not the news.
    EarlierRelease,
}

/// One change of a purchase that came into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// What reported it; the same id is the same news.
    pub id: String,
    /// Its place in the order of arrival among the news of the account, given when it is added.
    pub arrival: i64,
    /// Who reported it.
    pub reporter: Reporter,
    /// Purchased, changed or cancelled.
    pub action: Action,
    /// When it came into force. GitHub mostly gives the day only: its first millisecond in UTC.
    pub at_ms: TimeMs,
    /// The plan from then on; of an end, the plan until then.
    pub plan: ListingPlan,
    /// GitHub's id of the plan before a change, if the event says it.
    pub previous_plan_id: Option<i64>,
    /// `monthly` or `yearly`; none for a free plan.
    pub billing_cycle: Option<String>,
    /// Units bought, of a plan that is sold by the unit.
    pub unit_count: i64,
    /// Nothing is paid yet.
    pub on_free_trial: bool,
    /// When the free trial ends.
    pub free_trial_ends_ms: Option<TimeMs>,
    /// When the next period begins and is paid.
    pub next_billing_ms: Option<TimeMs>,
}

impl News {
    /// Whether a purchase is in force after it.
    pub fn is_in_force(&self) -> bool {
        self.action != Action::Cancelled
    }

    /// Whether Pro is in force after it.
    pub fn is_pro(&self) -> bool {
        self.is_in_force() && self.plan.plan == Some(Plan::Pro)
    }

    /// Whether anything follows from it: from a plan that the configuration does not know, nothing does.
    pub fn counts(&self) -> bool {
        !self.is_in_force() || self.plan.plan.is_some()
    }
}

/// A change that is announced for a day to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// When.
    pub at_ms: TimeMs,
    /// The plan from then on; none if the purchase ends.
    pub plan: Option<ListingPlan>,
    /// It was taken back. Kept, so that a late announcement of it is not believed.
    pub is_withdrawn: bool,
}

/// The purchase of one GitHub account: its news, and where they leave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarketplaceAccount {
    /// GitHub's id of the account.
    pub github_account_id: i64,
    /// Its name at GitHub in the latest news.
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
    /// The next billing date in the latest news that has one.
    pub next_billing_ms: Option<TimeMs>,
    /// Since when it has stood so.
    pub effective_ms: TimeMs,
    /// By which action.
    pub last_action: Action,
    /// The change that is announced.
    pub pending: Option<Pending>,
    /// Every change that came into force, as it arrived. All fields from `state` to `last_action` follow from it.
    pub news: Vec<News>,
    /// The end of the last period whose credits were granted.
    pub granted_until_ms: Option<TimeMs>,
    /// The customer that it is linked to. Only linking writes this and the next.
    pub customer_id: Option<CustomerId>,
    /// Since when.
    pub linked_at_ms: Option<TimeMs>,
    /// When GitHub first reported it.
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

    /// The change that is announced, unless it was taken back.
    pub fn coming(&self) -> Option<&Pending> {
        self.pending.as_ref().filter(|pending| !pending.is_withdrawn)
    }

    /// The times for which Pro is paid and credits are still to be granted, in order.
    pub fn spans_left(&self) -> Vec<PaidSpan> {
        let spans = period::paid_spans(&order::in_order(&self.news).news);
        spans.iter().filter_map(|span| span.after(self.granted_until_ms)).collect()
    }

    /// The next period whose credits are to be granted. `grace_ms` is how long a renewal must last to count.
    pub fn next_period(&self, grace_ms: TimeMs) -> Option<Period> {
        self.spans_left().iter().find_map(|span| span.first_period(grace_ms))
    }

    /// Takes in which of our plans a plan of the listing is, where it was not known before.
    pub fn learn(&mut self, listing: &ListingPlan) {
        let news = self.news.iter_mut().map(|news| &mut news.plan);
        let coming = self.pending.iter_mut().filter_map(|pending| pending.plan.as_mut());
        let plans = news.chain(coming).chain([&mut self.plan]);
        for plan in plans.filter(|plan| plan.id == listing.id && plan.plan.is_none()) {
            plan.plan = listing.plan;
        }
        self.stand();
    }

    /// Adds news as the latest to arrive, or replaces what the same event said before, and lets the account stand
    /// where all news leave it.
    pub fn add(&mut self, news: News) {
        // A day's own event and the announcement of it are one change.
        let is_same = |known: &News| known.action == news.action && period::day(known.at_ms) == period::day(news.at_ms);
        match news.reporter {
            Reporter::Announcement if self.news.iter().any(is_same) => return,
            Reporter::Github => self.news.retain(|known| known.reporter != Reporter::Announcement || !is_same(known)),
            _ => {}
        }
        match self.news.iter_mut().find(|known| known.id == news.id) {
            Some(known) => *known = News { arrival: known.arrival, ..news },
            None => {
                // Not the job's place in its stream: streams begin anew once all their jobs are deleted.
                let latest = self.news.iter().map(|known| known.arrival).max().unwrap_or(0);
                self.news.push(News { arrival: latest + 1, ..news });
            }
        }
        if self.news.len() > NEWS_MAX {
            let oldest = self.news.iter().enumerate().min_by_key(|(_, known)| known.at_ms).map(|(at, _)| at);
            oldest.map(|at| self.news.remove(at));
        }
        self.stand();
    }

    /// Lets the account stand where its news leave it.
    fn stand(&mut self) {
        let ordered = order::in_order(&self.news);
        let Some(last) = ordered.last_that_counts() else { return };
        let ordered = &ordered.news;
        self.state = if last.is_in_force() { PurchaseState::Purchased } else { PurchaseState::Cancelled };
        self.plan = last.plan.clone();
        self.billing_cycle = last.billing_cycle.clone();
        self.unit_count = last.unit_count;
        self.on_free_trial = last.on_free_trial && last.is_in_force();
        self.free_trial_ends_ms = last.free_trial_ends_ms;
        self.next_billing_ms = ordered.iter().rev().find_map(|news| news.next_billing_ms);
        self.effective_ms = ordered.iter().map(|news| news.at_ms).max().unwrap_or(last.at_ms);
        self.last_action = last.action;
        self.pending = self.pending.take().filter(|pending| pending.at_ms > self.effective_ms);
    }
}

/// A correction: where the purchase stands from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// Where it stands.
    #[serde(rename = "corrected_to")]
    pub state: PurchaseState,
    /// From when on. Jobs of the release before do not say: since when it has stood as it does.
    #[serde(default)]
    pub effective_ms: Option<TimeMs>,
    /// The next billing date; none if it is the monthly return of the one that was known before.
    #[serde(default)]
    pub next_billing_ms: Option<TimeMs>,
}

/// What a job that settles an account is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SettleArgs {
    /// Which account.
    pub github_account_id: i64,
    /// What support says of it. Nodes of the release before read its `corrected_to` only.
    #[serde(flatten)]
    pub correction: Option<Correction>,
}

impl SettleArgs {
    /// As the job keeps it.
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// The job that settles an account now, after all that is in its stream already.
pub fn settle_job(github_account_id: i64, now_ms: TimeMs) -> NewJob {
    let args = SettleArgs { github_account_id, correction: None }.to_json();
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
