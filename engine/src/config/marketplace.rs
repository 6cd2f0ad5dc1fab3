//! Settings: GitHub Marketplace.

use super::check::need_within;
use super::debug_without_secrets;
use super::split;
use crate::clock::TimeMs;
use crate::domain::catalogue::{Catalogue, Interval, Price};
use crate::key::{PlanKey, PriceKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The highest `link_token_ttl_s`: a week.
const LINK_TOKEN_TTL_MAX_S: i64 = 7 * 24 * 60 * 60;
/// The highest `renewal_grace_hours`: a week.
const RENEWAL_GRACE_MAX_HOURS: i64 = 7 * 24;

debug_without_secrets!(MarketplaceConfig);

/// GitHub Marketplace.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarketplaceConfig {
    /// Secrets of the webhook, separated by commas while rotating (`GITHUB_WEBHOOK_SECRET`).
    #[serde(skip_serializing)]
    pub webhook_secrets: String,
    /// For each plan of the listing, by its name or its id at GitHub, the key of a plan or of a price of the catalogue.
    pub plans: BTreeMap<String, String>,
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

    /// What a plan of the listing sells: the entry of `plans` for its id, else for its name in any case, else the
    /// plan of the same name. `None` if the catalogue does not have it.
    pub fn offer_of<'a>(&self, catalogue: &'a Catalogue, id: i64, name: &str) -> Option<ListingOffer<'a>> {
        let by_id = self.plans.get(&id.to_string());
        let by_name = || self.plans.iter().find(|(known, _)| known.to_lowercase() == name.to_lowercase());
        match by_id.or_else(|| by_name().map(|(_, key)| key)) {
            Some(key) => ListingOffer::find(catalogue, key),
            None => {
                let named = PlanKey::parse(&name.to_lowercase().replace([' ', '-'], "_"))?;
                ListingOffer::of_plan(catalogue, &named)
            }
        }
    }

    /// A message for each entry of `plans` whose key the catalogue does not have.
    pub fn plan_problems(&self, catalogue: &Catalogue) -> Vec<String> {
        let unknown = self.plans.iter().filter(|(_, key)| ListingOffer::find(catalogue, key).is_none());
        let message = |name: &String| {
            format!(
                "marketplace.plans must give the listing's plan {name} the key of a plan of the catalogue, or of a \
                 price of it that is billed by the month or the year"
            )
        };
        unknown.map(|(name, _)| message(name)).collect()
    }

    /// The grace of a renewal in milliseconds.
    pub fn renewal_grace_ms(&self) -> TimeMs {
        self.renewal_grace_hours * 60 * 60 * 1_000
    }

    /// Reports each problem.
    pub(super) fn check(&self, need: &mut impl FnMut(bool, &str)) {
        need_within(need, "marketplace.link_token_ttl_s", self.link_token_ttl_s, 60..=LINK_TOKEN_TTL_MAX_S);
        need_within(need, "marketplace.renewal_grace_hours", self.renewal_grace_hours, 0..=RENEWAL_GRACE_MAX_HOURS);
    }
}

/// What a plan of the listing sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListingOffer<'a> {
    /// The plan.
    pub plan: &'a PlanKey,
    /// The price that says what a month of it brings; `None` if it brings no credits.
    pub price: Option<&'a Price>,
}

impl<'a> ListingOffer<'a> {
    /// A plan, with its first price that is billed by the month, else with its first one for several months.
    pub fn of_plan(catalogue: &'a Catalogue, key: &PlanKey) -> Option<Self> {
        let plan = &catalogue.plan(key)?.key;
        let prices = || catalogue.prices.iter().filter(|price| price.plan == *plan && has_months(price));
        let price = prices().find(|price| price.every == Interval::MONTH).or_else(|| prices().next());
        Some(Self { plan, price })
    }

    /// The plan with a key, else the price with it.
    fn find(catalogue: &'a Catalogue, key: &str) -> Option<Self> {
        let plan = PlanKey::parse(key).and_then(|key| Self::of_plan(catalogue, &key));
        plan.or_else(|| {
            let price = catalogue.price(&PriceKey::parse(key)?).filter(|price| has_months(price))?;
            Some(Self { plan: &price.plan, price: Some(price) })
        })
    }
}

/// Whether a price is billed by months or years, as GitHub bills, and not by weeks.
fn has_months(price: &Price) -> bool {
    price.every.months() > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Credits;
    use crate::domain::catalogue::IntervalUnit;
    use std::sync::Arc;

    fn config(plans: &[(&str, &str)]) -> MarketplaceConfig {
        let plans = plans.iter().map(|(name, key)| ((*name).to_owned(), (*key).to_owned())).collect();
        MarketplaceConfig { plans, ..MarketplaceConfig::default() }
    }

    /// The built-in catalogue with these prices of Pro instead of its own.
    fn catalogue(prices: &[(&str, Interval)]) -> Catalogue {
        let mut catalogue = Arc::unwrap_or_clone(Catalogue::built_in());
        let pro = catalogue.prices.remove(0);
        let price =
            |(key, every): &(&str, Interval)| Price { key: PriceKey::trusted(key), every: *every, ..pro.clone() };
        catalogue.prices = prices.iter().map(price).collect();
        catalogue
    }

    fn price_key(offer: Option<ListingOffer<'_>>) -> Option<&str> {
        offer?.price.map(|price| price.key.as_str())
    }

    const WEEK: Interval = Interval { count: 1, unit: IntervalUnit::Week };
    const YEAR: Interval = Interval { count: 1, unit: IntervalUnit::Year };

    #[test]
    fn a_plan_is_found_by_id_then_by_name_then_by_ours() {
        let catalogue = Catalogue::built_in();
        let config = config(&[("435", "pro"), ("Team", "pro"), ("Pro", "trial"), ("Pay as you go", "gone")]);
        let plan_of = |id: i64, name: &str| config.offer_of(&catalogue, id, name).map(|offer| offer.plan.as_str());
        assert_eq!(plan_of(435, "whatever"), Some("pro"));
        assert_eq!(plan_of(1, "team"), Some("pro"));
        assert_eq!(plan_of(1, "PRO"), Some("trial"));
        assert_eq!(plan_of(1, "Gold"), None);
        assert_eq!(plan_of(1, "Pay as you go"), None, "an entry counts, even one that leads nowhere");
        let config = MarketplaceConfig::default();
        assert_eq!(
            config.offer_of(&catalogue, 1, "Pay-as you go").map(|offer| offer.plan.as_str()),
            Some("pay_as_you_go")
        );
    }

    #[test]
    fn a_price_says_what_a_month_brings_and_a_plan_takes_its_first_monthly_one() {
        let config = config(&[("Team", "pro_yearly"), ("Weekly", "pro_weekly")]);
        let catalogue =
            catalogue(&[("pro_weekly", WEEK), ("pro_yearly", YEAR), ("a", Interval::MONTH), ("b", Interval::MONTH)]);
        assert_eq!(price_key(config.offer_of(&catalogue, 1, "Team")), Some("pro_yearly"));
        assert_eq!(price_key(config.offer_of(&catalogue, 1, "Pro")), Some("a"));
        assert_eq!(config.offer_of(&catalogue, 1, "Weekly"), None, "GitHub bills no weeks");
        let trial = config.offer_of(&catalogue, 1, "Trial").expect("a plan");
        assert_eq!((trial.plan.as_str(), trial.price), ("trial", None));
    }

    #[test]
    fn without_a_monthly_price_a_plan_takes_its_yearly_one() {
        let config = MarketplaceConfig::default();
        let yearly = catalogue(&[("pro_weekly", WEEK), ("pro_yearly", YEAR)]);
        assert_eq!(price_key(config.offer_of(&yearly, 1, "Pro")), Some("pro_yearly"));
        let offer = catalogue(&[("pro_weekly", WEEK)]);
        assert_eq!(config.offer_of(&offer, 1, "Pro").map(|offer| offer.price), Some(None));
    }

    #[test]
    fn a_key_that_means_a_plan_and_a_price_means_the_plan() {
        let mut catalogue = catalogue(&[("pro_monthly", Interval::MONTH), ("pro", Interval::MONTH)]);
        catalogue.prices[1].credits = Credits(1);
        assert_eq!(price_key(config(&[("Team", "pro")]).offer_of(&catalogue, 1, "Team")), Some("pro_monthly"));
    }

    #[test]
    fn every_key_that_the_catalogue_does_not_have_is_a_problem() {
        let catalogue = catalogue(&[("pro_monthly", Interval::MONTH), ("pro_weekly", WEEK)]);
        let good = config(&[("435", "pro"), ("Team", "pro_monthly"), ("Free", "trial")]);
        assert_eq!(good.plan_problems(&catalogue), Vec::<String>::new());
        let problems = config(&[("435", "gone"), ("A", "Pro"), ("B", "pro_weekly"), ("C", ""), ("D", "pro")]);
        let problems = problems.plan_problems(&catalogue);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].starts_with("marketplace.plans must give the listing's plan 435 "), "{problems:?}");
    }
}
