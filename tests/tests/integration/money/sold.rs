//! What was bought: prices beside that of Pro, prices that change, and other business in the same Stripe account.

mod add_on;
mod change;
mod checkout;
mod decision;
mod given_back;
mod history;
mod interrupted;
mod invoice;
mod late;
mod left;
mod link;
pub(in crate::money) mod other_business;
mod plan;
mod previews;
mod refund;
mod schedule;
mod size;
mod switch;
mod tickets;
mod unknown_price;

use super::*;
use crate::scene::{PERIOD, SIGNUP, events, replay_event, with_backend};
use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::domain::catalogue::{
    Catalogue, GrantSchedule, Interval, IntervalUnit, Plan, Price, Rollover, SharedCatalogue,
};
use bursar_engine::key::{PlanKey, PriceKey};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The price of Pro, with another key and these changes.
fn priced(key: &str, change: impl FnOnce(&mut Price)) -> Price {
    let pro = Catalogue::built_in().prices[0].clone();
    let mut price = Price { key: PriceKey::trusted(key), lookup_key: key.to_owned(), ..pro };
    change(&mut price);
    price
}

/// A month of Team: 250 credits for $1,999.00.
pub(in crate::money) fn team_monthly() -> Price {
    priced("team_monthly", |price| {
        price.plan = PlanKey::trusted("team");
        (price.amount, price.credits) = (MoneyMinor(199_900), Credits(250));
    })
}

/// A year of Pro: 720 credits for $5,990.00.
fn pro_yearly(grant: GrantSchedule) -> Price {
    priced("pro_yearly", |price| {
        price.every = Interval { count: 1, unit: IntervalUnit::Year };
        (price.amount, price.credits, price.grant) = (MoneyMinor(599_000), Credits(720), grant);
    })
}

impl Shop {
    /// A shop that also sells these prices, each of which Stripe has. Its best plan is Team, where a unit costs $12.00
    /// and which is followed by Trial. Its sandbox delivers no events.
    pub(in crate::money) async fn selling(backend: Backend, prices: &[Price]) -> Self {
        Self::selling_with(backend, prices, |_| {}).await
    }

    /// Like [`Shop::selling`], with changed settings.
    async fn selling_with(backend: Backend, prices: &[Price], change: impl FnOnce(&mut Config)) -> Self {
        let shop = Self::open_with(backend, |config| {
            config.catalogue = Self::catalogue_with_team(prices);
            change(config);
        })
        .await;
        shop.make_prices(prices).await;
        shop
    }

    /// The built-in catalogue with the plan Team and these prices.
    fn catalogue_with_team(prices: &[Price]) -> SharedCatalogue {
        catalogue_with(|catalogue| {
            catalogue.plans.push(Plan {
                key: PlanKey::trusted("team"),
                name: "Team".to_owned(),
                signup_credits: Credits::ZERO,
                payment_method_credits: Credits::ZERO,
                unit_prices: BTreeMap::from([(catalogue.currency.clone(), MoneyMinor(1_200))]),
                unit_step: Credits(1),
                spend_cap_day: None,
                spend_cap_month: None,
                followed_by: Some(PlanKey::trusted("trial")),
            });
            catalogue.prices.extend_from_slice(prices);
        })
    }

    /// Makes prices at Stripe.
    async fn make_prices(&self, prices: &[Price]) {
        for price in prices {
            let (amount, count) = (price.amount.0.to_string(), price.every.count.to_string());
            let form = [
                ("unit_amount", amount.as_str()),
                ("currency", price.currency.as_str()),
                ("recurring[interval]", price.every.unit.as_str()),
                ("recurring[interval_count]", count.as_str()),
                ("product_data[name]", price.plan.as_str()),
                ("lookup_key", price.lookup_key.as_str()),
            ];
            self.ask_stripe("POST", "/v1/prices", &form).await;
        }
    }

    /// Changes the catalogue of the running application.
    fn change_catalogue(&self, change: impl FnOnce(&mut Catalogue)) {
        let shared = &self.app.app.config.catalogue;
        let mut catalogue = Catalogue::clone(&shared.now());
        change(&mut catalogue);
        shared.replace(Arc::new(catalogue));
    }

    async fn subscribe_to(&self, customer: &TestCustomer, key: &str, request: Value) -> Answer {
        self.app.call(customer, "POST", SUBSCRIPTION, key, Some(&request)).await
    }

    /// The price of Pro at Stripe: the one that has its lookup key.
    pub(in crate::money) async fn pro_price(&self) -> Value {
        let found = self.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_monthly", &[]).await;
        found["data"][0].clone()
    }

    /// Makes a monthly price without a lookup key: of a product of its own, or of this one. Returns its id.
    pub(in crate::money) async fn other_price(&self, amount: &str, product: Option<&str>) -> String {
        let of = product.map_or(("product_data[name]", "Another product"), |id| ("product", id));
        let form = [("unit_amount", amount), ("currency", "usd"), ("recurring[interval]", "month"), of];
        stripe::id(&self.ask_stripe("POST", "/v1/prices", &form).await).to_owned()
    }

    /// Makes a subscription at Stripe, without the application.
    pub(in crate::money) async fn subscribe_at_stripe(
        &self,
        stripe_customer: &str,
        price: &str,
        more: &[(&str, &str)],
    ) -> Value {
        let mut form = vec![("customer", stripe_customer), ("items[0][price]", price)];
        form.extend(more);
        self.ask_stripe("POST", "/v1/subscriptions", &form).await
    }

    /// Changes the first item of a subscription at Stripe, without the application.
    pub(in crate::money) async fn change_item(&self, subscription: &Value, change: &[(&str, &str)]) {
        let mut form = vec![("items[0][id]", stripe::id(&subscription["items"]["data"][0]))];
        form.extend(change);
        self.ask_stripe("POST", &format!("/v1/subscriptions/{}", stripe::id(subscription)), &form).await;
    }

    /// Delivers an event about an object and waits until it is dead; returns it and the reason.
    pub(in crate::money) async fn dead_event(&self, event_type: &str, object: &Value) -> (Value, String) {
        let event = stripe::event(event_type, object);
        self.app.deliver(&event).await.expect(200);
        let dead = self.app.event_in_state(stripe::id(&event), "dead").await;
        let reason = dead["event"]["last_error"].as_str().expect("a reason").to_owned();
        (event, reason)
    }

    /// Waits until all events of the sandbox are processed, and asserts that none is dead.
    async fn processes_all_events(&self) {
        wait::until("all events are processed", || async {
            let is_quiet = self.stripe.deliveries_waiting() == 0 && events(&self.app, "state=waiting").await.is_empty();
            is_quiet.then_some(())
        })
        .await;
        let dead = events(&self.app, "state=dead").await;
        assert!(dead.is_empty(), "{dead:#?}");
    }

    /// Lets two months and their invoices pass at Stripe.
    async fn pass_two_months(&self) {
        for _ in 0..2 {
            self.stripe.advance(Duration::from_secs(32 * 24 * 60 * 60)).expect("time passes");
            self.processes_all_events().await;
        }
    }
}
