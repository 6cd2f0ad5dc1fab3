//! Mails about money, once each.

use super::*;

impl Shop {
    /// The number of a customer's mails of this kind.
    pub(super) async fn mails(&self, customer: &TestCustomer, template: &str) -> usize {
        let path = format!("/admin/v1/customers/{}/emails?limit=100", customer.id);
        let page = self.app.admin("GET", &path, None).await.expect(200);
        let mails = page["data"].as_array().expect("mails");
        mails.iter().filter(|mail| mail["template"] == template).count()
    }
}

with_shop! {
    async fn a_declined_renewal_is_mailed_once(shop: &Shop) {
        let (customer, invoice) = shop.past_due("pm_card_chargeCustomerFail").await;
        for _ in 0..2 {
            shop.deliver_event("invoice.payment_failed", &invoice).await;
            shop.deliver_event("customer.subscription.updated", &shop.subscription()).await;
        }
        assert_eq!(shop.mails(&customer, "payment_failed").await, 1);
        assert_eq!(shop.mails(&customer, "action_required").await, 0);
    }

    async fn a_renewal_requiring_authentication_is_mailed_once_and_not_as_a_failure(shop: &Shop) {
        let (customer, invoice) = shop.past_due("pm_card_authenticationRequired").await;
        for _ in 0..2 {
            shop.deliver_event("invoice.payment_action_required", &invoice).await;
            shop.deliver_event("invoice.payment_failed", &invoice).await;
        }
        assert_eq!(shop.mails(&customer, "action_required").await, 1);
        assert_eq!(shop.mails(&customer, "payment_failed").await, 0);
    }

    async fn a_requested_cancellation_is_mailed_once(shop: &Shop) {
        let customer = shop.pro().await;
        let path = format!("{SUBSCRIPTION}?at_once=true");
        shop.app.call(&customer, "DELETE", &path, "end", None).await.expect(200);
        for _ in 0..2 {
            shop.deliver_event("customer.subscription.deleted", &shop.subscription()).await;
        }
        assert_eq!(shop.mails(&customer, "subscription_ended").await, 1);
    }
}
