//! Support reads a customer's automatic top-ups.

use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::Tag;
use crate::routes::path_id::PathId;
use crate::routes::top_up::TopUpBody;
use bursar_engine::ids::CustomerId;
use bursar_engine::usecase::top_up;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use std::sync::Arc;

/// Routes of automatic top-ups for staff.
pub struct AdminTopUpApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] =
    &[OperationDoc::new("admin_get_auto_top_up", &["not_found"])];

#[OpenApi]
impl AdminTopUpApi {
    /// A customer's automatic top-up
    ///
    /// As the customer sees it: when credits are bought automatically, and why not if it waits or was stopped.
    #[oai(
        path = "/admin/v1/customers/:id/auto-top-up",
        method = "get",
        operation_id = "admin_get_auto_top_up",
        tag = "Tag::Admin"
    )]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
    ) -> Result<Json<TopUpBody>, ApiError> {
        let view = top_up::read(&app.db, &id.0.parsed()?, &app.config.catalogue.now(), app.clock.now_ms()).await?;
        Ok(Json(TopUpBody::new(&view)))
    }
}
