//! Staff corrects a customer's address that nobody has confirmed.
//!
//! Links that were mailed to the wrong address are good for nothing from then on. A customer that still has to confirm
//! its address is mailed a new link at the right one. Mails that are still to be sent go there, and Stripe is told of
//! it.

use super::confirmation::insert_link;
use crate::clock::TimeMs;
use crate::config::OnboardingConfig;
use crate::domain::audit::Audit;
use crate::domain::customer::Customer;
use crate::domain::email::Email;
use crate::domain::job::Wake;
use crate::domain::mail::confirmation_job;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::seal::SealBox;
use crate::infra::store::{Db, audit, customer, job};
use crate::usecase::handler::stripe_email_job;
use serde_json::json;

/// A correction.
#[derive(Debug, Clone, Copy)]
pub struct Correction<'a> {
    /// The right address.
    pub email: &'a str,
    /// The reason, for the audit log.
    pub reason: &'a str,
    /// Who corrects it.
    pub actor: &'a str,
}

/// A corrected customer.
#[derive(Debug)]
pub struct Corrected {
    /// The customer.
    pub customer: Customer,
    /// Jobs to announce.
    pub wakes: Vec<Wake>,
}

/// Corrects a customer's address. The address that it has already changes nothing.
///
/// # Errors
/// [`Error::NotFound`]; `invalid_email`; `address_confirmed` if its owner confirmed it, or somebody vouched for it;
/// `customer_exists` if another customer has the address.
pub async fn correct(
    db: &Db,
    seal: &SealBox,
    config: &OnboardingConfig,
    id: &CustomerId,
    asked: Correction<'_>,
    now_ms: TimeMs,
) -> Result<Corrected> {
    let email = Email::parse(asked.email)?;
    let tx = db.begin().await?;
    if !customer::customer_lock(&tx, id).await? {
        return Err(Error::NotFound("customer"));
    }
    let before = customer::customer_find(&tx, id).await?.ok_or(Error::NotFound("customer"))?;
    if before.email == email.given {
        return Ok(Corrected { customer: before, wakes: Vec::new() });
    }
    if before.confirmation.is_proven() {
        return Err(Error::conflict("address_confirmed", "The address is confirmed already."));
    }
    if !customer::customer_set_email(&tx, id, &email, now_ms).await? {
        return Err(Error::conflict("customer_exists", "a customer with this e-mail address already exists"));
    }
    let mut jobs = vec![stripe_email_job(id, &before.email, now_ms)];
    if !before.confirmation.is_confirmed() {
        let sealed = insert_link(&tx, seal, config, id, &email, now_ms).await?;
        jobs.push(confirmation_job(id, sealed, (&format!("corrected:{now_ms}"), "corrected"), now_ms));
    }
    let details = json!({ "from": before.email, "to": email.given, "reason": asked.reason });
    audit::audit_append(&tx, &Audit::new(asked.actor, "customer.email", id, &details), now_ms).await?;
    let wakes = job::job_insert_many(&tx, &jobs, now_ms).await?;
    tx.commit().await?;
    Ok(Corrected { customer: Customer { email: email.given, ..before }, wakes })
}
