//! `bursar token`: admin tokens.

use super::client::admin_path;
use super::customer::new_idempotency_key;
use super::list::{self, Paging};
use super::table::{Column, Listing};
use super::{Session, output, view};
use bursar_engine::domain::admin_token::Scope;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use std::process::ExitCode;

const TOKENS: &[Column] = &[
    Column::fixed("id"),
    Column::wrapped("name"),
    Column::fixed("state"),
    Column::wrapped("scopes"),
    Column::wrapped("expires_at"),
    Column::wrapped("last_used_at"),
    Column::fixed("hint"),
    Column::wrapped("created_by"),
];
const TOKEN_KEYS: &[&str] =
    &["id", "name", "state", "scopes", "hint", "created_at", "created_by", "expires_at", "revoked_at", "revoked_by"];

/// Admin tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token for a person or a program, and show it once.
    Create {
        /// Whose it is, or what it is for, such as ada@example.com. The audit log shows it.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it may do, separated by commas. `admin` includes all others.
        #[arg(long, value_name = "SCOPES", required = true, value_delimiter = ',', value_parser = scopes())]
        scopes: Vec<String>,
        /// How long it is valid, in days, hours or minutes.
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = parse_life)]
        expires_in: i64,
        /// Let it never expire.
        #[arg(long, conflicts_with = "expires_in")]
        no_expiry: bool,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List tokens, latest first, with their last use.
    List {
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Revoke a token for good.
    Revoke {
        /// The token's id, such as `adt_…`; not the token itself.
        id: String,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

fn scopes() -> PossibleValuesParser {
    PossibleValuesParser::new(Scope::ALL.map(Scope::as_str))
}

/// Reads a time such as `90d`, `12h` or `30m`, in seconds.
fn parse_life(text: &str) -> Result<i64, String> {
    let wrong = || "must be a number of days, hours or minutes, such as 90d, 12h or 30m".to_owned();
    let unit_s = match text.chars().last() {
        Some('d') => 24 * 60 * 60,
        Some('h') => 60 * 60,
        Some('m') => 60,
        _ => return Err(wrong()),
    };
    let number: i64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit_s).filter(|life_s| *life_s > 0).ok_or_else(wrong)
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Create { name, scopes, expires_in, no_expiry, reason } => {
            let expires_in_s = (!no_expiry).then_some(expires_in);
            let body = json!({ "name": name, "scopes": scopes, "expires_in_s": expires_in_s, "reason": reason });
            let path = admin_path(&["tokens"])?;
            let answer = session.client.post_with_key(&path, &body, Some(&new_idempotency_key())).await?;
            session.show(&answer, |answer| {
                let mut listing = describe(view::part(answer, "admin_token"));
                listing.line("token", view::full(&answer["token"]));
                listing.render(output::width())
            })
        }
        TokenCommand::List { paging } => {
            list::show_with(session, &admin_path(&["tokens"])?, &[], paging, TOKENS, with_scopes_in_words).await
        }
        TokenCommand::Revoke { id, reason } => {
            let path = admin_path(&["tokens", id, "revoke"])?;
            let answer = session.client.post(&path, &json!({ "reason": reason })).await?;
            session.show(&answer, |token| describe(token).render(output::width()))
        }
    }
}

fn describe(token: &Value) -> Listing {
    Listing::of(&with_scopes_in_words(token), TOKEN_KEYS)
}

fn scopes_in_words(token: &Value) -> String {
    view::items(token, "scopes").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn with_scopes_in_words(token: &Value) -> Value {
    let mut token = token.clone();
    token["scopes"] = scopes_in_words(&token).into();
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_number_of_days_hours_or_minutes() {
        assert_eq!(parse_life("90d"), Ok(7_776_000));
        assert_eq!(parse_life("12h"), Ok(43_200));
        assert_eq!(parse_life("30m"), Ok(1_800));
        for wrong in ["", "d", "90", "0d", "-1d", "1w", "1.5d", "9223372036854775807d", "1é"] {
            assert!(parse_life(wrong).is_err(), "{wrong}");
        }
    }
}
