//! Reconstructs the order of changes. Deliveries arrive late, twice and in any order, and GitHub mostly gives the
//! day of a change and no time. The rules are:
//!
//! 1. Changes of different days are ordered by day.
//! 2. On one day, changes that have a time of day are ordered by it among each other.
//! 3. The rest is ordered by plausibility. GitHub has one purchase an account: a new one needs that none is in
//!    force, a change names the plan before it, a cancellation the plan and billing date that it ends. Of all orders
//!    of a day, the one with the highest score (`score`) counts.
//! 4. Equally plausible orders with equal results are equivalent. With different results the day is **unclear**:
//!    orders that end with a plan that GitHub bills are preferred, then those that end with a purchase, so that nothing
//!    is taken away; order of arrival decides the rest; a person must check.
//!
//! The rules read only what GitHub reported. The catalogue has no part in them, because it may change, and past changes
//! must keep their order.
//!
//! A change equal to the one of its day that arrived just before it is a repetition. A correction by support
//! overrides the changes of its day that arrived before it.
//!
//! Sources: GitHub, "Webhook events for the GitHub Marketplace API" and "Handling plan cancellations" (a paid plan
//! ends on the first day of the next billing cycle, a free trial at once).

use super::{News, Reporter};
use crate::clock::TimeMs;
use crate::domain::github::Action;
use std::collections::{BTreeMap, BTreeSet};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Maximum number of changes of one day that are permuted: 720 orders. A day with more is unclear.
const DAY_NEWS_MAX: usize = 6;

/// Changes in the order in which they happened.
#[derive(Debug)]
pub struct OrderedNews<'a> {
    /// All changes.
    pub news: Vec<&'a News>,
    /// Days since 1970 on which the order is ambiguous.
    unclear_days: BTreeSet<i64>,
}

impl OrderedNews<'_> {
    /// Whether the order of the changes on this day is ambiguous.
    pub fn is_unclear_on(&self, at_ms: TimeMs) -> bool {
        self.unclear_days.contains(&day_number(at_ms))
    }

    /// The change that determines the state: the last usable one, or the last of all if none is usable.
    pub fn last_usable(&self) -> Option<&News> {
        self.news.iter().rev().find(|news| news.is_usable()).or(self.news.last()).copied()
    }
}

/// Sorts changes into the order in which they happened.
pub fn sort_news(news: &[News]) -> OrderedNews<'_> {
    let mut days: BTreeMap<i64, Vec<&News>> = BTreeMap::new();
    for one in news {
        days.entry(day_number(one.at_ms)).or_default().push(one);
    }
    let mut ordered = OrderedNews { news: Vec::with_capacity(news.len()), unclear_days: BTreeSet::new() };
    let mut standing = Situation::default();
    for (day, mut of_day) in days {
        of_day.sort_by_key(|one| one.arrival);
        of_day.dedup_by(|one, before| is_repetition(one, before));
        for part in of_day.split_inclusive(|one| is_final(one)) {
            let (open, settled) = part.split_at(part.iter().take_while(|one| !is_final(one)).count());
            let best = choose_order(&standing, open, day);
            if best.is_unclear && settled.is_empty() {
                ordered.unclear_days.insert(day);
            }
            for one in best.news.into_iter().chain(settled.iter().copied()) {
                standing = standing.after(one, day);
                ordered.news.push(one);
            }
        }
    }
    ordered
}

/// The purchase in force, as far as it affects which changes are plausible next.
#[derive(Debug, Clone, Default)]
struct Situation {
    purchase: Option<InForce>,
    /// Whether anything was ever paid. GitHub offers the free trial to new customers only.
    has_paid: bool,
}

#[derive(Debug, Clone, Copy)]
struct InForce {
    plan_id: i64,
    next_billing_ms: Option<TimeMs>,
    on_free_trial: bool,
    since_day: i64,
    /// Whether its purchase was reported, not only a change of it.
    is_purchase_known: bool,
}

impl Situation {
    fn after(&self, news: &News, day: i64) -> Self {
        if !news.is_in_force() {
            return Self { purchase: None, has_paid: self.has_paid };
        }
        let before = self.purchase.filter(|_| news.action == Action::Changed);
        let purchase = InForce {
            plan_id: news.plan.id,
            next_billing_ms: news.next_billing_ms.or(before.and_then(|before| before.next_billing_ms)),
            on_free_trial: news.on_free_trial,
            since_day: before.map_or(day, |before| before.since_day),
            is_purchase_known: before.map_or(news.action == Action::Purchased, |before| before.is_purchase_known),
        };
        let is_paid = !news.on_free_trial && purchase.next_billing_ms.is_some();
        Self { purchase: Some(purchase), has_paid: self.has_paid || is_paid }
    }

    /// The part that matters at the end of a day.
    fn outcome(&self) -> Option<(i64, Option<TimeMs>, bool)> {
        self.purchase.map(|purchase| (purchase.plan_id, purchase.next_billing_ms, purchase.on_free_trial))
    }
}

/// How plausible a change is: 2 it follows, 1 it follows if a report is missing, 0 it contradicts.
fn score(standing: &Situation, news: &News, day: i64) -> u32 {
    match (news.action, standing.purchase) {
        (Action::Purchased, Some(purchase)) if purchase.is_purchase_known || purchase.since_day == day => 0,
        (Action::Purchased, _) => 2 - u32::from(news.on_free_trial && standing.has_paid),
        (Action::Cancelled, Some(purchase)) => score_cancellation(&purchase, news, day),
        (_, None) => 1,
        (_, Some(purchase)) => match news.previous_plan_id {
            Some(plan_id) if plan_id != purchase.plan_id => 0,
            _ => 2,
        },
    }
}

/// A cancellation names the plan and billing date of its purchase. For an older purchase both may have changed
/// without a report; a purchase of the same day must match.
fn score_cancellation(purchase: &InForce, end: &News, day: i64) -> u32 {
    let is_same_plan = end.plan.id == purchase.plan_id;
    if purchase.since_day != day {
        return if is_same_plan && purchase.is_purchase_known { 2 } else { 1 };
    }
    // GitHub clears the flag after a trial, so only its presence is evidence.
    if !is_same_plan || (end.on_free_trial && !purchase.on_free_trial) {
        return 0;
    }
    match (end.next_billing_ms, purchase.next_billing_ms) {
        (ended, bought) if ended == bought => 2,
        (None, Some(_)) => 1,
        _ => 0,
    }
}

/// The chosen order of a day's changes.
struct ChosenOrder<'a> {
    news: Vec<&'a News>,
    is_unclear: bool,
}

fn choose_order<'a>(standing: &Situation, news: &[&'a News], day: i64) -> ChosenOrder<'a> {
    if news.len() > DAY_NEWS_MAX {
        let mut news = news.to_vec();
        news.sort_by_key(|one| (one.is_in_force(), one.is_billed()));
        return ChosenOrder { news, is_unclear: true };
    }
    let orders = permute(news).into_iter().filter(|order| is_sorted_by_time(order)).map(|order| {
        let (mut sense, mut now) = (0, standing.clone());
        for one in &order {
            sense += score(&now, one, day);
            now = now.after(one, day);
        }
        (sense, now.outcome(), order)
    });
    let orders: Vec<_> = orders.collect();
    let most = orders.iter().map(|(sense, ..)| *sense).max();
    let mut equal: Vec<_> = orders.into_iter().filter(|(sense, ..)| Some(*sense) == most).collect();
    let is_unclear = equal.iter().any(|(_, outcome, _)| *outcome != equal[0].1);
    if is_unclear {
        // The sort is stable: among orders with equal results, the one nearest to arrival stays first.
        equal.sort_by_key(|(_, _, order)| {
            let last = order.last();
            (!last.is_some_and(|last| last.is_billed()), !last.is_some_and(|last| last.is_in_force()))
        });
    }
    ChosenOrder { news: equal.swap_remove(0).2, is_unclear }
}

/// All orders, those nearest to the given one first.
fn permute<'a>(news: &[&'a News]) -> Vec<Vec<&'a News>> {
    if news.len() < 2 {
        return vec![news.to_vec()];
    }
    let mut orders = Vec::new();
    for at in 0..news.len() {
        let mut rest = news.to_vec();
        let first = rest.remove(at);
        orders.extend(permute(&rest).into_iter().map(|rest| std::iter::once(first).chain(rest).collect()));
    }
    orders
}

/// Whether changes with a time of day are sorted by it. The first millisecond of a day counts as no time.
fn is_sorted_by_time(order: &[&News]) -> bool {
    order.iter().filter(|news| news.at_ms.rem_euclid(DAY_MS) != 0).is_sorted_by_key(|news| news.at_ms)
}

fn is_repetition(news: &News, before: &News) -> bool {
    let (id, arrival, plan) = (before.id.clone(), before.arrival, before.plan.clone());
    news.plan.id == plan.id && News { id, arrival, plan, ..news.clone() } == *before
}

/// Whether it overrides the changes of its day that arrived before it.
fn is_final(news: &News) -> bool {
    matches!(news.reporter, Reporter::Support | Reporter::EarlierRelease)
}

/// Days since 1970.
pub fn day_number(at_ms: TimeMs) -> i64 {
    at_ms.div_euclid(DAY_MS)
}
