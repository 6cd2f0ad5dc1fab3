//! Settings: signing up.

use crate::name::normalize_domain;
use serde::{Deserialize, Serialize};

/// The highest limit of signups from one address.
pub const PER_IP_PER_MINUTE_MAX: u32 = 1_000;

/// Rules for signing up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnboardingConfig {
    /// Whether signing up is open.
    pub enabled: bool,
    /// Signups from one address in any 60 seconds, on all nodes together; 0 for no limit.
    pub per_ip_per_minute: u32,
    /// Domains that are accepted, with their subdomains, even if the list calls them disposable.
    pub domains_allowed: Vec<String>,
    /// Domains that are refused, with their subdomains.
    pub domains_denied: Vec<String>,
}

impl Default for OnboardingConfig {
    fn default() -> Self {
        Self { enabled: true, per_ip_per_minute: 10, domains_allowed: Vec::new(), domains_denied: Vec::new() }
    }
}

impl OnboardingConfig {
    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        need(
            self.per_ip_per_minute <= PER_IP_PER_MINUTE_MAX,
            "onboarding.per_ip_per_minute must be at most 1000, or 0 for no limit",
        );
        let are_domains = |domains: &[String]| {
            domains.iter().all(|domain| normalize_domain(domain).is_some_and(|normalized| normalized == *domain))
        };
        need(
            are_domains(&self.domains_allowed) && are_domains(&self.domains_denied),
            "onboarding: domains_allowed and domains_denied must be domains in lower case and ASCII (xn--…), \
             such as example.com",
        );
    }
}
