//! Webhooks that never arrive: the sandbox drops them all, and a reconciliation recovers them.

use super::*;
use crate::reconcile::{found, reconcile};
use crate::scene::with_backend;

with_backend! {
    async fn a_reconciliation_recovers_all_lost_webhooks(backend: Backend) {
        let shop = Shop::open_with_events(backend).await;
        shop.stripe.set_policy(Policy { drop_probability: 1.0, ..Policy::default() });
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&customer, 1, "unit").await.expect(200);
        let charge = shop.stripe.list("charge").remove(0);
        shop.stripe.refund(stripe::id(&charge), None).expect("a refund");
        shop.app.call(&customer, "POST", "/api/v1/subscription", "pro", Some(&json!({}))).await.expect(201);
        assert_eq!(shop.app.balance(&customer).await, 60);
        let first = reconcile(&shop.app, true).await;
        assert_eq!(first["left"], 0, "{first:#}");
        let classes = found(&first);
        assert!(classes.iter().any(|(class, ..)| *class == "event_missing"), "{first:#}");
        wait::until("the refunded credit is gone", || async {
            (shop.app.balance(&customer).await == 59).then_some(())
        })
        .await;
        let second = reconcile(&shop.app, true).await;
        assert!(found(&second).is_empty(), "{second:#}");
        assert_eq!(shop.app.balance(&customer).await, 59);
        shop.close().await;
    }
}
