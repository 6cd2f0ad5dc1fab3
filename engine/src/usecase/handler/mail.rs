//! Sends one mail.

use super::operation::paid_with_credits;
use super::{Deps, args};
use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::domain::catalogue::Catalogue;
use crate::domain::confirmation::{ConfirmationToken, LinkState};
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::email::Email;
use crate::domain::job::Outcome;
use crate::domain::mail::{
    Mail, MailArgs, MailFacts, MailState, Params, Purchase, Rendered, Template, check_relevance, mask_token, render,
};
use crate::domain::operation::State;
use crate::error::Result;
use crate::ids::MailId;
use crate::infra::smtp::{Delivery, Letter, SendError};
use crate::infra::store::{account, confirmation, customer, mail, operation, subscription};
use crate::usecase::handler::Claimed;

/// How long to wait for a connection to the server to become free.
const BUSY_MS: i64 = 1_000;
/// The shortest time between two mails of one kind to a customer, if they are spaced.
const APART_MS: i64 = 60 * 60 * 1_000;

/// A mail as it is sent, and the copy that is kept, in which the token of its link is masked.
struct Composed {
    sent: Rendered,
    kept: Rendered,
}

pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let args: MailArgs = args(claimed)?;
    let id = MailId::of(&claimed.job.id);
    if mail::mail_kept(deps.db.read(), &id).await?.is_some() {
        // The mail was sent and its job was replayed. Sending it again takes a new mail.
        return Ok(Outcome::Done.into());
    }
    let Some(customer) = customer::customer_find(deps.db.read(), &args.customer).await? else {
        return Ok(end(claimed, args, cancel("there is no such customer")));
    };
    if let Some(outcome) = too_soon(deps, &args, now_ms).await? {
        return Ok(outcome.into());
    }
    let composed = match &args.copy_of {
        Some(first) => repeated(deps, first).await?,
        None => composed(deps, &args, &customer, now_ms).await?,
    };
    let composed = match composed {
        Ok(composed) => composed,
        // The token is kept, because a person may correct the cause and replay the job.
        Err(outcome @ Outcome::Dead { .. }) => return Ok(outcome.into()),
        Err(outcome) => return Ok(end(claimed, args, outcome)),
    };
    // An address that was accepted before today's checks is used as it is; the mail server decides.
    let recipient = Email::parse(&customer.email).map_or_else(|_| customer.email.clone(), |email| email.deliverable());
    let letter = Letter { id: id.clone(), recipient, rendered: composed.sent, now_ms };
    let delivery = deps.mail.send(&letter).await;
    let (state, kept) = match delivery {
        Ok(Delivery::Sent) => (MailState::Sent, composed.kept),
        // Nobody else has a link that was not sent: it is good for whoever reads the stored mail.
        Ok(Delivery::Stored) => (MailState::Stored, letter.rendered),
        Err(SendError::Busy) => return Ok(Outcome::Snooze { until_ms: now_ms + BUSY_MS }.into()),
        Err(SendError::Temporary(reason)) => return Ok(Outcome::Retry { reason }.into()),
        Err(SendError::Refused(reason)) => return Ok(Outcome::Dead { reason }.into()),
    };
    let message_id = deps.mail.message_id(&id);
    let mail = Mail {
        id,
        customer_id: customer.id,
        template: args.template,
        recipient: customer.email,
        kept,
        state,
        message_id,
        sent_at_ms: now_ms,
    };
    let mut verdict = end(claimed, args, Outcome::Done);
    verdict.effects.push(Effect::MailPut(Box::new(mail)));
    Ok(verdict)
}

/// Keeps mails an hour apart that say that a payment failed, and so for those that say that top-ups stopped. One about
/// a single charge is dropped, because its request was answered or its setting shows it; others wait. The jobs of a
/// customer's mails of such a kind share a stream, so two never pass at once.
async fn too_soon(deps: &Deps, args: &MailArgs, now_ms: TimeMs) -> Result<Option<Outcome>> {
    if !args.template.is_spaced() || args.copy_of.is_some() {
        return Ok(None);
    }
    let last = mail::mail_last_sent(deps.db.read(), &args.customer, args.template).await?;
    let Some(until_ms) = last.map(|at_ms| at_ms + APART_MS).filter(|until_ms| now_ms < *until_ms) else {
        return Ok(None);
    };
    Ok(Some(match args.about.purchase {
        Some(_) => cancel("a mail of this kind was sent within the hour"),
        None => Outcome::Snooze { until_ms },
    }))
}

fn cancel(reason: &str) -> Outcome {
    Outcome::Cancel { reason: reason.to_owned() }
}

/// Ends a job and deletes the secrets from its arguments.
fn end(claimed: &Claimed, args: MailArgs, outcome: Outcome) -> Verdict {
    let mut verdict: Verdict = outcome.into();
    if args.is_sealed() {
        let args = args.without_secrets().to_json();
        verdict.effects.push(Effect::JobArgs { job_id: claimed.job.id.clone(), args });
    }
    verdict
}

/// Repeats a mail from its kept copy.
async fn repeated(deps: &Deps, first: &MailId) -> Result<Result<Composed, Outcome>> {
    Ok(match mail::mail_kept(deps.db.read(), first).await? {
        Some((_, kept)) => Ok(Composed { sent: kept.clone(), kept }),
        None => Err(cancel("the mail that it repeats is not kept any more")),
    })
}

/// Composes a mail from its template, if it is still relevant.
async fn composed(
    deps: &Deps,
    args: &MailArgs,
    customer: &Customer,
    now_ms: TimeMs,
) -> Result<Result<Composed, Outcome>> {
    let account = account::account_find(deps.db.read(), &customer.id).await?.unwrap_or_default();
    let (balance, is_suspended) = (account.balance, account.open.suspended);
    let catalogue = deps.catalogue.now();
    let facts = facts(deps, args, customer, balance, &catalogue, now_ms).await?;
    let facts = MailFacts { is_suspended, ..facts };
    if let Err(reason) = check_relevance(args.template, &facts, now_ms) {
        return Ok(Err(cancel(reason)));
    }
    let (floor, about) = (account.floor, args.about.clone());
    let mut params = Params { customer: customer.clone(), balance, floor, token: None, about };
    let branding = deps.mail.branding();
    if !args.has_link {
        let rendered = render(args.template, &params, branding, &catalogue)?;
        return Ok(Ok(Composed { sent: rendered.clone(), kept: rendered }));
    }
    let token = match open_token(deps, args, customer, now_ms).await? {
        Ok(token) => token,
        Err(outcome) => return Ok(Err(outcome)),
    };
    params.token = Some(mask_token(token.expose()));
    let kept = render(args.template, &params, branding, &catalogue)?;
    params.token = Some(token.expose().to_owned());
    Ok(Ok(Composed { sent: render(args.template, &params, branding, &catalogue)?, kept }))
}

/// Opens the token of the mail's link, if the link is still good.
async fn open_token(
    deps: &Deps,
    args: &MailArgs,
    customer: &Customer,
    now_ms: TimeMs,
) -> Result<Result<ConfirmationToken, Outcome>> {
    let Some(sealed) = &args.sealed_token else {
        return Ok(Err(cancel("the link that it would tell is forgotten")));
    };
    let opened = deps.mail.seal().open(sealed, customer.id.as_str());
    let Some(token) = opened.ok().and_then(|token| ConfirmationToken::parse(&token)) else {
        let reason = "the sealed link does not open: was BURSAR_SECRET_KEY changed?".to_owned();
        return Ok(Err(Outcome::Dead { reason }));
    };
    let found = confirmation::confirmation_link_find(deps.db.read(), &token.hash()).await?;
    let is_usable = found.is_some_and(|(link, email_now)| link.state(&email_now, now_ms) == LinkState::Usable);
    Ok(if is_usable { Ok(token) } else { Err(cancel("its link is used, expired or of another address")) })
}

/// The facts that decide whether the mail is relevant. Those that its template does not need are not looked up.
async fn facts(
    deps: &Deps,
    args: &MailArgs,
    customer: &Customer,
    balance: Credits,
    catalogue: &Catalogue,
    now_ms: TimeMs,
) -> Result<MailFacts> {
    let is_about_payment = matches!(args.template, Template::PaymentFailed | Template::ActionRequired);
    Ok(MailFacts {
        is_on_entry_plan: customer.plan == catalogue.entry,
        has_bought_plan: catalogue.plan(&customer.plan).is_some_and(|plan| plan.followed_by.is_some()),
        has_payment_method: customer.has_payment_method,
        has_used: args.template == Template::FollowupDay1
            && account::account_has_spent(deps.db.read(), &customer.id).await?,
        is_confirmed: customer.confirmation.is_confirmed(),
        is_suspended: false,
        balance,
        warn_at: deps.credits.warn_at,
        subscription_status: if is_about_payment { subscription_status(deps, args, customer).await? } else { None },
        purchase_went_on: match &args.about.purchase {
            Some(purchase) => went_on(deps, args.template, purchase, now_ms).await?,
            None => false,
        },
        created_at_ms: customer.created_at_ms,
    })
}

async fn subscription_status(deps: &Deps, args: &MailArgs, customer: &Customer) -> Result<Option<String>> {
    if args.about.purchase.is_some() {
        return Ok(None);
    }
    let mut all = subscription::subscription_list(deps.db.read(), &customer.id).await?.into_iter();
    let meant = args.about.subscription.as_deref();
    Ok(all.find(|one| meant.is_none_or(|meant| one.id == meant)).map(|one| one.status))
}

/// Whether a purchase has moved on from the state that the mail is about.
async fn went_on(deps: &Deps, template: Template, purchase: &Purchase, now_ms: TimeMs) -> Result<bool> {
    let mailed = if template == Template::ActionRequired { State::RequiresAction } else { State::Failed };
    let found = operation::operation_find(deps.db.read(), &purchase.operation).await?;
    let Some(found) = found.filter(|found| found.state == mailed && found.round == purchase.round) else {
        return Ok(true);
    };
    let is_over = purchase.until_ms.is_some_and(|until_ms| until_ms <= now_ms);
    // Credits that came in meanwhile may have paid for the same request.
    Ok(is_over || paid_with_credits(deps, &found).await?.is_some())
}
