//! Reconciliation of invoices line by line, of subscriptions beside each other, of one customer, and of what changed.

use super::*;
use crate::cli::Program;
use crate::scene::sql;

/// Longer ago than any window.
const LONG_AGO_S: i64 = 200 * 24 * 60 * 60;

impl Shop {
    /// A customer on Pro whose renewal was announced; returns its invoice.
    async fn granted(&self) -> (TestCustomer, Value) {
        let (customer, renewal) = self.renewed().await;
        self.deliver_event("invoice.paid", &renewal).await;
        assert_eq!(self.app.balance(&customer).await, 120);
        (customer, renewal)
    }

    /// Makes all objects look as if they were made and changed long ago.
    async fn age(&self) {
        let now_s = crate::scene::now_ms() / 1_000;
        for kind in ["customer", "subscription", "invoice", "charge"] {
            for object in self.stripe.all(kind) {
                self.stripe.set(stripe::id(&object), &json!({ "created": now_s - LONG_AGO_S }));
            }
        }
        sql(&self.app, &format!("UPDATE subscriptions SET updated_at_ms = {}", (now_s - LONG_AGO_S) * 1_000)).await;
    }
}

/// Number of compared objects of a class.
fn checked(run: &Value, name: &str) -> i64 {
    let classes = run["classes"].as_array().expect("classes");
    let class = classes.iter().find(|class| class["class"] == name);
    class.and_then(|class| class["checked"].as_i64()).expect("a number")
}

with_shop! {
    async fn a_paid_line_beside_a_granted_one_is_reported(shop: &Shop) {
        let (customer, mut renewal) = shop.granted().await;
        let mut second = renewal["lines"]["data"][0].clone();
        second["id"] = json!("il_second");
        renewal["lines"]["data"].as_array_mut().expect("lines").push(second);
        shop.stripe.set(stripe::id(&renewal), &json!({ "lines": renewal["lines"] }));
        shop.reconcile_finds(&[("invoice_line_not_granted", 1, 0)]).await;
        assert_eq!(shop.app.balance(&customer).await, 120);
    }

    async fn a_credit_for_time_that_nobody_paid_is_reported_until_it_is_paid(shop: &Shop) {
        let (customer, renewal) = shop.granted().await;
        let prorated = |id: &str, status: &str, amount: i64| {
            let mut invoice = renewal.clone();
            let mut line = renewal["lines"]["data"][0].clone();
            let end_s = line["period"]["end"].as_i64().expect("an end") + 86_400;
            (line["id"], line["amount"], line["proration"]) = (json!(format!("il_{id}")), json!(amount), json!(true));
            line["parent"]["subscription_item_details"]["proration"] = json!(true);
            line["period"]["end"] = json!(end_s);
            (invoice["id"], invoice["status"], invoice["total"]) = (json!(id), json!(status), json!(amount));
            invoice["lines"]["data"] = json!([line]);
            invoice
        };
        shop.stripe.put(&prorated("in_up", "open", 140_000));
        shop.stripe.put(&prorated("in_down", "paid", -140_000));
        let run = shop.reconcile_finds(&[("invoice_credit_unpaid", 1, 0)]).await;
        assert_eq!(run["state"], "done");
        assert_eq!(shop.app.balance(&customer).await, 120);
        shop.stripe.set("in_up", &json!({ "status": "paid" }));
        shop.reconcile_finds(&[]).await;
    }

    async fn credits_whose_invoice_is_unpaid_or_gone_are_reported_and_kept(shop: &Shop) {
        let (customer, renewal) = shop.granted().await;
        let id = stripe::id(&renewal);
        shop.stripe.set(id, &json!({ "status": "open" }));
        shop.reconcile_finds(&[("grant_without_line", 1, 0)]).await;
        // Stripe lists it no longer, and has it.
        shop.stripe.set(id, &json!({ "created": crate::scene::now_ms() / 1_000 - LONG_AGO_S }));
        shop.reconcile_finds(&[("grant_without_line", 1, 0)]).await;
        shop.stripe.set(id, &json!({ "object": "hidden", "id": "hidden" }));
        shop.reconcile_finds(&[("grant_without_line", 1, 0)]).await;
        assert_eq!(shop.app.balance(&customer).await, 120);
    }

    async fn two_live_subscriptions_of_one_customer_are_both_reported(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.call(&customer, "POST", "/api/v1/subscription", "pro", Some(&json!({}))).await.expect(201);
        let mut second = shop.stripe.all("subscription").remove(0);
        second["id"] = json!("sub_second");
        shop.stripe.put(&second);
        shop.deliver_event("customer.subscription.updated", &second).await;
        assert_eq!(shop.reconcile_finds(&[("subscription_duplicate", 2, 0)]).await["full"], true);
        // However long it has been so, a run of what changed finds it.
        shop.age().await;
        assert_eq!(shop.reconcile_finds(&[("subscription_duplicate", 2, 0)]).await["full"], false);
        let ended = json!({ "status": "canceled", "ended_at": 1_900_000_000 });
        shop.stripe.set("sub_second", &ended);
        shop.deliver_event("customer.subscription.deleted", &shop.stripe.object("sub_second")).await;
        shop.reconcile_finds(&[]).await;
    }

    async fn one_customer_is_compared_with_all_its_objects_and_no_others(shop: &Shop) {
        let (one, _) = shop.renewed().await;
        let (other, _) = shop.renewed().await;
        shop.age().await;
        let run = shop.reconcile_as(&json!({ "customer_id": one.id })).await;
        assert_eq!(found(&run), [("invoice_not_granted", 1, 1)], "{run:#}");
        assert_eq!((&run["customer_id"], &run["full"]), (&json!(one.id), &json!(false)));
        shop.balance_becomes(&one, 120).await;
        assert_eq!(shop.app.balance(&other).await, 60);
        assert_eq!(shop.stripe.calls("GET /v1/events"), 0, "events cannot be listed for a customer");
        // The command does the same.
        let program = Program::of(&shop.app.config, &shop.app.base);
        let run = program.json(&["stripe", "reconcile", "--customer", other.id.as_str()]).await;
        assert_eq!(run["reconciliation"]["customer_id"], json!(other.id));
        shop.balance_becomes(&other, 120).await;
        let stripe_customer = shop.stripe_customer(&other).await;
        let run = shop.reconcile_as(&json!({ "customer_id": stripe_customer })).await;
        assert_eq!((&run["customer_id"], found(&run)), (&json!(other.id), vec![]), "found by its Stripe customer");
        // The next run of all customers is the first.
        assert_eq!(reconcile(&shop.app, true).await["full"], true);
    }

    async fn a_run_of_an_unknown_customer_is_refused(shop: &Shop) {
        for id in ["x", "cus_unknown", bursar_engine::ids::CustomerId::new().as_str()] {
            let body = json!({ "customer_id": id });
            shop.app.admin("POST", RUNS, Some(&body)).await.expect_problem(404, "not_found");
        }
        let list = shop.app.admin("GET", RUNS, None).await.expect(200);
        assert_eq!(list["data"], json!([]));
    }

    async fn after_the_first_run_only_what_changed_is_compared(shop: &Shop) {
        for _ in 0..3 {
            shop.granted().await;
        }
        shop.age().await;
        let first = shop.reconcile_as(&json!({})).await;
        assert_eq!((&first["full"], found(&first)), (&json!(true), vec![]));
        assert_eq!(checked(&first, "subscription_differs"), 3);
        shop.age().await;
        let calls = || shop.stripe.calls("GET /v1/subscriptions") + shop.stripe.calls("GET /v1/invoices");
        let before = calls();
        let second = shop.reconcile_as(&json!({})).await;
        assert_eq!((&second["full"], found(&second)), (&json!(false), vec![]));
        assert_eq!((checked(&second, "subscription_differs"), checked(&second, "invoice_not_granted")), (0, 0));
        assert_eq!(calls() - before, 2, "one empty page of each list");
        // What changed here is compared, and so is what should have changed by now.
        sql(&shop.app, "UPDATE subscriptions SET current_period_end_ms = 1 WHERE id = (SELECT MIN(id) FROM subscriptions)").await;
        let third = shop.reconcile_as(&json!({ "repair": false })).await;
        assert_eq!(checked(&third, "subscription_differs"), 1);
        let full = shop.reconcile_as(&json!({ "full": true, "repair": false })).await;
        assert_eq!(checked(&full, "subscription_differs"), 3);
    }
}
