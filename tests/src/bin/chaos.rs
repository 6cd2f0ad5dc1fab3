//! The chaos run as a command: kills servers under load, then checks that every acknowledged request took effect
//! exactly once. See [`bursar_tests::chaos`].

use anyhow::{Context, Result};
use bursar_tests::Backend;
use bursar_tests::chaos::{self, Options, report::Report};
use clap::{ArgAction, Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code if a check failed.
const NOT_EVERYTHING: u8 = 1;
/// Exit code if the run could not be carried out.
const CANNOT_RUN: u8 = 2;

/// Drives mixed load while it kills nodes, Postgres and RabbitMQ, then checks that every acknowledged request took
/// effect exactly once.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How long the load lasts on each backend, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Nodes on one Postgres and one RabbitMQ (the embedded backend has one).
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8))]
    nodes: u8,
    /// Whether the clocks of all nodes but the first are off by minutes.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_value_t = true, default_missing_value = "true")]
    skewed: bool,
    /// Seed of the faults and the load; random by default.
    #[arg(long)]
    seed: Option<u64>,
    /// The backends.
    #[arg(long, value_enum, default_value_t = Choice::Both)]
    backend: Choice,
    /// Actions started each second; one action is one request or a few.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
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
            say("chaos: every acknowledged request took effect exactly once");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            say("chaos: FAILED, see the discrepancies");
            ExitCode::from(NOT_EVERYTHING)
        }
        Err(error) => {
            say(&format!("chaos: {error:#}"));
            ExitCode::from(CANNOT_RUN)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    // At most 53 bits, so that every JSON parser reads the seed exactly.
    let seed = arguments.seed.unwrap_or_else(|| rand::random::<u64>() >> 11);
    say(&format!("chaos: seed {seed}"));
    let backends: &[Backend] = match arguments.backend {
        Choice::Production => &[Backend::Production],
        Choice::Embedded => &[Backend::Embedded],
        Choice::Both => &[Backend::Production, Backend::Embedded],
    };
    let mut reports: Vec<Report> = Vec::new();
    for &backend in backends {
        let (nodes, is_skewed) = match backend {
            Backend::Embedded => (1, false),
            Backend::Production => (usize::from(arguments.nodes), arguments.skewed),
        };
        let options = Options { seconds: arguments.seconds, nodes, is_skewed, seed, rate: arguments.rate, backend };
        let report = runtime.block_on(chaos::run(options))?;
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
