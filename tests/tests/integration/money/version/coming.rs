//! Plans, prices and packs that nobody has yet, but will have.

use super::*;
use crate::money::buying::answers_202_soon;
use bursar_engine::domain::catalogue::Pack;
use bursar_engine::key::PackKey;
use bursar_engine::usecase::verify::verify;

const TEAM: &str = "team_monthly";

fn team_only(catalogue: &mut Catalogue) {
    add_team(catalogue);
    catalogue.prices.retain(|price| price.key.as_str() != "team_small");
}

/// A shop that sells Team, too, by its second version.
async fn with_team(backend: Backend) -> Shop {
    with_team_and(backend, |_| {}).await
}

/// Like [`with_team`], with changed settings.
async fn with_team_and(backend: Backend, change: impl FnOnce(&mut Config)) -> Shop {
    let shop = Shop::open_with(backend, change).await;
    apply(&shop.app, &changed(team_only)).await;
    shop
}

/// The reasons why the built-in catalogue is not applied, and the effects of what it removes.
async fn refused(shop: &Shop) -> (Vec<String>, Vec<String>) {
    let planned = plan(&shop.app, &changed(|_| {})).await;
    let texts = |rows: &Value, field: &str| {
        let rows = rows.as_array().expect("a list").iter();
        rows.map(|row| row[field].as_str().expect("text").to_owned()).collect()
    };
    (texts(&planned["refusals"], "reason"), texts(&planned["changes"], "effect"))
}

/// What `bursar verify` finds.
async fn found(shop: &Shop) -> Vec<String> {
    let report = verify(&shop.app.app.db, |_| {}).await.expect("verify runs");
    report.checks.into_iter().flat_map(|check| check.violations).collect()
}

with_backend! {
    async fn a_plan_stays_while_a_pending_change_leads_to_it(backend: Backend) {
        let shop = with_team(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let subscribed = json!({ "price": "pro_monthly" });
        shop.app.call(&customer, "POST", SUBSCRIPTION, "pro", Some(&subscribed)).await.expect(201);
        let wanted = json!({ "price": TEAM, "when": "period_end" });
        let path = format!("{SUBSCRIPTION}/change");
        shop.app.call(&customer, "POST", &path, "up", Some(&wanted)).await.expect(200);
        let (reasons, effects) = refused(&shop).await;
        assert!(reasons[0].starts_with("plan team cannot be removed: 1 pending change leads to it."), "{reasons:?}");
        assert!(reasons[1].starts_with("price team_monthly cannot be removed: 1 pending change leads"), "{reasons:?}");
        assert_eq!(effects, ["Nobody has it. 1 pending change leads to it."; 2]);
        ask_to_apply(&shop.app, &changed(|_| {}), 2).await.expect_problem(422, "catalogue_refused");
        let path = format!("{SUBSCRIPTION}/resume");
        shop.app.call(&customer, "POST", &path, "resume", None).await.expect(200);
        apply(&shop.app, &changed(|_| {})).await;
        shop.close().await;
    }

    async fn a_plan_stays_while_a_request_under_way_names_it(backend: Backend) {
        let shop = with_team_and(backend, answers_202_soon).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let fault = Fault::RateLimit { retry_after_s: None };
        let path = "/v1/subscriptions".to_owned();
        let rule = FaultRule { method: Some("POST".to_owned()), path, count: None, probability: None, fault };
        shop.stripe.fault(rule).expect("there is room for a fault");
        let wanted = json!({ "price": TEAM });
        shop.app.call(&customer, "POST", SUBSCRIPTION, "team", Some(&wanted)).await.expect(202);
        let job = delay_job(&shop.app, "operation.run").await;
        let (reasons, _) = refused(&shop).await;
        assert!(reasons[0].starts_with("plan team cannot be removed: 1 request under way names it."), "{reasons:?}");
        ask_to_apply(&shop.app, &changed(|_| {}), 2).await.expect_problem(422, "catalogue_refused");
        shop.stripe.clear_faults();
        resume_job(&shop.app, &job).await;
        wait::until("the customer is on Team", || async { (shop.plan(&customer).await == "team").then_some(()) }).await;
        let (reasons, _) = refused(&shop).await;
        assert!(reasons[0].starts_with("plan team cannot be removed: 1 customer has it."), "{reasons:?}");
        shop.close().await;
    }

    async fn a_pack_stays_while_automatic_top_ups_buy_it(backend: Backend) {
        let shop = Shop::open_with(backend, |config| {
            config.catalogue = catalogue_with(|catalogue| {
                catalogue.packs = vec![Pack {
                    key: PackKey::trusted("ten"),
                    name: "10 fixes".to_owned(),
                    credits: Credits(10),
                    amount: MoneyMinor(20_000),
                    currency: catalogue.currency.clone(),
                    lifetime_days: None,
                    offered: true,
                }];
            });
        })
        .await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 20).await.expect(200);
        let set = |enabled: bool| json!({ "enabled": enabled, "threshold": 2, "target": 5, "pack": "ten" });
        let path = "/api/v1/credits/auto-top-up";
        shop.app.call(&customer, "PUT", path, "", Some(&set(true))).await.expect(200);
        let (reasons, _) = refused(&shop).await;
        let start = "pack ten cannot be removed: 1 automatic top-up buys it.";
        assert!(reasons.len() == 1 && reasons[0].starts_with(start), "{reasons:?}");
        shop.app.call(&customer, "PUT", path, "", Some(&set(false))).await.expect(200);
        apply(&shop.app, &changed(|_| {})).await;
        shop.close().await;
    }

    async fn a_customer_on_a_lost_plan_is_found_and_leaves_it_with_its_subscription(backend: Backend) {
        let shop = with_team(backend).await;
        let customer = shop.without_credits("pm_card_visa").await;
        let (stripe_customer, former) = (shop.stripe_customer(&customer).await, shop.keyed_price(TEAM).await);
        apply(&shop.app, &changed(|_| {})).await;
        assert_eq!(found(&shop).await, Vec::<String>::new());

        // By an old link, or in the dashboard.
        let form = [("customer", stripe_customer.as_str()), ("items[0][price]", stripe::id(&former))];
        shop.ask_stripe("POST", "/v1/subscriptions", &form).await;
        shop.deliver_event("customer.subscription.created", &shop.subscription()).await;
        assert_eq!(shop.plan(&customer).await, "team");
        let lost = found(&shop).await;
        let start = format!("{}: its plan team is not in version 3 of the catalogue", customer.id);
        assert!(lost.len() == 1 && lost[0].starts_with(&start), "{lost:?}");

        let path = format!("/v1/subscriptions/{}", stripe::id(&shop.subscription()));
        shop.ask_stripe("DELETE", &path, &[]).await;
        shop.deliver_event("customer.subscription.deleted", &shop.subscription()).await;
        assert_eq!(shop.plan(&customer).await, "pay_as_you_go", "as the version that had Team said");
        shop.close().await;
    }
}
