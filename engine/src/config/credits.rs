//! Settings: units of work, warnings and holds.

use crate::amount::Credits;
use crate::count::plural;
use serde::{Deserialize, Serialize};

/// Units of work, warnings and holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreditsConfig {
    /// Name of one unit of work.
    pub unit: String,
    /// Name of several units; if empty, the English plural of `unit`.
    pub unit_plural: String,
    /// The balance at or below which answers carry a warning.
    pub warn_at: Credits,
    /// Whether the credits for a first payment method are given once for each card, besides once for each mailbox.
    pub bonus_once_per_card: bool,
    /// Lifetime of a hold if the request names none, in seconds.
    pub hold_default_s: i64,
    /// The longest lifetime of a hold, in seconds.
    pub hold_max_s: i64,
}

impl CreditsConfig {
    /// The plural of the unit's name.
    pub fn units(&self) -> String {
        if !self.unit_plural.is_empty() {
            return self.unit_plural.clone();
        }
        plural(&self.unit)
    }
}

impl Default for CreditsConfig {
    fn default() -> Self {
        Self {
            unit: "fix".to_owned(),
            unit_plural: String::new(),
            warn_at: Credits(1),
            bonus_once_per_card: true,
            hold_default_s: 15 * 60,
            hold_max_s: 7 * 24 * 60 * 60,
        }
    }
}
