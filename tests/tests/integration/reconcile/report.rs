//! Differences that are only reported, and states that are no difference.

use super::*;
use bursar_engine::ids::{CustomerId, OperationId};

impl Shop {
    async fn findings(&self, run: &Value) -> Vec<Value> {
        let path = format!("{RUNS}/{}/findings", run["id"].as_str().expect("an id"));
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.app.admin("GET", &format!("{path}?limit=2{cursor}"), None).await.expect(200);
            found.extend(page["data"].as_array().expect("rows").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    }
}

with_shop! {
    async fn objects_of_unknown_customers_are_reported_and_unchanged(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let now_s = crate::scene::now_ms() / 1_000;
        let stranger = json!({ "bursar_customer_id": CustomerId::new().as_str() });
        shop.stripe.put(&json!({ "id": "cus_lost", "object": "customer", "created": now_s, "metadata": stranger }));
        let mut subscription = stripe::pro_subscription("cus_other", None, "active");
        subscription["created"] = now_s.into();
        shop.stripe.put(&subscription);
        let mut invoice = stripe::pro_invoice("cus_other", None);
        invoice["created"] = now_s.into();
        shop.stripe.put(&invoice);
        shop.stripe.put(&json!({
            "id": "ch_lost", "object": "charge", "created": now_s, "paid": true, "amount": 2_900, "currency": "usd",
            "payment_intent": "pi_lost", "metadata": { "bursar_operation_id": OperationId::new().as_str() },
        }));
        // Other business in the same Stripe account.
        shop.stripe.put(&json!({ "id": "cus_else", "object": "customer", "created": now_s, "metadata": {} }));
        shop.stripe.put(&json!({ "id": "ch_else", "object": "charge", "created": now_s, "paid": true, "amount": 1 }));
        let expected = [
            ("customer_unknown", 1, 0),
            ("subscription_unknown", 1, 0),
            ("invoice_unknown", 1, 0),
            ("payment_unknown", 1, 0),
        ];
        let run = shop.reconcile_finds(&expected).await;
        assert_eq!((&run["drift"], &run["left"]), (&json!(4), &json!(4)));
        let objects: Vec<Value> = shop.findings(&run).await.iter().map(|found| found["object_id"].clone()).collect();
        let invoice_id = invoice["id"].as_str().expect("an id");
        assert_eq!(objects, ["cus_lost", "sub_of_cus_other", invoice_id, "pi_lost"]);
        let events = shop.app.admin("GET", "/admin/v1/events", None).await.expect(200);
        assert_eq!(events["data"], json!([]));
        assert_eq!(shop.app.balance(&customer).await, 0);
    }

    async fn credits_without_a_payment_at_stripe_are_reported_and_kept(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let (charge, intent) = (shop.stripe.all("charge").remove(0), shop.stripe.all("payment_intent").remove(0));
        shop.stripe.set(charge["id"].as_str().expect("an id"), &json!({ "paid": false }));
        let intent = intent["id"].as_str().expect("an id");
        shop.stripe.set(intent, &json!({ "status": "canceled" }));
        let run = shop.reconcile_finds(&[("payment_unpaid", 1, 0)]).await;
        let found = shop.findings(&run).await;
        assert_eq!((&found[0]["object_id"], &found[0]["customer_id"]), (&json!(intent), &json!(customer.id)));
        assert_eq!((&found[0]["theirs"], &found[0]["repaired"]), (&json!("canceled"), &json!(false)));
        assert_eq!(shop.app.balance(&customer).await, 0);
    }

    async fn a_subscription_missing_at_stripe_is_reported_and_kept(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.call(&customer, "POST", "/api/v1/subscription", "pro", Some(&json!({}))).await.expect(201);
        let id = shop.stripe.all("subscription").remove(0)["id"].as_str().expect("an id").to_owned();
        let stripe_customer = shop.stripe_customer(&customer).await;
        for id in [&id, &stripe_customer] {
            // As if it were another account, without any of Bursar's objects.
            shop.stripe.set(id, &json!({ "object": "hidden", "id": format!("hidden_{id}") }));
        }
        shop.reconcile_finds(&[("customer_gone", 1, 0), ("subscription_gone", 1, 0)]).await;
        shop.plan_becomes(&customer, "pro").await;
        assert_eq!(shop.stripe_customer(&customer).await, stripe_customer);
    }

    async fn a_run_without_repairs_changes_nothing_and_the_next_one_repairs(shop: &Shop) {
        let customer = shop.refunded().await;
        for _ in 0..2 {
            let run = reconcile(&shop.app, false).await;
            assert_eq!(found(&run), [("refund_not_applied", 1, 0)]);
            assert_eq!(run["left"], 1);
        }
        let events = shop.app.admin("GET", "/admin/v1/events", None).await.expect(200);
        assert_eq!(events["data"], json!([]));
        assert_eq!(shop.app.balance(&customer).await, 3);
        shop.reconcile_finds(&[("refund_not_applied", 1, 1)]).await;
        shop.balance_becomes(&customer, 2).await;
    }
}

with_backend! {
    async fn a_recent_change_is_left_to_its_webhook(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.stripe.reconcile_grace_s = 600).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.call(&customer, "POST", "/api/v1/subscription", "pro", Some(&json!({}))).await.expect(201);
        let id = shop.stripe.all("subscription").remove(0)["id"].as_str().expect("an id").to_owned();
        let earlier = json!({ "status": "canceled", "ended_at": 1_900_000_000, "created": 1_700_000_000 });
        shop.stripe.set(&id, &earlier);
        let event = stripe::event("customer.subscription.deleted", &shop.stripe.object(&id));
        shop.stripe.add_listed_event(&event, true);
        shop.reconcile_finds(&[]).await;
        shop.plan_becomes(&customer, "pro").await;
        shop.stripe.set(stripe::id(&event), &json!({ "created": 1_700_000_000 }));
        // Nothing changed here meanwhile, so only a run that compares everything looks at it again.
        let run = shop.reconcile_as(&json!({ "full": true })).await;
        assert_eq!(found(&run), [("subscription_differs", 1, 1)]);
        shop.plan_becomes(&customer, "pay_as_you_go").await;
        shop.close().await;
    }
}
