//! Rendering of a customer's usage and balance, and the export of the ledger as CSV.

use super::client::admin_path;
use super::table::{Column, Listing, Table};
use super::{Session, output, usage, view};
use clap::Args;
use serde_json::Value;
use std::process::ExitCode;

const USAGE_KEYS: &[&str] =
    &["customer_id", "plan", "has_payment_method", "balance", "held", "available", "next_price"];
const BALANCE_KEYS: &[&str] = &["at", "balance", "held", "available", "transaction_id"];
const TOTALS: [&str; 5] = ["granted", "spent", "expired", "clawed_back", "removed"];
const FLOWS: &[Column] = &[
    Column::fixed("kind"),
    Column::fixed("source"),
    Column::fixed("grant_kind"),
    Column::number("credits"),
    Column::number("credits_in_period"),
];
const CHARGED: &[Column] = &[
    Column::fixed("currency"),
    Column::number("amount"),
    Column::number("charges"),
    Column::number("amount_in_period"),
    Column::number("charges_in_period"),
];
const DAYS: &[Column] = &[Column::fixed("date"), Column::number("credits")];

/// Options of the CSV export.
#[derive(Debug, Clone, Args)]
pub struct CsvArgs {
    /// Print all transactions as CSV, oldest first.
    #[arg(long, conflicts_with_all = ["limit", "all", "cursor"])]
    pub csv: bool,
    /// Only transactions at this time or later, such as 2026-12-01T00:00:00Z.
    #[arg(long, value_name = "TIME", requires = "csv")]
    pub from: Option<String>,
    /// Only transactions before this time.
    #[arg(long, value_name = "TIME", requires = "csv")]
    pub to: Option<String>,
}

/// Copies a customer's ledger to the standard output as CSV.
///
/// # Errors
/// See [`super::error::Error`]; a usage error together with `--json`.
pub async fn copy_csv(session: &Session, id: &str, args: &CsvArgs) -> anyhow::Result<ExitCode> {
    if session.json {
        return Err(usage("--csv and --json cannot be combined"));
    }
    let times = [("from", &args.from), ("to", &args.to)];
    let query: Vec<(&str, String)> =
        times.into_iter().filter_map(|(name, time)| time.clone().map(|time| (name, time))).collect();
    let path = admin_path(&["customers", id, "transactions.csv"])?;
    session.client.get_chunks(&path, &query, output::print_bytes).await?;
    Ok(ExitCode::SUCCESS)
}

/// Renders a usage summary.
pub fn render_usage(answer: &Value) -> String {
    let width = output::width();
    // Nested values are rendered below.
    let mut listing = Listing::of(&view::flat_fields(answer), USAGE_KEYS);
    if let Some(words) = answer["subscription"]["message"].as_str() {
        listing.line("subscription", words.to_owned());
    }
    for key in TOTALS {
        listing.line(&key.replace('_', " "), view::full(&answer["totals"][key]));
    }
    let period = &answer["period"];
    listing.line("period", format!("{} to {}", view::short(&period["start"]), view::short(&period["end"])));
    for key in TOTALS {
        listing.line(&format!("{} in the period", key.replace('_', " ")), view::full(&period["totals"][key]));
    }
    let mut text = listing.render(width);
    let warnings: Vec<String> = view::items(answer, "warnings")
        .iter()
        .filter_map(|warning| warning["message"].as_str().map(output::sanitize))
        .collect();
    if !warnings.is_empty() {
        text.push_str(&format!("\n\nWarnings shown to the customer\n{}", warnings.join("\n")));
    }
    let used: Vec<Value> = view::items(answer, "days").iter().filter(|day| day["credits"] != 0).cloned().collect();
    for (title, columns, items) in [
        ("Credits by kind and source, without usage", FLOWS, view::items(answer, "flows")),
        ("Charged for credits: units, packs, top-ups and debts", CHARGED, view::items(answer, "charged")),
        ("Days with usage, of the last 30", DAYS, used.as_slice()),
    ] {
        if !items.is_empty() {
            text.push_str(&format!("\n\n{title}\n{}", Table::of(columns, items).render(width)));
        }
    }
    text
}

/// Renders a balance.
pub fn render_balance(answer: &Value) -> String {
    Listing::of(answer, BALANCE_KEYS).render(output::width())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_summary_shows_warnings_and_only_days_with_usage() {
        let totals = json!({ "granted": 5, "spent": 4, "expired": 0, "clawed_back": 0, "removed": 0 });
        let text = render_usage(&json!({
            "customer_id": "cst_1", "plan": "trial", "has_payment_method": false, "balance": 1, "held": 0,
            "available": 1, "next_price": null, "subscription": null, "totals": totals,
            "warnings": [{ "code": "low_credits", "message": "You have 1 fix credit left.\u{1b}[2J" }],
            "period": { "start": "2026-12-01T00:00:00.000Z", "end": "2027-01-01T00:00:00.000Z", "totals": totals },
            "flows": [], "charged": [],
            "days": [
                { "date": "2026-12-01", "credits": 0 },
                { "date": "2026-12-02", "credits": 4 },
            ],
        }));
        assert!(text.contains("You have 1 fix credit left.") && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("2026-12-02"), "{text}");
        assert!(!text.contains('{'), "raw JSON: {text}");
        assert!(text.contains("2026-12-01 00:00:00Z to 2027-01-01 00:00:00Z"), "{text}");
    }
}
