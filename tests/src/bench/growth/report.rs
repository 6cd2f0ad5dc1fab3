//! The growth run's table.

use super::Report;
use comfy_table::{CellAlignment, Table, presets};

/// Formats the size of the full database and one line for each figure.
pub fn report(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["figure", "unit", "empty", "full", "full/empty"]);
    for figure in &report.figures {
        let digits = if figure.unit == "ms" { 2 } else { 0 };
        table.add_row([
            figure.name.clone(),
            figure.unit.clone(),
            format!("{:.digits$}", figure.empty),
            format!("{:.digits$}", figure.full),
            format!("{:.2}x", figure.ratio),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let (jobs, entries, seconds) = (report.jobs, report.entries, report.filled_in_seconds);
    format!("full: {jobs} scheduled jobs, {entries} ledger entries, made in {seconds:.0} s\n{table}")
}
