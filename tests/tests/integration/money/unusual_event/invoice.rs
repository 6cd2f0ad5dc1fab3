//! Invoices, subscriptions and checkouts without their customer or purpose.

use super::*;

with_shop! {
    async fn a_failed_payment_of_a_paid_invoice_changes_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let invoice = shop.stripe.object(shop.subscription()["latest_invoice"].as_str().expect("an invoice"));
        shop.deliver_event("invoice.payment_failed", &invoice).await;
        assert_eq!(shop.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()));
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn a_failed_payment_that_succeeded_since_grants_its_month(shop: &Shop) {
        let customer = shop.pro().await;
        let renewal = shop.next_month();
        shop.deliver_event("invoice.payment_failed", &renewal).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        shop.deliver_event("invoice.paid", &renewal).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn a_checkout_without_a_subscription_of_ours_grants_nothing(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let mut session = json!({
            "id": "cs_1", "object": "checkout.session", "mode": "payment", "customer": stripe_customer,
            "payment_status": "paid", "subscription": null, "metadata": {},
        });
        shop.deliver_event("checkout.session.completed", &session).await;
        session["subscription"] = json!("sub_unknown");
        shop.deliver_event("checkout.session.completed", &session).await;
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("trial".to_owned(), 0));
    }

    async fn a_checkout_with_a_subscription_of_ours_links_an_unknown_customer(shop: &Shop) {
        let customer = shop.pro().await;
        let session = json!({
            "id": "cs_2", "object": "checkout.session", "mode": "subscription", "customer": "cus_unknown",
            "payment_status": "paid", "subscription": shop.subscription()["id"], "metadata": {},
        });
        shop.deliver_event("checkout.session.completed", &session).await;
        assert_eq!(shop.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()));
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn a_payment_of_an_unknown_invoice_is_processed(shop: &Shop) {
        for invoice in [Value::Null, json!("in_unknown")] {
            let payment = json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": invoice });
            shop.deliver_event("invoice_payment.paid", &payment).await;
        }
    }

    async fn a_thin_event_about_a_missing_object_or_an_invalid_url_is_processed(shop: &Shop) {
        let urls = ["/v1/invoices/in_unknown", "/v2/core/accounts/acct_1", "/v1invoices", "/v1/invoices/../customers"];
        for url in urls {
            let id = format!("evt_{}", bursar_tests::unique::unique());
            let thin = json!({
                "id": id, "object": "v2.core.event", "type": "v1.invoice.paid", "livemode": false,
                "created": "2026-01-01T00:00:00.000Z",
                "related_object": { "id": "in_unknown", "type": "invoice", "url": url },
            });
            shop.app.deliver(&thin).await.expect(200);
            shop.app.event_in_state(stripe::id(&thin), "processed").await;
        }
    }

    async fn a_failed_payment_of_another_subscription_does_not_affect_pro(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let mut other = stripe::pro_subscription(&stripe_customer, Some(&customer.id), "active");
        other["items"]["data"][0]["price"] = json!({ "id": "price_else", "object": "price", "lookup_key": "else" });
        shop.deliver_event("customer.subscription.created", &other).await;
        let mut invoice = stripe::pro_invoice(&stripe_customer, Some(&customer.id));
        (invoice["status"], invoice["amount_paid"]) = (json!("open"), json!(0));
        invoice["lines"]["data"][0]["pricing"]["price_details"]["price"] = other["items"]["data"][0]["price"].clone();
        invoice["parent"]["subscription_details"]["subscription"] = other["id"].clone();
        shop.deliver_event("invoice.payment_failed", &invoice).await;
        assert_eq!(shop.mails(&customer, "payment_failed").await, 0);
        assert_eq!(shop.plan(&customer).await, "trial");
    }
}

with_backend! {
    async fn a_paid_invoice_without_details_or_subscription_is_shown_to_support(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let renewal = shop.next_month();
        let id = stripe::id(&renewal).to_owned();
        let mut untold = renewal.clone();
        (untold["lines"], untold["metadata"]) = (Value::Null, json!({}));
        untold["parent"]["subscription_details"]["metadata"] = json!({});
        sql(&shop.app, "DELETE FROM subscriptions").await;
        interceptor.intercept(1, "GET", &format!("/v1/invoices/{id}"), Interception::Replaced(200, untold.clone()));
        let reason = shop.deliver_dead_event("invoice.paid", &untold).await;
        assert!(reason.contains("shape_incomplete"), "{reason}");
        interceptor.until_all_intercepted().await;
        // With Stripe's current version of it, it grants its month.
        shop.deliver_event("invoice.paid", &untold).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        shop.close().await;
    }

    async fn a_failed_payment_is_recorded_even_without_its_subscription(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let (customer, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        let path = format!("/v1/invoices/{}", stripe::id(&invoice));
        let mut nobodys = invoice.clone();
        for place in ["parent", "subscription", "subscription_details", "lines"] {
            nobodys[place] = Value::Null;
        }
        interceptor.intercept(1, "GET", &path, Interception::Replaced(200, nobodys));
        let reason = shop.deliver_dead_event("invoice.payment_failed", &invoice).await;
        assert!(reason.contains("subscription"), "{reason}");
        interceptor.intercept(1, "GET", &format!("/v1/subscriptions/{}", stripe::id(&shop.subscription())), answers_404());
        shop.deliver_event("invoice.payment_failed", &invoice).await;
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.status_and_plan(&customer).await, ("past_due".to_owned(), "pro".to_owned()));
        shop.close().await;
    }

    async fn a_subscription_is_recorded_without_a_complete_invoice(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let subscription = shop.subscription();
        let path = format!("/v1/subscriptions/{}", stripe::id(&subscription));
        let mut told = shop.ask_stripe("GET", &path, &[]).await;
        let mut untold = told.clone();
        (told["latest_invoice"], told["status"]) = (json!("in_1"), json!("past_due"));
        untold["latest_invoice"] = json!({ "id": "in_2", "object": "invoice", "status": "paid", "amount_paid": 1 });
        for (object, status) in [(told, "past_due"), (untold, "active")] {
            interceptor.intercept(1, "GET", &path, Interception::Replaced(200, object));
            shop.deliver_event("customer.subscription.updated", &subscription).await;
            interceptor.until_all_intercepted().await;
            assert_eq!(shop.status_and_plan(&customer).await, (status.to_owned(), "pro".to_owned()));
        }
        // Another customer's operation is not affected.
        let other = shop.without_credits("pm_card_authenticationRequired").await;
        shop.subscribe(&other, "pro").await.expect_problem(402, "authentication_required");
        let operations = shop.app.call(&other, "GET", "/api/v1/operations", "", None).await.expect(200);
        let open = operations["data"][0]["id"].clone();
        let mut strange = shop.ask_stripe("GET", &format!("{path}?expand[]=latest_invoice"), &[]).await;
        strange["metadata"]["bursar_operation_id"] = open;
        interceptor.intercept(1, "GET", &path, Interception::Replaced(200, strange));
        shop.deliver_event("customer.subscription.updated", &subscription).await;
        shop.subscribe(&other, "pro").await.expect_problem(402, "authentication_required");
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.close().await;
    }
}
