//! A restricted key of Stripe.

use super::*;
use crate::document::permissions;
use crate::scene::with_backend;

with_backend! {
    async fn the_documented_permissions_suffice_to_sell_to_give_back_and_to_compare(backend: Backend) {
        let permissions = Some(permissions().into_iter().map(|(_, _, name)| name).collect());
        let options = Options { permissions, ..Options::default() };
        let shop = Shop::start_with(backend, options, |config| {
            config.stripe.secret_key = "rk_test_sandbox".to_owned();
        })
        .await;
        let subscriber = shop.pro().await;
        shop.app.call(&subscriber, "DELETE", SUBSCRIPTION, "end", None).await.expect(200);
        let buyer = shop.without_credits("pm_card_visa").await;
        shop.app.spend(&buyer, 1, "unit").await.expect(200);
        let intents = shop.stripe.list("payment_intent");
        let bought = intents.iter().find(|intent| intent["amount"] == UNIT).expect("the payment of a unit");
        let path = format!("/admin/v1/payments/{}/refund", stripe::id(bought));
        let body = json!({ "amount_minor": UNIT, "credits": "unspent", "reason": "test" });
        shop.app.admin("POST", &path, Some(&body)).await.expect(200);
        assert_eq!(shop.net_paid(&buyer).await, 0);

        let runs = "/admin/v1/stripe/reconciliations";
        let run = shop.app.admin("POST", runs, Some(&json!({ "repair": true, "full": true }))).await.expect(202);
        let path = format!("{runs}/{}", run["reconciliation"]["id"].as_str().expect("an id"));
        let run = wait::until("the reconciliation has ended", || async {
            let run = shop.app.admin("GET", &path, None).await.expect(200)["reconciliation"].clone();
            (run["state"] != "running").then_some(run)
        })
        .await;
        assert_eq!(run["state"], "done", "{run}");
        shop.close().await;
    }

    async fn a_charge_waits_for_the_permission_that_its_job_names(backend: Backend) {
        let of_charges = |name: &String| name != "rak_payment_intent_write";
        let permissions = Some(permissions().into_iter().map(|(_, _, name)| name).filter(of_charges).collect());
        let options = Options { permissions, ..Options::default() };
        let shop = Shop::start_with(backend, options, |config| {
            config.stripe.secret_key = "rk_test_sandbox".to_owned();
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        let refused = shop.app.spend(&customer, 1, "unit").await;
        assert_ne!(refused.status, 200, "{}", refused.body);
        wait::until("a job names the permission", || async {
            let jobs = shop.app.admin("GET", "/admin/v1/jobs?error=rak_payment_intent_write", None).await.expect(200);
            jobs["data"].as_array().is_some_and(|jobs| jobs.len() == 1).then_some(())
        })
        .await;
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (0, 0));
        shop.close().await;
    }
}
