//! Credits that a claw back took from what another payment bought, or that came back: in the end each payment's credits
//! go with its own money.

use super::*;
use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::domain::catalogue::Pack;
use bursar_engine::key::PackKey;
use bursar_tests::catalogue::catalogue_with;

/// The price of the pack, in minor units, and its credits.
const PACK: (i64, i64) = (20_000, 100);

impl Shop {
    /// A shop that sells a pack whose credits end before those of the subscription, so that they are spent first.
    async fn with_pack(backend: Backend) -> Self {
        Self::open_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| {
                catalogue.packs = vec![Pack {
                    key: PackKey::trusted("hundred"),
                    name: "100 fixes".to_owned(),
                    credits: Credits(PACK.1),
                    amount: MoneyMinor(PACK.0),
                    currency: catalogue.currency.clone(),
                    lifetime_days: Some(90),
                    offered: true,
                }];
            });
        })
        .await
    }

    async fn buy_pack(&self, customer: &TestCustomer) {
        let body = json!({ "pack": "hundred" });
        self.app.call(customer, "POST", "/api/v1/credits/purchases", "pack", Some(&body)).await.expect(201);
    }

    /// The payment of this amount, and its charge.
    async fn paid(&self, customer: &TestCustomer, amount: i64) -> (String, String) {
        let payments = self.payments(&format!("customer={}", customer.id)).await;
        let payment = payments.iter().find(|payment| payment["amount_minor"] == amount).expect("a payment");
        let charges = self.stripe.list("charge");
        let charge = charges.iter().find(|charge| charge["amount"] == amount).expect("a charge");
        (payment["id"].as_str().expect("an id").to_owned(), stripe::id(charge).to_owned())
    }

    async fn disputed(&self, charge: &str) -> Value {
        let dispute = self.stripe.open_dispute(charge, None, "fraudulent").expect("a dispute");
        self.deliver_event("charge.dispute.funds_withdrawn", &dispute).await;
        dispute
    }

    async fn win(&self, dispute: &Value) {
        let won = self.stripe.close_dispute(stripe::id(dispute), true).expect("it is open");
        self.deliver_event("charge.dispute.closed", &won).await;
    }

    async fn refund_unspent(&self, key: &str, payment: &str) -> Value {
        self.refund_under(key, payment, &json!({ "credits": "unspent", "reason": "all of it" })).await.expect(200)
    }
}

with_backend! {
    async fn credits_that_came_back_go_first_with_the_money_of_their_payment(backend: Backend) {
        let shop = Shop::with_pack(backend).await;
        let customer = shop.pro().await;
        shop.buy_pack(&customer).await;
        let ((month, _), (pack, _)) = (shop.paid(&customer, MONTH).await, shop.paid(&customer, PACK.0).await);
        let made = shop.refund_unspent("once", &month).await;
        shop.balance_becomes(&customer, PACK.1).await;
        let failed = shop.stripe.fail_refund(made["refund"].as_str().expect("a refund")).expect("it fails");
        shop.deliver_event("refund.failed", &failed).await;
        shop.balance_becomes(&customer, PACK.1 + PERIOD).await;
        shop.refund_unspent("again", &month).await;
        shop.balance_becomes(&customer, PACK.1).await;
        shop.refund_unspent("pack", &pack).await;
        shop.balance_becomes(&customer, 0).await;
        shop.close().await;
    }

    async fn credits_that_a_dispute_took_of_another_payment_go_with_the_money_of_that_once_it_is_won(backend: Backend) {
        let shop = Shop::with_pack(backend).await;
        let customer = shop.pro().await;
        shop.buy_pack(&customer).await;
        let ((month, _), (_, charge)) = (shop.paid(&customer, MONTH).await, shop.paid(&customer, PACK.0).await);
        shop.app.spend(&customer, 50, "work").await.expect(200);
        let dispute = shop.disputed(&charge).await;
        shop.balance_becomes(&customer, PERIOD - 50).await;
        shop.win(&dispute).await;
        shop.balance_becomes(&customer, PERIOD + PACK.1 - 50).await;
        shop.refund_unspent("month", &month).await;
        shop.balance_becomes(&customer, PACK.1 - 50).await;
        shop.close().await;
    }

    async fn credits_that_paid_the_debt_of_a_dispute_go_with_their_own_money_whenever_it_is_won(backend: Backend) {
        for is_won_first in [true, false] {
            let shop = Shop::with_pack(backend).await;
            let customer = shop.without_credits("pm_card_visa").await;
            shop.buy_pack(&customer).await;
            shop.app.spend(&customer, PACK.1, "work").await.expect(200);
            let (_, charge) = shop.paid(&customer, PACK.0).await;
            let dispute = shop.disputed(&charge).await;
            shop.balance_becomes(&customer, -PACK.1).await;
            shop.subscribe(&customer, "pro").await.expect(201);
            shop.balance_becomes(&customer, PERIOD - PACK.1).await;
            let (month, _) = shop.paid(&customer, MONTH).await;
            if is_won_first {
                shop.win(&dispute).await;
                shop.balance_becomes(&customer, PERIOD).await;
                shop.refund_unspent("month", &month).await;
            } else {
                shop.refund_unspent("month", &month).await;
                shop.balance_becomes(&customer, PERIOD - PACK.1).await;
                shop.win(&dispute).await;
            }
            shop.balance_becomes(&customer, 0).await;
            shop.close().await;
        }
    }
}
