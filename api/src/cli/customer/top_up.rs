//! `bursar customers auto-top-up`.

use crate::cli::client::admin_path;
use crate::cli::table::{Column, Table};
use crate::cli::{Session, output};
use serde_json::Value;
use std::process::ExitCode;

const TOP_UP: &[Column] = &[
    Column::fixed("state"),
    Column::number("threshold"),
    Column::number("target"),
    Column::fixed("pack"),
    Column::number("month_cap_minor"),
    Column::number("month_charged_minor"),
    Column::wrapped("waits_until"),
];

/// Shows the setting, and why it waits or was stopped.
///
/// # Errors
/// See [`Error`](crate::cli::error::Error).
pub async fn run(session: &Session, id: &str) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["customers", id, "auto-top-up"])?;
    session.show(&session.client.get(&path, &[]).await?, render)
}

fn render(answer: &Value) -> String {
    let table = Table::of(TOP_UP, std::slice::from_ref(answer)).render(output::width());
    let why = answer["problem"]["detail"].as_str().map(|why| format!("\nWhy: {why}")).unwrap_or_default();
    format!("{table}{why}\nAmounts are in minor units of {}.", answer["currency"].as_str().unwrap_or_default())
}
