//! Renewals, which no event reports, and cancellations or changes on their day.

use super::*;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// A linked account with Pro, on the morning of its billing date, after all due timers.
fn on_the_billing_date() -> World {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.until(BILLED + 9 * HOUR_MS);
    world
}

#[test]
fn an_end_or_a_downgrade_of_the_billing_date_comes_before_the_month_that_nobody_paid() {
    // GitHub gives the day, or a time within it.
    for at_ms in [BILLED, BILLED + 8 * HOUR_MS] {
        for (action, plan) in [(Action::Cancelled, "Pro"), (Action::Changed, "Trial")] {
            let mut world = on_the_billing_date();
            world.tell(&said(action, plan, at_ms), BILLED + 9 * HOUR_MS);
            world.until(BILLED + 90 * DAY_MS);
            assert_eq!((world.plan(), world.granted.len()), ("pay_as_you_go", 1), "{action:?} at {at_ms}");
            assert_eq!(world.next_period(), None);
        }
    }
}

#[test]
fn an_end_that_is_heard_of_before_or_after_the_grace_leaves_the_months_before_it() {
    let (ended, months) = (BILLED + 30 * DAY_MS, ["2026-10-25", "2026-11-05"]);
    for heard_ms in [ended + 9 * HOUR_MS, ended + 20 * DAY_MS] {
        let mut world = World::new();
        world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
        world.tell(&said(Action::Cancelled, "Pro", ended), heard_ms);
        world.link(heard_ms);
        world.until(heard_ms);
        assert_eq!(world.granted, months.map(|day| format!("marketplace:4:{day}")));
    }
}

#[test]
fn a_purchase_that_is_linked_within_the_grace_brings_the_renewal_after_it() {
    let mut world = World::new();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.link(BILLED + HOUR_MS);
    world.until(BILLED + HOUR_MS);
    assert_eq!(world.granted.len(), 1);
    world.until(BILLED + GRACE_MS);
    assert_eq!(world.granted.len(), 2);
}

#[test]
fn other_seats_on_the_billing_date_bring_its_month_once_within_the_grace_and_after_it() {
    let changed = Purchase {
        unit_count: 5,
        next_billing_ms: Some(BILLED + 30 * DAY_MS),
        ..said(Action::Changed, "Pro", BILLED + 8 * HOUR_MS)
    };
    for heard_ms in [BILLED + 9 * HOUR_MS, BILLED + 2 * DAY_MS] {
        let mut world = on_the_billing_date();
        world.until(heard_ms);
        world.tell(&changed, heard_ms);
        world.until(BILLED + 20 * DAY_MS);
        assert_eq!(world.granted, ["marketplace:4:2026-10-25", "marketplace:4:2026-11-05"], "{heard_ms}");
    }
}

#[test]
fn a_change_that_only_an_announcement_tells_of_brings_credits_after_the_grace() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Trial", BOUGHT), BOUGHT);
    world.tell(&said(Action::PendingChange, "Pro", BILLED), BOUGHT);
    world.until(BILLED);
    assert_eq!((world.plan(), world.granted.len()), ("pro", 0));
    world.until(BILLED + GRACE_MS);
    assert_eq!(world.granted, ["marketplace:4:2026-11-05"]);
}

#[test]
fn a_free_trial_that_is_cancelled_on_its_last_day_brings_no_credits() {
    let ends_ms = BOUGHT + 14 * DAY_MS;
    let mut world = World::linked();
    world.tell(&on_trial(said(Action::Purchased, "Pro", BOUGHT), ends_ms), BOUGHT);
    world.until(ends_ms + 9 * HOUR_MS);
    world.tell(&said(Action::Cancelled, "Pro", ends_ms), ends_ms + 9 * HOUR_MS);
    world.until(ends_ms + 60 * DAY_MS);
    assert_eq!((world.plan(), world.granted.len()), ("pay_as_you_go", 0));
}

#[test]
fn without_a_grace_a_renewal_is_granted_on_its_date() {
    let mut world = World::linked();
    world.config.renewal_grace_hours = 0;
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.until(BILLED - 1);
    assert_eq!(world.granted.len(), 1);
    world.until(BILLED);
    assert_eq!(world.granted.len(), 2);
}
