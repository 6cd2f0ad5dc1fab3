//! What is applied with a warning.

use super::*;
use bursar_engine::domain::catalogue::Pack;
use bursar_engine::key::PackKey;

with_backend! {
    async fn a_pack_above_every_spend_cap_is_applied_with_a_warning_for_customers_with_raised_caps(backend: Backend) {
        let shop = Shop::open(backend).await;
        let with_pack = changed(|catalogue| {
            catalogue.packs.push(Pack {
                key: PackKey::trusted("hundred"),
                name: "100 fixes".to_owned(),
                credits: Credits(100),
                amount: MoneyMinor(200_000),
                currency: catalogue.currency.clone(),
                lifetime_days: None,
                offered: true,
            });
        });
        let line = with_pack.lines().position(|line| line == "amount = 200000").expect("the amount") + 1;
        let planned = plan(&shop.app, &with_pack).await;
        let warning = planned["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.starts_with(&format!("line {line}: packs.hundred.amount is $2000.00, and the")), "{planned}");
        assert_eq!((planned["warnings"].as_array().map(Vec::len), &planned["refusals"]), (Some(1), &json!([])));

        apply(&shop.app, &with_pack).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let buy = async || {
            let body = json!({ "pack": "hundred" });
            shop.app.call(&customer, "POST", "/api/v1/credits/purchases", "pack", Some(&body)).await
        };
        buy().await.expect_problem(402, "spend_cap_reached");
        let path = format!("/admin/v1/customers/{}/spend-caps", customer.id);
        let raised = json!({ "month_minor": 200_000, "reason": "ticket 1" });
        shop.app.admin("POST", &path, Some(&raised)).await.expect(200);
        buy().await.expect(201);
        assert_eq!((shop.net_paid(&customer).await, shop.app.balance(&customer).await), (200_000, 100));
        assert_eq!(plan(&shop.app, &changed(|_| {})).await["warnings"], json!([]));
        shop.close().await;
    }
}
