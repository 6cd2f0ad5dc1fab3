//! The application: everything that a request needs, assembled in the same way for the binary and the tests.

use crate::admin_token::AdminTokens;
use crate::data_folder::FolderLock;
use crate::database::{connect, connect_node};
use crate::migrate;
use crate::recorder::Recorder;
use crate::routes::health::{self, HealthBody, SharedChecks};
use crate::sandbox::{self, Sandbox};
use crate::secrets::Secrets;
use crate::stripe_reads::StripeReads;
use crate::unsold::UnsoldPrices;
use crate::write_limit::WriteLimits;
use anyhow::{Context, Result};
use bursar_actors::{Role, Runtime, RuntimeOptions};
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::domain::api_key::KeyOwner;
use bursar_engine::domain::catalogue::CatalogueVersion;
use bursar_engine::domain::catalogue::sellable::unsellable;
use bursar_engine::infra::seal::SealBox;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::stripe::{Gateway, GatewayOptions};
use bursar_engine::usecase::handler::{Deps, SUPPORT};
use bursar_engine::usecase::{admin_token, timekeeping, version};
use ipnet::IpNet;
use moka::future::Cache;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Maximum number of API keys in the cache.
const API_KEYS_CACHED_MAX: u64 = 100_000;
/// How much longer a revoked key is cached than a valid one.
const API_KEY_REVOKED_FOR: Duration = Duration::from_secs(60);

/// The application.
pub struct App {
    /// The configuration, with generated secrets filled in.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// The clock.
    pub clock: Clock,
    /// The name of this process among the nodes.
    pub node: String,
    /// The actors.
    pub runtime: Runtime,
    /// Generated secrets.
    pub secrets: Secrets,
    /// Who is behind an admin token.
    pub admin_tokens: AdminTokens,
    pub(crate) write_limits: WriteLimits,
    pub(crate) stripe_reads: StripeReads,
    pub(crate) health_checks: SharedChecks<HealthBody>,
    metrics: Recorder,
    api_keys: Cache<String, KeyOwner>,
    /// Recently revoked keys: a look-up that began before the revocation must not cache the key again.
    api_keys_revoked: Cache<String, ()>,
    webhook_secrets: Vec<String>,
    github_secrets: Vec<String>,
    trusted_proxies: Vec<IpNet>,
    stopping: AtomicBool,
    sandbox: Option<Sandbox>,
    unsold: UnsoldPrices,
    _lock: FolderLock,
}

impl App {
    /// Starts the application: sandbox, database, migrations, actors. `server` is the address that it will serve.
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
        if config.public_url.is_empty() {
            // The port may have been chosen just now.
            let listen = server.to_string();
            config.public_url = Config { listen, ..Config::default() }.public_url();
        }
        let metrics = Recorder::start()?;
        let migration_db = connect(&config).await?;
        migrate::up(&migration_db).await?;
        migration_db.close().await;
        let db = connect_node(&config).await?;
        // Before anything reads the time. Making an identifier does.
        timekeeping::compare(&db, &clock).await.context("the database's clock cannot be read")?;
        let node = format!("{}-{}", hostname(), bursar_engine::ids::AuditId::new().body());
        let stripe = Gateway::new(GatewayOptions::from(&config))?;
        begin_catalogue(&config, &db, &stripe, sandbox.is_some(), clock.now_ms()).await?;
        let unsold = match sandbox {
            None if config.has_stripe() => UnsoldPrices::find(&config, &db).await?,
            _ => UnsoldPrices::default(),
        };
        let options = RuntimeOptions {
            config: config.clone(),
            db: db.clone(),
            clock: clock.clone(),
            node: node.clone(),
            role,
            stripe,
        };
        let runtime = Runtime::start(options).await?;
        let api_keys = Cache::builder()
            .max_capacity(API_KEYS_CACHED_MAX)
            .time_to_live(Duration::from_millis(config.http.api_key_cache_ms))
            .build();
        // Far longer than a look-up takes or a valid key is cached.
        let api_keys_revoked = Cache::builder()
            .max_capacity(API_KEYS_CACHED_MAX)
            .time_to_live(Duration::from_millis(config.http.api_key_cache_ms) + API_KEY_REVOKED_FOR)
            .build();
        let admin_tokens = AdminTokens::new(&config, &db, &clock);
        admin_tokens.look().await.context("the admin tokens cannot be read")?;
        if let Some(warning) = admin_token::bootstrap_warning(&config, admin_tokens.count_known()) {
            tracing::warn!("{warning}");
        }
        let webhook_secrets = config.webhook_secrets();
        let github_secrets = config.marketplace.webhook_secrets();
        let trusted_proxies = config.http.trusted_proxies();
        let trusted_proxies = trusted_proxies.map_err(|text| anyhow::anyhow!("{text} is not a network of proxies"))?;
        let write_limits = WriteLimits::new(&config.limits, &runtime.limiters);
        Ok(Self {
            config,
            db,
            clock,
            node,
            runtime,
            secrets,
            admin_tokens,
            write_limits,
            stripe_reads: StripeReads::default(),
            health_checks: SharedChecks::new(health::CHECKS_MAX),
            metrics,
            api_keys,
            api_keys_revoked,
            webhook_secrets,
            github_secrets,
            trusted_proxies,
            stopping: AtomicBool::new(false),
            sandbox,
            unsold,
            _lock: lock,
        })
    }

    /// Finds the owner of an API key by the key's hash. Valid keys are cached briefly.
    pub async fn api_key_owner(&self, hash: &str) -> bursar_engine::Result<Option<KeyOwner>> {
        if self.api_keys_revoked.contains_key(hash) {
            return Ok(None);
        }
        let now_ms = self.clock.now_ms();
        if let Some(owner) = self.api_keys.get(hash).await {
            return Ok(Some(owner).filter(|owner| owner.is_valid(now_ms)));
        }
        let found = self.runtime.credentials.owner(hash.to_owned()).await?;
        if let Some(owner) = &found {
            self.api_keys.insert(hash.to_owned(), owner.clone()).await;
        }
        Ok(found)
    }

    /// Whether a key that was found just now is still valid, as far as this process knows.
    pub fn is_still_valid(&self, hash: &str, owner: &KeyOwner) -> bool {
        !self.api_keys_revoked.contains_key(hash) && owner.is_valid(self.clock.now_ms())
    }

    /// Evicts an API key from the cache. If it is revoked, it is refused from now on.
    pub async fn evict_api_key(&self, hash: &str, is_revoked: bool) {
        if is_revoked {
            self.api_keys_revoked.insert(hash.to_owned(), ()).await;
        }
        self.api_keys.invalidate(hash).await;
    }

    /// Proxies whose `X-Forwarded-For` is trusted.
    pub fn trusted_proxies(&self) -> &[IpNet] {
        &self.trusted_proxies
    }

    /// Secrets that verify GitHub's webhooks; empty if GitHub is not configured.
    pub fn github_secrets(&self) -> &[String] {
        &self.github_secrets
    }

    /// Secrets that verify Stripe's webhooks.
    pub fn webhook_secrets(&self) -> &[String] {
        &self.webhook_secrets
    }

    /// What the handlers of staff's requests work with: their calls to Stripe wait in one line, apart from those of
    /// customers.
    pub(crate) fn for_support(&self) -> Deps {
        self.runtime.handlers.for_caller(SUPPORT)
    }

    /// Encrypts secrets until they are mailed.
    pub fn seal(&self) -> &SealBox {
        self.runtime.handlers.mail.seal()
    }

    /// The sandbox that replaces Stripe, if it is in use.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_ref()
    }

    /// Likely mistakes of the operator, in sentences.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.warnings();
        warnings.extend(self.unsold.warning(self.config.catalogue.version()));
        warnings.extend(admin_token::bootstrap_warning(&self.config, self.admin_tokens.count_known()));
        warnings
    }

    /// Whether the process is shutting down.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Marks the process as shutting down, so that `/health/ready` tells the load balancer.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Renders all metrics in Prometheus' text format.
    pub fn render_metrics(&self) -> String {
        self.metrics.render()
    }
}

/// Puts the latest version of the catalogue into force. With the sandbox, whose money is not real, a changed file
/// becomes a version of its own, and the sandbox gets its prices.
async fn begin_catalogue(
    config: &Config,
    db: &Db,
    stripe: &Gateway,
    has_sandbox: bool,
    now_ms: i64,
) -> bursar_engine::Result<()> {
    let (shared, configured) = (&config.catalogue, config.catalogue.now());
    let differs = version::begin(db, shared, now_ms).await?;
    let file = config.catalogue_path.as_deref().map(std::path::Path::display);
    let sold = if differs && file.is_none() { shared.now() } else { configured };
    if has_sandbox {
        match version::begin_with_sandbox(db, stripe, shared, &sold, now_ms).await {
            Ok(Some(replaced)) => tell_of_replaced(config, &replaced),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the configured catalogue cannot come into force with the sandbox")
            }
        }
    }
    for breach in unsellable(&shared.now()) {
        tracing::warn!(version = shared.version(), "the catalogue in force: {}", breach.message);
    }
    for problem in config.marketplace.plan_problems(&shared.now()) {
        tracing::warn!("{problem}; version {} of the catalogue has no such one", shared.version());
    }
    if let Some(file) = file
        && shared.now() != sold
    {
        tracing::warn!(
            version = shared.version(),
            "{file} differs from version {0} of the catalogue, which is in force: the file does not count. To have the \
             file say what is in force: `bursar catalogue export --version {0} > {file}`. If it is a change to come, \
             `bursar catalogue plan {file}` shows it, and `bursar catalogue apply {file} --reason TEXT` puts it into force",
            shared.version()
        );
    }
    Ok(())
}

/// Says that the file has replaced a version, which somebody may have applied.
fn tell_of_replaced(config: &Config, replaced: &CatalogueVersion) {
    let file = config.catalogue_path.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
    let (before, by) = (replaced.version, &replaced.applied_by);
    tracing::warn!(
        version = config.catalogue.version(),
        "{file} is in force, and no longer version {before}, which {by} applied: with the sandbox the file counts at each \
         start. To have that version again, write it there: bursar catalogue export --version {before} > {file}"
    );
}

fn hostname() -> String {
    std::fs::read_to_string("/etc/hostname").map_or_else(|_| "node".to_owned(), |name| name.trim().to_owned())
}
