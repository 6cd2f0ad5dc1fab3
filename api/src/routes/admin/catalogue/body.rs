//! Requests and answers about the catalogue.

use crate::routes::admin::job_body::JobBody;
use crate::routes::page::page;
use crate::routes::text::Text;
use crate::sample;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::catalogue::touch::Touch;
use bursar_engine::domain::catalogue::{CatalogueVersion, Difference, Refusal};
use bursar_engine::usecase::version::{Plan, PlannedAtStripe, PlannedPrice};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object};

/// An example of a catalogue.
const EXAMPLE: &str = "currency = \"usd\"\nentry = \"free\"\n\n[plans.free]\nname = \"Free\"\n";

/// A version of the catalogue.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct VersionBody {
    /// Its number, from 1.
    version: i64,
    /// Who applied it: `system` for that of the first start.
    applied_by: String,
    /// Why.
    reason: String,
    /// When it came into force.
    applied_at: String,
}

impl Example for VersionBody {
    fn example() -> Self {
        Self {
            version: 2,
            applied_by: "admin:bootstrap".to_owned(),
            reason: "ticket 4711".to_owned(),
            applied_at: sample::AT.to_owned(),
        }
    }
}

impl From<&CatalogueVersion> for VersionBody {
    fn from(version: &CatalogueVersion) -> Self {
        Self {
            version: version.version,
            applied_by: version.applied_by.clone(),
            reason: version.reason.clone(),
            applied_at: rfc3339(version.applied_at_ms),
        }
    }
}

page! {
    /// A page of versions of the catalogue, newest first.
    pub(super) VersionPage of VersionBody
}

/// A version of the catalogue with its text.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct VersionDetail {
    /// The version.
    version: VersionBody,
    /// The catalogue as TOML.
    catalogue: String,
}

impl Example for VersionDetail {
    fn example() -> Self {
        Self { version: VersionBody::example(), catalogue: EXAMPLE.to_owned() }
    }
}

impl From<CatalogueVersion> for VersionDetail {
    fn from(version: CatalogueVersion) -> Self {
        Self { version: VersionBody::from(&version), catalogue: version.catalogue }
    }
}

/// A catalogue to compare with the one in force.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct CataloguePlanRequest {
    /// The catalogue as TOML, at most 256 KiB.
    pub(super) catalogue: Text,
}

impl Example for CataloguePlanRequest {
    fn example() -> Self {
        Self { catalogue: EXAMPLE.into() }
    }
}

/// A catalogue to apply.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct CatalogueApplyRequest {
    /// The catalogue as TOML, at most 256 KiB.
    pub(super) catalogue: Text,
    /// The reason, for the audit log.
    pub(super) reason: Text,
    /// The version in force that the plan named. If another one is in force, nothing is applied.
    pub(super) expected_version: i64,
}

impl Example for CatalogueApplyRequest {
    fn example() -> Self {
        Self { catalogue: EXAMPLE.into(), reason: "ticket 4711".into(), expected_version: 1 }
    }
}

/// Something that the catalogue changes.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct CatalogueChangeBody {
    /// What it is about: `catalogue`, `plan` or `price`.
    kind: String,
    /// The key of the plan or the price.
    key: Option<String>,
    /// The field; null if the whole entry is added or removed.
    field: Option<String>,
    /// What stands there now.
    before: Option<String>,
    /// What will stand there.
    after: Option<String>,
    /// The number of customers or subscribers that it touches.
    customers: Option<u64>,
    /// What happens to them.
    effect: String,
}

impl Example for CatalogueChangeBody {
    fn example() -> Self {
        Self {
            kind: "price".to_owned(),
            key: sample::text("pro_monthly"),
            field: sample::text("amount"),
            before: sample::text("$599.00"),
            after: sample::text("$699.00"),
            customers: Some(1_000),
            effect: "1000 subscribers keep the old amount; new ones pay the new one.".to_owned(),
        }
    }
}

impl From<(Difference, Touch)> for CatalogueChangeBody {
    fn from((difference, touch): (Difference, Touch)) -> Self {
        Self {
            kind: difference.subject.kind().to_owned(),
            key: difference.subject.key().map(str::to_owned),
            field: difference.field.map(str::to_owned),
            before: difference.before,
            after: difference.after,
            customers: touch.count,
            effect: touch.effect,
        }
    }
}

/// Why the catalogue cannot be applied.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct CatalogueRefusalBody {
    /// What it is about: `catalogue`, `plan` or `price`.
    kind: String,
    /// The key of the plan or the price.
    key: Option<String>,
    /// Why, and what to do.
    reason: String,
}

impl Example for CatalogueRefusalBody {
    fn example() -> Self {
        Self {
            kind: "price".to_owned(),
            key: sample::text("pro_yearly"),
            reason: "price pro_yearly cannot be removed: 3 open subscriptions have it. Keep [prices.pro_yearly] with \
                     offered = false"
                .to_owned(),
        }
    }
}

impl From<Refusal> for CatalogueRefusalBody {
    fn from(refusal: Refusal) -> Self {
        Self {
            kind: refusal.subject.kind().to_owned(),
            key: refusal.subject.key().map(str::to_owned),
            reason: refusal.message,
        }
    }
}

/// A price that is made at Stripe.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct CatalogueStripeBody {
    /// The key of the price.
    price: String,
    /// What is made.
    what: String,
}

impl Example for CatalogueStripeBody {
    fn example() -> Self {
        Self {
            price: "pro_monthly".to_owned(),
            what: "$699.00 each month, lookup key pro_monthly, of the product prod_NWjs8kKbJWmuuc".to_owned(),
        }
    }
}

impl From<PlannedPrice> for CatalogueStripeBody {
    fn from(planned: PlannedPrice) -> Self {
        Self { price: planned.price.to_string(), what: planned.what }
    }
}

/// What applying a catalogue would do.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct CataloguePlanBody {
    /// The version in force, with which it was compared.
    version: i64,
    /// What it changes.
    changes: Vec<CatalogueChangeBody>,
    /// Why it cannot be applied; empty if it can.
    refusals: Vec<CatalogueRefusalBody>,
    /// What it offers and only customers with raised spend caps could buy, each with its line. It can be applied all
    /// the same.
    warnings: Vec<String>,
    /// The prices that are made at Stripe.
    stripe: Vec<CatalogueStripeBody>,
    /// Why nothing is said or made at Stripe, if so.
    stripe_note: Option<String>,
}

impl Example for CataloguePlanBody {
    fn example() -> Self {
        Self {
            version: 1,
            changes: vec![CatalogueChangeBody::example()],
            refusals: Vec::new(),
            warnings: Vec::new(),
            stripe: vec![CatalogueStripeBody::example()],
            stripe_note: None,
        }
    }
}

impl From<Plan> for CataloguePlanBody {
    fn from(plan: Plan) -> Self {
        let (stripe, stripe_note) = match plan.at_stripe {
            PlannedAtStripe::Made(prices) => (prices.into_iter().map(CatalogueStripeBody::from).collect(), None),
            PlannedAtStripe::NotConfigured => {
                (Vec::new(), Some("This server has no Stripe key: nothing is made at Stripe.".to_owned()))
            }
            PlannedAtStripe::Unavailable(why) => {
                (Vec::new(), Some(format!("Stripe cannot be asked what it has ({why}): plan again.")))
            }
        };
        Self {
            version: plan.version,
            changes: plan.changes.into_iter().map(CatalogueChangeBody::from).collect(),
            refusals: plan.refusals.into_iter().map(CatalogueRefusalBody::from).collect(),
            warnings: plan.warnings,
            stripe,
            stripe_note,
        }
    }
}

/// A catalogue that is being applied.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct CatalogueApplication {
    /// The job that applies it. Once it has succeeded, the catalogue is in force; if it is dead, nothing has changed.
    pub(super) job: JobBody,
}

impl Example for CatalogueApplication {
    fn example() -> Self {
        Self { job: JobBody::waiting_example() }
    }
}

#[derive(ApiResponse)]
pub(super) enum CatalogueApplied {
    /// It is being applied, or was with this key before.
    #[oai(status = 202)]
    Accepted(Json<CatalogueApplication>),
}
