//! Events that arrive late, twice and in every order.

use super::*;

#[test]
fn whatever_comes_first_and_however_often_state_plan_and_credits_are_the_same() {
    let life = [
        said(Action::Purchased, "Pro", BOUGHT),
        said(Action::Changed, "Pro", BOUGHT + DAY_MS),
        said(Action::PendingChange, "Trial", BILLED),
        said(Action::Cancelled, "Pro", BILLED),
    ];
    for lives in 1..=life.len() {
        let events = &life[..lives];
        let run = |events: &[Purchase], times: usize| {
            let mut world = World::linked();
            for said in events.iter().flat_map(|said| std::iter::repeat_n(said, times)) {
                world.tell(said, BILLED - 1);
            }
            world.until(BILLED + 1);
            world
        };
        let in_order = run(events, 1);
        for events in permutations(events) {
            for times in [1, 2] {
                let world = run(&events, times);
                let order: Vec<Action> = events.iter().map(|said| said.action).collect();
                assert_eq!(world.account().state, in_order.account().state, "{order:?}");
                assert_eq!(world.plan(), in_order.plan(), "{order:?}");
                assert_eq!(world.granted.len(), in_order.granted.len(), "{order:?}: {:?}", world.granted);
            }
        }
    }
}

#[test]
fn an_end_that_is_heard_of_before_the_purchase_leaves_the_credits_that_were_paid_for_and_no_pro() {
    for times in [1, 2] {
        let mut world = World::linked();
        for said in [said(Action::Cancelled, "Pro", BILLED), said(Action::Purchased, "Pro", BOUGHT)] {
            (0..times).for_each(|_| world.tell(&said, BILLED + 1));
        }
        world.until(BILLED + 60 * DAY_MS);
        assert_eq!((world.plan(), world.granted.len()), ("pay_as_you_go", 1));
        assert_eq!(world.account().state, PurchaseState::Cancelled);
    }
}

#[test]
fn late_news_count_as_they_would_have_in_order() {
    let day = |n: i64| BOUGHT + n * DAY_MS;
    let spans = |world: &World| -> Vec<_> {
        let left = world.account().ungranted_spans(&world.catalogue);
        left.iter().map(|span| (span.from_ms, span.until_ms)).collect()
    };
    // Pro, then a downgrade that is reported only after Pro was bought again.
    let mut world = World::new();
    world.tell(&said(Action::Purchased, "Pro", day(0)), day(40));
    world.tell(&said(Action::Changed, "Pro", day(39)), day(40));
    world.tell(&said(Action::Changed, "Trial", day(5)), day(40));
    assert_eq!(spans(&world), [(day(0), Some(day(5))), (day(39), None)]);
    // A free trial is paid from its end.
    world.tell(&on_trial(said(Action::Changed, "Pro", day(20)), day(34)), day(40));
    assert_eq!(spans(&world), [(day(0), Some(day(5))), (day(34), Some(day(39))), (day(39), None)]);
    // A downgrade on the day of the purchase cancels all of it.
    world.tell(&said(Action::Changed, "Trial", day(0)), day(40));
    assert_eq!(spans(&world), [(day(34), Some(day(39))), (day(39), None)]);
}

#[test]
fn the_oldest_news_are_forgotten_where_there_are_too_many() {
    let mut world = World::linked();
    for n in 0..150 {
        let changed = Purchase { unit_count: n, ..said(Action::Changed, "Pro", BOUGHT + n * DAY_MS) };
        world.tell(&changed, BOUGHT + 150 * DAY_MS);
    }
    assert_eq!((world.account().news.len(), world.account().unit_count), (100, 149));
    assert_eq!(world.account().news[0].at_ms, BOUGHT + 50 * DAY_MS);
}

#[test]
fn what_is_announced_for_an_earlier_day_than_what_is_to_come_or_is_in_force_changes_nothing() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.tell(&said(Action::PendingChange, "Trial", BOUGHT), BOUGHT + 1);
    assert_eq!(world.account().pending, None);
    world.tell(&said(Action::PendingChange, "Trial", BILLED), BOUGHT + 2);
    let known = world.account().pending.clone();
    world.tell(&said(Action::PendingChange, "Pay_as_you_go", BILLED - DAY_MS), BOUGHT + 3);
    assert_eq!(world.account().pending, known);
}
