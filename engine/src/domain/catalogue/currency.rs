//! Currencies: their digits, which amounts Stripe charges in them, and the spend cap where a plan names none.

use crate::amount::MoneyMinor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// An ISO 4217 code in lower case, as Stripe writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(Arc<str>);

/// Currencies without minor units. Source: Stripe, "Supported currencies".
const ZERO_DECIMAL: [&str; 15] =
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"];

/// Currencies with three digits of minor units. Source: Stripe, "Supported currencies".
const THREE_DECIMAL: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// Currencies whose amounts have two digits of minor units at Stripe, which must be zeros. Source: Stripe, "Supported
/// currencies", special cases.
const WHOLE_UNITS: [&str; 2] = ["isk", "ugx"];

/// The least that Stripe charges. Source: Stripe, "Minimum and maximum charge amounts".
const MINIMUM: [(&str, i64); 26] = [
    ("usd", 50),
    ("aed", 200),
    ("aud", 50),
    ("bgn", 100),
    ("brl", 50),
    ("cad", 50),
    ("chf", 50),
    ("czk", 1_500),
    ("dkk", 250),
    ("eur", 50),
    ("gbp", 30),
    ("hkd", 400),
    ("huf", 17_500),
    ("inr", 50),
    ("jpy", 50),
    ("mxn", 1_000),
    ("myr", 200),
    ("nok", 300),
    ("nzd", 50),
    ("pln", 200),
    ("ron", 200),
    ("sek", 300),
    ("sgd", 50),
    ("thb", 1_000),
    ("cop", 200_000),
    ("krw", 500),
];

impl Currency {
    /// Parses three letters in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
        is_code.then(|| Self(text.to_lowercase().into()))
    }

    /// The code in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A round number of units, such as a cap of 1,000. Where a currency has no minor units, they are read as minor
    /// units elsewhere, because one is worth as little: 1,000 are $1000.00, and 100000 yen.
    pub fn number(&self, units: i64) -> MoneyMinor {
        MoneyMinor(units.saturating_mul(self.number_scale()))
    }

    /// The number that an amount of another currency is, in this one, rounded down. Nothing is converted: 30.00 EUR are
    /// $30.00, 3000 JPY and 30.000 KWD. This is the only place that says how a cap is read in another currency.
    pub fn same_number(&self, amount: MoneyMinor, of: &Self) -> MoneyMinor {
        MoneyMinor(amount.0.saturating_mul(self.number_scale()) / of.number_scale())
    }

    fn number_scale(&self) -> i64 {
        if digits(self.as_str()) == 3 { 1_000 } else { 100 }
    }

    /// The least that Stripe charges in it; one minor unit where Stripe names no minimum.
    pub fn charge_min(&self) -> MoneyMinor {
        MoneyMinor(MINIMUM.iter().find(|(code, _)| *code == self.as_str()).map_or(1, |(_, least)| *least))
    }

    /// Stripe charges multiples of this only. Of currencies with three digits it refuses amounts whose last digit is
    /// not 0. Source: Stripe, "Supported currencies", three-decimal currencies and special cases.
    pub fn charge_multiple(&self) -> MoneyMinor {
        let is_whole = WHOLE_UNITS.contains(&self.as_str());
        MoneyMinor(match digits(self.as_str()) {
            _ if is_whole => 100,
            3 => 10,
            _ => 1,
        })
    }

    /// The spend cap of a month where a plan names none: 1,000 units of the currency, or 100,000 where the unit is
    /// worth as little as a minor unit elsewhere.
    pub fn spend_cap_month_default(&self) -> MoneyMinor {
        self.number(1_000)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.0.to_string()
    }
}

impl TryFrom<String> for Currency {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a currency is the three letters of an ISO 4217 code, such as usd")
    }
}

/// Formats an amount of money: `$29.00`, `29.00 EUR`, `2900 JPY` or `2.900 KWD`.
pub fn money(amount: MoneyMinor, currency: &str) -> String {
    let (sign, minor) = (if amount < MoneyMinor::ZERO { "-" } else { "" }, amount.0.unsigned_abs());
    let amount = match digits(currency) {
        0 => minor.to_string(),
        3 => format!("{}.{:03}", minor / 1_000, minor % 1_000),
        _ => format!("{}.{:02}", minor / 100, minor % 100),
    };
    if currency.eq_ignore_ascii_case("usd") {
        format!("{sign}${amount}")
    } else {
        format!("{sign}{amount} {}", currency.to_uppercase())
    }
}

/// The digits of a currency's minor units.
fn digits(currency: &str) -> u32 {
    let is_among = |codes: &[&str]| codes.iter().any(|code| currency.eq_ignore_ascii_case(code));
    match (is_among(&ZERO_DECIMAL), is_among(&THREE_DECIMAL)) {
        (true, _) => 0,
        (false, true) => 3,
        (false, false) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_in_each_currency_without_conversion() {
        let [usd, jpy, kwd] = ["usd", "JPY", "kwd"].map(|code| Currency::parse(code).expect("a currency"));
        assert_eq!([&usd, &jpy, &kwd].map(|code| code.number(1_000).0), [100_000, 100_000, 1_000_000]);
        let same = |amount: i64, of: &Currency, to: &Currency| to.same_number(MoneyMinor(amount), of).0;
        assert_eq!((same(3_000, &usd, &jpy), same(3_000, &jpy, &usd)), (3_000, 3_000));
        assert_eq!((same(3_000, &usd, &kwd), same(30_009, &kwd, &usd)), (30_000, 3_000), "rounded down");
        assert_eq!((same(0, &usd, &kwd), same(i64::MAX, &jpy, &kwd) > 0), (0, true));
    }

    #[test]
    fn stripe_charges_some_currencies_in_whole_units_or_with_a_zero_at_the_end_only() {
        for (multiple, codes) in [(100, ["ISK", "ugx"]), (10, ["kwd", "bhd"]), (1, ["usd", "jpy"])] {
            for code in codes {
                let found = Currency::parse(code).map(|currency| currency.charge_multiple());
                assert_eq!(found, Some(MoneyMinor(multiple)), "{code}");
            }
        }
    }

    #[test]
    fn money_is_written_with_the_digits_of_its_currency_and_its_sign() {
        assert_eq!(money(MoneyMinor(2_905), "usd"), "$29.05");
        assert_eq!(money(MoneyMinor(-5), "eur"), "-0.05 EUR");
        assert_eq!(money(MoneyMinor(2_905), "JPY"), "2905 JPY");
        assert_eq!(money(MoneyMinor(2_905), "kwd"), "2.905 KWD");
    }

    #[test]
    fn a_currency_is_three_letters_in_any_case() {
        assert_eq!(Currency::parse("USD").map(|code| code.to_string()).as_deref(), Some("usd"));
        for text in ["us", "us$", "ëu", ""] {
            assert_eq!(Currency::parse(text), None, "{text}");
        }
        assert_eq!(Currency::parse("gbp").map(|code| code.charge_min()), Some(MoneyMinor(30)));
    }
}
