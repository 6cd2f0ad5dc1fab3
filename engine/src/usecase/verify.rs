//! Proof on a live database: obligations 1 to 6 of the design, with the rows that contradict them.
//!
//! Nothing is locked and nothing is written. Writers may go on: every check sees one moment of the
//! database, and what it demands holds after every commit (`store::check` says more). Memory stays
//! bounded: the database hands out offenders only, and accounts are folded page by page.

mod fold;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::infra::store::Db;
use crate::infra::store::check::{self, CHECKS};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;

/// Violations of one check that are kept in words; the rest is only counted.
pub const VIOLATIONS_SHOWN_MAX: u64 = 100;

/// What was checked and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One for each check, by obligation.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// Whether everything that was checked is as it must be.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(CheckReport::holds)
    }
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The proof obligation that it belongs to.
    pub obligation: u8,
    /// What is proven, in words.
    pub name: &'static str,
    /// Rows looked at; on a database that is being written, about.
    pub checked: u64,
    /// What contradicts it, in words, at most [`VIOLATIONS_SHOWN_MAX`].
    pub violations: Vec<String>,
    /// How many violations there are in all.
    pub violations_total: u64,
}

impl CheckReport {
    fn new(obligation: u8, name: &'static str) -> Self {
        Self { obligation, name, checked: 0, violations: Vec::new(), violations_total: 0 }
    }

    /// Whether nothing contradicts it.
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

/// How far the proof has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being proven, in words.
    pub name: &'static str,
    /// Which check this is, from 1.
    pub check: usize,
    /// How many checks there are.
    pub checks: usize,
    /// Rows of this check looked at so far. A check that is one statement goes from none to all.
    pub done: u64,
    /// Rows of this check, about.
    pub total: u64,
}

/// Which check it is; how far that is, `done` and `total` say.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {}", self.check, self.checks, self.name)
    }
}

/// Proves obligations 1 to 6 on a database that may be in use.
///
/// # Errors
/// Only failures of the database; what the stored data violates is in the report.
pub async fn verify(db: &Db, progress: impl Fn(Progress)) -> Result<Report> {
    let checks = CHECKS.len() + fold::CHECKS;
    let report_fold = |done, total| progress(Progress { name: fold::NAME, check: 1, checks, done, total });
    let mut reports = fold::run(db, report_fold).await?.to_vec();
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for (at, check) in CHECKS.iter().enumerate() {
        let total = match counts.get(check.population) {
            Some(count) => *count,
            None => check::check_count(db.read(), check.population).await?,
        };
        counts.insert(check.population, total);
        let report_progress =
            |done| progress(Progress { name: check.name, check: at + 1 + fold::CHECKS, checks, done, total });
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
