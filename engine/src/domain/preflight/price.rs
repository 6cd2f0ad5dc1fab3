//! Preflight: the catalogue's prices at Stripe.

use super::Finding;
use super::stripe::PRICES;
use crate::count::counted;
use crate::domain::catalogue::Catalogue;
use crate::domain::sale::at_stripe::{Standing, StripePrices, standings};

/// Judges the prices that the catalogue offers. `is_first_start`: no catalogue was ever in force, so that its prices
/// are still to be made.
pub fn judge_prices(catalogue: &Catalogue, seen: &StripePrices, is_first_start: bool) -> Vec<Finding> {
    let apply = "`bursar catalogue plan FILE` shows what would be made, and `bursar catalogue apply FILE` makes it";
    let standings = standings(catalogue, seen);
    let all = i64::try_from(standings.len()).unwrap_or(i64::MAX);
    let mut findings = Vec::new();
    for (key, standing) in standings {
        findings.push(match standing {
            Standing::Sold => continue,
            Standing::Missing if is_first_start => Finding::warn(
                PRICES,
                format!("Stripe has no price for {key} yet"),
                format!("after the first start: {apply}"),
            ),
            Standing::Missing => {
                Finding::fail(PRICES, format!("Stripe has no price for {key}: nobody can subscribe to it"), apply)
            }
            Standing::Archived { id } => Finding::fail(
                PRICES,
                format!("{id}, the price of {key}, is archived at Stripe: nobody can subscribe to it"),
                format!("activate it in Stripe's dashboard, or make another one: {apply}"),
            ),
            Standing::Differs { id, at_stripe, here } => Finding::fail(
                PRICES,
                format!("{id}, the price of {key}, costs {at_stripe} at Stripe, and {here} in the catalogue"),
                format!("make the two equal: {apply}"),
            ),
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(PRICES, format!("Stripe has {} of the catalogue", counted(all, "price"))));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::domain::sale::example::catalogue;

    #[test]
    fn a_missing_price_fails_once_a_catalogue_was_in_force() {
        let seen = StripePrices::default();
        let state = |is_first_start| judge_prices(&catalogue(), &seen, is_first_start)[0].state;
        assert_eq!([state(true), state(false)], [State::Warn, State::Fail]);
    }

    #[test]
    fn a_catalogue_without_prices_lacks_none() {
        let mut bare = Catalogue::clone(&catalogue());
        bare.prices.clear();
        let findings = judge_prices(&bare, &StripePrices::default(), false);
        assert_eq!((findings.len(), findings[0].state), (1, State::Ok));
    }
}
