//! Which catalogue is in force at start.

use super::*;
use bursar_engine::domain::catalogue::currency::Currency;
use bursar_tests::catalogue_with;
use std::path::PathBuf;

with_backend! {
    async fn the_last_version_is_in_force_after_a_restart_whatever_the_file_says(backend: Backend) {
        let app = TestApp::start(backend).await;
        let raised = changed(raise);
        let planned = plan(&app, &raised).await;
        assert_eq!(planned["stripe_note"], "This server has no Stripe key: nothing is made at Stripe.");
        apply(&app, &raised).await;
        let (config, folder) = app.halt().await;
        let other = catalogue_with(|catalogue| catalogue.prices.clear());
        let app = TestApp::start_on(Config { catalogue: other, ..config }, folder).await;
        assert_eq!((version(&app).await, write(&app.app.config.catalogue.now())), (2, raised));
        let first = app.admin("GET", "/admin/v1/catalogue/versions/1", None).await.expect(200);
        assert_eq!(first["version"]["applied_by"], "system");
        app.verify().await;
        app.stop().await;
    }

    async fn a_version_of_an_earlier_release_with_an_amount_that_stripe_refuses_stays_in_force(backend: Backend) {
        let app = TestApp::start(backend).await;
        let odd = changed(|catalogue| {
            catalogue.plans[0].unit_prices.insert(Currency::parse("isk").expect("a currency"), MoneyMinor(290_050));
        });
        let refused = app.admin("POST", "/admin/v1/catalogue/plan", Some(&json!({ "catalogue": odd }))).await;
        refused.expect_problem(400, "invalid_catalogue");
        let detail = refused.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("plans.trial.unit_price.isk must be divisible by 100"), "{detail}");

        let columns = "version, catalogue, applied_by, reason, applied_at_ms";
        let values = format!("2, '{odd}', 'system', 'an earlier release', 1");
        sql(&app, &format!("INSERT INTO catalogue_versions ({columns}) VALUES ({values})")).await;
        let (config, folder) = app.halt().await;
        let app = TestApp::start_on(Config { catalogue: SharedCatalogue::default(), ..config }, folder).await;
        assert_eq!((version(&app).await, write(&app.app.config.catalogue.now())), (2, odd));
        // A catalogue without the mistake takes its place.
        apply(&app, &changed(|_| {})).await;
        assert_eq!(version(&app).await, 3);
        app.stop().await;
    }
}

with_backend! {
    async fn prices_that_stripe_lacks_are_told_until_they_are_made(backend: Backend) {
        let shop = Shop::open_with(backend, |config| config.catalogue = catalogue_with(add_team)).await;
        let told = async || {
            let health = shop.app.request("GET", "/health", &[], None).await.expect(200);
            let warnings = health["warnings"].as_array().expect("a list").clone();
            warnings.iter().any(|warning| warning.as_str().is_some_and(|text| text.contains("team_monthly, team_small")))
        };
        assert!(told().await, "there is no price of Team");
        apply(&shop.app, &changed(add_team)).await;
        assert!(!told().await);
        shop.close().await;
    }
}

/// Starts an application with the sandbox inside it and this file of the catalogue.
fn with_sandbox(config: Config, change: impl FnOnce(&mut Catalogue)) -> Config {
    let mut config = Config { catalogue: catalogue_with(change), ..config };
    config.catalogue_path = Some(PathBuf::from("bursar.catalogue.toml"));
    config.stripe.sandbox = true;
    config.stripe.secret_key.clear();
    config.stripe.api_base.clear();
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_sells_a_changed_file_from_the_start() {
    let app = TestApp::start_with(Backend::Embedded, |config| {
        *config = with_sandbox(config.clone(), add_team);
    })
    .await;
    let lookup_keys = |app: &TestApp| {
        let prices = app.app.sandbox().expect("the sandbox").list("price");
        let mut keys: Vec<String> =
            prices.iter().filter_map(|price| price["lookup_key"].as_str().map(str::to_owned)).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(lookup_keys(&app), ["pro_monthly", "team_monthly", "team_small"]);
    assert_eq!(version(&app).await, 1);
    let (config, folder) = app.halt().await;
    let app = TestApp::start_on(with_sandbox(config, raise), folder).await;
    assert_eq!((version(&app).await, app.app.config.catalogue.now().prices[0].amount), (2, MoneyMinor(RAISED.0)));
    let prices = app.app.sandbox().expect("the sandbox").list("price");
    let present = prices.iter().find(|price| price["lookup_key"] == "pro_monthly").expect("the price");
    assert_eq!(present["unit_amount"], json!(RAISED.0));
    app.stop().await;
}
