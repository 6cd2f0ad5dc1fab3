//! Purchases by another catalogue than the built-in one: several paid plans, seats, other prices, a lost plan.

use super::*;
use crate::amount::{Credits, UNITS_MAX};
use crate::domain::catalogue::{Interval, IntervalUnit, Plan, Price, Rollover};
use crate::key::PriceKey;

const MONTH_MS: i64 = 30 * DAY_MS;

/// A linked account, where the catalogue also sells Team: less than Pro, with 20 credits a month.
fn with_team() -> World {
    let mut world = World::linked();
    let catalogue = Arc::make_mut(&mut world.catalogue);
    let pro = catalogue.plans.pop().expect("the best plan");
    catalogue.plans.push(Plan { key: plan("team"), name: "Team".to_owned(), ..pro.clone() });
    catalogue.plans.push(pro);
    let price = catalogue.prices[0].clone();
    let key = PriceKey::trusted("team_monthly");
    catalogue.prices.push(Price { key, plan: plan("team"), credits: Credits(20), ..price });
    world
}

fn change_price(world: &mut World, plan: &str, change: impl FnOnce(&mut Price)) {
    let prices = &mut Arc::make_mut(&mut world.catalogue).prices;
    change(prices.iter_mut().find(|price| price.plan.as_str() == plan).expect("a price"));
}

fn grants(world: &World) -> Vec<(i64, Option<TimeMs>)> {
    let grant = |op: &Op| match op {
        Op::Grant { amount, expires_at_ms, .. } => (amount.0, *expires_at_ms),
        other => panic!("{other:?}"),
    };
    world.ops.iter().map(grant).collect()
}

fn credits(world: &World) -> Vec<i64> {
    grants(world).into_iter().map(|(credits, _)| credits).collect()
}

/// The plan that an event sets, and the one that the customer may have lost.
fn plan_set(world: &World, said: &Purchase, now_ms: TimeMs) -> Option<(String, Option<String>)> {
    let plan = world.terms().plan_of(said.plan_id, &said.plan_name);
    let account = apply_purchase(world.account.as_ref(), said, plan.as_ref(), "evt_1", &world.catalogue, now_ms);
    let verdict = settle(world.account.as_ref(), account, Some(&world.customer), world.terms(), now_ms);
    verdict.effects.into_iter().find_map(|effect| match effect {
        Effect::PlanSet { plan, has_left, .. } => Some((plan.into(), has_left.map(String::from))),
        _ => None,
    })
}

#[test]
fn an_upgrade_between_paid_plans_brings_its_credits_with_the_next_month() {
    // The change takes effect today, or on the billing date.
    for at_ms in [BOUGHT + DAY_MS, BILLED] {
        let mut world = with_team();
        world.tell(&said(Action::Purchased, "Team", BOUGHT), BOUGHT);
        assert_eq!((world.plan(), credits(&world)), ("team", vec![20]));
        world.tell(&said(Action::Changed, "Pro", at_ms), BOUGHT + DAY_MS);
        assert_eq!((world.plan(), credits(&world)), ("pro", vec![20]));
        world.until(BILLED + GRACE_MS);
        assert_eq!((world.plan(), credits(&world)), ("pro", vec![20, 60]), "{at_ms}");
    }
}

#[test]
fn a_downgrade_between_paid_plans_counts_on_its_day_in_either_order() {
    let news = [said(Action::Purchased, "Pro", BOUGHT), said(Action::Changed, "Team", BILLED)];
    for news in permutations(&news) {
        let mut world = with_team();
        news.iter().for_each(|said| world.tell(said, BOUGHT + DAY_MS));
        assert_eq!((world.plan(), credits(&world)), ("pro", vec![60]));
        world.until(BILLED);
        assert_eq!((world.plan(), credits(&world)), ("team", vec![60]));
        world.until(BILLED + GRACE_MS);
        assert_eq!((world.plan(), credits(&world)), ("team", vec![60, 20]));
    }
}

#[test]
fn a_buyer_linked_late_gets_the_credits_of_each_months_own_plan() {
    let mut world = World { account: None, ..with_team() };
    world.tell(&said(Action::Purchased, "Team", BOUGHT), BOUGHT);
    world.tell(&said(Action::Changed, "Pro", BOUGHT + 5 * DAY_MS), BOUGHT + 5 * DAY_MS);
    world.tell(&said(Action::Changed, "Team", BILLED + MONTH_MS), BILLED + MONTH_MS);
    world.link(BILLED + MONTH_MS + 2 * DAY_MS);
    world.until(BILLED + MONTH_MS + 2 * DAY_MS);
    assert_eq!((world.plan(), credits(&world)), ("team", vec![20, 60, 20]));
}

#[test]
fn an_effect_that_may_take_a_plan_away_names_it() {
    let mut world = with_team();
    let bought = said(Action::Purchased, "Pro", BOUGHT);
    let set = |plan: &str, has_left: Option<&str>| Some((plan.to_owned(), has_left.map(str::to_owned)));
    assert_eq!(plan_set(&world, &bought, BOUGHT), set("pro", None));
    world.tell(&bought, BOUGHT);
    assert_eq!(plan_set(&world, &bought, BOUGHT), set("pro", None), "also to whoever is on it");
    assert_eq!(plan_set(&world, &said(Action::Changed, "Team", BOUGHT + 1), BOUGHT + 1), set("team", Some("pro")));
    let ended = said(Action::Cancelled, "Pro", BOUGHT + 1);
    assert_eq!(plan_set(&world, &ended, BOUGHT + 1), set("pay_as_you_go", Some("pro")));
    // Even to a customer who seems to be off it already.
    world.customer.plan = plan("pay_as_you_go");
    assert_eq!(plan_set(&world, &ended, BOUGHT + 1), set("pay_as_you_go", Some("pro")));
}

#[test]
fn a_listing_plan_mapped_to_a_price_brings_the_credits_of_its_month() {
    let mut world = with_team();
    let year = Interval { count: 1, unit: IntervalUnit::Year };
    let price = world.catalogue.prices[1].clone();
    let yearly = Price { key: PriceKey::trusted("team_yearly"), every: year, credits: Credits(100), ..price };
    Arc::make_mut(&mut world.catalogue).prices.push(yearly);
    world.config.plans.insert("Gold".to_owned(), "team_yearly".to_owned());
    world.tell(&said(Action::Purchased, "Gold", BOUGHT), BOUGHT);
    assert_eq!((world.plan(), credits(&world)), ("team", vec![8]));
    world.until(BILLED + GRACE_MS);
    assert_eq!(credits(&world), [8, 8]);
    // Another meaning counts for new events. What was bought goes on, with the first price of its plan.
    world.config.plans.insert("Gold".to_owned(), "pro".to_owned());
    world.until(BILLED + MONTH_MS + GRACE_MS);
    assert_eq!((world.plan(), credits(&world)), ("team", vec![8, 8, 20]));
}

#[test]
fn units_multiply_the_credits_of_a_price_for_each_seat() {
    let units = |unit_count: i64, said: Purchase| Purchase { unit_count, ..said };
    let mut world = with_team();
    change_price(&mut world, "team", |price| price.per_seat = true);
    world.tell(&units(3, said(Action::Purchased, "Team", BOUGHT)), BOUGHT);
    world.tell(&units(5, said(Action::Changed, "Team", BOUGHT + DAY_MS)), BOUGHT + DAY_MS);
    world.until(BILLED + GRACE_MS);
    // Fewer are announced, and the event of that day is lost.
    world.tell(&units(2, said(Action::PendingChange, "Team", BILLED + MONTH_MS)), BILLED + 2 * DAY_MS);
    world.until(BILLED + MONTH_MS + GRACE_MS);
    assert_eq!((world.account().unit_count, credits(&world)), (2, vec![60, 100, 40]));
    // Those of a price that is not for each seat stay the same.
    world.tell(&units(9, said(Action::Changed, "Pro", BILLED + 61 * DAY_MS)), BILLED + 61 * DAY_MS);
    world.until(BILLED + 62 * DAY_MS);
    assert_eq!(credits(&world), [60, 100, 40, 60]);
}

#[test]
fn a_grant_of_seats_is_never_empty_or_more_than_one_command_may_move() {
    for (unit_count, expected) in [(0, vec![]), (i64::MAX, vec![UNITS_MAX.0])] {
        let mut world = with_team();
        change_price(&mut world, "team", |price| price.per_seat = true);
        world.tell(&Purchase { unit_count, ..said(Action::Purchased, "Team", BOUGHT) }, BOUGHT);
        assert_eq!((world.plan(), credits(&world)), ("team", expected));
        assert_eq!(world.account().granted_until_ms, Some(BILLED));
    }
}

#[test]
fn credits_that_end_with_their_period_last_until_the_next_grant() {
    let mut world = World::linked();
    change_price(&mut world, "pro", |price| price.rollover = Rollover::Reset);
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.until(BILLED + GRACE_MS);
    let ends = [BILLED + GRACE_MS, BILLED + MONTH_MS + GRACE_MS];
    assert_eq!(grants(&world), ends.map(|ends_ms| (60, Some(ends_ms))));
}

#[test]
fn a_period_that_is_granted_late_leaves_its_credits_for_its_length() {
    let mut world = World::new();
    change_price(&mut world, "pro", |price| price.rollover = Rollover::Reset);
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    let linked_ms = BILLED + 5 * DAY_MS;
    world.link(linked_ms);
    world.until(linked_ms);
    let ends = [linked_ms + (BILLED - BOUGHT) + GRACE_MS, BILLED + MONTH_MS + GRACE_MS];
    assert_eq!(grants(&world), ends.map(|ends_ms| (60, Some(ends_ms))));
}

#[test]
fn credits_with_a_lifetime_end_that_many_days_after_their_grant() {
    let mut world = World::linked();
    change_price(&mut world, "pro", |price| price.lifetime_days = Some(90));
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT + 5);
    assert_eq!(grants(&world), [(60, Some(BOUGHT + 5 + 90 * DAY_MS))]);
}

#[test]
fn a_plan_that_the_catalogue_lost_changes_nothing_until_it_is_back() {
    for is_ended in [false, true] {
        let mut world = with_team();
        world.tell(&said(Action::Purchased, "Team", BOUGHT), BOUGHT);
        let whole = std::mem::replace(&mut world.catalogue, Catalogue::built_in());
        world.until(BILLED + GRACE_MS);
        world.tell(&said(Action::Changed, "Team", BILLED + DAY_MS), BILLED + 2 * DAY_MS);
        assert_eq!((world.plan(), credits(&world), world.is_paid()), ("team", vec![20], false));
        if is_ended {
            world.tell(&said(Action::Cancelled, "Team", BILLED + 3 * DAY_MS), BILLED + 3 * DAY_MS);
            assert_eq!((world.plan(), world.account().state), ("team", PurchaseState::Cancelled));
        }
        world.catalogue = whole;
        world.settle(BILLED + 4 * DAY_MS);
        assert_eq!((credits(&world), world.is_paid()), (vec![20, 20], !is_ended), "the second month was paid");
    }
}

#[test]
fn the_next_event_moves_a_purchase_to_the_new_key_of_its_plan() {
    let mut world = with_team();
    world.tell(&said(Action::Purchased, "Team", BOUGHT), BOUGHT);
    let catalogue = Arc::make_mut(&mut world.catalogue);
    let renamed = catalogue.plans.iter_mut().find(|known| known.key == plan("team")).expect("a plan");
    renamed.key = plan("crew");
    change_price(&mut world, "team", |price| price.plan = plan("crew"));
    world.config.plans.insert("Team".to_owned(), "crew".to_owned());
    world.until(BILLED + GRACE_MS);
    assert_eq!((world.plan(), credits(&world)), ("team", vec![20]));
    let changed = Purchase { unit_count: 2, ..said(Action::Changed, "Team", BILLED + 5 * DAY_MS) };
    world.tell(&changed, BILLED + 5 * DAY_MS);
    assert_eq!((world.plan(), credits(&world)), ("crew", vec![20, 20]));
}
