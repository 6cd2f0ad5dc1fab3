//! Settings: GitHub Marketplace.

use super::secret::may_be_random;
use super::split;
use crate::clock::TimeMs;
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The shortest webhook secret, in characters.
const SECRET_LEN_MIN: usize = 16;
/// The highest `link_token_ttl_s`: a week.
const LINK_TOKEN_TTL_MAX_S: i64 = 7 * 24 * 60 * 60;
/// The highest `renewal_grace_hours`: a week.
const RENEWAL_GRACE_MAX_HOURS: i64 = 7 * 24;

/// GitHub Marketplace.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarketplaceConfig {
    /// Secrets of the webhook, separated by commas while rotating (`GITHUB_WEBHOOK_SECRET`).
    #[serde(skip_serializing)]
    pub webhook_secrets: String,
    /// Bursar's plan for each plan of the listing, by its name or its id at GitHub.
    pub plans: BTreeMap<String, Plan>,
    /// Lifetime of a link token.
    pub link_token_ttl_s: i64,
    /// How long after a billing date its credits are granted. GitHub reports no renewals; this leaves time for a
    /// cancellation on that date to arrive.
    pub renewal_grace_hours: i64,
}

impl Default for MarketplaceConfig {
    fn default() -> Self {
        Self {
            webhook_secrets: String::new(),
            plans: BTreeMap::new(),
            link_token_ttl_s: 60 * 60,
            renewal_grace_hours: 24,
        }
    }
}

impl MarketplaceConfig {
    /// The secrets that may sign GitHub's webhooks.
    pub fn webhook_secrets(&self) -> Vec<String> {
        split(&self.webhook_secrets)
    }

    /// Bursar's plan for a plan of the listing: the entry of `plans` for its id, else for its name in any case,
    /// else the plan of the same name.
    pub fn plan_of(&self, id: i64, name: &str) -> Option<Plan> {
        let by_id = self.plans.get(&id.to_string());
        let by_name = || self.plans.iter().find(|(known, _)| known.to_lowercase() == name.to_lowercase());
        let named = || Plan::parse(&name.to_lowercase().replace([' ', '-'], "_"));
        by_id.copied().or_else(|| by_name().map(|(_, plan)| *plan)).or_else(named)
    }

    /// The grace of a renewal in milliseconds.
    pub fn renewal_grace_ms(&self) -> TimeMs {
        self.renewal_grace_hours * 60 * 60 * 1_000
    }

    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        need(
            self.webhook_secrets().iter().all(|secret| secret.len() >= SECRET_LEN_MIN && may_be_random(secret)),
            "marketplace.webhook_secrets (GITHUB_WEBHOOK_SECRET): each secret must have at least 16 characters and be \
             random, such as from `openssl rand -hex 32`",
        );
        need(
            (60..=LINK_TOKEN_TTL_MAX_S).contains(&self.link_token_ttl_s),
            "marketplace.link_token_ttl_s must be from 60 to 604800",
        );
        need(
            (0..=RENEWAL_GRACE_MAX_HOURS).contains(&self.renewal_grace_hours),
            "marketplace.renewal_grace_hours must be from 0 to 168",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_found_by_id_then_by_name_then_by_ours() {
        let plans = [("435", Plan::Pro), ("Team", Plan::Pro), ("Pro", Plan::Trial)];
        let plans = plans.into_iter().map(|(name, plan)| (name.to_owned(), plan)).collect();
        let config = MarketplaceConfig { plans, ..MarketplaceConfig::default() };
        assert_eq!(config.plan_of(435, "whatever"), Some(Plan::Pro));
        assert_eq!(config.plan_of(1, "team"), Some(Plan::Pro));
        assert_eq!(config.plan_of(1, "PRO"), Some(Plan::Trial));
        assert_eq!(config.plan_of(1, "Pay as you go"), Some(Plan::PayAsYouGo));
        assert_eq!(config.plan_of(1, "Gold"), None);
    }
}
