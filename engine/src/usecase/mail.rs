//! Support's actions on mails: repeat one that was sent, or retry one that was given up.

use super::job::{audit_of_replay, not_ended};
use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::idempotency::check_same_request;
use crate::domain::job::Wake;
use crate::domain::mail::{self, MailState, Retry};
#[cfg(doc)]
use crate::error::Refusal;
use crate::error::{Error, Result};
use crate::infra::store::mail::{MailRow, mail_find, mail_find_by_key};
use crate::infra::store::{Db, audit, job};
use serde_json::json;

/// A request of support.
#[derive(Debug, Clone, Copy)]
pub struct Resend<'a> {
    /// Its idempotency key.
    pub key: &'a str,
    /// Distinguishes the request from others under its key.
    pub request_hash: &'a str,
    /// The requester.
    pub actor: &'a str,
    /// The reason, in words.
    pub reason: &'a str,
}

/// Sends a mail again. One that was sent or stored is repeated unchanged as a new mail, which is returned; one that
/// was given up is retried. Also returns the jobs to announce.
///
/// # Errors
/// `mail_holds_link` for one with a link that was sent or stored; `mail_not_sent` if it is waiting or was cancelled;
/// `job_not_ended`; [`Refusal::KeyReused`].
pub async fn resend(db: &Db, row: MailRow, request: Resend<'_>, now_ms: TimeMs) -> Result<(MailRow, Vec<Wake>)> {
    if is_retried(&row, request)? {
        return Ok((row, Vec::new()));
    }
    match row.state {
        MailState::Sent | MailState::Stored if row.args.has_link => Err(Error::conflict(
            "mail_holds_link",
            "The mail contained a link that is good once, which is deleted once the mail is sent. Send a new link.",
        )),
        MailState::Sent | MailState::Stored => send_copy(db, &row, request, now_ms).await,
        MailState::Failed => retry(db, &row, request, now_ms).await,
        MailState::Queued => Err(Error::conflict("mail_not_sent", "The mail is waiting to be sent; see its job.")),
        MailState::Cancelled => {
            let why = row.last_error.as_deref().unwrap_or("no reason was recorded");
            Err(Error::conflict("mail_not_sent", format!("The mail was cancelled: {why}.")))
        }
    }
}

/// Creates the job that repeats a mail, with an audit entry; both once for each key.
async fn send_copy(db: &Db, row: &MailRow, request: Resend<'_>, now_ms: TimeMs) -> Result<(MailRow, Vec<Wake>)> {
    let new = mail::repeat_job(&row.id, &row.args, (request.key, request.request_hash), now_ms);
    let unique_key = new.unique_key.clone().unwrap_or_default();
    let tx = db.begin().await?;
    let wakes = job::job_insert_many(&tx, &[new], now_ms).await?;
    if wakes.is_empty() {
        tx.rollback().await?;
    } else {
        let line = Audit::new(request.actor, "mail.resend", &row.id, &json!({ "reason": request.reason }));
        audit::audit_append(&tx, &line, now_ms).await?;
        tx.commit().await?;
    }
    let copy = mail_find_by_key(db.read(), &unique_key).await?.ok_or(Error::NotFound("mail"))?;
    check_same_request(copy.args.request_hash.as_deref(), Some(request.request_hash))?;
    Ok((copy, wakes))
}

/// Whether this request already had the mail retried.
fn is_retried(row: &MailRow, request: Resend<'_>) -> Result<bool> {
    let Some(retry) = row.args.retries.iter().find(|retry| retry.key == request.key) else { return Ok(false) };
    check_same_request(Some(&retry.request_hash), Some(request.request_hash))?;
    Ok(true)
}

/// Retries a mail that was given up, with an audit entry; both once for each key, which the job stores.
async fn retry(db: &Db, row: &MailRow, request: Resend<'_>, now_ms: TimeMs) -> Result<(MailRow, Vec<Wake>)> {
    let tx = db.begin().await?;
    let wake = job::job_requeue(&tx, &row.job_id, now_ms).await?;
    // The job is locked until the commit, so its arguments are read now.
    let mut row = mail_find(&tx, &row.id).await?.ok_or(Error::NotFound("mail"))?;
    if is_retried(&row, request)? {
        // The same request arrived twice at once, and the other one was first.
        tx.rollback().await?;
        return Ok((row, Vec::new()));
    }
    let Some(wake) = wake else { return Err(not_ended()) };
    row.args.retries.push(Retry { key: request.key.to_owned(), request_hash: request.request_hash.to_owned() });
    job::job_set_args_many(&tx, &[(&row.job_id, &row.args.to_json())]).await?;
    audit::audit_append(&tx, &audit_of_replay(&row.job_id, request.actor, request.reason), now_ms).await?;
    tx.commit().await?;
    let row = mail_find(db.read(), &row.id).await?.ok_or(Error::NotFound("mail"))?;
    Ok((row, vec![wake]))
}
