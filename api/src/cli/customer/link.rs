//! `bursar customers create`, `link` and `unlink`: customers from elsewhere, and their Stripe customers.

use super::{CUSTOMER_KEYS, new_idempotency_key};
use crate::cli::client::admin_path;
use crate::cli::error::Error;
use crate::cli::table::Listing;
use crate::cli::{PROGRAM, Session, output, view};
use clap::Args;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `create`.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// Its e-mail address.
    #[arg(long, value_name = "ADDRESS")]
    email: String,
    /// Its name.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// How it was acquired.
    #[arg(long, default_value = "direct", value_parser = ["direct", "marketplace", "early_access"])]
    source: String,
    /// The Stripe customer that it has already.
    #[arg(long, value_name = "CUS")]
    stripe_customer: Option<String>,
    /// Payments for periods that begin before this day or time bring no credits; by default now.
    #[arg(long, value_name = "DAY", requires = "stripe_customer")]
    credits_from: Option<String>,
    /// Makes repeating this safe: the same key makes one customer.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Arguments of `link`.
#[derive(Debug, Clone, Args)]
pub struct LinkArgs {
    /// The customer, by its id or e-mail address.
    pub(super) id: String,
    /// The Stripe customer.
    stripe_customer: String,
    /// Payments for periods that begin before this day or time bring no credits; by default now. The same link again
    /// keeps its day unless another one is given.
    #[arg(long, value_name = "DAY")]
    credits_from: Option<String>,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Arguments of `unlink`.
#[derive(Debug, Clone, Args)]
pub struct UnlinkArgs {
    /// The customer, by its id or e-mail address.
    pub(super) id: String,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) async fn create(session: &Session, args: &CreateArgs) -> anyhow::Result<ExitCode> {
    let key = args.idempotency_key.clone().unwrap_or_else(new_idempotency_key);
    let body = json!({
        "email": args.email,
        "name": args.name,
        "source": args.source,
        "stripe_customer_id": args.stripe_customer,
        "credits_from": args.credits_from,
    });
    match session.client.post_with_key(&admin_path(&["customers"])?, &body, Some(&key)).await {
        Ok(answer) => {
            let code = session.show(&answer, render)?;
            let id = answer["customer"]["id"].as_str().unwrap_or_default();
            output::note(&format!("It has no API key yet: {PROGRAM} customers new-key {id} --reason …"));
            Ok(code)
        }
        Err(error) => {
            if error.may_have_committed() {
                output::note(&format!("It may have succeeded. To repeat it safely: --idempotency-key {key}"));
            }
            Err(Error::into(error))
        }
    }
}

pub(super) async fn link(session: &Session, args: &LinkArgs) -> anyhow::Result<ExitCode> {
    let body = json!({
        "stripe_customer_id": args.stripe_customer,
        "credits_from": args.credits_from,
        "reason": args.reason,
    });
    session.show(&session.client.post(&admin_path(&["customers", &args.id, "stripe-link"])?, &body).await?, render)
}

pub(super) async fn unlink(session: &Session, args: &UnlinkArgs) -> anyhow::Result<ExitCode> {
    let body = json!({ "reason": args.reason });
    session.show(&session.client.post(&admin_path(&["customers", &args.id, "stripe-unlink"])?, &body).await?, render)
}

fn render(answer: &Value) -> String {
    let mut listing = Listing::of(view::part(answer, "customer"), CUSTOMER_KEYS);
    listing.line("credits from", view::full(&answer["credits_from"]));
    listing.render(output::width())
}
