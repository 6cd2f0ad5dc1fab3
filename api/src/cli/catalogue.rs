//! `bursar catalogue`: plans and prices. Files need no server; versions and prices at Stripe do.

mod present;
mod version;

use super::client::admin_path;
use super::list::{self, Paging};
use super::table::{Column, Listing, Table};
use super::{Cli, PROGRAM, Session, output, usage, view};
use bursar_engine::Error;
use bursar_engine::amount::MoneyMinor;
use bursar_engine::config::{Config, read_catalogue};
use bursar_engine::count::counted;
use bursar_engine::domain::catalogue::currency::{Currency, money};
use bursar_engine::domain::catalogue::{BUILT_IN, Catalogue, Pack, Plan, Price};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const PLANS: &[Column] = &[
    Column::fixed("key"),
    Column::wrapped("name"),
    Column::fixed("entry"),
    Column::wrapped("unit_price"),
    Column::number("unit_step"),
    Column::number("spend_cap_day"),
    Column::number("spend_cap_month"),
    Column::number("signup_credits"),
    Column::number("payment_method_credits"),
    Column::fixed("followed_by"),
];
const PRICES: &[Column] = &[
    Column::fixed("key"),
    Column::fixed("plan"),
    Column::number("amount"),
    Column::fixed("every"),
    Column::number("credits"),
    Column::fixed("per_seat"),
    Column::fixed("grant"),
    Column::fixed("rollover"),
    Column::number("lifetime_days"),
    Column::fixed("offered"),
    Column::wrapped("lookup_key"),
    Column::wrapped("stripe"),
];
const PACKS: &[Column] = &[
    Column::fixed("key"),
    Column::wrapped("name"),
    Column::number("credits"),
    Column::number("amount"),
    Column::number("lifetime_days"),
    Column::fixed("offered"),
];
const STRIPE_PRICES: &[Column] = &[
    Column::fixed("id"),
    Column::fixed("decision"),
    Column::fixed("price"),
    Column::fixed("decided_by"),
    Column::number("amount_minor"),
    Column::fixed("currency"),
    Column::fixed("every"),
    Column::wrapped("reason"),
];
const STRIPE_PRICE_KEYS: &[&str] = &[
    "id",
    "decision",
    "price",
    "decided_by",
    "reason",
    "amount_minor",
    "currency",
    "every",
    "product_id",
    "lookup_key",
    "metadata",
    "first_seen_at",
    "decided_at",
];

/// Plans and prices.
#[derive(Debug, Subcommand)]
pub enum CatalogueCommand {
    /// Check a file, or what `serve` would use; print the problems and warnings, one per line.
    Check {
        /// The file; - for the standard input.
        file: Option<PathBuf>,
    },
    /// Show the plans and prices in force: of the server, else of the configured database.
    ///
    /// Where there is neither, and no --url or BURSAR_URL, it shows those that a first start would use.
    Show {
        /// Which catalogue.
        #[command(flatten)]
        which: present::WhichArgs,
    },
    /// Print the catalogue in force as TOML: of the server, else of the configured database.
    ///
    /// Where there is neither, and no --url or BURSAR_URL, it prints the one that a first start would use.
    #[command(disable_version_flag = true)]
    Export {
        /// Print the built-in catalogue instead, with its comments.
        #[arg(long, conflicts_with = "file")]
        built_in: bool,
        /// Print this version of the server's catalogue instead.
        #[arg(long, value_name = "N", conflicts_with_all = ["built_in", "file"])]
        version: Option<i64>,
        /// Which catalogue.
        #[command(flatten)]
        which: present::WhichArgs,
    },
    /// Show what putting a file into force on the server would change, here and at Stripe.
    Plan {
        /// The file; - for the standard input.
        file: PathBuf,
    },
    /// Put a file into force on the server; make the prices that Stripe lacks.
    Apply(version::ApplyArgs),
    /// List the versions of the server's catalogue, the latest first.
    Versions {
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// List prices at Stripe, with what each sells. The undecided ones wait for `decide`.
    Prices {
        /// Only those with this decision.
        #[arg(long, value_parser = ["ours", "not_ours", "undecided"])]
        decision: Option<String>,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Decide what a price at Stripe sells; then replay the events that are dead with price_unknown.
    Decide(DecideArgs),
}

/// Arguments of `decide`.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The price's id at Stripe.
    id: String,
    /// What it sells.
    #[command(flatten)]
    decision: DecisionArgs,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What a price sells.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct DecisionArgs {
    /// It sells the catalogue's price with this key.
    #[arg(long, value_name = "KEY")]
    ours: Option<String>,
    /// It is other business.
    #[arg(long)]
    not_ours: bool,
    /// Take an earlier decision back: the rules decide again.
    #[arg(long)]
    undecided: bool,
}

impl DecisionArgs {
    fn name(&self) -> &'static str {
        match (&self.ours, self.not_ours) {
            (Some(_), _) => "ours",
            (None, true) => "not_ours",
            (None, false) => "undecided",
        }
    }
}

/// Runs a command. Those about versions and prices at Stripe ask the server, for which `session` is called; `show` and
/// `export` look for one; `check` reads files.
///
/// # Errors
/// `Config` with every problem of the catalogue, [`super::error::Error`], or the output cannot be written.
pub async fn run(
    cli: &Cli,
    session: impl FnOnce() -> anyhow::Result<Session>,
    command: &CatalogueCommand,
) -> anyhow::Result<ExitCode> {
    let file = cli.config.as_deref();
    match command {
        CatalogueCommand::Plan { file } => version::plan(&session()?, file).await,
        CatalogueCommand::Apply(args) => version::apply(&session()?, args).await,
        CatalogueCommand::Versions { paging } => version::versions(&session()?, paging).await,
        CatalogueCommand::Prices { decision, paging } => {
            let query = [("decision", decision.as_deref())];
            list::show(&session()?, &admin_path(&["prices"])?, &query, paging, STRIPE_PRICES).await
        }
        CatalogueCommand::Decide(args) => decide(&session()?, args).await,
        CatalogueCommand::Check { file: Some(catalogue) } => report(cli.json, Checked::of_file(catalogue)),
        CatalogueCommand::Check { file: None } => report(cli.json, Checked::of_server(file)),
        CatalogueCommand::Show { which } => {
            let found = present::find(cli, which).await?;
            if cli.json {
                let mut shown = to_json(&found.catalogue);
                shown["source"] = found.source();
                return output::print_json(&shown);
            }
            let heading = output::sanitize(&found.heading());
            output::print(&format!("{heading}\n\n{}", render(&found.catalogue, output::width())))?;
            Ok(ExitCode::SUCCESS)
        }
        CatalogueCommand::Export { .. } if cli.json => {
            Err(usage("the export is TOML: for JSON, use `catalogue show --json`"))
        }
        CatalogueCommand::Export { version: Some(number), .. } => version::export(&session()?, *number).await,
        CatalogueCommand::Export { built_in: true, .. } => {
            output::print(BUILT_IN.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        CatalogueCommand::Export { which, .. } => {
            let found = present::find(cli, which).await?;
            output::print(found.text.trim_end())?;
            output::note(&format!("note: {}", output::sanitize(&found.heading())));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn decide(session: &Session, args: &DecideArgs) -> anyhow::Result<ExitCode> {
    let body = json!({ "decision": args.decision.name(), "price": args.decision.ours, "reason": args.reason });
    let answer = session.client.post(&admin_path(&["prices", &args.id, "decision"])?, &body).await?;
    let code = session
        .show(&answer, |answer| Listing::of(view::part(answer, "price"), STRIPE_PRICE_KEYS).render(output::width()))?;
    if args.decision.undecided {
        return Ok(code);
    }
    output::note(&format!(
        "Events that are dead with price_unknown now need a replay: {PROGRAM} replays create --error price_unknown \
         --reason TEXT --start"
    ));
    if args.decision.ours.is_some() {
        output::note(&format!(
            "If the price was taken for other business before, its events are processed, not dead. Compare who pays it \
             with Stripe: {PROGRAM} stripe reconcile --customer CUSTOMER, or {PROGRAM} stripe reconcile --full"
        ));
    }
    Ok(code)
}

/// A valid catalogue.
struct Checked {
    name: String,
    catalogue: Arc<Catalogue>,
    warnings: Vec<String>,
}

impl Checked {
    fn of_file(path: &Path) -> Result<Self, Error> {
        let (catalogue, warnings) = read_catalogue(path).map_err(Error::Config)?;
        Ok(Self { name: path.display().to_string(), catalogue: Arc::new(catalogue), warnings })
    }

    /// That which `serve` would use with this configuration file.
    fn of_server(file: Option<&Path>) -> Result<Self, Error> {
        let config = Config::load_for_catalogue(file)?;
        match config.catalogue_path.as_deref() {
            Some(path) => Self::of_file(path),
            None => Ok(Self {
                name: "the built-in catalogue".to_owned(),
                catalogue: config.catalogue.now(),
                warnings: Vec::new(),
            }),
        }
    }
}

/// Prints whether a catalogue is valid, with its warnings. As JSON, it prints the problems too.
fn report(is_json: bool, checked: Result<Checked, Error>) -> anyhow::Result<ExitCode> {
    if is_json {
        let (checked, problems) = match checked {
            Ok(checked) => (Some(checked), Vec::new()),
            Err(Error::Config(problems)) => (None, problems),
            Err(error) => return Err(error.into()),
        };
        let count = |of: fn(&Catalogue) -> usize| checked.as_ref().map(|checked| of(&checked.catalogue));
        let (plans, prices) = (count(|all| all.plans.len()), count(|all| all.prices.len()));
        let packs = count(|all| all.packs.len());
        let (is_valid, warnings) = (problems.is_empty(), checked.map(|checked| checked.warnings).unwrap_or_default());
        output::print_json(&json!({
            "valid": is_valid, "problems": problems, "warnings": warnings, "plans": plans, "prices": prices,
            "packs": packs,
        }))?;
        return Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let Checked { name, catalogue, warnings } = checked?;
    let mut counts = vec![counted(catalogue.plans.len(), "plan"), counted(catalogue.prices.len(), "price")];
    if !catalogue.packs.is_empty() {
        counts.push(counted(catalogue.packs.len(), "pack"));
    }
    let warnings = warnings.iter().map(|warning| format!("warning: {warning}"));
    let lines: Vec<String> = [format!("{name} is valid: {}", counts.join(", "))].into_iter().chain(warnings).collect();
    output::print(&output::sanitize(&lines.join("\n")))?;
    Ok(ExitCode::SUCCESS)
}

fn render(catalogue: &Catalogue, width: Option<u16>) -> String {
    let mut plans = Table::new(PLANS);
    for plan in &catalogue.plans {
        plans.row(plan_cells(catalogue, plan));
    }
    let mut prices = Table::new(PRICES);
    for price in &catalogue.prices {
        prices.row(price_cells(price));
    }
    let mut text = format!("Plans, better ones last\n{}", plans.render(width));
    if !prices.is_empty() {
        text.push_str(&format!("\n\nPrices\n{}", prices.render(width)));
    }
    let mut packs = Table::new(PACKS);
    for pack in &catalogue.packs {
        packs.row(pack_cells(pack));
    }
    if !packs.is_empty() {
        text.push_str(&format!("\n\nPacks\n{}", packs.render(width)));
    }
    text
}

fn plan_cells(catalogue: &Catalogue, plan: &Plan) -> [String; 10] {
    let cap =
        |cap: Option<MoneyMinor>| cap.map_or_else(|| "-".to_owned(), |cap| money(cap, catalogue.currency.as_str()));
    let cap_of_month = plan.spend_cap_month.unwrap_or_else(|| catalogue.currency.spend_cap_month_default());
    let unit_price = |(currency, price): (&Currency, &MoneyMinor)| money(*price, currency.as_str());
    let unit_prices: Vec<String> = plan.unit_prices.iter().map(unit_price).collect();
    [
        plan.key.to_string(),
        plan.name.clone(),
        flag(plan.key == catalogue.entry),
        if unit_prices.is_empty() { "-".to_owned() } else { unit_prices.join(", ") },
        plan.unit_step.to_string(),
        cap(plan.spend_cap_day),
        cap(Some(cap_of_month)),
        plan.signup_credits.to_string(),
        plan.payment_method_credits.to_string(),
        plan.followed_by.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
    ]
}

fn price_cells(price: &Price) -> [String; 12] {
    [
        price.key.to_string(),
        price.plan.to_string(),
        money(price.amount, price.currency.as_str()),
        price.every.to_string(),
        price.credits.to_string(),
        flag(price.per_seat),
        price.grant.as_str().to_owned(),
        price.rollover.as_str().to_owned(),
        price.lifetime_days.map_or_else(|| "-".to_owned(), |days| days.to_string()),
        flag(price.offered),
        price.lookup_key.clone(),
        if price.stripe.is_empty() { "-".to_owned() } else { price.stripe.join(", ") },
    ]
}

fn pack_cells(pack: &Pack) -> [String; 6] {
    [
        pack.key.to_string(),
        pack.name.clone(),
        pack.credits.to_string(),
        money(pack.amount, pack.currency.as_str()),
        pack.lifetime_days.map_or_else(|| "-".to_owned(), |days| days.to_string()),
        flag(pack.offered),
    ]
}

fn flag(is_set: bool) -> String {
    view::full(&Value::Bool(is_set))
}

/// The catalogue with the names of its file.
fn to_json(catalogue: &Catalogue) -> Value {
    let plan = |plan: &Plan| {
        json!({
            "key": plan.key,
            "name": plan.name,
            "signup_credits": plan.signup_credits,
            "payment_method_credits": plan.payment_method_credits,
            "unit_price": plan.unit_prices,
            "unit_step": plan.unit_step,
            "spend_cap_day": plan.spend_cap_day,
            "spend_cap_month": plan.spend_cap_month,
            "followed_by": plan.followed_by,
        })
    };
    let price = |price: &Price| {
        json!({
            "key": price.key,
            "plan": price.plan,
            "every": price.every.to_string(),
            "amount": price.amount,
            "currency": price.currency,
            "credits": price.credits,
            "grant": price.grant,
            "per_seat": price.per_seat,
            "rollover": price.rollover,
            "lifetime_days": price.lifetime_days,
            "lookup_key": price.lookup_key,
            "stripe": price.stripe,
            "offered": price.offered,
        })
    };
    json!({
        "currency": catalogue.currency,
        "entry": catalogue.entry,
        "plans": catalogue.plans.iter().map(plan).collect::<Vec<_>>(),
        "prices": catalogue.prices.iter().map(price).collect::<Vec<_>>(),
        "packs": catalogue.packs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_show_amounts_of_money_with_their_currencies() {
        let text = render(&Catalogue::built_in(), None);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(
            lines.contains(&vec!["trial", "Trial", "yes", "$29.00", "1", "-", "$1000.00", "5", "5", "-"]),
            "{text}"
        );
        assert!(
            lines.contains(&vec!["pro", "Pro", "no", "$15.00", "1", "-", "$1000.00", "0", "0", "pay_as_you_go"]),
            "{text}"
        );
        let price = "pro_monthly pro $599.00 month 60 no whole keep - yes pro_monthly -";
        assert!(lines.contains(&price.split(' ').collect()), "{text}");
    }

    #[test]
    fn json_has_the_names_and_values_of_the_file() {
        let value = to_json(&Catalogue::built_in());
        assert_eq!(value["plans"][0]["unit_price"], json!({ "usd": 2900 }));
        assert_eq!(value["plans"][2]["followed_by"], "pay_as_you_go");
        assert_eq!(value["prices"][0]["every"], "month");
        assert_eq!((&value["prices"][0]["amount"], &value["prices"][0]["grant"]), (&json!(59_900), &json!("whole")));
    }
}
