//! Measurements, and the table made from them.

use super::goal::Goal;
use super::plan::Scenario;
use super::quantile_ms;
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The measurement of one scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// The scenario.
    pub scenario: Scenario,
    /// Operations that were completed.
    pub operations: u64,
    /// How long it took.
    pub seconds: f64,
    /// Operations in a second.
    pub per_second: f64,
    /// `per_second` divided by that of the scenario it is compared with; filled in by [`compare`].
    pub ratio: Option<f64>,
    /// Whether the scenario's goal is reached; filled in by [`compare`].
    pub reached: Option<bool>,
    /// Median latency of a call.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// For webhooks: median, 95th and 99th percentile from accepted to processed.
    pub processed_ms: Option<[f64; 3]>,
    /// For the hot customer: operations refused with 429, which are not in `operations`.
    pub refused: Option<u64>,
    /// For the hot customer: the traffic of the other customers.
    pub others: Option<OtherTraffic>,
    /// For a customer beside a flood: its 95th percentile divided by that without the flood.
    pub p95_times: Option<f64>,
    /// For customers beside strangers: their 99th percentile divided by that without the strangers.
    pub p99_times: Option<f64>,
    /// Peak resident memory of the process that does the work.
    pub peak_mib: f64,
    /// Resident memory at the end.
    pub end_mib: f64,
}

/// Traffic alongside the measured one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OtherTraffic {
    /// Operations in a second.
    pub per_second: f64,
    /// 95th percentile of their latencies.
    pub p95_ms: f64,
    /// Operations that were refused with 429.
    pub refused: u64,
}

impl Measurement {
    /// Values that have no column in the table.
    fn notes(&self) -> String {
        let mut notes = Vec::new();
        if let Some([p50, p95, p99]) = self.processed_ms {
            notes.push(format!("processed {p50:.0} / {p95:.0} / {p99:.0} ms"));
        }
        if let Some(refused) = self.refused {
            notes.push(format!("{refused} refused"));
        }
        if let Some(times) = self.p95_times {
            notes.push(format!("p95 {times:.2}x alone"));
        }
        if let Some(times) = self.p99_times {
            notes.push(format!("p99 {times:.2}x alone"));
        }
        if let Some(OtherTraffic { per_second, p95_ms, refused }) = &self.others {
            notes.push(format!("others {per_second:.0}/s, p95 {p95_ms:.1} ms, {refused} refused"));
        }
        notes.join(", ")
    }

    /// Whether a goal is reached; `None` if its figure is missing.
    fn reaches(&self, goal: Goal) -> Option<bool> {
        match goal {
            Goal::Ratio(least) => self.ratio.map(|ratio| ratio >= least),
            Goal::P95Ms(bound) => Some(self.p95_ms < bound),
            Goal::P95Times(bound) => self.p95_times.map(|times| times < bound),
            Goal::P99Times(bound) => self.p99_times.map(|times| times < bound),
            Goal::NoneRefused => {
                let refused = self.refused? + self.others.as_ref()?.refused;
                Some(refused == 0)
            }
            Goal::PeakMib(bound) => Some(self.peak_mib < bound),
        }
    }

    /// Creates a measurement from the latencies and the memory.
    pub fn new(scenario: &Scenario, latencies: &Histogram<u64>, seconds: f64, memory: (f64, f64)) -> Self {
        let operations = latencies.len();
        #[allow(clippy::cast_precision_loss)]
        let per_second = operations as f64 / seconds;
        Self {
            scenario: scenario.clone(),
            operations,
            seconds,
            per_second,
            ratio: None,
            reached: None,
            p50_ms: quantile_ms(latencies, 0.5),
            p95_ms: quantile_ms(latencies, 0.95),
            p99_ms: quantile_ms(latencies, 0.99),
            processed_ms: None,
            refused: None,
            others: None,
            p95_times: None,
            p99_times: None,
            peak_mib: memory.0,
            end_mib: memory.1,
        }
    }
}

/// Computes the ratios and judges the goals.
pub fn compare(measured: &mut [Measurement]) {
    let rates: HashMap<String, f64> = measured.iter().map(|row| (row.scenario.name.clone(), row.per_second)).collect();
    for row in measured {
        let baseline = row.scenario.compared_with.as_ref().and_then(|name| rates.get(name));
        row.ratio = baseline.map(|rate| row.per_second / rate);
        row.reached = row.scenario.goal.and_then(|goal| row.reaches(goal));
    }
}

/// Formats the measurements as a table, after [`compare`].
pub fn report(measured: &[Measurement]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "scenario",
        "per second",
        "ratio",
        "goal",
        "reached",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "peak MiB",
        "end MiB",
        "notes",
    ]);
    for row in measured {
        let reached = row.reached.map(|reached| if reached { "yes" } else { "NO" });
        table.add_row([
            row.scenario.name.clone(),
            format!("{:.0}", row.per_second),
            row.ratio.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default(),
            row.scenario.goal.map(|goal| goal.to_string()).unwrap_or_default(),
            reached.unwrap_or_default().to_owned(),
            format!("{:.2}", row.p50_ms),
            format!("{:.2}", row.p95_ms),
            format!("{:.2}", row.p99_ms),
            format!("{:.0}", row.peak_mib),
            format!("{:.0}", row.end_mib),
            row.notes(),
        ]);
    }
    // The first column is a name, the last one a text.
    for column in table.column_iter_mut().skip(1).take(9) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Picks the median of several rounds for each scenario: by its ratio if it has one, since the machine's speed
/// differs between rounds, otherwise by its rate.
pub fn medians(rounds: Vec<Vec<Measurement>>) -> Vec<Measurement> {
    let mut by_name: Vec<Vec<Measurement>> = Vec::new();
    for measured in rounds.into_iter().flatten() {
        match by_name.iter_mut().find(|rows| rows[0].scenario.name == measured.scenario.name) {
            Some(rows) => rows.push(measured),
            None => by_name.push(vec![measured]),
        }
    }
    let median = |mut rows: Vec<Measurement>| {
        let order = |row: &Measurement| row.ratio.unwrap_or(row.per_second);
        rows.sort_by(|a, b| order(a).total_cmp(&order(b)));
        rows.swap_remove(rows.len() / 2)
    };
    by_name.into_iter().map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::super::goal::Goal;
    use super::super::plan::{Length, Workload, plan};
    use super::*;

    fn measured(name: &str, per_second: f64) -> Measurement {
        let all = plan(Length { seconds: 1, webhooks: 1 });
        let scenario = all.into_iter().find(|scenario| scenario.name == name).expect("a scenario of this name");
        let latencies = Histogram::new(3).expect("a histogram");
        Measurement { per_second, ..Measurement::new(&scenario, &latencies, 1.0, (0.0, 0.0)) }
    }

    const BASELINE: &str = "http baseline postgres 20x10000";
    const BURSAR: &str = "http bursar postgres 20x10000";

    #[test]
    fn a_goal_is_judged_by_the_ratio_to_the_baseline() {
        for (rate, reached) in [(200.0, true), (199.0, false)] {
            let mut rows = [measured(BASELINE, 100.0), measured(BURSAR, rate)];
            compare(&mut rows);
            assert_eq!((rows[1].ratio, rows[1].reached), (Some(rate / 100.0), Some(reached)));
        }
    }

    #[test]
    fn without_its_baseline_a_goal_is_not_judged() {
        let mut rows = [measured(BURSAR, 1_000.0)];
        compare(&mut rows);
        assert_eq!((rows[0].scenario.goal, rows[0].reached), (Some(Goal::Ratio(2.0)), None));
    }

    #[test]
    fn the_median_ratio_of_several_rounds_counts() {
        let rounds = [(100.0, 300.0), (200.0, 400.0), (50.0, 50.0)].map(|(baseline, bursar)| {
            let mut rows = vec![measured(BASELINE, baseline), measured(BURSAR, bursar)];
            compare(&mut rows);
            rows
        });
        let median = medians(rounds.into());
        assert_eq!(median.iter().map(|row| row.per_second).collect::<Vec<_>>(), [100.0, 400.0]);
        assert_eq!(median[1].ratio, Some(2.0));
    }

    #[test]
    fn each_baseline_runs_directly_before_its_comparison() {
        let all = plan(Length { seconds: 1, webhooks: 1 });
        let pairs = all.windows(2).filter(|pair| pair[1].workload == Workload::Http);
        assert!(pairs.clone().all(|pair| pair[1].compared_with.as_ref() == Some(&pair[0].name)));
        assert_eq!(pairs.count(), 6);
    }
}
