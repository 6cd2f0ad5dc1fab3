//! Invoices: which of them bring a month of credits, however they are paid, and what of it a refund takes.

use super::super::interceptor::Interception;
use super::*;

with_shop! {
    async fn a_whole_month_brings_its_credits_whatever_the_invoice_was_made_for(shop: &Shop) {
        let customer = shop.pro().await;
        for (months, reason) in (2..).zip([json!("subscription_update"), Value::Null]) {
            let renewal = shop.next_month();
            let changed = shop.stripe.set(stripe::id(&renewal), json!({ "billing_reason": reason }));
            shop.deliver_event("invoice.paid", &changed.expect("it is there")).await;
            assert_eq!(shop.app.balance(&customer).await, months * PERIOD, "{reason}");
        }
        assert_eq!(shop.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()));
    }

    async fn a_month_paid_from_the_customers_balance_brings_its_credits(shop: &Shop) {
        let customer = shop.pro().await;
        let path = format!("/v1/customers/{}", shop.stripe_customer(&customer).await);
        shop.ask_stripe("POST", &path, &[("balance", "-59900")]).await;
        let renewal = shop.next_month();
        let paid = (&renewal["status"], &renewal["total"], &renewal["amount_paid"]);
        assert_eq!(paid, (&json!("paid"), &json!(MONTH), &json!(0)));
        for event_type in ["invoice.paid", "invoice.payment_succeeded"] {
            shop.deliver_event(event_type, &renewal).await;
            assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        }
        assert_eq!(shop.net_paid(&customer).await, MONTH);
    }

    async fn a_month_paid_out_of_band_brings_its_credits(shop: &Shop) {
        let (customer, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        shop.deliver_event("invoice.payment_failed", &invoice).await;
        let path = format!("/v1/invoices/{}/pay", stripe::id(&invoice));
        shop.ask_stripe("POST", &path, &[("paid_out_of_band", "true")]).await;
        shop.deliver_event("invoice.paid", &shop.stripe.object(stripe::id(&invoice))).await;
        assert_eq!(shop.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()));
        assert_eq!((shop.app.balance(&customer).await, shop.net_paid(&customer).await), (2 * PERIOD, MONTH));
    }

    async fn a_refund_of_what_the_card_paid_takes_its_share_of_the_month(shop: &Shop) {
        let customer = shop.pro().await;
        let path = format!("/v1/customers/{}", shop.stripe_customer(&customer).await);
        shop.ask_stripe("POST", &path, &[("balance", "-50000")]).await;
        let renewal = shop.next_month();
        assert_eq!((&renewal["total"], &renewal["amount_paid"]), (&json!(MONTH), &json!(9_900)));
        shop.deliver_event("invoice.paid", &renewal).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        let charge = stripe::id(&shop.stripe.list("charge").pop().expect("a charge")).to_owned();
        // 4,950 of 59,900 are four credits of 60, and 9,900 are nine.
        for (amount, taken) in [(Some(4_950), 4), (None, 9)] {
            shop.stripe.refund(&charge, amount).expect("a refund");
            shop.announce_refund(&charge).await;
            assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD - taken);
        }
    }
}

with_backend! {
    async fn support_finds_an_invoice_of_which_a_coupon_leaves_nothing(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let coupon = [("percent_off", "100"), ("duration", "forever")];
        let coupon = shop.ask_stripe("POST", "/v1/coupons", &coupon).await;
        let discount = [("discounts[0][coupon]", stripe::id(&coupon))];
        let price = shop.pro_price().await;
        shop.subscribe_at_stripe(&stripe_customer, stripe::id(&price), &discount).await;
        let invoice = shop.stripe.list("invoice").remove(0);
        for event_type in ["invoice.paid", "invoice.payment_succeeded"] {
            shop.deliver_event(event_type, &invoice).await;
        }
        let id = stripe::id(&invoice);
        let path = format!("/admin/v1/invoices?customer={}", customer.id);
        let listed = shop.app.admin("GET", &path, None).await.expect(200);
        let rows = listed["data"].as_array().expect("invoices");
        assert_eq!(rows.len(), 1, "{rows:#?}");
        assert_eq!([&rows[0]["id"], &rows[0]["state"]], [id, "paid"]);
        for key in ["amount_minor", "credits", "credits_granted", "credits_to_come"] {
            assert_eq!(rows[0][key], 0, "{key}");
        }
        let shown = shop.app.admin("GET", &format!("/admin/v1/payments/{id}"), None).await.expect(200);
        assert_eq!((&shown["payment"]["state"], &shown["payment"]["amount_minor"]), (&json!("paid"), &json!(0)));
        let found = shop.app.admin("GET", &format!("/admin/v1/customers?search={id}"), None).await.expect(200);
        assert_eq!(found["data"][0]["id"], customer.id.as_str());
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
        shop.app.verify().await;
        shop.close().await;
    }

    async fn an_invoice_with_more_lines_than_its_event_carries_is_decided_by_all_of_them(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let mut invoice = shop.next_month();
        // A month of Pro, ten items on their own, and one more month of Pro.
        let month = invoice["lines"]["data"][0].clone();
        let mut lines = vec![month.clone()];
        lines.extend((0..10).map(|n| json!({
            "id": format!("il_item_{n}"), "object": "line_item", "amount": 100, "currency": "usd", "quantity": 1,
            "metadata": {}, "period": month["period"], "pricing": null,
            "parent": { "type": "invoice_item_details", "invoice_item_details": { "proration": false } },
        })));
        let mut other_month = month;
        other_month["id"] = json!("il_other_month");
        lines.push(other_month);
        let list = |lines: &[Value], has_more: bool| json!({ "object": "list", "data": lines, "has_more": has_more });
        invoice["lines"] = list(&lines[..10], true);
        let path = format!("/v1/invoices/{}", stripe::id(&invoice));
        interceptor.intercept(1, "GET", &path, Interception::Replaced(200, invoice.clone()));
        for page in [list(&lines[..11], true), list(&lines[11..], false)] {
            interceptor.intercept(1, "GET", &format!("{path}/lines"), Interception::Replaced(200, page));
        }
        shop.deliver_event("invoice.paid", &invoice).await;
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.app.balance(&customer).await, 3 * PERIOD);
        shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        assert_eq!(shop.app.balance(&customer).await, 3 * PERIOD);
        shop.close().await;
    }
}
