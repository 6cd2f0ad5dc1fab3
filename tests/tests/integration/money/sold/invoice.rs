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

    async fn an_invoice_that_credits_more_than_it_charges_is_a_payment_of_nobody(backend: Backend) {
        let shop = Shop::selling(backend, &[pro_yearly(GrantSchedule::Monthly)]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "year", json!({ "price": "pro_yearly" })).await.expect(201);
        let down = json!({ "price": "pro_monthly", "when": "now" });
        shop.app.call(&customer, "POST", &format!("{SUBSCRIPTION}/change"), "down", Some(&down)).await.expect(200);
        let invoice = shop.stripe.object(&shop.latest_invoice());
        let (id, total) = (stripe::id(&invoice), invoice["total"].as_i64().expect("a total"));
        assert!(total < 0, "{total}");
        shop.deliver_event("invoice.paid", &invoice).await;

        let shown = shop.app.admin("GET", &format!("/admin/v1/payments/{id}"), None).await.expect(200);
        let payment = &shown["payment"];
        let expected = [&json!("not_charged"), &json!(0), &json!(-total)];
        assert_eq!(["state", "amount_minor", "balance_credit_minor"].map(|key| &payment[key]), expected, "{payment}");
        let history = shown["history"].to_string();
        assert!(history.contains("to the customer's balance") && !history.contains("it was paid"), "{history}");
        let path = format!("/admin/v1/payments?customer={}&state=paid", customer.id);
        let paid = shop.app.admin("GET", &path, None).await.expect(200);
        let paid = paid["data"].as_array().expect("payments");
        let amounts: Vec<_> = paid.iter().map(|row| &row["amount_minor"]).collect();
        assert_eq!(amounts, [&json!(599_000)]);
        let path = format!("/admin/v1/invoices?customer={}&state=paid", customer.id);
        let listed = shop.app.admin("GET", &path, None).await.expect(200);
        let rows = listed["data"].as_array().expect("invoices");
        let credited = rows.iter().find(|row| row["id"] == id).expect("it is listed as Stripe has it");
        let expected = [&json!("paid"), &json!(total), &json!(-total)];
        assert_eq!(["state", "amount_minor", "balance_credit_minor"].map(|key| &credited[key]), expected, "{credited}");
        let path = format!("/admin/v1/customers/{}/timeline", customer.id);
        let timeline = shop.app.admin("GET", &path, None).await.expect(200)["data"].to_string();
        assert!(timeline.contains("\"invoice.credited\""), "{timeline}");
        shop.close().await;
    }

    async fn support_is_told_where_an_invoice_stands_that_nobody_has_paid(backend: Backend) {
        let shop = Shop::selling(backend, &[]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        let price = stripe::id(&shop.pro_price().await).to_owned();
        let by_invoice = [("collection_method", "send_invoice"), ("days_until_due", "30")];
        let of_latest = async |stripe_customer: &str| {
            let made = shop.subscribe_at_stripe(stripe_customer, &price, &by_invoice).await;
            made["latest_invoice"].as_str().expect("an invoice").to_owned()
        };
        let said = async |id: &str| {
            let answer = shop.app.admin("GET", &format!("/admin/v1/payments/{id}"), None).await;
            answer.expect_problem(404, "not_found");
            answer.body["detail"].as_str().expect("words").to_owned()
        };
        let open = of_latest(&stripe_customer).await;
        let words = said(&open).await;
        let stands = format!("{open} of {} is open at Stripe: $599.00 is due.", customer.id);
        assert!(words.contains(&stands) && words.contains("/sandbox/invoices/"), "{words}");
        shop.ask_stripe("POST", &format!("/v1/invoices/{open}/void"), &[]).await;
        let words = said(&open).await;
        assert!(words.contains("was voided at Stripe"), "{words}");

        // Nothing is told of other business of the same account, and an id that Stripe lacks is unknown.
        let stranger = stripe::id(&shop.ask_stripe("POST", "/v1/customers", &[]).await).to_owned();
        let other = of_latest(&stranger).await;
        let unknown = said("in_unknown").await;
        assert_eq!(said(&other).await, unknown);
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
