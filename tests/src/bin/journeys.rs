//! The journeys run as a command: random customers and faults, then a comparison of the ledger with Stripe, to the
//! cent and the credit. See [`bursar_tests::journeys`].

use anyhow::{Context, Result};
use bursar_tests::Backend;
use bursar_tests::journeys::deployment::Placement;
use bursar_tests::journeys::{self, Options, report::Report};
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code if something differs.
const DISAGREES: u8 = 1;
/// Exit code if the run could not be carried out.
const CANNOT_RUN: u8 = 2;

/// Lets random customers sign up, pay, subscribe and cancel, with declined cards, lost webhooks, failing calls to
/// Stripe and crashes of the application, then compares the ledger with Stripe.
#[derive(Debug, Parser)]
#[command(name = "journeys")]
struct Arguments {
    /// Seed of the run; random by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Number of customers.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    customers: u16,
    /// No day starts after this many seconds; 30 if neither this nor --days is given.
    #[arg(long)]
    seconds: Option<u64>,
    /// Maximum number of days.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    days: Option<u16>,
    /// The backends.
    #[arg(long, value_enum, default_value_t = Choice::Both)]
    backend: Choice,
    /// Run the application inside this process: its clock advances with Stripe's, it is restarted instead of killed,
    /// and reconciliations recover lost webhooks. The production backend then needs BURSAR_TEST_DATABASE_URL and
    /// BURSAR_TEST_AMQP_URL.
    #[arg(long)]
    inside: bool,
    /// Write a report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Postgres and RabbitMQ.
    Production,
    /// SQLite and the in-process queue.
    Embedded,
    /// Production, then embedded.
    Both,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => {
            say("journeys: the ledger agrees with Stripe, to the cent and the credit");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            say("journeys: FAILED, the ledger and Stripe differ");
            ExitCode::from(DISAGREES)
        }
        Err(error) => {
            say(&format!("journeys: {error:#}"));
            ExitCode::from(CANNOT_RUN)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    /// Seconds of a run if no limit is given.
    const SECONDS: u64 = 30;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    // At most 53 bits, so that every JSON parser reads the seed exactly.
    let seed = arguments.seed.unwrap_or_else(|| rand::random::<u64>() >> 11);
    say(&format!("journeys: seed {seed}"));
    let backends: &[Backend] = match arguments.backend {
        Choice::Production => &[Backend::Production],
        Choice::Embedded => &[Backend::Embedded],
        Choice::Both => &[Backend::Production, Backend::Embedded],
    };
    let mut reports: Vec<Report> = Vec::new();
    for &backend in backends {
        let options = Options {
            seed,
            customers: usize::from(arguments.customers),
            seconds: arguments.seconds.or(arguments.days.is_none().then_some(SECONDS)),
            days: arguments.days.map(usize::from),
            backend,
            placement: if arguments.inside { Placement::InProcess } else { Placement::OwnProcess },
        };
        let report = runtime.block_on(journeys::run(options))?;
        say(&format!("\n{}\n", report.table()));
        if !report.holds() {
            report.problems().iter().for_each(|problem| say(problem));
        }
        reports.push(report);
    }
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&reports)?;
        std::fs::write(path, json).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(reports.iter().all(Report::holds))
}

#[allow(clippy::print_stdout, reason = "this is the command's output")]
fn say(text: &str) {
    println!("{text}");
}
