//! `bursar customers write-off`, `credit-limit`, `suspend`, `resume`, `correct-email` and `revoke-key`.

use super::{CUSTOMER_KEYS, KEY_KEYS, TRANSACTION_KEYS, new_idempotency_key};
use crate::cli::client::admin_path;
use crate::cli::error::Error;
use crate::cli::table::Listing;
use crate::cli::{Session, output, view};
use clap::Args;
use serde_json::{Value, json};
use std::process::ExitCode;

const TERMS_KEYS: &[&str] = &["customer_id", "credit_balance", "credit_limit", "suspended"];

/// Arguments of `write-off`.
#[derive(Debug, Clone, Args)]
pub struct WriteOffArgs {
    /// The customer, by its id or e-mail address.
    pub(super) id: String,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Makes repeating this safe.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Arguments of `credit-limit`.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// The customer, by its id or e-mail address.
    pub(super) id: String,
    /// How many credits below zero it may go; 0 takes the limit away.
    #[arg(long, value_name = "N")]
    credits: i64,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Arguments of `suspend`, `resume` and `confirm`.
#[derive(Debug, Clone, Args)]
pub struct ReasonArgs {
    /// The customer, by its id or e-mail address.
    pub(super) id: String,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}

/// Arguments of `correct-email`.
#[derive(Debug, Clone, Args)]
pub struct EmailArgs {
    /// The customer, by its id or e-mail address.
    pub(super) id: String,
    /// The right address.
    email: String,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Arguments of `revoke-key`.
#[derive(Debug, Clone, Args)]
pub struct RevokeKeyArgs {
    /// The customer, by its id or e-mail address.
    pub(super) id: String,
    /// The key's id, such as `key_…`; not the key itself.
    key: String,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) async fn correct_email(session: &Session, args: &EmailArgs) -> anyhow::Result<ExitCode> {
    let body = json!({ "email": args.email, "reason": args.reason });
    let answer = session.client.post(&admin_path(&["customers", &args.id, "email"])?, &body).await?;
    session.show(&answer, |answer| Listing::of(view::part(answer, "customer"), CUSTOMER_KEYS).render(output::width()))
}

pub(super) async fn revoke_key(session: &Session, args: &RevokeKeyArgs) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["customers", &args.id, "api-keys", &args.key, "revoke"])?;
    let answer = session.client.post(&path, &json!({ "reason": args.reason })).await?;
    session.show(&answer, |key| Listing::of(key, KEY_KEYS).render(output::width()))
}

pub(super) async fn write_off(session: &Session, args: &WriteOffArgs) -> anyhow::Result<ExitCode> {
    let key = args.idempotency_key.clone().unwrap_or_else(new_idempotency_key);
    let path = admin_path(&["customers", &args.id, "write-off"])?;
    match session.client.post_with_key(&path, &json!({ "reason": args.reason }), Some(&key)).await {
        Ok(answer) => session.show(&answer, |answer| {
            Listing::of(view::part(answer, "transaction"), TRANSACTION_KEYS).render(output::width())
        }),
        Err(error) => {
            if error.may_have_committed() {
                output::note(&format!("It may have succeeded. To repeat it safely: --idempotency-key {key}"));
            }
            Err(Error::into(error))
        }
    }
}

pub(super) async fn set_limit(session: &Session, args: &LimitArgs) -> anyhow::Result<ExitCode> {
    let body = json!({ "credits": args.credits, "reason": args.reason });
    let path = admin_path(&["customers", &args.id, "credit-limit"])?;
    session.show(&session.client.post(&path, &body).await?, render)
}

pub(super) async fn set_suspended(session: &Session, act: &str, args: &ReasonArgs) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["customers", &args.id, act])?;
    session.show(&session.client.post(&path, &json!({ "reason": args.reason })).await?, render)
}

fn render(answer: &Value) -> String {
    Listing::of(answer, TERMS_KEYS).render(output::width())
}
