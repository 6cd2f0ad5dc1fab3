//! Starts the sandbox if no secret key is set and the database is `SQLite`. It keeps its state in the data folder and
//! delivers its events to this server.

use anyhow::{Context, Result};
use bursar_engine::config::Config;
pub use bursar_sandbox::Sandbox;
use bursar_sandbox::{NewEndpoint, Options};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The secret key for requests to the sandbox.
const SECRET_KEY: &str = "sk_test_sandbox";

/// Checks that this build has the sandbox if the configuration asks for it.
///
/// # Errors
/// Never: it has.
pub fn check(_: &Config) -> bursar_engine::Result<()> {
    Ok(())
}

/// Starts the sandbox if the configuration asks for it, and configures its URL and key.
pub async fn start(config: &mut Config, server: SocketAddr) -> Result<Option<Sandbox>> {
    if !config.wants_sandbox() {
        return Ok(None);
    }
    let secret = config.webhook_secrets().into_iter().next().context("there is no webhook secret")?;
    let endpoint = NewEndpoint::new(format!("http://{}/webhooks/stripe", reachable(server)), secret);
    let options =
        Options { data_dir: Some(config.data_dir.join("sandbox")), endpoints: vec![endpoint], ..Options::default() };
    let sandbox = Sandbox::start(options).await.context("the Stripe sandbox did not start")?;
    SECRET_KEY.clone_into(&mut config.stripe.secret_key);
    sandbox.url().clone_into(&mut config.stripe.api_base);
    tracing::info!(
        url = sandbox.url(),
        "SANDBOX: no Stripe key is set, so the sandbox replaces Stripe and no real money moves"
    );
    Ok(Some(sandbox))
}

/// The address under which a server on this machine reaches itself.
fn reachable(server: SocketAddr) -> SocketAddr {
    match server.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), server.port()),
        _ => server,
    }
}
