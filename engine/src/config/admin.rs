//! Settings: admin tokens.

use super::check::need_within;
use serde::{Deserialize, Serialize};

/// The longest time for which tokens are remembered: a minute. So long may a revoked token still work on other nodes.
const TOKEN_CACHE_MAX_MS: u64 = 60_000;

/// Who may act as staff.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Whether the bootstrap token `admin_token` is accepted. It may do everything and names nobody.
    pub bootstrap: bool,
    /// How long a node remembers the valid tokens, in milliseconds. A token that another node revoked works no longer
    /// than that here.
    pub token_cache_ms: u64,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { bootstrap: true, token_cache_ms: 5_000 }
    }
}

impl AdminConfig {
    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        need_within(need, "admin.token_cache_ms", self.token_cache_ms, 0..=TOKEN_CACHE_MAX_MS);
    }
}
