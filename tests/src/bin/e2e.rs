//! The journeys as a command: end to end, over HTTP, against any server. See [`bursar_tests::e2e`].

use anyhow::{Context, Result};
use bursar_tests::e2e::local::LocalServer;
use bursar_tests::e2e::report::Report;
use bursar_tests::e2e::target::{EMAIL_DOMAIN, Numbers, Target};
use bursar_tests::e2e::{self, Journey, junit};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Exit code if a step failed.
const FAILED: u8 = 1;
/// Exit code if the run could not be carried out.
const CANNOT_RUN: u8 = 2;
/// How often the elapsed time is redrawn.
const TICK: Duration = Duration::from_millis(200);

/// Runs the five customer journeys end to end over HTTP, against any server.
///
/// Without --url it starts its own server with a Stripe sandbox and needs no other options. A step that lacks an
/// option is skipped and reported. The journeys use test cards, so a server in Stripe's live mode is refused without
/// --safe.
#[derive(Debug, Parser)]
#[command(name = "e2e", after_help = "Exit codes: 0 nothing failed, 1 something failed, 2 it could not run.")]
struct Arguments {
    /// The server's address; without it a server is started on a temporary folder.
    #[arg(long, env = "BURSAR_E2E_URL", hide_env_values = true)]
    url: Option<String>,
    /// Admin token, for Marketplace link tokens and to look at events.
    #[arg(long, env = "BURSAR_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    admin_token: Option<String>,
    /// Secret of Stripe's webhook, or the first of several, to sign events.
    #[arg(long, env = "STRIPE_WEBHOOK_SECRET", hide_env_values = true, value_name = "SECRET")]
    stripe_webhook_secret: Option<String>,
    /// Secret of GitHub's webhook, or the first of several, to sign events.
    #[arg(long, env = "GITHUB_WEBHOOK_SECRET", hide_env_values = true, value_name = "SECRET")]
    github_secret: Option<String>,
    /// The server's Stripe sandbox, to advance its clock for a renewal and to read its money.
    #[arg(long, env = "BURSAR_E2E_SANDBOX_URL", value_name = "URL")]
    sandbox_url: Option<String>,
    /// The token of the sandbox's control API: in the file sandbox/control-token of the server's data folder.
    #[arg(
        long,
        env = "BURSAR_E2E_SANDBOX_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        requires = "sandbox_url"
    )]
    sandbox_token: Option<String>,
    /// Run only this journey; may be repeated.
    #[arg(long, value_enum, value_name = "JOURNEY")]
    only: Vec<Journey>,
    /// Run only what is safe in production: no charges and no staff requests. Customers are created only with
    /// --email-domain.
    #[arg(long)]
    safe: bool,
    /// Domain for the addresses of test customers; mail is sent there. Without it, and without --safe, a domain is
    /// used that receives no mail.
    #[arg(long, env = "BURSAR_E2E_EMAIL_DOMAIN", value_name = "DOMAIN")]
    email_domain: Option<String>,
    /// Name of the GitHub Marketplace plan that is Pro.
    #[arg(long, default_value = "Pro", value_name = "NAME")]
    marketplace_plan: String,
    /// Maximum number of journeys that run concurrently.
    #[arg(long, default_value_t = Journey::ALL.len(), value_name = "NUMBER")]
    jobs: usize,
    /// Write a JUnit XML report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Time limit in seconds for a request, and for waiting for its effects.
    #[arg(long, default_value_t = 60, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    timeout_s: u64,
    #[command(flatten)]
    numbers: Numbers,
}

impl Arguments {
    /// The server with all secrets given as options.
    fn target(&self, url: &str) -> Target {
        let first = |secrets: &Option<String>| {
            let secret = secrets.as_deref().and_then(|secrets| secrets.split(',').next()).map(str::trim);
            secret.filter(|secret| !secret.is_empty()).map(str::to_owned)
        };
        Target {
            admin_token: first(&self.admin_token),
            stripe_webhook_secret: first(&self.stripe_webhook_secret),
            github_secret: first(&self.github_secret),
            sandbox_url: self.sandbox_url.clone(),
            sandbox_token: first(&self.sandbox_token),
            ..self.with_options(Target::new(url))
        }
    }

    /// The options that apply to any server.
    fn with_options(&self, target: Target) -> Target {
        Target {
            only_safe_steps: self.safe,
            email_domain: self.email_domain.clone(),
            marketplace_plan: self.marketplace_plan.clone(),
            numbers: self.numbers,
            timeout: Duration::from_secs(self.timeout_s),
            ..target
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            say(&format!("e2e: {error:#}"));
            ExitCode::from(CANNOT_RUN)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        if let Some(url) = &arguments.url {
            return print_report(arguments, &walk(arguments, arguments.target(url)).await?);
        }
        let mut server = LocalServer::start().await?;
        let is_good = match walk(arguments, arguments.with_options(server.target())).await {
            Ok(report) => print_report(arguments, &report)?,
            Err(error) => return Err(error),
        };
        if !is_good {
            say(&format!("the server's log and data are kept in {}", server.keep().display()));
        }
        server.stop().await?;
        Ok(is_good)
    })
}

async fn walk(arguments: &Arguments, target: Target) -> Result<Report> {
    let mut journeys = if arguments.only.is_empty() { Journey::ALL.to_vec() } else { arguments.only.clone() };
    journeys.sort_unstable();
    journeys.dedup();
    let style = ProgressStyle::with_template("{spinner} step {pos} {elapsed} {msg}")?;
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(TICK);
    let observer = |journey: Journey, step: &str| {
        bar.inc(1);
        bar.set_message(format!("{}: {step}", journey.name()));
    };
    let report = e2e::run(target, &journeys, arguments.jobs, &observer).await;
    bar.finish_and_clear();
    report
}

/// Prints the report; returns whether the run is good.
fn print_report(arguments: &Arguments, report: &Report) -> Result<bool> {
    say(&report.table());
    report.skips().iter().for_each(|line| say(line));
    report.failures().iter().for_each(|text| say(&format!("\n{text}")));
    if let Some(path) = &arguments.junit {
        std::fs::write(path, junit::xml(report)?).with_context(|| format!("{} cannot be written", path.display()))?;
        say(&format!("JUnit: {}", path.display()));
    }
    if !report.only_safe_steps || arguments.email_domain.is_some() {
        let domain = arguments.email_domain.as_deref().unwrap_or(EMAIL_DOMAIN);
        say(&format!("customers of this run: e2e-{}-…@{domain}", report.run));
    }
    say(if report.is_good() { "e2e: nothing failed" } else { "e2e: FAILED, or every step was skipped" });
    Ok(report.is_good())
}

#[allow(clippy::print_stdout, reason = "this is the command's output")]
fn say(text: &str) {
    println!("{text}");
}
