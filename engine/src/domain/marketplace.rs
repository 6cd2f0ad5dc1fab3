//! GitHub Marketplace: accounts, their purchases, and the customers that they are linked to.
//!
//! GitHub reports a purchase before anybody signs up, so Bursar stores it by GitHub's account and **links** it to a
//! customer later: with a one-time token at signup, or by support.
//!
//! | module | question |
//! |---|---|
//! | [`order`] | in which order did changes happen? |
//! | [`period`] | which months of a plan were paid, and which one is granted next? |
//! | [`terms`] | what does a paid month bring? |
//! | [`rules`] | how does an event change the account and its customer? |
//! | [`earlier`] | how are rows of earlier builds read? |
//!
//! A plan of the listing stands for a plan of the catalogue, by the setting `marketplace.plans`. The catalogue may lose
//! that plan later. Then the purchase gives nothing until the plan is back, and takes nothing away.

pub mod earlier;
pub mod order;
pub mod period;
pub mod rules;
pub mod terms;

use crate::clock::TimeMs;
use crate::domain::catalogue::Catalogue;
use crate::domain::github::{self, Action};
use crate::domain::job::{JobKind, NewJob};
use crate::ids::CustomerId;
use crate::key::PlanKey;
use period::{PaidSpan, Period};
use serde::{Deserialize, Serialize};

/// Maximum number of changes stored for an account. The oldest are deleted; an account that is not linked yet loses
/// their months.
const NEWS_MAX: usize = 100;

/// The state of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseState {
    /// Only a future change was reported so far.
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
    /// Its id at GitHub.
    pub id: i64,
    /// Its name in the listing.
    pub name: String,
    /// The plan that it stands for; `None` if the configuration names none that the catalogue has.
    pub plan: Option<PlanKey>,
}

impl ListingPlan {
    /// The plan that it stands for, if that is one that is bought.
    pub fn bought_plan(&self, catalogue: &Catalogue) -> Option<&PlanKey> {
        self.plan.as_ref().filter(|key| catalogue.plan(key).is_some_and(|plan| plan.followed_by.is_some()))
    }
}

/// The origin of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reporter {
    /// GitHub's event for the change itself.
    Github,
    /// An earlier announcement by GitHub whose day has come. The event for the change itself replaces it.
    Announcement,
    /// Support, by hand.
    Support,
    /// A node of the previous release, which stored only the resulting state.
    EarlierRelease,
}

/// One change of a purchase that came into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Id of its report; a repeated report has the same id.
    pub id: String,
    /// Its place in the order of arrival within the account, assigned by [`MarketplaceAccount::add`].
    pub arrival: i64,
    /// Its origin.
    pub reporter: Reporter,
    /// Purchased, changed or cancelled.
    pub action: Action,
    /// When it came into force. GitHub mostly gives only the day: its first millisecond in UTC.
    pub at_ms: TimeMs,
    /// The plan that it starts; of a cancellation, the plan that it ends.
    pub plan: ListingPlan,
    /// GitHub's id of the plan before a change, if the event gives it.
    pub previous_plan_id: Option<i64>,
    /// `monthly` or `yearly`; none for a free plan.
    pub billing_cycle: Option<String>,
    /// Units bought, of a plan that is sold by the unit.
    pub unit_count: i64,
    /// Whether a free trial applies, so that nothing is paid yet.
    pub on_free_trial: bool,
    /// When the free trial ends.
    pub free_trial_ends_ms: Option<TimeMs>,
    /// The next billing date, when the next period begins and is paid.
    pub next_billing_ms: Option<TimeMs>,
}

impl News {
    /// Whether a purchase is in force after it.
    pub fn is_in_force(&self) -> bool {
        self.action != Action::Cancelled
    }

    /// The plan in force after it, if that is one that is bought.
    pub fn gives_plan(&self, catalogue: &Catalogue) -> Option<&PlanKey> {
        self.plan.bought_plan(catalogue).filter(|_| self.is_in_force())
    }

    /// Whether a plan that is bought is in force after it, on a free trial too.
    pub fn is_paid(&self, catalogue: &Catalogue) -> bool {
        self.gives_plan(catalogue).is_some()
    }

    /// Whether GitHub bills the plan in force after it. A free plan has no next billing date.
    pub fn is_billed(&self) -> bool {
        self.is_in_force() && self.next_billing_ms.is_some()
    }

    /// Whether the rules can use it: a plan that the configuration does not know has no effect.
    pub fn is_usable(&self) -> bool {
        !self.is_in_force() || self.plan.plan.is_some()
    }
}

/// An announced change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its day.
    pub at_ms: TimeMs,
    /// The plan that it starts; `None` if the purchase ends.
    pub plan: Option<ListingPlan>,
    /// The units from then on; `None` if the purchase ends, or in rows of earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_count: Option<i64>,
    /// Whether it was withdrawn. Kept, so that a late announcement of it is ignored.
    pub is_withdrawn: bool,
}

/// The purchase of one GitHub account: its changes and the resulting state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarketplaceAccount {
    /// GitHub's id of the account.
    pub github_account_id: i64,
    /// Its name at GitHub in the latest change.
    pub login: String,
    /// `User` or `Organization`.
    pub account_type: String,
    /// An organisation's billing address.
    pub email: Option<String>,
    /// The state of the purchase.
    pub state: PurchaseState,
    /// The plan in force, or the last one.
    pub plan: ListingPlan,
    /// `monthly` or `yearly`; none for a free plan.
    pub billing_cycle: Option<String>,
    /// Units bought, of a plan that is sold by the unit.
    pub unit_count: i64,
    /// Whether a free trial applies, so that nothing is paid yet.
    pub on_free_trial: bool,
    /// When the free trial ends.
    pub free_trial_ends_ms: Option<TimeMs>,
    /// The billing date in the latest change that has one.
    pub next_billing_ms: Option<TimeMs>,
    /// When the state was reached.
    pub effective_ms: TimeMs,
    /// The action that led to it.
    pub last_action: Action,
    /// The announced change.
    pub pending: Option<Pending>,
    /// All changes in force, in order of arrival. They determine the fields from `state` to `last_action`.
    pub news: Vec<News>,
    /// The end of the last period whose credits were granted.
    pub granted_until_ms: Option<TimeMs>,
    /// The linked customer. Only linking writes this field and the next.
    pub customer_id: Option<CustomerId>,
    /// When it was linked.
    pub linked_at_ms: Option<TimeMs>,
    /// When GitHub first reported the account.
    pub created_at_ms: TimeMs,
    /// When it last changed.
    pub updated_at_ms: TimeMs,
}

impl MarketplaceAccount {
    /// The plan in force, linked to a customer or not, if that is one that is bought.
    pub fn plan_in_force(&self, catalogue: &Catalogue) -> Option<&PlanKey> {
        self.plan.bought_plan(catalogue).filter(|_| self.state == PurchaseState::Purchased)
    }

    /// Whether the plan in force is one that is bought, linked or not.
    pub fn is_paid(&self, catalogue: &Catalogue) -> bool {
        self.plan_in_force(catalogue).is_some()
    }

    /// The plan that it gives its customer.
    pub fn gives_plan(&self, catalogue: &Catalogue) -> Option<&PlanKey> {
        self.plan_in_force(catalogue).filter(|_| self.customer_id.is_some())
    }

    /// The announced change, unless it was withdrawn.
    pub fn announced_change(&self) -> Option<&Pending> {
        self.pending.as_ref().filter(|pending| !pending.is_withdrawn)
    }

    /// The paid times without granted credits, in order.
    pub fn ungranted_spans(&self, catalogue: &Catalogue) -> Vec<PaidSpan<'_>> {
        let spans = period::paid_spans(&order::sort_news(&self.news).news, |news| news.is_paid(catalogue));
        spans.iter().filter_map(|span| span.after(self.granted_until_ms)).collect()
    }

    /// The next period to grant. `grace_ms` is how long a renewal must last to count.
    pub fn next_period(&self, catalogue: &Catalogue, grace_ms: TimeMs) -> Option<Period<'_>> {
        self.ungranted_spans(catalogue).iter().find_map(|span| span.first_period(grace_ms))
    }

    /// Sets the plan wherever the plan of the listing was unknown, or stood for one that the catalogue has no longer.
    pub fn set_known_plan(&mut self, listing: &ListingPlan, catalogue: &Catalogue) {
        if listing.plan.is_none() {
            return;
        }
        let is_unknown = |plan: &ListingPlan| plan.plan.as_ref().is_none_or(|key| catalogue.plan(key).is_none());
        let news = self.news.iter_mut().map(|news| &mut news.plan);
        let coming = self.pending.iter_mut().filter_map(|pending| pending.plan.as_mut());
        let plans = news.chain(coming).chain([&mut self.plan]);
        for plan in plans.filter(|plan| plan.id == listing.id && is_unknown(plan)) {
            plan.plan.clone_from(&listing.plan);
        }
        self.derive_state();
    }

    /// Adds a change as the latest to arrive, or replaces it if its id is known, and updates the state.
    pub fn add(&mut self, news: News) {
        // An event and the announcement of the same change are one change.
        let is_same = |known: &News| known.action == news.action && period::day(known.at_ms) == period::day(news.at_ms);
        match news.reporter {
            Reporter::Announcement if self.news.iter().any(is_same) => return,
            Reporter::Github => self.news.retain(|known| known.reporter != Reporter::Announcement || !is_same(known)),
            _ => {}
        }
        match self.news.iter_mut().find(|known| known.id == news.id) {
            Some(known) => *known = News { arrival: known.arrival, ..news },
            None => {
                // Not the job's place in its stream, because a stream restarts once all its jobs are deleted.
                let latest = self.news.iter().map(|known| known.arrival).max().unwrap_or(0);
                self.news.push(News { arrival: latest + 1, ..news });
            }
        }
        if self.news.len() > NEWS_MAX {
            let oldest = self.news.iter().enumerate().min_by_key(|(_, known)| known.at_ms).map(|(at, _)| at);
            oldest.map(|at| self.news.remove(at));
        }
        self.derive_state();
    }

    /// Derives the state from the changes.
    fn derive_state(&mut self) {
        let ordered = order::sort_news(&self.news);
        let Some(last) = ordered.last_usable() else { return };
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

/// A correction by support: the state of the purchase from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correction {
    /// The correct state.
    #[serde(rename = "corrected_to")]
    pub state: PurchaseState,
    /// When it was reached. Missing in jobs of the previous release: the day of the present state.
    pub effective_ms: Option<TimeMs>,
    /// The next billing date; by default, the known one returns monthly.
    pub next_billing_ms: Option<TimeMs>,
}

/// The arguments of a job that settles an account.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SettleArgs {
    /// The account's id at GitHub.
    pub github_account_id: i64,
    /// Support's correction. Nodes of the previous release read only its `corrected_to`.
    #[serde(flatten)]
    pub correction: Option<Correction>,
}

impl SettleArgs {
    /// The form that the job stores.
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// Creates a job that settles an account now, after all jobs in its stream.
pub fn settle_job(github_account_id: i64, now_ms: TimeMs) -> NewJob {
    let args = SettleArgs { github_account_id, correction: None }.to_json();
    let mut job = NewJob::new(JobKind::MarketplaceSettle, args, now_ms);
    job.stream_key = Some(github::stream_key(github_account_id));
    job
}

/// Creates a job that settles an account at a time. It waits in a stream of its own, because it would block events
/// in the account's stream until then.
pub fn timer_job(github_account_id: i64, at_ms: TimeMs) -> NewJob {
    let mut job = settle_job(github_account_id, at_ms);
    job.stream_key = None;
    job.unique_key = Some(format!("marketplace:{github_account_id}:{at_ms}"));
    job
}
