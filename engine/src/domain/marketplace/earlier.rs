//! Rows of the previous release, which stored an account's state and the spans to grant instead of the changes.
//! During a rolling deploy its nodes still write such rows and read those of this release. Remove this with the
//! columns `owed` and `period_from_ms` in the next release.

use super::order::sort_news;
use super::period::PaidSpan;
use super::{ListingPlan, MarketplaceAccount, News, PurchaseState, Reporter};
use crate::clock::TimeMs;
use crate::domain::github::Action;
use crate::plan::Plan;

/// Adds changes that explain an account's columns, unless its changes already do.
pub fn restore_news(account: &mut MarketplaceAccount, owed: &[PaidSpan]) {
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
fn past_spans_as_news(effective_ms: TimeMs, owed: &[PaidSpan], stands: &News) -> Vec<News> {
    let plan = ListingPlan { plan: Some(Plan::Pro), ..stands.plan.clone() };
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
