//! Real processes: killed, and stopped while their services are down.

use crate::private::Private;
use crate::scene::{PERIOD, SIGNUP, invoice_paid, now_ms, stripe_customer, with_backend};
use bursar::serve::CLOCK_SKEW_VARIABLE;
use bursar_engine::config::Config;
use bursar_engine::domain::job::{Job, JobFilter, JobState, RESCUES_MAX};
use bursar_engine::domain::webhook::delivery::delivery;
use bursar_engine::infra::store::job::job_list;
use bursar_engine::infra::store::{Db, DbOptions};
use bursar_engine::usecase::intake::take_in;
use bursar_services::Postgres;
use bursar_tests::chaos::node::{Launch, Node};
use bursar_tests::chaos::run_log::RunLog;
use bursar_tests::{Backend, TestApp, TestCustomer, wait};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Longer than a node needs to renew it, and short enough to wait for its end.
const LEASE_MS: i64 = 1_500;
const INNOCENT: usize = 10;

/// A `bursar serve` process on the database and broker of an earlier application under test.
pub(crate) struct NodeProcess {
    node: Node,
    pub(crate) db: Db,
    client: reqwest::Client,
    _folder: TempDir,
}

impl NodeProcess {
    /// Starts it with a test's settings.
    pub(crate) async fn start(config: &Config) -> Self {
        Self::start_skewed(config, 0).await
    }

    /// Like [`NodeProcess::start`], with a skewed clock.
    pub(crate) async fn start_skewed(config: &Config, skew_ms: i64) -> Self {
        let skew = skew_ms.to_string();
        let variables = [(CLOCK_SKEW_VARIABLE, skew.as_str())];
        Self::start_with(config, if skew_ms == 0 { &[] } else { &variables }).await
    }

    /// Like [`NodeProcess::start`], with further variables.
    pub(crate) async fn start_with(config: &Config, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut environment = environment(config);
        environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let launch = Launch { program: program(), environment, folder: folder.path().to_path_buf() };
        let node = Node::new("node".to_owned(), launch, Arc::new(RunLog::new("test"))).unwrap();
        let db = connect(config).await;
        let served = Self { node, db, client: reqwest::Client::new(), _folder: folder };
        served.start_again().await;
        served
    }

    pub(crate) async fn start_again(&self) {
        self.node.start(&mut *self.node.lock().await).unwrap();
        wait::until("the node is up", || async { self.node.is_up(&self.client).await.then_some(()) }).await;
    }

    /// `http://127.0.0.1:…`
    pub(crate) fn base(&self) -> &str {
        &self.node.base
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.node.log()).unwrap()
    }

    pub(crate) async fn kill(&self) {
        self.node.kill(&mut *self.node.lock().await).await.unwrap();
    }

    /// Sends SIGTERM; the process must exit successfully within the limit.
    pub(crate) async fn terminate(&self) {
        let ended = self.node.terminate(&mut *self.node.lock().await).await.unwrap();
        ended.unwrap();
    }

    async fn events(&self) -> Vec<Job> {
        let filter = JobFilter { kind: Some("stripe.event".to_owned()), ..JobFilter::default() };
        job_list(self.db.read(), &filter, "", 1_000, 0).await.unwrap()
    }

    async fn event_of(&self, stream: &str) -> Job {
        self.events().await.into_iter().find(|job| job.stream_key == stream).unwrap()
    }

    /// Waits until a condition holds for the jobs of events; returns them.
    pub(crate) async fn events_until(&self, what: &str, holds: impl Fn(&[Job]) -> bool) -> Vec<Job> {
        wait::until(what, || async {
            let jobs = self.events().await;
            holds(&jobs).then_some(jobs)
        })
        .await
    }
}

pub(crate) async fn connect(config: &Config) -> Db {
    let options = DbOptions { connections_max: 2, ..DbOptions::new(config.database_url()) };
    Db::connect(&options).await.unwrap()
}

/// The program, in the folder above this one's; `./dev test` builds both.
pub(crate) fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).map(|folder: &Path| folder.join("bursar")).unwrap();
    assert!(program.is_file(), "{} is not there; build the whole workspace first", program.display());
    program
}

/// A test's settings as environment variables of a process.
pub(crate) fn environment(config: &Config) -> BTreeMap<String, String> {
    let jobs = &config.jobs;
    let mut variables = vec![
        ("BURSAR_DATA_DIR", config.data_dir.display().to_string()),
        ("BURSAR_ADMIN_TOKEN", config.admin_token.clone()),
        ("BURSAR_SECRET_KEY", config.secret_key.clone()),
        ("STRIPE_WEBHOOK_SECRET", config.stripe.webhook_secrets.clone()),
        ("BURSAR_JOBS__BACKOFF_BASE_MS", jobs.backoff_base_ms.to_string()),
        ("BURSAR_JOBS__BACKOFF_FACTOR", jobs.backoff_factor.to_string()),
        ("BURSAR_JOBS__SWEEP_INTERVAL_MS", jobs.sweep_interval_ms.to_string()),
        ("BURSAR_JOBS__SWEEP_GRACE_MS", jobs.sweep_grace_ms.to_string()),
        ("BURSAR_JOBS__LEASE_MS", jobs.lease_ms.to_string()),
        ("BURSAR_ONBOARDING__PER_IP_PER_MINUTE", config.onboarding.per_ip_per_minute.to_string()),
        ("BURSAR_LIMITS__REQUESTS_PER_MINUTE", config.limits.requests_per_minute.to_string()),
        ("BURSAR_DATABASE__CONNECTIONS_MAX", config.database.connections_max.to_string()),
        ("BURSAR_AMQP__PREFIX", config.amqp.prefix.clone()),
        ("BURSAR_AMQP__SHARDS", config.amqp.shards.to_string()),
        ("BURSAR_AMQP__TIERS_MS", format!("{:?}", config.amqp.tiers_ms)),
        ("BURSAR_AMQP__QUEUE_LEN_MAX", config.amqp.queue_len_max.to_string()),
    ];
    let stripe = &config.stripe;
    if !stripe.secret_key.is_empty() {
        variables.extend([
            ("STRIPE_SECRET_KEY", stripe.secret_key.clone()),
            ("STRIPE_API_BASE", stripe.api_base.clone()),
            ("BURSAR_STRIPE__TIMEOUT_MS", stripe.timeout_ms.to_string()),
            ("BURSAR_STRIPE__TOTAL_TIMEOUT_MS", stripe.total_timeout_ms.to_string()),
            ("BURSAR_STRIPE__TRIES_MAX", stripe.tries_max.to_string()),
            ("BURSAR_STRIPE__DOUBT_MS", stripe.doubt_ms.to_string()),
        ]);
    }
    for (name, value) in [("DATABASE_URL", &config.database_url), ("AMQP_URL", &config.amqp_url)] {
        if !value.is_empty() {
            variables.push((name, value.clone()));
        }
    }
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Stores payment events without announcing them, each in its own stream; returns the streams.
pub(crate) async fn insert_payment_events(db: &Db, customers: &[TestCustomer]) -> Vec<String> {
    let now_ms = now_ms();
    let event = |customer| invoice_paid(&stripe_customer(), Some(customer)).to_string();
    let deliveries: Vec<_> =
        customers.iter().map(|customer| delivery(event(customer).as_bytes(), false, now_ms)).collect();
    take_in(db, &deliveries, now_ms).await.unwrap();
    deliveries.into_iter().map(|delivery| delivery.event.stream_key).collect()
}

/// Opens a transaction that locks the accounts of customers.
pub(crate) async fn open_transaction(psql: &DatabaseConnection, customers: &[TestCustomer]) -> DatabaseTransaction {
    let ids = customers.iter().map(|customer| format!("'{}'", customer.id)).collect::<Vec<_>>().join(",");
    let tx = psql.begin().await.unwrap();
    let lock = format!("UPDATE accounts SET balance = balance WHERE customer_id IN ({ids})");
    tx.execute_unprepared(&lock).await.unwrap();
    tx
}

/// Starts an application, adds customers and stops it; returns its configuration.
pub(crate) async fn stopped_with(customers: usize) -> (Config, Option<TempDir>, Vec<TestCustomer>) {
    let app = TestApp::start_with(Backend::Production, |config| {
        config.jobs.lease_ms = LEASE_MS;
        config.jobs.sweep_grace_ms = 100;
    })
    .await;
    let mut made = Vec::new();
    for _ in 0..customers {
        made.push(app.onboard().await);
    }
    let (config, folder) = app.halt().await;
    (config, folder, made)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_killed_process_are_rescued_and_done_once() {
    let (config, folder, customers) = stopped_with(5).await;
    let psql = Database::connect(&config.database_url).await.unwrap();
    let locked = open_transaction(&psql, &customers).await;
    let served = NodeProcess::start(&config).await;
    insert_payment_events(&served.db, &customers).await;
    served.events_until("all are running", |jobs| jobs.iter().all(|job| job.state == JobState::Running)).await;
    served.kill().await;
    locked.rollback().await.unwrap();

    served.start_again().await;
    let all_done = |jobs: &[Job]| jobs.iter().all(|job| job.state == JobState::Succeeded);
    let done = served.events_until("all are done", all_done).await;
    assert!(done.iter().all(|job| job.attempt == 1), "{done:#?}");
    served.terminate().await;
    let app = TestApp::start_on(config, folder).await;
    for customer in &customers {
        assert_eq!(app.balance(customer).await, SIGNUP + PERIOD);
    }
    app.verify().await;
    app.stop().await;
}

/// The sessions that a query on `pg_stat_activity` finds.
async fn pids(psql: &DatabaseConnection, sql: &str) -> BTreeSet<i32> {
    let found = psql.query_all_raw(Statement::from_string(psql.get_database_backend(), sql)).await.unwrap();
    found.iter().map(|row| row.try_get("", "pid").unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_kills_its_process_dies_without_its_neighbours() {
    let (config, folder, customers) = stopped_with(1 + INNOCENT).await;
    let psql = Database::connect(&config.database_url).await.unwrap();
    let (killer, innocent) = customers.split_at(1);
    let (killing, held_up) = (open_transaction(&psql, killer).await, open_transaction(&psql, innocent).await);
    let served = NodeProcess::start(&config).await;
    let poison = insert_payment_events(&served.db, &customers).await.remove(0);

    // The process dies twice while all of them run, so nobody can know which one was the cause.
    for deaths in 0..2 {
        let all_run = |jobs: &[Job]| jobs.iter().all(|job| job.state == JobState::Running && job.rescues == deaths);
        served.events_until("all are running", all_run).await;
        served.kill().await;
        if deaths == 0 {
            served.start_again().await;
        }
    }
    held_up.rollback().await.unwrap();

    // From here on the process dies whenever the killer's job runs, which shows by its waiting for a lock. Sessions
    // of earlier processes may still wait for it, too.
    let all = "SELECT pid FROM pg_stat_activity WHERE application_name = 'bursar'";
    let waits = "SELECT pid FROM pg_stat_activity WHERE application_name = 'bursar' \
                 AND datname = current_database() AND wait_event_type = 'Lock'";
    let mut dead = pids(&psql, all).await;
    served.start_again().await;
    let last = loop {
        let job = wait::until("the killer is at work or dead", || async {
            let job = served.event_of(&poison).await;
            let is_at_work = job.state == JobState::Running && !pids(&psql, waits).await.is_subset(&dead);
            (job.state == JobState::Dead || is_at_work).then_some(job)
        })
        .await;
        if job.state == JobState::Dead {
            break job;
        }
        served.kill().await;
        dead = pids(&psql, all).await;
        served.start_again().await;
    };
    let died = format!("its node died {} times while it ran", RESCUES_MAX + 1);
    assert_eq!(last.last_error.as_deref(), Some(died.as_str()));
    let others = |jobs: &[Job]| jobs.iter().filter(|job| job.stream_key != poison).cloned().collect::<Vec<_>>();
    let all_done = |jobs: &[Job]| others(jobs).iter().all(|job| job.state == JobState::Succeeded);
    let jobs = others(&served.events_until("the innocent are done", all_done).await);
    assert_eq!(jobs.len(), INNOCENT);
    assert!(jobs.iter().all(|job| (job.attempt, job.rescues) == (1, 0)), "{jobs:#?}");
    killing.rollback().await.unwrap();
    served.terminate().await;

    let app = TestApp::start_on(config, folder).await;
    for customer in innocent {
        assert_eq!(app.balance(customer).await, SIGNUP + PERIOD);
    }
    assert_eq!(app.balance(&killer[0]).await, SIGNUP);
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stops_in_time_while_its_database_is_down() {
    let postgres = Private::start(Postgres::start).await;
    let url = postgres.run(|postgres| postgres.create_database("bursar")).await;
    let app = TestApp::start_with(Backend::Production, |config| config.database_url = url).await;
    let customers = [app.onboard().await];
    let (config, _folder) = app.halt().await;
    let psql = Database::connect(&config.database_url).await.unwrap();
    let locked = open_transaction(&psql, &customers).await;
    let served = NodeProcess::start(&config).await;
    insert_payment_events(&served.db, &customers).await;
    served.events_until("it runs", |jobs| jobs.iter().all(|job| job.state == JobState::Running)).await;

    postgres.run(Postgres::kill).await;
    drop(locked);
    served.terminate().await;
    postgres.run(Postgres::start_again).await;
}

with_backend! {
    async fn the_job_running_when_its_process_was_killed_is_counted(backend: Backend) {
        let app = TestApp::start_with(backend, |config| config.jobs.lease_ms = LEASE_MS).await;
        let customer = app.onboard().await;
        let (config, folder) = app.halt().await;
        let served = NodeProcess::start(&config).await;
        served.kill().await;
        // It was killed while this ran.
        insert_payment_events(&served.db, &[customer]).await;
        for text in [
            "UPDATE jobs SET state = 'running' WHERE kind = 'stripe.event'",
            "UPDATE streams SET owner = 'killed', lease_until_ms = 1 WHERE key LIKE 'stripe:%'",
        ] {
            served.db.write().execute_unprepared(text).await.unwrap();
        }
        let too_often = format!("UPDATE jobs SET rescues = {RESCUES_MAX} WHERE kind = 'stripe.event'");
        served.db.write().execute_unprepared(&too_often).await.unwrap();
        served.start_again().await;
        let dead = served.events_until("it is dead", |jobs| jobs[0].state == JobState::Dead).await;
        let died = format!("its node died {} times while it ran", RESCUES_MAX + 1);
        assert_eq!(dead[0].last_error.as_deref(), Some(died.as_str()));
        served.terminate().await;
        drop(folder);
    }
}
