//! Failures 7 and 11 (see `failures.rs`): every paid month of Pro grants credits, whatever the invoice's format. Other
//! invoices grant none.

use super::*;

/// Stripe API versions before and after each move of an invoice field, and the newest version.
const VERSIONS: [&str; 9] = [
    "2020-08-27",
    "2022-11-15",
    "2024-06-20",
    "2025-02-24.acacia",
    "2025-03-31.basil",
    "2025-09-30.clover",
    "2025-12-15.clover",
    "2026-05-27.dahlia",
    "2026-10-28.endive",
];

/// The invoice in the format before 2025-03-31.basil.
fn before_basil(invoice: &Value) -> Value {
    let mut old = invoice.clone();
    let subscription = invoice["parent"]["subscription_details"]["subscription"].clone();
    for line in old["lines"]["data"].as_array_mut().expect("lines") {
        let id = line["pricing"]["price_details"]["price"].clone();
        line["price"] =
            json!({ "id": id, "object": "price", "lookup_key": "pro_monthly", "metadata": { "plan": "pro" } });
        line["type"] = "subscription".into();
        line["proration"] = false.into();
        line["subscription"] = subscription.clone();
        take_away(line, &["pricing", "parent"]);
    }
    old["subscription"] = subscription;
    old["paid"] = true.into();
    take_away(&mut old, &["parent", "payments", "confirmation_secret"]);
    old
}

/// The same for a subscription with flexible billing.
fn before_basil_and_flexible(invoice: &Value) -> Value {
    let mut old = before_basil(invoice);
    old["subscription"] = Value::Null;
    old
}

/// The invoice with its whole price, as since 2025-12-15.clover.
fn with_its_price(invoice: &Value) -> Value {
    let mut new = invoice.clone();
    for line in new["lines"]["data"].as_array_mut().expect("lines") {
        let id = line["pricing"]["price_details"]["price"].clone();
        line["pricing"]["price_details"]["price"] = json!({ "id": id, "object": "price", "lookup_key": "pro_monthly" });
    }
    new
}

/// The invoice in an unknown future format, which only Stripe can explain.
fn of_the_future(invoice: &Value) -> Value {
    let mut new = invoice.clone();
    take_away(&mut new, &["parent", "payments", "lines", "amount_paid", "billing_reason"]);
    new
}

with_shop! {
    async fn failure_7_a_renewal_with_only_a_price_id_is_known_by_that_price(shop: &Shop) {
        let customer = shop.pro().await;
        let mut renewal = shop.stripe.list("invoice").remove(0);
        renewal["id"] = "in_renewal".into();
        renewal["billing_reason"] = "subscription_cycle".into();
        shop.deliver_event("invoice.paid", &renewal).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn failure_7_a_renewal_grants_in_every_invoice_format(shop: &Shop) {
        let customer = shop.pro().await;
        let shapes = [before_basil, before_basil_and_flexible, with_its_price, of_the_future];
        for (month, shape) in (2..).zip(shapes) {
            let renewal = shop.next_month();
            shop.deliver_event("invoice.paid", &shape(&renewal)).await;
            assert_eq!(shop.app.balance(&customer).await, month * PERIOD, "shape {month}");
        }
    }

    async fn failure_7_a_renewal_of_an_unknown_older_subscription_grants(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let (stripe_customer, price) = (shop.stripe_customer(&customer).await, shop.stripe.list("price").remove(0));
        let form = [("customer", stripe_customer.as_str()), ("items[0][price]", stripe::id(&price))];
        shop.ask_stripe("POST", "/v1/subscriptions", &form).await;
        let (first, second) = (shop.next_month(), shop.next_month());
        assert_ne!(first["id"], second["id"]);
        shop.deliver_event("invoice.paid", &first).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        assert_eq!(shop.plan(&customer).await, "pro");
        shop.deliver_event("invoice.paid", &second).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn failure_11_a_change_within_the_month_grants_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let subscription = shop.subscription();
        let item = stripe::id(&subscription["items"]["data"][0]).to_owned();
        let form = [
            ("items[0][id]", item.as_str()),
            ("items[0][quantity]", "2"),
            ("proration_behavior", "always_invoice"),
        ];
        shop.ask_stripe("POST", &format!("/v1/subscriptions/{}", stripe::id(&subscription)), &form).await;
        let invoice = shop.stripe.list("invoice").pop().expect("an invoice");
        assert_eq!((&invoice["billing_reason"], &invoice["status"]), (&json!("subscription_update"), &json!("paid")));
        assert!(invoice["amount_paid"].as_i64() > Some(0), "{invoice}");
        shop.deliver_payment_events(&invoice).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn failure_11_a_zero_amount_renewal_grants_nothing_and_the_next_one_does(shop: &Shop) {
        let customer = shop.pro().await;
        // A credit makes up for the whole month.
        let stripe_customer = shop.stripe_customer(&customer).await;
        let credit = [("customer", stripe_customer.as_str()), ("amount", "-59900"), ("currency", "usd")];
        shop.ask_stripe("POST", "/v1/invoiceitems", &credit).await;
        let free = shop.next_month();
        assert_eq!((&free["status"], &free["total"]), (&json!("paid"), &json!(0)));
        assert_eq!(free["billing_reason"], "subscription_cycle");
        shop.deliver_payment_events(&free).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
        let paid = shop.next_month();
        shop.deliver_payment_events(&paid).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
    }

    async fn failure_11_a_manual_invoice_for_the_price_of_pro_grants_nothing(shop: &Shop) {
        let customer = shop.pro().await;
        let (stripe_customer, price) = (shop.stripe_customer(&customer).await, shop.stripe.list("price").remove(0));
        let form = [("customer", stripe_customer.as_str()), ("pricing[price]", stripe::id(&price))];
        shop.ask_stripe("POST", "/v1/invoiceitems", &form).await;
        let draft = shop.ask_stripe("POST", "/v1/invoices", &form[..1]).await;
        let paid = shop.ask_stripe("POST", &format!("/v1/invoices/{}/pay", stripe::id(&draft)), &[]).await;
        let invoice = shop.stripe.object(stripe::id(&paid));
        assert_eq!((&invoice["billing_reason"], &invoice["amount_paid"]), (&json!("manual"), &json!(MONTH)));
        shop.deliver_payment_events(&invoice).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }
}

with_backend! {
    async fn failure_7_a_renewal_grants_in_every_version_of_the_api(backend: Backend) {
        let shop = Shop::open_with_events(backend).await;
        let customer = shop.pro().await;
        wait::until("all events are delivered", || async { (shop.stripe.deliveries_waiting() == 0).then_some(()) }).await;
        // From here on no other event announces the payment.
        let mut endpoint = NewEndpoint::new(format!("{}/webhooks/stripe", shop.app.base), WEBHOOK_SECRETS[0]);
        endpoint.enabled_events = vec!["invoice.paid".to_owned()];
        shop.stripe.add_endpoint(&endpoint).expect("an endpoint");
        for (month, version) in (2..).zip(VERSIONS) {
            shop.stripe.set_policy(Policy { api_version: Some(version.to_owned()), ..Policy::default() });
            shop.next_month();
            wait::until(&format!("the renewal in {version} has granted"), || async {
                (shop.app.balance(&customer).await == month * PERIOD).then_some(())
            })
            .await;
            let events = shop.stripe.list("event");
            let told = events.iter().rev().find(|event| event["type"] == "invoice.paid").expect("an event");
            assert_eq!(shop.app.event(stripe::id(told)).await["payload"]["api_version"], version);
        }
        shop.close().await;
    }
}
