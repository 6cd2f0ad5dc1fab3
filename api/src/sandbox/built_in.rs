//! Starts the sandbox if no secret key is set and the database is `SQLite`. It keeps its state in the data folder and
//! delivers its events to this server.

use anyhow::{Context, Result};
use bursar_engine::config::Config;
pub use bursar_sandbox::Sandbox;
use bursar_sandbox::{Error as SandboxError, NewEndpoint, Options};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The secret key for requests to the sandbox.
const SECRET_KEY: &str = "sk_test_sandbox";

/// The file in the sandbox's folder with its port.
const PORT_FILE: &str = "port";

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
    let folder = config.data_dir.join("sandbox");
    let options = Options { data_dir: Some(folder.clone()), endpoints: vec![endpoint], ..Options::default() };
    let sandbox = start_at_its_port(options, &folder).await.context("the Stripe sandbox did not start")?;
    SECRET_KEY.clone_into(&mut config.stripe.secret_key);
    sandbox.url().clone_into(&mut config.stripe.api_base);
    tracing::info!(
        url = sandbox.url(),
        "SANDBOX: no Stripe key is set, so the sandbox replaces Stripe and no real money moves"
    );
    Ok(Some(sandbox))
}

/// Starts the sandbox at the port that it had before, so that its address stays the same; at a free one if there was
/// none or somebody else has it now.
async fn start_at_its_port(options: Options, folder: &Path) -> Result<Sandbox> {
    let file = folder.join(PORT_FILE);
    if let Some(port) = read_port(&file) {
        let listen = SocketAddr::new(options.listen.ip(), port);
        match Sandbox::start(Options { listen, ..options.clone() }).await {
            Ok(sandbox) => return Ok(sandbox),
            Err(SandboxError::Listen { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let sandbox = Sandbox::start(options).await?;
    if let Some(port) = sandbox.url().rsplit(':').next()
        && let Err(error) = write_port(&file, port)
    {
        tracing::warn!(error = %error, "the sandbox's port cannot be kept: its address will be another next time");
    }
    Ok(sandbox)
}

fn read_port(file: &Path) -> Option<u16> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok().filter(|port| *port > 0)
}

fn write_port(file: &Path, port: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    file.write_all(port.as_bytes())
}

/// The address under which a server on this machine reaches itself.
fn reachable(server: SocketAddr) -> SocketAddr {
    match server.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), server.port()),
        _ => server,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    async fn start_in(folder: &Path) -> Sandbox {
        start_at_its_port(Options::default(), folder).await.unwrap()
    }

    #[tokio::test]
    async fn the_sandbox_keeps_its_address_unless_another_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = start_in(folder.path()).await;
        let url = first.url().to_owned();
        first.stop().await;
        let second = start_in(folder.path()).await;
        assert_eq!(second.url(), url);
        let beside = start_in(folder.path()).await;
        assert_ne!(beside.url(), url);
        beside.stop().await;
        second.stop().await;
    }

    #[test]
    fn what_is_no_port_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(PORT_FILE);
        assert_eq!(read_port(&file), None);
        for (text, port) in [("", None), ("0", None), ("x", None), ("70000", None), ("12111\n", Some(12_111))] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_port(&file), port, "{text}");
        }
    }
}
