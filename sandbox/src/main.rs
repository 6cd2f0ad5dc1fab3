//! The `bursar-sandbox` command: turns its options into a [`Sandbox`] and runs it until Ctrl-C or SIGTERM.

use anyhow::{Context, Result, ensure};
use bursar_sandbox::version::NEWEST;
use bursar_sandbox::{AfterRetries, CONTROL_TOKEN_FILE, ControlToken, NewEndpoint, Options, Policy, Rules, Sandbox};
use clap::{Parser, ValueEnum};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A substitute for Stripe, for development and tests. SANDBOX: no real money moves.
///
/// Point a client at it instead of https://api.stripe.com, with any key that begins with sk_test_.
/// The page at / shows its state; the control API is under /sandbox/v1/.
#[derive(Debug, Parser)]
#[command(name = "bursar-sandbox", version)]
struct Cli {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:12111", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Allow an address that other machines can reach. Only the control API asks for a token: the imitated API takes
    /// any test key.
    #[arg(long)]
    public: bool,
    /// Keep the state in this folder. By default it is lost at the end.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Deliver events to this URL. Can be given several times.
    #[arg(long, value_name = "URL")]
    webhook: Vec<String>,
    /// Sign events for --webhook with this secret, which begins with whsec_. Prefer the environment variable: other
    /// users of the machine can see arguments.
    #[arg(long, value_name = "SECRET", env = "BURSAR_SANDBOX_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<String>,
    /// The token of the control API, at least 16 characters. By default the one in the data folder's file
    /// control-token, or a new one, which is printed at the start.
    #[arg(long, value_name = "TOKEN", env = "BURSAR_SANDBOX_CONTROL_TOKEN", hide_env_values = true)]
    control_token: Option<String>,
    /// Render events in this API version.
    #[arg(long, value_name = "VERSION", default_value = NEWEST)]
    api_version: String,
    /// Append every call and its answer to this file, one line of JSON each.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Seed of ids and random decisions, for repeatable runs.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Run the sandbox's clock this many times as fast as real time.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    time_scale: f64,
    /// Scale the waits between deliveries of an event by this factor.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    retry_scale: f64,
    /// Deliver each event up to this many times.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    duplicates: u32,
    /// Delay each delivery by up to this many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay_max_ms: u64,
    /// Lose deliveries with this probability.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.0)]
    drop_probability: f64,
    /// Days before each retry of a renewal's failed payment, separated by commas.
    #[arg(long, value_name = "DAYS", value_delimiter = ',', default_value = "3,5,7")]
    retry_days: Vec<i64>,
    /// What happens to a subscription after the last payment retry fails.
    #[arg(long, value_enum, default_value_t = After::Cancel)]
    after_retries: After,
    /// Maximum number of calls per second. Stripe's own sandboxes allow 25.
    #[arg(long, value_name = "NUMBER")]
    rate_limit: Option<u32>,
    /// What keys that begin with rk_test_ may do, such as rak_customer_write, separated by commas. By default everything.
    #[arg(long, value_name = "PERMISSIONS", value_delimiter = ',')]
    permissions: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum After {
    Cancel,
    Unpaid,
    PastDue,
}

impl Cli {
    fn options(self) -> Result<Options> {
        let secret = self.webhook_secret.unwrap_or_default();
        ensure!(
            self.webhook.is_empty() || !secret.is_empty(),
            "--webhook needs --webhook-secret, or BURSAR_SANDBOX_WEBHOOK_SECRET: whsec_ and a random text, the same as in \
             the receiver's settings"
        );
        let endpoints = self.webhook.iter().map(|url| NewEndpoint::new(url, &secret)).collect();
        let after_retries = match self.after_retries {
            After::Cancel => AfterRetries::Cancel,
            After::Unpaid => AfterRetries::Unpaid,
            After::PastDue => AfterRetries::PastDue,
        };
        Ok(Options {
            listen: self.listen,
            is_public: self.public,
            data_dir: self.data_dir,
            endpoints,
            api_version: self.api_version,
            record: self.record,
            seed: self.seed,
            time_scale: self.time_scale,
            retry_scale: self.retry_scale,
            policy: Policy {
                duplicates_max: self.duplicates,
                delay_max_ms: self.delay_max_ms,
                drop_probability: self.drop_probability,
                ..Policy::default()
            },
            rules: Rules { retry_after_days: self.retry_days, after_retries, ..Rules::default() },
            rate_per_s: self.rate_limit,
            permissions: self.permissions,
            control_token: self.control_token.map(ControlToken::from),
            ..Options::default()
        })
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nowhere to report that stderr cannot be written.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    let filter = EnvFilter::try_from_env("BURSAR_LOG").unwrap_or_else(|_| EnvFilter::new("warn,bursar_sandbox=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = cli.options()?;
    let (is_given, folder) = (options.control_token.is_some(), options.data_dir.clone());
    let sandbox = Sandbox::start(options).await.context("the sandbox did not start")?;
    let token = match folder {
        _ if is_given => String::new(),
        Some(folder) => format!("The control API's token is in {}\n", folder.join(CONTROL_TOKEN_FILE).display()),
        None => format!("The control API's token is {}\n", sandbox.control_token().reveal()),
    };
    let banner = format!("SANDBOX - no real money moves. Listening on {}\n{token}", sandbox.url());
    // At once: whoever has read the address may close the output.
    std::io::stdout().write_all(banner.as_bytes())?;
    stopped().await?;
    sandbox.stop().await;
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM.
async fn stopped() -> Result<()> {
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = term.recv() => {}
    }
    Ok(())
}
