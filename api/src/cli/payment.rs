//! `bursar payments`, `invoices` and `operations`: money, as support sees it.

use super::client::admin_path;
use super::customer::new_idempotency_key;
use super::error::Error;
use super::list::{self, Paging};
use super::table::{Column, Listing, Table};
use super::{Session, output, view};
use bursar_engine::amount::MoneyMinor;
use bursar_engine::domain::catalogue::currency::money;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;

const PAYMENTS: &[Column] = &[
    Column::wrapped("created_at"),
    Column::fixed("kind"),
    Column::fixed("state"),
    Column::number("amount_minor"),
    Column::fixed("currency"),
    Column::number("credits"),
    Column::number("refunded_minor"),
    Column::number("disputed_minor"),
    Column::wrapped("reason"),
    Column::wrapped("idempotency_key"),
    Column::fixed("customer_id"),
    Column::fixed("id"),
];
const PAYMENT_KEYS: &[&str] = &[
    "id",
    "customer_id",
    "kind",
    "state",
    "amount_minor",
    "balance_credit_minor",
    "currency",
    "credits",
    "refunded_minor",
    "disputed_minor",
    "reason",
    "decline_code",
    "detail",
    "idempotency_key",
    "operation_id",
    "payment_intent",
    "invoice",
    "subscription",
    "created_at",
    "updated_at",
];
const HISTORY: &[Column] = &[Column::wrapped("at"), Column::wrapped("what")];
const REFUND_KEYS: &[&str] = &[
    "payment_id",
    "customer_id",
    "state",
    "amount_minor",
    "currency",
    "refundable_minor",
    "credited_minor",
    "credits",
    "credits_to_go",
    "credits_reserved",
    "credits_to_go_later",
    "credit_balance",
    "credit_balance_after",
    "charge",
    "refund",
    "operation_id",
    "detail",
];
const INVOICES: &[Column] = &[
    Column::wrapped("created_at"),
    Column::fixed("state"),
    Column::number("amount_minor"),
    Column::number("balance_credit_minor"),
    Column::fixed("currency"),
    Column::number("credits_granted"),
    Column::number("credits_to_come"),
    Column::number("refunded_minor"),
    Column::number("disputed_minor"),
    Column::wrapped("reason"),
    Column::wrapped("detail"),
    Column::wrapped("subscription"),
    Column::fixed("customer_id"),
    Column::wrapped("id"),
];
const OPERATIONS: &[Column] = &[
    Column::wrapped("created_at"),
    Column::fixed("kind"),
    Column::fixed("state"),
    Column::number("amount_minor"),
    Column::fixed("currency"),
    Column::wrapped("reason"),
    Column::fixed("asked_by"),
    Column::wrapped("idempotency_key"),
    Column::wrapped("stripe_id"),
    Column::fixed("customer_id"),
    Column::fixed("id"),
];

/// Payments: charges for units, and payments of invoices.
#[derive(Debug, Subcommand)]
pub enum PaymentCommand {
    /// List payments, the latest first, failed ones included.
    List(PaymentFilter),
    /// Show a payment and what became of it.
    Show {
        /// Its operation, PaymentIntent, invoice or charge.
        id: String,
    },
    /// Give money back. Each run is a refund of its own, unless --idempotency-key says that it is the same.
    Refund(RefundArgs),
}

/// Invoices of subscriptions.
#[derive(Debug, Subcommand)]
pub enum InvoiceCommand {
    /// List invoices that were paid or whose payment failed, the latest first.
    List(PaymentFilter),
}

/// Operations: what only Stripe can carry out.
#[derive(Debug, Subcommand)]
pub enum OperationCommand {
    /// List operations, the latest first.
    List {
        /// Of this kind only, such as usage_charge.
        #[arg(long, value_name = "KIND")]
        kind: Option<String>,
        /// In this state only.
        #[arg(long, value_parser = ["processing", "requires_action", "succeeded", "failed"])]
        state: Option<String>,
        /// The customer and the time.
        #[command(flatten)]
        range: RangeArgs,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
}

/// Whose, and when.
#[derive(Debug, Args)]
pub struct RangeArgs {
    /// Of this customer only, by its id or e-mail address.
    #[arg(long, value_name = "CUSTOMER")]
    customer: Option<String>,
    /// From this time on: a span before now such as 90m, 24h or 7d, a day or a time.
    #[arg(long, visible_alias = "from", value_name = "TIME", value_parser = super::since::parse)]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only those that failed for a reason that contains this text, such as `card_declined`.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Which payments or invoices.
#[derive(Debug, Args)]
pub struct PaymentFilter {
    /// In this state only.
    #[arg(long, value_parser = ["processing", "requires_action", "failed", "paid", "refunded", "disputed"])]
    state: Option<String>,
    /// The customer and the time.
    #[command(flatten)]
    range: RangeArgs,
    /// Paging options.
    #[command(flatten)]
    paging: Paging,
}

/// Arguments of `refund`.
#[derive(Debug, Args)]
pub struct RefundArgs {
    /// The payment: its operation, PaymentIntent, invoice or charge.
    id: String,
    /// How much, in minor units; by default all that is left and was not credited.
    #[arg(long, value_name = "N")]
    amount_minor: Option<i64>,
    /// Give the amount back even if some of it was credited to the customer at Stripe already.
    #[arg(long, requires = "amount_minor")]
    beyond_credited: bool,
    /// What becomes of the credits that the money bought.
    #[arg(long, default_value = "unspent", value_parser = ["unspent", "all", "none"])]
    credits: String,
    /// Reason, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Say only what would happen.
    #[arg(long)]
    dry_run: bool,
    /// Makes repeating this safe: the same key refunds once. Without it, a second run refunds a second time.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Runs a command about payments.
///
/// # Errors
/// See [`Error`].
pub async fn run(session: &Session, command: &PaymentCommand) -> anyhow::Result<ExitCode> {
    match command {
        PaymentCommand::List(filter) => show(session, "payments", filter, PAYMENTS).await,
        PaymentCommand::Show { id } => {
            session.show(&session.client.get(&admin_path(&["payments", id])?, &[]).await?, render)
        }
        PaymentCommand::Refund(args) => refund(session, args).await,
    }
}

/// Runs a command about invoices.
///
/// # Errors
/// See [`Error`].
pub async fn run_invoices(session: &Session, command: &InvoiceCommand) -> anyhow::Result<ExitCode> {
    let InvoiceCommand::List(filter) = command;
    show(session, "invoices", filter, INVOICES).await
}

/// Runs a command about operations.
///
/// # Errors
/// See [`Error`].
pub async fn run_operations(session: &Session, command: &OperationCommand) -> anyhow::Result<ExitCode> {
    let OperationCommand::List { kind, state, range, paging } = command;
    let narrowed = range.query(session).await?;
    let mut query = list::borrowed(&narrowed);
    query.extend([("kind", kind.as_deref()), ("state", state.as_deref())]);
    list::show(session, &admin_path(&["operations"])?, &query, paging, OPERATIONS).await
}

impl RangeArgs {
    async fn query(&self, session: &Session) -> anyhow::Result<list::Query> {
        let customer = session.customer_of(self.customer.as_deref()).await?;
        let (since, to, reason) = (self.since.clone(), self.to.clone(), self.reason.clone());
        Ok(vec![("customer", customer), ("from", since), ("to", to), ("reason", reason)])
    }
}

async fn show(session: &Session, noun: &str, filter: &PaymentFilter, columns: &[Column]) -> anyhow::Result<ExitCode> {
    let narrowed = filter.range.query(session).await?;
    let mut query = list::borrowed(&narrowed);
    query.push(("state", filter.state.as_deref()));
    list::show(session, &admin_path(&[noun])?, &query, &filter.paging, columns).await
}

async fn refund(session: &Session, args: &RefundArgs) -> anyhow::Result<ExitCode> {
    let key = args.idempotency_key.clone().unwrap_or_else(new_idempotency_key);
    let mut body = json!({
        "amount_minor": args.amount_minor,
        "credits": args.credits,
        "reason": args.reason,
        "dry_run": args.dry_run,
    });
    if args.beyond_credited {
        body["beyond_credited"] = true.into();
    }
    let path = admin_path(&["payments", &args.id, "refund"])?;
    match session.client.post_with_key(&path, &body, Some(&key)).await {
        Ok(answer) => {
            let failed = answer["state"] == "failed";
            let code = session.show(&answer, |answer| Listing::of(answer, REFUND_KEYS).render(output::width()))?;
            if let Some(credited @ 1..) = answer["credited_minor"].as_i64() {
                let credited = money(MoneyMinor(credited), answer["currency"].as_str().unwrap_or_default());
                output::note(&format!(
                    "{credited} of this money was credited to the customer at Stripe when it changed its \
                     subscription. That part is given back only with --beyond-credited"
                ));
            }
            Ok(if failed { ExitCode::FAILURE } else { code })
        }
        Err(error) => {
            if error.may_have_committed() {
                output::note(&format!("It may have succeeded. To repeat it safely: --idempotency-key {key}"));
            }
            Err(Error::into(error))
        }
    }
}

fn render(answer: &Value) -> String {
    let width = output::width();
    let listing = Listing::of(view::part(answer, "payment"), PAYMENT_KEYS).render(width);
    let history = Table::of(HISTORY, view::items(answer, "history")).render(width);
    format!("{listing}\n\nWhat became of it\n{history}")
}
