//! The benchmark: Bursar against row locks, in one run on the same machine and the same Postgres. Prints a table,
//! writes JSON and shows progress.
//!
//! Each scenario runs in its own process, so that its peak memory is measured alone.

use anyhow::{Context, Result};
use bursar_services::ScratchDir;
use bursar_tests::bench::plan::{Length, Scenario, Services, plan};
use bursar_tests::bench::report::{Measurement, compare, medians, report};
use bursar_tests::bench::{baseline, run_scenario};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The server's allocator, so that memory figures are comparable.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures debits and webhooks and compares them with row locks.
#[derive(Parser)]
struct Args {
    /// Seconds for each debit scenario.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Webhooks for each webhook scenario.
    #[arg(long, default_value_t = 20_000)]
    webhooks: u64,
    /// Run only scenarios whose name contains each of these words, such as `http 20x10000`; may be repeated.
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
    /// How often everything is measured; the table shows the median ratio, or the median rate where there is none.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Print the names of the scenarios and measure nothing.
    #[arg(long)]
    list: bool,
    /// File for the figures as JSON.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Run one scenario in this process; used by the benchmark itself.
    #[arg(long, hide = true)]
    scenario: Option<String>,
    /// Serve the baseline at this address; used by the benchmark itself.
    #[arg(long, hide = true)]
    baseline: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    match (&args.scenario, &args.baseline) {
        (Some(scenario), _) => child(scenario),
        (None, Some(address)) => serve_baseline(address),
        (None, None) => parent(&args),
    }
}

#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn child(scenario: &str) -> Result<()> {
    let scenario: Scenario = serde_json::from_str(scenario)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = runtime.block_on(run_scenario(&scenario))?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn serve_baseline(address: &str) -> Result<()> {
    let database_url = std::env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(baseline::serve(address, &database_url))
}

#[allow(clippy::print_stdout, reason = "this is the command's output")]
fn parent(args: &Args) -> Result<()> {
    let mut scenarios = plan(Length { seconds: args.seconds, webhooks: args.webhooks });
    scenarios.retain(|scenario| args.only.is_empty() || args.only.iter().any(|only| scenario.matches(only)));
    if args.list {
        scenarios.iter().for_each(|scenario| println!("{}", scenario.name));
        return Ok(());
    }
    let measured = measure(&scenarios, args.rounds)?;
    println!("{}", report(&measured));
    if let Some(folder) = args.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&args.json, serde_json::to_string_pretty(&measured)? + "\n")?;
    println!("figures: {}", args.json.display());
    Ok(())
}

fn measure(scenarios: &[Scenario], rounds: usize) -> Result<Vec<Measurement>> {
    let scratch = ScratchDir::new("bursar-bench")?;
    let (postgres, rabbitmq) = bursar_services::start_both(scratch.path())?;
    let services = Services { postgres: &postgres, amqp_url: rabbitmq.url(), folder: scratch.path().to_path_buf() };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}")?;
    let bar = ProgressBar::new((scenarios.len() * rounds) as u64).with_style(style);
    let mut all: Vec<Vec<Measurement>> = Vec::new();
    for round in 0..rounds {
        let mut measured = Vec::new();
        for scenario in scenarios {
            let mut scenario = scenario.clone();
            bar.set_message(scenario.name.clone());
            services.prepare(&mut scenario, round)?;
            measured.push(run_in_process(&scenario)?);
            bar.inc(1);
        }
        compare(&mut measured);
        all.push(measured);
    }
    bar.finish_and_clear();
    Ok(medians(all))
}

fn run_in_process(scenario: &Scenario) -> Result<Measurement> {
    let output = Command::new(std::env::current_exe()?)
        .arg("--scenario")
        .arg(serde_json::to_string(&scenario)?)
        .stderr(Stdio::inherit())
        .output()
        .context("a scenario did not start")?;
    anyhow::ensure!(output.status.success(), "the scenario {} failed", scenario.name);
    let line = String::from_utf8(output.stdout)?;
    serde_json::from_str(line.trim()).with_context(|| format!("{} printed {line:?}", scenario.name))
}
