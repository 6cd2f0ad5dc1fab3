//! Failures 1 and 2 (see `failures.rs`): one payment grants once, however many events and deliveries announce it.

use super::*;
use futures_util::future::join_all;

/// Event types that announce the payment of a subscription bought in Stripe Checkout.
const ANNOUNCED_BY: [&str; 5] = [
    "invoice.paid",
    "invoice.payment_succeeded",
    "checkout.session.completed",
    "payment_intent.succeeded",
    "invoice_payment.paid",
];

impl Shop {
    /// A new customer buys Pro in Stripe Checkout. Returns the events that announce the payment.
    async fn buy_pro_in_checkout(&self) -> (TestCustomer, Vec<Value>) {
        let customer = self.app.onboard().await;
        let stripe_customer = self.stripe_customer(&customer).await;
        let before = self.stripe.list("event").len();
        let price = self.stripe.list("price").remove(0);
        let form = [
            ("mode", "subscription"),
            ("customer", stripe_customer.as_str()),
            ("client_reference_id", customer.id.as_str()),
            ("line_items[0][price]", stripe::id(&price)),
            ("line_items[0][quantity]", "1"),
            ("success_url", "https://example.com/"),
        ];
        let session = self.ask_stripe("POST", "/v1/checkout/sessions", &form).await;
        self.stripe.complete_checkout(stripe::id(&session), "pm_card_visa").expect("it is paid");
        let events = self.stripe.list("event").split_off(before);
        let of_type = |wanted: &&str| events.iter().find(|event| event["type"] == **wanted).cloned();
        (customer, ANNOUNCED_BY.iter().map(|wanted| of_type(wanted).expect(wanted)).collect())
    }

    async fn processes(&self, events: &[Value]) {
        for event in events {
            self.app.event_in_state(stripe::id(event), "processed").await;
        }
    }

    async fn is_on_pro_for_a_month(&self, customer: &TestCustomer) {
        assert_eq!(self.app.balance(customer).await, 5 + PERIOD);
        assert_eq!(self.plan(customer).await, "pro");
    }
}

with_shop! {
    async fn failure_1_concurrent_deliveries_of_one_paid_invoice_grant_once(shop: &Shop) {
        let customer = shop.pro().await;
        let renewal = shop.next_month();
        assert_eq!((&renewal["status"], &renewal["billing_reason"]), (&json!("paid"), &json!("subscription_cycle")));
        // Ten copies each of two events about the same payment.
        let events = [stripe::event("invoice.paid", &renewal), stripe::event("invoice.paid", &renewal)];
        let deliveries = join_all((0..20).map(|n| shop.app.deliver(&events[n % 2]))).await;
        deliveries.into_iter().for_each(|answer| drop(answer.expect(200)));
        shop.processes(&events).await;
        assert_eq!(shop.app.event(stripe::id(&events[0])).await["event"]["deliveries"], 10);
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn failure_2_the_five_events_of_one_payment_grant_once_in_any_order(shop: &Shop) {
        for first in 0..ANNOUNCED_BY.len() {
            let (customer, mut events) = shop.buy_pro_in_checkout().await;
            events.rotate_left(first);
            for event in &events {
                shop.app.deliver(event).await.expect(200);
                shop.app.event_in_state(stripe::id(event), "processed").await;
            }
            shop.is_on_pro_for_a_month(&customer).await;
        }
    }

    async fn failure_2_the_five_events_of_one_payment_grant_once_concurrently(shop: &Shop) {
        let (customer, mut events) = shop.buy_pro_in_checkout().await;
        events.reverse();
        let deliveries = join_all(events.iter().chain(&events).map(|event| shop.app.deliver(event))).await;
        deliveries.into_iter().for_each(|answer| drop(answer.expect(200)));
        shop.processes(&events).await;
        shop.is_on_pro_for_a_month(&customer).await;
    }

    async fn failure_2_a_settled_payment_that_is_also_announced_grants_once(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let intent = shop.stripe.list("payment_intent").remove(0);
        for _ in 0..3 {
            shop.deliver_event("payment_intent.succeeded", &intent).await;
        }
        assert_eq!(shop.app.balance(&customer).await, 0);
    }
}
