//! Failure 10 (see `failures.rs`): after disputes and refunds of the same money, exactly the credits that it bought are
//! clawed back.

use super::*;

impl Shop {
    /// Opens a dispute and delivers its event.
    async fn dispute(&self, charge: &str, amount: Option<i64>) -> Value {
        let dispute = self.stripe.open_dispute(charge, amount, "fraudulent").expect("a dispute");
        self.deliver_event("charge.dispute.created", &dispute).await;
        self.deliver_event("charge.dispute.funds_withdrawn", &dispute).await;
        dispute
    }

    /// Closes a dispute and delivers its event.
    async fn close_dispute(&self, dispute: &Value, is_won: bool) {
        let closed = self.stripe.close_dispute(stripe::id(dispute), is_won).expect("it is open");
        self.deliver_event("charge.dispute.closed", &closed).await;
        if is_won {
            self.deliver_event("charge.dispute.funds_reinstated", &closed).await;
        }
    }
}

with_shop! {
    async fn failure_10_a_dispute_opened_and_won_and_then_a_refund_take_one_credit(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        let dispute = shop.dispute(&charge, None).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
        shop.close_dispute(&dispute, true).await;
        assert_eq!(shop.app.balance(&customer).await, 3);
        shop.stripe.refund(&charge, Some(UNIT)).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
    }

    async fn failure_10_a_dispute_that_is_lost_takes_the_credit_once(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        let dispute = shop.dispute(&charge, None).await;
        shop.close_dispute(&dispute, false).await;
        shop.deliver_event("charge.dispute.funds_withdrawn", &shop.stripe.object(stripe::id(&dispute))).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
        assert_eq!(shop.net_paid(&customer).await, 0);
    }

    async fn failure_10_a_dispute_of_a_part_takes_credits_in_proportion_and_gives_them_back_when_won(shop: &Shop) {
        let customer = shop.pro().await;
        let dispute = shop.dispute(&shop.last_charge(), Some(29_950)).await;
        assert_eq!(shop.app.balance(&customer).await, 30);
        shop.close_dispute(&dispute, true).await;
        assert_eq!(shop.app.balance(&customer).await, PERIOD);
    }

    async fn failure_10_a_debt_that_was_written_off_gives_no_credits_when_the_dispute_is_won(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        let spent = shop.app.balance(&customer).await;
        shop.app.spend(&customer, spent, "spent").await.expect(200);
        let dispute = shop.dispute(&charge, None).await;
        assert_eq!(shop.app.balance(&customer).await, -1);
        let path = format!("/admin/v1/customers/{}", customer.id);
        let reason = json!({ "reason": "ticket 1" });
        shop.app.admin("POST", &format!("{path}/write-off"), Some(&reason)).await.expect(200);
        shop.close_dispute(&dispute, true).await;
        assert_eq!(shop.app.balance(&customer).await, 0, "it was given back before");
        let told = shop.app.admin("GET", &format!("{path}/timeline"), None).await.expect(200).to_string();
        assert!(told.contains("1 credit does not come back: it was owed, and the debt was written off"), "{told}");
        shop.app.verify().await;
    }

    async fn failure_10_a_refund_and_a_dispute_of_the_same_money_take_one_credit(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        let dispute = shop.dispute(&charge, None).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
        // The bank returns the money; the refund stays.
        shop.close_dispute(&dispute, true).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
    }

    async fn failure_10_an_inquiry_takes_nothing_and_the_refund_that_ends_it_one_credit(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        let inquiry = shop.control("disputes", json!({ "charge": charge, "is_inquiry": true })).await;
        shop.deliver_event("charge.dispute.created", &inquiry).await;
        assert_eq!(shop.app.balance(&customer).await, 3);
        shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        shop.close_dispute(&inquiry, true).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
    }

    async fn failure_10_dispute_events_in_any_order_end_in_stripes_state(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        let early = shop.stripe.open_dispute(&charge, None, "fraudulent").expect("a dispute");
        shop.close_dispute(&early, true).await;
        shop.deliver_event("charge.dispute.funds_withdrawn", &early).await;
        shop.deliver_event("charge.dispute.created", &early).await;
        assert_eq!(shop.app.balance(&customer).await, 3);
    }
}
