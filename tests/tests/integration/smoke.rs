//! The main path: a payment grants credits once.

use bursar_tests::{stripe, with_app};

with_app! {
    async fn a_signed_event_grants_credits_exactly_once(app: &TestApp) {
        let customer = app.onboard().await;
        app.spend(&customer, 1, "first").await.expect(200);
        let stripe_customer = format!("cus_{}", bursar_tests::unique::unique());
        let event = stripe::event("invoice.paid", &stripe::pro_invoice(&stripe_customer, Some(&customer.id)));
        app.deliver(&event).await.expect(200);
        app.deliver(&event).await.expect(200);
        app.event_in_state(stripe::id(&event), "processed").await;
        assert_eq!(app.balance(&customer).await, 5 - 1 + 60);
        app.verify().await;
    }
}
