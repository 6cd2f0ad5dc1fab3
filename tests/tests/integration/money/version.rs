//! Versions of the catalogue: planned, applied, and what becomes of those who have a former price.

mod coming;
mod made;
mod present_terms;
mod refused;
mod seats;
mod start;
mod tagged;
mod warned;

use super::interceptor::Interception;
use super::*;
use crate::scene::{PERIOD, delay_job, job_in_state, resume_job, resume_job_without, with_backend};
use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::domain::catalogue::write::write;
use bursar_engine::domain::catalogue::{Catalogue, Plan, Price, SharedCatalogue};
use bursar_engine::domain::job::{Job, JobState};
use bursar_engine::ids::JobId;
use bursar_engine::key::{PlanKey, PriceKey};
use bursar_tests::app::ADMIN_TOKEN;

/// The raised price of a month of Pro, and its credits.
const RAISED: (i64, i64) = (69_900, 80);

/// The built-in catalogue with changes, as TOML.
fn changed(change: impl FnOnce(&mut Catalogue)) -> String {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    change(&mut catalogue);
    write(&catalogue)
}

fn raise(catalogue: &mut Catalogue) {
    (catalogue.prices[0].amount, catalogue.prices[0].credits) = (MoneyMinor(RAISED.0), Credits(RAISED.1));
}

/// Adds the plan Team with two prices.
fn add_team(catalogue: &mut Catalogue) {
    let team = PlanKey::trusted("team");
    let pro = catalogue.plans[2].clone();
    catalogue.plans.push(Plan { key: team.clone(), name: "Team".to_owned(), ..pro });
    for (key, amount) in [("team_monthly", 199_900), ("team_small", 99_900)] {
        catalogue.prices.push(Price {
            key: PriceKey::trusted(key),
            lookup_key: key.to_owned(),
            plan: team.clone(),
            amount: MoneyMinor(amount),
            ..Catalogue::built_in().prices[0].clone()
        });
    }
}

async fn plan(app: &TestApp, catalogue: &str) -> Value {
    app.admin("POST", "/admin/v1/catalogue/plan", Some(&json!({ "catalogue": catalogue }))).await.expect(200)
}

async fn ask_to_apply(app: &TestApp, catalogue: &str, expected_version: i64) -> Answer {
    let body = json!({ "catalogue": catalogue, "reason": "a test", "expected_version": expected_version });
    app.admin("POST", "/admin/v1/catalogue/apply", Some(&body)).await
}

fn job_id(asked: &Value) -> JobId {
    JobId::parse(asked["job"]["id"].as_str().expect("a job")).expect("an id")
}

/// Applies a catalogue to the present version and waits until it is in force.
async fn apply(app: &TestApp, catalogue: &str) -> Job {
    let asked = ask_to_apply(app, catalogue, version(app).await).await.expect(202);
    let job = job_in_state(app, &job_id(&asked), JobState::Succeeded).await;
    let in_force = version(app).await;
    wait::until("the node has the version", || async {
        (app.app.config.catalogue.version() == in_force).then_some(())
    })
    .await;
    job
}

/// The number of the version in force.
async fn version(app: &TestApp) -> i64 {
    let found = app.admin("GET", "/admin/v1/catalogue", None).await.expect(200);
    found["version"]["version"].as_i64().expect("a number")
}

impl Shop {
    /// The price at Stripe with this lookup key.
    async fn keyed_price(&self, lookup_key: &str) -> Value {
        let found = self.ask_stripe("GET", &format!("/v1/prices?lookup_keys[]={lookup_key}"), &[]).await;
        assert_eq!(found["data"].as_array().map(Vec::len), Some(1), "{found}");
        found["data"][0].clone()
    }
}

with_backend! {
    async fn a_raised_price_leaves_who_has_the_old_one_its_amount_and_its_credits(backend: Backend) {
        let shop = Shop::open(backend).await;
        let old = shop.pro().await;
        let (subscription, raised) = (shop.subscription(), changed(raise));
        let planned = plan(&shop.app, &raised).await;
        assert_eq!(planned["changes"][0]["effect"], "1 subscriber keeps the old amount; new ones pay the new one.");
        assert_eq!(planned["stripe"][0]["price"], "pro_monthly");
        let former = shop.keyed_price("pro_monthly").await;

        apply(&shop.app, &raised).await;
        let present = shop.keyed_price("pro_monthly").await;
        assert_eq!((&present["unit_amount"], &present["product"]), (&json!(RAISED.0), &former["product"]));
        assert_eq!(present["metadata"], json!({ "bursar_price": "pro_monthly", "bursar_plan": "pro" }));
        let new = shop.without_credits("pm_card_visa").await;
        shop.subscribe(&new, "pro").await.expect(201);
        assert_eq!((shop.net_paid(&new).await, shop.app.balance(&new).await), RAISED);
        // One of the two keeps the terms of before, and no later change touches it.
        for (change, effect) in [
            ((RAISED.0, 90), "1 subscriber gets the new terms from the next period on. 1 subscriber keeps former terms."),
            (
                (59_000, RAISED.1),
                "1 subscriber keeps the old amount; new ones pay the new one. 1 subscriber keeps former terms.",
            ),
        ] {
            let next = changed(|catalogue| {
                (catalogue.prices[0].amount, catalogue.prices[0].credits) = (MoneyMinor(change.0), Credits(change.1));
            });
            let planned = plan(&shop.app, &next).await;
            let said = &planned["changes"][0];
            assert_eq!((&said["effect"], &said["customers"]), (&json!(effect), &json!(1)), "{planned}");
        }

        // The renewal of the older subscription.
        shop.next_month();
        let renewed = shop.stripe.object(stripe::id(&subscription))["latest_invoice"].as_str().map(str::to_owned);
        shop.deliver_event("invoice.paid", &shop.stripe.object(&renewed.expect("an invoice"))).await;
        assert_eq!((shop.net_paid(&old).await, shop.app.balance(&old).await), (2 * MONTH, 2 * PERIOD));
        shop.close().await;
    }

    async fn a_former_price_that_was_never_seen_is_known_when_its_invoice_comes_late(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let (stripe_customer, former) = (shop.stripe_customer(&customer).await, shop.keyed_price("pro_monthly").await);
        let form = [("customer", stripe_customer.as_str()), ("items[0][price]", stripe::id(&former))];
        shop.ask_stripe("POST", "/v1/subscriptions", &form).await;
        let invoice = shop.stripe.object(shop.subscription()["latest_invoice"].as_str().expect("an invoice"));
        apply(&shop.app, &changed(raise)).await;
        shop.deliver_event("invoice.paid", &invoice).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.close().await;
    }

    async fn other_credits_at_the_same_amount_reach_subscribers_with_their_next_period(backend: Backend) {
        let shop = Shop::open(backend).await;
        let customer = shop.pro().await;
        apply(&shop.app, &changed(|catalogue| catalogue.prices[0].credits = Credits(80))).await;
        assert_eq!((shop.app.balance(&customer).await, shop.stripe.list("price").len()), (PERIOD, 1));
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD + 80);
        shop.close().await;
    }

    async fn a_month_that_brought_no_credits_brings_none_when_the_price_gets_some(backend: Backend) {
        let shop = Shop::open(backend).await;
        apply(&shop.app, &changed(|catalogue| catalogue.prices[0].credits = Credits::ZERO)).await;
        let customer = shop.pro().await;
        let invoice = shop.stripe.object(shop.subscription()["latest_invoice"].as_str().expect("an invoice"));
        apply(&shop.app, &changed(|catalogue| catalogue.prices[0].credits = Credits(70))).await;
        shop.deliver_event("invoice.paid", &invoice).await;
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.app.balance(&customer).await, 70);
        shop.close().await;
    }

    async fn an_application_that_is_cut_off_at_every_step_makes_each_object_once(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let catalogue = changed(|catalogue| {
            raise(catalogue);
            add_team(catalogue);
        });
        // Before Stripe hears of the first price; then after each of the four objects, unheard.
        interceptor.intercept(1, "POST", "/v1/p*", Interception::RequestLost);
        interceptor.intercept(4, "POST", "/v1/p*", Interception::AnswerLost);
        let asked = ask_to_apply(&shop.app, &catalogue, 1).await.expect(202);
        let job = delay_job(&shop.app, "catalogue.apply").await;
        // At last before the commit.
        resume_job_without(&shop.app, &job, "audit_log").await;
        assert_eq!(version(&shop.app).await, 1, "nothing is in force before all of it is");
        resume_job(&shop.app, &job).await;
        job_in_state(&shop.app, &job_id(&asked), JobState::Succeeded).await;
        interceptor.until_all_intercepted().await;

        assert_eq!(version(&shop.app).await, 2);
        assert_eq!((shop.stripe.list("price").len(), shop.stripe.list("product").len()), (4, 2));
        for (key, amount) in [("pro_monthly", RAISED.0), ("team_monthly", 199_900), ("team_small", 99_900)] {
            assert_eq!(shop.keyed_price(key).await["unit_amount"], json!(amount), "{key}");
        }
        let planned = plan(&shop.app, &catalogue).await;
        assert_eq!((&planned["changes"], &planned["stripe"]), (&json!([]), &json!([])), "nothing is left to do");
        shop.close().await;
    }

    async fn of_two_applications_at_once_the_second_changes_nothing(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let busy = json!({ "error": { "type": "invalid_request_error", "code": "rate_limit" } });
        interceptor.intercept(usize::MAX, "GET", "/v1/prices", Interception::Blocked(429, busy));
        let first = ask_to_apply(&shop.app, &changed(raise), 1).await.expect(202);
        let delayed = delay_job(&shop.app, "catalogue.apply").await;
        interceptor.clear();
        let second = ask_to_apply(&shop.app, &changed(add_team), 1).await.expect(202);
        resume_job(&shop.app, &delayed).await;
        job_in_state(&shop.app, &job_id(&first), JobState::Succeeded).await;
        let dead = job_in_state(&shop.app, &job_id(&second), JobState::Dead).await;
        let why = dead.last_error.unwrap_or_default();
        assert!(why.starts_with("catalogue_version_changed: version 2 is in force"), "{why}");
        let late = ask_to_apply(&shop.app, &changed(add_team), 1).await;
        late.expect_problem(409, "catalogue_version_changed");
        assert_eq!((version(&shop.app).await, shop.stripe.list("price").len()), (2, 2));
        shop.close().await;
    }

    async fn the_node_that_applied_a_version_has_it_at_once(backend: Backend) {
        let shop = Shop::open(backend).await;
        let price = shop.other_price("49900", None).await;
        let asked = ask_to_apply(&shop.app, &changed(add_team), 1).await.expect(202);
        job_in_state(&shop.app, &job_id(&asked), JobState::Succeeded).await;
        let body = json!({ "decision": "ours", "price": "team_small", "reason": "a test" });
        let path = format!("/admin/v1/prices/{price}/decision");
        shop.app.admin("POST", &path, Some(&body)).await.expect(200);
        shop.app.admin("GET", "/admin/v1/catalogue", None).await.expect(200);
        assert_eq!(shop.app.app.config.catalogue.version(), 2);
        shop.close().await;
    }

    async fn a_repeated_request_to_apply_is_the_first_one(backend: Backend) {
        let shop = Shop::open(backend).await;
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", "once")];
        let body = json!({ "catalogue": changed(raise), "reason": "a test", "expected_version": 1 });
        let path = "/admin/v1/catalogue/apply";
        let first = shop.app.request("POST", path, &headers, Some(&body)).await.expect(202);
        job_in_state(&shop.app, &job_id(&first), JobState::Succeeded).await;
        let again = shop.app.request("POST", path, &headers, Some(&body)).await.expect(202);
        assert_eq!((&again["job"]["id"], &again["job"]["state"]), (&first["job"]["id"], &json!("succeeded")));
        // Whoever plans again expects the version that is in force by now.
        let replanned = json!({ "catalogue": changed(raise), "reason": "a test", "expected_version": 2 });
        let again = shop.app.request("POST", path, &headers, Some(&replanned)).await.expect(202);
        assert_eq!(again["job"]["id"], first["job"]["id"]);
        let other = json!({ "catalogue": changed(raise), "reason": "another", "expected_version": 1 });
        shop.app.request("POST", path, &headers, Some(&other)).await.expect_problem(422, "idempotency_key_reused");
        assert_eq!(version(&shop.app).await, 2);
        let versions = shop.app.admin("GET", "/admin/v1/catalogue/versions?limit=1", None).await.expect(200);
        assert_eq!((&versions["data"][0]["version"], &versions["data"][0]["reason"]), (&json!(2), &json!("a test")));
        let cursor = versions["next_cursor"].as_str().expect("another page");
        let path = format!("/admin/v1/catalogue/versions?cursor={cursor}");
        let older = shop.app.admin("GET", &path, None).await.expect(200);
        assert_eq!((&older["data"][0]["version"], &older["next_cursor"]), (&json!(1), &Value::Null));
        let first = shop.app.admin("GET", "/admin/v1/catalogue/versions/1", None).await.expect(200);
        assert_eq!(first["catalogue"], json!(write(&Catalogue::built_in())));
        shop.app.admin("GET", "/admin/v1/catalogue/versions/3", None).await.expect_problem(404, "not_found");
        shop.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_takes_a_version_that_another_one_applied_without_a_restart() {
    let shop = Shop::open(Backend::Production).await;
    let config = Config { catalogue: SharedCatalogue::default(), ..shop.app.config.clone() };
    let other = TestApp::start_on(config, None).await;
    apply(&shop.app, &changed(raise)).await;
    wait::until("the other node has it", || async { (other.app.config.catalogue.version() == 2).then_some(()) }).await;
    assert_eq!(other.app.config.catalogue.now(), shop.app.app.config.catalogue.now());
    let customer = other.onboard().await;
    let plans = other.call(&customer, "GET", "/api/v1/plans", "", None).await.expect(200);
    assert_eq!(plans["data"][2]["prices"][0]["amount_minor"], json!(RAISED.0));
    other.stop().await;
    shop.close().await;
}
