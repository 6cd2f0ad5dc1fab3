//! `bursar marketplace`: purchases on GitHub Marketplace.

use super::client::admin_path;
use super::list::{self, Paging};
use super::table::{Column, Listing};
use super::{PROGRAM, Session, output, view};
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

const ACCOUNTS: &[Column] = &[
    Column::fixed("github_account_id"),
    Column::wrapped("login"),
    Column::fixed("state"),
    Column::wrapped("effective_at"),
    Column::fixed("customer_id"),
    Column::wrapped("next_billing_at"),
];
const ACCOUNT_KEYS: &[&str] = &[
    "github_account_id",
    "login",
    "account_type",
    "email",
    "state",
    "plan",
    "pending",
    "effective_at",
    "customer_id",
    "linked_at",
    "credits_until",
    "next_credits_at",
];
const TOKEN_KEYS: &[&str] = &["token", "expires_at"];

/// Purchases on GitHub Marketplace.
#[derive(Debug, Subcommand)]
pub enum MarketplaceCommand {
    /// List GitHub accounts and their purchases.
    List {
        /// In this state only.
        #[arg(long, value_parser = ["announced", "purchased", "cancelled"])]
        state: Option<String>,
        /// Only accounts that are linked to a customer, or only those that are not.
        #[arg(long, value_parser = ["true", "false"])]
        linked: Option<String>,
        /// Only accounts whose name at GitHub contains this.
        #[arg(long, value_name = "TEXT")]
        login: Option<String>,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show the purchase of a GitHub account.
    Show {
        /// GitHub's id of the account.
        id: i64,
    },
    /// Link a purchase to a customer. This cannot be undone.
    Link {
        /// GitHub's id of the account.
        id: i64,
        /// The customer, by its id or e-mail address.
        customer: String,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Correct the state of a purchase from a day on, if an event is dead with order_unclear or was lost.
    Correct {
        /// GitHub's id of the account.
        id: i64,
        /// The correct state.
        #[arg(value_parser = ["purchased", "cancelled"])]
        state: String,
        /// The day (UTC) from which the state applies, such as 2026-11-05. It may be omitted only if the order of the
        /// last events is unclear; it then defaults to the day of those events.
        #[arg(long, value_name = "DATE")]
        effective: Option<String>,
        /// The next billing date at GitHub; by default the known one.
        #[arg(long, value_name = "DATE")]
        next_billing: Option<String>,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Create a token with which a buyer can sign up, and show it once.
    Token {
        /// GitHub's id of the account.
        id: i64,
    },
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &MarketplaceCommand) -> anyhow::Result<ExitCode> {
    let path = |id: &i64, act: &[&str]| {
        let id = id.to_string();
        let mut parts = vec!["marketplace", "accounts", id.as_str()];
        parts.extend(act);
        admin_path(&parts)
    };
    match command {
        MarketplaceCommand::List { state, linked, login, paging } => {
            let query = [("state", state.as_deref()), ("linked", linked.as_deref()), ("login", login.as_deref())];
            list::show(session, &admin_path(&["marketplace", "accounts"])?, &query, paging, ACCOUNTS).await
        }
        MarketplaceCommand::Show { id } => session.show(&session.client.get(&path(id, &[])?, &[]).await?, render),
        MarketplaceCommand::Link { id, customer, reason } => {
            let customer = session.customer_id(customer).await?;
            let body = json!({ "customer_id": customer, "reason": reason });
            session.show(&session.client.post(&path(id, &["link"])?, &body).await?, render)
        }
        MarketplaceCommand::Correct { id, state, effective, next_billing, reason } => {
            let body = json!({
                "state": state,
                "effective_date": effective,
                "next_billing_date": next_billing,
                "reason": reason,
            });
            let code = session.show(&session.client.post(&path(id, &["state"])?, &body).await?, render)?;
            output::note(&format!(
                "This is the state before the correction, which follows within seconds: {PROGRAM} marketplace show {id}"
            ));
            Ok(code)
        }
        MarketplaceCommand::Token { id } => {
            let answer = session.client.post(&path(id, &["link-token"])?, &json!({})).await?;
            session.show(&answer, |answer| Listing::of(answer, TOKEN_KEYS).render(output::width()))
        }
    }
}

fn render(answer: &Value) -> String {
    Listing::of(view::part(answer, "account"), ACCOUNT_KEYS).render(output::width())
}
