//! What a purchase means: pure rules, `what is known + what GitHub says + now → what changes`.
//!
//! GitHub's events may come twice and in any order, and there is nobody to ask for the present state
//! without a token of the app. So:
//!
//! * What is in force is decided by the effective date; on one date a change outweighs the purchase,
//!   and the end outweighs both. Of two of one sort on one date the one that came last counts.
//! * What is to come is kept and put in force on its day, should GitHub's own event of that day be
//!   lost; that event then finds nothing left to do. Withdrawn is withdrawn for that date.
//! * Credits go by periods. A period that was paid is granted once, under a key of account and first
//!   day, in order, each after the one before; what is older than the last that was granted is not
//!   granted again. For which times Pro was paid is kept with its ends, so a purchase that is not linked
//!   yet keeps its credits until it is, whether it lasts until then or not.

use super::period::{day, period_end};
use super::{ListingPlan, MarketplaceAccount, Owed, Pending, PurchaseState, settle_job, timer_job};
use crate::clock::TimeMs;
use crate::customer::{Customer, Plan};
use crate::effect::Effect;
use crate::github::{Action, Purchase};
use crate::job::{NewJob, Outcome, Verdict};
use crate::ledger::{Command, GrantKind, Op};

/// The idempotency key of a period's credits.
pub fn grant_key(github_account_id: i64, from_ms: TimeMs) -> String {
    format!("marketplace:{github_account_id}:{}", day(from_ms))
}

/// The account after an event. `plan` is which of our plans the listing's plan is.
pub fn told(
    known: Option<&MarketplaceAccount>,
    said: &Purchase,
    plan: Option<Plan>,
    now_ms: TimeMs,
) -> MarketplaceAccount {
    let listing = ListingPlan { id: said.plan_id, name: said.plan_name.clone(), plan };
    let account = match known {
        Some(known) => known.clone(),
        None => unseen(said, &listing, now_ms),
    };
    let is_to_come = match said.action {
        Action::PendingChange => true,
        Action::PendingChangeCancelled => return withdrawn(account, said.effective_ms),
        // More is given at once, less on its day.
        Action::Changed => said.effective_ms > now_ms && plan != Some(Plan::Pro),
        Action::Cancelled => said.effective_ms > now_ms,
        Action::Purchased => false,
    };
    if is_to_come {
        let plan = (said.action != Action::Cancelled).then_some(listing);
        return announced(account, Pending { at_ms: said.effective_ms, plan, is_withdrawn: false });
    }
    if order(said.effective_ms, said.action) < order(account.effective_ms, account.last_action) {
        return late(account, said, plan);
    }
    in_force(account, said, listing)
}

/// What follows for the customer that the account is linked to, and for the account itself: what is due
/// is put in force, the next period that is due is granted, the plan is moved. `before` is the account
/// as stored, `credits` what a period of Pro brings.
pub fn settle(
    before: Option<&MarketplaceAccount>,
    account: MarketplaceAccount,
    customer: Option<&Customer>,
    credits: i64,
    now_ms: TimeMs,
) -> Verdict {
    let mut account = due(account, now_ms);
    let mut ledger = None;
    let first = account.owed.first().filter(|owed| owed.from_ms <= now_ms).cloned();
    if let (Some(customer), Some(Owed { from_ms, billing_ms, .. })) = (customer, first) {
        let until_ms = period_end(from_ms, billing_ms);
        account.covered_until_ms = Some(until_ms);
        account.owed = account.owed.into_iter().filter_map(|owed| owed.after(until_ms)).collect();
        if credits > 0 {
            let op = Op::Grant { kind: GrantKind::Included, amount: credits, expires_at_ms: None };
            let reference = format!("github:{}:{}", account.github_account_id, day(from_ms));
            let key = grant_key(account.github_account_id, from_ms);
            let command = Command::internal(op, "marketplace", key).with_reference(reference);
            ledger = Some((customer.id.clone(), command));
        }
    }
    let plan = customer.and_then(|customer| Some((customer, plan_after(before, &account, customer)?)));
    let next = wakes_at(&account).map(|at_ms| Effect::JobInsert(next_job(&account, at_ms, now_ms)));
    let row = (before != Some(&account))
        .then(|| Effect::MarketplacePut(Box::new(MarketplaceAccount { updated_at_ms: now_ms, ..account.clone() })));
    let plan = plan.map(|(customer, plan)| Effect::PlanSet { customer_id: customer.id.clone(), plan });
    // The row goes first: whether Pro may be taken away is looked up when it is.
    let effects = [row, plan, next].into_iter().flatten().collect();
    Verdict { outcome: Outcome::Done, ledger, effects }
}

/// The plan that follows; none if nothing follows. Pro is never taken away here for good: while a subscription
/// gives it, the move that this asks for does not happen ([`Effect::PlanSet`]).
fn plan_after(before: Option<&MarketplaceAccount>, account: &MarketplaceAccount, customer: &Customer) -> Option<Plan> {
    let gave_pro = before.is_some_and(MarketplaceAccount::gives_pro);
    let pays_each = account.state == PurchaseState::Purchased && account.plan.plan == Some(Plan::PayAsYouGo);
    match customer.plan {
        // Even if the customer was on Pro when it was looked at: whatever gave it that may end meanwhile.
        _ if account.is_pro() => Some(Plan::Pro),
        Plan::Pro => gave_pro.then_some(Plan::PayAsYouGo),
        // It has been a paying customer, as it would be had it not come late.
        Plan::Trial if pays_each || account.covered_until_ms.is_some() => Some(Plan::PayAsYouGo),
        Plan::Trial | Plan::PayAsYouGo => None,
    }
}

/// When the account must be looked at again.
fn wakes_at(account: &MarketplaceAccount) -> Option<TimeMs> {
    let coming = account.coming().map(|pending| pending.at_ms);
    let period = account.next_credits_ms().filter(|_| account.customer_id.is_some());
    [coming, period].into_iter().flatten().min()
}

/// What looks at it again then. A time that has come gets no timer: one of that time may have fired long
/// ago, for a change that was announced while nobody was linked, and its key is still known.
fn next_job(account: &MarketplaceAccount, at_ms: TimeMs, now_ms: TimeMs) -> NewJob {
    if at_ms <= now_ms {
        settle_job(account.github_account_id, now_ms)
    } else {
        timer_job(account.github_account_id, at_ms)
    }
}

/// Which of two pieces of news is later.
fn order(effective_ms: TimeMs, action: Action) -> (TimeMs, u8) {
    let weight = match action {
        Action::PendingChange | Action::PendingChangeCancelled => 0,
        Action::Purchased => 1,
        Action::Changed => 2,
        Action::Cancelled => 3,
    };
    (effective_ms, weight)
}

/// An account of which nothing is in force yet.
fn unseen(said: &Purchase, listing: &ListingPlan, now_ms: TimeMs) -> MarketplaceAccount {
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
        // Whatever is told of the present is later than this.
        effective_ms: 0,
        last_action: Action::PendingChange,
        pending: None,
        owed: Vec::new(),
        covered_until_ms: None,
        customer_id: None,
        linked_at_ms: None,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
    }
}

/// Keeps what is to come. Of two that are to come on one day, the end outweighs the change.
fn announced(account: MarketplaceAccount, pending: Pending) -> MarketplaceAccount {
    let is_past = pending.at_ms <= account.effective_ms;
    let is_outweighed = account.pending.as_ref().is_some_and(|known| {
        let is_same_day = pending.at_ms == known.at_ms;
        let ends = known.plan.is_none() && pending.plan.is_some();
        pending.at_ms < known.at_ms || (is_same_day && (known.is_withdrawn || ends))
    });
    if is_past || is_outweighed { account } else { MarketplaceAccount { pending: Some(pending), ..account } }
}

fn withdrawn(account: MarketplaceAccount, at_ms: TimeMs) -> MarketplaceAccount {
    let pending = account.pending.clone().unwrap_or(Pending { at_ms, plan: None, is_withdrawn: true });
    MarketplaceAccount { pending: Some(Pending { is_withdrawn: true, ..pending }), ..account }
}

/// News that is older than what is in force changes nothing of that, only for which time Pro was paid: from
/// then until the next news that is known. What was granted is not looked at again.
fn late(mut account: MarketplaceAccount, said: &Purchase, plan: Option<Plan>) -> MarketplaceAccount {
    let at_ms = said.effective_ms;
    if at_ms >= account.effective_ms || account.covered_until_ms.is_some_and(|until_ms| at_ms < until_ms) {
        return account;
    }
    let is_end = said.action == Action::Cancelled;
    if is_end || plan != Some(Plan::Pro) {
        // On one date only an end outweighs what began there.
        let outweighs = |owed: &Owed| owed.contains(at_ms) && (is_end || owed.from_ms < at_ms);
        let cut = |owed: Owed| if outweighs(&owed) { owed.before(at_ms) } else { Some(owed) };
        account.owed = account.owed.into_iter().filter_map(cut).collect();
    } else if !said.on_free_trial && !account.owed.iter().any(|owed| owed.contains(at_ms)) {
        let place = account.owed.iter().take_while(|owed| owed.from_ms < at_ms).count();
        let next_ms = account.owed.get(place).map_or(account.effective_ms, |next| next.from_ms);
        let until_ms = Some(next_ms.min(account.effective_ms));
        account.owed.insert(place, Owed { from_ms: at_ms, until_ms, billing_ms: said.next_billing_ms });
    }
    account
}

/// Puts in force what an event says.
fn in_force(account: MarketplaceAccount, said: &Purchase, listing: ListingPlan) -> MarketplaceAccount {
    let is_over = said.action == Action::Cancelled;
    let next = MarketplaceAccount {
        login: said.login.clone(),
        account_type: said.account_type.clone(),
        email: said.email.clone().or_else(|| account.email.clone()),
        state: if is_over { PurchaseState::Cancelled } else { PurchaseState::Purchased },
        plan: listing,
        billing_cycle: said.billing_cycle.clone(),
        unit_count: said.unit_count,
        on_free_trial: said.on_free_trial && !is_over,
        free_trial_ends_ms: said.free_trial_ends_ms,
        next_billing_ms: said.next_billing_ms.or(account.next_billing_ms),
        last_action: said.action,
        ..account.clone()
    };
    moved(&account, next, said.effective_ms, said.paid_from_ms())
}

/// Puts in force what was to come, if its day has come.
fn due(account: MarketplaceAccount, now_ms: TimeMs) -> MarketplaceAccount {
    let Some(pending) = account.coming().filter(|pending| pending.at_ms <= now_ms).cloned() else { return account };
    let next = MarketplaceAccount {
        state: if pending.plan.is_some() { PurchaseState::Purchased } else { PurchaseState::Cancelled },
        last_action: if pending.plan.is_some() { Action::Changed } else { Action::Cancelled },
        plan: pending.plan.unwrap_or_else(|| account.plan.clone()),
        on_free_trial: false,
        ..account.clone()
    };
    moved(&account, next, pending.at_ms, pending.at_ms)
}

/// What both have in common: since when it counts, what is no longer to come, and which periods are
/// still to be granted.
fn moved(
    before: &MarketplaceAccount,
    mut after: MarketplaceAccount,
    at_ms: TimeMs,
    paid_from_ms: TimeMs,
) -> MarketplaceAccount {
    after.effective_ms = at_ms;
    after.pending = after.pending.filter(|pending| pending.at_ms > at_ms);
    // Each piece of news begins a time of its own, so that one that comes late finds where it belongs. Only
    // what had begun before was paid for.
    after.owed = after.owed.into_iter().filter_map(|owed| owed.before(at_ms)).collect();
    if after.is_pro() {
        let goes_on = before.is_pro() && !before.on_free_trial;
        let begins_ms = if goes_on { at_ms } else { paid_from_ms };
        let from_ms = before.covered_until_ms.map_or(begins_ms, |until_ms| until_ms.max(begins_ms));
        after.owed.push(Owed { from_ms, until_ms: None, billing_ms: after.next_billing_ms });
    }
    after
}

#[cfg(test)]
mod tests;
