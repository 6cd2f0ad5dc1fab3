//! Starts, drains and stops the server.

use crate::app::App;
use crate::capacity::Capacity;
use crate::connection::{LimitedAcceptor, Timeouts};
use crate::data_folder::lock_folder;
use crate::places::Places;
use crate::server::Times;
use crate::{endpoint, sandbox, server};
use anyhow::{Context, Result};
use bursar_actors::Role;
use bursar_engine::Error;
use bursar_engine::clock::{self, Clock};
use bursar_engine::config::{Config, HTTP_DRAIN_SHARE};
use bursar_engine::domain::customer::Source;
use bursar_engine::usecase::onboard::{AddressRule, Signup, onboard};
use poem::listener::TcpAcceptor;
use poem::{Endpoint, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Shifts the time that this process reads by this many milliseconds, for tests of nodes whose clocks differ.
pub const CLOCK_SKEW_VARIABLE: &str = "BURSAR_TEST_CLOCK_SKEW_MS";

/// How long the operators' last requests may take to end.
const OPS_DRAIN: Duration = Duration::from_millis(500);

/// How long closing the connections to the database may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A server that answers requests until [`Running::stop`].
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it listens for operators, if it does.
    pub ops_address: Option<SocketAddr>,
    /// The application behind the HTTP endpoint.
    pub app: Arc<App>,
    public: Listening,
    ops: Option<Listening>,
}

/// A listener that is bound and not served yet.
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    fn new(address: &str) -> Result<Self> {
        let listener = server::listen(address).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr().context("the address of the listener is not known")?;
        Ok(Self { listener, address })
    }

    /// Serves it in a task of its own.
    fn serve(
        self,
        config: &Config,
        capacity: Capacity,
        times: Times,
        endpoint: impl Endpoint<Output = Response> + 'static,
    ) -> Result<Listening> {
        let http = &config.http;
        let timeouts = Timeouts {
            idle: Duration::from_millis(http.idle_timeout_ms),
            head: Duration::from_millis(http.header_timeout_ms),
            answer: Duration::from_millis(http.answer_timeout_ms),
        };
        let acceptor = TcpAcceptor::from_tokio(self.listener).context("the listener cannot be used")?;
        let places = Places::new(capacity.connections, capacity.per_peer);
        let proxies = http.trusted_proxies().unwrap_or_default();
        let acceptor = LimitedAcceptor::new(acceptor, places, proxies, timeouts);
        let (stop, stopped) = oneshot::channel::<()>();
        let stop_asked = async move {
            // A dropped sender stops the server too.
            let _ = stopped.await;
        };
        Ok(Listening { stop, server: tokio::spawn(server::serve(acceptor, endpoint, stop_asked, times)) })
    }
}

/// A listener that is served.
struct Listening {
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Listening {
    async fn stop(self) -> Result<()> {
        let _ = self.stop.send(());
        self.server.await.context("the server did not stop")
    }
}

/// Checks that the database can be shared if the role is a part of the server.
///
/// # Errors
/// The database is SQLite, which serves one process.
pub fn check_role(config: &Config, role: Role) -> bursar_engine::Result<()> {
    if role == Role::All || config.is_postgres() {
        return Ok(());
    }
    Err(Error::Config(vec![
        "--role api and --role worker need Postgres (DATABASE_URL): SQLite serves one process, which has --role all"
            .to_owned(),
    ]))
}

/// Starts the application and serves HTTP. A worker answers `/health`, `/metrics` and its log
/// filter only, because operators watch it too.
pub async fn start(config: Config, role: Role, clock: Clock) -> Result<Running> {
    check_role(&config, role)?;
    sandbox::check(&config)?;
    // Lock the folder before binding the port: a second process with the same folder then reports the folder, not the
    // port.
    let lock = lock_folder(&config)?;
    let public = Bound::new(&config.listen)?;
    let ops = (!config.ops_listen.is_empty()).then(|| Bound::new(&config.ops_listen)).transpose()?;
    let (address, ops_address) = (public.address, ops.as_ref().map(|bound| bound.address));
    let app = Arc::new(App::start(lock, config, role, clock, address).await?);
    let config = &app.config;
    let (capacity, ops_capacity) = (Capacity::new(&config.http), Capacity::of_operators(&config.http));
    let (drain, grace) = (http_drain(config), Duration::from_millis(config.http.stop_grace_ms));
    let age_max = Duration::from_millis(config.http.connection_age_max_ms);
    let times = Times { age_max, grace, drain: drain.saturating_sub(grace) };
    let public = public.serve(config, capacity, times, endpoint::endpoint(app.clone(), role, capacity))?;
    // It is stopped last, so it needs no grace time.
    let times = Times { grace: Duration::ZERO, drain: OPS_DRAIN, ..times };
    let serve_ops = |bound: Bound| bound.serve(config, ops_capacity, times, endpoint::ops(app.clone(), ops_capacity));
    let ops = ops.map(serve_ops).transpose()?;
    Ok(Running { address, ops_address, app, public, ops })
}

/// The part of a stop that requests may take.
fn http_drain(config: &Config) -> Duration {
    Duration::from_millis(config.http.drain_timeout_ms / HTTP_DRAIN_SHARE)
}

impl Running {
    /// Shuts down: accepts no more connections, waits for requests and jobs, releases the leases. Operators are
    /// answered until the end.
    pub async fn stop(self) -> Result<()> {
        self.app.set_stopping();
        self.public.stop().await?;
        let drain = Duration::from_millis(self.app.config.http.drain_timeout_ms);
        self.app.runtime.stop(drain.saturating_sub(http_drain(&self.app.config))).await;
        let ops = self.ops;
        let ops_stopped = async move { if let Some(ops) = ops { ops.stop().await } else { Ok(()) } };
        let db_closed = tokio::time::timeout(CLOSE_TIMEOUT, self.app.db.close());
        let (ops_stopped, db_closed) = tokio::join!(ops_stopped, db_closed);
        if db_closed.is_err() {
            tracing::warn!("connections to the database were still busy at the end");
        }
        ops_stopped
    }
}

/// `bursar serve`: runs until SIGTERM or SIGINT, or until an actor could not be restarted.
pub async fn run(config: Config, role: Role, demo: bool) -> Result<()> {
    skew_clock(&config)?;
    // Install the handler before the server answers: from its first answer on, a caller may send SIGTERM.
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let running = tokio::select! {
        running = start(config, role, Clock::System) => running?,
        _ = terminate.recv() => return Ok(()),
    };
    if let Some(address) = running.ops_address {
        tracing::info!(%address, "bursar is listening for operators");
    }
    tracing::info!(address = %running.address, "bursar is listening");
    if demo {
        print_demo(&running).await?;
    }
    let actors_failed = tokio::select! {
        _ = terminate.recv() => false,
        _ = tokio::signal::ctrl_c() => false,
        () = running.app.runtime.failed() => true,
    };
    tracing::info!("stopping");
    running.stop().await?;
    anyhow::ensure!(!actors_failed, "an actor could not be restarted; see the log");
    Ok(())
}

/// Shifts the time that this process reads if a test asks for it. Refused in live mode.
pub(crate) fn skew_clock(config: &Config) -> Result<()> {
    let Ok(text) = std::env::var(CLOCK_SKEW_VARIABLE) else { return Ok(()) };
    let skew_ms = text.parse().with_context(|| format!("{CLOCK_SKEW_VARIABLE} must be a number of milliseconds"))?;
    anyhow::ensure!(
        !config.stripe.livemode,
        "{CLOCK_SKEW_VARIABLE} shifts the clock, for tests only; unset it if stripe.livemode is true"
    );
    tracing::warn!(skew_ms, "{CLOCK_SKEW_VARIABLE} shifts this process's clock; it is for tests only");
    clock::skew_for_tests(skew_ms);
    Ok(())
}

/// Prints URLs, credentials and a first request. Creates the demo's customer on the first start.
#[allow(clippy::print_stdout, reason = "this is the command's output")]
async fn print_demo(running: &Running) -> Result<()> {
    let app = &running.app;
    let mut secrets = app.secrets.clone();
    if secrets.demo_api_key.is_none() {
        let email = format!("demo-{}@example.com", bursar_engine::ids::AuditId::new().body());
        let now_ms = app.clock.now_ms();
        let catalogue = app.config.catalogue.now();
        let plan = catalogue.entry_plan();
        let signup = Signup {
            email: &email,
            name: "Demo",
            source: Source::Direct,
            plan,
            marketplace_link: None,
            address: AddressRule::Assumed,
            per_mailbox_per_day: 0,
        };
        let made = onboard(&app.db, app.seal(), signup, now_ms).await?;
        app.runtime.dispatcher.announce(made.wakes);
        secrets.demo_api_key = Some(made.api_key.expose().to_owned());
        secrets.write(&app.config.data_dir)?;
    }
    let base = format!("http://{}", running.address);
    let api_key = secrets.demo_api_key.unwrap_or_default();
    println!(
        "\nBursar is running.\n\n  address      {base}\n  docs         {base}/docs\n  API key      {api_key}\n  \
         admin token  {}\n  Stripe       {}\n\nSpend a credit:\n\n  curl -s {base}/api/v1/usage -H 'x-api-key: {api_key}' \\\n    \
         -H 'Idempotency-Key: first' -H 'Content-Type: application/json' -d '{{\"units\": 1}}'\n",
        app.config.admin_token,
        app.sandbox().map_or_else(
            || "none".to_owned(),
            |sandbox| format!("SANDBOX at {}: no real money moves; pay with pm_card_visa", sandbox.url())
        ),
    );
    Ok(())
}
