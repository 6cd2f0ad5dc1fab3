//! A plan of the listing that the configuration does not know, and its effect once it does.

use super::*;

/// A linked account that bought Pro and changed to an unknown plan.
fn changed_to_gold() -> (World, Purchase) {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    let changed = said(Action::Changed, "Gold", BOUGHT + DAY_MS);
    world.tell(&changed, BOUGHT + DAY_MS);
    (world, changed)
}

/// The same event again, now that the plan is known.
fn replay(world: &mut World, said: &Purchase, plan: Plan, now_ms: TimeMs) {
    let news = world.account().news.len();
    world.deliver_as(&format!("{said:?}"), said, Some(plan), now_ms);
    assert_eq!(world.account().news.len(), news, "replayed, the event says what it said");
}

#[test]
fn it_gives_nothing_until_it_is_known() {
    let mut world = World::linked();
    let bought = said(Action::Purchased, "Gold", BOUGHT);
    world.tell(&bought, BOUGHT);
    assert_eq!((world.customer.plan, world.account().plan.name.as_str()), (Plan::Trial, "Gold"));
    replay(&mut world, &bought, Plan::Pro, BOUGHT + 1);
    assert_eq!((world.customer.plan, world.granted.len()), (Plan::Pro, 1));
}

#[test]
fn it_takes_nothing_until_it_is_known() {
    for (plan, after) in [(Plan::Trial, (Plan::PayAsYouGo, 2)), (Plan::Pro, (Plan::Pro, 3))] {
        let (mut world, changed) = changed_to_gold();
        assert_eq!((world.customer.plan, world.account().is_pro()), (Plan::Pro, true));
        world.until(BILLED + TERMS.grace_ms);
        assert_eq!((world.customer.plan, world.granted.len()), (Plan::Pro, 2));
        replay(&mut world, &changed, plan, BILLED + TERMS.grace_ms);
        world.until(BILLED + 31 * DAY_MS);
        assert_eq!((world.customer.plan, world.granted.len()), after);
    }
}

#[test]
fn its_end_ends_what_was_in_force() {
    let (mut world, _) = changed_to_gold();
    world.tell(&said(Action::Cancelled, "Gold", BILLED), BILLED);
    assert_eq!((world.customer.plan, world.account().state), (Plan::PayAsYouGo, PurchaseState::Cancelled));
}

#[test]
fn announced_it_changes_nothing_on_its_day_until_it_is_known() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    let announced = said(Action::PendingChange, "Gold", BILLED);
    world.tell(&announced, BOUGHT);
    world.until(BILLED + 2 * DAY_MS);
    assert_eq!((world.customer.plan, world.granted.len()), (Plan::Pro, 2));
    replay(&mut world, &announced, Plan::Trial, BILLED + 3 * DAY_MS);
    assert_eq!((world.customer.plan, world.account().is_pro()), (Plan::PayAsYouGo, false));
}
