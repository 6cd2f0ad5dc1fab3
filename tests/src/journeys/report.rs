//! The report of a run, for people and programs.

use crate::chaos::run_log::Line;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Problems printed in full; the JSON report has all of them.
const SHOWN_MAX: usize = 40;

/// Counts of actions by name and result.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<(String, String), u64>>);

/// Growth of the counters of a process that start at zero after a restart.
#[derive(Debug, Default)]
pub struct CounterGrowth(Mutex<BTreeMap<String, u64>>);

impl CounterGrowth {
    /// By how much a counter grew since the previous call. Counts between that call and a crash are lost.
    pub fn since_last(&self, name: &str, now: u64) -> u64 {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.insert(name.to_owned(), now).unwrap_or(0);
        if now < before { now } else { now - before }
    }
}

impl Counts {
    /// Adds one.
    pub fn up(&self, what: &str, end: &str) {
        self.add(what, end, 1);
    }

    /// Adds this many.
    pub fn add(&self, what: &str, end: &str, times: u64) {
        if times > 0 {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counts.entry((what.to_owned(), end.to_owned())).or_default() += times;
        }
    }

    /// All counts, sorted.
    pub fn all(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut all: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for ((what, end), times) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            all.entry(what.clone()).or_default().insert(end.clone(), *times);
        }
        all
    }
}

/// The report of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `embedded` or `production`.
    pub backend: &'static str,
    /// Whether the application ran inside this process.
    pub is_inside: bool,
    /// The seed of the plan.
    pub seed: u64,
    /// Number of customers.
    pub customers: usize,
    /// Number of days.
    pub days: usize,
    /// Counts of actions by name and result.
    pub counts: BTreeMap<String, BTreeMap<String, u64>>,
    /// All problems.
    pub problems: Vec<String>,
    /// The log.
    pub log: Vec<Line>,
    /// Folders of logs, data, calls to Stripe and its objects, if the run failed.
    pub kept: Vec<PathBuf>,
}

impl Report {
    /// Whether everything agrees.
    pub fn holds(&self) -> bool {
        self.problems.is_empty()
    }

    /// The command that repeats the run.
    pub fn again(&self) -> String {
        format!(
            "journeys --seed {} --customers {} --days {} --backend {}{}",
            self.seed,
            self.customers,
            self.days,
            self.backend,
            if self.is_inside { " --inside" } else { "" }
        )
    }

    /// The counts as a table.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for (what, ends) in &self.counts {
            for (end, times) in ends {
                table.add_row([what.clone(), end.clone(), times.to_string()]);
            }
        }
        if let Some(column) = table.column_mut(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!(
            "{}{}, seed {}, {} customers, {} days\n{}",
            self.backend,
            if self.is_inside { " inside this process" } else { "" },
            self.seed,
            self.customers,
            self.days,
            table.trim_fmt()
        )
    }

    /// The problems, the folders, and the command that repeats the run.
    pub fn problems(&self) -> Vec<String> {
        let shown = self.problems.iter().take(SHOWN_MAX).cloned();
        let more = self.problems.len().saturating_sub(SHOWN_MAX);
        let more = (more > 0).then(|| format!("and {more} more; --json FILE has them all"));
        let kept = self.kept.iter().map(|path| format!("kept to be looked into: {}", path.display()));
        shown.chain(more).chain(kept).chain([format!("again: {}", self.again())]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_restart_a_counter_has_grown_by_its_value() {
        let counter = CounterGrowth::default();
        let grown = [5, 7, 7, 3].map(|now| counter.since_last("a", now));
        assert_eq!(grown, [5, 2, 0, 3]);
        assert_eq!(counter.since_last("b", 4), 4);
    }
}
