//! Automatic top-ups: a customer sets them, and the sweeper begins one where few credits are left.
//!
//! A top-up is an operation like any purchase: it is decided when its turn comes, charged in the next attempt, and
//! settled with its grant. What stands here only begins it. All that is needed after a crash is in the database: the
//! balance, the setting, and whether a top-up is under way.

use crate::clock::TimeMs;
use crate::config::CreditsConfig;
use crate::domain::catalogue::Catalogue;
use crate::domain::catalogue::currency::Currency;
use crate::domain::charge::top_up::{TopUpSetting, TopUpStanding, check_terms};
use crate::domain::job::Wake;
use crate::domain::operation::{AutoTopUp, Operation, Problem, Request, TopUpTerms};
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::store::{Db, account, customer, job, operation, top_up};
use crate::usecase::charge::read_standing;
use crate::usecase::handler::operation_job;

/// What a customer has set, with what top-ups have cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUpView {
    /// The setting and the costs of the present month.
    pub standing: TopUpStanding,
    /// The currency of the costs.
    pub currency: Currency,
}

/// Reads what a customer has set.
///
/// # Errors
/// `NotFound` without the customer.
pub async fn read(db: &Db, customer_id: &CustomerId, catalogue: &Catalogue, now_ms: TimeMs) -> Result<TopUpView> {
    customer::customer_find(db.read(), customer_id).await?.ok_or(Error::NotFound("customer"))?;
    let setting = top_up::top_up_find(db.read(), customer_id).await?.map(|setting| setting.as_of(now_ms));
    let pack = setting.as_ref().and_then(|setting| setting.terms.pack.as_ref());
    let currency = catalogue.currency_of(pack).clone();
    let charged = top_up::top_up_charged(db.read(), customer_id, &currency, now_ms).await?;
    let is_called_for = top_up::top_up_is_called_for(db.read(), customer_id).await?;
    let account = account::account_find(db.read(), customer_id).await?.ok_or(Error::NotFound("account"))?;
    let available = account.settled(now_ms).available();
    let waits = !operation::operation_list_awaiting(db.read(), customer_id).await?.is_empty();
    let setting = setting.map(|setting| setting.with_reason_to_wait(available, is_called_for, waits));
    Ok(TopUpView { standing: TopUpStanding { setting, charged, is_called_for }, currency })
}

/// What became of a new setting.
#[derive(Debug)]
pub enum Set {
    /// It is stored. A top-up that is due has begun, whose jobs are to be announced.
    Stored(Vec<Wake>),
    /// Nothing could be bought by it, for this reason.
    Refused(Problem),
}

/// Sets a customer's automatic top-ups, as the next version.
///
/// # Errors
/// `Invalid` `invalid_auto_top_up`; `NotFound` without the customer.
pub async fn set(
    db: &Db,
    customer_id: &CustomerId,
    (is_on, terms): (bool, &TopUpTerms),
    (config, catalogue): (&CreditsConfig, &Catalogue),
    now_ms: TimeMs,
) -> Result<Set> {
    terms.check()?;
    if is_on {
        let request = Request::AutoTopUp(AutoTopUp { version: 0, terms: terms.clone(), charge: None });
        let standing = read_standing(db.read(), customer_id, &request, catalogue, now_ms).await?;
        if let Err(refused) = check_terms(terms, &standing, config, catalogue, now_ms) {
            return Ok(Set::Refused(refused.problem(&standing.customer, config, catalogue)));
        }
    }
    let tx = db.begin().await?;
    top_up::top_up_put(&tx, customer_id, is_on, terms, now_ms).await?;
    tx.commit().await?;
    let due = top_up::top_up_due(db.read(), Some(customer_id), Some(customer_id), now_ms).await?;
    let wakes = match due.first() {
        Some(due) => begin(db, due, now_ms).await?,
        None => Vec::new(),
    };
    Ok(Set::Stored(wakes))
}

/// Turns a customer's automatic top-ups off, as the next version, and keeps what else it has set.
///
/// # Errors
/// Errors of the database; nothing changes then.
pub async fn turn_off(db: &Db, customer_id: &CustomerId, now_ms: TimeMs) -> Result<()> {
    let tx = db.begin().await?;
    if let Some(setting) = top_up::top_up_find(&tx, customer_id).await? {
        top_up::top_up_put(&tx, customer_id, false, &setting.terms, now_ms).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Begins a top-up that is due. Its key is made of the setting's version and of the number of top-ups before it, so two
/// nodes begin it once. Returns jobs to announce.
///
/// # Errors
/// Errors of the database; nothing is begun then.
pub async fn begin(db: &Db, due: &TopUpSetting, now_ms: TimeMs) -> Result<Vec<Wake>> {
    let Some(customer) = customer::customer_find(db.read(), &due.customer_id).await? else { return Ok(Vec::new()) };
    let request = Request::AutoTopUp(AutoTopUp { version: due.version, terms: due.terms.clone(), charge: None });
    let key = format!("top_up:{}:{}", due.version, due.begun);
    let new = Operation::new(&customer.id, request, key.clone(), key, now_ms);
    let tx = db.begin().await?;
    // The job first: see `operation::request`.
    let wakes = job::job_insert_many(&tx, &[operation_job(&new, &customer, now_ms)], now_ms).await?;
    if !top_up::top_up_begin(&tx, due).await? || !operation::operation_insert(&tx, &new).await? {
        tx.rollback().await?;
        return Ok(Vec::new());
    }
    tx.commit().await?;
    Ok(wakes)
}
