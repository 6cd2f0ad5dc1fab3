//! Compares the catalogue with what customers have.

use crate::count::counted;
use crate::domain::catalogue::Catalogue;
use crate::error::{Error, Result};
use crate::infra::store::Db;
use crate::infra::store::customer::{customer_count_on_plan, customer_plan_list};
use crate::infra::store::subscription::{subscription_count_at_price, subscription_price_list};

/// Refuses a catalogue that lacks a plan that customers have, or a price at which open subscriptions were bought.
///
/// # Errors
/// `Config` with one message for each plan and price; the database cannot be read.
pub async fn check(db: &Db, catalogue: &Catalogue) -> Result<()> {
    let db = db.read();
    let mut problems = Vec::new();
    for plan in customer_plan_list(db).await?.iter().filter(|plan| catalogue.plan(plan).is_none()) {
        let (customers, have) = counted_with(customer_count_on_plan(db, plan).await?, "customer", ["has", "have"]);
        problems.push(format!(
            "{customers} {have} the plan {plan}, which the catalogue lacks: keep [plans.{plan}] in the catalogue"
        ));
    }
    for price in subscription_price_list(db).await?.iter().filter(|price| catalogue.price(price).is_none()) {
        let open = subscription_count_at_price(db, price).await?;
        let (subscriptions, have) = counted_with(open, "open subscription", ["has", "have"]);
        problems.push(format!(
            "{subscriptions} {have} the price {price}, which the catalogue lacks: keep [prices.{price}] in the \
             catalogue, with `offered = false` if nobody else is to buy it"
        ));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems)) }
}

/// A count with its noun, and the verb's form that goes with it.
fn counted_with(count: i64, noun: &str, [one, many]: [&'static str; 2]) -> (String, &'static str) {
    (counted(count, noun), if count == 1 { one } else { many })
}
