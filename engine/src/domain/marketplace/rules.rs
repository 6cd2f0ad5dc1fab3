//! How an event changes the account and its linked customer. Pure.
//!
//! * A change in force is added to the account's changes, which together determine state and paid months
//!   ([`order`], [`period`]). So neither repetition nor order of arrival matters. A change to a plan that the
//!   configuration does not know is stored, and has an effect once it does.
//! * An announcement is stored and comes into force on its day, in case GitHub's event of that day is lost. A
//!   withdrawn one stays withdrawn for its date.
//! * Then the account is settled: one due period is granted, the customer's plan is updated, and a job is created
//!   for the next due date.

use super::{
    Correction, ListingPlan, MarketplaceAccount, News, Pending, PurchaseState, Reporter, order, period, settle_job,
    timer_job,
};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::github::{Action, Purchase};
use crate::domain::job::{NewJob, Outcome};
use crate::domain::ledger::Command;
use crate::domain::period_credits::period_grant;
use crate::plan::Plan;

/// The idempotency key of a period's grant.
pub fn grant_key(github_account_id: i64, from_ms: TimeMs) -> String {
    format!("marketplace:{github_account_id}:{}", period::day(from_ms))
}

/// The credits of a period of Pro, and the grace.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Credits of each period.
    pub credits: Credits,
    /// How long a renewal must last to count.
    pub grace_ms: TimeMs,
}

/// Applies the event `id` to the account. `plan` is Bursar's plan for the listing's plan; while it is unknown, the
/// event is stored without effect.
pub fn apply_purchase(
    known: Option<&MarketplaceAccount>,
    said: &Purchase,
    plan: Option<Plan>,
    id: &str,
    now_ms: TimeMs,
) -> MarketplaceAccount {
    let listing = ListingPlan { id: said.plan_id, name: said.plan_name.clone(), plan };
    let mut account = match known {
        Some(known) => known.clone(),
        None => new_account(said, &listing, now_ms),
    };
    account.set_known_plan(&listing);
    let mut account = enforce_due(account, now_ms);
    let at_ms = said.effective_ms;
    let is_announcement = match said.action {
        Action::PendingChangeCancelled => {
            withdraw(&mut account, at_ms);
            return account;
        }
        Action::PendingChange => true,
        // An upgrade takes effect at once, a downgrade on its day.
        Action::Changed => at_ms > now_ms && plan != Some(Plan::Pro),
        Action::Cancelled => at_ms > now_ms,
        Action::Purchased => false,
    };
    if is_announcement {
        let plan = (said.action != Action::Cancelled).then_some(listing);
        let is_forecast = said.action == Action::PendingChange;
        announce(&mut account, Pending { at_ms, plan, is_withdrawn: false }, is_forecast);
        return account;
    }
    account.add(News {
        id: id.to_owned(),
        arrival: 0,
        reporter: Reporter::Github,
        action: said.action,
        at_ms,
        plan: listing,
        previous_plan_id: said.previous_plan_id,
        billing_cycle: said.billing_cycle.clone(),
        unit_count: said.unit_count,
        on_free_trial: said.on_free_trial,
        free_trial_ends_ms: said.free_trial_ends_ms,
        next_billing_ms: said.next_billing_ms,
    });
    if order::sort_news(&account.news).news.last().is_some_and(|last| last.id == id) {
        account.login = said.login.clone();
        account.account_type = said.account_type.clone();
        account.email = said.email.clone().or(account.email);
    }
    account
}

/// Applies the correction of support's job `id` to the account. `None` if no purchase was ever reported.
pub fn apply_correction(
    known: &MarketplaceAccount,
    said: &Correction,
    id: &str,
    now_ms: TimeMs,
) -> Option<MarketplaceAccount> {
    let mut account = enforce_due(known.clone(), now_ms);
    let at_ms = said.effective_ms.unwrap_or(account.effective_ms);
    // The plan in force then is the last one bought until that day, not one that a cancellation names.
    let ordered = order::sort_news(&account.news).news;
    let is_until = |news: &News| order::day_number(news.at_ms) <= order::day_number(at_ms);
    let last_bought = *ordered.iter().max_by_key(|news| (is_until(news), news.is_in_force(), news.is_usable()))?;
    let news = News {
        id: id.to_owned(),
        arrival: 0,
        reporter: Reporter::Support,
        action: match said.state {
            PurchaseState::Cancelled => Action::Cancelled,
            PurchaseState::Announced | PurchaseState::Purchased => Action::Purchased,
        },
        at_ms,
        next_billing_ms: said.next_billing_ms.or(last_bought.next_billing_ms),
        ..last_bought.clone()
    };
    account.add(news);
    Some(account)
}

/// Whether the order of the changes on an event's day is ambiguous.
pub fn is_order_unclear(account: &MarketplaceAccount, at_ms: TimeMs) -> bool {
    order::sort_news(&account.news).is_unclear_on(at_ms)
}

/// Settles the account for its linked customer. `before` is the account as stored.
pub fn settle(
    before: Option<&MarketplaceAccount>,
    account: MarketplaceAccount,
    customer: Option<&Customer>,
    terms: Terms,
    now_ms: TimeMs,
) -> Verdict {
    let mut account = enforce_due(account, now_ms);
    let mut ledger = None;
    let due = account.next_period(terms.grace_ms).filter(|period| period.due_ms <= now_ms);
    if let (Some(customer), Some(period)) = (customer, due) {
        account.granted_until_ms = Some(period.until_ms);
        if let Some(op) = period_grant(terms.credits) {
            let reference = format!("github:{}:{}", account.github_account_id, period::day(period.from_ms));
            let key = grant_key(account.github_account_id, period.from_ms);
            let command = Command::internal(op, "marketplace", key).with_reference(reference);
            ledger = Some((customer.id.clone(), command));
        }
    }
    let plan = customer.and_then(|customer| Some((customer, plan_after(before, &account, customer)?)));
    let next = next_wake_ms(&account, terms.grace_ms).map(|at_ms| Effect::JobInsert(next_job(&account, at_ms, now_ms)));
    let row = (before != Some(&account))
        .then(|| Effect::MarketplacePut(Box::new(MarketplaceAccount { updated_at_ms: now_ms, ..account.clone() })));
    let plan = plan.map(|(customer, plan)| Effect::PlanSet { customer_id: customer.id.clone(), plan });
    // The row is first, because the effect on the plan reads it before it takes Pro away.
    let effects = [row, plan, next].into_iter().flatten().collect();
    Verdict { outcome: Outcome::Done, ledger, effects }
}

/// The customer's new plan; `None` if it stays. [`Effect::PlanSet`] prevents a move off Pro while a subscription
/// gives Pro.
fn plan_after(before: Option<&MarketplaceAccount>, account: &MarketplaceAccount, customer: &Customer) -> Option<Plan> {
    let gave_pro = before.is_some_and(MarketplaceAccount::gives_pro);
    let pays_each = account.state == PurchaseState::Purchased && account.plan.plan == Some(Plan::PayAsYouGo);
    match customer.plan {
        // Even if the customer is already on Pro: the other source of Pro may end meanwhile.
        _ if account.is_pro() => Some(Plan::Pro),
        Plan::Pro => gave_pro.then_some(Plan::PayAsYouGo),
        // A customer who ever paid for Pro is off the trial, even if the purchase ended before signup.
        Plan::Trial if pays_each || account.granted_until_ms.is_some() => Some(Plan::PayAsYouGo),
        Plan::Trial | Plan::PayAsYouGo => None,
    }
}

/// When the account must be settled again.
fn next_wake_ms(account: &MarketplaceAccount, grace_ms: TimeMs) -> Option<TimeMs> {
    let coming = account.announced_change().map(|pending| pending.at_ms);
    let period = account.next_period(grace_ms).filter(|_| account.customer_id.is_some());
    [coming, period.map(|period| period.due_ms)].into_iter().flatten().min()
}

/// Creates the job that settles it then. A past time needs no timer: its timer may have fired before the link, and
/// the timer's key would still be taken.
fn next_job(account: &MarketplaceAccount, at_ms: TimeMs, now_ms: TimeMs) -> NewJob {
    if at_ms <= now_ms {
        settle_job(account.github_account_id, now_ms)
    } else {
        timer_job(account.github_account_id, at_ms)
    }
}

/// An account without a purchase in force.
fn new_account(said: &Purchase, listing: &ListingPlan, now_ms: TimeMs) -> MarketplaceAccount {
    MarketplaceAccount {
        github_account_id: said.account_id,
        login: said.login.clone(),
        account_type: said.account_type.clone(),
        email: said.email.clone(),
        state: PurchaseState::Announced,
        plan: listing.clone(),
        billing_cycle: said.billing_cycle.clone(),
        unit_count: said.unit_count,
        on_free_trial: said.on_free_trial,
        free_trial_ends_ms: said.free_trial_ends_ms,
        next_billing_ms: said.next_billing_ms,
        // Before every real change.
        effective_ms: 0,
        last_action: Action::PendingChange,
        pending: None,
        news: Vec::new(),
        granted_until_ms: None,
        customer_id: None,
        linked_at_ms: None,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
    }
}

/// Stores an announcement. The one for the later day wins; for one day, the cancellation, else the later to arrive.
/// A withdrawn one ignores further forecasts: reports may be reordered, and the change itself is reported on its
/// day. A report of the change itself, even early, overrides the withdrawal.
fn announce(account: &mut MarketplaceAccount, pending: Pending, is_forecast: bool) {
    let is_past = pending.at_ms <= account.effective_ms;
    let is_outweighed = account.pending.as_ref().is_some_and(|known| {
        let is_same_day = pending.at_ms == known.at_ms;
        let ends = known.plan.is_none() && pending.plan.is_some();
        pending.at_ms < known.at_ms || (is_same_day && if known.is_withdrawn { is_forecast } else { ends })
    });
    if !is_past && !is_outweighed {
        account.pending = Some(pending);
    }
}

/// Withdraws the announcement, whatever its day: GitHub does not document the effective date of a withdrawal.
fn withdraw(account: &mut MarketplaceAccount, at_ms: TimeMs) {
    match &mut account.pending {
        Some(pending) => pending.is_withdrawn = true,
        None => account.pending = Some(Pending { at_ms, plan: None, is_withdrawn: true }),
    }
}

/// Brings an announced change into force if its day has come.
fn enforce_due(mut account: MarketplaceAccount, now_ms: TimeMs) -> MarketplaceAccount {
    let Some(pending) = account.announced_change().filter(|pending| pending.at_ms <= now_ms).cloned() else {
        return account;
    };
    account.pending = None;
    let news = News {
        id: format!("announced:{}", pending.at_ms),
        arrival: 0,
        reporter: Reporter::Announcement,
        action: if pending.plan.is_some() { Action::Changed } else { Action::Cancelled },
        at_ms: pending.at_ms,
        plan: pending.plan.unwrap_or_else(|| account.plan.clone()),
        previous_plan_id: None,
        billing_cycle: account.billing_cycle.clone(),
        unit_count: account.unit_count,
        on_free_trial: false,
        free_trial_ends_ms: account.free_trial_ends_ms,
        next_billing_ms: account.next_billing_ms,
    };
    account.add(news);
    account
}

#[cfg(test)]
mod tests;
