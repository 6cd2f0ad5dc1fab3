//! The command line.
//!
//! Some commands run in this process (`serve`, `migrate`, `verify`, `openapi`, `config`, `preflight`); only their
//! arguments are defined here. The others are client commands: they send requests with an admin token to a running
//! server and never touch the database, except that `catalogue show` and `export` read it where no server answers.
//! [`run`] runs those.
//!
//! | module | what is in it |
//! |---|---|
//! | [`connection`] | the server's URL, the admin token and webhook secrets |
//! | [`client`], [`error`] | requests, answers and their errors |
//! | [`list`], [`since`] | paged lists, and the options that narrow them |
//! | `scope_of_options` | which options act on which commands |
//! | [`report`] | the output of `customers usage`, `balance` and `transactions --csv` |
//! | [`customer`], [`event`], [`job`], [`failure`], [`mail`], [`marketplace`], [`stream`], [`replay`], [`reconcile`], [`audit`], [`admin_token`], [`log_filter`] | the commands, one file per resource |
//! | [`payment`] | payments, invoices, operations and refunds |
//! | [`stripe`], [`github`], [`send`] | sending test webhooks |
//! | [`watch`] | follows a replay until it ends |
//! | [`catalogue`] | plans and prices: what is in force, files, versions, and prices at Stripe |
//! | [`output`], [`table`], [`view`], [`replay_view`], [`progress`] | output on the terminal |

pub mod admin_token;
pub mod audit;
pub mod catalogue;
pub mod client;
pub mod connection;
pub mod customer;
pub mod error;
pub mod event;
pub mod failure;
pub mod github;
pub mod job;
pub mod list;
pub mod log_filter;
pub mod mail;
pub mod marketplace;
pub mod output;
pub mod payment;
pub mod progress;
pub mod reconcile;
pub mod replay;
pub mod replay_view;
pub mod report;
mod scope_of_options;
pub mod send;
pub mod since;
pub mod stream;
pub mod stripe;
pub mod table;
pub mod view;
pub mod watch;

use bursar_engine::domain::audit::chain::Head;
use clap::{Args, Parser, Subcommand, ValueEnum};
use client::Client;
use connection::Connection;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// The name of the program in completions and hints.
pub const PROGRAM: &str = "bursar";

/// The widest lines of help; narrower terminals get narrower ones.
const HELP_WIDTH_MAX: usize = 100;

/// Job and webhook processing for companies that sell work by credit.
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version,
    propagate_version = true,
    max_term_width = HELP_WIDTH_MAX,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C while waiting."
)]
pub struct Cli {
    /// Print JSON, one document, instead of tables; errors as well, on the standard error.
    #[arg(long, global = true)]
    pub json: bool,
    /// Configuration file; by default `bursar.toml` in the current folder, if it exists.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The server of the client commands.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Apply or revert migrations of the database.
    Migrate(MigrateArgs),
    /// Prove on the live database that the books balance and nothing was lost.
    Verify(VerifyArgs),
    /// Print the OpenAPI document.
    Openapi,
    /// Check the configuration.
    Config(ConfigArgs),
    /// Check the configuration, the machine, the database, the broker, the SMTP server and Stripe before a start.
    Preflight(PreflightArgs),
    /// Plans and prices: what is sold.
    #[command(subcommand)]
    Catalogue(catalogue::CatalogueCommand),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Compare with Stripe, or send test events as Stripe.
    #[command(subcommand)]
    Stripe(stripe::StripeCommand),
    /// Send test events as GitHub.
    #[command(subcommand)]
    Github(github::GithubCommand),
    /// Customers and their credits.
    #[command(subcommand)]
    Customers(customer::CustomerCommand),
    /// Payments: charges for units, and payments of invoices.
    #[command(subcommand)]
    Payments(payment::PaymentCommand),
    /// Invoices of subscriptions.
    #[command(subcommand)]
    Invoices(payment::InvoiceCommand),
    /// Operations: what only Stripe can carry out.
    #[command(subcommand)]
    Operations(payment::OperationCommand),
    /// Events from Stripe and GitHub.
    #[command(subcommand)]
    Events(event::EventCommand),
    /// Jobs: everything that is deferred, retried or ordered.
    #[command(subcommand)]
    Jobs(job::JobCommand),
    /// Failures: dead jobs and events, grouped by cause.
    #[command(subcommand)]
    Failures(failure::FailureCommand),
    /// Mail to customers.
    #[command(subcommand)]
    Mail(mail::MailCommand),
    /// Purchases on GitHub Marketplace.
    #[command(subcommand)]
    Marketplace(marketplace::MarketplaceCommand),
    /// Streams: jobs that run one at a time, in order.
    #[command(subcommand)]
    Streams(stream::StreamCommand),
    /// Replays: ended jobs that run again, at a capped rate.
    #[command(subcommand)]
    Replays(replay::ReplayCommand),
    /// The audit log: who did what.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The log filter of a running node.
    #[command(subcommand)]
    LogFilter(log_filter::LogFilterCommand),
    /// Admin tokens: who may do what.
    #[command(subcommand, alias = "tokens")]
    Token(admin_token::TokenCommand),
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A head of the audit log from an earlier export: proves that nothing before it was changed since.
    #[arg(long, value_name = "HEAD", value_parser = audit::parse_head)]
    pub audit_head: Option<Head>,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Which part of the server to run.
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub role: Role,
    /// Create a demo customer, and print its API key and the admin token.
    #[arg(long)]
    pub demo: bool,
}

/// A part of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// HTTP and jobs.
    All,
    /// HTTP only.
    Api,
    /// Jobs only.
    Worker,
}

impl From<Role> for bursar_actors::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::All => Self::All,
            Role::Api => Self::Api,
            Role::Worker => Self::Worker,
        }
    }
}

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: MigrateCommand,
}

/// The commands of `migrate`.
#[derive(Debug, Clone, Subcommand)]
pub enum MigrateCommand {
    /// Apply pending migrations.
    Up,
    /// Revert the latest migrations, with the data in them. Stop all nodes first.
    Down(DownArgs),
    /// Show applied and pending migrations.
    Status,
}

/// Arguments of `migrate down`.
#[derive(Debug, Clone, Args)]
pub struct DownArgs {
    /// How many migrations to revert.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// The database's name, as a confirmation: its name in Postgres, or the name of SQLite's file. On a terminal it can
    /// be typed instead.
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Skip the check for running nodes: all of them are stopped or dead.
    #[arg(long)]
    pub nodes_are_stopped: bool,
}

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The commands of `config`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Print its problems, one per line.
    Check {
        /// The part of the server that will run with it.
        #[arg(long, value_enum, default_value_t = Role::All)]
        role: Role,
    },
}

/// Arguments of `preflight`.
#[derive(Debug, Args)]
pub struct PreflightArgs {
    /// The part of the server that will run.
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub role: Role,
    /// The address at which Stripe reaches the server, such as `https://billing.example.com`. By default `public_url`
    /// of the configuration; without both any webhook endpoint whose path is `/webhooks/stripe` counts as the server's.
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Exit with 1 for warnings, too.
    #[arg(long)]
    pub strict: bool,
}

impl Cli {
    /// Parses arguments, the first of which is the program.
    ///
    /// # Errors
    /// They are no command, or an option has no effect on the command; also if help or the version is asked for.
    pub fn parse_from_words(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, clap::Error> {
        scope_of_options::parse(words)
    }
}

/// The client and the output format of a command.
pub struct Session {
    client: Client,
    json: bool,
}

impl Session {
    /// Prints an answer, as JSON if requested, otherwise as `render` formats it.
    fn show(&self, answer: &Value, render: impl FnOnce(&Value) -> String) -> anyhow::Result<ExitCode> {
        if self.json {
            return output::print_json(answer);
        }
        output::print(&render(answer))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs a client command. The caller runs the other commands and has installed a rustls provider.
///
/// # Errors
/// [`error::Error`] if the server is the cause.
pub async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let session = || Client::new(cli).map(|client| Session { client, json: cli.json });
    match &cli.command {
        Command::Catalogue(command) => catalogue::run(cli, session, command).await,
        Command::Completions { shell } => completions(*shell),
        Command::Stripe(command) => stripe::run(cli, command).await,
        Command::Github(command) => github::run(cli, command).await,
        Command::Customers(command) => customer::run(&session()?, command).await,
        Command::Payments(command) => payment::run(&session()?, command).await,
        Command::Invoices(command) => payment::run_invoices(&session()?, command).await,
        Command::Operations(command) => payment::run_operations(&session()?, command).await,
        Command::Events(command) => event::run(&session()?, command).await,
        Command::Jobs(command) => job::run(&session()?, command).await,
        Command::Failures(command) => failure::run(&session()?, command).await,
        // A preview needs no server.
        Command::Mail(mail::MailCommand::Preview(args)) => mail::preview(cli.json, cli.config.as_deref(), args),
        Command::Mail(command) => mail::run(&session()?, command).await,
        Command::Marketplace(command) => marketplace::run(&session()?, command).await,
        Command::Streams(command) => stream::run(&session()?, command).await,
        Command::Replays(command) => replay::run(&session()?, command).await,
        // A file can be checked without a server.
        Command::Audit(audit::AuditCommand::Check(args)) => audit::check(args),
        Command::Audit(command) => audit::run(&session()?, command).await,
        Command::LogFilter(command) => log_filter::run(&session()?, command).await,
        Command::Token(command) => admin_token::run(&session()?, command).await,
        Command::Serve(_)
        | Command::Migrate(_)
        | Command::Verify(_)
        | Command::Openapi
        | Command::Config(_)
        | Command::Preflight(_) => {
            anyhow::bail!("not a client command")
        }
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut scope_of_options::command(), PROGRAM, &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a usage error that clap cannot detect. [`output::report`] prints it like clap's own and exits with 2.
pub(crate) fn usage(message: impl std::fmt::Display) -> anyhow::Error {
    clap::Error::raw(clap::error::ErrorKind::ValueValidation, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_token_is_never_shown_by_debug() {
        let cli = Cli::try_parse_from(["bursar", "--token", "s3cret", "jobs", "list"]).expect("valid");
        assert!(!format!("{cli:?}").contains("s3cret"));
    }

    #[test]
    fn global_options_may_follow_the_command() {
        let cli = Cli::try_parse_from(["bursar", "jobs", "list", "--json", "--url", "http://h:1"]).expect("valid");
        assert!(cli.json);
        assert_eq!(cli.connection.url.as_deref(), Some("http://h:1"));
    }

    #[test]
    fn the_configuration_file_may_be_named_anywhere() {
        for words in [
            &["bursar", "--config", "f", "config", "check"][..],
            &["bursar", "config", "--config", "f", "check"],
            &["bursar", "config", "check", "--config", "f"],
            &["bursar", "preflight", "--config", "f"],
            &["bursar", "migrate", "status", "--config", "f"],
            &["bursar", "mail", "preview", "welcome", "--config", "f"],
            &["bursar", "catalogue", "check", "g", "--config", "f"],
            &["bursar", "customers", "list", "--config", "f"],
        ] {
            let cli = Cli::try_parse_from(words).expect("valid");
            assert_eq!(cli.config, Some(PathBuf::from("f")), "{words:?}");
        }
    }

    #[test]
    fn an_event_replay_takes_one_event_or_a_state() {
        let parse = |words: &[&str]| {
            let base = ["bursar", "events", "replay", "--reason", "r"];
            Cli::try_parse_from(base.iter().chain(words)).is_ok()
        };
        assert!(parse(&["evt_1"]));
        assert!(parse(&["--state", "dead", "--dry-run"]));
        assert!(!parse(&[]));
        assert!(!parse(&["evt_1", "--state", "dead"]));
        assert!(!parse(&["evt_1", "--yes"]));
        assert!(!parse(&["--state", "waiting"]));
    }

    #[test]
    fn a_time_range_requires_csv_and_csv_has_no_pages() {
        let parse = |words: &[&str]| {
            let base = ["bursar", "customers", "transactions", "cst_1"];
            Cli::try_parse_from(base.iter().chain(words)).is_ok()
        };
        assert!(parse(&["--csv", "--from", "2026-12-01T00:00:00Z", "--to", "2027-01-01T00:00:00Z"]));
        assert!(!parse(&["--from", "2026-12-01T00:00:00Z"]));
        assert!(!parse(&["--csv", "--limit", "5"]));
        assert!(!parse(&["--csv", "--all"]));
    }

    #[test]
    fn credits_can_be_taken_away() {
        let words = ["bursar", "customers", "adjust", "cst_1", "--amount", "-5", "--reason", "r"];
        assert!(Cli::try_parse_from(words).is_ok());
    }
}
