//! `bursar customers send-link` and `confirm`.

use super::account::ReasonArgs;
use super::new_idempotency_key;
use crate::cli::client::admin_path;
use crate::cli::table::Listing;
use crate::cli::{Session, output};
use clap::Args;
use serde_json::{Value, json};
use std::process::ExitCode;

const ADDRESS_KEYS: &[&str] = &["customer_id", "email", "email_confirmation", "email_confirmed_at"];

/// Arguments of `send-link`.
#[derive(Debug, Clone, Args)]
pub struct SendLinkArgs {
    /// The customer, by its id or e-mail address.
    pub(super) id: String,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Makes repeating this safe: the same key never sends twice.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

pub(super) async fn send_link(session: &Session, args: &SendLinkArgs) -> anyhow::Result<ExitCode> {
    let key = args.idempotency_key.clone().unwrap_or_else(new_idempotency_key);
    let path = admin_path(&["customers", &args.id, "confirmation-link"])?;
    let answer = session.client.post_with_key(&path, &json!({ "reason": args.reason }), Some(&key)).await?;
    session.show(&answer, render)
}

pub(super) async fn confirm(session: &Session, args: &ReasonArgs) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["customers", &args.id, "confirm"])?;
    session.show(&session.client.post(&path, &json!({ "reason": args.reason })).await?, render)
}

fn render(answer: &Value) -> String {
    Listing::of(answer, ADDRESS_KEYS).render(output::width())
}
