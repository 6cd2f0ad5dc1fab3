//! Refunds and disputes.

use super::*;

impl Shop {
    /// A customer that bought a unit and was given one more credit, so that a clawback is visible; and the charge.
    pub(super) async fn customer_with_purchase(&self) -> (TestCustomer, String) {
        let customer = self.without_credits("pm_card_visa").await;
        self.app.spend(&customer, 1, "unit").await.expect(200);
        self.app.adjust(&customer, 3).await.expect(200);
        let charge = self.stripe.list("charge").remove(0);
        (customer, charge["id"].as_str().expect("an id").to_owned())
    }

    pub(super) async fn announce_refund(&self, charge: &str) {
        self.deliver_event("charge.refunded", &self.stripe.object(charge)).await;
        let refund = json!({ "id": format!("re_{charge}"), "object": "refund", "charge": charge });
        self.deliver_event("refund.created", &refund).await;
    }
}

with_shop! {
    async fn a_customer_that_owes_credits_is_told_so_and_not_charged(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let charge = shop.stripe.list("charge").remove(0)["id"].as_str().expect("an id").to_owned();
        shop.stripe.refund(&charge, Some(2_900)).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, -1);
        shop.app.spend(&customer, 1, "more").await.expect_problem(402, "credits_owed");
        assert_eq!(shop.net_paid(&customer).await, 0);
    }

    async fn a_customer_that_owes_held_credits_is_told_so_and_not_charged(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        shop.app.adjust(&customer, -2).await.expect(200);
        shop.app.call(&customer, "POST", "/api/v1/holds", "hold", Some(&json!({ "units": 1 }))).await.expect(201);
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
        shop.app.spend(&customer, 1, "more").await.expect_problem(402, "credits_owed");
        assert_eq!(shop.net_paid(&customer).await, 0);
    }
}
