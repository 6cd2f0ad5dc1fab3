//! Settings that the catalogue has replaced.

/// Each with what stands for it in the catalogue.
const MOVED: [(&str, &str); 8] = [
    ("credits.signup", "signup_credits under [plans.trial]"),
    ("credits.pro_period", "credits under [prices.pro_monthly]"),
    ("credits.payment_method_bonus", "payment_method_credits under [plans.trial]"),
    ("credits.pay_as_you_go_price_minor", "unit_price under [plans.trial] and [plans.pay_as_you_go]"),
    ("credits.pro_price_minor", "unit_price under [plans.pro]"),
    ("credits.currency", "currency at the top, and the names in each unit_price"),
    ("stripe.pro_price_id", "stripe under [prices.pro_monthly]"),
    ("stripe.pro_lookup_key", "lookup_key under [prices.pro_monthly]"),
];

/// Where to find what a setting said, if it has moved to the catalogue.
pub(super) fn place_in_catalogue(key: &str) -> Option<&'static str> {
    MOVED.iter().find(|(moved, _)| *moved == key).map(|(_, place)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::BUILT_IN;

    #[test]
    fn every_table_that_is_named_is_in_the_built_in_catalogue() {
        for (key, place) in MOVED {
            for table in place.split('[').skip(1).filter_map(|rest| rest.split(']').next()) {
                assert!(BUILT_IN.contains(&format!("[{table}]")), "{key}: {table}");
            }
        }
    }
}
