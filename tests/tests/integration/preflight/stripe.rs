//! Stripe, broken in one way at a time.

use super::{Looked, lines, look, with};
use crate::cli::Program;
use crate::document::permissions;
use crate::scene::with_backend;
use bursar::serve::CLOCK_SKEW_VARIABLE;
use bursar_engine::domain::preflight::stripe::WRITES;
use bursar_engine::domain::webhook::WANTED;
use bursar_sandbox::{Fault, FaultRule, NewEndpoint, Options, Sandbox};
use bursar_tests::{Backend, TestApp};
use serde_json::{Value, json};

const PUBLIC_URL: &str = "https://pay.example.com";
const TO_US: [&str; 2] = ["--public-url", PUBLIC_URL];

/// An application whose catalogue is in force, a Stripe that has all it needs, and the program.
struct Shop {
    app: TestApp,
    stripe: Sandbox,
    program: Program,
    endpoint: String,
    price: String,
}

impl Shop {
    async fn start(backend: Backend) -> Self {
        Self::start_with(backend, Options::default()).await
    }

    async fn start_with(backend: Backend, options: Options) -> Self {
        let stripe = Sandbox::start(options).await.unwrap();
        let url = stripe.url().to_owned();
        let app = TestApp::start_with(backend, |config| {
            config.stripe.secret_key = "sk_test_sandbox".to_owned();
            config.stripe.api_base = url;
        })
        .await;
        let endpoint = NewEndpoint {
            url: format!("{PUBLIC_URL}/webhooks/stripe"),
            secret: None,
            api_version: Some("2025-12-15.clover".to_owned()),
            enabled_events: WANTED.iter().map(|name| (*name).to_owned()).collect(),
            is_thin: false,
        };
        let endpoint = stripe.add_endpoint(&endpoint).unwrap();
        let price =
            stripe.list("price").iter().find(|price| price["lookup_key"] == "pro_monthly").unwrap()["id"].clone();
        let price = price.as_str().unwrap().to_owned();
        let program = Program::of(&app.config, &app.base);
        Self { app, stripe, program, endpoint, price }
    }

    async fn look(&self) -> Looked {
        look(&self.program.launch, &TO_US).await
    }

    /// Changes an object at Stripe, looks, and puts the object back.
    async fn look_with(&self, id: &str, fields: Value) -> Looked {
        let before = self.stripe.object(id);
        let changed = fields.as_object().unwrap().keys().map(|name| (name.clone(), before[name].clone()));
        let before = Value::Object(changed.collect());
        self.stripe.set(id, fields).unwrap();
        let looked = self.look().await;
        self.stripe.set(id, before).unwrap();
        looked
    }

    /// Looks while these reads fail with a status.
    async fn look_failing(&self, path: &str, status: u16) -> Looked {
        let fault = Fault::Refuse { status, should_retry: None };
        let rule = FaultRule { method: None, path: path.to_owned(), count: None, probability: None, fault };
        self.stripe.fault(rule).unwrap();
        let looked = self.look().await;
        self.stripe.clear_faults();
        looked
    }
}

fn assert_fails(looked: &Looked, fails: &[&str], says: &str) {
    assert_eq!(looked.names("fail"), fails, "{}", looked.ran.out);
    let said = looked.said(fails[0]);
    assert!(said.contains(says), "{says}: {said}");
}

with_backend! {
    async fn a_stripe_account_that_has_everything_passes(backend: Backend) {
        let shop = Shop::start(backend).await;
        let looked = shop.look().await;
        let names = ["key", "mode", "permissions", "webhook", "events", "api_version", "prices", "clock"];
        for name in names.map(|name| format!("stripe.{name}")) {
            assert!(looked.names("ok").contains(&name.as_str()), "{name}: {}", looked.ran.out);
        }
        assert_eq!(shop.stripe.calls("POST /v1/webhook_endpoints"), 0, "a preflight only reads");
        shop.app.stop().await;
    }

    async fn each_fault_of_the_key_fails_its_check_and_no_other(backend: Backend) {
        let shop = Shop::start(backend).await;
        assert_fails(&shop.look_failing("/v1/", 401).await, &["stripe.key"], "revoked");
        assert_fails(&shop.look_failing("/v1/refunds", 403).await, &["stripe.permissions"], "may not read refunds");
        assert_fails(&shop.look_failing("/v1/balance", 503).await, &["stripe.key"], "503");
        let away = with(&shop.program.launch, &[("STRIPE_API_BASE", "http://127.0.0.1:1")]);
        assert_fails(&look(&away, &TO_US).await, &["stripe.key"], "Stripe cannot be reached");
        let live = with(&shop.program.launch, &[("BURSAR_STRIPE__LIVEMODE", "true"), ("STRIPE_WEBHOOK_SECRET", "whsec_wNq3Vb7xK2mYtR9cLz4sHd8e")]);
        let looked = look(&live, &TO_US).await;
        assert_eq!(looked.names("fail"), ["config", "stripe.mode"], "{}", looked.ran.out);
        let unread = shop.look_failing("/v1/webhook_endpoints", 403).await;
        assert_eq!(unread.names("fail"), [""; 0], "{}", unread.ran.out);
        assert!(unread.names("warn").contains(&"stripe.webhook"), "{}", unread.ran.out);
        let unread = shop.look_failing("/v1/prices", 403).await;
        assert_fails(&unread, &["stripe.permissions"], "may not read prices");
        assert!(unread.names("warn").contains(&"stripe.prices"), "{}", unread.ran.out);
        shop.app.stop().await;
    }

    async fn a_restricted_key_is_asked_for_each_read_and_for_no_write(backend: Backend) {
        let granted: Vec<String> = permissions().into_iter().map(|(_, _, name)| name).collect();
        let granted = [granted, ["rak_balance_read", "rak_webhook_read"].map(str::to_owned).to_vec()].concat();
        let shop = Shop::start_with(backend, Options { permissions: Some(granted.clone()), ..Options::default() }).await;
        let restricted = with(&shop.program.launch, &[("STRIPE_SECRET_KEY", "rk_test_sandbox")]);
        let looked = look(&restricted, &TO_US).await;
        assert_eq!(looked.names("fail"), [""; 0], "{}", looked.ran.out);
        let said = looked.said("stripe.permissions");
        assert!(said.contains("may read all 17 kinds") && said.contains("may write customers, invoices"), "{said}");
        for kind in WRITES {
            assert_eq!(shop.stripe.calls(&format!("POST /v1/{kind}")), 0, "a preflight only reads {kind}");
        }
        shop.app.stop().await;

        let few = granted.into_iter().filter(|name| name != "rak_dispute_read" && name != "rak_plan_write").collect();
        let shop = Shop::start_with(backend, Options { permissions: Some(few), ..Options::default() }).await;
        let restricted = with(&shop.program.launch, &[("STRIPE_SECRET_KEY", "rk_test_sandbox")]);
        let looked = look(&restricted, &TO_US).await;
        assert_fails(&looked, &["stripe.permissions"], "may not read disputes (rak_dispute_read), prices (rak_plan_read)");
        assert!(looked.names("warn").contains(&"stripe.prices"), "{}", looked.ran.out);
        shop.app.stop().await;
    }

    async fn each_fault_of_the_webhook_endpoint_fails_its_check_and_no_other(backend: Backend) {
        let shop = Shop::start(backend).await;
        let id = shop.endpoint.clone();
        let few = json!({ "enabled_events": WANTED[1..] });
        assert_fails(&shop.look_with(&id, few).await, &["stripe.events"], &format!("is not sent {}", WANTED[0]));
        let many: Vec<&str> = WANTED.iter().copied().chain(["payout.paid"]).collect();
        let looked = shop.look_with(&id, json!({ "enabled_events": many })).await;
        assert_eq!((looked.names("fail"), looked.ran.code), (Vec::new(), Some(0)), "{}", looked.ran.out);
        assert!(looked.names("warn").contains(&"stripe.events"), "{}", looked.ran.out);
        assert!(looked.said("stripe.events").contains("payout.paid"), "{}", looked.ran.out);
        let all = shop.look_with(&id, json!({ "enabled_events": ["*"] })).await;
        assert!(all.names("warn").contains(&"stripe.events"), "{}", all.ran.out);
        let disabled = shop.look_with(&id, json!({ "status": "disabled" })).await;
        assert_fails(&disabled, &["stripe.webhook"], "is disabled");
        let old = shop.look_with(&id, json!({ "api_version": "2019-12-03" })).await;
        assert_fails(&old, &["stripe.api_version"], "older than 2020-08-27");
        let late = shop.look_with(&id, json!({ "api_version": "2027-03-31.fig" })).await;
        assert!(late.names("warn").contains(&"stripe.api_version"), "{}", late.ran.out);
        let elsewhere = shop.look_with(&id, json!({ "url": "https://old.example.com/webhooks/stripe" })).await;
        assert_fails(&elsewhere, &["stripe.webhook"], "https://pay.example.com/webhooks/stripe");
        let other = shop.look_with(&id, json!({ "url": "https://pay.example.com/hooks" })).await;
        assert_fails(&other, &["stripe.webhook"], "stripe events --endpoint");
        let set = with(&shop.program.launch, &[("BURSAR_PUBLIC_URL", "https://set.example.com")]);
        assert_fails(&look(&set, &[]).await, &["stripe.webhook"], "https://set.example.com/webhooks/stripe");
        // Without the address, any endpoint with the path counts.
        let looked = look(&shop.program.launch, &[]).await;
        assert_eq!(looked.names("fail"), [""; 0], "{}", looked.ran.out);
        shop.app.stop().await;
    }

    async fn each_fault_of_a_price_fails_its_check_and_no_other(backend: Backend) {
        let shop = Shop::start(backend).await;
        let id = shop.price.clone();
        let other = json!({ "unit_amount": 49_900, "unit_amount_decimal": "49900" });
        let looked = shop.look_with(&id, other).await;
        assert_fails(&looked, &["stripe.prices"], "costs $499.00 each month at Stripe, and $599.00");
        assert_fails(&shop.look_with(&id, json!({ "active": false })).await, &["stripe.prices"], "is archived");
        let missing = shop.look_with(&id, json!({ "lookup_key": "another" })).await;
        assert_fails(&missing, &["stripe.prices"], "Stripe has no price for pro_monthly");
        let (code, lines) = lines(&shop.program.launch, &TO_US).await;
        assert_eq!(code, Some(0), "all is well again: {lines:#?}");
        shop.app.stop().await;
    }

    async fn a_clock_beyond_the_tolerance_of_signatures_fails(backend: Backend) {
        let shop = Shop::start(backend).await;
        let skewed = with(&shop.program.launch, &[(CLOCK_SKEW_VARIABLE, "-600000")]);
        let looked = look(&skewed, &TO_US).await;
        assert!(looked.names("fail").contains(&"stripe.clock"), "{}", looked.ran.out);
        assert!(looked.said("stripe.clock").contains("every webhook would be refused"), "{}", looked.ran.out);
        let ahead = with(&shop.program.launch, &[(CLOCK_SKEW_VARIABLE, "60000")]);
        assert!(look(&ahead, &TO_US).await.names("warn").contains(&"stripe.clock"));
        shop.app.stop().await;
    }
}

#[tokio::test]
async fn before_the_first_start_a_missing_price_is_only_warned_of() {
    let stripe = Sandbox::start(Options::default()).await.unwrap();
    let price = stripe.list("price").iter().find(|price| price["lookup_key"] == "pro_monthly").unwrap()["id"].clone();
    stripe.set(price.as_str().unwrap(), json!({ "lookup_key": "another" })).unwrap();
    let (launch, _folder) = super::bare();
    let launch = with(&launch, &[("STRIPE_SECRET_KEY", "sk_test_sandbox"), ("STRIPE_API_BASE", stripe.url())]);
    let looked = look(&launch, &[]).await;
    assert!(looked.names("warn").contains(&"stripe.prices"), "{}", looked.ran.out);
    assert_eq!(looked.names("fail"), ["stripe.webhook"], "{}", looked.ran.out);
}
