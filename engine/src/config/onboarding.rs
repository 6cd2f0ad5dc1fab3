//! Settings: signing up.

use super::check::need_within;
use crate::name::normalize_domain;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The highest limit of signups.
pub const PER_IP_PER_MINUTE_MAX: u32 = 1_000;

/// A day, in seconds.
const DAY_S: i64 = 24 * 60 * 60;
/// How long a link may be good, in seconds: ten minutes to thirty days.
const LINK_TTL_S: RangeInclusive<i64> = 600..=30 * DAY_S;
/// How many mails with a link may go to one mailbox a day.
const MAILS_PER_DAY: RangeInclusive<u32> = 1..=15;

/// Whether new customers have to confirm their address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfirmationMode {
    /// They have to wherever mail is sent, and not where it is only stored.
    #[default]
    Auto,
    /// They have to.
    Required,
    /// They need not.
    Off,
}

/// Rules for signing up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnboardingConfig {
    /// Whether signing up is open.
    pub enabled: bool,
    /// Signups from one address in any 60 seconds, on all nodes together; 0 for no limit.
    pub per_ip_per_minute: u32,
    /// Signups from one IPv6 site (/48) in any 60 seconds, on all nodes together; 0 for no limit.
    pub per_ipv6_site_per_minute: u32,
    /// Signups from all of IPv6 in any 60 seconds, on all nodes together; 0 for no limit.
    pub ipv6_per_minute: u32,
    /// New customers of one mailbox in any 24 hours, on all nodes together, unless somebody vouches for them; 0 for no
    /// limit.
    pub per_mailbox_per_day: u32,
    /// Whether new customers have to confirm their address before they can add a card.
    pub confirmation: ConfirmationMode,
    /// How long the link in a mail is good, in seconds.
    pub confirmation_link_ttl_s: i64,
    /// Mails with a link to one mailbox in any 24 hours, those of signups included.
    pub confirmation_mails_per_day: u32,
    /// Domains that are accepted, with their subdomains, even if the list calls them disposable.
    pub domains_allowed: Vec<String>,
    /// Domains that are refused, with their subdomains.
    pub domains_denied: Vec<String>,
}

impl Default for OnboardingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            per_ip_per_minute: 10,
            per_ipv6_site_per_minute: 30,
            ipv6_per_minute: 300,
            per_mailbox_per_day: 3,
            confirmation: ConfirmationMode::Auto,
            confirmation_link_ttl_s: 3 * DAY_S,
            confirmation_mails_per_day: 5,
            domains_allowed: Vec::new(),
            domains_denied: Vec::new(),
        }
    }
}

impl OnboardingConfig {
    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        for (name, per_minute) in [
            ("per_ip_per_minute", self.per_ip_per_minute),
            ("per_ipv6_site_per_minute", self.per_ipv6_site_per_minute),
            ("ipv6_per_minute", self.ipv6_per_minute),
            ("per_mailbox_per_day", self.per_mailbox_per_day),
        ] {
            need(
                per_minute <= PER_IP_PER_MINUTE_MAX,
                &format!("onboarding.{name} must be at most {PER_IP_PER_MINUTE_MAX}, or 0 for no limit"),
            );
        }
        need_within(need, "onboarding.confirmation_link_ttl_s", self.confirmation_link_ttl_s, LINK_TTL_S);
        need_within(need, "onboarding.confirmation_mails_per_day", self.confirmation_mails_per_day, MAILS_PER_DAY);
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
