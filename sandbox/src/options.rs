//! How a sandbox is set up.

use crate::error::Error;
use crate::objects::webhook_endpoint::NewEndpoint;
use crate::policy::Policy;
use crate::rules::Rules;
use crate::version::{NEWEST, Version};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a sandbox is told at its start. The default is one in memory on a free port of this machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it may listen where other machines reach it.
    pub is_public: bool,
    /// Where its state is kept; without a folder in memory only.
    pub data_dir: Option<PathBuf>,
    /// Where events are delivered to.
    pub endpoints: Vec<NewEndpoint>,
    /// The version of the API in which events are made for those who name none.
    pub api_version: String,
    /// A file to which every call is appended, one line of JSON each.
    pub record: Option<PathBuf>,
    /// What decides ids, and whatever chance decides; without one chance is real.
    pub seed: Option<u64>,
    /// Seconds of the sandbox in a real one.
    pub time_scale: f64,
    /// Seconds of the sandbox between tries to deliver an event.
    pub retry_after_s: Vec<i64>,
    /// By what those are multiplied, so that nobody has to wait for hours.
    pub retry_scale: f64,
    /// What goes wrong with deliveries from the start.
    pub policy: Policy,
    /// The account's settings for failed payments.
    pub rules: Rules,
    /// Calls a second that are let through; without a number all are. Stripe's own sandbox: 25.
    pub rate_per_s: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            is_public: false,
            data_dir: None,
            endpoints: Vec::new(),
            api_version: NEWEST.to_owned(),
            record: None,
            seed: None,
            time_scale: 1.0,
            // Source: Stripe, "Webhooks": in a sandbox three tries over a few hours.
            retry_after_s: vec![3_600, 2 * 3_600],
            retry_scale: 1.0,
            policy: Policy::default(),
            rules: Rules::default(),
            rate_per_s: None,
        }
    }
}

impl Options {
    /// Whether they make sense.
    ///
    /// # Errors
    /// `Options` with the first that does not.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let problem = |text: &str| Err(Error::Options(text.to_owned()));
        if !self.listen.ip().is_loopback() && !self.is_public {
            return problem("listening where other machines reach it must be allowed explicitly");
        }
        if Version::parse(&self.api_version).is_none() {
            return problem("the API version is not one, such as 2025-03-31.basil");
        }
        if !(self.time_scale.is_finite()
            && self.time_scale >= 0.0
            && self.retry_scale.is_finite()
            && self.retry_scale >= 0.0)
        {
            return problem("scales are numbers that are not negative");
        }
        if !(0.0..=1.0).contains(&self.policy.drop_probability) {
            return problem("a probability is between 0 and 1");
        }
        Ok(())
    }
}
