//! Failure 9 (see `failures.rs`): refunds claw back credits in proportion to the refunded money, however many refunds
//! there are.

use super::*;

with_shop! {
    async fn failure_9_two_partial_refunds_take_the_credit_once_and_only_when_all_is_refunded(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        shop.stripe.refund(&charge, Some(1_000)).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 3);
        shop.stripe.refund(&charge, Some(1_900)).expect("a refund");
        shop.announce_refund(&charge).await;
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
    }

    async fn failure_9_a_month_of_pro_refunded_in_parts_takes_its_credits_in_proportion_and_never_more(shop: &Shop) {
        let customer = shop.pro().await;
        shop.app.adjust(&customer, 3).await.expect(200);
        let charge = shop.last_charge();
        // 10 000 of 59 900 are 10 credits, 29 950 are 30, all of it is 60.
        for (amount, left) in [(10_000, 50), (19_950, 30), (29_950, 0)] {
            shop.stripe.refund(&charge, Some(amount)).expect("a refund");
            shop.announce_refund(&charge).await;
            shop.announce_refund(&charge).await;
            assert_eq!(shop.app.balance(&customer).await, 3 + left, "after a refund of {amount}");
        }
        assert_eq!(shop.net_paid(&customer).await, 0);
    }

    async fn failure_9_refunds_of_two_payments_take_the_credits_of_each(shop: &Shop) {
        let customer = shop.pro().await;
        let first = shop.last_charge();
        shop.deliver_event("invoice.paid", &shop.next_month()).await;
        let second = shop.last_charge();
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD);
        shop.stripe.refund(&second, Some(29_950)).expect("a refund");
        shop.announce_refund(&first).await;
        assert_eq!(shop.app.balance(&customer).await, 2 * PERIOD, "nothing of the first is refunded");
        shop.announce_refund(&second).await;
        assert_eq!(shop.app.balance(&customer).await, 90);
        shop.stripe.refund(&first, None).expect("a refund");
        shop.announce_refund(&first).await;
        assert_eq!(shop.app.balance(&customer).await, 30);
    }

    async fn failure_9_a_failed_refund_gives_the_credit_back(shop: &Shop) {
        let (customer, charge) = shop.customer_with_purchase().await;
        let refund = shop.stripe.refund(&charge, None).expect("a refund");
        shop.announce_refund(&charge).await;
        assert_eq!(shop.app.balance(&customer).await, 2);
        let failed = shop.stripe.fail_refund(stripe::id(&refund)).expect("it fails");
        for _ in 0..2 {
            shop.deliver_event("refund.failed", &failed).await;
        }
        assert_eq!(shop.app.balance(&customer).await, 3);
    }
}
