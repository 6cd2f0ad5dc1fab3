//! Support: reconciliations with Stripe as stored objects.

use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::{PageQuery, page};
use crate::routes::path_id::PathId;
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::reconcile::{Class, Finding, Phase, Reconciliation};
use bursar_engine::ids::{CustomerId, ReconciliationId};
use bursar_engine::infra::store::customer::{By, customer_find_many, stripe_customer_former_find_many};
use bursar_engine::infra::store::reconciliation as rows;
use bursar_engine::usecase::reconcile::{self, NewReconciliation};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Routes of reconciliations.
pub struct AdminReconciliationApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_create_reconciliation", &["invalid_window", "reconciliation_running", "not_found"]),
    OperationDoc::new("admin_list_reconciliations", &["invalid_time"]),
    OperationDoc::new("admin_get_reconciliation", &["not_found"]),
    OperationDoc::new("admin_list_reconciliation_findings", &["not_found"]),
];

/// A reconciliation to start.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct ReconciliationRequest {
    /// How many hours to look back, 1 to 720; to the previous run if not given.
    since_hours: Option<i64>,
    /// Repair what is safe; if false, only report.
    #[oai(default = "repair_default")]
    repair: bool,
    /// Compare all customers and subscriptions, and not only what changed since the previous run.
    #[oai(default)]
    full: bool,
    /// Compare only this customer, and all of its objects: its id, or that of its Stripe customer.
    customer_id: Option<String>,
}

fn repair_default() -> bool {
    true
}

impl Example for ReconciliationRequest {
    fn example() -> Self {
        Self { since_hours: Some(168), repair: false, full: false, customer_id: None }
    }
}

/// The results of a reconciliation for one class of differences.
#[derive(Debug, Object)]
struct ReconciliationClassBody {
    /// The class: `event_missing`, `subscription_differs`, `payment_unsettled` …
    class: String,
    /// Objects compared.
    checked: i64,
    /// Differences found.
    drift: i64,
    /// Differences whose repair was started.
    repaired: i64,
    /// Differences that remain.
    left: i64,
}

/// A reconciliation.
#[derive(Debug, Object)]
#[oai(example)]
struct ReconciliationBody {
    /// Its identifier.
    id: String,
    /// `running`, `done`, `failed` or `cancelled`.
    state: String,
    /// Whether it repairs what is safe, or only reports.
    repair: bool,
    /// Whether it compares all customers and subscriptions, and not only what changed.
    full: bool,
    /// The only customer that it compares.
    customer_id: Option<String>,
    /// It compares objects that were created at Stripe since then …
    since: String,
    /// … and until then. Newer ones are left to their webhooks.
    until: String,
    /// The current phase, or the last one.
    phase: String,
    /// The number of that phase, from 1.
    phase_number: u64,
    /// The number of phases.
    phases: u64,
    /// Objects compared so far.
    checked: i64,
    /// Differences found so far.
    drift: i64,
    /// Differences whose repair was started.
    repaired: i64,
    /// Differences that remain.
    left: i64,
    /// The same numbers for each class.
    classes: Vec<ReconciliationClassBody>,
    /// Why it failed or was cancelled.
    reason: Option<String>,
    /// The job that runs it.
    job_id: String,
    /// Who requested it.
    requested_by: String,
    /// When it was requested.
    created_at: String,
    /// When it ended.
    finished_at: Option<String>,
}

impl Example for ReconciliationBody {
    fn example() -> Self {
        let class =
            ReconciliationClassBody { class: "event_missing".to_owned(), checked: 120, drift: 2, repaired: 2, left: 0 };
        Self {
            id: sample::RECONCILIATION.to_owned(),
            state: "done".to_owned(),
            repair: true,
            full: false,
            customer_id: None,
            since: "2026-11-21T07:00:00.000Z".to_owned(),
            until: sample::AT.to_owned(),
            phase: "events".to_owned(),
            phase_number: 1,
            phases: 1,
            checked: 120,
            drift: 2,
            repaired: 2,
            left: 0,
            classes: vec![class],
            reason: None,
            job_id: sample::JOB.to_owned(),
            requested_by: "admin:bootstrap".to_owned(),
            created_at: sample::AT.to_owned(),
            finished_at: sample::text(sample::AT),
        }
    }
}

impl From<&Reconciliation> for ReconciliationBody {
    fn from(run: &Reconciliation) -> Self {
        let total = run.counts.total();
        Self {
            id: run.id.to_string(),
            state: run.state.as_str().to_owned(),
            repair: run.repair,
            full: run.is_full,
            customer_id: run.only_customer.as_ref().map(ToString::to_string),
            since: rfc3339(run.since_ms),
            until: rfc3339(run.until_ms),
            phase: run.phase.as_str().to_owned(),
            phase_number: run.phase.number() as u64,
            phases: Phase::ALL.len() as u64,
            checked: run.counts.checked.values().sum(),
            drift: total.found,
            repaired: total.repaired,
            left: total.left(),
            classes: Class::ALL.into_iter().map(|class| class_body(run, class)).collect(),
            reason: run.reason.clone(),
            job_id: run.job_id.to_string(),
            requested_by: run.requested_by.clone(),
            created_at: rfc3339(run.created_at_ms),
            finished_at: run.finished_at_ms.map(rfc3339),
        }
    }
}

fn class_body(run: &Reconciliation, class: Class) -> ReconciliationClassBody {
    let tally = run.counts.tally(class);
    ReconciliationClassBody {
        class: class.as_str().to_owned(),
        checked: class.phases().iter().map(|phase| run.counts.checked(*phase)).sum(),
        drift: tally.found,
        repaired: tally.repaired,
        left: tally.left(),
    }
}

/// One reconciliation.
#[derive(Debug, Object)]
#[oai(example)]
struct ReconciliationDetail {
    /// The reconciliation.
    reconciliation: ReconciliationBody,
}

impl Example for ReconciliationDetail {
    fn example() -> Self {
        Self { reconciliation: ReconciliationBody::example() }
    }
}

page! {
    /// A page of reconciliations, newest first.
    ReconciliationPage of ReconciliationBody
}

/// A difference between Stripe and Bursar.
#[derive(Debug, Object)]
#[oai(example)]
struct FindingBody {
    /// Its number within the reconciliation.
    n: i64,
    /// Its class.
    class: String,
    /// The object's id at Stripe, or Bursar's if Stripe has none.
    object_id: String,
    /// Its customer, if known.
    customer_id: Option<String>,
    /// What Bursar has, as a description.
    ours: String,
    /// What Stripe has, as a description.
    theirs: String,
    /// Whether its repair was started.
    repaired: bool,
}

impl Example for FindingBody {
    fn example() -> Self {
        Self {
            n: 1,
            class: "event_missing".to_owned(),
            object_id: sample::STRIPE_EVENT.to_owned(),
            customer_id: sample::text(sample::CUSTOMER),
            ours: "no such event".to_owned(),
            theirs: "invoice.paid".to_owned(),
            repaired: true,
        }
    }
}

impl From<Finding> for FindingBody {
    fn from(finding: Finding) -> Self {
        Self {
            n: finding.n,
            class: finding.class,
            object_id: finding.object_id,
            customer_id: finding.customer_id.map(|id| id.to_string()),
            ours: finding.ours,
            theirs: finding.theirs,
            repaired: finding.is_repaired,
        }
    }
}

page! {
    /// A page of a reconciliation's findings, in order.
    FindingPage of FindingBody
}

#[derive(ApiResponse)]
enum ReconciliationBegun {
    /// It is running, or was requested with this key before.
    #[oai(status = 202)]
    Accepted(Json<ReconciliationDetail>),
}

async fn find(app: &App, id: &ReconciliationId) -> Result<Reconciliation, ApiError> {
    Ok(rows::reconciliation_find(app.db.read(), id).await?.ok_or(Error::NotFound("reconciliation"))?)
}

/// The customer with this id, or with a Stripe customer of this id, present or former.
async fn find_customer(app: &App, id: &str) -> Result<CustomerId, ApiError> {
    if let Ok(id) = CustomerId::parse(id) {
        return Ok(id);
    }
    let ids = [id.to_owned()];
    let present = customer_find_many(app.db.read(), By::StripeId, &ids).await?.pop().map(|found| found.id);
    let found = match present {
        Some(found) => Some(found),
        None => stripe_customer_former_find_many(app.db.read(), &ids).await?.pop().map(|(_, customer_id)| customer_id),
    };
    Ok(found.ok_or(Error::NotFound("customer"))?)
}

#[OpenApi]
impl AdminReconciliationApi {
    /// Compare with Stripe
    ///
    /// Only one reconciliation of all customers runs at a time, and one of each customer: another one is refused with
    /// 409 `reconciliation_running`.
    #[oai(
        path = "/admin/v1/stripe/reconciliations",
        method = "post",
        operation_id = "admin_create_reconciliation",
        tag = "Tag::Admin"
    )]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        key: Header<String>,
        body: Json<ReconciliationRequest>,
    ) -> Result<ReconciliationBegun, ApiError> {
        let only_customer = match &body.customer_id {
            Some(id) => Some(find_customer(&app, id).await?),
            None => None,
        };
        let new = NewReconciliation {
            window_ms: body.since_hours.map(|hours| hours.saturating_mul(HOUR_MS)),
            repair: body.repair,
            is_full: body.full,
            only_customer,
            actor: auth.0.actor,
            request_key: format!("admin:{}", input::idempotency_key(&key.0)?),
            request_hash: input::request_hash("admin_create_reconciliation", &body.0),
        };
        let window = app.config.stripe.reconcile_window();
        let begun = reconcile::begin(&app.db, new, window, app.clock.now_ms()).await?;
        app.runtime.dispatcher.announce(begun.wakes);
        let reconciliation = ReconciliationBody::from(&begun.run);
        Ok(ReconciliationBegun::Accepted(Json(ReconciliationDetail { reconciliation })))
    }

    /// Reconciliations
    ///
    /// Newest first: the nightly ones and the requested ones.
    #[oai(
        path = "/admin/v1/stripe/reconciliations",
        method = "get",
        operation_id = "admin_list_reconciliations",
        tag = "Tag::Admin"
    )]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only those that were requested at this time or later.
        from: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<ReconciliationPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let from_ms = input::time("from", from.0.as_deref())?;
        let (before, limit) = (page.cursor_or_empty(), page.rows_to_query());
        let found = rows::reconciliation_list(app.db.read(), from_ms, before, limit).await?;
        Ok(page.answer(found, |run| run.id.to_string(), |run| ReconciliationBody::from(&run)))
    }

    /// Look at a reconciliation
    ///
    /// Its progress, and the differences that it found and repaired.
    #[oai(
        path = "/admin/v1/stripe/reconciliations/:id",
        method = "get",
        operation_id = "admin_get_reconciliation",
        tag = "Tag::Admin"
    )]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The reconciliation.
        id: Path<PathId<ReconciliationId>>,
    ) -> Result<Json<ReconciliationDetail>, ApiError> {
        let reconciliation = ReconciliationBody::from(&find(&app, &id.0.parsed()?).await?);
        Ok(Json(ReconciliationDetail { reconciliation }))
    }

    /// A reconciliation's findings
    ///
    /// The first 200 differences of each class are kept; all are counted.
    #[oai(
        path = "/admin/v1/stripe/reconciliations/:id/findings",
        method = "get",
        operation_id = "admin_list_reconciliation_findings",
        tag = "Tag::Admin"
    )]
    async fn findings(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The reconciliation.
        id: Path<PathId<ReconciliationId>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<FindingPage>, ApiError> {
        let page = PageQuery::parse_numbered(cursor.0, limit.0)?;
        let run = find(&app, &id.0.parsed()?).await?;
        let after = page.cursor.unwrap_or(0);
        let found = rows::reconciliation_findings(app.db.read(), &run.id, after, page.rows_to_query()).await?;
        Ok(page.answer(found, |finding| finding.n.to_string(), FindingBody::from))
    }
}
