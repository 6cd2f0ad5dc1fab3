//! The credits for a first payment method go by mailbox and by card.

use super::*;
use bursar_tests::unique::unique;

impl Shop {
    /// A customer that signed up with this address.
    async fn onboard_as(&self, email: &str) -> TestCustomer {
        let body = json!({ "email": email, "name": "Ada", "source": "direct" });
        let made = self.app.request("POST", "/api/v1/customers/onboard", &[], Some(&body)).await.expect(201);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        TestCustomer { id: text(&made["customer"]["id"]), api_key: text(&made["api_key"]) }
    }
}

with_backend! {
    async fn a_card_brings_its_bonus_once_whoever_adds_it(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.credits.bonus_once_per_card = true).await;
        let customers = [shop.app.onboard().await, shop.app.onboard().await, shop.app.onboard().await];
        join_all(customers.iter().map(|customer| shop.attach_until_done(customer, "pm_card_visa"))).await;
        let mut balances = Vec::new();
        for customer in &customers {
            balances.push(shop.app.balance(customer).await);
        }
        balances.sort_unstable();
        assert_eq!(balances, [5, 5, 10], "also when they add it at the same moment");
        for customer in &customers {
            shop.attach(customer, "pm_card_mastercard", "another").await.expect(201);
        }
        let mut sum = 0;
        for customer in &customers {
            sum += shop.app.balance(customer).await;
        }
        assert_eq!(sum, 25, "another card brings one bonus more, and none to who had one");
        shop.close().await;
    }
}

with_shop! {
    async fn a_mailbox_gets_the_bonus_once_under_all_its_addresses(shop: &Shop) {
        let name = unique().to_lowercase();
        let first = shop.onboard_as(&format!("{name}@example.com")).await;
        let tagged = shop.onboard_as(&format!("{name}+two@example.com")).await;
        shop.attach_until_done(&first, "pm_card_visa").await;
        shop.attach_until_done(&tagged, "pm_card_mastercard").await;
        assert_eq!((shop.app.balance(&first).await, shop.app.balance(&tagged).await), (10, 0));
    }
}
