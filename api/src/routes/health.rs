//! Health of the process and its dependencies.

mod shared;

pub(crate) use shared::SharedChecks;

use super::Tag;
use crate::app::App;
use crate::document::OperationDoc;
use bursar_engine::clock;
use bursar_engine::domain::schema::Schema;
use bursar_engine::infra::broker::Health;
use bursar_engine::infra::smtp;
use bursar_engine::usecase::schema::schema;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a dependency may take to answer before it counts as down.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The name of the dependency on the machine's clock.
const CLOCK: &str = "clock";

/// Routes of health.
pub struct HealthApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[];

/// Maximum number of checks at once. Each may use a connection to the database.
pub(crate) const CHECKS_MAX: usize = 16;

/// One dependency.
#[derive(Debug, Clone, Object)]
struct Dependency {
    /// `database`, `broker`, `stripe`, on Postgres `clock` and, where mail is sent, `mail`.
    name: String,
    /// What it is: `postgres`, `sqlite`, `rabbitmq`, `in-process`, `live`, `test`, `sandbox`, `not configured`,
    /// `smtp`, `system`.
    kind: String,
    /// `up`, `down` or `blocked`. The database can also be `read only`, or have the `wrong schema` for this server.
    /// The clock can also be `off` (too far from the database's clock) or `unknown` (not compared with it lately).
    state: String,
    /// How long it took to answer, in milliseconds: `database` and `broker` now, `stripe` and `mail` at the last
    /// call.
    latency_ms: Option<f64>,
}

impl Dependency {
    fn new(name: &str, kind: &str, state: &str, latency_ms: Option<f64>) -> Self {
        Self { name: name.to_owned(), kind: kind.to_owned(), state: state.to_owned(), latency_ms }
    }

    fn is_up(&self) -> bool {
        self.state == "up"
    }
}

/// The server's health.
#[derive(Debug, Clone, Object)]
#[oai(example)]
pub(crate) struct HealthBody {
    /// `ok`; `degraded` (it works, but more slowly); `down` (requests fail).
    status: String,
    /// This server's version.
    version: String,
    /// Its dependencies.
    dependencies: Vec<Dependency>,
    /// Likely mistakes of the operator, such as a missing Stripe key. Usually empty.
    warnings: Vec<String>,
}

impl Example for HealthBody {
    fn example() -> Self {
        Self {
            status: "ok".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dependencies: vec![
                Dependency::new("database", "postgres", "up", Some(0.245)),
                Dependency::new("broker", "rabbitmq", "up", Some(1.3)),
                Dependency::new("stripe", "live", "up", Some(212.4)),
                Dependency::new(CLOCK, "system", "up", None),
            ],
            warnings: Vec::new(),
        }
    }
}

#[derive(ApiResponse)]
enum HealthResponse {
    /// It works.
    #[oai(status = 200)]
    Ok(Json<HealthBody>),
    /// It cannot serve requests.
    #[oai(status = 503)]
    Down(Json<HealthBody>),
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

async fn check(app: &App) -> HealthBody {
    let started = Instant::now();
    // The database may have been migrated since the start.
    let schema = tokio::time::timeout(CHECK_TIMEOUT, schema(&app.db)).await.ok().and_then(Result::ok);
    // A pool that is busy says nothing about the database.
    let read_only = tokio::time::timeout(CHECK_TIMEOUT, app.db.is_read_only()).await;
    let is_read_only = matches!(read_only, Ok(Ok(true)));
    let latency_ms = schema.is_some().then(|| milliseconds(started.elapsed()));
    let kind = if app.db.is_postgres() { "postgres" } else { "sqlite" };
    let state = match &schema {
        Some(_) if is_read_only => "read only",
        Some(schema) if schema.is_served() => "up",
        Some(_) => "wrong schema",
        None => "down",
    };
    let database = Dependency::new("database", kind, state, latency_ms);
    let round_trip = match &app.runtime.broker {
        Some(broker) => tokio::time::timeout(CHECK_TIMEOUT, broker.round_trip()).await.ok().flatten(),
        None => None,
    };
    let broker_health = app.runtime.broker.as_ref().map(|broker| broker.health());
    let kind = if broker_health.is_some() { "rabbitmq" } else { "in-process" };
    // The state comes from the session, which watches the connection all the time.
    let state = match broker_health {
        None | Some(Health::Up) => "up",
        Some(Health::Blocked) => "blocked",
        Some(Health::Down) => "down",
    };
    let broker = Dependency::new("broker", kind, state, round_trip.map(milliseconds));
    let gateway = &app.runtime.handlers.stripe;
    let kind = match (app.config.has_stripe(), app.config.stripe.livemode) {
        _ if app.sandbox().is_some() => "sandbox",
        (false, _) => "not configured",
        (true, true) => "live",
        (true, false) => "test",
    };
    let state = if gateway.is_breaker_open() { "down" } else { "up" };
    // The latency is that of recent calls: a request for each health check would use up the rate limit.
    let stripe = Dependency::new("stripe", kind, state, gateway.latency().map(milliseconds));
    let clock = clock(app);
    let clock_is_right = clock.as_ref().is_none_or(Dependency::is_up);
    let status = match (database.state.as_str(), broker.state.as_str(), stripe.state.as_str()) {
        ("up", "up", "up") if clock_is_right => "ok",
        ("up", ..) => "degraded",
        _ => "down",
    };
    let mut warnings = app.warnings();
    warnings.extend(schema.as_ref().and_then(Schema::problem));
    HealthBody {
        status: status.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        dependencies: [Some(database), Some(broker), Some(stripe), clock].into_iter().flatten().collect(),
        warnings,
    }
}

/// The machine's clock, if it is compared with the database's.
fn clock(app: &App) -> Option<Dependency> {
    let offset_max_ms = app.config.database.clock_offset_max_ms;
    let health = app.db.is_postgres().then(|| app.clock.health(offset_max_ms)).flatten()?;
    let state = match health {
        clock::Health::Right => "up",
        clock::Health::Differs => "off",
        clock::Health::Unknown => "unknown",
    };
    Some(Dependency::new(CLOCK, "system", state, None))
}

fn respond(body: HealthBody) -> HealthResponse {
    if body.status == "down" { HealthResponse::Down(Json(body)) } else { HealthResponse::Ok(Json(body)) }
}

#[OpenApi(tag = "Tag::Health")]
impl HealthApi {
    /// Server health
    ///
    /// Each dependency with its state and latency. The server is `degraded` without the broker (work goes through
    /// the database), without Stripe or a configured SMTP server (the work that needs them is done later), and while
    /// its clock is off (it uses the database's). It is `down` without the database, while the database is read only,
    /// and on a schema that this server cannot use. `warnings` do not change the status.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self, app: Data<&Arc<App>>) -> HealthResponse {
        let mut body = app.health_checks.run(check(&app)).await;
        if let Some(health) = app.runtime.handlers.mail.health().await {
            let latency = match health {
                smtp::Health::Up(latency) => Some(latency),
                smtp::Health::Down => None,
            };
            let state = if latency.is_some() { "up" } else { "down" };
            // The latency is that of the last check, which is not repeated for each request.
            body.dependencies.push(Dependency::new("mail", "smtp", state, latency.map(milliseconds)));
            if latency.is_none() && body.status == "ok" {
                "degraded".clone_into(&mut body.status);
            }
        }
        respond(body)
    }

    /// Liveness
    ///
    /// Checks no dependency, because a restart would not repair one.
    #[oai(path = "/health/live", method = "get", operation_id = "health_live")]
    async fn live(&self) -> HealthResponse {
        respond(HealthBody {
            status: "ok".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dependencies: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// Readiness
    ///
    /// 503 while the database is unreachable, is read only or has a schema that this server cannot use, while the
    /// server is shutting down, or while its clock is too far from the database's (`clock` is `off`) or was not
    /// compared with it for ten minutes (`unknown`). A schema that a newer release has extended is served, with a
    /// warning, so that releases can be rolled out. A server with a wrong clock still works, by the database's time.
    #[oai(path = "/health/ready", method = "get", operation_id = "health_ready")]
    async fn ready(&self, app: Data<&Arc<App>>) -> HealthResponse {
        let mut body = app.health_checks.run(check(&app)).await;
        let is_clock_wrong = body.dependencies.iter().any(|found| found.name == CLOCK && !found.is_up());
        if app.is_stopping() || is_clock_wrong {
            "down".clone_into(&mut body.status);
        }
        respond(body)
    }
}
