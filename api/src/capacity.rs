//! How many connections a listener has, and how many requests of each kind it serves at once.
//!
//! Each kind of request has a number of its own, and together they are fewer than the connections. So neither customers
//! nor strangers can take the places of signed webhooks or of health.

use bursar_engine::config::HttpConfig;

/// Descriptors that stay free for the database, the broker, calls and files.
const DESCRIPTORS_RESERVED: usize = 256;
/// Maximum number of requests for health and metrics at once.
const HEALTH_MAX: usize = 64;

/// The numbers of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Connections.
    pub connections: usize,
    /// Connections of one peer.
    pub per_peer: usize,
    /// Requests of customers and staff.
    pub requests: usize,
    /// Webhooks whose bodies are complete.
    pub webhooks: usize,
    /// Requests for health and metrics.
    pub health: usize,
}

impl Capacity {
    /// The configured numbers, or smaller ones if the limit of open files requires it.
    pub fn new(http: &HttpConfig) -> Self {
        let capacity = Self::of(http, open_files_max());
        if capacity.connections < http.connections_max {
            tracing::warn!(
                connections = capacity.connections,
                requests = capacity.requests,
                "the limit of open files is too low for http.connections_max: fewer connections are accepted"
            );
        }
        capacity
    }

    fn of(http: &HttpConfig, descriptors: Option<usize>) -> Self {
        let possible = descriptors.map_or(usize::MAX, |limit| limit.saturating_sub(descriptors_reserved(http)).max(1));
        let connections = http.connections_max.min(possible);
        // At most 13 of 16 connections are served at once, so that some always wait for their clients.
        let part = |number: usize| (connections * number / 16).max(1);
        Self {
            connections,
            per_peer: http.connections_per_peer_max,
            requests: http.requests_max.min(part(8)),
            webhooks: http.webhooks_max.min(part(4)),
            health: HEALTH_MAX.min(part(1)),
        }
    }

    /// The numbers of the operators' listener.
    pub fn of_operators(http: &HttpConfig) -> Self {
        let connections = http.ops_connections_max;
        Self { connections, per_peer: connections, requests: connections, webhooks: 1, health: connections }
    }
}

/// The limit of open files of this process, if the system says it.
pub(crate) fn open_files_max() -> Option<usize> {
    descriptors_max(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default())
}

/// The descriptors that connections to the public listener do not get.
pub(crate) fn descriptors_reserved(http: &HttpConfig) -> usize {
    DESCRIPTORS_RESERVED + http.ops_connections_max
}

/// Reads the soft limit of open files from Linux's table of limits (`proc_pid_limits(5)`).
fn descriptors_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_as_configured() {
        let http = HttpConfig::default();
        let capacity = Capacity::of(&http, Some(1_048_576));
        let expected = Capacity { connections: 4_096, per_peer: 512, requests: 2_048, webhooks: 1_024, health: 64 };
        assert_eq!(capacity, expected);
        assert_eq!(Capacity::of(&http, None), expected);
    }

    #[test]
    fn few_descriptors_leave_connections_for_those_that_wait() {
        let http = HttpConfig::default();
        for descriptors in [0, 300, 1_024, 4_096] {
            let Capacity { connections, requests, webhooks, health, .. } = Capacity::of(&http, Some(descriptors));
            assert!(connections >= 1 && requests >= 1 && webhooks >= 1 && health >= 1, "{descriptors}");
            assert!(connections < 16 || requests + webhooks + health < connections, "{descriptors}");
            assert!(descriptors < 400 || connections + 256 + 64 <= descriptors, "{descriptors}");
        }
    }

    #[test]
    fn the_limit_of_open_files_is_read() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max processes             7823                 7823                 processes \n\
                     Max open files            1024                 524288               files     \n";
        assert_eq!(descriptors_max(table), Some(1_024));
        assert_eq!(descriptors_max("Max open files            unlimited            unlimited            files"), None);
        assert_eq!(descriptors_max(""), None);
    }
}
