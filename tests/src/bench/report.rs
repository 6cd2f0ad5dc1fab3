//! Figures, and the table that they make.

use super::plan::{Scenario, Way};
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What one scenario gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// The scenario.
    pub scenario: Scenario,
    /// Operations that were completed.
    pub operations: u64,
    /// How long it took.
    pub seconds: f64,
    /// Operations in a second.
    pub per_second: f64,
    /// Median latency of a call.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Of webhooks: from accepted to processed, median, 95th and 99th percentile.
    pub processed_ms: Option<[f64; 3]>,
    /// Peak resident memory of the process that does the work.
    pub peak_mib: f64,
    /// Resident memory at the end.
    pub end_mib: f64,
}

impl Measured {
    /// Puts a scenario's figures together.
    pub fn new(scenario: &Scenario, latencies: &Histogram<u64>, seconds: f64, memory: (f64, f64)) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let ms = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        let operations = latencies.len();
        #[allow(clippy::cast_precision_loss)]
        let per_second = operations as f64 / seconds;
        Self {
            scenario: scenario.clone(),
            operations,
            seconds,
            per_second,
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
            processed_ms: None,
            peak_mib: memory.0,
            end_mib: memory.1,
        }
    }
}

/// The table. Debits on Postgres are compared with the row-lock way over as many customers.
pub fn report(measured: &[Measured]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "scenario",
        "per second",
        "ratio",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "processed p50/p95/p99 ms",
        "peak MiB",
        "end MiB",
    ]);
    for row in measured {
        let base = measured
            .iter()
            .find(|base| base.scenario.way == Way::RowLock && base.scenario.customers == row.scenario.customers);
        let ratio = match base {
            Some(base) if row.scenario.database == "postgres" => format!("{:.1}x", row.per_second / base.per_second),
            _ => String::new(),
        };
        let processed = row.processed_ms.map(|[a, b, c]| format!("{a:.0} / {b:.0} / {c:.0}")).unwrap_or_default();
        table.add_row([
            row.scenario.name.clone(),
            format!("{:.0}", row.per_second),
            ratio,
            format!("{:.2}", row.p50_ms),
            format!("{:.2}", row.p95_ms),
            format!("{:.2}", row.p99_ms),
            processed,
            format!("{:.0}", row.peak_mib),
            format!("{:.0}", row.end_mib),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
