//! An application under test: started as `main` starts it, reached over HTTP.

use crate::answer::Answer;
use crate::unique::unique;
use crate::{contract, github, log, stripe};
use bursar::app::App;
use bursar::serve::{self, Running};
use bursar_actors::Role;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::ids::AuditId;
use sea_orm::{ConnectionTrait, Database};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

/// The admin token of every application under test.
pub const ADMIN_TOKEN: &str = "bat_3b8f60d1c47a95e2f01d8b6c42e97a58";
/// The key under which every application under test seals secrets.
pub const SECRET_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// Stripe's webhook secrets; the second is the one being rotated out.
pub const WEBHOOK_SECRETS: [&str; 2] = ["whsec_wNq3Vb7xK2mYtR9cLz4sHd8e", "whsec_oA5rT2kDn8Wq6Xs1ZbE4yMv7"];

/// GitHub's webhook secrets; the second is the one being rotated out.
pub const GITHUB_SECRETS: [&str; 2] = ["ghwh_Vq4tZ8mKx2Rb7LcW9sHd3YnP", "ghwh_Jf6sT1wEo5Qa8NzG3vXk7BrU"];

/// The database and the queue that an application runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// SQLite and the in-process queue.
    Embedded,
    /// Postgres and RabbitMQ.
    Production,
}

/// One application, with a database of its own.
pub struct TestApp {
    /// The application itself, for assertions that HTTP cannot make.
    pub app: Arc<App>,
    /// `http://127.0.0.1:…`.
    pub base: String,
    /// An HTTP client.
    pub client: reqwest::Client,
    /// The configuration it was started with; a second node with the same configuration shares the database and the
    /// broker.
    pub config: Config,
    running: Running,
    folder: Option<TempDir>,
    /// Whether the database was made for this application, and ends with it.
    owns_database: bool,
}

/// A customer that signed up.
#[derive(Debug, Clone)]
pub struct TestCustomer {
    /// Its identifier.
    pub id: String,
    /// Its API key.
    pub api_key: String,
}

/// The defaults, but with short intervals and no limits on signups, requests, exports and new API keys.
pub async fn config(backend: Backend, folder: &TempDir) -> Config {
    let mut config = Config {
        listen: "127.0.0.1:0".to_owned(),
        data_dir: folder.path().to_path_buf(),
        admin_token: ADMIN_TOKEN.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        ..Config::default()
    };
    config.stripe.webhook_secrets = WEBHOOK_SECRETS.join(",");
    config.marketplace.webhook_secrets = GITHUB_SECRETS.join(",");
    config.jobs.backoff_base_ms = 100;
    config.jobs.backoff_factor = 1;
    config.jobs.sweep_interval_ms = 50;
    config.jobs.sweep_grace_ms = 1_000;
    config.jobs.lease_ms = 3_000;
    config.http.drain_timeout_ms = 6_000;
    config.http.stop_grace_ms = 0;
    // Reconciliations run only when a test asks for one, and without a grace period.
    config.stripe.reconcile_hour = -1;
    config.stripe.reconcile_grace_s = 0;
    // Tests that need Stripe start a sandbox of their own.
    config.stripe.sandbox = false;
    // All customers of a test sign up from one address.
    config.onboarding.per_ip_per_minute = 0;
    config.onboarding.per_mailbox_per_day = 0;
    config.limits.requests_per_minute = 0;
    config.limits.exports_per_hour = 0;
    config.limits.keys_per_minute = 0;
    config.limits.refusals_per_second = 0;
    // Most customers of a test pay by the same of Stripe's test cards.
    config.credits.bonus_once_per_card = false;
    if backend == Backend::Production {
        let unique = AuditId::new().body().to_owned();
        let maintenance = required("BURSAR_TEST_DATABASE_URL");
        config.database_url = create_database(&maintenance, &format!("bursar_test_{unique}")).await;
        config.database.connections_max = 8;
        config.amqp_url = required("BURSAR_TEST_AMQP_URL");
        config.amqp.prefix = format!("test.{unique}");
        config.amqp.shards = 1;
        config.amqp.tiers_ms = vec![100, 1_000];
        config.amqp.queue_len_max = 10_000;
    }
    config
}

fn required(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run the tests with ./dev test, which starts the services"))
}

/// Creates a database on the server of the maintenance database and returns its URL.
///
/// # Panics
/// If the server refuses.
pub async fn create_database(maintenance: &str, name: &str) -> String {
    let connection = Database::connect(maintenance).await.expect("the maintenance database answers");
    connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a database can be created");
    connection.close().await.expect("the connection closes");
    let (base, _) = maintenance.rsplit_once('/').expect("the URL names a database");
    format!("{base}/{name}")
}

/// Removes a database of [`create_database`]; connections to it are closed.
async fn drop_database(url: &str) {
    let (_, name) = url.rsplit_once('/').expect("the URL names a database");
    let connection = Database::connect(required("BURSAR_TEST_DATABASE_URL")).await.expect("the server answers");
    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    connection.execute_unprepared(&statement).await.expect("the database can be removed");
    connection.close().await.expect("the connection closes");
}

impl TestApp {
    /// Starts an application on a new, empty database.
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, |_| {}).await
    }

    /// Like [`TestApp::start`], with changed settings.
    pub async fn start_with(backend: Backend, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = config(backend, &folder).await;
        change(&mut config);
        Self { owns_database: backend == Backend::Production, ..Self::start_on(config, Some(folder)).await }
    }

    /// Starts one more node on the same database and broker (production only), or the same
    /// application again after [`TestApp::halt`].
    pub async fn start_on(config: Config, folder: Option<TempDir>) -> Self {
        Self::start_at(config, folder, Clock::System).await
    }

    /// Like [`TestApp::start_on`], with this clock.
    pub async fn start_at(config: Config, folder: Option<TempDir>, clock: Clock) -> Self {
        let _ = rustls_provider();
        log::install();
        let running = serve::start(config.clone(), Role::All, clock).await.expect("the application starts");
        if let Some(broker) = &running.app.runtime.broker {
            broker.wait_until_connected().await;
        }
        let base = format!("http://{}", running.address);
        Self {
            app: running.app.clone(),
            base,
            client: reqwest::Client::new(),
            config,
            running,
            folder,
            owns_database: false,
        }
    }

    /// The address it listens on.
    pub fn address(&self) -> std::net::SocketAddr {
        self.running.address
    }

    /// The address it listens on for operators, if it does.
    pub fn ops_address(&self) -> Option<std::net::SocketAddr> {
        self.running.ops_address
    }

    /// Stops the application, keeps its data, and returns what [`TestApp::start_on`] needs to start it again.
    pub async fn halt(self) -> (Config, Option<TempDir>) {
        let Self { running, app, config, folder, .. } = self;
        drop(app);
        running.stop().await.expect("the application stops in good order");
        (config, folder)
    }

    /// Stops the application, and removes the database that was made for it: thousands of them would fill a disk.
    pub async fn stop(self) {
        let owns_database = self.owns_database;
        let (config, _) = self.halt().await;
        if owns_database {
            drop_database(&config.database_url).await;
        }
    }

    /// Makes a request; the body is sent as JSON.
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let method: reqwest::Method = method.parse().expect("a method");
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = Answer::read(request.send().await.expect("the server answers")).await;
        contract::check(method.as_str(), path, &answer);
        answer
    }

    /// Makes a request as this customer, with an idempotency key unless it is empty.
    pub async fn call(
        &self,
        customer: &TestCustomer,
        method: &str,
        path: &str,
        key: &str,
        body: Option<&Value>,
    ) -> Answer {
        let mut headers = vec![("x-api-key", customer.api_key.as_str())];
        if !key.is_empty() {
            headers.push(("Idempotency-Key", key));
        }
        self.request(method, path, &headers, body).await
    }

    /// Makes a request as staff, under a new idempotency key.
    pub async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let key = unique();
        let bearer = format!("Bearer {ADMIN_TOKEN}");
        self.request(method, path, &[("Authorization", &bearer), ("Idempotency-Key", &key)], body).await
    }

    /// Signs a new customer up.
    pub async fn onboard(&self) -> TestCustomer {
        let body = json!({ "email": format!("{}@example.com", unique()), "name": "Test", "source": "direct" });
        let made = self.request("POST", "/api/v1/customers/onboard", &[], Some(&body)).await.expect(201);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        TestCustomer { id: text(&made["customer"]["id"]), api_key: text(&made["api_key"]) }
    }

    /// Signs a new customer up and adds this many credits as support.
    pub async fn onboard_with(&self, credits: i64) -> TestCustomer {
        let customer = self.onboard().await;
        self.adjust(&customer, credits).await.expect(200);
        customer
    }

    /// Adds credits, or takes them if the amount is negative, as support.
    pub async fn adjust(&self, customer: &TestCustomer, amount: i64) -> Answer {
        let body = json!({ "amount": amount, "reason": "test" });
        self.admin("POST", &format!("/admin/v1/customers/{}/adjustments", customer.id), Some(&body)).await
    }

    /// Spends credits.
    pub async fn spend(&self, customer: &TestCustomer, units: i64, key: &str) -> Answer {
        self.call(customer, "POST", "/api/v1/usage", key, Some(&json!({ "units": units }))).await
    }

    /// The balance.
    pub async fn balance(&self, customer: &TestCustomer) -> i64 {
        let credits = self.call(customer, "GET", "/api/v1/credits", "", None).await.expect(200);
        credits["balance"].as_i64().expect("a number")
    }

    /// Delivers an event as Stripe does.
    pub async fn deliver(&self, event: &Value) -> Answer {
        self.deliver_bytes(event.to_string().as_bytes()).await
    }

    /// Delivers bytes under a valid signature.
    pub async fn deliver_bytes(&self, body: &[u8]) -> Answer {
        let signature = stripe::signature(body, WEBHOOK_SECRETS[0]);
        self.deliver_signed(body, Some(&signature)).await
    }

    /// Delivers bytes under any signature.
    pub async fn deliver_signed(&self, body: &[u8], signature: Option<&str>) -> Answer {
        let mut request = self.client.post(format!("{}/webhooks/stripe", self.base)).body(body.to_vec());
        if let Some(signature) = signature {
            request = request.header("Stripe-Signature", signature);
        }
        let answer = Answer::read(request.send().await.expect("the server answers")).await;
        contract::check("POST", "/webhooks/stripe", &answer);
        answer
    }

    /// Delivers a Marketplace event as GitHub does.
    pub async fn deliver_github(&self, delivery: &str, event: &Value) -> Answer {
        let body = event.to_string();
        let signature = github::signature(body.as_bytes(), GITHUB_SECRETS[0]);
        let headers = github::headers("marketplace_purchase", delivery, Some(&signature));
        self.deliver_github_bytes(body.as_bytes(), &headers).await
    }

    /// Delivers bytes to GitHub's webhook under any headers.
    pub async fn deliver_github_bytes(&self, body: &[u8], headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.post(format!("{}/webhooks/github", self.base)).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = Answer::read(request.send().await.expect("the server answers")).await;
        contract::check("POST", "/webhooks/github", &answer);
        answer
    }

    /// Returns an event as support sees it, by its id at Stripe.
    pub async fn event(&self, external_id: &str) -> Value {
        self.admin("GET", &format!("/admin/v1/events/{external_id}"), None).await.body
    }

    /// Waits until an event is in this state, such as `processed` or `dead`, and returns it.
    pub async fn event_in_state(&self, external_id: &str, state: &str) -> Value {
        crate::wait::until(&format!("event {external_id} is {state}"), || async {
            let found = self.event(external_id).await;
            (found["event"]["state"] == state).then_some(found)
        })
        .await
    }

    /// Runs the checks of `bursar verify` on the database and asserts that all hold.
    pub async fn verify(&self) {
        let report = bursar_engine::usecase::verify::verify(&self.app.db, |_| {}).await.expect("verify runs");
        let violations: Vec<_> = report.checks.iter().flat_map(|check| &check.violations).collect();
        assert!(report.holds(), "{violations:#?}");
    }
}

fn rustls_provider() -> Result<(), ()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| ())
}
