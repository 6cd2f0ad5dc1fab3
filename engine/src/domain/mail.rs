//! Mail to customers: the templates, their contents, and when a mail is dropped.
//!
//! A mail is a job of kind `mail.send`. Once it is sent (or, without an SMTP server, only stored), a copy is kept
//! in `mails` for as long as the job is.
//!
//! | module | what is in it |
//! |---|---|
//! | [`render`](mod@render) | from a template and parameters to subject, text and HTML, pure |
//! | [`relevance`] | whether a mail is still relevant, pure |

pub mod relevance;
pub mod render;

pub use relevance::{MailFacts, check_relevance};
pub use render::{Branding, CONFIRM_PATH, Params, Rendered, render};

use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::job::{JobKind, NewJob};
use crate::domain::ledger::{Account, Entry, EntryKind};
use crate::ids::{CustomerId, JobId, MailId, OperationId};
use serde::{Deserialize, Serialize};

/// A day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A kind of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// The greeting, immediately after signing up, with the link that confirms the address if that is asked for.
    Welcome,
    /// A new link that confirms the address, on request.
    ConfirmAddress,
    /// How to begin.
    #[serde(rename = "followup_day_1")]
    FollowupDay1,
    /// The remaining credits of the trial.
    #[serde(rename = "followup_day_3")]
    FollowupDay3,
    /// The bonus for a payment method.
    #[serde(rename = "followup_day_5")]
    FollowupDay5,
    /// The prices after the trial.
    #[serde(rename = "followup_day_7")]
    FollowupDay7,
    /// A last question.
    #[serde(rename = "followup_day_14")]
    FollowupDay14,
    /// Credits run low.
    LowCredit,
    /// A payment for a subscription or for units failed.
    PaymentFailed,
    /// A payment for a subscription or for units requires action from the customer.
    ActionRequired,
    /// Automatic top-ups stopped, or wait for a cap.
    AutoTopUpStopped,
    /// The subscription has ended.
    SubscriptionEnded,
}

impl Template {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Welcome,
        Self::ConfirmAddress,
        Self::FollowupDay1,
        Self::FollowupDay3,
        Self::FollowupDay5,
        Self::FollowupDay7,
        Self::FollowupDay14,
        Self::LowCredit,
        Self::PaymentFailed,
        Self::ActionRequired,
        Self::AutoTopUpStopped,
        Self::SubscriptionEnded,
    ];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::ConfirmAddress => "confirm_address",
            Self::FollowupDay1 => "followup_day_1",
            Self::FollowupDay3 => "followup_day_3",
            Self::FollowupDay5 => "followup_day_5",
            Self::FollowupDay7 => "followup_day_7",
            Self::FollowupDay14 => "followup_day_14",
            Self::LowCredit => "low_credit",
            Self::PaymentFailed => "payment_failed",
            Self::ActionRequired => "action_required",
            Self::AutoTopUpStopped => "auto_top_up_stopped",
            Self::SubscriptionEnded => "subscription_ended",
        }
    }

    /// Reads a stored name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|template| template.as_str() == text)
    }

    /// Whether a customer gets at most one of them an hour, whatever happens meanwhile: anybody can have cards declined
    /// as often as they like.
    pub fn is_spaced(self) -> bool {
        matches!(self, Self::PaymentFailed | Self::AutoTopUpStopped)
    }

    /// Whether it may go to an address that is not confirmed: only what asks for that.
    pub fn asks_to_confirm(self) -> bool {
        matches!(self, Self::Welcome | Self::ConfirmAddress)
    }

    /// Days after signing up at which a follow-up is due; `None` for other mails.
    pub fn day(self) -> Option<i64> {
        match self {
            Self::FollowupDay1 => Some(1),
            Self::FollowupDay3 => Some(3),
            Self::FollowupDay5 => Some(5),
            Self::FollowupDay7 => Some(7),
            Self::FollowupDay14 => Some(14),
            _ => None,
        }
    }
}

/// The facts that a mail reports. Missing ones are left out of the mail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MailSubject {
    /// The subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// The purchase, if the payment is not for a subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purchase: Option<Purchase>,
    /// An amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_minor: Option<MoneyMinor>,
    /// Its ISO 4217 code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Reason for a failure, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The stable code of what is wrong, where the mail's advice depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// A page where the customer can act, such as Stripe's page of an invoice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// One round of a charge for units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    /// The operation that charges.
    pub operation: OperationId,
    /// Its round.
    pub round: i64,
    /// What it buys, in words: `2 fix credits`.
    pub what: String,
    /// Deadline for the customer to finish the payment, if it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<TimeMs>,
}

/// The arguments of a job of kind `mail.send`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailArgs {
    /// The template.
    pub template: Template,
    /// The recipient.
    pub customer: CustomerId,
    /// The facts to report.
    #[serde(default)]
    pub about: MailSubject,
    /// The token of the link to send, sealed for the customer. Deleted once the mail is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_token: Option<String>,
    /// Whether it carries a link, also once its token is deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_link: bool,
    /// An API key that a release before mailed. It is not mailed any more, and is deleted with the job's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_key: Option<String>,
    /// The mail to repeat unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<MailId>,
    /// Distinguishes the request for the repetition from others under its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_hash: Option<String>,
    /// The requests to retry the mail after it was given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<Retry>,
}

/// A request to retry a mail, so that its repetition is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Its key.
    pub key: String,
    /// Distinguishes the request from others under its key.
    pub request_hash: String,
}

impl MailArgs {
    fn new(template: Template, customer: &CustomerId, about: MailSubject) -> Self {
        Self {
            template,
            customer: customer.clone(),
            about,
            sealed_token: None,
            has_link: false,
            sealed_key: None,
            copy_of: None,
            request_hash: None,
            retries: Vec::new(),
        }
    }

    /// The form that the job stores.
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// Whether it holds a secret.
    pub fn is_sealed(&self) -> bool {
        self.sealed_token.is_some() || self.sealed_key.is_some()
    }

    /// Removes the secrets.
    pub fn without_secrets(self) -> Self {
        Self { sealed_token: None, sealed_key: None, ..self }
    }

    /// Adds the link with this token, sealed for the customer.
    fn with_link(self, sealed_token: String) -> Self {
        Self { sealed_token: Some(sealed_token), has_link: true, ..self }
    }

    fn job(&self, unique_key: String, run_at_ms: TimeMs) -> NewJob {
        let mut job = NewJob::new(JobKind::MailSend, self.to_json(), run_at_ms);
        job.unique_key = Some(unique_key);
        job.customer_id = Some(self.customer.clone());
        job
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl MailId {
    /// The mail of a job.
    pub fn of(job: &JobId) -> Self {
        Self::trusted(format!("{}_{}", Self::PREFIX, job.body()))
    }

    /// The job of the mail.
    pub fn job_id(&self) -> JobId {
        JobId::trusted(format!("{}_{}", JobId::PREFIX, self.body()))
    }
}

/// The state of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailState {
    /// Waits for its time, its turn or its next attempt.
    Queued,
    /// The SMTP server accepted it.
    Sent,
    /// Stored for reading; no SMTP server is configured.
    Stored,
    /// Given up.
    Failed,
    /// Dropped as no longer relevant, or cancelled by support.
    Cancelled,
}

impl MailState {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Stored => "stored",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A mail that was sent or stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its identifier.
    pub id: MailId,
    /// The customer.
    pub customer_id: CustomerId,
    /// The template.
    pub template: Template,
    /// The address.
    pub recipient: String,
    /// Its contents. The token of a link is masked, unless the mail is only stored.
    pub kept: Rendered,
    /// `Sent` or `Stored`.
    pub state: MailState,
    /// Its Message-ID.
    pub message_id: String,
    /// When it was sent or stored.
    pub sent_at_ms: TimeMs,
}

/// The mails for a new customer: the welcome immediately, with a link if its token is given, then the follow-ups. Each
/// exists once in a customer's life.
pub fn jobs_on_signup(customer: &CustomerId, mut sealed_token: Option<String>, now_ms: TimeMs) -> Vec<NewJob> {
    let mails = Template::ALL.into_iter().filter(|template| *template == Template::Welcome || template.day().is_some());
    mails
        .map(|template| {
            let mut args = MailArgs::new(template, customer, MailSubject::default());
            if template == Template::Welcome
                && let Some(sealed) = sealed_token.take()
            {
                args = args.with_link(sealed);
            }
            let run_at_ms = now_ms + template.day().unwrap_or(0) * DAY_MS;
            args.job(format!("mail:{}:{customer}", template.as_str()), run_at_ms)
        })
        .collect()
}

/// A mail about an event. `once_per` identifies the event, so that a repeated one is mailed once (an invoice's id
/// and its attempt, a subscription's id).
pub fn job(template: Template, customer: &CustomerId, once_per: &str, about: MailSubject, now_ms: TimeMs) -> NewJob {
    let unique_key = format!("mail:{}:{customer}:{once_per}", template.as_str());
    let mut job = MailArgs::new(template, customer, about).job(unique_key, now_ms);
    if template.is_spaced() {
        // One after another, so that each sees when the last one was sent.
        job.stream_key = Some(format!("mails:{}:{customer}", template.as_str()));
    }
    job
}

/// The unique key of a mail with a new link. The request's key makes a retry a no-op.
pub fn confirmation_key(customer: &CustomerId, key: &str) -> String {
    format!("mail:{}:{customer}:{key}", Template::ConfirmAddress.as_str())
}

/// The mail with a new link.
pub fn confirmation_job(
    customer: &CustomerId,
    sealed_token: String,
    (key, request_hash): (&str, &str),
    now_ms: TimeMs,
) -> NewJob {
    let mut args = MailArgs::new(Template::ConfirmAddress, customer, MailSubject::default()).with_link(sealed_token);
    args.request_hash = Some(request_hash.to_owned());
    args.job(confirmation_key(customer, key), now_ms)
}

/// Repeats a mail unchanged. The request's key makes a retry a no-op.
pub fn repeat_job(mail: &MailId, of: &MailArgs, (key, request_hash): (&str, &str), now_ms: TimeMs) -> NewJob {
    let mut args = MailArgs::new(of.template, &of.customer, MailSubject::default());
    args.copy_of = Some(mail.clone());
    args.request_hash = Some(request_hash.to_owned());
    args.job(format!("mail:again:{mail}:{key}"), now_ms)
}

/// The mail about low credits, if this entry takes the balance to the warning level. It is sent once until new
/// credits come in.
pub fn low_credit_job(
    customer: &CustomerId,
    before: &Account,
    entry: &Entry,
    warn_at: Credits,
    now_ms: TimeMs,
) -> Option<NewJob> {
    let is_spent = matches!(entry.kind, EntryKind::Debit | EntryKind::Capture);
    if !is_spent || before.balance <= warn_at || entry.balance_after > warn_at {
        return None;
    }
    let last_grant = before.open.grants.iter().map(|grant| grant.seq).max().unwrap_or(0);
    Some(job(Template::LowCredit, customer, &last_grant.to_string(), MailSubject::default(), now_ms))
}

/// Masks the token of a link for storage and display: only its prefix remains.
pub fn mask_token(token: &str) -> String {
    format!("{}…", token.split_inclusive('_').next().unwrap_or_default())
}

#[cfg(test)]
mod tests;
