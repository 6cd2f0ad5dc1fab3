//! How an event changes the account and its linked customer. Pure.
//!
//! * A change in force is added to the account's changes, which together determine state and paid months
//!   ([`order`], [`period`]). So neither repetition nor order of arrival matters. A change to a plan that the
//!   configuration does not know is stored, and has an effect once it does.
//! * An upgrade takes effect at once, a downgrade on its day. A plan is better than those before it in the catalogue.
//! * An announcement is stored and comes into force on its day, in case GitHub's event of that day is lost. A
//!   withdrawn one stays withdrawn for its date.
//! * Then the account is settled: one due period is granted, the customer's plan is updated, and a job is created
//!   for the next due date.

use super::terms::Terms;
use super::{
    Correction, ListingPlan, MarketplaceAccount, News, Pending, PurchaseState, Reporter, order, period, settle_job,
    timer_job,
};
use crate::clock::TimeMs;
use crate::domain::catalogue::Catalogue;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::github::{Action, Purchase};
use crate::domain::job::{NewJob, Outcome};
use crate::domain::ledger::Command;
use crate::key::PlanKey;
use std::sync::Arc;

/// The idempotency key of a period's grant.
pub fn grant_key(github_account_id: i64, from_ms: TimeMs) -> String {
    format!("marketplace:{github_account_id}:{}", period::day(from_ms))
}

/// Applies the event `id` to the account. `plan` is what the listing's plan stands for; while it is unknown, the event
/// is stored without effect.
pub fn apply_purchase(
    known: Option<&MarketplaceAccount>,
    said: &Purchase,
    plan: Option<&PlanKey>,
    id: &str,
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> MarketplaceAccount {
    let listing = ListingPlan { id: said.plan_id, name: said.plan_name.clone(), plan: plan.cloned() };
    let mut account = match known {
        Some(known) => known.clone(),
        None => new_account(said, &listing, now_ms),
    };
    account.set_known_plan(&listing, catalogue);
    let mut account = enforce_due(account, now_ms);
    let at_ms = said.effective_ms;
    let is_announcement = match said.action {
        Action::PendingChangeCancelled => {
            withdraw(&mut account, at_ms);
            return account;
        }
        Action::PendingChange => true,
        Action::Changed => at_ms > now_ms && !is_upgrade(&account, &listing, catalogue),
        Action::Cancelled => at_ms > now_ms,
        Action::Purchased => false,
    };
    if is_announcement {
        let plan = (said.action != Action::Cancelled).then_some(listing);
        let unit_count = plan.is_some().then_some(said.unit_count);
        let is_forecast = said.action == Action::PendingChange;
        announce(&mut account, Pending { at_ms, plan, unit_count, is_withdrawn: false }, is_forecast);
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
    terms: Terms<'_>,
    now_ms: TimeMs,
) -> Verdict {
    let mut account = enforce_due(account, now_ms);
    let mut ledger = None;
    let due = account.next_period(terms.catalogue, terms.grace_ms()).filter(|period| period.due_ms <= now_ms);
    if let (Some(customer), Some(period)) = (customer, due) {
        if let Some(op) = terms.grant(&period, now_ms) {
            let reference = format!("github:{}:{}", account.github_account_id, period::day(period.from_ms));
            let key = grant_key(account.github_account_id, period.from_ms);
            let command = Command::internal(op, "marketplace", key).with_reference(reference);
            ledger = Some((customer.id.clone(), command));
        }
        account.granted_until_ms = Some(period.until_ms);
    }
    let plan = customer.and_then(|customer| set_plan(before, &account, customer, terms.catalogue));
    let next = next_wake_ms(&account, terms).map(|at_ms| Effect::JobInsert(next_job(&account, at_ms, now_ms)));
    let row = (before != Some(&account))
        .then(|| Effect::MarketplacePut(Box::new(MarketplaceAccount { updated_at_ms: now_ms, ..account.clone() })));
    // The row is first, because the effect on the plan reads it.
    let effects = [row, plan, next].into_iter().flatten().collect();
    Verdict { outcome: Outcome::Done, ledger, effects }
}

/// Whether a change to this plan is at least as good as the plan in force. If none is known to be in force, that is
/// certain only of the best plan.
fn is_upgrade(account: &MarketplaceAccount, to: &ListingPlan, catalogue: &Catalogue) -> bool {
    let Some(new) = &to.plan else { return false };
    match account.plan.plan.as_ref().filter(|_| account.state == PurchaseState::Purchased) {
        Some(present) => catalogue.better(present, new) == new,
        None => catalogue.plans.last().is_some_and(|best| best.key == *new),
    }
}

/// Sets the customer's plan; `None` if the purchase does not affect it. The effect adds what subscriptions give.
fn set_plan(
    before: Option<&MarketplaceAccount>,
    account: &MarketplaceAccount,
    customer: &Customer,
    catalogue: &Arc<Catalogue>,
) -> Option<Effect> {
    let gives = account.gives_plan(catalogue);
    let gave = before.and_then(|before| before.gives_plan(catalogue)).filter(|gave| Some(*gave) != gives);
    // A customer who ever paid is off the entry plan.
    let may_leave = gives.is_none() && customer.plan == catalogue.entry;
    let has_left = gave.or_else(|| paid_plan(account, catalogue).filter(|_| may_leave));
    let plan = catalogue.plan_now(&customer.plan, gives.cloned().as_slice(), has_left);
    // Even if the customer is already on the plan: another source of it may end meanwhile.
    let is_affected = gives.is_some() || gave.is_some() || (has_left.is_some() && plan != customer.plan);
    is_affected.then(|| Effect::PlanSet {
        customer_id: customer.id.clone(),
        plan,
        has_left: has_left.cloned(),
        catalogue: catalogue.clone(),
    })
}

/// The plan whose end moves a customer off the entry plan, if the purchase gives no plan now: the last one with a
/// granted month, even if it ended before signup. A purchase of a plan that is paid per unit counts like the end of a
/// plan that it follows.
fn paid_plan<'a>(account: &'a MarketplaceAccount, catalogue: &'a Catalogue) -> Option<&'a PlanKey> {
    let ordered = order::sort_news(&account.news).news;
    let last = || ordered.iter().rev().find_map(|news| news.gives_plan(catalogue));
    account.granted_until_ms.and_then(|_| last()).or_else(|| {
        let per_unit = account.plan.plan.as_ref().filter(|_| account.state == PurchaseState::Purchased)?;
        let before = catalogue.plans.iter().find(|plan| plan.followed_by.as_ref() == Some(per_unit))?;
        Some(&before.key)
    })
}

/// When the account must be settled again.
fn next_wake_ms(account: &MarketplaceAccount, terms: Terms<'_>) -> Option<TimeMs> {
    let coming = account.announced_change().map(|pending| pending.at_ms);
    let period = account.next_period(terms.catalogue, terms.grace_ms()).filter(|_| account.customer_id.is_some());
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
        None => account.pending = Some(Pending { at_ms, plan: None, unit_count: None, is_withdrawn: true }),
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
        unit_count: pending.unit_count.unwrap_or(account.unit_count),
        on_free_trial: false,
        free_trial_ends_ms: account.free_trial_ends_ms,
        next_billing_ms: account.next_billing_ms,
    };
    account.add(news);
    account
}

#[cfg(test)]
mod tests;
