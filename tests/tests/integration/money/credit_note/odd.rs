//! Credit notes of which Stripe does not say or does not have everything.

use super::super::interceptor::Interception;
use super::super::unusual_answer::answers_404;
use super::*;
use crate::scene::with_backend;

impl Shop {
    /// Delivers the event of a credit note of whose invoice no charge is found at first, and waits until all is
    /// processed: the review of the invoice finds the charge, and has it reviewed in its own stream.
    async fn announce_without_charge(&self, note: &Value) {
        let review = self.deliver_note("credit_note.created", note).await;
        for id in [review.clone(), format!("{review}:review")] {
            self.app.event_in_state(&id, "processed").await;
        }
    }
}

with_shop! {
    async fn a_credit_note_that_names_no_customer_takes_its_share_by_its_invoice(shop: &Shop) {
        let customer = shop.pro().await;
        let mut note = shop.credit(&shop.latest_invoice(), &[("credit_amount", HALF)]).await;
        note["customer"] = Value::Null;
        shop.announce("credit_note.created", &note).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
    }

    async fn a_review_of_an_invoice_that_is_not_told_or_not_there_or_nobodys_changes_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let stranger = shop.ask_stripe("POST", "/v1/customers", &[("email", "else@example.com")]).await;
        let form = [("customer", stripe::id(&stranger))];
        let nobodys = shop.ask_stripe("POST", "/v1/invoices", &form).await;
        for id in [Value::Null, json!("in_unknown"), nobodys["id"].clone()] {
            shop.deliver_event("charge.refunded", &json!({ "id": id, "object": "invoice" })).await;
        }
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }
}

with_backend! {
    async fn a_credit_note_takes_its_share_although_stripe_does_not_find_the_charge(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let note = shop.credit(&shop.latest_invoice(), &[("credit_amount", HALF)]).await;
        interceptor.intercept(1, "GET", "/v1/charges/*", answers_404());
        shop.announce_without_charge(&note).await;
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        shop.close().await;
    }

    async fn a_credit_note_takes_its_share_while_stripe_finds_none_of_the_charges(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let note = shop.credit(&shop.latest_invoice(), &[("credit_amount", HALF)]).await;
        interceptor.intercept(usize::MAX, "GET", "/v1/charges/*", answers_404());
        shop.announce("credit_note.created", &note).await;
        interceptor.until_any_intercepted().await;
        interceptor.clear();
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        shop.close().await;
    }

    async fn a_credit_note_takes_its_share_of_whoever_paid_an_invoice_that_names_nobody(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let invoice = shop.latest_invoice();
        let mut note = shop.credit(&invoice, &[("credit_amount", HALF)]).await;
        note["customer"] = Value::Null;
        let path = format!("/v1/invoices/{invoice}");
        let mut nameless = shop.ask_stripe("GET", &format!("{path}?expand[]=payments"), &[]).await;
        (nameless["customer"], nameless["parent"], nameless["metadata"]) = (Value::Null, Value::Null, json!({}));
        (nameless["subscription"], nameless["subscription_details"]) = (Value::Null, Value::Null);
        for line in nameless["lines"]["data"].as_array_mut().expect("lines") {
            (line["parent"], line["subscription"], line["metadata"]) = (Value::Null, Value::Null, json!({}));
        }
        interceptor.intercept(1, "GET", &path, Interception::Replaced(200, nameless));
        shop.announce_without_charge(&note).await;
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        shop.close().await;
    }

    async fn credit_notes_that_stripe_does_not_find_take_nothing_until_it_does(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let note = shop.credit(&shop.latest_invoice(), &[("credit_amount", HALF)]).await;
        interceptor.intercept(1, "GET", "/v1/credit_notes", answers_404());
        shop.announce("credit_note.created", &note).await;
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        shop.announce("credit_note.updated", &note).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD / 2);
        shop.close().await;
    }

    async fn a_refund_takes_the_credits_of_an_invoice_whose_lines_no_longer_tell_what_it_sold(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.pro().await;
        let (charge, invoice) = (shop.charge_of_month(), shop.latest_invoice());
        shop.stripe.refund(&charge, None).expect("a refund");
        let path = format!("/v1/invoices/{invoice}");
        let mut nameless = shop.ask_stripe("GET", &format!("{path}?expand[]=payments"), &[]).await;
        for line in nameless["lines"]["data"].as_array_mut().expect("lines") {
            (line["metadata"], line["price"], line["pricing"]) = (json!({}), Value::Null, Value::Null);
        }
        nameless["parent"]["subscription_details"]["metadata"] = json!({});
        interceptor.intercept(1, "GET", &path, Interception::Replaced(200, nameless));
        shop.deliver_event("charge.refunded", &shop.stripe.object(&charge)).await;
        interceptor.until_all_intercepted().await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.close().await;
    }
}
