//! Random histories of an account: in whatever order and however often events arrive, the account ends as in the
//! true order, and each paid period is granted once.

use super::*;
use crate::domain::marketplace::period::day;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// GitHub's record of the purchase in force.
#[derive(Debug, Clone)]
struct Bought {
    said: Purchase,
    day: i64,
}

/// A history as GitHub sees it.
#[derive(Debug, Default)]
struct Life {
    events: Vec<Purchase>,
    in_force: Option<Bought>,
    has_paid: bool,
    day: i64,
    of_day: usize,
    /// The days at whose end Pro was paid, or which an event reports as paid.
    paid_days: BTreeSet<String>,
}

impl Life {
    /// Adds an event chosen by `roll`; every second one is on the day of the one before.
    fn live(&mut self, roll: u32) {
        let wait = if roll.is_multiple_of(2) && self.of_day < 5 { 0 } else { 1 + i64::from(roll / 7 % 45) };
        self.wait(wait);
        match self.in_force.clone() {
            None => self.buy(roll / 11),
            Some(bought) if (roll / 3).is_multiple_of(3) => self.change(&bought, roll / 11),
            Some(bought) => self.end(&bought, roll / 11),
        }
        self.of_day += 1;
        self.note_paid();
    }

    fn wait(&mut self, days: i64) {
        for _ in 0..days {
            self.note_paid();
            self.day += 1;
            self.of_day = 0;
            self.has_paid |= self.is_paid();
        }
    }

    fn note_paid(&mut self) {
        if self.is_paid() {
            self.paid_days.insert(day(self.at_ms()));
            self.has_paid = true;
        }
    }

    fn is_paid(&self) -> bool {
        let trial_ends_ms = |said: &Purchase| said.free_trial_ends_ms.filter(|_| said.on_free_trial);
        self.in_force.as_ref().is_some_and(|Bought { said, .. }| {
            said.plan_name == "Pro" && trial_ends_ms(said).is_none_or(|ends_ms| ends_ms <= self.at_ms())
        })
    }

    fn at_ms(&self) -> TimeMs {
        BOUGHT + self.day * DAY_MS
    }

    fn buy(&mut self, roll: u32) {
        let at_ms = self.at_ms();
        let bought = match roll % 4 {
            0 => said(Action::Purchased, "Free", at_ms),
            1 if !self.has_paid => on_trial(said(Action::Purchased, "Pro", at_ms), at_ms + 14 * DAY_MS),
            _ => said(Action::Purchased, "Pro", at_ms),
        };
        self.takes_effect(bought, self.day);
    }

    fn change(&mut self, bought: &Bought, roll: u32) {
        let plan = if roll.is_multiple_of(2) { "Pro" } else { "Free" };
        let previous_plan_id = Some(bought.said.plan_id);
        let changed = Purchase { previous_plan_id, unit_count: 2, ..said(Action::Changed, plan, self.at_ms()) };
        self.takes_effect(changed, bought.day);
    }

    fn takes_effect(&mut self, mut said: Purchase, since_day: i64) {
        let days = if said.on_free_trial { 14 } else { 30 };
        said.next_billing_ms = (said.plan_name == "Pro").then(|| self.at_ms() + days * DAY_MS);
        self.events.push(said.clone());
        self.in_force = Some(Bought { said, day: since_day });
    }

    fn end(&mut self, bought: &Bought, roll: u32) {
        let billed_ms = if bought.day == self.day { bought.said.next_billing_ms } else { Some(self.at_ms()) };
        let said = &bought.said;
        self.events.push(Purchase {
            action: Action::Cancelled,
            effective_ms: self.at_ms(),
            next_billing_ms: said.next_billing_ms.and(billed_ms),
            on_free_trial: said.on_free_trial && roll.is_multiple_of(2),
            previous_plan_id: None,
            ..said.clone()
        });
        self.in_force = None;
    }
}

/// Delivers all events at the end of a history, and settles everything due until then.
fn hear(events: impl Iterator<Item = (usize, Purchase)>, now_ms: TimeMs) -> World {
    let mut world = World::new();
    for (at, said) in events {
        world.deliver(&format!("evt_{at}"), &said, now_ms);
    }
    world.link(now_ms);
    world.until(now_ms);
    world
}

/// Delivers each event at noon of its day, and fires timers until then.
fn hear_as_it_happens(events: &[Purchase], now_ms: TimeMs) -> World {
    let mut world = World::linked();
    for (at, said) in events.iter().enumerate() {
        let noon_ms = said.effective_ms + DAY_MS / 2;
        world.until(noon_ms);
        world.deliver(&format!("evt_{at}"), said, noon_ms);
    }
    world.until(now_ms);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_order_of_arrival_ends_as_the_true_order_does(
        rolls in prop::collection::vec(0..100_000_u32, 1..14),
        places in prop::collection::vec(any::<u32>(), 28),
    ) {
        let mut life = Life::default();
        rolls.iter().for_each(|roll| life.live(*roll));
        life.wait(40);
        let now_ms = life.at_ms();
        let in_order = hear(life.events.iter().cloned().enumerate(), now_ms);
        // Some arrive twice.
        let mut arrivals: Vec<_> = life.events.iter().cloned().enumerate().collect();
        arrivals.extend(arrivals.clone().into_iter().filter(|(at, _)| places[14 + at].is_multiple_of(3)));
        let mut arrivals: Vec<_> = arrivals.into_iter().zip(&places).collect();
        arrivals.sort_by_key(|(_, place)| **place);
        let shuffled = hear(arrivals.into_iter().map(|(arrival, _)| arrival), now_ms);
        let live = hear_as_it_happens(&life.events, now_ms);

        for world in [&in_order, &shuffled, &live] {
            let once: BTreeSet<_> = world.granted.iter().collect();
            prop_assert_eq!(once.len(), world.granted.len(), "each period once");
        }
        let is_unclear = [&in_order, &shuffled].iter().any(|world| {
            life.events.iter().any(|said| is_order_unclear(world.account(), said.effective_ms))
        });
        if is_unclear {
            return Ok(());
        }
        let (plan, state) = match &life.in_force {
            Some(bought) => (bought.said.plan_id, PurchaseState::Purchased),
            None => (in_order.account().plan.id, PurchaseState::Cancelled),
        };
        for world in [&in_order, &live] {
            prop_assert_eq!((world.account().plan.id, world.account().state), (plan, state));
        }
        for key in in_order.granted.iter().chain(&live.granted) {
            let begins = key.rsplit(':').next().unwrap_or_default();
            prop_assert!(life.paid_days.contains(begins), "{} was not paid: {:?}", begins, life.events);
        }
        // For equal changes on one day, only the order of arrival shows that they are two.
        let has_twins = life.events.iter().enumerate().any(|(at, said)| life.events[..at].contains(said));
        if has_twins {
            return Ok(());
        }
        prop_assert_eq!(shuffled.account().state, state);
        // No fact tells which of two purchases of one day was cancelled last, and nothing depends on it.
        if state == PurchaseState::Purchased {
            prop_assert_eq!(shuffled.account().plan.id, plan);
        }
        prop_assert_eq!(shuffled.plan(), in_order.plan());
        prop_assert_eq!(&shuffled.granted, &in_order.granted);
    }
}

#[test]
fn the_facts_leave_few_random_lives_open() {
    let (mut open, mut all) = (0, 0);
    let mut roll = 7_u32;
    for _ in 0..500 {
        let mut life = Life::default();
        for _ in 0..10 {
            roll = roll.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            life.live(roll >> 8);
        }
        let world = hear(life.events.iter().cloned().enumerate(), life.at_ms());
        all += 1;
        open += usize::from(life.events.iter().any(|said| is_order_unclear(world.account(), said.effective_ms)));
    }
    assert!(open * 4 < all, "{open} of {all} lives have a day whose order is open");
}
