//! The part of obligation 8 about plans: each customer is on a plan of the catalogue in force, so that somebody knows
//! what it may do and what follows.
//!
//! Applying a catalogue refuses to remove a plan that somebody has or will have. But a subscription may still be made
//! at Stripe with a price from before.

use super::{CheckReport, VIOLATIONS_SHOWN_MAX};
use crate::domain::catalogue::Catalogue;
use crate::domain::catalogue::read::read;
use crate::error::{Error, Result};
use crate::infra::store::Db;
use crate::infra::store::catalogue::catalogue_version_latest;
use crate::infra::store::check::check_count;
use crate::infra::store::customer::{customer_count_on_plan, customer_list_on_plan, customer_plan_list};

pub(super) const NAME: &str = "every customer's plan is one of the catalogue";
/// Number of checks here.
pub(super) const CHECKS: usize = 1;

const POPULATION: &str = "customers";

/// Checks all customers, plan by plan. `progress` receives those done and their approximate total.
pub(super) async fn run(db: &Db, progress: impl Fn(u64, u64)) -> Result<CheckReport> {
    let mut report = CheckReport::new(8, NAME);
    report.checked = check_count(db.read(), POPULATION).await?;
    progress(0, report.checked);
    // Plans first: a plan is removed only once nobody has it.
    let plans = customer_plan_list(db.read()).await?;
    // Before the first start there is no version, and no customer either.
    if let Some(version) = catalogue_version_latest(db.read(), 0).await? {
        let catalogue = catalogue_of(version.version, &version.catalogue)?;
        for plan in plans.iter().filter(|plan| catalogue.plan(plan).is_none()) {
            let customers = customer_list_on_plan(db.read(), plan, VIOLATIONS_SHOWN_MAX).await?;
            let all = customer_count_on_plan(db.read(), plan).await?.cast_unsigned();
            for customer in &customers {
                report.add(format!(
                    "{customer}: its plan {plan} is not in version {} of the catalogue: add [plans.{plan}] to it, or end \
                     what gives the customer this plan",
                    version.version
                ));
            }
            report.violations_total += all.saturating_sub(customers.len() as u64);
        }
    }
    progress(report.checked, report.checked);
    Ok(report)
}

fn catalogue_of(version: i64, text: &str) -> Result<Catalogue> {
    read(text).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::Corrupt(format!("version {version} of the catalogue: {}", problems.join("; ")))
    })
}
