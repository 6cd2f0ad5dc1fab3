//! `bursar customers`: customers and their credits.

mod account;
mod confirmation;
mod find;
mod link;
mod spend_cap;
mod top_up;

use super::client::admin_path;
use super::error::Error;
use super::list::{self, Paging};
use super::table::{Column, Listing, Table};
use super::{Session, output, report, view};
use bursar_engine::amount::MoneyMinor;
use bursar_engine::clock::Clock;
use bursar_engine::count::counted;
use bursar_engine::domain::catalogue::currency::money;
use clap::Subcommand;
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;

const CUSTOMERS: &[Column] = &[
    Column::fixed("id"),
    Column::wrapped("email"),
    Column::fixed("plan"),
    Column::wrapped("name"),
    Column::wrapped("created_at"),
];
const TRANSACTIONS: &[Column] = &[
    Column::wrapped("created_at"),
    Column::fixed("kind"),
    Column::number("amount"),
    Column::number("balance_after"),
    Column::wrapped("source"),
    Column::wrapped("reference"),
    Column::fixed("id"),
];
const TIMELINE: &[Column] = &[Column::wrapped("at"), Column::wrapped("what"), Column::wrapped("details")];
const GRANTS: &[Column] = &[
    Column::fixed("kind"),
    Column::number("remaining"),
    Column::wrapped("expires_at"),
    Column::fixed("transaction_id"),
];
const HOLDS: &[Column] = &[Column::fixed("id"), Column::number("amount"), Column::wrapped("expires_at")];
const SUBSCRIPTIONS: &[Column] = &[
    Column::wrapped("id"),
    Column::fixed("status"),
    Column::fixed("plan"),
    Column::fixed("price"),
    Column::wrapped("terms"),
    Column::number("quantity"),
    Column::wrapped("current_period_end"),
    Column::wrapped("cancel_at_period_end"),
    Column::wrapped("past_due_since"),
    Column::wrapped("past_due_reason"),
    Column::wrapped("unpaid_invoice"),
    Column::wrapped("paused_collection"),
    Column::wrapped("pending_change"),
    Column::wrapped("ended_at"),
];
const PAYMENTS: &[Column] = &[
    Column::wrapped("created_at"),
    Column::fixed("kind"),
    Column::fixed("state"),
    Column::number("amount_minor"),
    Column::fixed("currency"),
    Column::number("credits"),
    Column::wrapped("reason"),
    Column::wrapped("idempotency_key"),
    Column::fixed("id"),
];
const KEYS: &[Column] = &[
    Column::fixed("id"),
    Column::wrapped("name"),
    Column::fixed("hint"),
    Column::wrapped("created_at"),
    Column::wrapped("revoked_at"),
];
const KEY_KEYS: &[&str] = &["id", "name", "hint", "created_at"];
const CUSTOMER_KEYS: &[&str] =
    &["id", "email", "name", "plan", "source", "stripe_customer_id", "has_payment_method", "created_at"];
const TRANSACTION_KEYS: &[&str] = &["id", "kind", "amount", "balance_after", "source", "reference", "created_at"];

/// Customers and their credits.
#[derive(Debug, Clone, Subcommand)]
pub enum CustomerCommand {
    /// List customers, the latest first.
    List {
        /// Part of the e-mail address or the name, or a whole identifier.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Made at this time or later: a span before now such as 90m, 24h or 7d, a day or a time.
        #[arg(long, value_name = "TIME", value_parser = super::since::parse)]
        since: Option<String>,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a customer with credits, holds and subscriptions.
    Show {
        /// The customer, by its id or e-mail address.
        id: String,
    },
    /// Show a customer's credits, charges, usage and warnings.
    Usage {
        /// The customer, by its id or e-mail address.
        id: String,
    },
    /// Show a customer's balance at a past moment.
    Balance {
        /// The customer, by its id or e-mail address.
        id: String,
        /// The moment, such as 2026-12-01T00:00:00Z; now if not given.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// List a customer's transactions, or export them as CSV.
    Transactions {
        /// The customer, by its id or e-mail address.
        id: String,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
        /// Options of the CSV export.
        #[command(flatten)]
        file: report::CsvArgs,
    },
    /// Show everything that happened to a customer, latest first.
    Timeline {
        /// The customer, by its id or e-mail address.
        id: String,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Give credits to a customer, or take some away.
    Adjust {
        /// The customer, by its id or e-mail address.
        id: String,
        /// Credits; negative to take some away.
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        amount: i64,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// When given credits expire, such as 2026-12-22T08:00:00Z; by default never.
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// Makes repeating this safe: the same key never adjusts twice.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Show a customer's spend caps, or set the highest ones.
    SpendCaps {
        /// The customer, by its id or e-mail address.
        id: String,
        /// The most that may be charged a day, in minor units, or `plan` for what its plan says.
        #[arg(long, value_name = "AMOUNT", value_parser = spend_cap::parse)]
        day: Option<spend_cap::Cap>,
        /// The same for a month.
        #[arg(long, value_name = "AMOUNT", value_parser = spend_cap::parse)]
        month: Option<spend_cap::Cap>,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Show a customer's automatic top-up.
    AutoTopUp {
        /// The customer, by its id or e-mail address.
        id: String,
    },
    /// Forgive a customer's debt: bring its balance to zero.
    WriteOff(account::WriteOffArgs),
    /// Let a customer go below zero, down to a limit.
    CreditLimit(account::LimitArgs),
    /// Suspend a customer: it can spend and reserve nothing, and is charged nothing.
    Suspend(account::ReasonArgs),
    /// End a suspension.
    Resume(account::ReasonArgs),
    /// Correct an address that nobody has confirmed yet.
    CorrectEmail(account::EmailArgs),
    /// Mail a customer a new link that confirms its address, or gives it a new API key.
    SendLink(confirmation::SendLinkArgs),
    /// Confirm a customer's address by hand.
    Confirm(account::ReasonArgs),
    /// Make a customer that comes from elsewhere, with the Stripe customer that it has.
    Create(link::CreateArgs),
    /// Link a Stripe customer, and take over what it has.
    Link(link::LinkArgs),
    /// Take the link to the Stripe customer away.
    Unlink(link::UnlinkArgs),
    /// List a customer's API keys.
    Keys {
        /// The customer, by its id or e-mail address.
        id: String,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Revoke a key of a customer that got into wrong hands, even the last one.
    RevokeKey(account::RevokeKeyArgs),
    /// Create an API key for a customer that has lost all of its own, and show it once.
    NewKey {
        /// The customer, by its id or e-mail address.
        id: String,
        /// The key's name.
        #[arg(long, value_name = "NAME", default_value = "recovered")]
        name: String,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

impl CustomerCommand {
    /// The customer that the command is about.
    fn id_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::List { .. } | Self::Create(_) => None,
            Self::Show { id }
            | Self::Usage { id }
            | Self::Balance { id, .. }
            | Self::Transactions { id, .. }
            | Self::Timeline { id, .. }
            | Self::Adjust { id, .. }
            | Self::SpendCaps { id, .. }
            | Self::AutoTopUp { id }
            | Self::Keys { id, .. }
            | Self::NewKey { id, .. } => Some(id),
            Self::WriteOff(args) => Some(&mut args.id),
            Self::CreditLimit(args) => Some(&mut args.id),
            Self::Suspend(args) | Self::Resume(args) | Self::Confirm(args) => Some(&mut args.id),
            Self::CorrectEmail(args) => Some(&mut args.id),
            Self::SendLink(args) => Some(&mut args.id),
            Self::Link(args) => Some(&mut args.id),
            Self::Unlink(args) => Some(&mut args.id),
            Self::RevokeKey(args) => Some(&mut args.id),
        }
    }
}

/// Makes the command's requests and prints the answers. A customer may be given by its e-mail address.
///
/// # Errors
/// See [`Error`].
pub async fn run(session: &Session, command: &CustomerCommand) -> anyhow::Result<ExitCode> {
    let mut command = command.clone();
    if let Some(id) = command.id_mut() {
        *id = session.customer_id(id).await?;
    }
    match &command {
        CustomerCommand::List { search, since, paging } => {
            let query = [("search", search.as_deref()), ("from", since.as_deref())];
            list::show(session, &admin_path(&["customers"])?, &query, paging, CUSTOMERS).await
        }
        CustomerCommand::Show { id } => {
            session.show(&session.client.get(&admin_path(&["customers", id])?, &[]).await?, render)
        }
        CustomerCommand::Usage { id } => {
            let answer = session.client.get(&admin_path(&["customers", id, "usage-summary"])?, &[]).await?;
            session.show(&answer, report::render_usage)
        }
        CustomerCommand::Balance { id, at } => {
            let query: Vec<(&str, String)> = at.iter().map(|at| ("at", at.clone())).collect();
            let answer = session.client.get(&admin_path(&["customers", id, "balance"])?, &query).await?;
            session.show(&answer, report::render_balance)
        }
        CustomerCommand::Transactions { id, file, .. } if file.csv => report::copy_csv(session, id, file).await,
        CustomerCommand::Transactions { id, paging, .. } => {
            list::show(session, &admin_path(&["customers", id, "transactions"])?, &[], paging, TRANSACTIONS).await
        }
        CustomerCommand::Timeline { id, paging } => {
            list::show(session, &admin_path(&["customers", id, "timeline"])?, &[], paging, TIMELINE).await
        }
        CustomerCommand::Adjust { id, amount, reason, expires_at, idempotency_key } => {
            let key = idempotency_key.clone().unwrap_or_else(new_idempotency_key);
            let body = json!({ "amount": amount, "reason": reason, "expires_at": expires_at });
            adjust(session, id, &body, &key).await
        }
        CustomerCommand::SpendCaps { id, day, month, reason } => {
            spend_cap::run(session, id, (*day, *month), reason).await
        }
        CustomerCommand::AutoTopUp { id } => top_up::run(session, id).await,
        CustomerCommand::WriteOff(args) => account::write_off(session, args).await,
        CustomerCommand::CreditLimit(args) => account::set_limit(session, args).await,
        CustomerCommand::Suspend(args) => account::set_suspended(session, "suspend", args).await,
        CustomerCommand::Resume(args) => account::set_suspended(session, "resume", args).await,
        CustomerCommand::CorrectEmail(args) => account::correct_email(session, args).await,
        CustomerCommand::RevokeKey(args) => account::revoke_key(session, args).await,
        CustomerCommand::SendLink(args) => confirmation::send_link(session, args).await,
        CustomerCommand::Confirm(args) => confirmation::confirm(session, args).await,
        CustomerCommand::Create(args) => link::create(session, args).await,
        CustomerCommand::Link(args) => link::link(session, args).await,
        CustomerCommand::Unlink(args) => link::unlink(session, args).await,
        CustomerCommand::Keys { id, paging } => {
            list::show(session, &admin_path(&["customers", id, "api-keys"])?, &[], paging, KEYS).await
        }
        CustomerCommand::NewKey { id, name, reason } => {
            let body = json!({ "name": name, "reason": reason });
            let path = admin_path(&["customers", id, "api-keys"])?;
            let answer = session.client.post_with_key(&path, &body, Some(&new_idempotency_key())).await?;
            session.show(&answer, |answer| {
                let mut listing = Listing::of(view::part(answer, "api_key"), KEY_KEYS);
                listing.line("key", view::full(&answer["key"]));
                listing.render(output::width())
            })
        }
    }
}

async fn adjust(session: &Session, id: &str, body: &Value, key: &str) -> anyhow::Result<ExitCode> {
    let path = admin_path(&["customers", id, "adjustments"])?;
    match session.client.post_with_key(&path, body, Some(key)).await {
        Ok(answer) => session.show(&answer, |answer| {
            let mut listing = Listing::of(view::part(answer, "transaction"), TRANSACTION_KEYS);
            if let Some(balance) = answer.get("credit_balance") {
                listing.line("credit balance", view::full(balance));
            }
            listing.render(output::width())
        }),
        Err(error) => {
            if error.may_have_committed() {
                output::note(&format!("It may have succeeded. To repeat it safely: --idempotency-key {key}"));
            }
            Err(Error::into(error))
        }
    }
}

/// Generates an idempotency key from the time and 64 random bits (std seeds its hashers randomly).
pub(super) fn new_idempotency_key() -> String {
    format!("cli-{:x}-{:016x}", Clock::System.now_ms(), RandomState::new().hash_one(std::process::id()))
}

fn render(answer: &Value) -> String {
    let width = output::width();
    let mut listing = Listing::of(view::part(answer, "customer"), CUSTOMER_KEYS);
    let credits = &answer["credits"];
    for (name, key) in [("credits", "balance"), ("credits held", "held"), ("credits available", "available")] {
        listing.line(name, view::full(&credits[key]));
    }
    for key in ["email_confirmation", "email_confirmed_at", "credit_limit", "suspended", "credits_from"] {
        listing.line(&key.replace('_', " "), view::full(&answer[key]));
    }
    let subscriptions: Vec<Value> = view::items(answer, "subscriptions").iter().map(with_terms_in_words).collect();
    let mut text = listing.render(width);
    for (title, columns, items) in [
        ("Grants with credits left", GRANTS, view::items(credits, "grants")),
        ("Open holds", HOLDS, view::items(credits, "holds")),
        ("Subscriptions", SUBSCRIPTIONS, subscriptions.as_slice()),
        ("Latest payments", PAYMENTS, view::items(answer, "payments")),
    ] {
        if !items.is_empty() {
            text.push_str(&format!("\n\n{title}\n{}", Table::of(columns, items).render(width)));
        }
    }
    text
}

/// A subscription with its terms in words: what a period of one costs and brings, and whether others pay the same.
fn with_terms_in_words(subscription: &Value) -> Value {
    let (mut shown, price) = (subscription.clone(), &subscription["terms"]["price"]);
    let (Some(amount), Some(currency)) = (price["amount_minor"].as_i64(), price["currency"].as_str()) else {
        return shown;
    };
    let cost = money(MoneyMinor(amount), currency);
    let each = if price["per_seat"] == true { " a seat" } else { "" };
    let every = price["every"].as_str().unwrap_or("period");
    let credits = counted(price["credits"].as_i64().unwrap_or(0), "credit");
    let former = if subscription["terms"]["is_former"] == true { ", former terms" } else { "" };
    shown["terms"] = format!("{cost}{each} every {every}, {credits}{former}").into();
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_shown_in_words() {
        let price = json!({ "amount_minor": 4_900, "currency": "usd", "every": "month", "credits": 200 });
        let shown = |price: &Value, is_former: bool| {
            let subscription = json!({ "id": "sub_1", "terms": { "price": price, "is_former": is_former } });
            with_terms_in_words(&subscription)["terms"].clone()
        };
        assert_eq!(shown(&price, true), "$49.00 every month, 200 credits, former terms");
        let mut seats = price.clone();
        seats["per_seat"] = true.into();
        assert_eq!(shown(&seats, false), "$49.00 a seat every month, 200 credits");
        let unknown = json!({ "id": "sub_1" });
        assert_eq!(with_terms_in_words(&unknown), unknown);
    }

    #[test]
    fn every_adjustment_gets_a_key_of_its_own() {
        let keys: std::collections::HashSet<String> = (0..1_000).map(|_| new_idempotency_key()).collect();
        assert_eq!(keys.len(), 1_000);
    }
}
