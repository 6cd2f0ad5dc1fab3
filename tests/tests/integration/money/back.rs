//! Money that goes back: refunds and disputes.

use super::*;

impl Shop {
    /// A customer that bought a unit and was given one more, so that a credit can be seen to go; and the
    /// charge.
    async fn bought(&self) -> (TestCustomer, String) {
        let customer = self.broke("pm_card_visa").await;
        self.app.spend(&customer, 1, "unit").await.expect(200);
        self.app.adjust(&customer, 3).await.expect(200);
        let charge = self.stripe.list("charge").remove(0);
        (customer, charge["id"].as_str().expect("an id").to_owned())
    }

    async fn announce_refund(&self, charge: &str) {
        self.announce("charge.refunded", &self.stripe.object(charge)).await;
        let refund = json!({ "id": format!("re_{charge}"), "object": "refund", "charge": charge });
        self.announce("refund.created", &refund).await;
    }

    /// Opens a dispute, and announces it.
    async fn dispute(&self, charge: &str) -> Value {
        let dispute = self.stripe.open_dispute(charge, None, "fraudulent").expect("a dispute");
        self.announce("charge.dispute.created", &dispute).await;
        self.announce("charge.dispute.funds_withdrawn", &dispute).await;
        dispute
    }

    /// Closes it; the caller announces it.
    fn close_dispute(&self, dispute: &Value, is_won: bool) -> Value {
        self.stripe.close_dispute(stripe::id(dispute), is_won).expect("it is open")
    }
}

shops! {
    async fn failure_9_two_partial_refunds_take_the_credit_once_and_only_when_all_is_refunded(shop: &Shop) {
        let (customer, charge) = shop.bought().await;
        shop.stripe.refund(&charge, Some(1_000)).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 3);
        shop.stripe.refund(&charge, Some(1_900)).expect("a refund");
        shop.announce_refund(&charge).await;
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
    }

    async fn failure_10_a_dispute_opened_and_won_and_then_a_refund_take_one_credit(shop: &Shop) {
        let (customer, charge) = shop.bought().await;
        let dispute = shop.dispute(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
        let won = shop.close_dispute(&dispute, true);
        shop.announce("charge.dispute.closed", &won).await;
        shop.announce("charge.dispute.funds_reinstated", &won).await;
        assert_eq!(shop.app.balance(&customer).await, 3);
        shop.stripe.refund(&charge, Some(2_900)).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
    }

    async fn events_of_a_dispute_in_the_wrong_order_end_where_stripe_is(shop: &Shop) {
        let (customer, charge) = shop.bought().await;
        let early = shop.stripe.open_dispute(&charge, None, "fraudulent").expect("a dispute");
        let won = shop.close_dispute(&early, true);
        shop.announce("charge.dispute.closed", &won).await;
        shop.announce("charge.dispute.created", &early).await;
        assert_eq!(shop.app.balance(&customer).await, 3);
    }

    async fn who_owes_credits_is_told_so_and_not_charged(shop: &Shop) {
        let customer = shop.broke("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let charge = shop.stripe.list("charge").remove(0)["id"].as_str().expect("an id").to_owned();
        shop.stripe.refund(&charge, Some(2_900)).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, -1);
        shop.app.spend(&customer, 1, "more").await.expect_problem(402, "credits_owed");
        assert_eq!(shop.money(&customer).await, 0);
    }
}
