//! The whole HTTP endpoint: the API, its document, the page for mailboxes and the metrics, behind the middleware.

use crate::app::App;
use crate::asset::Asset;
use crate::capacity::Capacity;
use crate::confirm_page::ConfirmPage;
use crate::middleware::Guarded;
use crate::pages::{self, Pages};
use crate::route_table::RouteTable;
use crate::routes::admin::log_filter::AdminLogFilterApi;
use crate::routes::health::HealthApi;
use crate::routes::service;
use crate::unread_answers::SharedRendering;
use bursar_actors::Role;
use bursar_engine::domain::mail::CONFIRM_PATH;
use poem::endpoint::make_sync;
use poem::http::{Method, StatusCode, header};
use poem::{Endpoint, EndpointExt, Request, Response, Route, get};
use poem_openapi::OpenApiService;
use std::sync::{Arc, LazyLock};

/// Maximum number of rendered metrics pages that are held for slow clients.
const METRICS_COPIES_MAX: usize = 16;
/// Paths of documents and metrics.
const READS: [&str; 6] = ["/", "/docs", "/openapi.json", "/favicon.svg", "/favicon.ico", "/metrics"];

/// The routes of the API.
static API: LazyLock<RouteTable> = LazyLock::new(|| {
    let table = RouteTable::from_document(&service().spec()).with_open(&READS, &[Method::GET]);
    table.with_open(&[CONFIRM_PATH], &[Method::GET, Method::POST])
});
/// The routes of a worker, and of the operators' listener.
static HEALTH: LazyLock<RouteTable> =
    LazyLock::new(|| RouteTable::from_document(&health_service().spec()).with_open(&READS, &[Method::GET]));

/// Builds the endpoint of an application. A worker serves only health, metrics
/// and its log filter. If operators have a listener of
/// their own, metrics and what is for staff in the document are there.
pub(crate) fn endpoint(app: Arc<App>, role: Role, capacity: Capacity) -> impl Endpoint<Output = Response> {
    let has_ops = !app.config.ops_listen.is_empty();
    let route = if has_ops { Route::new() } else { Route::new().at("/metrics", get(metrics(app.clone()))) };
    let has_pages = role != Role::Worker;
    let (route, routes) = if has_pages {
        let pages = if has_ops { &*pages::CUSTOMERS } else { &*pages::ALL };
        (with_pages(route, pages).at(CONFIRM_PATH, ConfirmPage::new(app.clone())).nest("/", service()), &*API)
    } else {
        (route.nest("/", health_service()), &*HEALTH)
    };
    let inner = route.data(app.clone()).map_to_response();
    Guarded::new(Rooted { inner, has_pages }, app, routes.clone(), capacity)
}

/// Builds the endpoint of the operators' listener: health, metrics, and the whole document.
pub(crate) fn ops(app: Arc<App>, capacity: Capacity) -> impl Endpoint<Output = Response> {
    let route = Route::new().at("/metrics", get(metrics(app.clone())));
    let route = with_pages(route, &pages::ALL).nest("/", health_service());
    let inner = route.data(app.clone()).map_to_response();
    Guarded::new(Rooted { inner, has_pages: true }, app, HEALTH.clone(), capacity)
}

/// What every process answers: health, and staff who change its log filter.
fn health_service() -> OpenApiService<(HealthApi, AdminLogFilterApi), ()> {
    OpenApiService::new((HealthApi, AdminLogFilterApi), "Bursar worker", env!("CARGO_PKG_VERSION"))
}

fn metrics(app: Arc<App>) -> impl Endpoint<Output = Response> {
    let rendering = SharedRendering::new(METRICS_COPIES_MAX);
    make_sync(move |_| {
        Response::builder()
            .header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
            .body(rendering.get(|| app.render_metrics()))
    })
}

/// Adds the document, its page and its icon.
fn with_pages(route: Route, pages: &'static Pages) -> Route {
    let icon: &'static Asset = &pages::FAVICON;
    let to_docs =
        make_sync(|_| Response::builder().status(StatusCode::FOUND).header(header::LOCATION, "docs").finish());
    route
        .at("/", get(to_docs))
        .at("/openapi.json", get(&pages.json))
        .nest("/docs", Route::new().at("/", get(&pages.page)))
        .at("/favicon.svg", get(icon))
        .at("/favicon.ico", get(icon))
}

/// Leads from the root to the page with the documentation, if there is one. The framework's routes cannot: those of the
/// API begin at the root, too.
struct Rooted<E> {
    inner: E,
    has_pages: bool,
}

impl<E: Endpoint<Output = Response>> Endpoint for Rooted<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if self.has_pages && is_read && request.uri().path() == "/" {
            return Ok(Response::builder().status(StatusCode::FOUND).header(header::LOCATION, "docs").finish());
        }
        self.inner.call(request).await
    }
}
