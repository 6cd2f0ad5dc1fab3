//! Support links a Stripe customer: what it has is adopted, and payments bring credits from a date on.

use super::*;
use crate::cli::Program;
use crate::money::interceptor::{Interception, error};
use crate::scene::{self, delay_job, job_in_state, resume_job};
use bursar_engine::domain::job::JobState;
use bursar_engine::ids::JobId;

impl Shop {
    /// A Stripe customer that was made at Stripe, with a card and two paid months of Pro. Returns its id, its
    /// subscription and the invoices of both months.
    async fn subscriber_at_stripe(&self) -> (String, Value, Value, Value) {
        let form = [
            ("email", "else@example.com"),
            ("payment_method", "pm_card_visa"),
            ("invoice_settings[default_payment_method]", "pm_card_visa"),
        ];
        let made = self.ask_stripe("POST", "/v1/customers", &form).await;
        let id = stripe::id(&made).to_owned();
        let price = self.pro_price().await;
        let subscription = self.subscribe_at_stripe(&id, stripe::id(&price), &[]).await;
        let first = self.stripe.object(subscription["latest_invoice"].as_str().expect("an invoice"));
        let second = self.next_month();
        (id, subscription, first, second)
    }

    /// The beginning of the period that an invoice bills, as credits_from.
    fn period_of(invoice: &Value) -> String {
        let begins_s = invoice["lines"]["data"][0]["period"]["start"].as_i64().expect("a time");
        bursar_engine::clock::rfc3339(begins_s * 1_000)
    }

    async fn link(&self, customer: &TestCustomer, stripe_customer: &str, credits_from: Option<&str>) -> Answer {
        let body = json!({ "stripe_customer_id": stripe_customer, "credits_from": credits_from, "reason": "ticket 1" });
        self.app.admin("POST", &format!("/admin/v1/customers/{}/stripe-link", customer.id), Some(&body)).await
    }

    async fn unlink(&self, customer: &TestCustomer) -> Answer {
        let path = format!("/admin/v1/customers/{}/stripe-unlink", customer.id);
        self.app.admin("POST", &path, Some(&json!({ "reason": "ticket 2" }))).await
    }

    /// Waits until nothing is under way: all jobs of a Stripe customer have ended.
    async fn adopted(&self, stripe_customer: &str) {
        wait::until("everything is adopted", || async {
            let path = format!("/admin/v1/jobs?stream=stripe:{stripe_customer}");
            let jobs = self.app.admin("GET", &path, None).await.expect(200);
            let jobs = jobs["data"].as_array().expect("jobs").clone();
            let is_done = |job: &Value| job["state"] == "succeeded";
            (!jobs.is_empty() && jobs.iter().all(is_done)).then_some(())
        })
        .await;
    }

    async fn metadata_names(&self, stripe_customer: &str) -> Value {
        self.stripe.object(stripe_customer)["metadata"]["bursar_customer_id"].clone()
    }

    async fn audited(&self, target: &str) -> Vec<String> {
        let lines = self.app.admin("GET", &format!("/admin/v1/audit?target={target}"), None).await.expect(200);
        let lines = lines["data"].as_array().expect("lines").iter();
        lines.map(|line| line["action"].as_str().expect("an action").to_owned()).collect()
    }
}

with_shop! {
    async fn a_link_adopts_what_is_there_and_grants_only_periods_from_its_date_on(shop: &Shop) {
        let (theirs, subscription, old, new) = shop.subscriber_at_stripe().await;
        let customer = shop.app.onboard().await;
        let first = shop.stripe_customer(&customer).await;
        let linked = shop.link(&customer, &theirs, Some(&Shop::period_of(&new))).await.expect(200);
        assert_eq!(linked["customer"]["stripe_customer_id"], theirs);
        assert_eq!(linked["credits_from"], Shop::period_of(&new));
        shop.adopted(&theirs).await;
        assert_eq!(shop.metadata_names(&theirs).await, customer.id.as_str());
        assert_eq!(shop.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()));
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + PERIOD);
        // The card is known, and nobody has consented to its being charged for units.
        let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
        assert_eq!(methods["data"].as_array().expect("a list").len(), 1);
        assert_eq!(shop.customer(&customer).await["has_payment_method"], false);
        // Late and repeated events, and a refund of the old month, change nothing.
        for (event_type, object) in [("invoice.paid", &old), ("invoice.paid", &new), ("customer.subscription.updated", &subscription)] {
            shop.deliver_event(event_type, object).await;
        }
        let charge = shop.stripe.list("charge").remove(0);
        shop.stripe.refund(stripe::id(&charge), None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(stripe::id(&charge))).await;
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + PERIOD);
        // The Stripe customer that it had before still counts as its own.
        let shown = shop.app.admin("GET", &format!("/admin/v1/customers?search={first}"), None).await.expect(200);
        assert_eq!(shown["data"][0]["id"], customer.id.as_str());
        assert_eq!(shop.audited(&customer.id).await[0], "customer.stripe_link");
    }

    async fn a_link_without_a_date_grants_no_period_of_the_past(shop: &Shop) {
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let linked = shop.link(&customer, &theirs, None).await.expect(200);
        shop.adopted(&theirs).await;
        // The second month begins in the sandbox's future.
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + PERIOD);
        // A repetition changes nothing, and an earlier date brings the first month, too.
        let again = shop.link(&customer, &theirs, None).await.expect(200);
        assert_eq!(again["credits_from"], linked["credits_from"]);
        assert_eq!(shop.audited(&customer.id).await.iter().filter(|act| *act == "customer.stripe_link").count(), 1);
        shop.link(&customer, &theirs, Some("2024-01-01")).await.expect(200);
        shop.adopted(&theirs).await;
        wait::until("both months are granted", || async {
            (shop.app.balance(&customer).await == SIGNUP + 2 * PERIOD).then_some(())
        })
        .await;
        shop.deliver_event("invoice.paid", &new).await;
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + 2 * PERIOD);
    }

    async fn a_reconciliation_does_not_grant_what_is_older_than_the_link(shop: &Shop) {
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        shop.link(&customer, &theirs, Some(&Shop::period_of(&new))).await.expect(200);
        shop.adopted(&theirs).await;
        let body = json!({ "since_hours": 720 });
        let run = shop.app.admin("POST", "/admin/v1/stripe/reconciliations", Some(&body)).await.expect(202);
        let id = run["reconciliation"]["id"].as_str().expect("an id").to_owned();
        wait::until("the comparison has ended", || async {
            let run = shop.app.admin("GET", &format!("/admin/v1/stripe/reconciliations/{id}"), None).await.expect(200);
            (run["reconciliation"]["state"] == "done").then_some(())
        })
        .await;
        let path = format!("/admin/v1/stripe/reconciliations/{id}/findings");
        let found = shop.app.admin("GET", &path, None).await.expect(200);
        let about_money = found["data"].as_array().expect("findings").iter().filter(|row| row["class"] == "invoice_not_granted");
        assert_eq!(about_money.count(), 0, "{found}");
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + PERIOD);
    }

    async fn what_waited_for_a_link_is_tried_again_at_once(shop: &Shop) {
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let event = stripe::event("invoice.paid", &new);
        shop.app.deliver(&event).await.expect(200);
        delay_job(&shop.app, "stripe.event").await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        shop.link(&customer, &theirs, Some(&Shop::period_of(&new))).await.expect(200);
        shop.app.event_in_state(stripe::id(&event), "processed").await;
        shop.adopted(&theirs).await;
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + PERIOD);
    }

    async fn a_comparison_of_a_customer_has_what_waits_of_it_tried_again_at_once(shop: &Shop) {
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let event = stripe::event("invoice.paid", &new);
        shop.app.deliver(&event).await.expect(200);
        delay_job(&shop.app, "stripe.event").await;
        let former = format!("UPDATE customers SET stripe_customer_id = NULL WHERE id = '{}'", customer.id);
        sql(&shop.app, &former).await;
        scene::link(&shop.app, &customer, &theirs).await;
        let body = json!({ "customer_id": customer.id });
        shop.app.admin("POST", "/admin/v1/stripe/reconciliations", Some(&body)).await.expect(202);
        shop.app.event_in_state(stripe::id(&event), "processed").await;
    }

    async fn an_event_that_waits_after_a_failure_is_tried_now_if_support_says_so(shop: &Shop) {
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let event = stripe::event("invoice.paid", &new);
        shop.app.deliver(&event).await.expect(200);
        delay_job(&shop.app, "stripe.event").await;
        let failed = shop.app.event(stripe::id(&event)).await["event"]["attempts"].as_i64().expect("a number");
        let path = format!("/admin/v1/events/{}/replay", stripe::id(&event));
        shop.app.admin("POST", &path, Some(&json!({ "reason": "linked by hand" }))).await.expect(200);
        wait::until("it was tried again", || async {
            let found = shop.app.event(stripe::id(&event)).await;
            (found["event"]["attempts"].as_i64() > Some(failed)).then_some(())
        })
        .await;
        assert!(shop.audited(&scene::job_of(&shop.app, &event).await.id.to_string()).await.contains(&"job.replay".to_owned()));
        // So that nothing is left of it.
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        shop.link(&customer, &theirs, Some(&Shop::period_of(&new))).await.expect(200);
        shop.adopted(&theirs).await;
    }

    async fn what_contradicts_a_link_is_refused_and_changes_nothing(shop: &Shop) {
        let (theirs, ..) = shop.subscriber_at_stripe().await;
        let (customer, other) = (shop.app.onboard().await, shop.pro().await);
        let (own, of_other) = (shop.stripe_customer(&customer).await, shop.stripe_customer(&other).await);
        let gone = shop.ask_stripe("POST", "/v1/customers", &[("email", "gone@example.com")]).await;
        shop.ask_stripe("DELETE", &format!("/v1/customers/{}", stripe::id(&gone)), &[]).await;
        let named = [("email", "b@example.com"), ("metadata[bursar_customer_id]", other.id.as_str())];
        let named = shop.ask_stripe("POST", "/v1/customers", &named).await;
        for (id, status, code) in [
            ("cus_nobody", 422, "stripe_customer_not_found"),
            ("cus_1/sources", 422, "stripe_customer_not_found"),
            (stripe::id(&gone), 422, "stripe_customer_deleted"),
            (stripe::id(&named), 409, "stripe_customer_taken"),
            (of_other.as_str(), 409, "stripe_customer_taken"),
        ] {
            shop.link(&customer, id, None).await.expect_problem(status, code);
        }
        shop.link(&customer, &theirs, Some("yesterday")).await.expect_problem(400, "invalid_time");
        shop.link(&other, &theirs, None).await.expect_problem(409, "customer_has_subscription");
        shop.unlink(&other).await.expect_problem(409, "customer_has_subscription");
        let unknown = TestCustomer { id: "cst_unknown".to_owned(), ..customer.clone() };
        shop.link(&unknown, &theirs, None).await.expect_problem(404, "not_found");
        assert_eq!((shop.stripe_customer(&customer).await, shop.stripe_customer(&other).await), (own, of_other));
        assert_eq!(shop.metadata_names(&theirs).await, Value::Null);
        for id in [&customer.id, &other.id] {
            assert!(!shop.audited(id).await.iter().any(|act| act.starts_with("customer.stripe_")));
        }
    }

    async fn a_wrong_link_is_taken_away_and_the_right_customer_gets_the_plan(shop: &Shop) {
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let (wrong, right) = (shop.app.onboard().await, shop.app.onboard().await);
        for customer in [&wrong, &right] {
            shop.stripe_customer(customer).await;
        }
        let from = Shop::period_of(&new);
        shop.link(&wrong, &theirs, Some(&from)).await.expect(200);
        shop.adopted(&theirs).await;
        shop.link(&right, &theirs, Some(&from)).await.expect_problem(409, "stripe_customer_taken");
        let unlinked = shop.unlink(&wrong).await.expect(200);
        assert_eq!((&unlinked["customer"]["stripe_customer_id"], &unlinked["credits_from"]), (&Value::Null, &Value::Null));
        assert_eq!(shop.metadata_names(&theirs).await, Value::Null);
        assert_eq!(shop.plan(&wrong).await, "trial", "as before the link, and nobody charges it for units");
        shop.unlink(&wrong).await.expect_problem(409, "stripe_customer_not_linked");
        // The right one gets the plan and the months to come. Money brings credits once: support moves those of the
        // month that the wrong one got.
        shop.link(&right, &theirs, Some(&from)).await.expect(200);
        shop.adopted(&theirs).await;
        assert_eq!(shop.status_and_plan(&right).await, ("active".to_owned(), "pro".to_owned()));
        assert_eq!((shop.app.balance(&wrong).await, shop.app.balance(&right).await), (SIGNUP + PERIOD, SIGNUP));
        shop.deliver_event("invoice.paid", &new).await;
        assert_eq!(shop.app.balance(&right).await, SIGNUP);
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        assert_eq!(shop.app.balance(&right).await, SIGNUP + PERIOD);
        assert_eq!(shop.audited(&wrong.id).await[0], "customer.stripe_unlink");
        // The credits of a refunded month go from whoever got them.
        let charge = shop.stripe.list("charge").remove(1);
        shop.stripe.refund(stripe::id(&charge), None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(stripe::id(&charge))).await;
        assert_eq!((shop.app.balance(&wrong).await, shop.app.balance(&right).await), (SIGNUP, SIGNUP + PERIOD));
    }

    async fn a_change_credits_no_money_that_was_refunded_under_a_former_link(shop: &Shop) {
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let (former, present) = (shop.app.onboard().await, shop.app.onboard().await);
        for customer in [&former, &present] {
            shop.stripe_customer(customer).await;
        }
        let from = Shop::period_of(&new);
        shop.link(&former, &theirs, Some(&from)).await.expect(200);
        shop.adopted(&theirs).await;
        let charge = shop.stripe.list("charge").remove(1);
        shop.stripe.refund(stripe::id(&charge), None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(stripe::id(&charge))).await;
        shop.unlink(&former).await.expect(200);
        shop.link(&present, &theirs, Some(&from)).await.expect(200);
        shop.adopted(&theirs).await;
        shop.sell_plus().await;
        shop.attach_until_done(&present, "pm_card_visa").await;
        let now = json!({ "price": "plus_monthly", "when": "now" });
        for path in ["preview", "change"] {
            let path = format!("{SUBSCRIPTION}/{path}");
            let refused = shop.app.call(&present, "POST", &path, "now", Some(&now)).await;
            refused.expect_problem(409, "period_refunded");
        }
    }

    async fn what_brought_a_wrong_customer_nothing_is_for_the_right_one(shop: &Shop) {
        let (theirs, _, old, new) = shop.subscriber_at_stripe().await;
        let (wrong, right) = (shop.app.onboard().await, shop.app.onboard().await);
        for customer in [&wrong, &right] {
            shop.stripe_customer(customer).await;
        }
        shop.link(&wrong, &theirs, Some(&Shop::period_of(&new))).await.expect(200);
        shop.adopted(&theirs).await;
        // It is stored as paid for the wrong one, to which it brings nothing: its period is older than the date.
        shop.deliver_event("invoice.paid", &old).await;
        assert_eq!(shop.app.balance(&wrong).await, SIGNUP + PERIOD);
        shop.unlink(&wrong).await.expect(200);
        shop.link(&right, &theirs, Some("2024-01-01")).await.expect(200);
        shop.adopted(&theirs).await;
        wait::until("its credits have come", || async {
            (shop.app.balance(&right).await == SIGNUP + PERIOD).then_some(())
        })
        .await;
        for invoice in [&old, &new, &old] {
            shop.deliver_event("invoice.paid", invoice).await;
        }
        assert_eq!((shop.app.balance(&wrong).await, shop.app.balance(&right).await), (SIGNUP + PERIOD, SIGNUP + PERIOD));
        let mut paid = Vec::new();
        for customer in [&wrong, &right] {
            let path = format!("/admin/v1/payments?customer={}", customer.id);
            let listed = shop.app.admin("GET", &path, None).await.expect(200).to_string();
            paid.push([&old, &new].map(|invoice| listed.contains(stripe::id(invoice))));
        }
        assert_eq!(paid, [[false, true], [true, false]], "the payment is of whoever got its credits");
        // So is its refund.
        let charge = shop.stripe.list("charge").remove(0);
        shop.stripe.refund(stripe::id(&charge), None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(stripe::id(&charge))).await;
        assert_eq!((shop.app.balance(&wrong).await, shop.app.balance(&right).await), (SIGNUP + PERIOD, SIGNUP));
        shop.app.verify().await;
    }

    async fn a_subscription_of_a_wrong_link_that_has_ended_does_not_count_after_the_link(shop: &Shop) {
        let (theirs, subscription, _, new) = shop.subscriber_at_stripe().await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        shop.link(&customer, &theirs, Some(&Shop::period_of(&new))).await.expect(200);
        shop.adopted(&theirs).await;
        assert_eq!(shop.plan(&customer).await, "pro");
        let id = stripe::id(&subscription);
        shop.ask_stripe("DELETE", &format!("/v1/subscriptions/{id}"), &[]).await;
        shop.deliver_event("customer.subscription.deleted", &shop.stripe.object(id)).await;
        assert_eq!(shop.plan(&customer).await, "pay_as_you_go");
        // Another date is the same link.
        shop.link(&customer, &theirs, Some("2026-01-01T00:00:00Z")).await.expect(200);
        shop.adopted(&theirs).await;
        shop.unlink(&customer).await.expect(200);
        assert_eq!(shop.plan(&customer).await, "trial");
        shop.app.verify().await;
    }

    async fn a_customer_from_elsewhere_is_made_and_linked_once(shop: &Shop) {
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let body = json!({
            "email": "migrated@example.com", "name": "Migrated", "source": "direct",
            "stripe_customer_id": theirs, "credits_from": Shop::period_of(&new),
        });
        let bearer = format!("Bearer {}", bursar_tests::app::ADMIN_TOKEN);
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", "migrate-1")];
        let create = async |body: &Value| shop.app.request("POST", "/admin/v1/customers", &headers, Some(body)).await;
        let made = create(&body).await.expect(201);
        let id = made["customer"]["id"].as_str().expect("an id").to_owned();
        shop.adopted(&theirs).await;
        let shown = shop.app.admin("GET", &format!("/admin/v1/customers/{id}"), None).await.expect(200);
        assert_eq!((&shown["customer"]["plan"], &shown["credits"]["balance"]), (&json!("pro"), &json!(PERIOD)));
        assert_eq!(create(&body).await.expect(201)["customer"]["id"], id.as_str());
        let mut other = body.clone();
        other["name"] = "Another".into();
        create(&other).await.expect_problem(422, "idempotency_key_reused");
        let keys = shop.app.admin("GET", &format!("/admin/v1/customers/{id}/api-keys"), None).await.expect(200);
        assert_eq!(keys["data"], json!([]));
        assert_eq!(shop.audited(&id).await, ["customer.create"]);

        // Another request for the same address, or with a Stripe customer that is taken, makes nobody.
        let refused = |change: Value| {
            let mut body = body.clone();
            body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
            body
        };
        for (body, status, code) in [
            (refused(json!({ "stripe_customer_id": null, "credits_from": null })), 409, "customer_exists"),
            (refused(json!({ "email": "b@example.com" })), 409, "stripe_customer_taken"),
            (refused(json!({ "email": "b@example.com", "stripe_customer_id": "cus_0" })), 422, "stripe_customer_not_found"),
            (refused(json!({ "email": "nobody" })), 400, "invalid_email"),
            (refused(json!({ "credits_from": "9999-12-31" })), 400, "invalid_time"),
            (refused(json!({ "email": "b@example.com", "stripe_customer_id": "../balance" })), 422, "stripe_customer_not_found"),
        ] {
            shop.app.admin("POST", "/admin/v1/customers", Some(&body)).await.expect_problem(status, code);
        }
        let found = shop.app.admin("GET", "/admin/v1/customers?search=b@example.com", None).await.expect(200);
        assert_eq!(found["data"], json!([]));
    }

    async fn commands_make_link_and_unlink_customers(shop: &Shop) {
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let program = Program::of(&shop.app.config, &shop.app.base);
        let made = program.json(&["customers", "create", "--email", "cli@example.com", "--name", "Cli"]).await;
        let id = made["customer"]["id"].as_str().expect("an id");
        wait::until("it has a Stripe customer", || async {
            let shown = program.json(&["customers", "show", id]).await;
            shown["customer"]["stripe_customer_id"].as_str().map(str::to_owned)
        })
        .await;
        let from = Shop::period_of(&new);
        let link = ["customers", "link", id, &theirs, "--credits-from", &from, "--reason", "ticket 1"];
        assert!(program.well(&link).await.contains(&theirs));
        shop.adopted(&theirs).await;
        let unlinked = program.json(&["customers", "unlink", id, "--reason", "ticket 2"]).await;
        assert_eq!(unlinked["customer"]["stripe_customer_id"], Value::Null);
    }
}

with_backend! {
    async fn a_link_adopts_all_pages_of_what_is_there_and_nothing_that_is_unpaid(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let (theirs, ..) = shop.subscriber_at_stripe().await;
        let basic = shop.other_price("900", None).await;
        let by_invoice = [("collection_method", "send_invoice"), ("days_until_due", "30")];
        shop.subscribe_at_stripe(&theirs, &basic, &by_invoice).await;
        assert!(shop.stripe.list("invoice").iter().any(|invoice| invoice["status"] == "open"));
        for path in ["/v1/invoices", "/v1/subscriptions"] {
            interceptor.intercept(usize::MAX, "GET", path, Interception::OneAPage);
        }
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        shop.link(&customer, &theirs, Some("2024-01-01")).await.expect(200);
        shop.adopted(&theirs).await;
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + 2 * PERIOD);
        assert_eq!(shop.plan(&customer).await, "pro");
        interceptor.clear();
        shop.close().await;
    }

    async fn a_link_that_is_taken_away_before_it_was_carried_out_adopts_nothing(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let (theirs, ..) = shop.subscriber_at_stripe().await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(usize::MAX, "POST", &format!("/v1/customers/{theirs}"), busy);
        shop.link(&customer, &theirs, Some("2024-01-01")).await.expect(200);
        let job = delay_job(&shop.app, "stripe.adopt").await;
        interceptor.clear();
        shop.unlink(&customer).await.expect(200);
        resume_job(&shop.app, &job).await;
        job_in_state(&shop.app, &JobId::parse(&job).expect("an id"), JobState::Cancelled).await;
        assert_eq!((shop.app.balance(&customer).await, shop.plan(&customer).await), (SIGNUP, "trial".to_owned()));
        shop.close().await;
    }

    async fn a_comparison_of_a_customer_looks_at_all_its_stripe_customers(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.stripe.reconcile_grace_s = 0).await;
        let (theirs, _, _, new) = shop.subscriber_at_stripe().await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let bought = shop.stripe.list("charge").pop().expect("a charge");
        shop.link(&customer, &theirs, Some(&Shop::period_of(&new))).await.expect(200);
        shop.adopted(&theirs).await;
        let is_own = |charge: &&Value| charge["customer"] == theirs.as_str();
        let charges = shop.stripe.list("charge");
        let month = charges.iter().rfind(is_own).expect("a charge");
        let before = shop.app.balance(&customer).await;
        for charge in [&bought, month] {
            shop.stripe.refund(stripe::id(charge), None).expect("a refund");
        }
        let body = json!({ "repair": true, "customer_id": customer.id });
        shop.app.admin("POST", "/admin/v1/stripe/reconciliations", Some(&body)).await.expect(202);
        wait::until("both refunds are applied", || async {
            (shop.app.balance(&customer).await == before - PERIOD - 1).then_some(())
        })
        .await;
        shop.close().await;
    }

    async fn months_of_a_year_do_not_come_to_who_no_longer_has_its_stripe_customer(backend: Backend) {
        let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Monthly)]).await;
        let form = [
            ("email", "else@example.com"),
            ("payment_method", "pm_card_visa"),
            ("invoice_settings[default_payment_method]", "pm_card_visa"),
        ];
        let theirs = stripe::id(&shop.ask_stripe("POST", "/v1/customers", &form).await).to_owned();
        let prices = shop.stripe.list("price");
        let year = prices.iter().find(|price| price["lookup_key"] == "pro_yearly").expect("a price");
        let subscription = shop.subscribe_at_stripe(&theirs, stripe::id(year), &[]).await;
        let invoice = shop.stripe.object(subscription["latest_invoice"].as_str().expect("an invoice"));
        let from = Shop::period_of(&invoice);
        let (wrong, right) = (shop.app.onboard().await, shop.app.onboard().await);
        shop.link(&wrong, &theirs, Some(&from)).await.expect(200);
        shop.adopted(&theirs).await;
        assert_eq!(shop.app.balance(&wrong).await, SIGNUP + PERIOD);
        shop.unlink(&wrong).await.expect(200);
        shop.link(&right, &theirs, Some(&from)).await.expect(200);
        shop.adopted(&theirs).await;
        let next = "SELECT id FROM jobs WHERE kind = 'credits.grant' ORDER BY run_at_ms LIMIT 1";
        let job = crate::database::texts(&shop.app, next).await.remove(0);
        resume_job(&shop.app, &job).await;
        let id = JobId::parse(&job).expect("an id");
        job_in_state(&shop.app, &id, JobState::Dead).await;
        let shown = shop.app.admin("GET", &format!("/admin/v1/jobs/{job}"), None).await.expect(200).to_string();
        assert!(shown.contains("customer_relinked: ") && shown.contains(&right.id), "{shown}");
        assert_eq!((shop.app.balance(&wrong).await, shop.app.balance(&right).await), (SIGNUP + PERIOD, SIGNUP));
        shop.close().await;
    }
}
