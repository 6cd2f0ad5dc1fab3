//! A build without the sandbox.

use bursar_engine::config::Config;
use bursar_engine::{Error, Result};
use std::net::SocketAddr;

/// Has no values, because there is no sandbox.
#[derive(Debug)]
pub enum Sandbox {}

impl Sandbox {
    /// Never called.
    pub fn url(&self) -> &str {
        match *self {}
    }
}

/// Checks that the configuration does not ask for the sandbox.
///
/// # Errors
/// `Config` if it does.
pub fn check(config: &Config) -> Result<()> {
    if config.wants_sandbox() {
        let problem = "stripe.sandbox is true, but this build of bursar has no sandbox: set STRIPE_SECRET_KEY, or \
                       stripe.sandbox to false";
        return Err(Error::Config(vec![problem.to_owned()]));
    }
    Ok(())
}

/// Starts nothing.
///
/// # Errors
/// As [`check`].
pub async fn start(config: &mut Config, _server: SocketAddr) -> anyhow::Result<Option<Sandbox>> {
    check(config)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_the_sandbox_refuses_to_use_it() {
        let mut config = Config::default();
        assert!(check(&config).unwrap_err().to_string().contains("this build of bursar has no sandbox"));
        config.stripe.sandbox = false;
        assert!(check(&config).is_ok());
    }
}
