//! An end and a purchase with the same effective date.

use super::*;
use crate::scene::run_retention;
use bursar_tests::answer::Answer;

/// An event of a purchase that takes effect on `day` and is billed next on `billed`, both in days from today.
fn event(action: &str, account: i64, day: i64, billed: Option<i64>) -> Value {
    let mut event = purchase(action, account, "Pro", &in_days(day));
    event["marketplace_purchase"]["next_billing_date"] = json!(billed.map(in_days));
    event
}

/// Corrects a purchase as support, from this date on.
async fn correct(app: &TestApp, account: i64, state: &str, effective_date: Option<&str>) -> Answer {
    let body = json!({ "state": state, "effective_date": effective_date, "reason": "ticket 4711" });
    app.admin("POST", &format!("/admin/v1/marketplace/accounts/{account}/state"), Some(&body)).await
}

/// An account that bought Pro nearly a month ago, and its customer.
async fn on_pro_for_a_month(app: &TestApp) -> (i64, TestCustomer) {
    let account = account();
    deliver(app, &event("purchased", account, -25, Some(0))).await;
    let customer = sign_up(app, &link_token(app, account).await).await;
    // The month that begins today is not granted before the grace period is over (tomorrow), in case an end dated today
    // still arrives.
    wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
    (account, customer)
}

fn today() -> String {
    day(0)[..10].to_owned()
}

with_app! {
    async fn failure_24_a_purchase_on_the_end_date_of_the_old_one_is_active(app: &TestApp) {
        let (account, customer) = on_pro_for_a_month(app).await;
        assert_eq!(purchase_of(app, account).await["next_credits_at"], day(1));
        deliver(app, &event("cancelled", account, 0, Some(0))).await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + PERIOD).await;
        assert_eq!(purchase_of(app, account).await["next_credits_at"], Value::Null);
        deliver(app, &event("purchased", account, 0, Some(30))).await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        let known = purchase_of(app, account).await;
        assert_eq!((&known["state"], &known["next_credits_at"]), (&json!("purchased"), &json!(day(31))));
        app.verify().await;
    }

    async fn the_order_of_arrival_and_repetition_do_not_matter(app: &TestApp) {
        let (account, customer) = on_pro_for_a_month(app).await;
        let (again, ended) = (event("purchased", account, 0, Some(30)), event("cancelled", account, 0, Some(0)));
        let delivery = deliver(app, &again).await;
        deliver(app, &ended).await;
        app.deliver_github(&delivery, &again).await.expect(200);
        deliver(app, &ended).await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        // The second purchase is cancelled too, on the same day.
        deliver(app, &event("cancelled", account, 0, Some(30))).await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + 2 * PERIOD).await;
        assert_eq!(purchase_of(app, account).await["state"], "cancelled");
        app.verify().await;
    }

    async fn buying_cancelling_and_buying_again_on_one_day_is_a_purchase(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        deliver(app, &purchase("cancelled", account, "Pro", &in_days(0))).await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + PERIOD).await;
        deliver(app, &purchase("purchased", account, "Pro", &in_days(0))).await;
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
        app.verify().await;
    }

    async fn a_repeated_purchase_event_needs_one_cancellation(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        deliver(app, &purchase("purchased", account, "Pro", &in_days(0))).await;
        deliver(app, &purchase("cancelled", account, "Pro", &in_days(0))).await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + PERIOD).await;
        app.verify().await;
    }

    async fn a_late_event_about_an_older_purchase_resolves_the_order(app: &TestApp) {
        let account = account();
        deliver(app, &event("purchased", account, 0, Some(30))).await;
        deliver(app, &event("cancelled", account, 0, Some(30))).await;
        assert_eq!(purchase_of(app, account).await["state"], "cancelled");
        deliver(app, &event("purchased", account, -25, Some(0))).await;
        assert_eq!(purchase_of(app, account).await["state"], "purchased");
        let customer = sign_up(app, &link_token(app, account).await).await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        app.verify().await;
    }

    async fn an_ambiguous_order_is_dead_until_support_corrects_it(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        let delivery = delivery();
        app.deliver_github(&delivery, &event("cancelled", account, 0, None)).await.expect(200);
        let found = app.event_in_state(&delivery, "dead").await;
        assert!(found["event"]["last_error"].as_str().unwrap().starts_with("order_unclear: "), "{found}");
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;

        // The answer shows the account before the correction.
        let answer = correct(app, account, "cancelled", None).await.expect(200);
        assert_eq!(answer["account"]["state"], "purchased");
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + PERIOD).await;
        replay_event(app, &delivery, "processed").await;
        assert_eq!(purchase_of(app, account).await["state"], "cancelled");
        correct(app, account, "purchased", Some(&today())).await.expect(200);
        wait_until_on(app, &customer, "pro", SIGNUP + PERIOD).await;
        app.verify().await;
    }

    async fn support_corrects_a_lost_purchase_from_its_date(app: &TestApp) {
        let account = account();
        deliver(app, &event("purchased", account, -200, Some(-180))).await;
        deliver(app, &event("cancelled", account, -180, Some(-180))).await;
        let body = json!({
            "state": "purchased",
            "effective_date": day(-3)[..10],
            "next_billing_date": day(20)[..10],
            "reason": "ticket 4711",
        });
        let path = format!("/admin/v1/marketplace/accounts/{account}/state");
        app.admin("POST", &path, Some(&body)).await.expect(200);
        let customer = sign_up(app, &link_token(app, account).await).await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        assert_eq!(purchase_of(app, account).await["next_credits_at"], day(21));
        app.verify().await;
    }

    async fn corrections_keep_their_order_although_retention_deletes_their_stream(app: &TestApp) {
        let (account, customer) = on_pro(app).await;
        for (state, plan) in [("cancelled", "pay_as_you_go"), ("purchased", "pro"), ("cancelled", "pay_as_you_go")] {
            correct(app, account, state, Some(&today())).await.expect(200);
            wait_until_on(app, &customer, plan, SIGNUP + PERIOD).await;
            let stream = format!("github:{account}");
            sql(app, &format!("UPDATE jobs SET finished_at_ms = 1 WHERE stream_key = '{stream}'")).await;
            run_retention(app).await;
            app.admin("GET", &format!("/admin/v1/streams/{stream}"), None).await.expect_problem(404, "not_found");
        }
        app.verify().await;
    }

    async fn a_correction_needs_a_purchase_and_a_reason(app: &TestApp) {
        let account = account();
        correct(app, account, "cancelled", None).await.expect_problem(404, "not_found");
        deliver(app, &purchase("pending_change", account, "Pro", &in_days(20))).await;
        correct(app, account, "purchased", Some(&today())).await.expect_problem(409, "marketplace_not_purchased");
        deliver(app, &purchase("purchased", account, "Pro", &in_days(0))).await;
        let path = format!("/admin/v1/marketplace/accounts/{account}/state");
        let body = json!({ "state": "cancelled", "reason": " " });
        app.admin("POST", &path, Some(&body)).await.expect_problem(400, "invalid_reason");
        correct(app, account, "cancelled", None).await.expect_problem(400, "effective_date_required");
        for no_day in [&day(1)[..10], "soon", "2026-13-01", ""] {
            correct(app, account, "cancelled", Some(no_day)).await.expect_problem(400, "invalid_date");
        }
        let billed = json!({
            "state": "purchased", "effective_date": today(), "next_billing_date": today(), "reason": "ticket 4711",
        });
        app.admin("POST", &path, Some(&billed)).await.expect_problem(400, "invalid_date");
        correct(app, account, "cancelled", Some(&today())).await.expect(200);
        let target = format!("github:{account}");
        assert_eq!(crate::scene::audited(app, &target).await, ["marketplace.correct"]);
    }

    async fn a_row_of_the_previous_release_keeps_its_plan_and_its_credits(app: &TestApp) {
        let account = account();
        deliver(app, &event("purchased", account, -40, Some(-20))).await;
        sql(app, "UPDATE marketplace_accounts SET news = '[]'").await;
        assert_eq!(purchase_of(app, account).await["state"], "purchased");
        let customer = sign_up(app, &link_token(app, account).await).await;
        wait_until_on(app, &customer, "pro", SIGNUP + 2 * PERIOD).await;
        deliver(app, &event("cancelled", account, 0, Some(10))).await;
        wait_until_on(app, &customer, "pay_as_you_go", SIGNUP + 2 * PERIOD).await;
        app.verify().await;
    }
}
