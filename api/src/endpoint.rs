//! The whole HTTP endpoint: the API, its document and the metrics, behind the middleware.

use crate::app::App;
use crate::middleware::Guarded;
use crate::routes::health::HealthApi;
use crate::routes::{openapi_document, service};
use crate::unread_answers::{SharedBody, SharedRendering};
use bursar_actors::Role;
use bytes::Bytes;
use poem::endpoint::make_sync;
use poem::http::header;
use poem::{Endpoint, EndpointExt, Response, Route};
use poem_openapi::OpenApiService;
use std::sync::Arc;

/// Maximum number of rendered metrics pages that are held for slow clients.
const METRICS_COPIES_MAX: usize = 16;

/// Builds the endpoint of an application. A worker serves only health and metrics.
pub fn endpoint(app: Arc<App>, role: Role) -> impl Endpoint<Output = Response> {
    let metrics = {
        let (app, rendering) = (app.clone(), SharedRendering::new(METRICS_COPIES_MAX));
        make_sync(move |_| {
            Response::builder()
                .header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
                .body(rendering.get(|| app.render_metrics()))
        })
    };
    let route = Route::new().at("/metrics", metrics);
    let route = if role == Role::Worker {
        route.nest("/", OpenApiService::new(HealthApi, "Bursar worker", env!("CARGO_PKG_VERSION")))
    } else {
        let service = service();
        let json = static_text("application/json", openapi_document());
        let docs = Route::new().at("/", static_text("text/html; charset=utf-8", service.swagger_ui_html()));
        route.at("/openapi.json", json).nest("/docs", docs).nest("/", service)
    };
    Guarded::new(route.data(app.clone()).map_to_response(), app)
}

/// An endpoint that always answers with `text`. All answers share its bytes.
fn static_text(content_type: &'static str, text: String) -> impl Endpoint<Output = Response> {
    let bytes = Bytes::from(text);
    make_sync(move |_| {
        Response::builder().header(header::CONTENT_TYPE, content_type).extension(SharedBody).body(bytes.clone())
    })
}
