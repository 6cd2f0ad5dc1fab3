//! Support: the catalogue in force, its versions, and applying another one.

use super::job_body::JobBody;
use super::reason::check_reason;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::{PageQuery, page};
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::catalogue::{CatalogueVersion, Difference, Refusal, touch::Touch};
use bursar_engine::infra::store::catalogue::{catalogue_version_find, catalogue_version_list};
use bursar_engine::usecase::version::{self, NewVersion, Plan, PlannedAtStripe, PlannedPrice};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Routes of the catalogue.
pub struct AdminCatalogueApi;

/// The paths of the routes whose bodies carry a catalogue.
pub(crate) const BODY_PATHS: [&str; 2] = ["/admin/v1/catalogue/plan", "/admin/v1/catalogue/apply"];

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_get_catalogue", &["not_found"]),
    OperationDoc::new("admin_list_catalogue_versions", &[]),
    OperationDoc::new("admin_get_catalogue_version", &["not_found"]),
    OperationDoc::new("admin_plan_catalogue", &["invalid_catalogue", "not_found"]),
    OperationDoc::new(
        "admin_apply_catalogue",
        &["invalid_catalogue", "invalid_reason", "catalogue_version_changed", "catalogue_refused", "not_found"],
    ),
];

/// An example of a catalogue.
const EXAMPLE: &str = "currency = \"usd\"\nentry = \"free\"\n\n[plans.free]\nname = \"Free\"\n";

/// A version of the catalogue.
#[derive(Debug, Object)]
#[oai(example)]
struct VersionBody {
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
    VersionPage of VersionBody
}

/// A version of the catalogue with its text.
#[derive(Debug, Object)]
#[oai(example)]
struct VersionDetail {
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
struct CataloguePlanRequest {
    /// The catalogue as TOML, at most 256 KiB.
    catalogue: Text,
}

impl Example for CataloguePlanRequest {
    fn example() -> Self {
        Self { catalogue: EXAMPLE.into() }
    }
}

/// A catalogue to apply.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct CatalogueApplyRequest {
    /// The catalogue as TOML, at most 256 KiB.
    catalogue: Text,
    /// The reason, for the audit log.
    reason: Text,
    /// The version in force that the plan named. If another one is in force, nothing is applied.
    expected_version: i64,
}

impl Example for CatalogueApplyRequest {
    fn example() -> Self {
        Self { catalogue: EXAMPLE.into(), reason: "ticket 4711".into(), expected_version: 1 }
    }
}

/// Something that the catalogue changes.
#[derive(Debug, Object)]
#[oai(example)]
struct CatalogueChangeBody {
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
struct CatalogueRefusalBody {
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
struct CatalogueStripeBody {
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
struct CataloguePlanBody {
    /// The version in force, with which it was compared.
    version: i64,
    /// What it changes.
    changes: Vec<CatalogueChangeBody>,
    /// Why it cannot be applied; empty if it can.
    refusals: Vec<CatalogueRefusalBody>,
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
            stripe,
            stripe_note,
        }
    }
}

/// A catalogue that is being applied.
#[derive(Debug, Object)]
#[oai(example)]
struct CatalogueApplication {
    /// The job that applies it. Once it has succeeded, the catalogue is in force; if it is dead, nothing has changed.
    job: JobBody,
}

impl Example for CatalogueApplication {
    fn example() -> Self {
        Self { job: JobBody::waiting_example() }
    }
}

#[derive(ApiResponse)]
enum CatalogueApplied {
    /// It is being applied, or was with this key before.
    #[oai(status = 202)]
    Accepted(Json<CatalogueApplication>),
}

#[OpenApi]
impl AdminCatalogueApi {
    /// The catalogue in force
    ///
    /// All nodes have a new version within 5 s.
    #[oai(path = "/admin/v1/catalogue", method = "get", operation_id = "admin_get_catalogue", tag = "Tag::Admin")]
    async fn get(&self, app: Data<&Arc<App>>, _auth: AdminAuth) -> Result<Json<VersionDetail>, ApiError> {
        Ok(Json(version::in_force(&app.db).await?.into()))
    }

    /// Versions of the catalogue
    ///
    /// Newest first. The first one is in force.
    #[oai(
        path = "/admin/v1/catalogue/versions",
        method = "get",
        operation_id = "admin_list_catalogue_versions",
        tag = "Tag::Admin"
    )]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<VersionPage>, ApiError> {
        let page = PageQuery::parse_numbered(cursor.0, limit.0)?;
        let found = catalogue_version_list(app.db.read(), page.cursor, page.rows_to_query()).await?;
        Ok(page.answer(found, |row| row.version.to_string(), |row| VersionBody::from(&row)))
    }

    /// Look at a version of the catalogue
    #[oai(
        path = "/admin/v1/catalogue/versions/:version",
        method = "get",
        operation_id = "admin_get_catalogue_version",
        tag = "Tag::Admin"
    )]
    async fn get_version(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The number of the version.
        version: Path<i64>,
    ) -> Result<Json<VersionDetail>, ApiError> {
        let found = catalogue_version_find(app.db.read(), version.0).await?;
        Ok(Json(found.ok_or(Error::NotFound("version of the catalogue"))?.into()))
    }

    /// Plan a catalogue
    ///
    /// Says what applying it would change, whom that touches, what would be made at Stripe, and why it would be refused.
    /// Changes nothing.
    #[oai(
        path = "/admin/v1/catalogue/plan",
        method = "post",
        operation_id = "admin_plan_catalogue",
        tag = "Tag::Admin"
    )]
    async fn plan(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        body: Json<CataloguePlanRequest>,
    ) -> Result<Json<CataloguePlanBody>, ApiError> {
        let plan = version::plan(&app.runtime.handlers, &body.catalogue.0, app.clock.now_ms()).await?;
        Ok(Json(plan.into()))
    }

    /// Apply a catalogue
    ///
    /// A job makes the prices that Stripe lacks and then puts the catalogue into force. Customers keep the terms of the
    /// prices that they have.
    #[oai(
        path = "/admin/v1/catalogue/apply",
        method = "post",
        operation_id = "admin_apply_catalogue",
        tag = "Tag::Admin"
    )]
    async fn apply(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        key: Header<String>,
        body: Json<CatalogueApplyRequest>,
    ) -> Result<CatalogueApplied, ApiError> {
        let new = NewVersion {
            catalogue: version::read_new(&body.catalogue.0)?,
            reason: check_reason(&body.reason)?,
            expected_version: body.expected_version,
            actor: auth.0.actor,
            request_key: format!("admin:{}", input::idempotency_key(&key.0)?),
            request_hash: input::request_hash("admin_apply_catalogue", &body.0),
        };
        let now_ms = app.clock.now_ms();
        let (job, wakes) = version::request(&app.runtime.handlers, new, now_ms).await?;
        app.runtime.dispatcher.announce(wakes);
        Ok(CatalogueApplied::Accepted(Json(CatalogueApplication { job: JobBody::new(&job, now_ms) })))
    }
}
