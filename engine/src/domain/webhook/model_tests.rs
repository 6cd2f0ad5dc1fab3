//! What was bought, over random histories at Stripe: a random catalogue is sold, changed, paused, refunded and
//! disputed, beside other business in the same account, and the events of that arrive in any order, repeated or not at
//! all, in the formats of many API versions. In the end the ledger must have what a plain computation from Stripe's
//! final objects says.
//!
//! A failure prints its smallest history with the seed of its deliveries, which together are a case of [`regressions`].
//! `PROPTEST_CASES` sets the number of histories; without it there are 256, in about two seconds.
//!
//! | module | what is in it |
//! |---|---|
//! | [`deed`] | random catalogues and histories |
//! | [`stripe`] | a model of Stripe: what happened to subscriptions, invoices and their money |
//! | [`fact`] | what the model keeps |
//! | [`shape`] | the model's objects in the formats of API versions |
//! | [`bursar`] | the rules at work: prices learned, events decided, credits granted and clawed back |
//! | [`expected`] | the plain computation, which shares no rule with the engine |

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails there")]

mod bursar;
mod deed;
mod expected;
mod fact;
mod regressions;
mod shape;
mod stripe;

use bursar::{Bursar, Event};
use deed::{Case, Deed, cases};
use fact::Named;
use proptest::prelude::*;
use shape::Version;
use std::collections::BTreeMap;
use stripe::Stripe;

/// The time after which all credits of all periods are granted: longer than the longest period.
const AFTERWARDS_S: i64 = 2 * 366 * 24 * 60 * 60;

/// A small generator of random numbers (splitmix64), so that a case is repeated exactly.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// How an event reaches Bursar.
struct Delivery {
    /// Number of deeds after which it arrives.
    at: usize,
    event: Event,
    /// What it is about, to compare it in the end if it never arrives.
    named: Named,
}

/// One history, played.
struct Play {
    stripe: Stripe,
    bursar: Bursar,
    dice: Dice,
    waiting: Vec<Delivery>,
    lost: Vec<Delivery>,
}

impl Play {
    fn new(case: &Case) -> Self {
        let stripe = Stripe::new(&case.catalogue);
        let bursar = Bursar::new(case.catalogue.clone(), &stripe);
        Self { stripe, bursar, dice: Dice(case.seed), waiting: Vec::new(), lost: Vec::new() }
    }

    /// Does the deeds while events arrive.
    fn run(&mut self, case: &Case) {
        for (at, deed) in case.deeds.iter().enumerate() {
            let next_s = self.stripe.time_of(deed);
            self.bursar.advance(next_s, &self.stripe);
            self.act(deed);
            self.send(at);
            self.arrive(at);
        }
        self.arrive(usize::MAX);
    }

    fn act(&mut self, deed: &Deed) {
        let Some(catalogue) = self.stripe.catalogue_after(deed) else { return self.stripe.act(deed) };
        self.bursar.propose(&self.stripe);
        self.stripe.act(deed);
        self.bursar.apply(catalogue, &self.stripe);
    }

    /// Sends what the last deed has to tell: soon, late, twice, or never.
    fn send(&mut self, at: usize) {
        for (kind, named) in std::mem::take(&mut self.stripe.news) {
            let version = Version::ALL[self.dice.roll(Version::ALL.len() as u64) as usize];
            let event = Event { kind, object: shape::object(&self.stripe, named, version) };
            let is_lost = self.dice.roll(5) == 0;
            let copies = 1 + usize::from(self.dice.roll(4) == 0);
            for _ in 0..copies {
                let delivery = Delivery { at: at + self.dice.roll(4) as usize, event: event.clone(), named };
                if is_lost { &mut self.lost } else { &mut self.waiting }.push(delivery);
            }
        }
    }

    /// Delivers what is due, in any order.
    fn arrive(&mut self, at: usize) {
        let (mut due, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|delivery| delivery.at <= at);
        self.waiting = waiting;
        while !due.is_empty() {
            let next = due.swap_remove(self.dice.roll(due.len() as u64) as usize);
            self.bursar.take(&next.event, &self.stripe);
        }
    }

    /// Finds what was lost: some events that Stripe still lists, the rest by comparing its objects. Credit notes are
    /// compared with their invoice's money.
    fn reconcile(&mut self) {
        for lost in std::mem::take(&mut self.lost) {
            if matches!(lost.named, Named::Note(_)) || self.dice.roll(2) == 0 {
                self.bursar.take(&lost.event, &self.stripe);
            }
        }
        self.bursar.reconcile(&self.stripe);
        self.bursar.retry(&self.stripe);
    }
}

/// Plays a case and compares.
fn check(case: &Case) -> Result<(), TestCaseError> {
    let mut play = Play::new(case);
    play.run(case);
    play.reconcile();
    let end_s = play.stripe.now_s + AFTERWARDS_S;
    play.bursar.advance(end_s, &play.stripe);
    play.bursar.retry(&play.stripe);
    let (stripe, bursar) = (&play.stripe, &mut play.bursar);
    let granted: BTreeMap<String, i64> = bursar.credits_by_invoice();
    prop_assert_eq!(&granted, &expected::credits_by_invoice(stripe), "{:#?}", stripe.invoices);
    let taken = bursar.taken_by_invoice();
    prop_assert_eq!(&taken, &expected::taken_by_invoice(stripe), "{:#?}", stripe.invoices);
    for entry in bursar.grants() {
        prop_assert_eq!(expected::wrong_end(stripe, entry), None);
    }
    for taken in bursar.exchanged() {
        prop_assert_eq!(expected::wrongly_taken(stripe, bursar.entries(), taken), None);
    }
    prop_assert_eq!(bursar.unexplained_dead(stripe), Vec::<String>::new());
    prop_assert_eq!(bursar.reconcile(stripe), Vec::<String>::new(), "a second comparison finds nothing");
    Ok(())
}

proptest! {
    #[test]
    fn credits_are_what_the_final_objects_at_stripe_bring(case in cases()) {
        check(&case)?;
    }
}
