//! The first catalogue that a database gets must have what its customers have.

use crate::scene::{sql, with_backend};
use bursar::serve;
use bursar_actors::Role;
use bursar_engine::Error;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::domain::catalogue::{Catalogue, Plan};
use bursar_engine::key::{PlanKey, PriceKey};
use bursar_tests::{TestApp, TestCustomer, catalogue_with};

/// Stores a subscription to Pro at this price of the catalogue.
async fn subscribe(app: &TestApp, customer: &TestCustomer, id: &str, price: &str, ended_at_ms: &str) {
    let statement = format!(
        "INSERT INTO subscriptions (id, customer_id, status, plan, price, quantity, cancel_at_period_end, \
         ended_at_ms, updated_at_ms) VALUES ('{id}', '{}', 'active', 'pro', {price}, 1, FALSE, {ended_at_ms}, 1)",
        customer.id
    );
    sql(app, &statement).await;
}

/// Leaves the database as an earlier release leaves it: no catalogue has been in force.
async fn forget_versions(app: &TestApp) {
    sql(app, "ALTER TABLE catalogue_versions RENAME TO former_versions").await;
    sql(app, "CREATE TABLE catalogue_versions AS SELECT * FROM former_versions WHERE version = 0").await;
    sql(app, "CREATE UNIQUE INDEX catalogue_versions_again ON catalogue_versions (version)").await;
}

/// The messages with which a server refuses to start with this change of the catalogue.
async fn refusal(config: &Config, change: impl FnOnce(&mut Catalogue)) -> Vec<String> {
    let config = Config { catalogue: catalogue_with(change), ..config.clone() };
    match serve::start(config, Role::All, Clock::System).await {
        Ok(_) => panic!("it starts"),
        Err(error) => match error.downcast::<Error>() {
            Ok(Error::Config(problems)) => problems,
            other => panic!("{other:?}"),
        },
    }
}

with_backend! {
    async fn a_plan_that_customers_have_must_be_in_the_catalogue(backend: Backend) {
        let app = TestApp::start(backend).await;
        for plan in ["gone", "gone", "left", "trial"] {
            let customer = app.onboard().await;
            sql(&app, &format!("UPDATE customers SET plan = '{plan}' WHERE id = '{}'", customer.id)).await;
        }
        forget_versions(&app).await;
        let (config, folder) = app.halt().await;
        let problems = refusal(&config, |_| {}).await;
        assert_eq!(
            problems,
            [
                "2 customers have the plan gone, which the catalogue lacks: keep [plans.gone] in the catalogue",
                "1 customer has the plan left, which the catalogue lacks: keep [plans.left] in the catalogue",
            ]
        );
        let with_both = catalogue_with(|catalogue| {
            let pro = catalogue.plans[2].clone();
            let also = |key| Plan { key: PlanKey::trusted(key), ..pro.clone() };
            catalogue.plans.extend(["gone", "left"].map(also));
        });
        let app = TestApp::start_on(Config { catalogue: with_both, ..config }, folder).await;
        app.stop().await;
    }

    async fn a_price_of_an_open_subscription_must_be_in_the_catalogue_offered_or_not(backend: Backend) {
        let app = TestApp::start(backend).await;
        let customer = app.onboard().await;
        for (id, price, ended_at_ms) in [
            ("sub_1", "'pro_monthly'", "NULL"),
            ("sub_2", "'pro_monthly'", "NULL"),
            ("sub_3", "'pro_yearly'", "NULL"),
            ("sub_4", "'ended'", "5"),
            ("sub_5", "NULL", "NULL"),
        ] {
            subscribe(&app, &customer, id, price, ended_at_ms).await;
        }
        forget_versions(&app).await;
        let (config, folder) = app.halt().await;
        let problems = refusal(&config, |catalogue| catalogue.prices.clear()).await;
        assert_eq!(
            problems,
            [
                "2 open subscriptions have the price pro_monthly, which the catalogue lacks: keep \
                 [prices.pro_monthly] in the catalogue, with `offered = false` if nobody else is to buy it",
                "1 open subscription has the price pro_yearly, which the catalogue lacks: keep [prices.pro_yearly] \
                 in the catalogue, with `offered = false` if nobody else is to buy it",
            ]
        );
        let kept = catalogue_with(|catalogue| {
            let mut yearly = catalogue.prices[0].clone();
            (yearly.key, yearly.lookup_key) = (PriceKey::trusted("pro_yearly"), "pro_yearly".to_owned());
            catalogue.prices.push(yearly);
            catalogue.prices.iter_mut().for_each(|price| price.offered = false);
        });
        let app = TestApp::start_on(Config { catalogue: kept, ..config }, folder).await;
        app.stop().await;
    }
}
