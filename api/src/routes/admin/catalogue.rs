//! Support: the catalogue in force, its versions, and applying another one.

mod body;

use super::job_body::JobBody;
use super::reason::check_reason;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::PageQuery;
use crate::routes::{Tag, input};
use body::{
    CatalogueApplication, CatalogueApplied, CatalogueApplyRequest, CataloguePlanBody, CataloguePlanRequest,
    VersionBody, VersionDetail, VersionPage,
};
use bursar_engine::Error;
use bursar_engine::infra::store::catalogue::{catalogue_version_find, catalogue_version_list};
use bursar_engine::usecase::version::{self, NewVersion};
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;
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

#[OpenApi(tag = "Tag::Admin")]
impl AdminCatalogueApi {
    /// The catalogue in force
    ///
    /// The node that applied a new version has it at once, and so has the one that answers this. All nodes have it
    /// within 5 s.
    #[oai(path = "/admin/v1/catalogue", method = "get", operation_id = "admin_get_catalogue")]
    async fn get(&self, app: Data<&Arc<App>>, _auth: AdminAuth) -> Result<Json<VersionDetail>, ApiError> {
        version::refresh(app.db.read(), &app.config.catalogue).await?;
        Ok(Json(version::in_force(&app.db).await?.into()))
    }

    /// Versions of the catalogue
    ///
    /// Newest first. The first one is in force.
    #[oai(path = "/admin/v1/catalogue/versions", method = "get", operation_id = "admin_list_catalogue_versions")]
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
    ///
    /// Every version that was ever in force is kept.
    #[oai(path = "/admin/v1/catalogue/versions/:version", method = "get", operation_id = "admin_get_catalogue_version")]
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
    /// Says what applying it would change, whom that touches, what would be made at Stripe, why it would be refused,
    /// and what hardly anybody could buy. Changes nothing.
    #[oai(path = "/admin/v1/catalogue/plan", method = "post", operation_id = "admin_plan_catalogue")]
    async fn plan(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        body: Json<CataloguePlanRequest>,
    ) -> Result<Json<CataloguePlanBody>, ApiError> {
        let plan = version::plan(&app.for_support(), &body.catalogue.0, app.clock.now_ms()).await?;
        Ok(Json(plan.into()))
    }

    /// Apply a catalogue
    ///
    /// A job makes the prices that Stripe lacks and then puts the catalogue into force. Customers keep the terms of the
    /// prices that they have.
    #[oai(path = "/admin/v1/catalogue/apply", method = "post", operation_id = "admin_apply_catalogue")]
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
            request_hash: hash_of(&body.0),
        };
        let now_ms = app.clock.now_ms();
        let (job, wakes) = version::request(&app.for_support(), new, now_ms).await?;
        app.runtime.dispatcher.announce(wakes);
        Ok(CatalogueApplied::Accepted(Json(CatalogueApplication { job: JobBody::new(&job, now_ms) })))
    }
}

/// Hashes a request to apply. Which version was expected does not count: whoever repeats a request that succeeded
/// expects the version that it made.
fn hash_of(body: &CatalogueApplyRequest) -> String {
    let mut said = body.to_json().unwrap_or_default();
    if let Some(fields) = said.as_object_mut() {
        fields.remove("expected_version");
    }
    input::request_hash("admin_apply_catalogue", &said)
}
