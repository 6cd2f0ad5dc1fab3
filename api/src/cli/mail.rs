//! `bursar mail`: mail to customers.

use super::client::admin_path;
use super::customer::new_idempotency_key;
use super::list::{self, Narrowing, Paging};
use super::table::{Column, Listing};
use super::{Session, output, view};
use bursar_engine::config::Config;
use bursar_engine::domain::mail::{Branding, Params, Template, render};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

const MAILS: &[Column] = &[
    Column::fixed("id"),
    Column::fixed("template"),
    Column::fixed("state"),
    Column::wrapped("due_at"),
    Column::wrapped("recipient"),
    Column::wrapped("subject"),
    Column::wrapped("last_error"),
    Column::fixed("customer_id"),
];
const MAIL_KEYS: &[&str] = &[
    "id",
    "customer_id",
    "template",
    "state",
    "attempts",
    "last_error",
    "due_at",
    "copy_of",
    "recipient",
    "subject",
    "message_id",
    "job_id",
    "created_at",
    "sent_at",
    "stored_at",
];
/// The states of mails.
const MAIL_STATES: [&str; 5] = ["queued", "sent", "stored", "failed", "cancelled"];

/// Mail to customers.
#[derive(Debug, Subcommand)]
pub enum MailCommand {
    /// List mails, the latest first, including those that are not due yet.
    List {
        /// In this state only.
        #[arg(long, value_parser = MAIL_STATES)]
        state: Option<String>,
        /// Whose, since when, and why.
        #[command(flatten)]
        narrowing: Narrowing,
        /// Paging options.
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a mail and its content.
    Show {
        /// The mail.
        id: String,
        /// Print the HTML instead of the text.
        #[arg(long)]
        html: bool,
    },
    /// Send a mail again.
    Resend {
        /// The mail.
        id: String,
        /// Reason, for the audit log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Makes repeating this safe: the same key never sends twice.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Print a mail with example data. Needs no server.
    Preview(PreviewArgs),
}

/// Arguments of `mail preview`.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// The mail.
    #[arg(value_parser = Template::ALL.map(Template::as_str))]
    pub template: String,
    /// Print the HTML alone, for a browser.
    #[arg(long, conflicts_with = "text")]
    pub html: bool,
    /// Print subject and text, the default.
    #[arg(long)]
    pub text: bool,
}

/// Makes the command's requests and prints the answers.
///
/// # Errors
/// See [`super::error::Error`].
pub async fn run(session: &Session, command: &MailCommand) -> anyhow::Result<ExitCode> {
    match command {
        MailCommand::List { state, narrowing, paging } => {
            let narrowed = narrowing.query(session, "error").await?;
            let mut query = list::borrowed(&narrowed);
            query.push(("state", state.as_deref()));
            list::show(session, &admin_path(&["mails"])?, &query, paging, MAILS).await
        }
        MailCommand::Show { id, html } => {
            let answer = session.client.get(&admin_path(&["mails", id])?, &[]).await?;
            session.show(&answer, |answer| if *html { body(answer, "html") } else { render_mail(answer) })
        }
        MailCommand::Resend { id, reason, idempotency_key } => {
            let key = idempotency_key.clone().unwrap_or_else(new_idempotency_key);
            let path = admin_path(&["mails", id, "resend"])?;
            let answer = session.client.post_with_key(&path, &json!({ "reason": reason }), Some(&key)).await?;
            session.show(&answer, render_mail)
        }
        MailCommand::Preview(_) => anyhow::bail!("a preview needs no server"),
    }
}

/// Prints a mail with example data and the configured names and prices.
///
/// # Errors
/// The configuration is wrong, or the output cannot be written.
pub fn preview(is_json: bool, file: Option<&Path>, args: &PreviewArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(file)?;
    let template = Template::parse(&args.template).ok_or_else(|| super::usage("there is no such mail"))?;
    let catalogue = config.catalogue.now();
    let mail = render(template, &Params::preview(template, &catalogue), &Branding::new(&config), &catalogue)?;
    let text = if is_json {
        serde_json::to_string_pretty(&json!({ "subject": mail.subject, "text": mail.text, "html": mail.html }))?
    } else if args.html {
        mail.html
    } else {
        format!("Subject: {}\n\n{}", mail.subject, mail.text)
    };
    output::print(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn body(answer: &Value, key: &str) -> String {
    output::sanitize(answer[key].as_str().unwrap_or("It is not sent yet.").trim_end())
}

/// A mail whose time is named after what happened: one that is only stored was not sent.
fn named_by_state(mail: &Value) -> Value {
    let mut mail = mail.clone();
    if mail["state"] == "stored"
        && let Some(fields) = mail.as_object_mut()
        && let Some(at) = fields.remove("sent_at")
    {
        fields.insert("stored_at".to_owned(), at);
    }
    mail
}

fn render_mail(answer: &Value) -> String {
    let listing = Listing::of(&named_by_state(view::part(answer, "mail")), MAIL_KEYS).render(output::width());
    match answer["text"].as_str() {
        None => listing,
        Some(_) => format!("{listing}\n\n{}", body(answer, "text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_that_is_only_stored_has_no_time_of_sending() {
        let stored = named_by_state(&json!({ "state": "stored", "sent_at": "2026-11-22T09:28:30.182Z" }));
        assert_eq!(stored, json!({ "state": "stored", "stored_at": "2026-11-22T09:28:30.182Z" }));
        let sent = json!({ "state": "sent", "sent_at": "2026-11-22T09:28:30.182Z" });
        assert_eq!(named_by_state(&sent), sent);
    }
}
