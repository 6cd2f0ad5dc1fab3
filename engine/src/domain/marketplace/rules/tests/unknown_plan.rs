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

/// The same event again, now that Gold is known as this plan.
fn replay(world: &mut World, said: &Purchase, plan: &str, now_ms: TimeMs) {
    let news = world.account().news.len();
    world.config.plans.insert("Gold".to_owned(), plan.to_owned());
    world.tell(said, now_ms);
    assert_eq!(world.account().news.len(), news, "replayed, the event says what it said");
}

#[test]
fn it_gives_nothing_until_it_is_known() {
    let mut world = World::linked();
    let bought = said(Action::Purchased, "Gold", BOUGHT);
    world.tell(&bought, BOUGHT);
    assert_eq!((world.plan(), world.account().plan.name.as_str()), ("trial", "Gold"));
    replay(&mut world, &bought, "pro", BOUGHT + 1);
    assert_eq!((world.plan(), world.granted.len()), ("pro", 1));
}

#[test]
fn it_takes_nothing_until_it_is_known() {
    for (plan, after) in [("trial", ("pay_as_you_go", 2)), ("pro", ("pro", 3))] {
        let (mut world, changed) = changed_to_gold();
        assert_eq!((world.plan(), world.is_paid()), ("pro", true));
        world.until(BILLED + GRACE_MS);
        assert_eq!((world.plan(), world.granted.len()), ("pro", 2));
        replay(&mut world, &changed, plan, BILLED + GRACE_MS);
        world.until(BILLED + 31 * DAY_MS);
        assert_eq!((world.plan(), world.granted.len()), after);
    }
}

#[test]
fn its_end_ends_what_was_in_force() {
    let (mut world, _) = changed_to_gold();
    world.tell(&said(Action::Cancelled, "Gold", BILLED), BILLED);
    assert_eq!((world.plan(), world.account().state), ("pay_as_you_go", PurchaseState::Cancelled));
}

#[test]
fn announced_it_changes_nothing_on_its_day_until_it_is_known() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    let announced = said(Action::PendingChange, "Gold", BILLED);
    world.tell(&announced, BOUGHT);
    world.until(BILLED + 2 * DAY_MS);
    assert_eq!((world.plan(), world.granted.len()), ("pro", 2));
    replay(&mut world, &announced, "trial", BILLED + 3 * DAY_MS);
    assert_eq!((world.plan(), world.is_paid()), ("pay_as_you_go", false));
}
