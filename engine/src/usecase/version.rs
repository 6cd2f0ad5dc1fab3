//! Versions of the catalogue: which one is in force, what another one would change, and requests to apply it.

use crate::clock::TimeMs;
use crate::domain::catalogue::difference::Difference;
use crate::domain::catalogue::read::{Problem, Reading, read_with_warnings};
use crate::domain::catalogue::refusal::{Refusal, refusals};
use crate::domain::catalogue::touch::{Touch, touch};
use crate::domain::catalogue::write::write;
use crate::domain::catalogue::{Catalogue, CatalogueVersion, Price, SharedCatalogue, version};
use crate::domain::idempotency::check_same_request;
use crate::domain::job::{Job, JobKind, NewJob, Wake};
use crate::domain::sale::AppliedCatalogue;
use crate::domain::sale::at_stripe::{AtStripe, describe_price};
use crate::error::{Error, Result};
use crate::infra::store::catalogue::{
    catalogue_in_use, catalogue_version_apply, catalogue_version_insert, catalogue_version_latest,
};
use crate::infra::store::{Db, audit, job};
use crate::infra::stripe::{Gateway, StripeError};
use crate::key::PriceKey;
use crate::usecase::catalogue;
use crate::usecase::handler::Deps;
use crate::usecase::handler::catalogue::make::{Made, Maker};
pub use crate::usecase::handler::catalogue::proposal::missing_at_stripe;
use crate::usecase::handler::catalogue::proposal::{Proposal, propose};
use crate::usecase::handler::catalogue::{ApplyArgs, STREAM, applied, audit_of, catalogue_of};
use sea_orm::ConnectionTrait;
use std::sync::Arc;

/// Who applies without having been asked by staff.
const SYSTEM: &str = "system";

/// Puts the latest version into force; if there is none, the configured catalogue becomes the first. Returns whether
/// the configured catalogue differs from the one in force.
///
/// # Errors
/// `Config` if the first version would lack what customers have ([`catalogue::check`]); the database cannot be reached,
/// or has a version that this release cannot read.
pub async fn begin(db: &Db, shared: &SharedCatalogue, now_ms: TimeMs) -> Result<bool> {
    let configured = shared.now();
    let first = CatalogueVersion {
        version: version::FIRST,
        catalogue: write(&configured),
        applied_by: SYSTEM.to_owned(),
        reason: "the catalogue of the first start".to_owned(),
        applied_at_ms: now_ms,
    };
    // Another node may be starting, too: then one of the two inserts it.
    if catalogue_version_latest(db.write(), 0).await?.is_none() {
        catalogue::check(db, &configured).await?;
        catalogue_version_insert(db.write(), &first).await?;
    }
    let latest = catalogue_version_latest(db.write(), 0).await?;
    let latest = latest.ok_or_else(|| Error::Corrupt("no catalogue is in force".to_owned()))?;
    let in_force = catalogue_of(&latest)?;
    let differs = in_force != *configured;
    shared.advance(latest.version, latest.applied_at_ms, Arc::new(in_force));
    Ok(differs)
}

/// Puts a newer version into force if there is one. Returns its number.
///
/// # Errors
/// The database cannot be reached, or has a version that this release cannot read. Then the present one stays.
pub async fn refresh(db: &impl ConnectionTrait, shared: &SharedCatalogue) -> Result<Option<i64>> {
    let Some(latest) = catalogue_version_latest(db, shared.version()).await? else { return Ok(None) };
    let catalogue = Arc::new(catalogue_of(&latest)?);
    let is_newer = shared.advance(latest.version, latest.applied_at_ms, catalogue);
    Ok(is_newer.then_some(latest.version))
}

/// Reads a catalogue that is to be applied.
///
/// # Errors
/// `invalid_catalogue` with every problem and its line.
pub fn read_new(text: &str) -> Result<Catalogue> {
    read_to_plan(text).map(|reading| reading.catalogue)
}

fn read_to_plan(text: &str) -> Result<Reading> {
    read_with_warnings(text).map_err(|problems| Error::invalid("invalid_catalogue", in_lines(&problems).join("\n")))
}

/// Problems in words, each with its line.
fn in_lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// What applying a catalogue would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The version in force.
    pub version: i64,
    /// What differs, and whom that touches.
    pub changes: Vec<(Difference, Touch)>,
    /// Why it cannot be applied.
    pub refusals: Vec<Refusal>,
    /// What it offers and hardly anybody could buy, each with its line.
    pub warnings: Vec<String>,
    /// What it would make at Stripe.
    pub at_stripe: PlannedAtStripe,
}

/// What applying a catalogue would make at Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedAtStripe {
    /// There is no Stripe key: nothing.
    NotConfigured,
    /// Stripe cannot be asked; why.
    Unavailable(String),
    /// These prices.
    Made(Vec<PlannedPrice>),
}

/// A price to make at Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPrice {
    /// The price of the catalogue.
    pub price: PriceKey,
    /// What is made, in a sentence.
    pub what: String,
}

/// Says what applying a catalogue would do.
///
/// # Errors
/// `invalid_catalogue`; the database cannot be reached.
pub async fn plan(deps: &Deps, text: &str, now_ms: TimeMs) -> Result<Plan> {
    let Reading { catalogue: new, warnings } = read_to_plan(text)?;
    let present = in_force(&deps.db).await?;
    let mut proposal = propose(&deps.db, &deps.stripe, catalogue_of(&present)?, new, now_ms).await?;
    proposal.refuse_for_marketplace(&deps.marketplace);
    let Proposal { old, new, differences, refusals, in_use, at_stripe, .. } = proposal;
    let at_stripe = match at_stripe {
        Ok(Some(at)) => PlannedAtStripe::Made(planned(&new, &at)),
        Ok(None) => PlannedAtStripe::NotConfigured,
        Err(error) => PlannedAtStripe::Unavailable(error.to_string()),
    };
    let changes = differences.into_iter().map(|found| {
        let touch = touch(&found, &old, &new, &in_use);
        (found, touch)
    });
    let (changes, warnings) = (changes.collect(), in_lines(&warnings));
    Ok(Plan { version: present.version, changes, refusals, warnings, at_stripe })
}

fn planned(new: &Catalogue, at: &AtStripe) -> Vec<PlannedPrice> {
    let prices = at.missing.iter().filter_map(|key| new.price(key));
    let price = |price: &Price| {
        let product = match at.products.get(&price.plan) {
            Some(id) => format!("the product {id}"),
            None => format!("the product bursar_{}, which is made unless it exists", price.plan),
        };
        let what = format!("{}, lookup key {}, of {product}", describe_price(price), price.lookup_key);
        PlannedPrice { price: price.key.clone(), what }
    };
    prices.map(price).collect()
}

/// The version in force.
///
/// # Errors
/// The database cannot be reached.
pub async fn in_force(db: &Db) -> Result<CatalogueVersion> {
    catalogue_version_latest(db.read(), 0).await?.ok_or(Error::NotFound("version of the catalogue"))
}

/// A request to apply a catalogue.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// The catalogue.
    pub catalogue: Catalogue,
    /// Why.
    pub reason: String,
    /// The version in force that the requester knows.
    pub expected_version: i64,
    /// The requester.
    pub actor: String,
    /// Makes a retry a no-op.
    pub request_key: String,
    /// Distinguishes a repeated request from another one under the same key.
    pub request_hash: String,
}

/// Creates the job that applies a catalogue, or finds the one of an earlier request with the same key.
///
/// # Errors
/// `KeyReused`; `catalogue_version_changed` if another version is in force; `catalogue_refused` with the reasons, as
/// far as they are known without Stripe.
pub async fn request(deps: &Deps, new: NewVersion, now_ms: TimeMs) -> Result<(Job, Vec<Wake>)> {
    let db = &deps.db;
    let key = format!("{STREAM}:{}", new.request_key);
    if let Some(job) = job::job_find_by_key(db.read(), &key).await? {
        return Ok((check_repeated(job, &new.request_hash)?, Vec::new()));
    }
    let present = in_force(db).await?;
    if present.version != new.expected_version {
        let message = format!("Version {} is in force, not {}: plan again.", present.version, new.expected_version);
        return Err(Error::conflict("catalogue_version_changed", message));
    }
    check_refusals(deps, &catalogue_of(&present)?, &new.catalogue).await?;
    let args = ApplyArgs {
        base: present.version,
        catalogue: write(&new.catalogue),
        applied_by: new.actor,
        reason: new.reason,
        request_hash: new.request_hash.clone(),
    };
    let args = serde_json::to_string(&args).map_err(|error| Error::Corrupt(error.to_string()))?;
    let mut work = NewJob::new(JobKind::CatalogueApply, args, now_ms);
    (work.stream_key, work.unique_key) = (Some(STREAM.to_owned()), Some(key.clone()));
    let tx = db.begin().await?;
    let wakes = job::job_insert_many(&tx, &[work], now_ms).await?;
    tx.commit().await?;
    let made = job::job_find_by_key(db.write(), &key).await?.ok_or(Error::NotFound("job"))?;
    // The same key may have been used at the same moment.
    Ok((check_repeated(made, &new.request_hash)?, wakes))
}

fn check_repeated(job: Job, request_hash: &str) -> Result<Job> {
    let args: ApplyArgs = serde_json::from_str(&job.args).map_err(|error| Error::Corrupt(error.to_string()))?;
    check_same_request(Some(&args.request_hash), Some(request_hash))?;
    Ok(job)
}

async fn check_refusals(deps: &Deps, old: &Catalogue, new: &Catalogue) -> Result<()> {
    let named: Vec<String> = new.prices.iter().flat_map(|price| price.stripe.clone()).collect();
    let in_use = catalogue_in_use(deps.db.read(), &named).await?;
    let refusals = refusals(old, new, &in_use).into_iter().map(|refusal| refusal.message);
    let refusals: Vec<String> = refusals.chain(deps.marketplace.plan_problems(new)).collect();
    if refusals.is_empty() {
        return Ok(());
    }
    Err(Error::NotAccepted { code: "catalogue_refused", message: refusals.join("\n") })
}

/// Lets the sandbox, which replaces Stripe in this process, have the prices of the configured catalogue, and puts that
/// into force if it differs from the one that is. Returns the version that it replaces, if so.
///
/// # Errors
/// Why it cannot be applied.
pub async fn begin_with_sandbox(
    db: &Db,
    stripe: &Gateway,
    shared: &SharedCatalogue,
    configured: &Catalogue,
    now_ms: TimeMs,
) -> Result<Option<CatalogueVersion>, SandboxError> {
    let present = in_force(db).await?;
    let run = format!("start:{now_ms}");
    let maker = Maker { db, stripe, version: present.version + 1, run: &run, attempt: 0 };
    loop {
        let proposal = propose(db, stripe, catalogue_of(&present)?, configured.clone(), now_ms).await?;
        if !proposal.refusals.is_empty() {
            return Err(SandboxError::Refused(proposal.refusals));
        }
        let Made::All { present: prices, .. } = maker.make(&proposal).await?? else { continue };
        let differs = proposal.old != proposal.new;
        if differs {
            let version = CatalogueVersion {
                version: present.version + 1,
                catalogue: write(configured),
                applied_by: SYSTEM.to_owned(),
                reason: "the file of the catalogue at start, with the sandbox".to_owned(),
                applied_at_ms: now_ms,
            };
            commit(db, &applied(&proposal, version, &prices, now_ms), now_ms).await?;
            refresh(db.write(), shared).await?;
        }
        return Ok(differs.then_some(present));
    }
}

async fn commit(db: &Db, applied: &AppliedCatalogue, now_ms: TimeMs) -> Result<()> {
    let tx = db.begin().await?;
    catalogue_version_apply(&tx, applied).await?;
    audit::audit_append(&tx, &audit_of(&applied.version), now_ms).await?;
    tx.commit().await?;
    Ok(())
}

/// Why the configured catalogue could not be applied with the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Customers have what it takes away.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Refusal>),
    /// The sandbox failed.
    #[error(transparent)]
    Stripe(#[from] StripeError),
    /// The database failed.
    #[error(transparent)]
    Engine(#[from] Error),
}
