//! Confirms addresses: sends links, shows what a link is good for, and lets whoever reads the mailbox take its customer
//! over. Support confirms by hand.

use super::api_key::{audit_of_key, check_room};
use super::rate_limit;
use crate::clock::TimeMs;
use crate::config::OnboardingConfig;
use crate::domain::address::AddressState;
use crate::domain::api_key::{NewKey, RawKey};
use crate::domain::audit::Audit;
use crate::domain::confirmation::{
    Choice, ConfirmationLink, ConfirmationToken, DAY_MS, LINKS_PER_SPAN_MAX, LINKS_SPAN_MS, LinkState,
};
use crate::domain::customer::Customer;
use crate::domain::email::Email;
use crate::domain::idempotency::check_same_request;
use crate::domain::job::Wake;
use crate::domain::mail::{confirmation_job, confirmation_key};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::seal::SealBox;
use crate::infra::store::mail::mail_find_by_key;
use crate::infra::store::{Db, api_key, audit, confirmation, customer, job};
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde_json::{Value, json};

/// The name of a key that is made on the page of a link.
const KEY_NAME: &str = "confirmation";

/// What a link is good for.
#[derive(Debug)]
pub struct ShownLink {
    /// What it is good for.
    pub state: LinkState,
    /// Its customer.
    pub customer: Customer,
}

/// Looks at a link and changes nothing. `None` if there is no such link.
///
/// # Errors
/// Errors of the database.
pub async fn look(db: &impl ConnectionTrait, token: &ConfirmationToken, now_ms: TimeMs) -> Result<Option<ShownLink>> {
    let Some((link, email_now)) = confirmation::confirmation_link_find(db, &token.hash()).await? else {
        return Ok(None);
    };
    let customer = customer::customer_find(db, &link.customer_id).await?.ok_or(Error::NotFound("customer"))?;
    Ok(Some(ShownLink { state: link.state(&email_now, now_ms), customer }))
}

/// What became of a link that was used.
#[derive(Debug)]
pub enum Used {
    /// The address is confirmed.
    Confirmed(Box<Confirmed>),
    /// The link was not usable; nothing changed.
    Unusable(Box<ShownLink>),
    /// There is no such link.
    Unknown,
}

/// A customer that was taken over.
#[derive(Debug)]
pub struct Confirmed {
    /// The customer.
    pub customer: Customer,
    /// Whether its address was not confirmed before.
    pub is_first: bool,
    /// The new key, which cannot be shown again.
    pub new_key: Option<RawKey>,
    /// Hashes of the keys that ended, to remove them from caches.
    pub ended: Vec<String>,
}

/// Uses a link, once: confirms the address, ends the keys that were made before unless they stay, and makes a new one.
/// All other links of the customer are used up, too.
///
/// # Errors
/// `too_many_api_keys` if the others stay and there is no room; nothing changes then.
pub async fn confirm(db: &Db, token: &ConfirmationToken, choice: Choice, now_ms: TimeMs) -> Result<Used> {
    let Some((link, _)) = confirmation::confirmation_link_find(db.read(), &token.hash()).await? else {
        return Ok(Used::Unknown);
    };
    let tx = db.begin().await?;
    // Two uses at once come one after the other, and a key that is made at the same moment ends, too.
    customer::customer_lock(&tx, &link.customer_id).await?;
    let Some(shown) = look(&tx, token, now_ms).await? else { return Ok(Used::Unknown) };
    if shown.state != LinkState::Usable {
        tx.rollback().await?;
        return Ok(Used::Unusable(Box::new(shown)));
    }
    let id = &link.customer_id;
    let actor = format!("mailbox:{id}");
    let (mut lines, mut ended) = (Vec::new(), Vec::new());
    if !choice.keep_keys {
        for (key, hash) in api_key::api_key_revoke_all(&tx, id, now_ms).await? {
            lines.push(audit_of_key(&actor, &key, "api_key.revoke", json!({ "by": "confirmation" })));
            ended.push(hash);
        }
    }
    let mut new_key = None;
    if choice.makes_key() {
        check_room(&tx, id, now_ms).await?;
        let NewKey { raw, key } = NewKey::generate(id, KEY_NAME.to_owned(), now_ms);
        api_key::api_key_insert(&tx, &key, &raw.hash(), None).await?;
        lines.push(audit_of_key(&actor, &key, "api_key.create", Value::Null));
        new_key = Some(raw);
    }
    confirmation::confirmation_link_use_all(&tx, id, now_ms).await?;
    let is_first = confirmation::customer_confirm(&tx, id, AddressState::Link, now_ms).await?;
    let details = json!({ "by": "link", "first": is_first, "keys_kept": choice.keep_keys, "keys_ended": ended.len() });
    lines.push(Audit::new(actor, "customer.confirm", id, &details));
    audit::audit_append_many(&tx, &lines, now_ms).await?;
    let customer = customer::customer_find(&tx, id).await?.ok_or(Error::NotFound("customer"))?;
    tx.commit().await?;
    Ok(Used::Confirmed(Box::new(Confirmed { customer, is_first, new_key, ended })))
}

/// Who asks for a new link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker<'a> {
    /// The customer itself, with an API key, while its address is not confirmed.
    Customer,
    /// Whoever has a link that is no longer good. The new one goes to the same address, so it tells nobody else
    /// anything.
    Mailbox,
    /// Support, for a reason.
    Staff {
        /// Its name in the audit log.
        actor: &'a str,
        /// The reason.
        reason: &'a str,
    },
}

/// A request for a new link.
#[derive(Debug, Clone, Copy)]
pub struct LinkRequest<'a> {
    /// Who asks.
    pub asker: Asker<'a>,
    /// Its idempotency key.
    pub key: &'a str,
    /// Distinguishes the request from others under its key.
    pub request_hash: &'a str,
}

/// A link that is on its way.
#[derive(Debug)]
pub struct SentLink {
    /// The customer.
    pub customer: Customer,
    /// Jobs to announce.
    pub wakes: Vec<Wake>,
}

/// Sends a new link to a customer's address, once for each key.
///
/// # Errors
/// `NotFound` without the customer; `address_confirmed` if the customer asks and its address is confirmed;
/// `RateLimited`, except for support; `KeyReused`. An error changes nothing.
pub async fn send_link(
    db: &Db,
    seal: &SealBox,
    config: &OnboardingConfig,
    customer_id: &CustomerId,
    request: LinkRequest<'_>,
    now_ms: TimeMs,
) -> Result<SentLink> {
    let tx = db.begin().await?;
    customer::customer_lock(&tx, customer_id).await?;
    let customer = customer::customer_find(&tx, customer_id).await?.ok_or(Error::NotFound("customer"))?;
    if let Some(earlier) = mail_find_by_key(&tx, &confirmation_key(customer_id, request.key)).await? {
        check_same_request(earlier.args.request_hash.as_deref(), Some(request.request_hash))?;
        return Ok(SentLink { customer, wakes: Vec::new() });
    }
    if request.asker == Asker::Customer && customer.confirmation.is_confirmed() {
        return Err(Error::conflict("address_confirmed", "The address is confirmed already."));
    }
    let email = Email::parse(&customer.email)?;
    if !matches!(request.asker, Asker::Staff { .. }) {
        take_link(&tx, config, &email, now_ms).await?;
    }
    let sealed = insert_link(&tx, seal, config, customer_id, &email, now_ms).await?;
    let job = confirmation_job(customer_id, sealed, (request.key, request.request_hash), now_ms);
    let wakes = job::job_insert_many(&tx, &[job], now_ms).await?;
    audit::audit_append(&tx, &audit_of_request(customer_id, request.asker), now_ms).await?;
    tx.commit().await?;
    Ok(SentLink { customer, wakes })
}

fn audit_of_request(customer_id: &CustomerId, asker: Asker<'_>) -> Audit {
    let (actor, details) = match asker {
        Asker::Customer => (format!("customer:{customer_id}"), json!({})),
        Asker::Mailbox => (format!("mailbox:{customer_id}"), json!({})),
        Asker::Staff { actor, reason } => (actor.to_owned(), json!({ "reason": reason })),
    };
    Audit::new(actor, "customer.send_link", customer_id, &details)
}

/// Takes one of the mails with a link that a mailbox may get. Anybody can sign up with its aliases, so it is counted by
/// mailbox.
///
/// # Errors
/// `RateLimited`.
pub(crate) async fn take_link(
    tx: &impl ConnectionTrait,
    config: &OnboardingConfig,
    email: &Email,
    now_ms: TimeMs,
) -> Result<()> {
    let mailbox = email.mailbox();
    for (key, limit, window_ms) in [
        (format!("link:{mailbox}"), config.confirmation_mails_per_day, DAY_MS),
        (format!("links:{mailbox}"), LINKS_PER_SPAN_MAX, LINKS_SPAN_MS),
    ] {
        rate_limit::take_within(tx, &key, limit, window_ms, now_ms).await?.into_result()?;
    }
    Ok(())
}

/// Stores a link and returns its token, sealed for the mail.
pub(crate) async fn insert_link(
    tx: &impl ConnectionTrait,
    seal: &SealBox,
    config: &OnboardingConfig,
    customer_id: &CustomerId,
    email: &Email,
    now_ms: TimeMs,
) -> Result<String> {
    let (token, link) = ConfirmationLink::new(customer_id, &email.normalized, config.confirmation_link_ttl_s, now_ms);
    confirmation::confirmation_link_insert(tx, &link).await?;
    seal.seal(token.expose(), customer_id.as_str())
}

/// Confirms an address by hand. Keys stay as they are: support revokes those that it does not trust.
///
/// # Errors
/// `NotFound` without the customer; `address_confirmed`.
pub async fn confirm_by_hand(
    db: &Db,
    customer_id: &CustomerId,
    actor: &str,
    reason: &str,
    now_ms: TimeMs,
) -> Result<Customer> {
    let tx = db.begin().await?;
    lock(&tx, customer_id).await?;
    if !confirmation::customer_confirm(&tx, customer_id, AddressState::Staff, now_ms).await? {
        return Err(Error::conflict("address_confirmed", "The address is confirmed already."));
    }
    let details = json!({ "by": "staff", "reason": reason });
    audit::audit_append(&tx, &Audit::new(actor, "customer.confirm", customer_id, &details), now_ms).await?;
    let customer = customer::customer_find(&tx, customer_id).await?.ok_or(Error::NotFound("customer"))?;
    tx.commit().await?;
    Ok(customer)
}

async fn lock(tx: &DatabaseTransaction, customer_id: &CustomerId) -> Result<()> {
    if customer::customer_lock(tx, customer_id).await? { Ok(()) } else { Err(Error::NotFound("customer")) }
}
