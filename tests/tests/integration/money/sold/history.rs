//! Subscriptions with many invoices: all that are looked at are found on their pages, and what lies beyond waits for a
//! person.

use super::left::HALF_MONTH;
use super::*;
use crate::money::interceptor::{Interception, Interceptor};

/// Pages of a subscription's invoices that are looked at.
const PAGES_MAX: usize = 10;

impl Shop {
    /// A subscriber to Pro of a shop whose Stripe lists one invoice a page.
    async fn with_short_pages(backend: Backend) -> (Self, Interceptor, (TestCustomer, String)) {
        let (shop, interceptor) = Self::intercepted(backend).await;
        let subscriber = shop.subscriber().await;
        interceptor.intercept(usize::MAX, "GET", "/v1/invoices", Interception::OneAPage);
        (shop, interceptor, subscriber)
    }

    /// Makes so many further invoices of the subscription at Stripe that the first is on no page that is looked at.
    async fn make_many_invoices(&self) {
        for n in 0..PAGES_MAX {
            let quantity = if n % 2 == 0 { "2" } else { "1" };
            let change = [("items[0][quantity]", quantity), ("proration_behavior", "always_invoice")];
            self.change_item(&self.subscription(), &change).await;
        }
        assert!(self.stripe.list("invoice").len() > PAGES_MAX);
    }
}

with_backend! {
    async fn a_period_is_found_on_a_later_page_of_the_subscriptions_invoices(backend: Backend) {
        let (shop, _interceptor, (customer, stripe_customer)) = Shop::with_short_pages(backend).await;
        shop.change_catalogue(|catalogue| catalogue.prices[0].credits = Credits(10 * PERIOD));
        shop.stripe.advance(HALF_MONTH).expect("time passes");
        shop.leave_at_stripe(&stripe_customer).await;
        let left = shop.app.balance(&customer).await;
        assert!((PERIOD / 2 - 2..=PERIOD / 2 + 2).contains(&left), "half of what the period brought: {left}");
        shop.app.verify().await;
        shop.close().await;
    }

    async fn what_leaves_a_period_beyond_the_last_page_waits_for_a_person(backend: Backend) {
        let (shop, _interceptor, (customer, _)) = Shop::with_short_pages(backend).await;
        shop.make_many_invoices().await;
        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        shop.ask_stripe("DELETE", &path, &[("prorate", "true"), ("invoice_now", "true")]).await;
        let last = shop.stripe.list("invoice").pop().expect("invoices");
        assert_eq!(last["status"], "paid");
        let (_, reason) = shop.dead_event("invoice.paid", &last).await;
        assert!(reason.starts_with("history_too_long: "), "{reason}");
        assert_eq!(shop.app.balance(&customer).await, PERIOD, "nothing is taken meanwhile");
        shop.close().await;
    }

    async fn the_refund_of_an_invoice_beyond_the_last_page_waits_for_a_person(backend: Backend) {
        let (shop, _interceptor, (customer, _)) = Shop::with_short_pages(backend).await;
        shop.make_many_invoices().await;
        let charge = stripe::id(&shop.stripe.list("charge").remove(0)).to_owned();
        shop.stripe.refund(&charge, None).expect("a refund");
        let (_, reason) = shop.dead_event("charge.refunded", &shop.stripe.object(&charge)).await;
        assert!(reason.starts_with("history_too_long: "), "{reason}");
        assert_eq!(shop.app.balance(&customer).await, PERIOD, "nothing is taken meanwhile");
        shop.close().await;
    }

    async fn a_refund_of_an_invoice_beyond_the_last_page_is_planned_only_without_its_credits(backend: Backend) {
        let (shop, _interceptor, (customer, _)) = Shop::with_short_pages(backend).await;
        let first = stripe::id(&shop.stripe.list("invoice").remove(0)).to_owned();
        shop.make_many_invoices().await;
        let path = format!("/admin/v1/payments/{first}/refund");
        let plan = async |more: Value| {
            let mut body = json!({ "reason": "ticket 1", "dry_run": true });
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            shop.app.admin("POST", &path, Some(&body)).await
        };
        plan(json!({})).await.expect_problem(422, "refund_unclear");
        let named = |credits: &str| json!({ "amount_minor": MONTH, "beyond_credited": true, "credits": credits });
        plan(named("all")).await.expect_problem(422, "refund_unclear");
        let planned = plan(named("none")).await.expect(200);
        let shown = (&planned["amount_minor"], &planned["credits_to_go"]);
        assert_eq!(shown, (&json!(MONTH), &json!(0)), "{planned}");
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.close().await;
    }
}
