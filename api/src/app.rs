//! The application: everything that a request needs, put together in one way for the binary and for
//! the tests.

use crate::data_folder::FolderLock;
use crate::database::{connect, connect_node};
use crate::migrate;
use crate::recorder::Recorder;
use crate::sandbox::{self, Sandbox};
use crate::secrets::Secrets;
use crate::write_limit::WriteLimits;
use anyhow::{Context, Result};
use bursar_actors::{Role, Runtime, RuntimeOptions};
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::domain::api_key::{KeyOwner, secret_hash};
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::seal::SealBox;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::stripe::{Gateway, GatewayOptions};
use bursar_engine::usecase::timekeeping;
use ipnet::IpNet;
use moka::future::Cache;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// API keys remembered at once.
const API_KEYS_CACHED_MAX: u64 = 100_000;
/// A revoked key is remembered this much longer than a found one.
const API_KEY_REVOKED_FOR: Duration = Duration::from_secs(60);

/// The application.
pub struct App {
    /// The configuration, complete.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// The clock.
    pub clock: Clock,
    /// The actors.
    pub runtime: Runtime,
    /// Secrets that were made here.
    pub secrets: Secrets,
    pub(crate) write_limits: WriteLimits,
    metrics: Recorder,
    api_keys: Cache<String, KeyOwner>,
    /// Keys revoked here lately: a look-up that began before must not bring one back.
    api_keys_revoked: Cache<String, ()>,
    admin_token_hash: String,
    webhook_secrets: Vec<String>,
    github_secrets: Vec<String>,
    trusted_proxies: Vec<IpNet>,
    stopping: AtomicBool,
    sandbox: Option<Sandbox>,
    _lock: FolderLock,
}

impl App {
    /// Starts the application: sandbox, database, migrations, actors. `server` is where it will be reached; the
    /// lock is taken before, so that a second process hears of the folder and not of the port.
    pub async fn start(
        lock: FolderLock,
        mut config: Config,
        role: Role,
        clock: Clock,
        server: SocketAddr,
    ) -> Result<Self> {
        config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        let secrets = Secrets::complete(&mut config)?;
        let sandbox = sandbox::start(&mut config, server).await?;
        let metrics = Recorder::start()?;
        let unhurried = connect(&config).await?;
        migrate::up(&unhurried).await?;
        unhurried.close().await;
        let db = connect_node(&config).await?;
        // Before anything takes the time, an identifier included.
        timekeeping::compare(&db, &clock).await.context("the database's clock cannot be read")?;
        let node = format!("{}-{}", hostname(), bursar_engine::ids::AuditId::new().body());
        let stripe = Gateway::new(GatewayOptions::from(&config))?;
        let options =
            RuntimeOptions { config: config.clone(), db: db.clone(), clock: clock.clone(), node, role, stripe };
        let runtime = Runtime::start(options).await?;
        let api_keys = Cache::builder()
            .max_capacity(API_KEYS_CACHED_MAX)
            .time_to_live(Duration::from_millis(config.http.api_key_cache_ms))
            .build();
        // Far longer than a look-up takes or a found key is remembered.
        let api_keys_revoked = Cache::builder()
            .max_capacity(API_KEYS_CACHED_MAX)
            .time_to_live(Duration::from_millis(config.http.api_key_cache_ms) + API_KEY_REVOKED_FOR)
            .build();
        let admin_token_hash = secret_hash(&config.admin_token);
        let webhook_secrets = config.webhook_secrets();
        let github_secrets = config.marketplace.webhook_secrets();
        let trusted_proxies = config.http.trusted_proxies();
        let trusted_proxies = trusted_proxies.map_err(|text| anyhow::anyhow!("{text} is no network of a proxy"))?;
        let write_limits = WriteLimits::new(&config.limits);
        Ok(Self {
            config,
            db,
            clock,
            runtime,
            secrets,
            write_limits,
            metrics,
            api_keys,
            api_keys_revoked,
            admin_token_hash,
            webhook_secrets,
            github_secrets,
            trusted_proxies,
            stopping: AtomicBool::new(false),
            sandbox,
            _lock: lock,
        })
    }

    /// Whose an API key is, by its hash. Found keys are remembered for a moment.
    pub async fn api_key_owner(&self, hash: &str) -> bursar_engine::Result<Option<CustomerId>> {
        if self.api_keys_revoked.contains_key(hash) {
            return Ok(None);
        }
        let now_ms = self.clock.now_ms();
        if let Some(owner) = self.api_keys.get(hash).await {
            return Ok(owner.is_valid(now_ms).then_some(owner.customer_id));
        }
        let found = self.runtime.credentials.owner(hash.to_owned()).await?;
        if let Some(owner) = &found {
            self.api_keys.insert(hash.to_owned(), owner.clone()).await;
        }
        Ok(found.map(|owner| owner.customer_id))
    }

    /// Forgets a key that was revoked, or will be soon.
    pub async fn api_key_forget(&self, hash: &str, is_revoked: bool) {
        if is_revoked {
            self.api_keys_revoked.insert(hash.to_owned(), ()).await;
        }
        self.api_keys.invalidate(hash).await;
    }

    /// Proxies whose word about where a request comes from is taken.
    pub fn trusted_proxies(&self) -> &[IpNet] {
        &self.trusted_proxies
    }

    /// Whether a token is the bootstrap admin token. Compares hashes in constant time.
    pub fn is_admin_token(&self, token: &str) -> bool {
        constant_time_eq(secret_hash(token).as_bytes(), self.admin_token_hash.as_bytes())
    }

    /// The secrets under which GitHub's webhooks may be signed; none if it sends none.
    pub fn github_secrets(&self) -> &[String] {
        &self.github_secrets
    }

    /// The secrets under which Stripe's webhooks may be signed.
    pub fn webhook_secrets(&self) -> &[String] {
        &self.webhook_secrets
    }

    /// What seals secrets that have to be kept for a while.
    pub fn seal(&self) -> &SealBox {
        self.runtime.handlers.mail.seal()
    }

    /// The sandbox that stands in for Stripe, if one does.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref()
    }

    /// Whether the process is on its way out.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Says that the process is on its way out, so that `/health/ready` tells the load balancer.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// All metrics in Prometheus' text format.
    pub fn render_metrics(&self) -> String {
        self.metrics.render()
    }
}

fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    a.ct_eq(b).into()
}

fn hostname() -> String {
    std::fs::read_to_string("/etc/hostname").map_or_else(|_| "node".to_owned(), |name| name.trim().to_owned())
}
