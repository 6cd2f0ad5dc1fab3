//! Settings: amounts, prices and holds.

use crate::amount::{Credits, MoneyMinor};
use crate::count::plural;
use serde::{Deserialize, Serialize};

/// Amounts, prices and holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreditsConfig {
    /// Name of one unit of work.
    pub unit: String,
    /// Name of several units; if empty, the English plural of `unit`.
    pub unit_plural: String,
    /// Credits for signing up.
    pub signup: Credits,
    /// Credits for every paid period of Pro.
    pub pro_period: Credits,
    /// Credits for a customer's first payment method.
    pub payment_method_bonus: Credits,
    /// The balance at or below which answers carry a warning.
    pub warn_at: Credits,
    /// Price of a unit without credits on trial and pay as you go, in minor units.
    pub pay_as_you_go_price_minor: MoneyMinor,
    /// Price of a unit without credits on Pro, in minor units.
    pub pro_price_minor: MoneyMinor,
    /// ISO 4217 code of the prices.
    pub currency: String,
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
