//! A server that stops in the middle of a charge.

use super::between::Instead;
use super::*;
use crate::scene::{PERIOD, on_both};

const PAY: &str = "/v1/payment_intents";

impl Shop {
    /// Sends a request in the background; gives the status that it is answered with, if it is.
    fn send(&self, customer: &TestCustomer, path: &str, body: &Value) -> tokio::task::JoinHandle<Option<u16>> {
        let request = self.app.client.post(format!("{}{path}", self.app.base)).json(body);
        let request = request.header("x-api-key", &customer.api_key).header("Idempotency-Key", "key");
        tokio::spawn(async move { request.send().await.ok().map(|answer| answer.status().as_u16()) })
    }

    /// The server stops, and starts again.
    async fn restart(self) -> Self {
        let Self { app, stripe } = self;
        let (config, folder) = app.halt().await;
        Self { app: TestApp::start_on(config, folder).await, stripe }
    }

    /// Waits until the customer's last operation has succeeded, without its being asked for again.
    async fn settles(&self, customer: &TestCustomer) {
        wait::until("the operation has succeeded", || async {
            let page = self.app.call(customer, "GET", "/api/v1/operations", "", None).await.expect(200);
            (page["data"][0]["state"] == "succeeded").then_some(())
        })
        .await;
    }
}

on_both! {
    async fn a_charge_whose_server_stops_before_it_hears_of_it_is_settled_once_by_the_next(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "POST", PAY, Instead::Silence);
        let asked = shop.send(&customer, "/api/v1/usage", &json!({ "units": 1 }));
        wait::until("Stripe has charged", || async { (shop.money(&customer).await == UNIT).then_some(()) }).await;
        let shop = shop.restart().await;
        asked.await.expect("it was cut off or answered");
        shop.settles(&customer).await;
        assert_eq!(shop.money(&customer).await, UNIT);
        assert_eq!(shop.app.balance(&customer).await, 0);
        let again = shop.app.spend(&customer, 1, "key").await.expect(200);
        assert_eq!(again["replayed"], true);
        assert_eq!(shop.stripe.list("payment_intent").len(), 1);
        shop.close().await;
    }

    async fn who_waits_for_stripe_when_the_server_stops_is_told_so_and_not_cut_off(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        // For longer than requests have when the server stops.
        between.next(usize::MAX, "POST", PAY, Instead::Silence);
        let asked = shop.send(&customer, "/api/v1/usage", &json!({ "units": 1 }));
        wait::until("Stripe has charged", || async { (shop.money(&customer).await == UNIT).then_some(()) }).await;
        let shop = shop.restart().await;
        assert_eq!(asked.await.expect("it ended"), Some(202));
        between.clear();
        shop.settles(&customer).await;
        assert_eq!(shop.money(&customer).await, UNIT);
        shop.close().await;
    }

    async fn a_month_of_pro_whose_server_stops_before_it_hears_of_it_is_settled_once_by_the_next(backend: Backend) {
        let (shop, between) = Shop::behind(backend).await;
        let customer = shop.broke("pm_card_visa").await;
        between.next(1, "POST", "/v1/subscriptions", Instead::Silence);
        let asked = shop.send(&customer, SUBSCRIPTION, &json!({}));
        wait::until("Stripe has charged", || async { (shop.money(&customer).await == MONTH).then_some(()) }).await;
        let shop = shop.restart().await;
        asked.await.expect("it was cut off or answered");
        shop.settles(&customer).await;
        assert_eq!(shop.money(&customer).await, MONTH);
        assert_eq!((shop.plan(&customer).await, shop.app.balance(&customer).await), ("pro".to_owned(), PERIOD));
        assert_eq!(shop.stripe.list("subscription").len(), 1);
        shop.close().await;
    }
}
