//! What an event changes, for the account and for the customer that it is linked to. Pure.
//!
//! * News of the present are added to the account's news; where the account stands and which months of Pro were
//!   paid follows from all of them ([`order`], [`period`]). So neither repetition nor order of arrival matters.
//!   News of a plan that the configuration does not know are kept, and count once it does.
//! * An announcement is kept and comes into force on its day, should GitHub's event of that day be lost. One that
//!   was taken back stays taken back for its date.
//! * Then the account is settled: one period that is due is granted, the customer's plan follows, and a job is
//!   made for the next thing that becomes due.

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
use crate::domain::ledger::{Command, GrantKind, Op};
use crate::plan::Plan;

/// The idempotency key of a period's credits.
pub fn grant_key(github_account_id: i64, from_ms: TimeMs) -> String {
    format!("marketplace:{github_account_id}:{}", period::day(from_ms))
}

/// What a period of Pro brings, and when.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Its credits.
    pub credits: Credits,
    /// How long a renewal must last to count.
    pub grace_ms: TimeMs,
}

/// The account after the event with an id. `plan` is which of our plans the listing's plan is. Until that is known,
/// the event is kept and nothing follows from it.
pub fn told(
    known: Option<&MarketplaceAccount>,
    said: &Purchase,
    plan: Option<Plan>,
    id: &str,
    now_ms: TimeMs,
) -> MarketplaceAccount {
    let listing = ListingPlan { id: said.plan_id, name: said.plan_name.clone(), plan };
    let mut account = match known {
        Some(known) => known.clone(),
        None => unheard(said, &listing, now_ms),
    };
    account.learn(&listing);
    let mut account = enforce_due(account, now_ms);
    let at_ms = said.effective_ms;
    let is_announcement = match said.action {
        Action::PendingChangeCancelled => {
            withdraw(&mut account, at_ms);
            return account;
        }
        Action::PendingChange => true,
        // An upgrade counts at once, a downgrade on its day.
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
    if order::in_order(&account.news).news.last().is_some_and(|last| last.id == id) {
        account.login = said.login.clone();
        account.account_type = said.account_type.clone();
        account.email = said.email.clone().or(account.email);
    }
    account
}

/// The account after support's job with an id said where it stands from a day on. None if no purchase was reported.
pub fn corrected(
    known: &MarketplaceAccount,
    said: &Correction,
    id: &str,
    now_ms: TimeMs,
) -> Option<MarketplaceAccount> {
    let mut account = enforce_due(known.clone(), now_ms);
    let at_ms = said.effective_ms.unwrap_or(account.effective_ms);
    // What is in force then is what was bought last until that day, not what an end of an older purchase names.
    let ordered = order::in_order(&account.news).news;
    let is_until = |news: &News| order::day_number(news.at_ms) <= order::day_number(at_ms);
    let last_bought = *ordered.iter().max_by_key(|news| (is_until(news), news.is_in_force(), news.counts()))?;
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

/// Whether the facts leave open in which order the news of an event's day happened.
pub fn is_order_unclear(account: &MarketplaceAccount, at_ms: TimeMs) -> bool {
    order::in_order(&account.news).is_unclear_on(at_ms)
}

/// What follows for the customer that the account is linked to, and for the account itself. `before` is the
/// account as stored.
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
        if terms.credits > Credits::ZERO {
            let op = Op::Grant { kind: GrantKind::Included, amount: terms.credits, expires_at_ms: None };
            let reference = format!("github:{}:{}", account.github_account_id, period::day(period.from_ms));
            let key = grant_key(account.github_account_id, period.from_ms);
            let command = Command::internal(op, "marketplace", key).with_reference(reference);
            ledger = Some((customer.id.clone(), command));
        }
    }
    let plan = customer.and_then(|customer| Some((customer, plan_after(before, &account, customer)?)));
    let next = wakes_at(&account, terms.grace_ms).map(|at_ms| Effect::JobInsert(next_job(&account, at_ms, now_ms)));
    let row = (before != Some(&account))
        .then(|| Effect::MarketplacePut(Box::new(MarketplaceAccount { updated_at_ms: now_ms, ..account.clone() })));
    let plan = plan.map(|(customer, plan)| Effect::PlanSet { customer_id: customer.id.clone(), plan });
    // The row goes first: whether Pro may be taken away is looked up when it is.
    let effects = [row, plan, next].into_iter().flatten().collect();
    Verdict { outcome: Outcome::Done, ledger, effects }
}

/// The customer's plan from now on; none if it does not move. A move off Pro does not happen while a subscription
/// gives Pro ([`Effect::PlanSet`]).
fn plan_after(before: Option<&MarketplaceAccount>, account: &MarketplaceAccount, customer: &Customer) -> Option<Plan> {
    let gave_pro = before.is_some_and(MarketplaceAccount::gives_pro);
    let pays_each = account.state == PurchaseState::Purchased && account.plan.plan == Some(Plan::PayAsYouGo);
    match customer.plan {
        // Also if the customer is on Pro: what gives it Pro now may end meanwhile.
        _ if account.is_pro() => Some(Plan::Pro),
        Plan::Pro => gave_pro.then_some(Plan::PayAsYouGo),
        // Who paid for Pro once is no trial customer, also if its purchase ended before it signed up.
        Plan::Trial if pays_each || account.granted_until_ms.is_some() => Some(Plan::PayAsYouGo),
        Plan::Trial | Plan::PayAsYouGo => None,
    }
}

/// When the account must be looked at again.
fn wakes_at(account: &MarketplaceAccount, grace_ms: TimeMs) -> Option<TimeMs> {
    let coming = account.coming().map(|pending| pending.at_ms);
    let period = account.next_period(grace_ms).filter(|_| account.customer_id.is_some());
    [coming, period.map(|period| period.due_ms)].into_iter().flatten().min()
}

/// The job that looks at it again then. A time that has come gets no timer: a timer of that time may have fired
/// before the link, and its key is still known.
fn next_job(account: &MarketplaceAccount, at_ms: TimeMs, now_ms: TimeMs) -> NewJob {
    if at_ms <= now_ms {
        settle_job(account.github_account_id, now_ms)
    } else {
        timer_job(account.github_account_id, at_ms)
    }
}

/// An account of which nothing is in force yet.
fn unheard(said: &Purchase, listing: &ListingPlan, now_ms: TimeMs) -> MarketplaceAccount {
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
        // Any news of the present are later.
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

/// Keeps an announcement. Of two, the one for the later day counts; for one day, the end, else the later to arrive.
/// One that was taken back stays so for whoever only forecasts it again: its news may have come in another order,
/// and on the day the change itself is told. News of the change itself, even early, are believed.
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

/// Takes the announcement back, whatever day it is for: what GitHub names as the day of a withdrawal is nowhere
/// written down.
fn withdraw(account: &mut MarketplaceAccount, at_ms: TimeMs) {
    match &mut account.pending {
        Some(pending) => pending.is_withdrawn = true,
        None => account.pending = Some(Pending { at_ms, plan: None, is_withdrawn: true }),
    }
}

/// Puts an announced change in force if its day has come.
fn enforce_due(mut account: MarketplaceAccount, now_ms: TimeMs) -> MarketplaceAccount {
    let Some(pending) = account.coming().filter(|pending| pending.at_ms <= now_ms).cloned() else { return account };
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
