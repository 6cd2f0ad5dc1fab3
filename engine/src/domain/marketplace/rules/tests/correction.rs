//! Corrections by support: from which day they count, and what they grant and take.

use super::*;
use PurchaseState::{Cancelled, Purchased};

const MONTH_MS: i64 = 30 * DAY_MS;

#[test]
fn a_purchase_that_was_lost_brings_no_month_of_the_gap_before_it() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.tell(&said(Action::Cancelled, "Pro", BILLED), BILLED);
    let again = BILLED + 6 * MONTH_MS;
    world.correct("job_1", Purchased, again, again + DAY_MS);
    world.until(again + DAY_MS);
    assert_eq!(world.plan(), "pro");
    assert_eq!(world.granted, ["marketplace:4:2026-10-25", "marketplace:4:2027-05-04"]);
    // Its periods end at the monthly returns of the billing date known before.
    let next = world.next_period().expect("it lasts");
    assert_eq!(period::day(next.from_ms), "2027-05-05");
}

#[test]
fn periods_return_with_the_billing_date_that_a_correction_gives() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Trial", BOUGHT), BOUGHT);
    world.tell(&said(Action::Changed, "Pro", BOUGHT + DAY_MS), BOUGHT + DAY_MS);
    let correction =
        Correction { state: Purchased, effective_ms: Some(BOUGHT), next_billing_ms: Some(BOUGHT + 20 * DAY_MS) };
    let account = apply_correction(world.account(), &correction, "job_1", BILLED).expect("a purchase");
    assert_eq!(account.next_billing_ms, Some(BILLED), "later news count as ever");
    let correction = Correction { effective_ms: Some(BOUGHT + 2 * DAY_MS), ..correction };
    let account = apply_correction(world.account(), &correction, "job_1", BILLED).expect("a purchase");
    assert_eq!(account.next_billing_ms, Some(BOUGHT + 20 * DAY_MS));
}

#[test]
fn an_end_that_was_lost_takes_no_month_that_was_paid_before_it() {
    let ended = BILLED + 2 * MONTH_MS + DAY_MS;
    for is_linked in [true, false] {
        let mut world = if is_linked { World::linked() } else { World::new() };
        world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
        world.correct("job_1", Cancelled, ended, ended + DAY_MS);
        world.link(ended + 2 * DAY_MS);
        world.until(ended + 6 * MONTH_MS);
        let days = ["2026-10-25", "2026-11-05", "2026-12-05"];
        assert_eq!(world.granted, days.map(|day| format!("marketplace:4:{day}")), "{is_linked}");
        assert_eq!((world.plan(), world.account().state), ("pay_as_you_go", Cancelled));
    }
}

#[test]
fn a_correction_of_a_day_in_the_past_leaves_what_was_bought_after_it() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Trial", BOUGHT), BOUGHT);
    world.tell(&said(Action::Purchased, "Pro", BILLED), BILLED);
    world.correct("job_1", Cancelled, BOUGHT + DAY_MS, BILLED + DAY_MS);
    assert_eq!((world.is_paid(), world.plan()), (true, "pro"));
    let ended = world.account().news.iter().find(|news| news.reporter == Reporter::Support).expect("added");
    assert_eq!(ended.plan.name, "Trial", "what it ends was bought before it");
}

#[test]
fn a_correction_counts_against_every_event_of_its_day_that_arrived_before_it() {
    for (first, then) in [(Purchased, Cancelled), (Cancelled, Purchased)] {
        let mut world = World::linked();
        world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
        // With a time of day, which is later than the day itself.
        world.tell(&said(Action::Changed, "Pro", BOUGHT + 5), BOUGHT + 5);
        world.correct("job_1", first, BOUGHT, BOUGHT + 6);
        assert_eq!(world.account().state, first);
        world.correct("job_2", then, BOUGHT, BOUGHT + 7);
        world.correct("job_1", first, BOUGHT, BOUGHT + 8);
        assert_eq!(world.account().state, then, "the first, replayed, arrived before the second");
    }
}

#[test]
fn a_correction_of_the_release_before_counts_since_when_it_has_stood_so() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    let correction: Correction = serde_json::from_str(r#"{"corrected_to":"cancelled"}"#).expect("readable");
    let account = apply_correction(world.account(), &correction, "job_1", BILLED).expect("a purchase");
    assert_eq!((account.state, account.effective_ms), (Cancelled, BOUGHT));
}

#[test]
fn nothing_is_corrected_where_nothing_was_bought() {
    let world = World::linked();
    let correction = Correction { state: Purchased, effective_ms: Some(BOUGHT), next_billing_ms: None };
    assert_eq!(apply_correction(world.account(), &correction, "job_1", BOUGHT), None);
}
