//! Payment Links, pricing tables and Checkout without a customer make a Stripe customer of their own. What names our
//! customer there makes it ours all the same, whichever event comes first.

mod payer;

use super::*;

/// The events of such a purchase that lead to our customer, in the order in which Stripe sends them.
const TYPES: [&str; 7] = [
    "payment_method.attached",
    "payment_intent.succeeded",
    "invoice_payment.paid",
    "invoice.paid",
    "invoice.payment_succeeded",
    "customer.subscription.created",
    "checkout.session.completed",
];

/// How a purchase names our customer. Whoever pays by a Payment Link can write its `client_reference_id`; metadata is
/// the company's.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// By the `client_reference_id`, with the customer's own e-mail address.
    Reference,
    /// By the `client_reference_id`, with a stranger's e-mail address.
    ReferenceByStranger,
    /// By metadata of the Checkout session.
    Session,
    /// By metadata of the subscription.
    Subscription,
}

impl Shop {
    /// A shop whose failed events are tried again long enough for all others to arrive.
    pub(in crate::money) async fn patient(backend: Backend) -> Self {
        Self::open_with(backend, |config| config.jobs.backoff_factor = 2).await
    }

    /// Somebody buys Pro without naming a Stripe customer. Returns the new Stripe customer and the events.
    pub(in crate::money) async fn bought(&self, naming: &[(&str, &str)]) -> (String, Vec<Value>) {
        let price = self.pro_price().await;
        let mut form = vec![
            ("mode", "subscription"),
            ("line_items[0][price]", stripe::id(&price)),
            ("line_items[0][quantity]", "1"),
            ("success_url", "https://example.com/"),
        ];
        form.extend(naming);
        let session = self.ask_stripe("POST", "/v1/checkout/sessions", &form).await;
        let before = self.stripe.list("event").len();
        let paid = self.stripe.complete_checkout(stripe::id(&session), "pm_card_visa").expect("it is paid");
        let mut events = self.stripe.list("event").split_off(before);
        events.retain(|event| TYPES.iter().any(|wanted| event["type"] == *wanted));
        assert_eq!(events.len(), TYPES.len(), "{events:#?}");
        (paid["customer"].as_str().expect("a Stripe customer").to_owned(), events)
    }

    /// A new customer buys Pro, and the events arrive in their order after `order` changed it. Returns the customer,
    /// its first Stripe customer, and the one that paid.
    async fn buys(&self, naming: Naming, order: impl FnOnce(&mut Vec<Value>)) -> (TestCustomer, String, String) {
        let customer = self.app.onboard().await;
        let first = self.stripe_customer(&customer).await;
        let own = self.customer(&customer).await["email"].as_str().expect("an address").to_owned();
        let field = match naming {
            Naming::Reference | Naming::ReferenceByStranger => "client_reference_id",
            Naming::Session => "metadata[bursar_customer_id]",
            Naming::Subscription => "subscription_data[metadata][bursar_customer_id]",
        };
        let email = if matches!(naming, Naming::Reference) { own.as_str() } else { "else@example.com" };
        let (payer, mut events) = self.bought(&[(field, customer.id.as_str()), ("customer_email", email)]).await;
        order(&mut events);
        for event in &events {
            self.app.deliver(event).await.expect(200);
        }
        for event in &events {
            self.app.event_in_state(stripe::id(event), "processed").await;
        }
        assert_eq!(self.app.balance(&customer).await, SIGNUP + PERIOD, "{naming:?}");
        assert_eq!(self.status_and_plan(&customer).await, ("active".to_owned(), "pro".to_owned()), "{naming:?}");
        (customer, first, payer)
    }

    /// The purchase counts in every order of its events, and the customer is linked to the Stripe customer that paid
    /// if `is_linked`, else to its first one.
    async fn counts_in_every_order(&self, naming: Naming, is_linked: bool) {
        for (at, first_type) in TYPES.iter().enumerate() {
            let (customer, first, payer) = self.buys(naming, |events| events.rotate_left(at)).await;
            let linked = if is_linked { payer } else { first };
            assert_eq!(self.stripe_customer(&customer).await, linked, "{naming:?}, {first_type} first");
        }
        let (customer, ..) = self.buys(naming, |events| events.reverse()).await;
        // The next month names nobody but the Stripe customer.
        let mut renewal = self.next_month();
        renewal["parent"]["subscription_details"]["metadata"] = json!({});
        renewal["lines"]["data"][0]["metadata"] = json!({});
        self.deliver_event("invoice.paid", &renewal).await;
        assert_eq!(self.app.balance(&customer).await, SIGNUP + 2 * PERIOD, "{naming:?}");
    }
}

with_backend! {
    async fn a_payment_link_with_the_customers_address_counts_and_leaves_the_link(backend: Backend) {
        let shop = Shop::patient(backend).await;
        shop.counts_in_every_order(Naming::Reference, false).await;
        shop.close().await;
    }

    async fn a_payment_link_with_a_strangers_address_counts_and_leaves_the_link(backend: Backend) {
        let shop = Shop::patient(backend).await;
        shop.counts_in_every_order(Naming::ReferenceByStranger, false).await;
        shop.close().await;
    }

    async fn a_checkout_named_by_its_metadata_counts_and_links_its_stripe_customer(backend: Backend) {
        let shop = Shop::patient(backend).await;
        shop.counts_in_every_order(Naming::Session, true).await;
        shop.close().await;
    }

    async fn a_checkout_named_by_its_subscription_counts_and_links_its_stripe_customer(backend: Backend) {
        let shop = Shop::patient(backend).await;
        shop.counts_in_every_order(Naming::Subscription, true).await;
        shop.close().await;
    }

    async fn the_card_of_whoever_pays_by_a_link_does_not_get_under_the_customers_account(backend: Backend) {
        let shop = Shop::patient(backend).await;
        for at in [0, 1, TYPES.len() - 1] {
            let (customer, ..) = shop.buys(Naming::ReferenceByStranger, |events| events.rotate_left(at)).await;
            let methods = shop.app.call(&customer, "GET", "/api/v1/payment-methods", "", None).await.expect(200);
            assert_eq!(methods["data"], json!([]), "{} first", TYPES[at]);
        }
        shop.close().await;
    }

    async fn a_purchase_whose_events_arrive_by_themselves_counts_once(backend: Backend) {
        let shop = Shop::start(backend, |config| config.jobs.backoff_factor = 2).await;
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let naming = ("subscription_data[metadata][bursar_customer_id]", customer.id.as_str());
        let (payer, _) = shop.bought(&[naming]).await;
        shop.processes_all_events().await;
        assert_eq!(shop.plan(&customer).await, "pro");
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + PERIOD);
        assert_eq!(shop.stripe_customer(&customer).await, payer);
        let invoices = shop.app.call(&customer, "GET", "/api/v1/invoices", "", None).await.expect(200);
        assert_eq!(invoices["data"][0]["amount_paid_minor"], MONTH);
        shop.close().await;
    }
}

with_shop! {
    async fn a_customer_that_uses_its_stripe_customer_keeps_it_and_gets_the_credits(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let first = shop.stripe_customer(&customer).await;
        let (_, events) = shop.bought(&[("subscription_data[metadata][bursar_customer_id]", &customer.id)]).await;
        for event in &events {
            shop.app.deliver(event).await.expect(200);
            shop.app.event_in_state(stripe::id(event), "processed").await;
        }
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), PERIOD));
        assert_eq!(shop.stripe_customer(&customer).await, first);
        // Its card still pays.
        shop.app.spend(&customer, PERIOD + 1, "all-and-one-more").await.expect(200);
        assert_eq!(shop.net_paid(&customer).await, 1_500);
    }

    async fn a_purchase_that_names_nobody_counts_once_its_stripe_customer_names_ours(shop: &Shop) {
        let customer = shop.app.onboard().await;
        shop.stripe_customer(&customer).await;
        let (payer, events) = shop.bought(&[]).await;
        let paid = events.iter().find(|event| event["type"] == "invoice.paid").expect("an event");
        shop.app.deliver(paid).await.expect(200);
        let dead = shop.app.event_in_state(stripe::id(paid), "dead").await;
        assert!(dead["event"]["last_error"].as_str().expect("a reason").contains("customer_unknown"), "{dead}");
        let path = format!("/v1/customers/{payer}");
        shop.ask_stripe("POST", &path, &[("metadata[bursar_customer_id]", customer.id.as_str())]).await;
        replay_event(&shop.app, stripe::id(paid), "processed").await;
        assert_eq!(shop.plan(&customer).await, "pro");
        assert_eq!(shop.app.balance(&customer).await, SIGNUP + PERIOD);
        assert_eq!(shop.stripe_customer(&customer).await, payer);
    }
}

with_shop! {
    async fn one_more_stripe_customer_of_a_customer_is_no_difference_from_stripe(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let (payer, events) = shop.bought(&[("subscription_data[metadata][bursar_customer_id]", &customer.id)]).await;
        for event in &events {
            shop.app.deliver(event).await.expect(200);
            shop.app.event_in_state(stripe::id(event), "processed").await;
        }
        let names_ours = [("metadata[bursar_customer_id]", customer.id.as_str())];
        shop.ask_stripe("POST", &format!("/v1/customers/{payer}"), &names_ours).await;
        let run = crate::reconcile::reconcile(&shop.app, false).await;
        let found = crate::reconcile::found(&run);
        assert!(found.iter().all(|(class, ..)| !class.contains("customer")), "{run:#}");
    }
}
