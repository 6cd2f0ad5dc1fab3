//! Credit notes: what they give back of an invoice takes its share of the credits, and what a refund gives back counts
//! as that refund.

mod odd;

use super::*;
use crate::scene::{PERIOD, events, replay_event};

/// Half of the price of a month.
const HALF: &str = "29950";

impl Shop {
    /// Makes a credit note of an invoice at Stripe.
    async fn credit(&self, invoice: &str, form: &[(&str, &str)]) -> Value {
        let form: Vec<_> = [("invoice", invoice)].into_iter().chain(form.iter().copied()).collect();
        self.ask_stripe("POST", "/v1/credit_notes", &form).await
    }

    async fn void(&self, note: &Value) -> Value {
        self.ask_stripe("POST", &format!("/v1/credit_notes/{}/void", stripe::id(note)), &[]).await
    }

    /// Delivers an event about a credit note, and waits until it and the review that it makes are processed.
    pub(super) async fn announce(&self, event_type: &str, note: &Value) {
        let review = self.deliver_note(event_type, note).await;
        self.app.event_in_state(&review, "processed").await;
    }

    /// Delivers an event about a credit note, and waits until it is processed; returns the id of the review.
    async fn deliver_note(&self, event_type: &str, note: &Value) -> String {
        let event = stripe::event(event_type, note);
        self.app.deliver(&event).await.expect(200);
        self.app.event_in_state(stripe::id(&event), "processed").await;
        format!("{}:review", stripe::id(&event))
    }

    pub(super) fn latest_invoice(&self) -> String {
        self.subscription()["latest_invoice"].as_str().expect("an invoice").to_owned()
    }

    fn charge_of_month(&self) -> String {
        let charges = self.stripe.list("charge");
        stripe::id(charges.iter().rev().find(|charge| charge["paid"] == true).expect("a charge")).to_owned()
    }
}

with_shop! {
    async fn a_credit_note_onto_the_balance_takes_its_share_of_the_credits_once(shop: &Shop) {
        let customer = shop.pro().await;
        let note = shop.credit(&shop.latest_invoice(), &[("credit_amount", HALF)]).await;
        for event_type in ["credit_note.created", "credit_note.created", "credit_note.updated"] {
            shop.announce(event_type, &note).await;
            assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        }
        let also = shop.credit(&shop.latest_invoice(), &[("out_of_band_amount", HALF)]).await;
        shop.announce("credit_note.created", &also).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        assert_eq!(shop.plan(&customer).await, "pro");
    }

    async fn a_credit_note_with_a_refund_takes_the_credits_once_in_either_order(shop: &Shop) {
        for is_note_first in [true, false] {
            let customer = shop.pro().await;
            let subscriptions = shop.stripe.list("subscription");
            let invoice = subscriptions.last().expect("a subscription")["latest_invoice"].as_str().expect("an invoice");
            let charge = shop.charge_of_month();
            let form = [("refund_amount", "20000"), ("credit_amount", "9950")];
            let note = shop.credit(invoice, &form).await;
            for _ in 0..2 {
                if is_note_first {
                    shop.announce("credit_note.created", &note).await;
                }
                shop.announce_refund(&charge).await;
                shop.announce("credit_note.created", &note).await;
                assert_eq!(shop.app.balance(&customer).await, PERIOD / 2, "note first: {is_note_first}");
            }
        }
    }

    async fn a_credit_note_for_a_refund_that_was_made_before_takes_nothing_more(shop: &Shop) {
        let customer = shop.pro().await;
        let charge = shop.charge_of_month();
        let refund = shop.stripe.refund(&charge, Some(29_950)).expect("a refund");
        shop.announce_refund(&charge).await;
        let form = [("refunds[0][refund]", stripe::id(&refund)), ("refunds[0][type]", "refund")];
        let note = shop.credit(&shop.latest_invoice(), &form).await;
        shop.announce("credit_note.created", &note).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        // The bank could not return the money: the credits are there again, whatever the note says.
        let failed = shop.stripe.fail_refund(stripe::id(&refund)).expect("it fails");
        shop.deliver_event("refund.failed", &failed).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn a_voided_credit_note_gives_the_credits_back_however_late_its_first_event_comes(shop: &Shop) {
        let customer = shop.pro().await;
        let note = shop.credit(&shop.latest_invoice(), &[("credit_amount", HALF)]).await;
        shop.announce("credit_note.created", &note).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        let void = shop.void(&note).await;
        assert_eq!(void["status"], "void");
        for (event_type, object) in
            [("credit_note.voided", &void), ("credit_note.voided", &void), ("credit_note.created", &note)]
        {
            shop.announce(event_type, object).await;
            assert_eq!(shop.app.balance(&customer).await, PERIOD, "after {event_type}");
        }
    }

    async fn a_credit_note_that_arrives_before_its_payment_takes_its_share_after_it(shop: &Shop) {
        let customer = shop.pro().await;
        let renewal = shop.next_month();
        let note = shop.credit(stripe::id(&renewal), &[("credit_amount", HALF)]).await;
        let review = shop.deliver_note("credit_note.created", &note).await;
        let dead = shop.app.event_in_state(&review, "dead").await;
        assert!(dead["event"]["last_error"].as_str().expect("a reason").contains("grant_missing"), "{dead}");
        shop.deliver_event("invoice.paid", &renewal).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        replay_event(&shop.app, &review, "processed").await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD + PERIOD / 2);
    }

    async fn a_credit_note_of_an_invoice_that_the_balance_paid_takes_its_share(shop: &Shop) {
        let customer = shop.pro().await;
        let stripe_customer = shop.stripe_customer(&customer).await;
        shop.ask_stripe("POST", &format!("/v1/customers/{stripe_customer}"), &[("balance", "-59900")]).await;
        let renewal = shop.next_month();
        assert_eq!((&renewal["status"], &renewal["amount_paid"]), (&json!("paid"), &json!(0)));
        let note = shop.credit(stripe::id(&renewal), &[("credit_amount", HALF)]).await;
        // No charge is there to share a stream with, and the payment's event need not wait for the note's.
        let review = shop.deliver_note("credit_note.created", &note).await;
        let found = shop.app.event(&review).await;
        assert_eq!(found["event"]["stream"], format!("stripe:{}", stripe::id(&renewal)), "{found}");
        shop.deliver_event("invoice.paid", &renewal).await;
        shop.announce("credit_note.updated", &note).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD + PERIOD / 2);
        shop.announce("credit_note.voided", &shop.void(&note).await).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn a_credit_note_of_other_business_is_processed_without_a_review(shop: &Shop) {
        let customer = shop.pro().await;
        let stranger = shop.ask_stripe("POST", "/v1/customers", &[("email", "else@example.com")]).await;
        let stranger = stripe::id(&stranger);
        let item = [("customer", stranger), ("amount", "700"), ("currency", "usd")];
        shop.ask_stripe("POST", "/v1/invoiceitems", &item).await;
        let form = [("customer", stranger), ("pending_invoice_items_behavior", "include")];
        let invoice = stripe::id(&shop.ask_stripe("POST", "/v1/invoices", &form).await).to_owned();
        shop.ask_stripe("POST", &format!("/v1/invoices/{invoice}/finalize"), &[]).await;
        shop.ask_stripe("POST", &format!("/v1/invoices/{invoice}/pay"), &[("paid_out_of_band", "true")]).await;
        let note = shop.credit(&invoice, &[("out_of_band_amount", "700")]).await;
        shop.deliver_note("credit_note.created", &note).await;
        for invoice in [Value::Null, json!("in_unknown")] {
            let note = json!({ "id": "cn_1", "object": "credit_note", "invoice": invoice });
            shop.deliver_note("credit_note.created", &note).await;
        }
        let reviews = events(&shop.app, "type=credit_note.created").await;
        assert_eq!(reviews.len(), 3, "{reviews:#?}");
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn an_open_invoice_that_a_credit_note_reduces_is_worth_what_is_left(shop: &Shop) {
        let (customer, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        let id = stripe::id(&invoice);
        let note = shop.credit(id, &[("amount", "20000")]).await;
        assert_eq!((&note["type"], &shop.stripe.object(id)["amount_due"]), (&json!("pre_payment"), &json!(39_900)));
        shop.attach(&customer, "pm_card_visa", "good").await.expect(201);
        wait::until("the invoice is paid", || async { (shop.stripe.object(id)["status"] == "paid").then_some(()) }).await;
        shop.deliver_event("invoice.paid", &shop.stripe.object(id)).await;
        shop.announce("credit_note.created", &note).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD, "it is a discount");
        let charge = shop.charge_of_month();
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD, "all that was paid is gone");
    }

    async fn an_open_invoice_that_a_credit_note_cancels_brings_nothing(shop: &Shop) {
        let (customer, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        let id = stripe::id(&invoice);
        let note = shop.credit(id, &[("amount", "59900")]).await;
        let paid = shop.stripe.object(id);
        assert_eq!((&paid["status"], &paid["total"]), (&json!("paid"), &json!(59_900)));
        shop.deliver_event("invoice.paid", &paid).await;
        shop.announce("credit_note.created", &note).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }
}
