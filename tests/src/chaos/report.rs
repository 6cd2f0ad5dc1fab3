//! The report of a run, for people and programs.

use super::check::events::EventOutcomes;
use super::record::{Discrepancy, Kind};
use super::run_log::Line;
use super::tally::Tally;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// Discrepancies printed in full; the JSON report has all of them.
const SHOWN_MAX: usize = 40;

/// The report of a run on one pair of backends.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `embedded` or `production`.
    pub backend: &'static str,
    /// The seed of the schedule and the load.
    pub seed: u64,
    /// How long the load lasted.
    pub seconds: u64,
    /// Number of nodes.
    pub nodes: usize,
    /// Clock skew of each node.
    pub skews_ms: Vec<i64>,
    /// The counters.
    pub tally: Arc<Tally>,
    /// Number of customers onboarded.
    pub customers: usize,
    /// How many events had each outcome.
    pub events: EventOutcomes,
    /// All discrepancies.
    pub discrepancies: Vec<Discrepancy>,
    /// The log.
    pub log: Vec<Line>,
    /// The folder of logs and data, if the run failed.
    pub kept: Option<PathBuf>,
}

impl Report {
    /// Whether there is no discrepancy.
    pub fn holds(&self) -> bool {
        self.discrepancies.is_empty()
    }

    fn count(&self, kind: Kind) -> usize {
        self.discrepancies.iter().filter(|discrepancy| discrepancy.kind == kind).count()
    }

    fn nodes_skewed(&self) -> usize {
        self.skews_ms.iter().filter(|skew_ms| **skew_ms != 0).count()
    }

    /// The summary as a table.
    pub fn table(&self) -> String {
        let tally = &self.tally;
        let dead: u64 = self.events.dead.values().sum();
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: &dyn ToString| rows.push((name.to_owned(), value.to_string()));
        row("seconds of load", &self.seconds);
        row("nodes", &self.nodes);
        row("of these, with a skewed clock", &self.nodes_skewed());
        row("customers", &self.customers);
        row("requests acknowledged", &tally.acknowledged.get());
        row("requests refused", &tally.refused.get());
        row("requests without an answer", &tally.unanswered.get());
        row("requests and deliveries retried", &tally.retried.get());
        row("requests repeated after their answer", &tally.repeats.get());
        row("kills of a node", &tally.kills.get());
        row("graceful stops of a node", &tally.graceful_stops.get());
        row("crashes of Postgres", &tally.postgres_restarts.get());
        row("restarts of RabbitMQ", &tally.rabbitmq_restarts.get());
        row("kills of RabbitMQ", &tally.rabbitmq_kills.get());
        row("wipes of RabbitMQ", &tally.rabbitmq_wipes.get());
        row("faults skipped", &tally.faults_skipped.get());
        row("events sent", &tally.events.get());
        row("deliveries acknowledged", &tally.deliveries.get());
        row("of these, duplicates", &tally.duplicates.get());
        row("forged deliveries refused", &tally.forgeries.get());
        row("events processed", &self.events.processed);
        row("events dead", &dead);
        for (reason, n) in &self.events.dead {
            row(&format!("  {reason}"), n);
        }
        row("lost", &self.count(Kind::Lost));
        row("doubled", &self.count(Kind::Doubled));
        row("otherwise wrong", &self.count(Kind::Wrong));
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.add_rows(rows.iter().map(|(name, value)| [name, value]));
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}, seed {}\n{}", self.backend, self.seed, table.trim_fmt())
    }

    /// The discrepancies, the folder of logs, and the command to repeat the run.
    pub fn problems(&self) -> Vec<String> {
        let shown = self.discrepancies.iter().take(SHOWN_MAX).map(ToString::to_string);
        let more = self.discrepancies.len().saturating_sub(SHOWN_MAX);
        let more = (more > 0).then(|| format!("and {more} more; --json FILE has them all"));
        let kept = self.kept.as_ref().map(|path| format!("logs and data are kept in {}", path.display()));
        let command = format!(
            "again: chaos --seconds {} --nodes {} --skewed {} --seed {} --backend {}",
            self.seconds,
            self.nodes,
            self.nodes_skewed() > 0,
            self.seed,
            self.backend
        );
        shown.chain(more).chain(kept).chain([command]).collect()
    }
}
