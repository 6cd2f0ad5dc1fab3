//! Settings: limits of HTTP.

use super::check::{CAPACITY_MAX, TIME_MAX_MS, need_within};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The range of `timeout_ms`: up to an hour.
const TIMEOUT_MS: RangeInclusive<u64> = 100..=60 * 60 * 1_000;
/// The range of body limits: 1 KiB to 64 MiB.
const BODY_BYTES: RangeInclusive<usize> = 1_024..=64 * 1_024 * 1_024;
/// The longest drain. A stop takes at most 30 s, of which releasing leases and closing may take 7 s.
const DRAIN_TIMEOUT_MAX_MS: u64 = 23_000;
/// HTTP gets the drain timeout divided by this; jobs get the rest.
pub const HTTP_DRAIN_SHARE: u64 = 3;
/// Maximum number of origins that other sites' pages may call from.
const CORS_ORIGINS_MAX: usize = 100;

/// The largest small webhook. Nearly every event is small.
pub const WEBHOOK_SMALL_MAX_BYTES: usize = 256 * 1_024;

/// Limits of HTTP.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Largest body of an API request, in bytes.
    pub body_max_bytes: usize,
    /// Largest body of a webhook, in bytes.
    pub webhook_body_max_bytes: usize,
    /// Maximum bytes of webhook bodies being read, in all; their senders are not authenticated yet.
    pub webhook_bodies_max_bytes: usize,
    /// The part of that reserved for webhooks of up to 256 KiB each.
    pub webhook_bodies_small_bytes: usize,
    /// Maximum bytes of all other bodies being read, in all.
    pub bodies_max_bytes: usize,
    /// Maximum bytes of incomplete bodies of one client, in each of these shares; a quarter of a share at most.
    pub bodies_per_client_bytes: usize,
    /// Maximum bytes of answers above 16 KiB waiting for their clients, in all.
    pub answers_max_bytes: usize,
    /// The longest duration of a request.
    pub timeout_ms: u64,
    /// The longest time for the head of a request to arrive, from its first byte on.
    pub header_timeout_ms: u64,
    /// The longest time for a body of at most 64 KiB to arrive.
    pub small_body_timeout_ms: u64,
    /// The longest time for a larger body to arrive.
    pub body_timeout_ms: u64,
    /// How long a client may read nothing of its answer before the connection is closed.
    pub answer_timeout_ms: u64,
    /// Maximum number of concurrent requests, apart from webhooks and health.
    pub requests_max: usize,
    /// Maximum number of concurrent webhooks whose bodies are complete.
    pub webhooks_max: usize,
    /// Maximum number of concurrent connections. One more closes the connection that has waited longest for its client.
    pub connections_max: usize,
    /// Maximum number of connections of one peer; trusted proxies have no limit of their own.
    pub connections_per_peer_max: usize,
    /// Maximum number of connections to `ops_listen`.
    pub ops_connections_max: usize,
    /// How long a connection may be idle before it is closed.
    pub idle_timeout_ms: u64,
    /// The age from which a connection is closed after its next answer.
    pub connection_age_max_ms: u64,
    /// How long an API key stays cached; another node's revocation takes effect within it.
    pub api_key_cache_ms: u64,
    /// How long a stop waits for work in flight.
    pub drain_timeout_ms: u64,
    /// How long a stop still takes connections and requests, while the server is no longer ready.
    pub stop_grace_ms: u64,
    /// Proxies whose `X-Forwarded-For` is trusted: addresses, or networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// Origins whose pages may call the customers' routes, such as `https://app.example.com`.
    pub cors_origins: Vec<String>,
}

impl HttpConfig {
    /// The networks of the trusted proxies, or the first text that is neither an address nor a network.
    pub fn trusted_proxies(&self) -> Result<Vec<IpNet>, &str> {
        let network = |text: &'_ String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        self.trusted_proxies.iter().map(|text| network(text).map_err(|_| text.as_str())).collect()
    }

    /// Whether `timeout_ms` is in its range; other limits are compared with it.
    pub(super) fn is_timeout_in_range(&self) -> bool {
        TIMEOUT_MS.contains(&self.timeout_ms)
    }

    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        self.check_bytes(need);
        self.check_times(need);
        need_within(need, "http.requests_max", self.requests_max, 1..=CAPACITY_MAX);
        need_within(need, "http.webhooks_max", self.webhooks_max, 1..=CAPACITY_MAX);
        need(
            self.connections_max <= CAPACITY_MAX
                && self.connections_max / 5 * 4 >= self.requests_max.saturating_add(self.webhooks_max),
            "http.connections_max must be greater than requests_max and webhooks_max together by a quarter, so that \
             webhooks and health are answered under load",
        );
        need_within(need, "http.connections_per_peer_max", self.connections_per_peer_max, 1..=CAPACITY_MAX);
        need_within(need, "http.ops_connections_max", self.ops_connections_max, 4..=1_024);
        need(
            self.cors_origins.len() <= CORS_ORIGINS_MAX && self.cors_origins.iter().all(|origin| is_origin(origin)),
            "http.cors_origins must be at most 100 origins such as https://app.example.com, without a path and in lower \
             case",
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
        need_within(need, "http.bodies_max_bytes", self.bodies_max_bytes, 1_024 * 1_024..=u32::MAX as usize);
        need_within(need, "http.bodies_per_client_bytes", self.bodies_per_client_bytes, BODY_BYTES);
        need_within(need, "http.answers_max_bytes", self.answers_max_bytes, 1_024 * 1_024..=u32::MAX as usize);
    }

    fn check_times(&self, need: &mut impl FnMut(bool, &str)) {
        need_within(need, "http.timeout_ms", self.timeout_ms, TIMEOUT_MS);
        need_within(need, "http.header_timeout_ms", self.header_timeout_ms, 100..=TIME_MAX_MS);
        need_within(need, "http.body_timeout_ms", self.body_timeout_ms, 100..=TIME_MAX_MS);
        need_within(need, "http.small_body_timeout_ms", self.small_body_timeout_ms, 100..=TIME_MAX_MS);
        need_within(need, "http.answer_timeout_ms", self.answer_timeout_ms, 100..=TIME_MAX_MS);
        need(
            self.idle_timeout_ms > self.timeout_ms && self.idle_timeout_ms <= TIME_MAX_MS,
            &format!(
                "http.idle_timeout_ms must be greater than timeout_ms, so that a request can be answered, and at \
                 most {TIME_MAX_MS}"
            ),
        );
        need_within(need, "http.connection_age_max_ms", self.connection_age_max_ms, 1_000..=TIME_MAX_MS);
        need_within(need, "http.api_key_cache_ms", self.api_key_cache_ms, 0..=TIME_MAX_MS);
        need(
            self.drain_timeout_ms <= DRAIN_TIMEOUT_MAX_MS,
            &format!(
                "http.drain_timeout_ms must be at most {DRAIN_TIMEOUT_MAX_MS}, so that a stop takes no longer than 30 s"
            ),
        );
        need(
            self.drain_timeout_ms > DRAIN_TIMEOUT_MAX_MS
                || self.stop_grace_ms.saturating_mul(2 * HTTP_DRAIN_SHARE) <= self.drain_timeout_ms,
            "http.stop_grace_ms must be at most a sixth of drain_timeout_ms, so that requests have time to end",
        );
    }
}

/// Whether a text is an origin as browsers send it: scheme, host and a port that is not the scheme's own.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte))
    })
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            body_max_bytes: 64 * 1_024,
            webhook_body_max_bytes: 4 * 1_024 * 1_024,
            webhook_bodies_max_bytes: 64 * 1_024 * 1_024,
            webhook_bodies_small_bytes: 16 * 1_024 * 1_024,
            answers_max_bytes: 64 * 1_024 * 1_024,
            bodies_max_bytes: 32 * 1_024 * 1_024,
            bodies_per_client_bytes: 8 * 1_024 * 1_024,
            timeout_ms: 30_000,
            header_timeout_ms: 10_000,
            small_body_timeout_ms: 5_000,
            body_timeout_ms: 10_000,
            answer_timeout_ms: 30_000,
            requests_max: 2_048,
            webhooks_max: 1_024,
            connections_max: 4_096,
            connections_per_peer_max: 512,
            ops_connections_max: 64,
            // Load balancers often keep connections for 60 s.
            idle_timeout_ms: 75_000,
            connection_age_max_ms: 60 * 60 * 1_000,
            api_key_cache_ms: 5_000,
            drain_timeout_ms: 20_000,
            stop_grace_ms: 1_000,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_browser_sends_is_an_origin() {
        for origin in ["https://app.example.com", "http://127.0.0.1:3000", "http://[::1]:3000", "https://a-b.example"] {
            assert!(is_origin(origin), "{origin}");
        }
        for text in ["", "*", "null", "app.example.com", "https://", "https://App.example.com", "https://a.example/"] {
            assert!(!is_origin(text), "{text}");
        }
    }
}
