//! The growth run as a command: see [`bursar_tests::bench::growth`].

use anyhow::Result;
use bursar_services::ScratchDir;
use bursar_tests::bench::growth::{self, Environment, Report, Size};
use bursar_tests::bench::plan::Length;
use bursar_tests::unique::unique;
use clap::Parser;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Fills a database with years of work, and measures everyday work there and on an empty one.
#[derive(Parser)]
#[command(name = "growth")]
struct Args {
    /// Scheduled jobs in the full database.
    #[arg(long, default_value_t = 10_000_000)]
    jobs: u64,
    /// Debits in the full database's ledger.
    #[arg(long, default_value_t = 3_000_000)]
    entries: u64,
    /// Customers in both databases.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    customers: u64,
    /// Seconds of debits, and of signups.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Webhooks that are delivered.
    #[arg(long, default_value_t = 20_000)]
    webhooks: u64,
    /// File for the figures as JSON.
    #[arg(long, default_value = "target/growth.json")]
    json: PathBuf,
    /// Use this server instead of starting one; the two databases are not dropped. The user must be a superuser.
    #[arg(long, value_name = "URL", requires = "amqp_url")]
    database_url: Option<String>,
    /// Use this broker instead of starting one.
    #[arg(long, value_name = "URL", requires = "database_url")]
    amqp_url: Option<String>,
}

#[allow(clippy::print_stdout, reason = "this is the command's output")]
fn main() -> Result<()> {
    let args = Args::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let scratch = ScratchDir::new("bursar-growth")?;
    let report = match (args.database_url.clone(), args.amqp_url.clone()) {
        (Some(database_url), Some(amqp_url)) => measure(&args, scratch.path(), database_url, amqp_url)?,
        _ => {
            let (postgres, rabbitmq) = bursar_services::start_both(scratch.path())?;
            measure(&args, scratch.path(), postgres.url("postgres"), rabbitmq.url())?
        }
    };
    println!("{}", growth::report(&report));
    if let Some(folder) = args.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&args.json, serde_json::to_string_pretty(&report)? + "\n")?;
    println!("figures: {}", args.json.display());
    Ok(())
}

fn measure(args: &Args, folder: &Path, maintenance_url: String, amqp_url: String) -> Result<Report> {
    let environment = Environment { maintenance_url, amqp_url, folder: folder.to_path_buf(), unique: unique() };
    let size = Size { customers: args.customers, jobs: args.jobs, entries: args.entries };
    let length = Length { seconds: args.seconds, webhooks: args.webhooks };
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(growth::run(&environment, size, length, |step| bar.set_message(step.to_owned())));
    bar.finish_and_clear();
    report
}
