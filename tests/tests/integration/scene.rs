//! Support for tests of jobs, streams and replays: events that can, cannot or cannot yet be processed, and queries of
//! their outcome.

use bursar_engine::clock::Clock;
use bursar_engine::domain::catalogue::Catalogue;
use bursar_engine::domain::job::{Job, JobFilter, JobKind, JobState, NewJob};
use bursar_engine::domain::sale::judge::judge;
use bursar_engine::domain::sale::{DecidedBy, Decision, KnownPrice};
use bursar_engine::domain::webhook::fields;
use bursar_engine::ids::{CustomerId, JobId};
use bursar_engine::infra::store::attempt::{Attempt, attempt_list};
use bursar_engine::infra::store::job::{job_find, job_insert_many, job_list};
use bursar_engine::infra::store::price::price_put_many;
use bursar_engine::infra::store::{audit, customer};
use bursar_engine::key::PriceKey;
use bursar_tests::unique::unique;
use bursar_tests::{TestApp, TestCustomer, stripe, wait};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

pub const SIGNUP: i64 = 5;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Credits of one paid invoice of Pro.
pub const PERIOD: i64 = 60;

/// Like `with_app!`, for tests that start the application themselves.
macro_rules! with_backend {
    ($($(#[$attribute:meta])* async fn $name:ident($backend:ident: Backend) $body:block)*) => {
        $(
            $(#[$attribute])*
            mod $name {
                use super::*;

                async fn check($backend: bursar_tests::Backend) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn embedded() {
                    check(bursar_tests::Backend::Embedded).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn production() {
                    check(bursar_tests::Backend::Production).await;
                }
            }
        )*
    };
}
pub(crate) use with_backend;

/// A new Stripe customer's id.
pub fn stripe_customer() -> String {
    format!("cus_{}", unique())
}

/// The stream of a Stripe customer's events.
pub fn stream_of(stripe_customer: &str) -> String {
    format!("stripe:{stripe_customer}")
}

pub fn now_ms() -> i64 {
    Clock::System.now_ms()
}

pub fn customer_id(customer: &TestCustomer) -> CustomerId {
    CustomerId::parse(&customer.id).unwrap()
}

/// A payment that grants [`PERIOD`] credits. Without a customer it names only the Stripe customer: it is retried
/// until that is linked.
pub fn invoice_paid(stripe_customer: &str, customer: Option<&TestCustomer>) -> Value {
    let customer = customer.map(|customer| customer.id.as_str());
    stripe::event("invoice.paid", &stripe::pro_invoice(stripe_customer, customer))
}

/// A payment that is dead at the first attempt, because nothing is known of its price. A replay after
/// [`decide_price`] grants [`PERIOD`] credits.
pub fn undecidable_invoice(stripe_customer: &str, customer: &TestCustomer) -> Value {
    let mut invoice = stripe::pro_invoice(stripe_customer, Some(&customer.id));
    invoice["lines"]["data"][0]["pricing"]["price_details"]["price"] = json!(undecidable_price(stripe_customer));
    stripe::event("invoice.paid", &invoice)
}

/// The price of a Stripe customer's [`undecidable_invoice`].
fn undecidable_price(stripe_customer: &str) -> String {
    format!("price_of_{stripe_customer}")
}

/// Decides, as an operator, that the price of a Stripe customer's [`undecidable_invoice`] sells Pro.
pub async fn decide_price(app: &TestApp, stripe_customer: &str) {
    let said = fields::Price { ids: vec![undecidable_price(stripe_customer)], ..fields::Price::default() };
    let decided = KnownPrice {
        decision: Decision::Ours(PriceKey::trusted("pro_monthly")),
        decided_by: DecidedBy::Operator,
        ..judge(&said, &Catalogue::built_in(), &[], now_ms())
    };
    price_put_many(app.app.db.write(), &[decided]).await.unwrap();
}

/// An event about the subscription of the customer's invoices.
pub fn subscription_event(stripe_customer: &str, customer: &TestCustomer) -> Value {
    let subscription = stripe::pro_subscription(stripe_customer, Some(&customer.id), "active");
    stripe::event("customer.subscription.updated", &subscription)
}

/// Links a Stripe customer, as onboarding with billing does.
pub async fn link(app: &TestApp, customer: &TestCustomer, stripe_customer: &str) {
    let id = customer_id(customer);
    customer::customer_link_stripe_many(app.app.db.write(), &[(&id, stripe_customer)], now_ms()).await.unwrap();
}

/// Delivers an event and waits until it is in a state.
pub async fn deliver_until(app: &TestApp, event: &Value, state: &str) {
    app.deliver(event).await.expect(200);
    app.event_in_state(stripe::id(event), state).await;
}

/// Waits until an event has failed this often and waits for its next attempt.
pub async fn failed_times(app: &TestApp, event: &Value, attempts: i64) {
    wait::until("the event has failed", || async {
        let found = app.event(stripe::id(event)).await;
        (found["event"]["attempts"] == attempts && found["event"]["state"] == "waiting").then_some(())
    })
    .await;
}

/// Processes an event of another stream: everything due before has had its turn then.
pub async fn other_streams_proceed(app: &TestApp) {
    for _ in 0..3 {
        let customer = app.onboard().await;
        deliver_until(app, &invoice_paid(&stripe_customer(), Some(&customer)), "processed").await;
    }
}

/// Reads an existing resource of the admin API.
pub async fn admin_get(app: &TestApp, path: &str) -> Value {
    app.admin("GET", path, None).await.expect(200)
}

/// Makes a POST request to the admin API, with a reason.
pub async fn admin_post(app: &TestApp, path: &str, reason: &str) -> bursar_tests::answer::Answer {
    app.admin("POST", path, Some(&json!({ "reason": reason }))).await
}

/// Events as support lists them.
pub async fn events(app: &TestApp, query: &str) -> Vec<Value> {
    let page = app.admin("GET", &format!("/admin/v1/events?{query}"), None).await.expect(200);
    page["data"].as_array().unwrap().clone()
}

/// The job that processes an event.
pub async fn job_of(app: &TestApp, event: &Value) -> Job {
    let found = app.event(stripe::id(event)).await;
    job(app, &JobId::parse(found["event"]["job_id"].as_str().unwrap()).unwrap()).await
}

pub async fn job(app: &TestApp, id: &JobId) -> Job {
    job_find(app.app.db.read(), id).await.unwrap().unwrap()
}

/// Waits until a job is in this state; returns it.
pub async fn job_in_state(app: &TestApp, id: &JobId, state: JobState) -> Job {
    wait::until(&format!("job {id} is {}", state.as_str()), || async {
        let found = job(app, id).await;
        (found.state == state).then_some(found)
    })
    .await
}

/// The jobs of a stream, in their order.
pub async fn jobs_of_stream(app: &TestApp, stream: &str) -> Vec<Job> {
    let filter = JobFilter { stream: Some(stream.to_owned()), ..JobFilter::default() };
    let mut jobs = job_list(app.app.db.read(), &filter, "", 1_000, now_ms()).await.unwrap();
    jobs.sort_by_key(|job| job.seq);
    jobs
}

/// The attempts of a job, oldest first.
pub async fn attempts(app: &TestApp, id: &JobId) -> Vec<Attempt> {
    attempt_list(app.app.db.read(), id, 1_000).await.unwrap()
}

/// Asserts that the jobs of a stream ran one at a time and in order. Returns them.
pub async fn ran_in_order(app: &TestApp, stream: &str) -> Vec<Job> {
    let jobs = jobs_of_stream(app, stream).await;
    let mut ran = Vec::new();
    for job in &jobs {
        ran.extend(attempts(app, &job.id).await);
    }
    for pair in ran.windows(2) {
        assert!(pair[0].epoch < pair[1].epoch, "out of order in {stream}: {pair:#?}");
        assert!(pair[0].finished_at_ms <= pair[1].started_at_ms, "two at once in {stream}: {pair:#?}");
    }
    jobs
}

/// The actions on a target in the audit log, oldest first.
pub async fn audited(app: &TestApp, target: &str) -> Vec<String> {
    let mut rows = audit::audit_page(app.app.db.read(), Some(target), None, 100).await.unwrap();
    rows.reverse();
    assert!(rows.iter().all(|row| row.actor.starts_with("admin")), "{rows:#?}");
    rows.into_iter().map(|row| row.action).collect()
}

/// Executes SQL directly in the database.
pub async fn sql(app: &TestApp, text: &str) {
    app.app.db.write().execute_unprepared(text).await.unwrap();
}

/// The sum of a metric over all its labels that contain `label`.
pub fn metric(app: &TestApp, name: &str, label: &str) -> f64 {
    let rendered = app.app.render_metrics();
    let lines = rendered.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Delays a job that waits for its next attempt, so that it does not run while a test changes something; returns its
/// id.
pub async fn delay_job(app: &TestApp, kind: &str) -> String {
    let later = now_ms() + 60 * 60 * 1_000;
    let sql = format!(
        "UPDATE jobs SET run_at_ms = {later} WHERE kind = '{kind}' AND state = 'available' AND attempt > 0 RETURNING id"
    );
    let db = app.app.db.write();
    wait::until("a job waits for its next attempt", || async {
        let statement = Statement::from_string(db.get_database_backend(), sql.clone());
        let rows = db.query_all_raw(statement).await.unwrap();
        assert!(rows.len() < 2, "several jobs wait");
        rows.first().map(|row| row.try_get_by_index::<String>(0).unwrap())
    })
    .await
}

/// Makes a delayed job due.
pub async fn resume_job(app: &TestApp, job: &str) {
    sql(app, &format!("UPDATE jobs SET run_at_ms = {} WHERE id = '{job}'", now_ms())).await;
}

/// Makes a delayed job due while the database lacks a table, until an attempt has failed because of it.
pub async fn resume_job_without(app: &TestApp, job: &str, table: &str) {
    let id = JobId::parse(job).unwrap();
    let before = attempts(app, &id).await.len();
    sql(app, &format!("ALTER TABLE {table} RENAME TO {table}_away")).await;
    resume_job(app, job).await;
    wait::until("an attempt met the database's failure", || async {
        let failed = |attempt: &Attempt| attempt.reason.as_deref().is_some_and(|reason| reason.contains(table));
        attempts(app, &id).await.iter().skip(before).any(failed).then_some(())
    })
    .await;
    sql(app, &format!("ALTER TABLE {table}_away RENAME TO {table}")).await;
}

/// Runs the retention and waits until it has ended.
pub async fn run_retention(app: &TestApp) {
    let retention = NewJob::new(JobKind::Retention, "{}".to_owned(), now_ms() - DAY_MS);
    let tx = app.app.db.begin().await.unwrap();
    job_insert_many(&tx, std::slice::from_ref(&retention), now_ms()).await.unwrap();
    tx.commit().await.unwrap();
    job_in_state(app, &retention.id, JobState::Succeeded).await;
}

/// Replays a processed event and waits until it is processed again; returns it.
pub async fn replay_event(app: &TestApp, external_id: &str, state: &str) -> Value {
    let before = app.event(external_id).await["event"]["attempts"].clone();
    admin_post(app, &format!("/admin/v1/events/{external_id}/replay"), "once more").await.expect(200);
    wait::until("the event was processed once more", || async {
        let found = app.event(external_id).await;
        (found["event"]["state"] == state && found["event"]["attempts"] != before).then_some(found)
    })
    .await
}
