//! Payments as support sees them, and refunds by support.

mod crash;
mod duplicate;
mod facts;
mod former;
mod lent;
mod missing;
mod refused;
mod returned;

use super::*;
use crate::cli::Program;
use crate::scene::{PERIOD, with_backend};

impl Shop {
    async fn payments(&self, query: &str) -> Vec<Value> {
        let found = self.app.admin("GET", &format!("/admin/v1/payments?{query}"), None).await.expect(200);
        found["data"].as_array().expect("a list").clone()
    }

    /// The only payment of a customer.
    async fn payment_of(&self, customer: &TestCustomer) -> Value {
        let mut found = self.payments(&format!("customer={}", customer.id)).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }

    async fn payment(&self, id: &str) -> Value {
        self.app.admin("GET", &format!("/admin/v1/payments/{id}"), None).await.expect(200)
    }

    /// What became of a payment, in words.
    async fn history(&self, id: &str) -> Vec<String> {
        let shown = self.payment(id).await;
        let steps = shown["history"].as_array().expect("a history").iter();
        steps.map(|step| step["what"].as_str().expect("words").to_owned()).collect()
    }

    async fn refund(&self, id: &str, body: &Value) -> Answer {
        self.app.admin("POST", &format!("/admin/v1/payments/{id}/refund"), Some(body)).await
    }

    async fn refund_under(&self, key: &str, id: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {}", bursar_tests::app::ADMIN_TOKEN);
        let headers = [("Authorization", bearer.as_str()), ("Idempotency-Key", key)];
        self.app.request("POST", &format!("/admin/v1/payments/{id}/refund"), &headers, Some(body)).await
    }

    async fn balance_becomes(&self, customer: &TestCustomer, balance: i64) {
        wait::until(&format!("the balance is {balance}"), || async {
            (self.app.balance(customer).await == balance).then_some(())
        })
        .await;
    }

    /// Waits until no event waits: each has looked at what Stripe says.
    async fn nothing_waits(&self) {
        wait::until("nothing waits", || async {
            crate::scene::events(&self.app, "state=waiting").await.is_empty().then_some(())
        })
        .await;
    }

    /// Compares one customer with Stripe, which finds one change of money that was not applied.
    async fn compare_customer(&self, customer: &TestCustomer) {
        let run = self.comparison_of(customer).await;
        assert_eq!(crate::reconcile::found(&run), [("refund_not_applied", 1, 1)]);
    }

    /// Compares one customer with Stripe, and waits for the run's end; returns the run.
    async fn comparison_of(&self, customer: &TestCustomer) -> Value {
        let path = "/admin/v1/stripe/reconciliations";
        let body = json!({ "repair": true, "customer_id": customer.id });
        let begun = self.app.admin("POST", path, Some(&body)).await.expect(202);
        let id = begun["reconciliation"]["id"].as_str().expect("an id");
        wait::until("the run has ended", || async {
            let found = self.app.admin("GET", &format!("{path}/{id}"), None).await.expect(200);
            let run = found["reconciliation"].clone();
            (run["state"] != "running").then_some(run)
        })
        .await
    }

    /// Tells of a charge and its refunds as Stripe does, twice; nothing changes after that.
    async fn tell_of_refunds(&self, charge: &str) {
        for _ in 0..2 {
            self.announce_refund(charge).await;
        }
    }

    fn charge(&self) -> String {
        stripe::id(&self.stripe.list("charge").pop().expect("a charge")).to_owned()
    }
}

/// The ids of rows.
fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["id"].as_str().expect("an id")).collect()
}

with_shop! {
    async fn a_dry_run_says_what_a_refund_does_and_the_refund_does_it_once(shop: &Shop) {
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await;
        let id = payment["id"].as_str().expect("an id");
        assert_eq!([&payment["kind"], &payment["state"]], ["invoice", "paid"]);
        let body = json!({ "amount_minor": MONTH / 2, "reason": "half a month", "dry_run": true });
        let planned = shop.refund(id, &body).await.expect(200);
        assert_eq!([&planned["state"], &planned["credits"]], ["planned", "unspent"]);
        assert_eq!((&planned["refundable_minor"], &planned["amount_minor"]), (&json!(MONTH), &json!(MONTH / 2)));
        let numbers = ["credits_to_go", "credit_balance", "credit_balance_after"].map(|key| planned[key].as_i64());
        assert_eq!(numbers, [Some(30), Some(PERIOD), Some(30)]);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (MONTH, PERIOD));

        let body = json!({ "amount_minor": MONTH / 2, "reason": "half a month" });
        let made = shop.refund_under("once", id, &body).await.expect(200);
        assert_eq!((&made["state"], &made["credits_to_go"]), (&json!("succeeded"), &json!(30)));
        shop.balance_becomes(&customer, 30).await;
        let again = shop.refund_under("once", id, &body).await.expect(200);
        assert_eq!([&again["operation_id"], &again["refund"]], [&made["operation_id"], &made["refund"]]);
        let other = json!({ "amount_minor": 1, "reason": "another" });
        shop.refund_under("once", id, &other).await.expect_problem(422, "idempotency_key_reused");
        let charge = shop.charge();
        shop.tell_of_refunds(&charge).await;
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (MONTH - MONTH / 2, 30));
        let after = shop.payment_of(&customer).await;
        assert_eq!((&after["state"], &after["refunded_minor"]), (&json!("partly_refunded"), &json!(MONTH / 2)));
        let lines = shop.app.admin("GET", &format!("/admin/v1/audit?target={}", customer.id), None).await.expect(200);
        assert_eq!(lines["data"][0]["action"], "payment.refund");
    }

    async fn by_default_only_unspent_credits_go_and_nobody_gets_into_debt(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let payment = shop.payment_of(&customer).await;
        let id = payment["id"].as_str().expect("an id");
        let made = shop.refund(id, &json!({ "reason": "not what it wanted" })).await.expect(200);
        assert_eq!((&made["state"], &made["credits_to_go"]), (&json!("succeeded"), &json!(0)));
        shop.tell_of_refunds(&shop.charge()).await;
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
        // It is not locked out.
        shop.app.spend(&customer, 1, "more").await.expect(200);
    }

    async fn credits_that_came_back_go_with_the_next_refund(shop: &Shop) {
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await;
        let id = payment["id"].as_str().expect("an id");
        let made = shop.refund(id, &json!({ "reason": "all of it" })).await.expect(200);
        shop.balance_becomes(&customer, 0).await;
        let failed = shop.stripe.fail_refund(made["refund"].as_str().expect("a refund")).expect("it fails");
        shop.deliver_event("refund.failed", &failed).await;
        shop.balance_becomes(&customer, PERIOD).await;
        let again = shop.refund_under("again", id, &json!({ "reason": "all of it" })).await.expect(200);
        assert_eq!(again["credits_to_go"], PERIOD, "{again}");
        shop.balance_becomes(&customer, 0).await;
        assert_eq!(shop.net_paid(&customer).await, 0);
    }

    async fn a_refund_names_the_holds_that_keep_credits_from_it(shop: &Shop) {
        let customer = shop.pro().await;
        let held = shop.app.call(&customer, "POST", "/api/v1/holds", "job", Some(&json!({ "units": 10 }))).await;
        let held = held.expect(201)["hold"]["id"].clone();
        let payment = shop.payment_of(&customer).await;
        let id = payment["id"].as_str().expect("an id");
        let dry_run = |credits: &str| json!({ "credits": credits, "reason": "ticket 1", "dry_run": true });
        let planned = shop.refund(id, &dry_run("unspent")).await.expect(200);
        let numbers = ["credits_to_go", "credits_reserved"].map(|key| planned[key].as_i64());
        assert_eq!((numbers, &planned["reserved_by"]), ([Some(PERIOD - 10), Some(10)], &json!([held])), "{planned}");
        let planned = shop.refund(id, &dry_run("all")).await.expect(200);
        let numbers = ["credits_to_go", "credits_reserved"].map(|key| planned[key].as_i64());
        assert_eq!((numbers, &planned["reserved_by"]), ([Some(PERIOD), Some(0)], &json!([])), "{planned}");
        let made = shop.refund(id, &json!({ "reason": "ticket 1" })).await.expect(200);
        assert_eq!((&made["credits_reserved"], &made["reserved_by"]), (&json!(10), &json!([held])), "{made}");
    }

    async fn credits_that_a_hold_reserves_are_no_unspent_ones(shop: &Shop) {
        let customer = shop.pro().await;
        let body = json!({ "units": PERIOD - 10 });
        let held = shop.app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&body)).await.expect(201);
        let payment = shop.payment_of(&customer).await;
        let id = payment["id"].as_str().expect("an id");
        let made = shop.refund(id, &json!({ "reason": "all of it" })).await.expect(200);
        assert_eq!(made["credits_to_go"], 10);
        shop.balance_becomes(&customer, PERIOD - 10).await;
        let capture = format!("/api/v1/holds/{}/capture", held["hold"]["id"].as_str().expect("an id"));
        shop.app.call(&customer, "POST", &capture, "capture", Some(&json!({}))).await.expect(200);
        shop.tell_of_refunds(&shop.charge()).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
    }

    async fn the_choice_decides_what_becomes_of_the_credits_whatever_was_spent(shop: &Shop) {
        for (choice, spent, left) in [("all", 40, -10), ("unspent", 40, 0), ("unspent", 5, 25), ("none", 40, 20)] {
            let customer = shop.pro().await;
            shop.app.spend(&customer, spent, "work").await.expect(200);
            let payment = shop.payment_of(&customer).await;
            let id = payment["id"].as_str().expect("an id");
            let body = json!({ "amount_minor": MONTH / 2, "credits": choice, "reason": "half a month" });
            let made = shop.refund(id, &body).await.expect(200);
            assert_eq!(made["credit_balance_after"], left, "{choice} after {spent}");
            shop.balance_becomes(&customer, left).await;
            shop.tell_of_refunds(&shop.charge()).await;
            assert_eq!(shop.app.balance(&customer).await, left, "{choice} after {spent}");
        }
    }

    async fn a_refund_whose_answer_is_lost_counts_once_although_its_event_comes_first(shop: &Shop) {
        let customer = shop.pro().await;
        shop.app.spend(&customer, 50, "work").await.expect(200);
        let payment = shop.payment_of(&customer).await;
        let id = payment["id"].as_str().expect("an id").to_owned();
        shop.fail_next("POST", "/v1/refunds", Fault::LoseAnswer { hang_ms: 0 });
        let body = json!({ "amount_minor": MONTH / 2, "credits": "unspent", "reason": "half a month" });
        shop.refund_under("once", &id, &body).await.expect(200);
        shop.tell_of_refunds(&shop.charge()).await;
        shop.balance_becomes(&customer, 0).await;
        wait::until("the refund is done", || async {
            let answer = shop.refund_under("once", &id, &body).await.expect(200);
            (answer["state"] == "succeeded").then_some(())
        })
        .await;
        shop.tell_of_refunds(&shop.charge()).await;
        assert_eq!(shop.stripe.list("refund").len(), 1);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (MONTH - MONTH / 2, 0));
    }

    async fn a_refund_that_fails_at_the_bank_returns_the_credits_it_took(shop: &Shop) {
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await;
        let id = payment["id"].as_str().expect("an id");
        let made = shop.refund(id, &json!({ "reason": "all of it" })).await.expect(200);
        shop.balance_becomes(&customer, 0).await;
        let failed = shop.stripe.fail_refund(made["refund"].as_str().expect("a refund")).expect("it fails");
        shop.deliver_event("refund.failed", &failed).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        assert_eq!(shop.payment_of(&customer).await["state"], "paid");
    }

    async fn an_inquiry_allows_a_refund_and_a_dispute_does_not(shop: &Shop) {
        let customer = shop.pro().await;
        let id = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        let dry_run = json!({ "reason": "the bank asks", "dry_run": true });
        shop.control("disputes", json!({ "charge": shop.charge(), "is_inquiry": true })).await;
        let planned = shop.refund(&id, &dry_run).await.expect(200);
        assert_eq!(planned["amount_minor"], MONTH, "{planned}");
        let disputed = shop.pro().await;
        let id = shop.payment_of(&disputed).await["id"].as_str().expect("an id").to_owned();
        let payer = shop.stripe_customer(&disputed).await;
        let charges = shop.stripe.list("charge");
        let charge = charges.iter().find(|charge| charge["customer"] == payer.as_str()).expect("a charge");
        shop.stripe.open_dispute(stripe::id(charge), None, "fraudulent").expect("a dispute");
        shop.refund(&id, &dry_run).await.expect_problem(409, "payment_disputed");
    }

    async fn what_cannot_be_refunded_is_refused_and_changes_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let declined = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.app.spend(&declined, 1, "unit").await.expect_problem(402, "payment_declined");
        let paid = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        let unpaid = shop.payment_of(&declined).await["id"].as_str().expect("an id").to_owned();
        let body = |amount: i64| json!({ "amount_minor": amount, "reason": "ticket 1" });
        for (id, body, status, code) in [
            (paid.as_str(), body(MONTH + 1), 422, "refund_too_large"),
            (paid.as_str(), body(0), 400, "invalid_amount"),
            (paid.as_str(), json!({ "reason": " " }), 400, "invalid_reason"),
            (paid.as_str(), json!({ "credits": "some", "reason": "x" }), 400, "invalid_body"),
            (unpaid.as_str(), body(1), 422, "payment_not_refundable"),
            ("op_unknown", body(1), 404, "not_found"),
            ("in_unknown", body(1), 404, "not_found"),
            ("ch_unknown", body(1), 404, "not_found"),
        ] {
            shop.refund(id, &body).await.expect_problem(status, code);
        }
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        shop.refund(&paid, &json!({ "credits": "none", "reason": "all of it" })).await.expect(200);
        shop.refund(&paid, &body(1)).await.expect_problem(422, "payment_not_refundable");
        assert_eq!(shop.net_paid(&customer).await, 0);
    }

    async fn payments_are_listed_with_why_they_failed_and_found_by_every_id(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.app.spend(&customer, 1, "deploy-1").await.expect_problem(402, "payment_declined");
        shop.attach(&customer, "pm_card_visa", "other").await.expect(201);
        shop.app.spend(&customer, 1, "deploy-2").await.expect(200);
        shop.subscribe(&customer, "pro").await.expect(201);
        let all = shop.payments(&format!("customer={}", customer.id)).await;
        assert_eq!(all.len(), 3, "{all:#?}");
        let the = |kind: &str, state: &str| {
            let found = all.iter().find(|row| row["kind"] == kind && row["state"] == state);
            found.unwrap_or_else(|| panic!("no {kind} is {state}: {all:#?}"))
        };
        let (invoice, paid, failed) = (the("invoice", "paid"), the("charge", "paid"), the("charge", "failed"));
        assert_eq!([&failed["reason"], &failed["decline_code"]], ["card_declined", "generic_decline"]);
        assert_eq!([&failed["idempotency_key"], &paid["idempotency_key"]], ["deploy-1", "deploy-2"]);
        assert_eq!((&paid["amount_minor"], &paid["credits"]), (&json!(UNIT), &json!(1)));
        assert_eq!((&invoice["amount_minor"], &invoice["credits"]), (&json!(MONTH), &json!(PERIOD)));

        for (state, expected) in [("failed", 1), ("paid", 2), ("refunded", 0), ("processing", 0)] {
            let found = shop.payments(&format!("customer={}&state={state}", customer.id)).await;
            assert_eq!(found.len(), expected, "{state}");
        }
        assert!(shop.payments("from=2100-01-01T00:00:00Z").await.is_empty());
        let first = shop.app.admin("GET", "/admin/v1/payments?limit=2", None).await.expect(200);
        let cursor = first["next_cursor"].as_str().expect("a cursor");
        let rest = shop.payments(&format!("cursor={cursor}")).await;
        assert_eq!([ids(first["data"].as_array().expect("rows")), ids(&rest)].concat(), ids(&all));
        let invoices = shop.app.admin("GET", &format!("/admin/v1/invoices?customer={}", customer.id), None).await;
        assert_eq!(ids(invoices.expect(200)["data"].as_array().expect("rows")), [invoice["id"].as_str().expect("an id")]);
        let query = format!("/admin/v1/operations?customer={}&kind=usage_charge&state=failed", customer.id);
        let operations = shop.app.admin("GET", &query, None).await.expect(200);
        let shown = &operations["data"][0];
        assert_eq!([&shown["asked_by"], &shown["idempotency_key"]], ["customer", "deploy-1"], "as in the list of payments");

        let charges = shop.stripe.list("charge");
        let charge_of = |amount: i64| charges.iter().find(|row| row["amount"] == amount && row["paid"] == true);
        let charge_of = |amount: i64| stripe::id(charge_of(amount).expect("a charge")).to_owned();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let by_charge = [(text(&paid["id"]), charge_of(UNIT)), (text(&invoice["id"]), charge_of(MONTH))];
        let intent_of = |amount: i64| {
            let intents = shop.stripe.list("payment_intent");
            stripe::id(intents.iter().find(|row| row["amount"] == amount).expect("a PaymentIntent")).to_owned()
        };
        let by_id = [
            (text(&paid["id"]), text(&paid["payment_intent"])),
            (text(&failed["id"]), text(&failed["payment_intent"])),
            (text(&invoice["id"]), text(&invoice["id"])),
            (text(&invoice["id"]), intent_of(MONTH)),
        ];
        for (payment, id) in by_charge.iter().chain(&by_id) {
            assert_eq!(shop.payment(id).await["payment"]["id"], payment.as_str(), "{id}");
        }
        let subscription = stripe::id(&shop.subscription()).to_owned();
        let searched = by_charge.iter().chain(&by_id).map(|(_, id)| id).chain([&subscription]);
        for id in searched {
            let found = shop.app.admin("GET", &format!("/admin/v1/customers?search={id}"), None).await.expect(200);
            assert_eq!(found["data"][0]["id"], customer.id.as_str(), "{id}");
        }
        assert_eq!(shop.history(failed["id"].as_str().expect("an id")).await.len(), 2);
        for wrong in ["customer=nobody", "from=soon", "state=some", "limit=0"] {
            let answer = shop.app.admin("GET", &format!("/admin/v1/payments?{wrong}"), None).await;
            assert!(matches!(answer.status, 400 | 404), "{wrong}: {}", answer.body);
        }
    }

    async fn a_payment_explains_itself_in_plain_words(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "deploy-1").await.expect(200);
        let payment = shop.payment_of(&customer).await;
        let id = payment["id"].as_str().expect("an id");
        shop.refund(id, &json!({ "credits": "all", "reason": "ticket 1" })).await.expect(200);
        shop.balance_becomes(&customer, -1).await;
        let history = shop.history(id).await;
        for expected in [
            "the customer asked for work of 1 credits, which takes 1 more credits, for $29.00, \
             Idempotency-Key deploy-1",
            "Stripe took the money (pi_",
            "1 credits were granted; the balance was 1 afterwards",
            "1 credits were spent; the balance was 0 afterwards",
            "a refund of $29.00 by support was made",
            "1 credits were taken back; the balance was -1 afterwards",
        ] {
            assert!(history.iter().any(|step| step.starts_with(expected)), "{expected}: {history:#?}");
        }
    }

    async fn commands_list_show_and_refund_payments(shop: &Shop) {
        let customer = shop.pro().await;
        let program = Program::of(&shop.app.config, &shop.app.base);
        let listed = program.json(&["payments", "list", "--customer", &customer.id]).await;
        let id = listed["data"][0]["id"].as_str().expect("an id");
        assert!(program.well(&["payments", "list", "--state", "paid"]).await.contains(id));
        assert!(program.well(&["invoices", "list"]).await.contains(id));
        assert!(program.well(&["operations", "list", "--kind", "subscription_create"]).await.contains("succeeded"));
        let dry = ["payments", "refund", id, "--dry-run", "--reason", "ticket 1"];
        assert!(program.well(&dry).await.contains("planned"));
        assert_eq!(shop.net_paid(&customer).await, MONTH);
        let refund = ["payments", "refund", id, "--reason", "ticket 1", "--idempotency-key", "once"];
        assert_eq!(program.json(&refund).await["state"], "succeeded");
        assert_eq!(program.json(&refund).await["state"], "succeeded");
        assert_eq!(shop.net_paid(&customer).await, 0);
        shop.balance_becomes(&customer, 0).await;
        assert!(program.well(&["payments", "show", id]).await.contains("credits were taken back"));
    }
}

with_backend! {
    async fn money_that_came_back_without_a_webhook_is_found_by_a_comparison_of_the_customer(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.stripe.reconcile_grace_s = 0).await;
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await;
        let invoice = payment["invoice"].as_str().expect("an invoice");
        let made = shop.refund(invoice, &json!({ "reason": "all of it" })).await.expect(200);
        shop.balance_becomes(&customer, 0).await;
        shop.stripe.fail_refund(made["refund"].as_str().expect("a refund")).expect("it fails");
        shop.compare_customer(&customer).await;
        shop.balance_becomes(&customer, PERIOD).await;
        // The review looks once more, and would find the note by itself.
        shop.nothing_waits().await;

        let (path, half) = ("/v1/credit_notes", (MONTH / 2).to_string());
        let note = [("invoice", invoice), ("amount", half.as_str()), ("credit_amount", half.as_str())];
        let note = shop.ask_stripe("POST", path, &note).await;
        shop.deliver_event("credit_note.created", &note).await;
        shop.balance_becomes(&customer, PERIOD / 2).await;
        shop.ask_stripe("POST", &format!("{path}/{}/void", stripe::id(&note)), &[]).await;
        shop.compare_customer(&customer).await;
        shop.balance_becomes(&customer, PERIOD).await;
        shop.close().await;
    }

    async fn a_refund_while_stripe_tells_of_everything_by_itself_takes_the_credits_once(backend: Backend) {
        let shop = Shop::open_with_events(backend).await;
        let customer = shop.app.onboard().await;
        shop.attach_until_done(&customer, "pm_card_visa").await;
        shop.subscribe_until_done(&customer, "pro").await;
        let before = shop.app.balance(&customer).await;
        let payment = shop.payment_of(&customer).await;
        let body = json!({ "amount_minor": MONTH / 2, "reason": "half a month" });
        shop.refund(payment["id"].as_str().expect("an id"), &body).await.expect(200);
        shop.balance_becomes(&customer, before - 30).await;
        wait::until("Stripe has told everything", || async {
            (shop.stripe.deliveries_waiting() == 0).then_some(())
        })
        .await;
        shop.tell_of_refunds(&shop.charge()).await;
        assert_eq!(shop.app.balance(&customer).await, before - 30);
        shop.close().await;
    }
}
