//! What support reads of payments, invoices and subscriptions is so.

use super::*;
use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::domain::catalogue::{GrantSchedule, Interval, IntervalUnit, Price};
use bursar_engine::key::PriceKey;
use std::collections::BTreeSet;

const YEAR: &str = "pro_yearly";

impl Shop {
    /// The latest invoice in the list of support.
    async fn invoice_listed(&self, customer: &TestCustomer) -> Value {
        let path = format!("/admin/v1/invoices?customer={}", customer.id);
        let mut found = self.app.admin("GET", &path, None).await.expect(200);
        found["data"][0].take()
    }

    /// What the summary says of the customer's subscription.
    async fn subscription_in_words(&self, customer: &TestCustomer) -> String {
        let summary = self.app.call(customer, "GET", "/api/v1/usage/summary", "", None).await.expect(200);
        summary["subscription"]["message"].as_str().expect("words").to_owned()
    }

    /// How many payments are in these states.
    async fn in_states<const N: usize>(&self, states: [&str; N]) -> [usize; N] {
        let mut counts = [0; N];
        for (count, state) in counts.iter_mut().zip(states) {
            *count = self.payments(&format!("state={state}")).await.len();
        }
        counts
    }
}

fn credits_of(invoice: &Value) -> [&Value; 3] {
    [&invoice["state"], &invoice["credits_granted"], &invoice["credits_to_come"]]
}

with_shop! {
    async fn a_disputed_payment_says_so_until_it_is_won(shop: &Shop) {
        shop.pro().await;
        let charge = shop.charge();
        let id = shop.payments("").await[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(shop.in_states(["paid", "disputed"]).await, [1, 0]);
        let dispute = shop.stripe.open_dispute(&charge, None, "fraudulent").expect("a dispute");
        shop.deliver_event("charge.dispute.created", &dispute).await;
        let shown = shop.payment(&id).await;
        let disputed = (&shown["payment"]["state"], &shown["payment"]["disputed_minor"]);
        assert_eq!(disputed, (&json!("disputed"), &json!(MONTH)));
        let history = shown["history"].to_string();
        assert!(history.contains(&format!("dispute {}", stripe::id(&dispute))), "{history}");
        assert_eq!(shop.in_states(["paid", "disputed"]).await, [0, 1]);
        let closed = shop.stripe.close_dispute(stripe::id(&dispute), true).expect("it is open");
        shop.deliver_event("charge.dispute.closed", &closed).await;
        assert_eq!(shop.payment(&id).await["payment"]["state"], "paid");
        assert_eq!(shop.in_states(["paid", "disputed"]).await, [1, 0]);
    }

    async fn a_dispute_that_takes_no_credits_is_named_with_its_money(shop: &Shop) {
        shop.pro().await;
        let id = shop.payments("").await[0]["id"].as_str().expect("an id").to_owned();
        let dispute = shop.stripe.open_dispute(&shop.charge(), Some(100), "fraudulent").expect("a dispute");
        shop.deliver_event("charge.dispute.created", &dispute).await;
        let history = shop.history(&id).await;
        let expected = format!("dispute {} of $1.00 (fraudulent)", stripe::id(&dispute));
        assert!(history.iter().any(|step| step.starts_with(&expected)), "{history:#?}");
    }

    async fn a_failed_invoice_has_brought_nothing_and_will_bring_its_credits_once_it_is_paid(shop: &Shop) {
        let (customer, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        let paid = shop.invoice_listed(&customer).await;
        assert_eq!(credits_of(&paid), [&json!("paid"), &json!(PERIOD), &json!(0)]);
        shop.deliver_event("invoice.payment_failed", &invoice).await;
        let listed = shop.invoice_listed(&customer).await;
        assert_eq!(credits_of(&listed), [&json!("failed"), &json!(0), &json!(PERIOD)], "{listed}");
    }

    async fn a_declined_first_payment_of_a_subscription_is_found_with_its_failure(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        let declined = shop.subscribe(&customer, "pro").await;
        declined.expect_problem(402, "payment_declined");
        let intent = declined.body["payment_intent"].as_str().expect("a PaymentIntent");
        let invoice = shop.stripe.list("invoice").remove(0);
        // Before its event came, and after it came twice.
        for _ in 0..3 {
            let listed = shop.invoice_listed(&customer).await;
            assert_eq!(credits_of(&listed), [&json!("failed"), &json!(0), &json!(0)], "{listed}");
            assert_eq!((&listed["id"], &listed["amount_minor"]), (&invoice["id"], &json!(MONTH)));
            let why = listed["detail"].as_str().expect("why it failed");
            assert!(why.contains("declined"), "{why}");
            let payment = shop.payment_of(&customer).await;
            assert_eq!([&payment["id"], &payment["state"]], [&listed["id"], &json!("failed")]);
            assert_eq!(shop.payment(intent).await["payment"]["id"], listed["id"]);
            let search = format!("/admin/v1/customers?search={intent}");
            let found = shop.app.admin("GET", &search, None).await.expect(200);
            assert_eq!(found["data"][0]["id"], customer.id.as_str());
            let history = shop.history(stripe::id(&invoice)).await;
            assert!(history.iter().any(|step| step.starts_with("its payment failed: ")), "{history:#?}");
            shop.deliver_event("invoice.payment_failed", &invoice).await;
        }
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
        shop.app.verify().await;
    }

    async fn declined_payments_of_subscriptions_are_found_by_the_codes_of_stripe_and_the_issuer(shop: &Shop) {
        let first = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.subscribe(&first, "pro").await.expect_problem(402, "payment_declined");
        let (renewed, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        shop.deliver_event("invoice.payment_failed", &invoice).await;
        let expected = BTreeSet::from([first.id.as_str(), renewed.id.as_str()]);
        for noun in ["payments", "invoices"] {
            for reason in ["card_declined", "generic_decline", "was declined"] {
                let path = format!("/admin/v1/{noun}?reason={}", reason.replace(' ', "%20"));
                let found = shop.app.admin("GET", &path, None).await.expect(200);
                let rows = found["data"].as_array().expect("rows");
                let owners: BTreeSet<&str> = rows.iter().filter_map(|row| row["customer_id"].as_str()).collect();
                assert_eq!((rows.len(), &owners), (2, &expected), "{noun} {reason}: {rows:#?}");
                for row in rows {
                    assert_eq!([&row["reason"], &row["decline_code"]], ["card_declined", "generic_decline"], "{row}");
                }
            }
            let other = shop.app.admin("GET", &format!("/admin/v1/{noun}?reason=expired_card"), None).await.expect(200);
            assert_eq!(other["data"], json!([]), "{noun}");
        }
        // What is paid in the end has failed for nothing.
        let path = format!("/v1/invoices/{}/pay", stripe::id(&invoice));
        shop.ask_stripe("POST", &path, &[("paid_out_of_band", "true")]).await;
        shop.deliver_event("invoice.paid", &shop.stripe.object(stripe::id(&invoice))).await;
        assert_eq!(shop.payments("reason=card_declined").await.len(), 1);
    }

    async fn a_voided_invoice_says_that_nothing_of_it_is_due(shop: &Shop) {
        let (customer, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        shop.deliver_event("invoice.payment_failed", &invoice).await;
        let path = format!("/v1/invoices/{}/void", stripe::id(&invoice));
        let void = shop.ask_stripe("POST", &path, &[]).await;
        // Twice, and the failure once more.
        for event_type in ["invoice.voided", "invoice.voided", "invoice.payment_failed"] {
            shop.deliver_event(event_type, &void).await;
            let listed = shop.invoice_listed(&customer).await;
            assert_eq!(credits_of(&listed), [&json!("failed"), &json!(0), &json!(0)], "{listed}");
            let why = listed["detail"].as_str().expect("words");
            assert!(why.contains("nothing is due"), "{why}");
            assert_eq!(listed["reason"], "card_declined");
        }
    }

    async fn a_hold_that_bought_credits_tells_how_many_it_reserves(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let body = json!({ "units": 2, "expires_in_s": 600 });
        shop.app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&body)).await.expect(201);
        let payment = shop.payment_of(&customer).await;
        let history = shop.history(payment["id"].as_str().expect("an id")).await;
        let expected = "2 credits were reserved; the balance was 2 afterwards";
        assert!(history.iter().any(|step| step == expected), "{history:#?}");
    }
}

with_backend! {
    async fn a_year_by_months_has_brought_one_part_and_will_bring_the_others(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| {
                let month = catalogue.prices[0].clone();
                catalogue.prices.push(Price {
                    key: PriceKey::trusted(YEAR),
                    lookup_key: YEAR.to_owned(),
                    every: Interval { count: 1, unit: IntervalUnit::Year },
                    amount: MoneyMinor(599_000),
                    credits: Credits(720),
                    grant: GrantSchedule::Monthly,
                    ..month
                });
            });
        })
        .await;
        let form = [
            ("unit_amount", "599000"),
            ("currency", "usd"),
            ("recurring[interval]", "year"),
            ("product_data[name]", "Pro"),
            ("lookup_key", YEAR),
        ];
        shop.ask_stripe("POST", "/v1/prices", &form).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let year = json!({ "price": YEAR });
        shop.app.call(&customer, "POST", SUBSCRIPTION, "year", Some(&year)).await.expect(201);
        let listed = shop.invoice_listed(&customer).await;
        assert_eq!(credits_of(&listed), [&json!("paid"), &json!(60), &json!(660)], "{listed}");
        let words = shop.subscription_in_words(&customer).await;
        assert!(words.ends_with(" and is renewed then."), "{words}");
        let month = json!({ "price": "pro_monthly", "when": "period_end" });
        let path = format!("{SUBSCRIPTION}/change");
        shop.app.call(&customer, "POST", &path, "down", Some(&month)).await.expect(200);
        let words = shop.subscription_in_words(&customer).await;
        assert!(words.ends_with(" and changes to the price pro_monthly for $599.00 then."), "{words}");
        shop.close().await;
    }
}
