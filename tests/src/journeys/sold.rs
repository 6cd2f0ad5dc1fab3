//! What a run sells: Pro as it is built in, Team, which costs and brings other amounts, and two packs.

use super::deployment::STRIPE_KEY;
use anyhow::{Context, Result};
use bursar_engine::domain::catalogue::{BUILT_IN, Catalogue, read};
use bursar_sandbox::Sandbox;
use std::path::Path;

/// A price of a plan, as the comparison knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoldPrice {
    /// Its key, which is also its lookup key at Stripe.
    pub key: &'static str,
    /// Its plan.
    pub plan: &'static str,
    /// What a month costs, in minor units.
    pub amount: i64,
    /// What a month brings.
    pub credits: i64,
    /// What a unit costs on the plan, in minor units.
    pub unit_amount: i64,
}

/// The prices, which have different amounts.
pub const SOLD: [SoldPrice; 2] = [
    SoldPrice { key: "pro_monthly", plan: "pro", amount: 59_900, credits: 60, unit_amount: 1_500 },
    SoldPrice { key: "team_monthly", plan: "team", amount: 199_900, credits: 250, unit_amount: 1_200 },
];

/// A pack, as the comparison knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoldPack {
    /// Its key.
    pub key: &'static str,
    /// What it costs, in minor units.
    pub amount: i64,
    /// What it brings.
    pub credits: i64,
}

/// The packs. The second one's credits end after 90 days.
pub const PACKS: [SoldPack; 2] =
    [SoldPack { key: "ten", amount: 21_000, credits: 10 }, SoldPack { key: "forty", amount: 64_000, credits: 40 }];

const PACKS_TEXT: &str = "\n[packs.ten]\nname = \"10 fixes\"\ncredits = 10\namount = 21000\ncurrency = \"usd\"\n\
                          \n[packs.forty]\nname = \"40 fixes\"\ncredits = 40\namount = 64000\ncurrency = \"usd\"\n\
                          lifetime_days = 90\n";
const TEAM: &str = "\n[plans.team]\nname = \"Team\"\nunit_price = { usd = 1200 }\nfollowed_by = \"pay_as_you_go\"\n\
                    \n[prices.team_monthly]\nplan = \"team\"\nevery = \"month\"\namount = 199900\ncurrency = \"usd\"\n\
                    credits = 250\nlookup_key = \"team_monthly\"\n";

/// The catalogue's text.
pub fn catalogue_text() -> String {
    format!("{BUILT_IN}{TEAM}{PACKS_TEXT}")
}

/// The catalogue.
///
/// # Errors
/// If it is wrong.
pub fn catalogue() -> Result<Catalogue> {
    read::read(&catalogue_text()).map_err(|problems| anyhow::anyhow!("the catalogue of the run: {problems:?}"))
}

/// Writes the file of the catalogue.
///
/// # Errors
/// If it cannot be written.
pub fn write_catalogue(path: &Path) -> Result<()> {
    std::fs::write(path, catalogue_text()).context("the catalogue of the run")
}

/// Makes the price of Team at Stripe; the sandbox has that of Pro.
///
/// # Errors
/// If the sandbox refuses.
pub async fn make_team_price(stripe: &Sandbox) -> Result<()> {
    let team = SOLD[1];
    let form = [
        ("unit_amount", team.amount.to_string()),
        ("currency", "usd".to_owned()),
        ("recurring[interval]", "month".to_owned()),
        ("product_data[name]", "Team".to_owned()),
        ("lookup_key", team.key.to_owned()),
    ];
    let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = reqwest::Client::new().post(format!("{}/v1/prices", stripe.url())).body(body);
    let request = request.header("Content-Type", "application/x-www-form-urlencoded").bearer_auth(STRIPE_KEY);
    request.send().await?.error_for_status()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comparison_knows_every_price_and_pack_of_the_catalogue() {
        let catalogue = catalogue().expect("it is valid");
        let known = SOLD.map(|sold| (sold.key.to_owned(), sold.plan.to_owned(), sold.amount, sold.credits));
        let prices = catalogue
            .prices
            .iter()
            .map(|price| (price.key.to_string(), price.plan.to_string(), price.amount.0, price.credits.0));
        assert_eq!(prices.collect::<Vec<_>>(), known);
        let known = PACKS.map(|pack| (pack.key.to_owned(), pack.amount, pack.credits));
        let packs = catalogue.packs.iter().map(|pack| (pack.key.to_string(), pack.amount.0, pack.credits.0));
        assert_eq!(packs.collect::<Vec<_>>(), known);
    }
}
