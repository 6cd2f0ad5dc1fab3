//! Purchases on GitHub Marketplace, from GitHub's event to spent credits.

mod catalogue;
mod delivery;
mod link;
mod same_day;

use crate::database::texts;
use crate::scene::{
    SIGNUP, admin_post, deliver_until, invoice_paid, job_in_state, now_ms, replay_event, sql, stripe_customer,
    subscription_event,
};
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::job::JobState;
use bursar_engine::domain::marketplace::{settle_job, timer_job};
use bursar_engine::infra::store::job::job_insert_many;
use bursar_tests::app::GITHUB_SECRETS;
use bursar_tests::github::{account, day_ms, delivery, headers, in_days, purchase, signature};
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, stripe, wait, with_app};
use serde_json::{Value, json};

const PERIOD: i64 = 60;

/// Delivers an event and waits until it is processed; returns the delivery's id.
async fn deliver(app: &TestApp, event: &Value) -> String {
    let delivery = delivery();
    app.deliver_github(&delivery, event).await.expect(200);
    app.event_in_state(&delivery, "processed").await;
    delivery
}

/// The purchase of an account as support sees it.
async fn purchase_of(app: &TestApp, account: i64) -> Value {
    app.admin("GET", &format!("/admin/v1/marketplace/accounts/{account}"), None).await.expect(200)["account"].take()
}

/// The beginning of the day `days` days from now, in the API's format.
fn day(days: i64) -> String {
    rfc3339(day_ms(days))
}

async fn link_token(app: &TestApp, account: i64) -> String {
    let path = format!("/admin/v1/marketplace/accounts/{account}/link-token");
    app.admin("POST", &path, None).await.expect(200)["token"].as_str().unwrap().to_owned()
}

fn buyer(token: &str) -> Value {
    json!({ "email": format!("{}@example.com", unique()), "name": "Ada", "marketplace_link": token })
}

async fn sign_up(app: &TestApp, token: &str) -> TestCustomer {
    let made = app.request("POST", "/api/v1/customers/onboard", &[], Some(&buyer(token))).await.expect(201);
    assert_eq!(made["customer"]["source"], "marketplace");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    TestCustomer { id: text(&made["customer"]["id"]), api_key: text(&made["api_key"]) }
}

/// Waits until a customer is on this plan with this balance.
async fn wait_until_on(app: &TestApp, customer: &TestCustomer, plan: &str, balance: i64) {
    wait::until(&format!("the customer is on {plan} with {balance}"), || async {
        let me = app.call(customer, "GET", "/api/v1/customer", "", None).await.expect(200);
        (me["plan"] == plan && me["credit_balance"] == balance).then_some(())
    })
    .await;
}

/// A customer whose account bought Pro today.
async fn on_pro(app: &TestApp) -> (i64, TestCustomer) {
    let account = account();
    deliver(app, &purchase("purchased", account, "Pro", &in_days(0))).await;
    let customer = sign_up(app, &link_token(app, account).await).await;
    wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
    (account, customer)
}

with_app! {
    async fn a_purchase_and_a_signup_make_a_pro_customer_that_spends_its_credits(app: &TestApp) {
        let account = account();
        deliver(app, &purchase("purchased", account, "Pro", &in_days(0))).await;
        let known = purchase_of(app, account).await;
        assert_eq!((&known["state"], &known["plan"]["plan"], &known["customer_id"]), (&json!("purchased"), &json!("pro"), &Value::Null));
        assert_eq!(known["email"], "billing@acme.example");

        let customer = sign_up(app, &link_token(app, account).await).await;
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
        app.spend(&customer, 64, "all-but-one").await.expect(200);
        let known = purchase_of(app, account).await;
        assert_eq!(known["customer_id"], customer.id.as_str());
        assert_eq!((&known["next_billing_at"], &known["next_credits_at"]), (&json!(day(20)), &json!(day(21))));
        app.verify().await;
    }

    async fn a_repeated_purchase_event_grants_once(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        let event = purchase("purchased", account, "Pro", &in_days(0));
        // The same delivery twice, and the same purchase in another delivery.
        let delivery = deliver(app, &event).await;
        assert_eq!(app.deliver_github(&delivery, &event).await.expect(200)["duplicate"], true);
        deliver(app, &event).await;
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
        assert_eq!(app.event(&delivery).await["event"]["deliveries"], 2);
        app.verify().await;
    }

    async fn every_period_paid_before_signup_grants_its_credits(app: &TestApp) {
        let account = account();
        let mut event = purchase("purchased", account, "Pro", &in_days(-40));
        event["marketplace_purchase"]["next_billing_date"] = json!(in_days(-20));
        deliver(app, &event).await;
        let customer = sign_up(app, &link_token(app, account).await).await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        app.verify().await;
    }

    async fn a_purchase_ended_before_signup_grants_its_credits_but_no_pro(app: &TestApp) {
        let account = account();
        let mut event = purchase("purchased", account, "Pro", &in_days(-80));
        event["marketplace_purchase"]["next_billing_date"] = json!(in_days(-70));
        deliver(app, &event).await;
        let mut event = purchase("cancelled", account, "Pro", &in_days(-60));
        event["marketplace_purchase"]["next_billing_date"] = json!(null);
        deliver(app, &event).await;
        let customer = sign_up(app, &link_token(app, account).await).await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + 2 * PERIOD).await;
        assert_eq!(purchase_of(app, account).await["next_credits_at"], Value::Null);
        app.verify().await;
    }

    async fn months_between_two_unlinked_purchases_grant_nothing(app: &TestApp) {
        let account = account();
        for (action, begins, billed) in [("purchased", -150, -125), ("cancelled", -140, -125), ("purchased", -3, 20)] {
            let mut event = purchase(action, account, "Pro", &in_days(begins));
            event["marketplace_purchase"]["next_billing_date"] = json!(in_days(billed));
            deliver(app, &event).await;
        }
        let customer = sign_up(app, &link_token(app, account).await).await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        wait::until("both are granted", || async {
            let known = purchase_of(app, account).await;
            (known["next_credits_at"] == day(21)).then_some(())
        })
        .await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        app.verify().await;
    }

    async fn a_timer_that_fired_before_signup_prevents_no_grant(app: &TestApp) {
        let account = account();
        let mut event = purchase("purchased", account, "Pro", &in_days(-40));
        event["marketplace_purchase"]["next_billing_date"] = json!(in_days(-20));
        deliver(app, &event).await;
        // For example the timer of a pending change that was cancelled.
        let timer = timer_job(account, day_ms(-20));
        let tx = app.app.db.begin().await.unwrap();
        let wakes = job_insert_many(&tx, std::slice::from_ref(&timer), now_ms()).await.unwrap();
        tx.commit().await.unwrap();
        app.app.runtime.dispatcher.announce(wakes);
        job_in_state(app, &timer.id, JobState::Succeeded).await;
        let customer = sign_up(app, &link_token(app, account).await).await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
    }

    async fn an_upgrade_takes_effect_at_once(app: &TestApp) {
        let account = account();
        deliver(app, &purchase("purchased", account, "Trial", &in_days(-1))).await;
        let customer = sign_up(app, &link_token(app, account).await).await;
        wait_until_on(app, &customer, "trial", SIGNUP).await;
        deliver(app, &purchase("changed", account, "Pro", &in_days(0))).await;
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
        app.verify().await;
    }

    async fn a_downgrade_takes_effect_on_its_date(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        deliver(app, &purchase("pending_change", account, "Pay as you go", &in_days(20))).await;
        let pending = purchase_of(app, account).await["pending"].take();
        assert_eq!(pending["plan"]["plan"], "pay_as_you_go");
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
        // The date arrives.
        let due = format!("UPDATE jobs SET run_at_ms = 1 WHERE unique_key LIKE 'marketplace:{account}:%'");
        let earlier = format!(
            "UPDATE marketplace_accounts SET pending = REPLACE(pending, '{}', '{}'), \
             news = REPLACE(news, '{}', '{}'), effective_ms = 1 WHERE github_account_id = {account}",
            day_ms(20),
            day_ms(0) - 1,
            format_args!("\"at_ms\":{}", day_ms(0)),
            "\"at_ms\":1",
        );
        sql(app, &earlier).await;
        sql(app, &due).await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + PERIOD).await;
        assert_eq!(purchase_of(app, account).await["pending"], Value::Null);
        app.verify().await;
    }

    async fn an_announced_purchase_has_no_effective_date(app: &TestApp) {
        let account = account();
        deliver(app, &purchase("pending_change", account, "Pro", &in_days(20))).await;
        let announced = purchase_of(app, account).await;
        assert_eq!((&announced["state"], &announced["effective_at"]), (&json!("announced"), &Value::Null));
        assert_eq!(announced["pending"]["at"], day(20));
    }

    async fn a_withdrawn_change_is_no_longer_pending(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        deliver(app, &purchase("pending_change", account, "Trial", &in_days(20))).await;
        deliver(app, &purchase("pending_change_cancelled", account, "Pro", &in_days(20))).await;
        assert_eq!(purchase_of(app, account).await["pending"], Value::Null);
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
    }

    async fn a_cancellation_ends_pro_and_leaves_the_credits(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        deliver(app, &purchase("cancelled", account, "Pro", &in_days(0))).await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + PERIOD).await;
        // A late event from before the end does not bring Pro back.
        deliver(app, &purchase("changed", account, "Pro", &in_days(-1))).await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + PERIOD).await;
        assert_eq!(purchase_of(app, account).await["state"], "cancelled");
        app.verify().await;
    }

    async fn pro_lasts_while_a_purchase_or_a_subscription_gives_it(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        let stripe_customer = stripe_customer();
        deliver_until(app, &invoice_paid(&stripe_customer, Some(&customer)), "processed").await;
        deliver_until(app, &subscription_event(&stripe_customer, &customer), "processed").await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        deliver(app, &purchase("cancelled", account, "Pro", &in_days(0))).await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        let ended = stripe::pro_subscription(&stripe_customer, Some(&customer.id), "canceled");
        deliver_until(app, &stripe::event("customer.subscription.deleted", &ended), "processed").await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + 2 * PERIOD).await;
    }

    async fn a_purchase_keeps_pro_after_a_subscription_ends(app: &TestApp) {
        let (_, customer) = on_pro(app).await;
        let stripe_customer = stripe_customer();
        deliver_until(app, &subscription_event(&stripe_customer, &customer), "processed").await;
        let ended = stripe::pro_subscription(&stripe_customer, Some(&customer.id), "canceled");
        deliver_until(app, &stripe::event("customer.subscription.deleted", &ended), "processed").await;
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
    }

    async fn an_unknown_plan_is_dead_until_it_is_configured(app: &TestApp) {
        let (account, delivery) = (account(), delivery());
        app.deliver_github(&delivery, &purchase("purchased", account, "Gold", &in_days(0))).await.expect(200);
        let found = app.event_in_state(&delivery, "dead").await;
        assert!(found["event"]["last_error"].as_str().unwrap().starts_with("plan_unknown: "), "{found}");
        let known = purchase_of(app, account).await;
        assert_eq!((&known["plan"]["name"], &known["plan"]["plan"]), (&json!("Gold"), &Value::Null));
        // The end of the purchase does not need a known plan.
        deliver(app, &purchase("cancelled", account, "Gold", &in_days(0))).await;
        assert_eq!(purchase_of(app, account).await["state"], "cancelled");
    }

    async fn a_change_to_an_unknown_plan_does_not_end_pro(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        let delivery = delivery();
        let mut event = purchase("changed", account, "Gold", &in_days(0));
        event["marketplace_purchase"]["plan"]["id"] = json!(436);
        app.deliver_github(&delivery, &event).await.expect(200);
        app.event_in_state(&delivery, "dead").await;
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
        let known = purchase_of(app, account).await;
        assert_eq!((&known["plan"]["plan"], &known["next_credits_at"]), (&json!("pro"), &json!(day(21))));
        app.verify().await;
    }

    async fn an_ignored_or_unreadable_event_ends_the_same_when_replayed(app: &TestApp) {
        let ping: &[u8] = br#"{"zen":"Keep it logically awesome.","hook_id":1}"#;
        for (event, body, state) in [("ping", ping, "processed"), ("marketplace_purchase", b"{", "dead")] {
            let (delivery, signature) = (delivery(), signature(body, GITHUB_SECRETS[0]));
            app.deliver_github_bytes(body, &headers(event, &delivery, Some(&signature))).await.expect(200);
            app.event_in_state(&delivery, state).await;
            replay_event(app, &delivery, state).await;
        }
    }

    async fn a_job_whose_event_or_account_is_gone_ends_and_says_why(app: &TestApp) {
        let account = account();
        deliver(app, &purchase("purchased", account, "Pro", &in_days(0))).await;
        let stream = format!("/admin/v1/streams/github:{account}");
        admin_post(app, &format!("{stream}/pause"), "test").await.expect(200);
        let delivery = delivery();
        app.deliver_github(&delivery, &purchase("cancelled", account, "Pro", &in_days(0))).await.expect(200);
        sql(app, "UPDATE jobs SET event_id = NULL WHERE kind = 'github.event' AND state = 'available'").await;
        let tx = app.app.db.begin().await.unwrap();
        job_insert_many(&tx, &[settle_job(account, now_ms())], now_ms()).await.unwrap();
        tx.commit().await.unwrap();
        sql(app, "DELETE FROM marketplace_accounts").await;
        admin_post(app, &format!("{stream}/resume"), "test").await.expect(200);
        for (kind, state, expected) in [
            ("github.event", "dead", "the event's bytes are gone"),
            ("marketplace.settle", "cancelled", "there is no such marketplace account"),
        ] {
            let reason = wait::until(&format!("the job {kind} is {state}"), || async {
                let sql = format!("SELECT last_error FROM jobs WHERE kind = '{kind}' AND state = '{state}'");
                texts(app, &sql).await.pop()
            })
            .await;
            assert_eq!(reason, expected);
        }
    }
}
