//! Money in the usage summary, and invoices.

use super::*;
use crate::scene::with_backend;
use bursar_engine::amount::MoneyMinor;
use bursar_engine::domain::catalogue::currency::Currency;

const SUMMARY: &str = "/api/v1/usage/summary";

impl Shop {
    async fn summary(&self, customer: &TestCustomer) -> Value {
        self.app.call(customer, "GET", SUMMARY, "", None).await.expect(200)
    }
}

with_shop! {
    async fn the_summarys_charges_are_what_stripe_took_for_units(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let before = shop.summary(&customer).await;
        assert_eq!((&before["charged"], &before["next_price"]), (&json!([]), &json!("$29.00")));
        let words = "You have no fix credits left. The next fix costs $29.00.";
        assert_eq!(before["warnings"], json!([{ "code": "no_credits", "message": words }]));
        shop.app.spend(&customer, 1, "one").await.expect(200);
        shop.app.spend(&customer, 2, "two").await.expect(200);
        let summary = shop.summary(&customer).await;
        assert_eq!(summary["charged"], json!([{
            "currency": "usd", "amount_minor": 8_700, "amount": "$87.00", "charges": 2,
            "amount_in_period_minor": 8_700, "amount_in_period": "$87.00", "charges_in_period": 2,
        }]));
        assert_eq!(shop.net_paid(&customer).await, 8_700);
        assert_eq!(summary["totals"], json!({
            "granted": 13, "spent": 13, "expired": 0, "clawed_back": 0, "removed": 0,
        }));
    }

    async fn a_charge_that_was_declined_is_not_in_the_summary(shop: &Shop) {
        let customer = shop.without_credits("pm_card_chargeCustomerFail").await;
        shop.app.spend(&customer, 1, "one").await.expect_problem(402, "payment_declined");
        assert_eq!(shop.summary(&customer).await["charged"], json!([]));
    }

    async fn the_summary_of_pro_has_its_period_and_status(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        assert_eq!(shop.summary(&customer).await["period"]["kind"], "calendar_month");
        let path = "/api/v1/subscription";
        shop.app.call(&customer, "POST", path, "pro", Some(&json!({}))).await.expect(201);
        let summary = shop.summary(&customer).await;
        assert_eq!((&summary["plan"], &summary["next_price_minor"]), (&json!("pro"), &json!(1_500)));
        assert_eq!(summary["period"]["kind"], "subscription");
        let words = summary["subscription"]["message"].as_str().expect("words");
        assert!(words.starts_with("Pro is paid until "), "{words}");
        assert_eq!(summary["warnings"], json!([]));
        shop.app.call(&customer, "DELETE", path, "end", None).await.expect(200);
        let warnings = shop.summary(&customer).await["warnings"].clone();
        assert_eq!(warnings[0]["code"], "subscription_ends");
        let subscription = shop.stripe.list("subscription").remove(0);
        let fields = json!({ "status": "past_due", "cancel_at_period_end": false });
        shop.stripe.set(subscription["id"].as_str().expect("an id"), fields).expect("it is there");
        shop.deliver_event("customer.subscription.updated", &subscription).await;
        let warnings = shop.summary(&customer).await["warnings"].clone();
        assert_eq!(warnings[0]["code"], "payment_past_due");
    }

    async fn invoices_come_page_by_page_latest_first(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let list = async |query: &str| {
            shop.app.call(&customer, "GET", &format!("/api/v1/invoices{query}"), "", None).await
        };
        assert_eq!(list("").await.expect(200), json!({ "data": [], "next_cursor": null }));
        let path = "/api/v1/subscription";
        for n in 0..3 {
            shop.app.call(&customer, "POST", path, &format!("pro-{n}"), Some(&json!({}))).await.expect(201);
            let end = format!("{path}?at_once=true");
            shop.app.call(&customer, "DELETE", &end, &format!("end-{n}"), None).await.expect(200);
        }
        let latest_id = shop.stripe.list("invoice")[2]["id"].clone();
        let url = "https://invoice.stripe.com/i/1";
        let fields = json!({ "hosted_invoice_url": url });
        shop.stripe.set(latest_id.as_str().expect("an id"), fields).expect("it is there");
        let first = list("?limit=2").await.expect(200);
        let cursor = first["next_cursor"].as_str().expect("there is more").to_owned();
        let second = list(&format!("?limit=2&cursor={cursor}")).await.expect(200);
        assert_eq!(second["next_cursor"], Value::Null);
        let rows = first["data"].as_array().expect("rows").iter().chain(second["data"].as_array().expect("rows"));
        let ids: Vec<&Value> = rows.map(|row| &row["id"]).collect();
        let made = shop.stripe.list("invoice");
        assert_eq!(ids, made.iter().rev().map(|invoice| &invoice["id"]).collect::<Vec<_>>());
        let latest = &first["data"][0];
        assert_eq!((&latest["status"], &latest["hosted_invoice_url"]), (&json!("paid"), &json!(url)));
        assert_eq!((&latest["amount_paid_minor"], &latest["currency"]), (&json!(59_900), &json!("usd")));
        let gone = "?cursor=djE6aW5fZ29uZQ";
        list(gone).await.expect_problem(400, "invalid_cursor");
    }
}

with_backend! {
    async fn a_currency_without_minor_units_is_charged_shown_and_refunded_as_its_price_says(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| {
                let yen = Currency::parse("jpy").expect("a currency");
                for plan in &mut catalogue.plans {
                    plan.unit_prices.insert(yen.clone(), MoneyMinor(4_500));
                }
                catalogue.currency = yen;
            });
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        assert_eq!(shop.summary(&customer).await["next_price"], "4500 JPY");
        shop.app.spend(&customer, 2, "two").await.expect(200);
        let charge = shop.stripe.list("charge").remove(0);
        assert_eq!((&charge["amount"], &charge["currency"]), (&json!(9_000), &json!("jpy")));
        let charged = shop.summary(&customer).await["charged"][0].clone();
        assert_eq!((&charged["amount"], &charged["amount_minor"]), (&json!("9000 JPY"), &json!(9_000)));
        shop.stripe.refund(stripe::id(&charge), Some(4_500)).expect("a refund");
        shop.deliver_event("charge.refunded", &shop.stripe.object(stripe::id(&charge))).await;
        assert_eq!(shop.app.balance(&customer).await, -1);
        shop.close().await;
    }

    async fn a_plan_without_a_unit_price_charges_nobody_and_says_so(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| catalogue.plans[0].unit_prices.clear());
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        let refused = shop.app.spend(&customer, 1, "unit").await;
        refused.expect_problem(402, "plan_without_unit_price");
        let words = "The plan Trial has no price for single fixes: choose another plan.";
        assert_eq!(refused.body["detail"], words);
        assert_eq!(shop.stripe.list("charge").len(), 0);
        let summary = shop.summary(&customer).await;
        assert_eq!((&summary["next_price"], &summary["next_price_minor"]), (&Value::Null, &Value::Null));
        let words = format!("You have no fix credits left. {words}");
        assert_eq!(summary["warnings"], json!([{ "code": "no_credits", "message": words }]));
        // A plan with a unit price helps.
        shop.subscribe(&customer, "pro").await.expect(201);
        assert_eq!(shop.summary(&customer).await["next_price"], "$15.00");
        shop.close().await;
    }
}
