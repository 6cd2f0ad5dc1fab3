//! Purchases by a catalogue with several paid plans, of which one is sold by the seat.

use super::*;
use crate::scene::with_backend;
use bursar_engine::amount::Credits;
use bursar_engine::domain::catalogue::{Catalogue, Plan, Price, SharedCatalogue};
use bursar_engine::key::{PlanKey, PriceKey};
use bursar_tests::{Backend, catalogue_with};

/// Credits of a month of Team, for each seat.
const SEAT: i64 = 20;

/// The built-in catalogue, which also sells Team: less than Pro, and by the seat.
fn with_team() -> SharedCatalogue {
    catalogue_with(|catalogue| {
        let (pro, price) = (catalogue.plans.pop().unwrap(), catalogue.prices[0].clone());
        catalogue.plans.push(Plan { key: PlanKey::trusted("team"), name: "Team".to_owned(), ..pro.clone() });
        catalogue.plans.push(pro);
        catalogue.prices.push(Price {
            key: PriceKey::trusted("team_monthly"),
            plan: PlanKey::trusted("team"),
            credits: Credits(SEAT),
            per_seat: true,
            lookup_key: "team_monthly".to_owned(),
            ..price
        });
    })
}

/// Starts an application with that catalogue, where the listing's plan Crew stands for the price of Team.
async fn start(backend: Backend, catalogue: &SharedCatalogue) -> TestApp {
    TestApp::start_with(backend, |config| {
        config.catalogue = catalogue.clone();
        config.marketplace.plans.insert("Crew".to_owned(), "team_monthly".to_owned());
    })
    .await
}

/// An event of a purchase of three seats of Crew.
fn crew(action: &str, account: i64, day: i64) -> Value {
    let mut event = purchase(action, account, "Crew", &in_days(day));
    event["marketplace_purchase"]["plan"]["id"] = json!(437);
    event["marketplace_purchase"]["unit_count"] = json!(3);
    event
}

/// A customer whose account bought three seats of Crew today.
async fn on_team(app: &TestApp) -> (i64, TestCustomer) {
    let account = account();
    deliver(app, &crew("purchased", account, 0)).await;
    let customer = sign_up(app, &link_token(app, account).await).await;
    wait_until_on(app, &customer, "team", SIGNUP + 3 * SEAT).await;
    (account, customer)
}

with_backend! {
    async fn an_upgrade_between_paid_plans_keeps_the_granted_month(backend: Backend) {
        let app = start(backend, &with_team()).await;
        let (account, customer) = on_team(&app).await;
        let known = purchase_of(&app, account).await;
        assert_eq!((&known["plan"]["name"], &known["plan"]["plan"]), (&json!("Crew"), &json!("team")));
        deliver(&app, &purchase("changed", account, "Pro", &in_days(0))).await;
        wait_until_on(&app, &customer, "pro", SIGNUP + 3 * SEAT).await;
        assert_eq!(purchase_of(&app, account).await["next_credits_at"], day(21));
        // Its end leads to the plan that follows.
        deliver(&app, &purchase("cancelled", account, "Pro", &in_days(0))).await;
        wait_until_on(&app, &customer, "pay_as_you_go", SIGNUP + 3 * SEAT).await;
        app.verify().await;
        app.stop().await;
    }

    async fn the_better_of_a_purchase_and_a_subscription_counts(backend: Backend) {
        let app = start(backend, &with_team()).await;
        let (account, customer) = on_team(&app).await;
        let stripe_customer = stripe_customer();
        deliver_until(&app, &subscription_event(&stripe_customer, &customer), "processed").await;
        wait_until_on(&app, &customer, "pro", SIGNUP + 3 * SEAT).await;
        // Another purchase event gives Team again, which is less.
        deliver(&app, &crew("changed", account, 0)).await;
        wait_until_on(&app, &customer, "pro", SIGNUP + 3 * SEAT).await;
        let ended = stripe::pro_subscription(&stripe_customer, Some(&customer.id), "canceled");
        deliver_until(&app, &stripe::event("customer.subscription.deleted", &ended), "processed").await;
        wait_until_on(&app, &customer, "team", SIGNUP + 3 * SEAT).await;
        app.verify().await;
        app.stop().await;
    }

    async fn an_event_of_a_plan_that_the_catalogue_lost_is_dead_until_it_is_back(backend: Backend) {
        let catalogue = with_team();
        let app = start(backend, &catalogue).await;
        let (account, customer) = on_team(&app).await;
        let whole = catalogue.now();
        catalogue.replace(Catalogue::built_in());
        let delivery = delivery();
        app.deliver_github(&delivery, &crew("changed", account, 0)).await.expect(200);
        let found = app.event_in_state(&delivery, "dead").await;
        assert!(found["event"]["last_error"].as_str().unwrap().starts_with("plan_unknown: "), "{found}");
        wait_until_on(&app, &customer, "team", SIGNUP + 3 * SEAT).await;
        assert_eq!(purchase_of(&app, account).await["next_credits_at"], Value::Null);
        catalogue.replace(whole);
        replay_event(&app, &delivery, "processed").await;
        assert_eq!(purchase_of(&app, account).await["next_credits_at"], day(21));
        app.verify().await;
        app.stop().await;
    }
}
