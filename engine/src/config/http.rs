//! Settings: bounds of HTTP.

use super::check::{PLACES_MAX, TIME_MAX_MS, need_within};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// How long a request may be allowed to take, up to an hour.
const TIMEOUT_MS: RangeInclusive<u64> = 100..=60 * 60 * 1_000;
/// The largest body that may be allowed, at least 1 KiB and at most 64 MiB.
const BODY_BYTES: RangeInclusive<usize> = 1_024..=64 * 1_024 * 1_024;
/// A stop is promised to take 30 s; giving leases up and closing may take 7 s of them.
const DRAIN_TIMEOUT_MAX_MS: u64 = 23_000;

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

    /// Whether `timeout_ms` is in its range; other limits are compared with it.
    pub(super) fn is_timeout_sound(&self) -> bool {
        TIMEOUT_MS.contains(&self.timeout_ms)
    }

    /// Says what is wrong.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        self.check_bytes(need);
        self.check_times(need);
        need_within(need, "http.requests_max", self.requests_max, 1..=PLACES_MAX);
        need(
            self.connections_max > self.requests_max,
            "http.connections_max must be greater than requests_max, so that health is answered under load",
        );
        need(
            self.trusted_proxies().is_ok(),
            "http.trusted_proxies must be IP addresses or networks such as 10.0.0.0/8",
        );
    }

    fn check_bytes(&self, need: &mut impl FnMut(bool, &str)) {
        need_within(need, "http.body_max_bytes", self.body_max_bytes, BODY_BYTES);
        need_within(need, "http.webhook_body_max_bytes", self.webhook_body_max_bytes, BODY_BYTES);
        need(
            self.webhook_bodies_small_bytes >= WEBHOOK_SMALL_MAX_BYTES,
            "http.webhook_bodies_small_bytes must be at least 262144",
        );
        need(
            self.webhook_bodies_max_bytes.saturating_sub(self.webhook_bodies_small_bytes)
                >= self.webhook_body_max_bytes,
            "http.webhook_bodies_max_bytes must not be less than webhook_body_max_bytes and \
             webhook_bodies_small_bytes together",
        );
        need_within(need, "http.answers_max_bytes", self.answers_max_bytes, 1_024 * 1_024..=u32::MAX as usize);
    }

    fn check_times(&self, need: &mut impl FnMut(bool, &str)) {
        need_within(need, "http.timeout_ms", self.timeout_ms, TIMEOUT_MS);
        need_within(need, "http.body_timeout_ms", self.body_timeout_ms, 100..=TIME_MAX_MS);
        need_within(need, "http.answer_timeout_ms", self.answer_timeout_ms, 100..=TIME_MAX_MS);
        need(
            self.idle_timeout_ms > self.timeout_ms && self.idle_timeout_ms <= TIME_MAX_MS,
            &format!(
                "http.idle_timeout_ms must be greater than timeout_ms, so that a request can be answered, and at \
                 most {TIME_MAX_MS}"
            ),
        );
        need_within(need, "http.api_key_cache_ms", self.api_key_cache_ms, 0..=TIME_MAX_MS);
        need(
            self.drain_timeout_ms <= DRAIN_TIMEOUT_MAX_MS,
            &format!(
                "http.drain_timeout_ms must be at most {DRAIN_TIMEOUT_MAX_MS}, so that a stop takes no longer than 30 s"
            ),
        );
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
