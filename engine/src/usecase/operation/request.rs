//! Requests an operation: it is recorded with its job in one transaction, before any call to Stripe.

use crate::clock::TimeMs;
use crate::domain::charge::PURCHASES_WAITING_MAX;
use crate::domain::confirmation::check_confirmed;
use crate::domain::customer::Customer;
use crate::domain::idempotency::check_same_request;
use crate::domain::job::{NewJob, Wake};
use crate::domain::operation::{Operation, Request, State};
use crate::domain::payment_method::PaymentMethod;
use crate::error::{Error, Refusal, Result};
use crate::infra::store::{Db, job, operation, payment_method};
use crate::usecase::handler::{cancel_job, operation_job, replace_job, stripe_customer_job};
use sea_orm::ConnectionTrait;

/// A requested operation.
#[derive(Debug)]
pub struct RequestedOperation {
    /// The operation: a new one, or the earlier one with the same key.
    pub operation: Operation,
    /// Jobs to announce.
    pub wakes: Vec<Wake>,
}

/// Records an operation, or finds the earlier one with the same key. A failed one begins a new round with the
/// present request: refusals are not stored, so that a customer can retry with another card. One that is processing
/// or requires action is checked at once, even if its job is dead, cancelled or, much later, deleted. A purchase that
/// waits for its customer begins anew if the customer has another payment method by now.
///
/// # Errors
/// `address_unconfirmed`; `KeyReused` if the key was used for another request, `Conflict` `subscribing` if another
/// request is already subscribing the customer, `TooMany` `purchases_waiting` if too many of its purchases wait for
/// their turn.
pub async fn ask(
    db: &Db,
    customer: &Customer,
    request: Request,
    key: &str,
    request_hash: &str,
    now_ms: TimeMs,
) -> Result<RequestedOperation> {
    check_confirmed(customer, &request)?;
    let new = Operation::new(&customer.id, request, key.to_owned(), request_hash.to_owned(), now_ms);
    if operation::operation_find_by_key(db.read(), &customer.id, key).await?.is_none()
        && let Some(asked) = begin(db, customer, &new, now_ms).await?
    {
        return Ok(asked);
    }
    let tx = db.begin().await?;
    let Some(known) = operation::operation_find_by_key(&tx, &customer.id, key).await? else {
        tx.rollback().await?;
        return Err(already_subscribing());
    };
    let is_same_kind = known.request.kind() == new.request.kind();
    if check_same_request(Some(&known.request_hash), Some(request_hash)).is_err() || !is_same_kind {
        tx.rollback().await?;
        return Err(Refusal::KeyReused.into());
    }
    let asked = match known.state {
        State::Failed => {
            let next = known.next_round(new.request, now_ms);
            // The job is inserted first, as in `begin`.
            let wakes = job::job_insert_many(&tx, &[operation_job(&next, customer, now_ms)], now_ms).await?;
            if is_full(&tx, &next).await? {
                tx.rollback().await?;
                return Err(purchases_waiting());
            }
            let begun = match operation::operation_begin_round(&tx, &next).await {
                // Another request is subscribing the customer at the same moment.
                Err(error) if error.is_unique_violation() => {
                    tx.rollback().await?;
                    return Err(already_subscribing());
                }
                begun => begun?,
            };
            if !begun {
                let subscribing_now = operation::operation_find_subscribing(&tx, &customer.id).await?;
                tx.rollback().await?;
                if subscribing_now.is_some_and(|other| other.id != known.id) {
                    return Err(already_subscribing());
                }
                // Another request with the same key was first and began the round.
                return Ok(RequestedOperation {
                    operation: Operation { state: State::Processing, ..known },
                    wakes: Vec::new(),
                });
            }
            RequestedOperation { operation: next, wakes }
        }
        State::Processing | State::RequiresAction => {
            let mut wakes = Vec::new();
            // A subscription that requires action has only the job that checks it.
            let has_job = known.state == State::Processing || known.request.is_purchase();
            if has_job && !job::job_exists(&tx, &known.job_key()).await? {
                wakes = job::job_insert_many(&tx, &[operation_job(&known, customer, now_ms)], now_ms).await?;
            }
            match replacing(&tx, &known, now_ms).await? {
                Some(job) => wakes.extend(job::job_insert_many(&tx, &[job], now_ms).await?),
                None => {
                    for key in [known.job_key(), known.check_key()] {
                        wakes.extend(job::job_hasten(&tx, &key, now_ms).await?);
                    }
                }
            }
            RequestedOperation { operation: known, wakes }
        }
        State::Succeeded => RequestedOperation { operation: known, wakes: Vec::new() },
    };
    tx.commit().await?;
    Ok(asked)
}

/// The job that begins a purchase anew, if it waits for its customer and another payment method would be charged now,
/// or none.
async fn replacing(tx: &impl ConnectionTrait, known: &Operation, now_ms: TimeMs) -> Result<Option<NewJob>> {
    let Some(charge) = known.request.charge().filter(|_| known.state == State::RequiresAction) else { return Ok(None) };
    let methods = payment_method::payment_method_list(tx, &known.customer_id).await?;
    let is_charged = |method: &&PaymentMethod| method.is_default && method.consent_at_ms.is_some();
    let method = methods.iter().find(is_charged).map(|method| method.id.as_str());
    Ok((method != Some(charge.payment_method_id.as_str())).then(|| replace_job(known, method, now_ms)))
}

/// Asks for the end of a purchase that waits for its customer: its payment is cancelled, and the credits reserved for
/// it come back. One that has failed is over already. Returns jobs to announce.
///
/// # Errors
/// `Conflict` `operation_not_waiting` if it is no purchase or does not wait for its customer.
pub async fn cancel(db: &Db, operation: &Operation, now_ms: TimeMs) -> Result<Vec<Wake>> {
    match operation.state {
        State::RequiresAction if operation.request.is_purchase() => {}
        State::Failed if operation.request.is_purchase() => return Ok(Vec::new()),
        State::RequiresAction => {
            let message = "Only a purchase is cancelled like this. A subscription that waits for its first payment is \
                           cancelled with DELETE /api/v1/subscription?at_once=true.";
            return Err(Error::conflict("operation_not_waiting", message));
        }
        _ => {
            let message = "Only a purchase that waits for its customer to authenticate it can be cancelled.";
            return Err(Error::conflict("operation_not_waiting", message));
        }
    }
    let tx = db.begin().await?;
    let mut wakes = job::job_insert_many(&tx, &[cancel_job(operation, now_ms)], now_ms).await?;
    wakes.extend(job::job_hasten(&tx, &operation.cancel_key(), now_ms).await?);
    tx.commit().await?;
    Ok(wakes)
}

/// Records a new operation with its jobs; `None` if another request was first.
///
/// The jobs are inserted first: a transaction that ends a job of the same stream locks the stream and then, to link
/// the Stripe customer, the customer's row, which the operation's row references.
async fn begin(db: &Db, customer: &Customer, new: &Operation, now_ms: TimeMs) -> Result<Option<RequestedOperation>> {
    let tx = db.begin().await?;
    let mut jobs = vec![operation_job(new, customer, now_ms)];
    if customer.stripe_customer_id.is_none() {
        // The job created at signup has given up if no Stripe key was set then, so the operation gets its own.
        jobs.push(stripe_customer_job(&customer.id, new.id.as_str(), now_ms));
    }
    let wakes = job::job_insert_many(&tx, &jobs, now_ms).await?;
    if is_full(&tx, new).await? {
        tx.rollback().await?;
        // A repeated request is answered as its first one.
        let is_known = operation::operation_find_by_key(db.read(), &customer.id, &new.idempotency_key).await?.is_some();
        return if is_known { Ok(None) } else { Err(purchases_waiting()) };
    }
    if !operation::operation_insert(&tx, new).await? {
        tx.rollback().await?;
        return Ok(None);
    }
    tx.commit().await?;
    Ok(Some(RequestedOperation { operation: new.clone(), wakes }))
}

/// Whether a purchase is one too many. Its job is inserted already, which locks the stream of the customer's purchases,
/// so no other request counts them at the same time.
async fn is_full(tx: &impl ConnectionTrait, operation: &Operation) -> Result<bool> {
    if !operation.request.is_purchase() {
        return Ok(false);
    }
    Ok(operation::operation_count_purchasing(tx, &operation.customer_id).await? >= PURCHASES_WAITING_MAX)
}

fn purchases_waiting() -> Error {
    let message = format!("{PURCHASES_WAITING_MAX} charges are waiting for their turn. Try again shortly.");
    Error::TooMany { code: "purchases_waiting", message }
}

fn already_subscribing() -> Error {
    Error::conflict("subscribing", "Another request is already subscribing this customer.")
}
