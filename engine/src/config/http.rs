//! Settings: bounds of HTTP.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Up to so many bytes a webhook is small. Nearly every event is.
pub const WEBHOOK_SMALL_MAX_BYTES: usize = 256 * 1_024;

/// Bounds of HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Largest body of an API request, in bytes.
    pub body_max_bytes: usize,
    /// Largest body of a webhook, in bytes.
    pub webhook_body_max_bytes: usize,
    /// Most bytes of webhooks that are being read, in all; nobody knows yet who sent them.
    pub webhook_bodies_max_bytes: usize,
    /// The share of them for webhooks up to 256 KiB each.
    pub webhook_bodies_small_bytes: usize,
    /// Most bytes of answers above 16 KiB that wait for their clients, in all.
    pub answers_max_bytes: usize,
    /// How long a request may take.
    pub timeout_ms: u64,
    /// How long the body of a request may take to arrive.
    pub body_timeout_ms: u64,
    /// How long a client may take nothing of its answer before the connection is closed.
    pub answer_timeout_ms: u64,
    /// Most requests under way at once; webhooks are counted by themselves.
    pub requests_max: usize,
    /// Most connections at once; more wait until one ends.
    pub connections_max: usize,
    /// How long a connection may be without an answer before it is closed.
    pub idle_timeout_ms: u64,
    /// How long a found API key is remembered; another node's revocation takes effect within it.
    pub api_key_cache_ms: u64,
    /// How long a stop waits for what is in flight.
    pub drain_timeout_ms: u64,
    /// Proxies whose `X-Forwarded-For` is believed: addresses, or networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
}

impl HttpConfig {
    /// The networks of the trusted proxies; the text that is none of it, if there is one.
    pub fn trusted_proxies(&self) -> Result<Vec<IpNet>, &str> {
        let network = |text: &'_ String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        self.trusted_proxies.iter().map(|text| network(text).map_err(|_| text.as_str())).collect()
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            body_max_bytes: 64 * 1_024,
            webhook_body_max_bytes: 4 * 1_024 * 1_024,
            webhook_bodies_max_bytes: 64 * 1_024 * 1_024,
            webhook_bodies_small_bytes: 16 * 1_024 * 1_024,
            answers_max_bytes: 64 * 1_024 * 1_024,
            timeout_ms: 30_000,
            body_timeout_ms: 10_000,
            answer_timeout_ms: 30_000,
            requests_max: 2_048,
            connections_max: 4_096,
            // Longer than what load balancers keep their connections for, which is often 60 s.
            idle_timeout_ms: 75_000,
            api_key_cache_ms: 5_000,
            drain_timeout_ms: 20_000,
            trusted_proxies: Vec::new(),
        }
    }
}
