//! Rows of builds before migration `m0019`, which stored an account's state and the spans to grant instead of the
//! changes. Such rows are still read, and still written for an operator who returns to such a build. Remove this with
//! the columns `owed` and `period_from_ms` in the next release.

use super::order::sort_news;
use super::period::paid_spans;
use super::{ListingPlan, MarketplaceAccount, News, PurchaseState, Reporter};
use crate::clock::TimeMs;
use crate::domain::github::Action;
use crate::key::PlanKey;
use serde::{Deserialize, Serialize};

/// The key of the only plan that was bought in those builds.
const BOUGHT_PLAN: &str = "pro";

/// A span whose credits are to be granted, as stored in the column `owed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedSpan {
    /// When it begins.
    pub from_ms: TimeMs,
    /// When it ends; `None` while it lasts.
    pub until_ms: Option<TimeMs>,
    /// A billing date; periods end on its day of the month.
    pub billing_ms: Option<TimeMs>,
}

/// The spans of an account whose credits are to be granted, of the plan that such a build knows.
pub fn owed_spans(account: &MarketplaceAccount) -> Vec<OwedSpan> {
    let is_known =
        |news: &News| news.is_in_force() && news.plan.plan.as_ref().is_some_and(|plan| plan.as_str() == BOUGHT_PLAN);
    let spans = paid_spans(&sort_news(&account.news).news, is_known);
    let left = spans.iter().filter_map(|span| span.after(account.granted_until_ms));
    left.map(|span| OwedSpan { from_ms: span.from_ms, until_ms: span.until_ms, billing_ms: span.billing_ms }).collect()
}

/// Adds changes that explain an account's columns, unless its changes already do.
pub fn restore_news(account: &mut MarketplaceAccount, owed: &[OwedSpan]) {
    if account.state == PurchaseState::Announced || is_explained(account) {
        return;
    }
    let arrival = account.news.iter().map(|news| news.arrival).max().unwrap_or(0);
    let stands = News {
        id: format!("row:{}:{}", account.effective_ms, account.last_action.as_str()),
        arrival,
        reporter: Reporter::EarlierRelease,
        action: match account.state {
            PurchaseState::Cancelled => Action::Cancelled,
            PurchaseState::Announced | PurchaseState::Purchased => account.last_action,
        },
        at_ms: account.effective_ms,
        plan: account.plan.clone(),
        previous_plan_id: None,
        billing_cycle: account.billing_cycle.clone(),
        unit_count: account.unit_count,
        on_free_trial: account.on_free_trial,
        free_trial_ends_ms: account.free_trial_ends_ms,
        next_billing_ms: account.next_billing_ms,
    };
    if account.news.is_empty() {
        account.news = past_spans_as_news(account.effective_ms, owed, &stands);
    }
    account.news.push(stands);
}

/// Whether the account's changes explain its state.
fn is_explained(account: &MarketplaceAccount) -> bool {
    let latest_ms = account.news.iter().map(|news| news.at_ms).max();
    let is_in_force = account.state == PurchaseState::Purchased;
    latest_ms == Some(account.effective_ms)
        && sort_news(&account.news)
            .last_usable()
            .is_some_and(|last| (last.is_in_force(), &last.plan) == (is_in_force, &account.plan))
}

/// Purchases and cancellations for the spans that were over when the state was reached.
fn past_spans_as_news(effective_ms: TimeMs, owed: &[OwedSpan], stands: &News) -> Vec<News> {
    let plan = ListingPlan { plan: Some(PlanKey::trusted(BOUGHT_PLAN)), ..stands.plan.clone() };
    let news = |action: Action, at_ms: TimeMs, billing_ms: Option<TimeMs>| News {
        id: format!("owed:{at_ms}:{}", action.as_str()),
        reporter: Reporter::EarlierRelease,
        action,
        at_ms,
        plan: plan.clone(),
        on_free_trial: false,
        free_trial_ends_ms: None,
        next_billing_ms: billing_ms,
        ..stands.clone()
    };
    let mut before = Vec::new();
    for (at, span) in owed.iter().enumerate() {
        let Some(until_ms) = span.until_ms.filter(|_| span.from_ms < effective_ms) else { continue };
        before.push(news(Action::Purchased, span.from_ms, span.billing_ms));
        let goes_on = owed.get(at + 1).is_some_and(|next| next.from_ms == until_ms);
        if !goes_on && until_ms < effective_ms {
            before.push(news(Action::Cancelled, until_ms, span.billing_ms));
        }
    }
    before
}

#[cfg(test)]
mod tests;
