//! Credits that come some time after their payment, of whose money some was given back meanwhile.

use super::*;
use crate::scene::delay_job;

impl Shop {
    /// Gives half of an invoice's money back, or has it disputed, and tells of it.
    async fn give_half_back(&self, invoice: &Value, way: &str) {
        let half = invoice["amount_paid"].as_i64().expect("an amount") / 2;
        let charge = self.latest_charge();
        match way {
            "refund" => {
                self.stripe.refund(&charge, Some(half)).expect("a refund");
                self.announce_refund(&charge).await;
            }
            "dispute" => {
                let dispute = self.stripe.open_dispute(&charge, Some(half), "fraudulent").expect("a dispute");
                self.deliver_event("charge.dispute.created", &dispute).await;
                self.deliver_event("charge.dispute.funds_withdrawn", &dispute).await;
            }
            _ => {
                let half = half.to_string();
                let form = [("invoice", stripe::id(invoice)), ("amount", &half), ("credit_amount", &half)];
                let note = self.ask_stripe("POST", "/v1/credit_notes", &form).await;
                self.deliver_event("credit_note.created", &note).await;
            }
        }
    }

    /// The last charge that was paid.
    fn latest_charge(&self) -> String {
        let charges = self.stripe.list("charge");
        let latest = charges.iter().rfind(|charge| charge["paid"] == true);
        stripe::id(latest.expect("a charge")).to_owned()
    }

    async fn until_balance(&self, customer: &TestCustomer, credits: i64) {
        wait::until(&format!("{credits} credits are left"), || async {
            (self.app.balance(customer).await == credits).then_some(())
        })
        .await;
        self.app.verify().await;
    }

    /// Compares everything of a customer with Stripe, and repairs it.
    async fn compare(&self, customer: &TestCustomer) {
        let body = json!({ "customer_id": customer.id });
        let run = self.app.admin("POST", "/admin/v1/stripe/reconciliations", Some(&body)).await.expect(202);
        let path = format!("/admin/v1/stripe/reconciliations/{}", run["reconciliation"]["id"].as_str().expect("an id"));
        wait::until("the comparison is done", || async {
            let run = self.app.admin("GET", &path, None).await.expect(200);
            (run["reconciliation"]["state"] == "done").then_some(())
        })
        .await;
    }
}

with_backend! {
    async fn money_given_back_before_a_price_was_decided_takes_its_share_of_what_comes_then(backend: Backend) {
        for way in ["refund", "dispute", "note"] {
            let shop = Shop::selling(backend, &[]).await;
            let (customer, price, event) = shop.paid_at_another_price().await;
            shop.give_half_back(&event["data"]["object"], way).await;
            assert_eq!(shop.app.balance(&customer).await, PERIOD, "{way}: it is about what nobody has decided");
            shop.decide(&price, json!({ "decision": "ours", "price": "pro_monthly" })).await;
            for _ in 0..2 {
                replay_event(&shop.app, stripe::id(&event), "processed").await;
                shop.until_balance(&customer, PERIOD + PERIOD / 2).await;
            }
            let path = format!("/admin/v1/payments?customer={}", customer.id);
            let listed = shop.app.admin("GET", &path, None).await.expect(200);
            let gone = |row: &Value| row["refunded_minor"].as_i64().unwrap_or(0) + row["disputed_minor"].as_i64().unwrap_or(0);
            let rows = listed["data"].as_array().expect("payments");
            assert_eq!(rows.iter().map(gone).sum::<i64>(), 49_900 / 2, "{way}: {listed}");
            shop.close().await;
        }
    }

    async fn credits_that_a_subscription_brings_late_lose_what_was_given_back(backend: Backend) {
        for way in ["refund", "note"] {
            let shop = Shop::selling(backend, &[]).await;
            shop.pro().await;
            let customer = shop.without_credits("pm_card_visa").await;
            let product = shop.pro_price().await["product"].clone();
            let price = shop.other_price("49900", product.as_str()).await;
            let made = shop.subscribe_at_stripe(&shop.stripe_customer(&customer).await, &price, &[]).await;
            // Its invoice's own event is lost, and nobody has decided what it sells.
            let (event, _) = shop.dead_event("customer.subscription.updated", &made).await;
            let invoice = shop.stripe.object(made["latest_invoice"].as_str().expect("an invoice"));
            shop.give_half_back(&invoice, way).await;
            assert_eq!(shop.app.balance(&customer).await, 0, "{way}");
            shop.decide(&price, json!({ "decision": "ours", "price": "pro_monthly" })).await;
            for _ in 0..2 {
                replay_event(&shop.app, stripe::id(&event), "processed").await;
                shop.until_balance(&customer, PERIOD / 2).await;
            }
            shop.close().await;
        }
    }

    async fn a_comparison_brings_a_lost_invoice_and_takes_what_its_refund_waits_for(backend: Backend) {
        for way in ["refund", "note"] {
            let shop = Shop::selling(backend, &[]).await;
            let customer = shop.pro().await;
            let renewal = shop.next_month();
            let half = (MONTH / 2).to_string();
            let event = match way {
                "refund" => {
                    let refund = shop.stripe.refund(&shop.latest_charge(), Some(MONTH / 2)).expect("a refund");
                    stripe::event("refund.created", &refund)
                }
                _ => {
                    let form = [("invoice", stripe::id(&renewal)), ("amount", &half), ("credit_amount", &half)];
                    let note = shop.ask_stripe("POST", "/v1/credit_notes", &form).await;
                    stripe::event("credit_note.created", &note)
                }
            };
            shop.app.deliver(&event).await.expect(200);
            // It waits for credits whose event was lost.
            delay_job(&shop.app, "stripe.event").await;
            assert_eq!(shop.app.balance(&customer).await, PERIOD);
            shop.compare(&customer).await;
            shop.until_balance(&customer, PERIOD + PERIOD / 2).await;
            let waiting = format!("{}{}", stripe::id(&event), if way == "note" { ":review" } else { "" });
            shop.app.event_in_state(&waiting, "processed").await;
            shop.close().await;
        }
    }
}
