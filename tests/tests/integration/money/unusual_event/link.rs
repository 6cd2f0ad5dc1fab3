//! Events of connected accounts, and of Stripe customers that become ours by them.

use super::*;
use crate::scene::SIGNUP;

impl Shop {
    /// A failed renewal of a subscription that names our customer, at a Stripe customer that is not linked yet.
    fn failed_elsewhere(customer: &TestCustomer) -> Value {
        let mut invoice = stripe::pro_invoice("cus_else", Some(&customer.id));
        (invoice["status"], invoice["amount_paid"]) = (json!("open"), json!(0));
        invoice
    }

    /// The templates of the customer's mails about payments.
    async fn mails_about_payments(&self) -> Vec<String> {
        texts(&self.app, "SELECT unique_key FROM jobs WHERE unique_key LIKE 'mail:payment_failed:%'").await
    }
}

with_shop! {
    async fn an_event_of_a_connected_account_changes_nothing_even_if_support_replays_it(shop: &Shop) {
        let customer = shop.app.onboard().await;
        let payer = shop.ask_stripe("POST", "/v1/customers", &[("email", "else@example.com")]).await;
        let invoice = stripe::pro_invoice(stripe::id(&payer), Some(&customer.id));
        let mut event = stripe::event("invoice.paid", &invoice);
        event["account"] = json!("acct_1");
        shop.app.deliver(&event).await.expect(200);
        shop.app.event_in_state(stripe::id(&event), "processed").await;
        replay_event(&shop.app, stripe::id(&event), "processed").await;
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("trial".to_owned(), SIGNUP));
        // The same event of our own account counts.
        let mut own = event.clone();
        (own["id"], own["account"]) = (json!("evt_own"), Value::Null);
        shop.app.deliver(&own).await.expect(200);
        shop.app.event_in_state("evt_own", "processed").await;
        assert_eq!(shop.plan(&customer).await, "pro");
    }

    async fn a_failed_renewal_at_a_stripe_customer_that_is_new_here_is_told_to_its_customer(shop: &Shop) {
        let customer = shop.pro().await;
        let invoice = Shop::failed_elsewhere(&customer);
        for _ in 0..2 {
            shop.deliver_event("invoice.payment_failed", &invoice).await;
        }
        let mails = shop.mails_about_payments().await;
        assert!(matches!(&mails[..], [one] if one.contains(stripe::id(&invoice))), "{mails:?}");
    }
}

with_backend! {
    async fn a_new_links_payment_methods_are_there_although_stripe_could_not_tell_them_at_first(backend: Backend) {
        let (shop, interceptor) = Shop::intercepted(backend).await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let form = [("email", "else@example.com")];
        let payer = stripe::id(&shop.ask_stripe("POST", "/v1/customers", &form).await).to_owned();
        shop.paid_elsewhere(&payer, "500", &[]).await;
        let busy = Interception::Blocked(429, error("invalid_request_error", "rate_limit"));
        interceptor.intercept(1, "GET", "/v1/payment_methods", busy);
        shop.deliver_event("invoice.paid", &stripe::pro_invoice(&payer, Some(&customer.id))).await;
        assert_eq!(shop.stripe_customer(&customer).await, payer);
        let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
        assert_eq!(methods["data"].as_array().map(Vec::len), Some(1), "{methods}");
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + PERIOD, "the payment counts once");
        interceptor.until_all_intercepted().await;
        shop.close().await;
    }
}
