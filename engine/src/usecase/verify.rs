//! Proves obligations 1 to 6, 8 and 12, and of 9 what is stored, on a live database, with the rows that violate them.
//! `docs/internals/database.md` lists the obligations under "Proof".
//!
//! Nothing is locked or written, and writers may continue: every check sees one moment of the database and holds
//! after every commit (see `store::check`). Memory is bounded: the database returns only violations, and accounts
//! are folded page by page.

mod audit;
mod fold;
mod plans;
mod sales;
#[cfg(test)]
mod tests;

use crate::domain::audit::chain::Head;
use crate::error::Result;
use crate::infra::store::Db;
use crate::infra::store::check::{self, CHECKS};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;

/// Violations of one check that are described; further ones are only counted.
pub const VIOLATIONS_SHOWN_MAX: u64 = 100;

/// The results of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One for each check, by obligation.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// Whether no check found a violation.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(CheckReport::holds)
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The number of its proof obligation.
    pub obligation: u8,
    /// The claim.
    pub name: &'static str,
    /// Checked rows; approximate while the database is being written.
    pub checked: u64,
    /// Descriptions of the violations, at most [`VIOLATIONS_SHOWN_MAX`].
    pub violations: Vec<String>,
    /// Number of all violations.
    pub violations_total: u64,
}

impl CheckReport {
    fn new(obligation: u8, name: &'static str) -> Self {
        Self { obligation, name, checked: 0, violations: Vec::new(), violations_total: 0 }
    }

    /// Whether there are no violations.
    pub fn holds(&self) -> bool {
        self.violations_total == 0
    }

    fn add(&mut self, violation: String) {
        self.violations_total += 1;
        if self.violations_total <= VIOLATIONS_SHOWN_MAX {
            self.violations.push(violation);
        }
    }
}

/// Progress of the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The present claim.
    pub name: &'static str,
    /// Number of the check, from 1.
    pub check: usize,
    /// Number of all checks.
    pub checks: usize,
    /// Rows of this check done so far. A check of one statement goes from none to all.
    pub done: u64,
    /// Approximate number of rows of this check.
    pub total: u64,
}

/// Shows the check; `done` and `total` are separate.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {}", self.check, self.checks, self.name)
    }
}

/// Proves obligations 1 to 6, 8 and 12, and of 9 what is stored, on a database that may be in use.
///
/// # Errors
/// Only failures of the database; violations are in the report.
pub async fn verify(db: &Db, progress: impl Fn(Progress)) -> Result<Report> {
    verify_since(db, None, progress).await
}

/// As [`verify`], and proves that the audit log was not changed since it had this head.
///
/// # Errors
/// As [`verify`].
pub async fn verify_since(db: &Db, known: Option<&Head>, progress: impl Fn(Progress)) -> Result<Report> {
    let others = fold::CHECKS + sales::CHECKS + plans::CHECKS + audit::CHECKS;
    let checks = CHECKS.len() + others;
    let report_fold = |done, total| progress(Progress { name: fold::NAME, check: 1, checks, done, total });
    let mut reports = fold::run(db, report_fold).await?.to_vec();
    let at = fold::CHECKS + 1;
    let report_sales = |done, total| progress(Progress { name: sales::LINES_NAME, check: at, checks, done, total });
    reports.extend(sales::run(db, report_sales).await?);
    let at = at + sales::CHECKS;
    let report_plans = |done, total| progress(Progress { name: plans::NAME, check: at, checks, done, total });
    reports.push(plans::run(db, report_plans).await?);
    let at = at + plans::CHECKS;
    let report_audit = |done, total| progress(Progress { name: audit::NAME, check: at, checks, done, total });
    reports.push(audit::run(db, known, report_audit).await?);
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for (at, check) in CHECKS.iter().enumerate() {
        let total = match counts.get(check.population) {
            Some(count) => *count,
            None => check::check_count(db.read(), check.population).await?,
        };
        counts.insert(check.population, total);
        let report_progress =
            |done| progress(Progress { name: check.name, check: at + 1 + others, checks, done, total });
        report_progress(0);
        let (violations, violations_total) = check::check_offenders(db.read(), check, VIOLATIONS_SHOWN_MAX).await?;
        report_progress(total);
        reports.push(CheckReport {
            obligation: check.obligation,
            name: check.name,
            checked: total,
            violations,
            violations_total,
        });
    }
    reports.sort_by_key(|report| report.obligation);
    Ok(Report { checks: reports })
}
