//! Start, drain, stop.

use crate::app::App;
use crate::connection::{Bounded, connections_bound};
use crate::data_folder::lock_folder;
use crate::routes;
use anyhow::{Context, Result};
use bursar_actors::Role;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::customer::Source;
use bursar_engine::onboard::{Signup, onboard};
use poem::Server;
use poem::listener::{Acceptor, Listener, TcpListener};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Of the time for draining, what HTTP may take; the rest is for jobs.
const HTTP_DRAIN_SHARE: u32 = 3;

/// How long closing the connections to the database may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The application.
    pub app: Arc<App>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

/// Starts the application and serves HTTP. A worker answers `/health` and `/metrics` only, because
/// operators watch it too.
pub async fn start(config: Config, role: Role, clock: Clock) -> Result<Running> {
    // Before the port: whoever starts a second process in one folder hears what is wrong with that.
    let lock = lock_folder(&config)?;
    let listen = config.listen.clone();
    let acceptor = TcpListener::bind(listen.clone())
        .into_acceptor()
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let address = acceptor
        .local_addr()
        .first()
        .and_then(|address| address.as_socket_addr().copied())
        .context("the address of the listener is not known")?;
    let drain = Duration::from_millis(config.http.drain_timeout_ms);
    let idle_timeout = Duration::from_millis(config.http.idle_timeout_ms);
    let acceptor = Bounded::new(acceptor, connections_bound(config.http.connections_max), idle_timeout);
    let app = Arc::new(App::start(lock, config, role, clock, address).await?);
    let endpoint = routes::endpoint(app.clone(), role);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(
        endpoint,
        async move {
            // A dropped sender stops the server just as well.
            let _ = stopped.await;
        },
        Some(drain / HTTP_DRAIN_SHARE),
    ));
    Ok(Running { address, app, stop, server })
}

impl Running {
    /// Stops in good order: no new requests, what is in flight ends, leases are given up.
    pub async fn stop(self) -> Result<()> {
        self.app.set_stopping();
        let _ = self.stop.send(());
        self.server.await.context("the server did not stop")?.context("the server failed")?;
        let drain = Duration::from_millis(self.app.config.http.drain_timeout_ms);
        self.app.runtime.stop(drain - drain / HTTP_DRAIN_SHARE).await;
        if tokio::time::timeout(CLOSE_TIMEOUT, self.app.db.close()).await.is_err() {
            tracing::warn!("connections to the database were busy to the end");
        }
        Ok(())
    }
}

/// `bursar serve`: runs until SIGTERM or SIGINT, or until the actors give up.
pub async fn run(config: Config, role: Role, demo: bool) -> Result<()> {
    let running = start(config, role, Clock::System).await?;
    tracing::info!(address = %running.address, "bursar is listening");
    if demo {
        print_demo(&running).await?;
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let gave_up = tokio::select! {
        _ = terminate.recv() => false,
        _ = tokio::signal::ctrl_c() => false,
        () = running.app.runtime.failed() => true,
    };
    tracing::info!("stopping");
    running.stop().await?;
    anyhow::ensure!(!gave_up, "the actors gave up; see the log");
    Ok(())
}

/// Prints what somebody needs to try it out; the demo's customer is made on the first start.
#[allow(clippy::print_stdout, reason = "this is the command's output")]
async fn print_demo(running: &Running) -> Result<()> {
    let app = &running.app;
    let mut secrets = app.secrets.clone();
    if secrets.demo_api_key.is_none() {
        let email = format!("demo-{}@example.com", bursar_engine::ids::AuditId::new().body());
        let now_ms = app.clock.now_ms();
        let credits = app.config.credits.signup;
        let signup = Signup { email: &email, name: "Demo", source: Source::Direct, credits, marketplace_link: None };
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
