//! Refunds and disputes of charges that granted nothing, or that do not say what they paid for.

use super::*;

with_shop! {
    async fn a_refund_of_a_payment_without_a_grant_is_retried_then_reported(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let operation = OperationId::new().to_string();
        let metadata = [("metadata[bursar_operation_id]", operation.as_str())];
        let charge = shop.paid_elsewhere(&stripe_customer, "2900", &metadata).await;
        shop.stripe.refund(&charge, None).expect("a refund");
        let reason = shop.deliver_dead_event("charge.refunded", &shop.stripe.object(&charge)).await;
        assert!(reason.contains("grant_missing"), "{reason}");
        assert_eq!(shop.app.balance(&customer).await, 0);
    }

    async fn a_dispute_without_a_withdrawal_or_a_grant_is_processed(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let operation = OperationId::new().to_string();
        let metadata = [("metadata[bursar_operation_id]", operation.as_str())];
        let charge = shop.paid_elsewhere(&stripe_customer, "2900", &metadata).await;
        let dispute = json!({ "id": "du_1", "object": "dispute", "charge": charge, "status": "warning_closed" });
        shop.deliver_event("charge.dispute.closed", &dispute).await;
    }

    async fn a_strangers_refund_is_ignored_unless_it_names_one_of_our_operations(shop: &Shop) {
        let stranger = shop.ask_stripe("POST", "/v1/customers", &[("email", "else@example.com")]).await;
        let other = shop.paid_elsewhere(stripe::id(&stranger), "500", &[]).await;
        shop.stripe.refund(&other, None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(&other)).await;
        for operation in [OperationId::new().to_string(), "no operation".to_owned()] {
            let metadata = [("metadata[bursar_operation_id]", operation.as_str())];
            let ours = shop.paid_elsewhere(stripe::id(&stranger), "2900", &metadata).await;
            shop.stripe.refund(&ours, None).expect("a refund");
            let reason = shop.deliver_dead_event("charge.refunded", &shop.stripe.object(&ours)).await;
            assert!(reason.contains("customer_unknown"), "{reason}");
        }
    }

    async fn a_refund_finds_its_charge_by_its_payment_and_is_ignored_without_one(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        let intent = shop.stripe.object(&charge)["payment_intent"].clone();
        shop.stripe.refund(&charge, None).expect("a refund");
        for (id, intent) in [("re_nothing", Value::Null), ("re_unknown", json!("pi_unknown"))] {
            let refund = json!({ "id": id, "object": "refund", "charge": null, "payment_intent": intent });
            shop.deliver_event("refund.created", &refund).await;
            assert_eq!(shop.app.balance(&customer).await, 3);
        }
        let refund = json!({ "id": "re_1", "object": "refund", "charge": null, "payment_intent": intent });
        shop.deliver_event("refund.created", &refund).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
    }
}

with_backend! {
    async fn a_refund_of_one_of_two_charges_of_a_month_takes_its_share(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let first = shop.stripe.list("charge").remove(0);
        let second = shop.paid_elsewhere(&stripe_customer, "59900", &[]).await;
        // Only previews of Stripe's API allow several payments for one invoice.
        let id = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
        let path = format!("/v1/invoices/{id}");
        let mut invoice = shop.ask_stripe("GET", &format!("{path}?expand[]=payments"), &[]).await;
        let payments = invoice["payments"]["data"].as_array_mut().expect("payments");
        payments[0]["payment"] = json!({ "type": "charge", "charge": first["id"] });
        let mut other = payments[0].clone();
        other["payment"]["charge"] = json!(second);
        payments.push(other);
        invoice["total"] = json!(2 * MONTH);
        interceptor.intercept(4, "GET", &path, Interception::Replaced(200, invoice));
        shop.stripe.refund(stripe::id(&first), None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(stripe::id(&first))).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        shop.close().await;
    }

    async fn an_incomplete_charge_or_one_without_a_grant_claws_nothing_back(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let (customer, charge) = shop.customer_with_purchase().await;
        shop.stripe.refund(&charge, None).expect("a refund");
        let refunded = shop.stripe.object(&charge);
        let path = format!("/v1/charges/{charge}");
        let without = |name: &str| {
            let mut object = refunded.clone();
            object[name] = Value::Null;
            object
        };
        let mut bought_nothing = without("payment_intent");
        bought_nothing["metadata"] = json!({});
        for odd in [without("id"), without("amount"), bought_nothing] {
            interceptor.intercept(1, "GET", &path, Interception::Replaced(200, odd));
            shop.deliver_event("charge.refunded", &refunded).await;
            interceptor.until_all_intercepted().await;
            assert_eq!(shop.app.balance(&customer).await, 3);
        }
        shop.deliver_event("charge.refunded", &refunded).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
        shop.close().await;
    }

    async fn a_refund_of_a_month_claws_back_what_its_invoice_granted_whatever_its_price_is_now(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.stripe.refund(&charge, Some(MONTH / 2)).expect("a refund");
        let id = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
        let path = format!("/v1/invoices/{id}");
        let refunded_while = async |instead: Interception| {
            interceptor.intercept(1, "GET", &path, instead);
            shop.deliver_event("charge.refunded", &shop.stripe.object(&charge)).await;
            interceptor.until_all_intercepted().await;
        };
        // Without its invoice there is no telling what was bought.
        refunded_while(answers_404()).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        // Its price is other business by now, but brought credits then.
        let mut other = shop.ask_stripe("GET", &path, &[]).await;
        for line in other["lines"]["data"].as_array_mut().expect("lines") {
            line["metadata"] = json!({});
            line["price"] = json!({ "id": "price_else", "object": "price", "lookup_key": "else" });
            line["pricing"] = Value::Null;
        }
        other["parent"]["subscription_details"]["metadata"] = json!({});
        refunded_while(Interception::Replaced(200, other)).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        // Before 2025 a charge named its invoice.
        shop.stripe.refund(&charge, None).expect("a refund");
        let mut old = shop.stripe.object(&charge);
        old["invoice"] = json!(id);
        interceptor.intercept(1, "GET", &format!("/v1/charges/{charge}"), Interception::Replaced(200, old));
        interceptor.intercept(usize::MAX, "GET", "/v1/invoice_payments", answers_404());
        shop.deliver_event("charge.refunded", &shop.stripe.object(&charge)).await;
        interceptor.clear();
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.close().await;
    }

    async fn a_refund_takes_the_whole_month_if_the_other_charge_is_missing(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        let id = shop.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned();
        let path = format!("/v1/invoices/{id}");
        let mut invoice = shop.ask_stripe("GET", &format!("{path}?expand[]=payments"), &[]).await;
        let payments = invoice["payments"]["data"].as_array_mut().expect("payments");
        let mut other = payments[0].clone();
        other["payment"] = json!({ "type": "charge", "charge": "ch_unknown" });
        payments.push(other);
        interceptor.intercept(1, "GET", &path, Interception::Replaced(200, invoice));
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(&charge)).await;
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.close().await;
    }
}
