//! Payments of which Stripe does not have everything: nothing is given back or taken on a guess.

use super::super::interceptor::{Interception, error};
use super::super::unusual_answer::answers_404;
use super::*;

impl Shop {
    /// What a refund of all that is left of a payment would do.
    async fn planned(&self, payment: &str) -> Answer {
        self.refund(payment, &json!({ "reason": "ticket 1", "dry_run": true })).await
    }

    /// A customer with two months of Pro, of which the balance at Stripe paid the second, and a credit note of half of
    /// that; with the invoice and the note.
    async fn with_note_of_the_balances_month(&self) -> (TestCustomer, Value, Value) {
        let customer = self.pro().await;
        let path = format!("/v1/customers/{}", self.stripe_customer(&customer).await);
        self.ask_stripe("POST", &path, &[("balance", "-59900")]).await;
        let renewal = self.next_month();
        self.deliver_event("invoice.paid", &renewal).await;
        let form = [("invoice", stripe::id(&renewal)), ("credit_amount", "29950")];
        let note = self.ask_stripe("POST", "/v1/credit_notes", &form).await;
        self.deliver_event("credit_note.created", &note).await;
        self.balance_becomes(&customer, PERIOD + PERIOD / 2).await;
        (customer, renewal, note)
    }

    /// Voids a credit note at Stripe. Nobody tells of it.
    async fn void_silently(&self, note: &Value) {
        self.ask_stripe("POST", &format!("/v1/credit_notes/{}/void", stripe::id(note)), &[]).await;
    }
}

/// Lets comparisons look at what has just happened.
fn at_once(config: &mut Config) {
    config.stripe.reconcile_grace_s = 0;
}

with_backend! {
    async fn a_comparison_returns_what_a_voided_note_of_the_balances_money_took(backend: Backend) {
        let shop = Shop::open_with(backend, at_once).await;
        let (customer, _, note) = shop.with_note_of_the_balances_month().await;
        shop.void_silently(&note).await;
        shop.compare_customer(&customer).await;
        shop.balance_becomes(&customer, 2 * PERIOD).await;
        shop.close().await;
    }

    async fn an_invoice_that_stripe_does_not_find_is_not_compared_until_it_does(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, at_once).await;
        let (customer, renewal, note) = shop.with_note_of_the_balances_month().await;
        shop.void_silently(&note).await;
        let path = format!("/v1/invoices/{}", stripe::id(&renewal));
        interceptor.intercept(usize::MAX, "GET", &path, answers_404());
        shop.comparison_of(&customer).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD + PERIOD / 2);
        interceptor.clear();
        shop.compare_customer(&customer).await;
        shop.balance_becomes(&customer, 2 * PERIOD).await;
        shop.close().await;
    }

    async fn a_payment_that_stripe_does_not_find_or_that_has_no_charge_is_not_compared(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted_with(backend, at_once).await;
        let (customer, charge) = shop.customer_with_purchase().await;
        let refund = shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        shop.balance_becomes(&customer, 2).await;
        shop.stripe.fail_refund(stripe::id(&refund)).expect("it fails");
        let intent = shop.stripe.object(&charge)["payment_intent"].as_str().expect("an id").to_owned();
        let mut bare = shop.stripe.object(&intent);
        (bare["latest_charge"], bare["charges"]) = (Value::Null, Value::Null);
        for answer in [answers_404(), Interception::Replaced(200, bare)] {
            interceptor.intercept(usize::MAX, "GET", &format!("/v1/payment_intents/{intent}"), answer);
            shop.comparison_of(&customer).await;
            assert_eq!(shop.app.balance(&customer).await, 2);
            interceptor.clear();
        }
        shop.compare_customer(&customer).await;
        shop.balance_becomes(&customer, 3).await;
        shop.close().await;
    }

    async fn what_stripe_does_not_find_is_not_refunded_until_it_does(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        for path in [format!("/v1/invoices/{payment}"), format!("/v1/charges/{}", shop.charge())] {
            interceptor.intercept(1, "GET", &path, answers_404());
            shop.planned(&payment).await.expect_problem(422, "payment_not_refundable");
        }
        assert_eq!(shop.planned(&payment).await.expect(200)["credits_to_go"], PERIOD);
        shop.close().await;
    }

    async fn a_refund_is_planned_by_its_charge_alone_while_stripe_does_not_find_the_invoice(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let payment = shop.payment_of(&customer).await["id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/invoices/{payment}");
        interceptor.intercept(1, "GET", &path, Interception::None);
        interceptor.intercept(usize::MAX, "GET", &path, answers_404());
        let planned = shop.planned(&payment).await.expect(200);
        let shown = (&planned["refundable_minor"], &planned["amount_minor"], &planned["credits_to_go"]);
        assert_eq!(shown, (&json!(MONTH), &json!(MONTH), &json!(0)), "{planned}");
        interceptor.clear();
        assert_eq!(shop.planned(&payment).await.expect(200)["credits_to_go"], PERIOD);
        shop.close().await;
    }

    async fn a_payment_that_never_reached_stripe_is_not_refunded(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let refused = Interception::Blocked(400, error("invalid_request_error", "parameter_invalid"));
        interceptor.intercept(1, "POST", "/v1/payment_intents", refused);
        let answer = shop.app.spend(&customer, 1, "unit").await;
        assert_ne!(answer.status, 200, "{}", answer.body);
        interceptor.until_all_intercepted().await;
        let payment = shop.payment_of(&customer).await;
        assert_eq!(payment["payment_intent"], Value::Null, "{payment}");
        shop.planned(payment["id"].as_str().expect("an id")).await.expect_problem(422, "payment_not_refundable");
        assert_eq!(shop.net_paid(&customer).await, 0);
        shop.close().await;
    }

    async fn a_refund_takes_its_share_although_stripe_does_not_list_it(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let charge = shop.charge();
        shop.stripe.refund(&charge, Some(MONTH / 2)).expect("a refund");
        interceptor.intercept(1, "GET", "/v1/refunds", answers_404());
        shop.deliver_event("charge.refunded", &shop.stripe.object(&charge)).await;
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        shop.close().await;
    }
}
