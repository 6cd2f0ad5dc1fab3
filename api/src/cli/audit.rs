//! `bursar audit`: the audit log.

mod export;

pub use export::{check, parse_head};

use super::Session;
use super::client::admin_path;
use super::list::{self, Paging};
use super::table::Column;
use clap::Subcommand;
use std::process::ExitCode;

const LINES: &[Column] = &[
    Column::wrapped("at"),
    Column::wrapped("actor"),
    Column::fixed("action"),
    Column::fixed("target"),
    Column::wrapped("details"),
];

/// The audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List actions, latest first.
    List {
        /// Only actions on this target: a customer, a job, a replay …, or a stream.
        #[arg(long, value_name = "ID")]
        target: Option<String>,
        /// On this customer only, by its id or e-mail address.
        #[arg(long, value_name = "CUSTOMER", conflicts_with = "target")]
        customer: Option<String>,
        /// From this time on: a span before now such as 90m, 24h or 7d, a day or a time.
        #[arg(long, value_name = "TIME", value_parser = super::since::parse)]
        since: Option<String>,
        /// Only actions whose details, such as the reason, contain this text.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Write the sealed log as JSON lines or CSV, check its chain of hashes, and print its head.
    Export(export::ExportArgs),
    /// Print the head of the log: the number and the hash of the last seal. Keep it elsewhere.
    Head,
    /// Check the chain in a file of an export, without a server, and print its head.
    Check(export::CheckArgs),
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::List { target, customer, since, reason, paging } => {
            let customer = session.customer_of(customer.as_deref()).await?;
            let query = [
                ("target", target.as_deref().or(customer.as_deref())),
                ("from", since.as_deref()),
                ("reason", reason.as_deref()),
            ];
            list::show(session, &admin_path(&["audit"])?, &query, paging, LINES).await
        }
        AuditCommand::Export(args) => export::export(session, args).await,
        AuditCommand::Head => export::head(session).await,
        AuditCommand::Check(args) => export::check(args),
    }
}
