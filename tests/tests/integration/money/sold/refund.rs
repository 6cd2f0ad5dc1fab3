//! Refunds of money of which a change of the subscription has credited a part already.

use super::*;

const CHANGE: &str = "/api/v1/subscription/change";

impl Shop {
    /// What a refund of an invoice would do.
    async fn planned_refund(&self, invoice: &Value) -> Value {
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(invoice));
        let body = json!({ "reason": "ticket 4711", "dry_run": true });
        self.app.admin("POST", &path, Some(&body)).await.expect(200)
    }
}

with_backend! {
    async fn a_planned_refund_says_what_a_change_of_plan_has_credited_of_the_same_money(backend: Backend) {
        let shop = Shop::selling(backend, &[team_monthly()]).await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.subscribe_to(&customer, "pro", json!({ "price": "pro_monthly" })).await.expect(201);
        let first = shop.stripe.list("invoice").remove(0);
        let planned = shop.planned_refund(&first).await;
        assert_eq!((&planned["refundable_minor"], &planned["credited_minor"]), (&json!(MONTH), &json!(0)));

        shop.stripe.advance(Duration::from_secs(10 * 24 * 60 * 60)).expect("time passes");
        let wanted = json!({ "price": "team_monthly", "when": "now" });
        shop.app.call(&customer, "POST", CHANGE, "up", Some(&wanted)).await.expect(200);
        let charged = shop.net_paid(&customer).await - MONTH;
        let credited = team_monthly().amount.0 - charged;
        assert!((1..MONTH).contains(&credited), "{credited}");
        let planned = shop.planned_refund(&first).await;
        assert_eq!((&planned["refundable_minor"], &planned["credited_minor"]), (&json!(MONTH), &json!(credited)));
    }
}
