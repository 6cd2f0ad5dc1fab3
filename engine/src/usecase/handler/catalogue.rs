//! Applies a catalogue: makes what it lacks at Stripe, then puts it into force in one transaction.
//!
//! All applications share one stream, so they run one at a time. An attempt may crash anywhere and run again: what was
//! made is found by its lookup key, each call has an idempotency key, and before a lookup key moves to a new price the
//! price that had it is stored as ours.
//!
//! | module | contents |
//! |---|---|
//! | [`proposal`] | what another catalogue would change, here and at Stripe |
//! | [`make`] | makes products and prices at Stripe |

pub mod make;
pub mod proposal;

use super::{Claimed, Deps, args};
use crate::clock::TimeMs;
use crate::domain::audit::Audit;
use crate::domain::catalogue::read::{read, read_version};
use crate::domain::catalogue::{Catalogue, CatalogueHistory, CatalogueVersion, SharedCatalogue};
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::sale::applied::{AppliedCatalogue, kept_terms};
use crate::domain::sale::at_stripe::sold;
use crate::domain::webhook::fields;
use crate::error::{Error, Result};
use crate::infra::store::catalogue::{catalogue_version_latest, catalogue_version_list};
use crate::infra::store::job::job_head;
use crate::infra::stripe::StripeError;
use crate::key::PriceKey;
use make::{Made, Maker};
use proposal::{Proposal, propose};
use sea_orm::ConnectionTrait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The stream of all applications.
pub const STREAM: &str = "catalogue.apply";

/// Maximum number of versions whose terms count for what was sold in their time.
const HISTORY_MAX: u64 = 1_000;

/// Whether another version than this node's is in force or coming into force, so that prices at Stripe may be those of
/// either.
pub(super) async fn is_changing(deps: &Deps) -> Result<bool> {
    let db = deps.db.read();
    Ok(job_head(db, STREAM).await?.is_some() || catalogue_version_latest(db, deps.catalogue.version()).await?.is_some())
}

/// The arguments of the job that applies a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyArgs {
    /// The version in force for which it was requested.
    pub base: i64,
    /// The catalogue.
    pub catalogue: String,
    /// Who requested it.
    pub applied_by: String,
    /// Why.
    pub reason: String,
    /// Distinguishes a repeated request from another one under the same key.
    pub request_hash: String,
}

/// Reads the catalogue of a version.
///
/// # Errors
/// `Corrupt` if this release cannot read it.
pub fn catalogue_of(version: &CatalogueVersion) -> Result<Catalogue> {
    read_version(&version.catalogue).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::Corrupt(format!("version {} of the catalogue: {}", version.version, problems.join("; ")))
    })
}

/// The catalogues that were in force, up to the present one. It is read once for each version.
///
/// # Errors
/// The database cannot be reached.
pub async fn history(db: &impl ConnectionTrait, shared: &SharedCatalogue) -> Result<Arc<CatalogueHistory>> {
    let (version, known) = shared.history();
    if let Some(known) = known {
        return Ok(known);
    }
    let versions = catalogue_version_list(db, Some(version + 1), HISTORY_MAX).await?;
    // What this release can no longer read is left out: the version before it counts.
    let read = |version: &CatalogueVersion| Some((version.applied_at_ms, Arc::new(catalogue_of(version).ok()?)));
    let history = Arc::new(CatalogueHistory::new(versions.iter().rev().filter_map(read).collect()));
    shared.remember(version, history.clone());
    Ok(history)
}

/// Applies the catalogue in the job's arguments.
pub(super) async fn run(deps: &Deps, claimed: &Claimed, now_ms: TimeMs) -> Result<Verdict> {
    let args: ApplyArgs = args(claimed)?;
    let dead = |reason: String| Ok(Outcome::Dead { reason }.into());
    let Some(present) = catalogue_version_latest(deps.db.read(), 0).await? else {
        return dead("no catalogue is in force".to_owned());
    };
    if present.version != args.base {
        return dead(format!(
            "catalogue_version_changed: version {} is in force, and this was requested for version {}: somebody else \
             has applied a catalogue meanwhile",
            present.version, args.base
        ));
    }
    let (old, new) = match (catalogue_of(&present)?, read(&args.catalogue)) {
        (old, Ok(new)) => (old, new),
        (_, Err(_)) => return dead("invalid_catalogue: this release cannot read it".to_owned()),
    };
    let mut proposal = propose(&deps.db, &deps.stripe, old, new, now_ms).await?;
    proposal.refuse_for_marketplace(&deps.marketplace);
    if !proposal.refusals.is_empty() {
        let refusals: Vec<String> = proposal.refusals.iter().map(ToString::to_string).collect();
        return dead(format!("catalogue_refused: {}", refusals.join("; ")));
    }
    let maker = Maker {
        db: &deps.db,
        stripe: &deps.stripe,
        version: args.base + 1,
        run: claimed.job.id.as_str(),
        attempt: claimed.job.attempt,
    };
    let made = match maker.make(&proposal).await? {
        Ok(made) => made,
        Err(error) if error.is_retryable() || matches!(error, StripeError::Unauthorized { .. }) => {
            return Ok(Outcome::Retry { reason: error.to_string() }.into());
        }
        Err(error) => return dead(error.to_string()),
    };
    let present = match made {
        Made::Part => return Ok(Outcome::Snooze { until_ms: now_ms }.into()),
        // Nothing to change: the present version stays in force.
        Made::All { made: 0, .. } if proposal.old == proposal.new => return Ok(Outcome::Done.into()),
        Made::All { present, .. } => present,
    };
    let version = CatalogueVersion {
        version: args.base + 1,
        catalogue: args.catalogue,
        applied_by: args.applied_by,
        reason: args.reason,
        applied_at_ms: now_ms,
    };
    let audit = audit_of(&version);
    let applied = applied(&proposal, version, &present, now_ms);
    let effects = vec![Effect::CatalogueApply(Box::new(applied)), Effect::Audit(audit)];
    Ok(Verdict { outcome: Outcome::Done, ledger: None, effects })
}

/// The line of the audit log about a version.
pub fn audit_of(version: &CatalogueVersion) -> Audit {
    let target = format!("catalogue:{}", version.version);
    Audit::new(version.applied_by.clone(), "catalogue.apply", target, &json!({ "reason": version.reason }))
}

/// What commits with a version, given the present prices at Stripe.
pub fn applied(
    proposal: &Proposal,
    version: CatalogueVersion,
    present: &BTreeMap<PriceKey, fields::Price>,
    now_ms: TimeMs,
) -> AppliedCatalogue {
    let id = |said: &fields::Price| said.ids.first().cloned();
    let ids = present.iter().filter_map(|(key, said)| Some((key.clone(), id(said)?))).collect();
    let sold =
        present.iter().filter_map(|(key, said)| Some(sold(proposal.new.price(key)?, said, &proposal.new, now_ms)));
    AppliedCatalogue {
        version,
        before: proposal.old.clone(),
        catalogue: proposal.new.clone(),
        present: sold.collect(),
        kept: kept_terms(&proposal.old, &proposal.new, &ids),
    }
}
