//! Settings: numbers of the business.

use crate::amount::{Credits, MoneyMinor};
use serde::{Deserialize, Serialize};

/// Numbers of the business.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreditsConfig {
    /// What one unit of work is called.
    pub unit: String,
    /// What several are called; if empty, the English plural of `unit`.
    pub unit_plural: String,
    /// Credits on signup.
    pub signup: Credits,
    /// Credits for every paid period of Pro.
    pub pro_period: Credits,
    /// Credits for adding a payment method, once in a customer's life.
    pub payment_method_bonus: Credits,
    /// At this many credits or fewer, answers carry a warning.
    pub warn_at: Credits,
    /// Price of one unit beyond the credits on trial and pay as you go, in minor units.
    pub pay_as_you_go_price_minor: MoneyMinor,
    /// Price of one unit beyond the credits on Pro, in minor units.
    pub pro_price_minor: MoneyMinor,
    /// ISO 4217 code of the prices.
    pub currency: String,
    /// How long a hold lasts if the request does not say, in seconds.
    pub hold_default_s: i64,
    /// How long a hold may last, in seconds.
    pub hold_max_s: i64,
}

impl CreditsConfig {
    /// What several units of work are called.
    pub fn units(&self) -> String {
        if !self.unit_plural.is_empty() {
            return self.unit_plural.clone();
        }
        let hisses = ["s", "x", "z", "ch", "sh"].iter().any(|ending| self.unit.ends_with(ending));
        format!("{}{}", self.unit, if hisses { "es" } else { "s" })
    }
}

impl Default for CreditsConfig {
    fn default() -> Self {
        Self {
            unit: "fix".to_owned(),
            unit_plural: String::new(),
            signup: Credits(5),
            pro_period: Credits(60),
            payment_method_bonus: Credits(5),
            warn_at: Credits(1),
            pay_as_you_go_price_minor: MoneyMinor(2_900),
            pro_price_minor: MoneyMinor(1_500),
            currency: "usd".to_owned(),
            hold_default_s: 15 * 60,
            hold_max_s: 7 * 24 * 60 * 60,
        }
    }
}
