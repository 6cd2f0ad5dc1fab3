//! Pro: subscribe, pay, cancel, resume.

use super::*;

shops! {
    async fn subscribing_brings_the_months_credits_at_once_and_once(shop: &Shop) {
        let customer = shop.broke("pm_card_visa").await;
        let made = shop.subscribe(&customer, "pro").await.expect(201);
        assert_eq!((&made["status"], &made["plan"]), (&json!("active"), &json!("pro")));
        assert_eq!(made["credit_balance"], 60);
        assert_eq!(shop.money(&customer).await, 59_900);
        shop.subscribe(&customer, "pro").await.expect(201);
        shop.subscribe(&customer, "again").await.expect_problem(409, "already_subscribed");
        let invoice = shop.stripe.list("invoice").remove(0);
        for event_type in ["invoice.paid", "invoice.payment_succeeded"] {
            shop.announce(event_type, &invoice).await;
        }
        let payment = json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": invoice["id"] });
        shop.announce("invoice_payment.paid", &payment).await;
        let subscription = shop.stripe.list("subscription").remove(0);
        shop.announce("customer.subscription.created", &subscription).await;
        assert_eq!(shop.app.balance(&customer).await, 60);
        shop.app.spend(&customer, 60, "month").await.expect(200);
        shop.app.spend(&customer, 1, "more").await.expect(200);
        assert_eq!(shop.money(&customer).await, 59_900 + 1_500);
        let invoices = shop.app.call(&customer, "GET", "/api/v1/invoices", "", None).await.expect(200);
        assert_eq!(invoices["data"][0]["amount_paid_minor"], 59_900);
    }

    async fn a_cancellation_is_taken_back_and_at_once_it_ends_pro_and_keeps_the_credits(shop: &Shop) {
        let customer = shop.broke("pm_card_visa").await;
        shop.subscribe(&customer, "pro").await.expect(201);
        let ending = shop.app.call(&customer, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        assert_eq!((&ending["cancel_at_period_end"], &ending["plan"]), (&json!(true), &json!("pro")));
        let resume = format!("{SUBSCRIPTION}/resume");
        let resumed = shop.app.call(&customer, "POST", &resume, "resume", None).await.expect(200);
        assert_eq!(resumed["cancel_at_period_end"], false);
        let end = format!("{SUBSCRIPTION}?at_once=true");
        let ended = shop.app.call(&customer, "DELETE", &end, "now", None).await.expect(200);
        assert_eq!((&ended["status"], &ended["plan"]), (&json!("canceled"), &json!("pay_as_you_go")));
        assert_eq!(shop.app.balance(&customer).await, 60);
    }
}
