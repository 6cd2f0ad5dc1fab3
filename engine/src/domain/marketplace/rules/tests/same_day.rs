//! Cancellations, changes and purchases on one day, for which GitHub gives no time.

use super::*;

/// Checks the account after these events, each with an id of its own, in every order of arrival; a customer is
/// linked at the end.
fn in_every_order(news: &[Purchase], mut check: impl FnMut(&World, &[usize])) {
    let order: Vec<usize> = (0..news.len()).collect();
    for order in permutations(&order) {
        for times in [1, 2] {
            let mut world = World::new();
            for at in order.iter().flat_map(|at| std::iter::repeat_n(*at, times)) {
                world.deliver(&format!("evt_{at}"), &news[at], BILLED + 1);
            }
            world.link(BILLED + 1);
            world.until(BILLED + 1);
            check(&world, &order);
        }
    }
}

fn is_unclear(world: &World, at_ms: TimeMs) -> bool {
    is_order_unclear(world.account(), at_ms)
}

/// A purchase that is billed a month after its day.
fn bought(plan: &str, at_ms: TimeMs) -> Purchase {
    Purchase { next_billing_ms: Some(at_ms + 30 * DAY_MS), ..said(Action::Purchased, plan, at_ms) }
}

/// The cancellation of a purchase, as GitHub reports it on the day.
fn end_of(bought: &Purchase, at_ms: TimeMs) -> Purchase {
    Purchase { action: Action::Cancelled, effective_ms: at_ms, unit_count: 0, ..bought.clone() }
}

fn free(action: Action, at_ms: TimeMs) -> Purchase {
    Purchase { billing_cycle: None, next_billing_ms: None, ..said(action, "Free", at_ms) }
}

#[test]
fn a_purchase_on_the_day_on_which_the_old_one_ends_is_in_force() {
    let old = said(Action::Purchased, "Pro", BOUGHT);
    let ended = end_of(&old, BILLED);
    // GitHub may give the past billing date with the cancellation, the next one, or none.
    for next_billing_ms in [Some(BILLED), Some(BILLED + 30 * DAY_MS), None] {
        let ended = Purchase { next_billing_ms, ..ended.clone() };
        in_every_order(&[old.clone(), ended, bought("Pro", BILLED)], |world, order| {
            assert_eq!((world.account().state, world.plan()), (PurchaseState::Purchased, "pro"), "{order:?}");
            assert_eq!(world.granted, ["marketplace:4:2026-10-25", "marketplace:4:2026-11-05"], "{order:?}");
            assert!(!is_unclear(world, BILLED), "{order:?}");
        });
    }
}

#[test]
fn who_cancels_again_on_that_day_is_cancelled() {
    let old = said(Action::Purchased, "Pro", BOUGHT);
    let again = bought("Pro", BILLED);
    let news = [old.clone(), end_of(&old, BILLED), again.clone(), end_of(&again, BILLED)];
    in_every_order(&news, |world, order| {
        assert_eq!(world.account().state, PurchaseState::Cancelled, "{order:?}");
        assert_eq!(world.plan(), "pay_as_you_go", "{order:?}");
        assert!(!is_unclear(world, BILLED), "{order:?}");
    });
}

#[test]
fn a_purchase_and_its_own_end_on_one_day_leave_it_cancelled() {
    let bought = bought("Pro", BOUGHT);
    in_every_order(&[bought.clone(), end_of(&bought, BOUGHT)], |world, order| {
        assert_eq!((world.account().state, world.is_paid()), (PurchaseState::Cancelled, false), "{order:?}");
        assert!(!is_unclear(world, BOUGHT), "{order:?}");
    });
}

#[test]
fn the_same_bought_again_counts_if_the_end_arrives_between_and_is_told_again_if_not() {
    let bought = bought("Pro", BOUGHT);
    in_every_order(&[bought.clone(), end_of(&bought, BOUGHT), bought.clone()], |world, order| {
        let is_again = matches!(order, [0, 1, 2] | [2, 1, 0]);
        let state = if is_again { PurchaseState::Purchased } else { PurchaseState::Cancelled };
        assert_eq!(world.account().state, state, "{order:?}");
        assert!(!is_unclear(world, BOUGHT), "{order:?}");
    });
}

#[test]
fn an_end_of_something_unheard_does_not_end_what_was_bought_that_day() {
    let ended = said(Action::Cancelled, "Pro", BILLED);
    in_every_order(&[ended, bought("Pro", BILLED)], |world, order| {
        assert_eq!(world.account().state, PurchaseState::Purchased, "{order:?}");
        assert!(!is_unclear(world, BILLED), "{order:?}");
    });
}

#[test]
fn a_change_whose_purchase_was_never_heard_of_tells_no_order() {
    let bought = bought("Pro", BOUGHT);
    let changed = Purchase { effective_ms: BOUGHT - DAY_MS, action: Action::Changed, ..bought.clone() };
    in_every_order(&[changed, bought.clone(), end_of(&bought, BOUGHT)], |world, order| {
        assert_eq!(world.account().state, PurchaseState::Cancelled, "{order:?}");
    });
}

#[test]
fn a_free_plan_that_is_cancelled_for_pro_leaves_pro() {
    let news = [free(Action::Purchased, BOUGHT), free(Action::Cancelled, BOUGHT), bought("Pro", BOUGHT)];
    in_every_order(&news, |world, order| {
        assert_eq!((world.is_paid(), world.plan()), (true, "pro"), "{order:?}");
    });
}

#[test]
fn a_trial_that_is_cancelled_and_then_bought_is_paid() {
    let bought = said(Action::Purchased, "Pro", BOUGHT);
    let trial = on_trial(bought.clone(), BILLED);
    let ended = end_of(&trial, BOUGHT);
    // With and without the trial flag on the cancellation.
    for ended in [ended.clone(), Purchase { on_free_trial: false, ..ended }] {
        in_every_order(&[trial.clone(), ended, bought.clone()], |world, order| {
            assert_eq!((world.is_paid(), world.account().on_free_trial), (true, false), "{order:?}");
            assert_eq!(world.granted[0], "marketplace:4:2026-10-25", "{order:?}");
        });
    }
}

#[test]
fn a_time_of_day_decides_where_github_gives_one() {
    let bought = bought("Pro", BOUGHT);
    let at = |said: &Purchase, minute: i64| Purchase { effective_ms: BOUGHT + minute * 60_000, ..said.clone() };
    let ended = end_of(&bought, BOUGHT);
    for (news, state) in [
        ([at(&bought, 1), at(&ended, 2), at(&bought, 3)], PurchaseState::Purchased),
        ([at(&ended, 1), at(&bought, 2), at(&ended, 3)], PurchaseState::Cancelled),
    ] {
        in_every_order(&news, |world, order| assert_eq!(world.account().state, state, "{order:?}"));
    }
}

#[test]
fn a_change_follows_the_plan_that_it_names() {
    let change = |from: &str, to: &str| {
        let previous_plan_id = Some(said(Action::Changed, from, BOUGHT).plan_id);
        Purchase { previous_plan_id, ..said(Action::Changed, to, BOUGHT) }
    };
    // An upgrade with a failed payment is undone by a second change.
    let news = [free(Action::Purchased, BOUGHT), change("Free", "Pro"), change("Pro", "Free")];
    in_every_order(&news, |world, order| assert!(!world.is_paid(), "{order:?}"));
    in_every_order(&news[..2], |world, order| assert!(world.is_paid(), "{order:?}"));
}

#[test]
fn where_the_facts_leave_the_order_open_nothing_is_taken_away_and_support_decides() {
    let bought = bought("Pro", BOUGHT);
    // It may have ended this purchase or an older one.
    let ended = Purchase { next_billing_ms: None, ..end_of(&bought, BOUGHT) };
    in_every_order(&[bought, ended], |world, order| {
        assert_eq!((world.is_paid(), world.plan()), (true, "pro"), "{order:?}");
        assert!(is_unclear(world, BOUGHT), "{order:?}");
        for (state, plan) in [(PurchaseState::Cancelled, "pay_as_you_go"), (PurchaseState::Purchased, "pro")] {
            let mut world = World { account: world.account.clone(), customer: world.customer.clone(), ..World::new() };
            world.correct("job_1", state, BOUGHT, BILLED);
            assert_eq!((world.account().state, world.plan()), (state, plan), "{order:?}");
            assert!(!is_unclear(&world, BOUGHT), "{order:?}");
        }
    });
}

#[test]
fn a_day_with_more_news_than_are_compared_is_unclear_and_keeps_pro() {
    let mut world = World::linked();
    for n in 0..6 {
        let said = Purchase { unit_count: n, ..said(Action::Changed, "Pro", BOUGHT) };
        world.tell(&said, BOUGHT);
    }
    // Whatever arrives last: a cancellation, or a downgrade.
    world.tell(&said(Action::Cancelled, "Pro", BOUGHT), BOUGHT);
    world.tell(&free(Action::Changed, BOUGHT), BOUGHT);
    assert!(is_unclear(&world, BOUGHT) && world.is_paid());
    assert_eq!(world.plan(), "pro");
}
