//! Settings of a sandbox.

use crate::control::ControlToken;
use crate::error::Error;
use crate::objects::webhook_endpoint::NewEndpoint;
use crate::permission;
use crate::policy::Policy;
use crate::rules::Rules;
use crate::version::{NEWEST, Version};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings of a sandbox. By default it keeps its state in memory and listens on a free local port.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Whether other machines may reach it.
    pub is_public: bool,
    /// The folder for the state. `None` keeps it in memory only.
    pub data_dir: Option<PathBuf>,
    /// The token of the control API. `None` takes the one in `data_dir`, or generates one.
    pub control_token: Option<ControlToken>,
    /// The webhook endpoints.
    pub endpoints: Vec<NewEndpoint>,
    /// The API version of events for endpoints that name none.
    pub api_version: String,
    /// A file to which every call is appended, one line of JSON each.
    pub record: Option<PathBuf>,
    /// Seed of ids and random decisions. `None` chooses one at random.
    pub seed: Option<u64>,
    /// Sandbox seconds per real second.
    pub time_scale: f64,
    /// Sandbox seconds between attempts to deliver an event.
    pub retry_after_s: Vec<i64>,
    /// Factor for those delays.
    pub retry_scale: f64,
    /// The initial delivery policy.
    pub policy: Policy,
    /// The account's settings for failed payments.
    pub rules: Rules,
    /// Maximum number of calls per second, unlimited by default. Stripe's own sandboxes allow 25.
    pub rate_per_s: Option<u32>,
    /// What keys that begin with `rk_test_` may do, such as `rak_charge_read`. `None` allows them everything.
    pub permissions: Option<Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            is_public: false,
            data_dir: None,
            control_token: None,
            endpoints: Vec::new(),
            api_version: NEWEST.to_owned(),
            record: None,
            seed: None,
            time_scale: 1.0,
            // Source: Stripe, "Webhooks": three attempts over a few hours in a sandbox.
            retry_after_s: vec![3_600, 2 * 3_600],
            retry_scale: 1.0,
            policy: Policy::default(),
            rules: Rules::default(),
            rate_per_s: None,
            permissions: None,
        }
    }
}

impl Options {
    /// Checks the settings.
    ///
    /// # Errors
    /// `Options` with the first invalid one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let problem = |text: &str| Err(Error::Options(text.to_owned()));
        if !self.listen.ip().is_loopback() && !self.is_public {
            return problem("an address that other machines can reach must be allowed explicitly");
        }
        if self.control_token.as_ref().is_some_and(|token| !token.is_usable()) {
            return problem("the token of the control API must have at least 16 visible ASCII characters");
        }
        if Version::parse(&self.api_version).is_none() {
            return problem("the API version is unknown, an example is 2025-03-31.basil");
        }
        if !(self.time_scale.is_finite()
            && self.time_scale >= 0.0
            && self.retry_scale.is_finite()
            && self.retry_scale >= 0.0)
        {
            return problem("scales must not be negative");
        }
        if let Some(name) = self.permissions.iter().flatten().find(|name| !permission::is_known(name)) {
            return problem(&format!("there is no permission {name}; an example is rak_charge_read"));
        }
        if !(0.0..=1.0).contains(&self.policy.drop_probability) {
            return problem("a probability must be between 0 and 1");
        }
        Ok(())
    }
}
