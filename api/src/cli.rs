//! The command line.
//!
//! Commands are of two sorts. Some work in this process (`serve`, `migrate`, `verify`, `openapi`,
//! `config`); here are only their arguments. The others are a client: they talk over HTTP to a server
//! that runs, with an admin token, and never touch the database. [`run`] does those.
//!
//! | module | what is in it |
//! |---|---|
//! | [`connection`] | which server, which token |
//! | [`client`], [`error`] | requests, answers and what can go wrong with them |
//! | [`list`] | lists that come page by page |
//! | [`report`] | what `customers usage`, `balance` and `transactions --csv` show |
//! | [`customer`], [`event`], [`job`], [`mail`], [`marketplace`], [`stream`], [`replay`], [`reconcile`], [`audit`] | the commands, one noun each |
//! | [`stripe`], [`github`], [`send`] | playing a sender of webhooks |
//! | [`watch`] | follows a replay until it ends |
//! | [`output`], [`table`], [`view`], [`replay_view`], [`progress`] | what a person sees |

pub mod audit;
pub mod client;
pub mod connection;
pub mod customer;
pub mod error;
pub mod event;
pub mod github;
pub mod job;
pub mod list;
pub mod mail;
pub mod marketplace;
pub mod output;
pub mod progress;
pub mod reconcile;
pub mod replay;
pub mod replay_view;
pub mod report;
pub mod send;
pub mod stream;
pub mod stripe;
pub mod table;
pub mod view;
pub mod watch;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use client::Client;
use connection::Connection;
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;

/// The name of the program, as completions and hints spell it.
pub const PROGRAM: &str = "bursar";

/// Job and webhook processing for companies that sell work by credit.
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage."
)]
pub struct Cli {
    /// Print JSON, one document, instead of tables.
    #[arg(long, global = true)]
    pub json: bool,
    /// Which server the client commands talk to.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Move the database's schema.
    Migrate(MigrateArgs),
    /// Prove on the live database that the books balance and nothing was lost.
    Verify(ConfigFile),
    /// Print the OpenAPI document.
    Openapi,
    /// Look at the configuration.
    Config(ConfigArgs),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Compare with Stripe, or play Stripe towards a server.
    #[command(subcommand)]
    Stripe(stripe::StripeCommand),
    /// Play GitHub towards a server.
    #[command(subcommand)]
    Github(github::GithubCommand),
    /// Customers and their credits.
    #[command(subcommand)]
    Customers(customer::CustomerCommand),
    /// Events that came in.
    #[command(subcommand)]
    Events(event::EventCommand),
    /// Jobs: everything that is deferred, retried or ordered.
    #[command(subcommand)]
    Jobs(job::JobCommand),
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
}

/// Which configuration file is read.
#[derive(Debug, Clone, Args)]
pub struct ConfigFile {
    /// Configuration file; `bursar.toml` in the current folder if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How the server runs.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Which half of the server runs here.
    #[arg(long, value_enum, default_value_t = Role::All)]
    pub role: Role,
    /// Make a customer to try things out with, and print its API key and the admin token.
    #[arg(long)]
    pub demo: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Which half of the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// HTTP and jobs.
    All,
    /// HTTP only.
    Api,
    /// Jobs only.
    Worker,
}

/// How the schema moves.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Which way.
    #[command(subcommand)]
    pub command: MigrateCommand,
}

/// Which way the schema moves.
#[derive(Debug, Clone, Subcommand)]
pub enum MigrateCommand {
    /// Apply what is pending.
    Up,
    /// Take back the latest, with the data in it. Stop all nodes first.
    Down(DownArgs),
    /// Show what is applied and what is pending.
    Status,
}

/// What is taken back, and what whoever takes it back knows.
#[derive(Debug, Clone, Args)]
pub struct DownArgs {
    /// How many migrations to take back.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// The database's name: its name in Postgres, or the name of SQLite's file. It is asked for at a terminal.
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Do not look whether nodes are at work: all of them are stopped or dead.
    #[arg(long)]
    pub nodes_are_stopped: bool,
}

/// What to do with the configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with it, one line for each problem.
    Check,
}

/// What every client command has at hand.
pub struct Session {
    client: Client,
    json: bool,
}

impl Session {
    /// Shows an answer: as it is if JSON was asked for, otherwise as `render` puts it.
    fn show(&self, answer: &Value, render: impl FnOnce(&Value) -> String) -> anyhow::Result<ExitCode> {
        let text = if self.json { serde_json::to_string_pretty(answer)? } else { render(answer) };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Does the client commands, which are all but those that work in this process. The caller has matched the others and installed a rustls provider.
///
/// # Errors
/// Whatever [`output::report`] is to say; [`error::Error`] if the server is the cause.
pub async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let session = || Client::new(&cli.connection).map(|client| Session { client, json: cli.json });
    match &cli.command {
        Command::Completions { shell } => completions(*shell),
        Command::Stripe(command) => stripe::run(&cli.connection, cli.json, command).await,
        Command::Github(command) => github::run(&cli.connection, cli.json, command).await,
        Command::Customers(command) => customer::run(&session()?, command).await,
        Command::Events(command) => event::run(&session()?, command).await,
        Command::Jobs(command) => job::run(&session()?, command).await,
        // A preview needs no server.
        Command::Mail(mail::MailCommand::Preview(args)) => mail::preview(cli.json, args),
        Command::Mail(command) => mail::run(&session()?, command).await,
        Command::Marketplace(command) => marketplace::run(&session()?, command).await,
        Command::Streams(command) => stream::run(&session()?, command).await,
        Command::Replays(command) => replay::run(&session()?, command).await,
        Command::Audit(command) => audit::run(&session()?, command).await,
        Command::Serve(_) | Command::Migrate(_) | Command::Verify(_) | Command::Openapi | Command::Config(_) => {
            anyhow::bail!("this command is not one of the client's")
        }
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// A mistake in how the program was called that clap cannot see; [`output::report`] shows it as
/// clap's own and exits with 2.
pub(crate) fn usage(message: impl std::fmt::Display) -> anyhow::Error {
    clap::Error::raw(clap::error::ErrorKind::ValueValidation, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_contradict_nothing() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_token_is_never_shown_by_debug() {
        let cli = Cli::try_parse_from(["bursar", "--token", "s3cret", "jobs", "list"]).expect("valid");
        assert!(!format!("{cli:?}").contains("s3cret"));
    }

    #[test]
    fn global_options_are_taken_behind_the_command_too() {
        let cli = Cli::try_parse_from(["bursar", "jobs", "list", "--json", "--url", "http://h:1"]).expect("valid");
        assert!(cli.json);
        assert_eq!(cli.connection.url, "http://h:1");
    }

    #[test]
    fn a_replay_of_events_is_of_one_or_of_many_never_both() {
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
    fn a_stretch_of_time_is_for_the_file_and_the_file_is_no_page() {
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
