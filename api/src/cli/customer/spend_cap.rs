//! `bursar customers spend-caps`.

use crate::cli::client::admin_path;
use crate::cli::table::{Column, Table};
use crate::cli::{Session, output};
use serde_json::{Value, json};
use std::process::ExitCode;

const CAPS: &[Column] = &[
    Column::fixed("span"),
    Column::number("cap_minor"),
    Column::number("own_minor"),
    Column::number("highest_minor"),
    Column::number("charged_minor"),
    Column::number("left_minor"),
    Column::wrapped("until"),
];

/// What `--day` or `--month` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap {
    /// This many minor units.
    Minor(i64),
    /// What the plan says.
    Plan,
}

/// Parses an amount in minor units, or `plan`.
pub fn parse(text: &str) -> Result<Cap, String> {
    if text == "plan" {
        return Ok(Cap::Plan);
    }
    text.parse().map(Cap::Minor).map_err(|_| "an amount in minor units such as 500000, or plan".to_owned())
}

/// Shows the caps, and sets those that are given before. The other one stays.
///
/// # Errors
/// See [`Error`](crate::cli::error::Error).
pub async fn run(
    session: &Session,
    id: &str,
    (day, month): (Option<Cap>, Option<Cap>),
    reason: &str,
) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["customers", id, "spend-caps"])?;
    let present = session.client.get(&path, &[]).await?;
    if day.is_none() && month.is_none() {
        return session.show(&present, render);
    }
    let wanted = |span: &str, new: Option<Cap>| match new {
        Some(Cap::Minor(minor)) => json!(minor),
        Some(Cap::Plan) => Value::Null,
        None => present[span]["support_minor"].clone(),
    };
    let body = json!({
        "day_minor": wanted("day", day), "month_minor": wanted("month", month), "reason": reason
    });
    session.show(&session.client.post(&path, &body).await?, render)
}

fn render(answer: &Value) -> String {
    let row = |span: &str| {
        let mut row = answer[span].clone();
        row["span"] = span.into();
        row
    };
    let rows = [row("day"), row("month")];
    format!("{}\nAmounts are in minor units of {}.", Table::of(CAPS, &rows).render(output::width()), answer["currency"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_an_amount_or_the_plans() {
        assert_eq!((parse("500000"), parse("plan")), (Ok(Cap::Minor(500_000)), Ok(Cap::Plan)));
        assert!(parse("5,000").is_err() && parse("").is_err());
    }
}
