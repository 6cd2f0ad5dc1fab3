//! An operation that was paid twice.

use super::*;
use bursar_engine::usecase::verify::verify;

with_shop! {
    async fn a_second_payment_is_shown_and_given_back_by_its_own_id(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        shop.spend_until_done(&customer, 2, "two").await;
        let first = shop.payment_of(&customer).await;
        let intent = shop.stripe.list("payment_intent").remove(0);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let (amount, operation) = ((2 * UNIT).to_string(), text(&first["operation_id"]));
        let (stripe_customer, method) = (text(&intent["customer"]), text(&intent["payment_method"]));
        let form = [
            ("amount", amount.as_str()),
            ("currency", "usd"),
            ("customer", stripe_customer.as_str()),
            ("payment_method", method.as_str()),
            ("off_session", "true"),
            ("confirm", "true"),
            ("metadata[bursar_operation_id]", operation.as_str()),
        ];
        let second = text(&shop.ask_stripe("POST", "/v1/payment_intents", &form).await["id"]);
        for _ in 0..2 {
            shop.deliver_event("payment_intent.succeeded", &shop.stripe.object(&second)).await;
        }
        assert_eq!((shop.app.balance(&customer).await, shop.net_paid(&customer).await), (2, 4 * UNIT));
        assert_eq!(shop.payments(&format!("customer={}", customer.id)).await.len(), 2);
        let shown = shop.payment(&second).await["payment"].clone();
        assert_eq!((&shown["payment_intent"], &shown["amount_minor"]), (&json!(second), &json!(2 * UNIT)), "{shown}");
        assert_ne!(shown["id"], first["id"]);
        let charge = text(&shop.stripe.object(&second)["latest_charge"]);
        assert_eq!(shop.payment(&charge).await["payment"]["id"], shown["id"], "its charge leads to it, too");
        let violations = verify(&shop.app.app.db, |_| {}).await.expect("verify runs").checks;
        let violations: Vec<_> = violations.into_iter().flat_map(|check| check.violations).collect();
        assert_eq!(violations, Vec::<String>::new());

        let refunded = shop.refund(&second, &json!({ "credits": "all", "reason": "paid twice" })).await.expect(200);
        assert_eq!([&refunded["payment_id"], &refunded["charge"]], [&shown["id"], &json!(charge)]);
        shop.tell_of_refunds(&charge).await;
        assert_eq!((shop.app.balance(&customer).await, shop.net_paid(&customer).await), (0, 2 * UNIT));
        assert_eq!(shop.payment(&second).await["payment"]["state"], "refunded");
        let kept = shop.payment(&operation).await["payment"].clone();
        assert_eq!((&kept["state"], &kept["refunded_minor"]), (&json!("paid"), &json!(0)), "the first one stays");
    }
}
