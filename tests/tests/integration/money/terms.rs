//! What support decides of an account: debts written off, credit limits, suspensions.

use super::*;
use crate::cli::Program;
use crate::scene::{PERIOD, SIGNUP};

impl Shop {
    async fn act(&self, customer: &TestCustomer, act: &str, body: &Value) -> Answer {
        self.app.admin("POST", &format!("/admin/v1/customers/{}/{act}", customer.id), Some(body)).await
    }

    async fn audit_count(&self, customer: &TestCustomer, act: &str) -> usize {
        let lines = self.app.admin("GET", &format!("/admin/v1/audit?target={}", customer.id), None).await.expect(200);
        lines["data"].as_array().expect("lines").iter().filter(|line| line["action"] == act).count()
    }

    async fn hold_one(&self, customer: &TestCustomer, key: &str) -> Answer {
        self.app.call(customer, "POST", "/api/v1/holds", key, Some(&json!({ "units": 1 }))).await
    }
}

with_shop! {
    async fn a_debt_is_written_off_once_and_the_customer_can_buy_again(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        shop.app.spend(&customer, 1, "more").await.expect_problem(402, "credits_owed");
        let reason = json!({ "reason": "ticket 1" });
        let done = shop.act(&customer, "write-off", &reason).await.expect(200);
        assert_eq!((&done["transaction"]["amount"], &done["credit_balance"]), (&json!(1), &json!(0)));
        assert_eq!([&done["transaction"]["source"], &done["transaction"]["reason"]], ["support", "ticket 1"]);
        shop.act(&customer, "write-off", &reason).await.expect_problem(409, "nothing_to_do");
        shop.app.spend(&customer, 1, "again").await.expect(200);
        assert_eq!(shop.audit_count(&customer, "customer.write_off").await, 1);
    }

    async fn a_credit_limit_lets_a_customer_go_below_zero_and_no_further(shop: &Shop) {
        let customer = shop.app.onboard().await;
        let limit = |credits: i64| json!({ "credits": credits, "reason": "pays by invoice" });
        let set = shop.act(&customer, "credit-limit", &limit(10)).await.expect(200);
        assert_eq!((&set["credit_limit"], &set["credit_balance"]), (&json!(10), &json!(SIGNUP)));
        shop.app.spend(&customer, SIGNUP + 9, "most").await.expect(200);
        shop.hold_one(&customer, "hold").await.expect(201);
        shop.app.spend(&customer, 1, "too-much").await.expect_problem(402, "insufficient_credits");
        shop.hold_one(&customer, "hold-too-much").await.expect_problem(402, "insufficient_credits");
        // A lower limit takes nothing back, and what comes in pays the debt first.
        shop.act(&customer, "credit-limit", &limit(0)).await.expect(200);
        assert_eq!(shop.app.balance(&customer).await, -9);
        shop.app.adjust(&customer, 12).await.expect(200);
        shop.app.spend(&customer, 2, "rest").await.expect(200);
        shop.app.spend(&customer, 1, "below").await.expect_problem(402, "insufficient_credits");
        // What is so already is no change.
        shop.act(&customer, "credit-limit", &limit(0)).await.expect(200);
        assert_eq!(shop.audit_count(&customer, "customer.credit_limit").await, 2);
        for credits in [-1, 1_000_001] {
            shop.act(&customer, "credit-limit", &limit(credits)).await.expect_problem(400, "invalid_credit_limit");
        }
    }

    async fn within_its_credit_limit_a_customer_is_told_what_it_may_spend(shop: &Shop) {
        let customer = shop.app.onboard().await;
        shop.act(&customer, "credit-limit", &json!({ "credits": 100, "reason": "x" })).await.expect(200);
        let spent = shop.app.spend(&customer, SIGNUP + 50, "most").await.expect(200);
        let words =
            "You have no fix credits left. You may spend 50 fix credits on credit. Add billing to continue after that.";
        assert_eq!(spent["warning"], words);
        let summary = shop.app.call(&customer, "GET", "/api/v1/usage/summary", "", None).await.expect(200);
        assert_eq!(summary["warnings"], json!([{ "code": "low_credits", "message": words }]));
        let mailed = wait::until("low credits are mailed", || async {
            let path = format!("/admin/v1/customers/{}/emails?limit=100", customer.id);
            let page = shop.app.admin("GET", &path, None).await.expect(200);
            let is_meant = |mail: &&Value| mail["template"] == "low_credit" && mail["state"] == "stored";
            let id = page["data"].as_array()?.iter().find(is_meant)?["id"].as_str()?.to_owned();
            Some(shop.app.admin("GET", &format!("/admin/v1/mails/{id}"), None).await.expect(200).to_string())
        })
        .await;
        assert!(mailed.contains(words) && !mailed.contains("owes"), "{mailed}");
        let refused = shop.app.spend(&customer, 51, "too-much").await;
        refused.expect_problem(402, "insufficient_credits");
        assert_eq!(refused.body["available"], 50, "{}", refused.body);
        shop.app.spend(&customer, 50, "rest").await.expect(200);
        // Below the limit it owes.
        shop.act(&customer, "credit-limit", &json!({ "credits": 99, "reason": "x" })).await.expect(200);
        let summary = shop.app.call(&customer, "GET", "/api/v1/usage/summary", "", None).await.expect(200);
        assert_eq!(summary["warnings"][0]["code"], "credits_owed");
    }

    async fn a_customer_at_its_credit_limit_is_charged_for_what_is_beyond_and_keeps_its_debt(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.act(&customer, "credit-limit", &json!({ "credits": 2, "reason": "x" })).await.expect(200);
        shop.app.spend(&customer, 2, "on-credit").await.expect(200);
        assert_eq!((shop.app.balance(&customer).await, shop.net_paid(&customer).await), (-2, 0));
        shop.app.spend(&customer, 1, "more").await.expect(200);
        assert_eq!((shop.app.balance(&customer).await, shop.net_paid(&customer).await), (-2, UNIT));
        // With a lower limit it owes what is beyond it.
        shop.act(&customer, "credit-limit", &json!({ "credits": 1, "reason": "x" })).await.expect(200);
        shop.app.spend(&customer, 1, "owed").await.expect_problem(402, "credits_owed");
        assert_eq!(shop.net_paid(&customer).await, UNIT);
    }

    async fn nothing_is_bought_for_a_suspended_customer_and_a_top_up_waits(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.act(&customer, "suspend", &json!({ "reason": "x" })).await.expect(200);
        let top_up = json!({ "enabled": true, "threshold": 1, "target": 1 });
        shop.app.call(&customer, "PUT", "/api/v1/credits/auto-top-up", "top-up", Some(&top_up)).await.expect(200);
        shop.app.spend(&customer, 1, "unit").await.expect_problem(403, "customer_suspended");
        assert_eq!(shop.net_paid(&customer).await, 0);
        shop.act(&customer, "resume", &json!({ "reason": "x" })).await.expect(200);
        wait::until("credits were bought", || async { (shop.app.balance(&customer).await == 1).then_some(()) }).await;
        assert_eq!(shop.net_paid(&customer).await, UNIT);
    }

    async fn a_suspended_customer_spends_reserves_and_is_charged_nothing_until_it_is_resumed(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        let held = shop.hold_one(&customer, "before").await.expect(201)["hold"]["id"].as_str().expect("an id").to_owned();
        shop.app.spend(&customer, 1, "earlier").await.expect(200);
        let reason = json!({ "reason": "abuse, ticket 1" });
        for _ in 0..2 {
            let suspended = shop.act(&customer, "suspend", &reason).await.expect(200);
            assert_eq!(suspended["suspended"], true);
        }
        assert_eq!(shop.audit_count(&customer, "customer.suspend").await, 1);
        // More than there is would be charged.
        for units in [1, 10] {
            shop.app.spend(&customer, units, &format!("spend-{units}")).await.expect_problem(403, "customer_suspended");
        }
        shop.hold_one(&customer, "after").await.expect_problem(403, "customer_suspended");
        shop.subscribe(&customer, "pro").await.expect_problem(403, "customer_suspended");
        assert_eq!(shop.net_paid(&customer).await, 0);
        let told = shop.app.call(&customer, "GET", "/api/v1/credits", "", None).await.expect(200);
        assert_eq!(told["suspended"], true);
        assert!(told["warning"].as_str().is_some_and(|warning| warning.contains("is suspended")), "{told:#}");
        // It can read, what it did before is answered as before, and what was reserved before is captured.
        assert_eq!(shop.app.balance(&customer).await, 2);
        shop.app.call(&customer, "GET", "/api/v1/credits/transactions", "", None).await.expect(200);
        assert_eq!(shop.app.spend(&customer, 1, "earlier").await.expect(200)["replayed"], true);
        let capture = format!("/api/v1/holds/{held}/capture");
        shop.app.call(&customer, "POST", &capture, "capture", Some(&json!({}))).await.expect(200);
        // What it pays for counts.
        let invoice = stripe::pro_invoice(&shop.stripe_customer(&customer).await, Some(&customer.id));
        shop.deliver_event("invoice.paid", &invoice).await;
        assert_eq!(shop.app.balance(&customer).await, 1 + PERIOD);
        let shown = shop.app.admin("GET", &format!("/admin/v1/customers/{}", customer.id), None).await.expect(200);
        assert_eq!(shown["suspended"], true);
        assert_eq!(shop.act(&customer, "resume", &reason).await.expect(200)["suspended"], false);
        shop.app.spend(&customer, 1, "spend-1").await.expect(200);
        let told = shop.app.call(&customer, "GET", "/api/v1/credits", "", None).await.expect(200);
        assert_eq!(told.get("suspended"), None);
    }

    async fn commands_write_off_limit_suspend_and_resume(shop: &Shop) {
        let customer = shop.app.onboard().await;
        let (program, id) = (Program::of(&shop.app.config, &shop.app.base), customer.id.as_str());
        let limit = ["customers", "credit-limit", id, "--credits", "5", "--reason", "x"];
        assert_eq!(program.json(&limit).await["credit_limit"], 5);
        let told = shop.app.call(&customer, "GET", "/api/v1/credits", "", None).await.expect(200);
        assert_eq!((&told["credit_limit"], &told["available"]), (&5.into(), &SIGNUP.into()));
        shop.app.spend(&customer, SIGNUP + 5, "all").await.expect(200);
        let off = program.json(&["customers", "write-off", id, "--reason", "x"]).await;
        assert_eq!(off["credit_balance"], 0);
        assert!(program.well(&["customers", "suspend", id, "--reason", "x"]).await.contains("yes"));
        let shown = program.well(&["customers", "show", id]).await;
        assert!(shown.contains("suspended") && shown.contains("credit limit"), "{shown}");
        assert_eq!(program.json(&["customers", "resume", id, "--reason", "x"]).await["suspended"], false);
        let timeline = program.well(&["customers", "timeline", id]).await;
        for what in ["audit.customer.suspend", "ledger.terms", "audit.customer.write_off"] {
            assert!(timeline.contains(what), "{what}: {timeline}");
        }
    }
}
