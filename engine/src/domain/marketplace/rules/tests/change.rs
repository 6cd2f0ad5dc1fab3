//! Changes of the purchase, announced or at once.

use super::*;

#[test]
fn an_upgrade_counts_at_once_and_brings_the_credits_of_its_period() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Trial", BOUGHT), BOUGHT);
    assert_eq!((world.plan(), world.granted.len()), ("trial", 0));
    world.tell(&said(Action::Changed, "Pro", BOUGHT + DAY_MS), BOUGHT + DAY_MS);
    assert_eq!((world.plan(), world.granted.len()), ("pro", 1));
}

#[test]
fn other_seats_or_another_cycle_bring_nothing_within_the_period() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    let changed = Purchase {
        unit_count: 5,
        billing_cycle: Some("yearly".to_owned()),
        ..said(Action::Changed, "Pro", BOUGHT + DAY_MS)
    };
    world.tell(&changed, BOUGHT + DAY_MS);
    assert_eq!((world.account().unit_count, world.granted.len()), (5, 1));
    world.until(BILLED + GRACE_MS);
    assert_eq!(world.granted.len(), 2);
}

#[test]
fn a_downgrade_that_is_announced_counts_on_its_day_even_if_githubs_event_of_that_day_is_lost() {
    for is_lost in [true, false] {
        let mut world = World::linked();
        world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
        world.tell(&said(Action::PendingChange, "Trial", BILLED), BOUGHT + DAY_MS);
        assert_eq!(world.plan(), "pro");
        world.until(BILLED - 1);
        assert_eq!(world.plan(), "pro");
        world.until(BILLED);
        if !is_lost {
            world.tell(&said(Action::Changed, "Trial", BILLED), BILLED + 1);
        }
        world.until(BILLED + 90 * DAY_MS);
        assert_eq!((world.plan(), world.granted.len()), ("pay_as_you_go", 1));
        assert_eq!(world.account().pending, None);
    }
}

#[test]
fn a_change_that_is_taken_back_never_counts_whichever_of_the_two_is_heard_first() {
    let news = [said(Action::PendingChange, "Trial", BILLED), said(Action::PendingChangeCancelled, "Pro", BILLED)];
    for news in permutations(&news) {
        let mut world = World::linked();
        world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
        news.iter().for_each(|said| world.tell(said, BOUGHT + DAY_MS));
        world.until(BILLED + GRACE_MS);
        assert_eq!((world.plan(), world.granted.len()), ("pro", 2));
        assert!(world.account().announced_change().is_none());
    }
}

#[test]
fn an_end_that_is_told_before_its_day_counts_although_a_change_of_that_day_was_taken_back() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.tell(&said(Action::PendingChange, "Trial", BILLED), BOUGHT + 1);
    world.tell(&said(Action::PendingChangeCancelled, "Pro", BILLED), BOUGHT + 2);
    world.tell(&said(Action::Cancelled, "Pro", BILLED), BOUGHT + 3);
    world.until(BILLED + 2 * DAY_MS);
    assert_eq!(world.plan(), "pay_as_you_go");
}

#[test]
fn a_change_of_a_later_day_counts_at_once_if_it_gives_more_and_on_its_day_if_it_gives_less() {
    let mut more = World::linked();
    more.tell(&said(Action::Purchased, "Trial", BOUGHT), BOUGHT);
    more.tell(&said(Action::Changed, "Pro", BILLED), BOUGHT + DAY_MS);
    assert_eq!(more.plan(), "pro");

    let mut less = World::linked();
    less.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    less.tell(&said(Action::Changed, "Trial", BILLED), BOUGHT + DAY_MS);
    assert_eq!(less.plan(), "pro");
    less.until(BILLED);
    assert_eq!(less.plan(), "pay_as_you_go");
}

#[test]
fn a_change_that_github_told_of_earlier_on_its_announced_day_is_one_change() {
    const LATER_MS: i64 = DAY_MS / 2;
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.tell(&said(Action::PendingChange, "Trial", BILLED + LATER_MS), BOUGHT + DAY_MS);
    world.tell(&said(Action::Changed, "Trial", BILLED), BILLED + 1);
    let (told, plan) = (world.account().news.len(), world.plan().to_owned());
    world.until(BILLED + LATER_MS);
    assert_eq!(world.account().pending, None, "the announced day has come");
    assert_eq!((world.account().news.len(), world.plan()), (told, plan.as_str()));
}

#[test]
fn a_change_of_a_later_day_to_a_plan_that_is_not_known_waits_for_its_day() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.tell(&said(Action::Changed, "Gold", BILLED), BOUGHT + DAY_MS);
    assert_eq!(world.account().plan.name, "Pro");
    assert_eq!(world.account().announced_change().map(|pending| pending.at_ms), Some(BILLED));
}
