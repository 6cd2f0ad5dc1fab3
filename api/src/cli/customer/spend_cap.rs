//! `bursar customers spend-caps`.

use crate::cli::client::admin_path;
use crate::cli::table::{Column, Table};
use crate::cli::{Session, output};
use serde_json::{Value, json};
use std::process::ExitCode;

const CAPS: &[Column] = &[
    Column::fixed("span"),
    Column::fixed("currency"),
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
    let others = answer["other_currencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Value> = std::iter::once(answer).chain(others).flat_map(rows).collect();
    format!("{}\nAmounts are in minor units.", Table::of(CAPS, &rows).render(output::width()))
}

/// The day's and the month's cap in one currency.
fn rows(caps: &Value) -> [Value; 2] {
    ["day", "month"].map(|span| {
        let mut row = caps[span].clone();
        row["span"] = span.into();
        row["currency"] = caps["currency"].clone();
        row
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_are_shown_in_each_currency() {
        let cap = |minor: i64| json!({ "cap_minor": minor, "charged_minor": 5, "until": "2026-12-01T00:00:00.000Z" });
        let other = json!({ "currency": "usd", "day": cap(3), "month": cap(4) });
        let shown = render(&json!({ "currency": "eur", "day": cap(1), "month": cap(2), "other_currencies": [other] }));
        assert_eq!((shown.matches("eur").count(), shown.matches("usd").count()), (2, 2), "{shown}");
    }

    #[test]
    fn a_cap_is_an_amount_or_the_plans() {
        assert_eq!((parse("500000"), parse("plan")), (Ok(Cap::Minor(500_000)), Ok(Cap::Plan)));
        assert!(parse("5,000").is_err() && parse("").is_err());
    }
}
