//! Outages of the database, and the lock on a SQLite data folder.

mod read_only;
mod silent;

use crate::broker::BrokerView;
use crate::private::Private;
use crate::scene::{
    PERIOD, SIGNUP, customer_id, deliver_until, invoice_paid, job_in_state, job_of, now_ms, sql, stream_of,
    stripe_customer,
};
use bursar::serve;
use bursar_actors::Role;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::domain::job::JobState;
use bursar_engine::domain::ledger::EntryKind;
use bursar_engine::infra::store::account::entry_list;
use bursar_engine::infra::store::{Db, DbOptions};
use bursar_services::Postgres;
use bursar_tests::answer::Answer;
use bursar_tests::{Backend, TestApp, TestCustomer, stripe, wait};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement, TransactionTrait};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// An application on its own Postgres, with short timeouts, because the tests wait for all of them.
async fn on_private_postgres(change: impl FnOnce(&mut Config)) -> (Private<Postgres>, TestApp) {
    let postgres = Private::start(Postgres::start).await;
    let url = postgres.run(|postgres| postgres.create_database("bursar")).await;
    let app = TestApp::start_with(Backend::Production, |config| {
        config.database_url = url;
        config.database.acquire_timeout_ms = 500;
        config.ledger.timeout_ms = 3_000;
        change(config);
    })
    .await;
    (postgres, app)
}

/// Asserts that an answer is a success or asks to retry. Returns whether it is a success.
fn is_good(answer: &Answer) -> bool {
    if answer.status == 200 {
        return true;
    }
    assert!(answer.status == 503 && ["unavailable", "timeout"].contains(&answer.code()), "{answer:?}");
    assert!(answer.retry_after.is_some(), "{answer:?}");
    false
}

/// Requests during outages of the database.
#[derive(Default)]
struct Load {
    spent: AtomicUsize,
    granted: AtomicUsize,
    refused: AtomicUsize,
    enough: AtomicBool,
}

impl Load {
    /// Spends one credit after another, each under its own key and repeated until it is answered.
    async fn spend(&self, app: &TestApp, customer: &TestCustomer, name: &str) {
        let mut number = 0;
        while !self.enough.load(Ordering::SeqCst) {
            wait::until("a debit is answered", || async {
                let answer = app.spend(customer, 1, &format!("{name}-{number}")).await;
                self.came_again(is_good(&answer))
            })
            .await;
            self.spent.fetch_add(1, Ordering::SeqCst);
            number += 1;
        }
    }

    /// Delivers one payment after another, each until it is accepted.
    async fn deliver(&self, app: &TestApp, customer: &TestCustomer, stripe_customer: &str) {
        while !self.enough.load(Ordering::SeqCst) {
            let event = invoice_paid(stripe_customer, Some(customer));
            wait::until("an event is taken", || async { self.came_again(is_good(&app.deliver(&event).await)) }).await;
            app_has(app, &event).await;
            self.granted.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn came_again(&self, good: bool) -> Option<()> {
        if !good {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        good.then_some(())
    }

    /// Kills the database, waits until requests are refused, and starts it again.
    async fn outage(&self, app: &TestApp, postgres: &Private<Postgres>) {
        let goal = self.spent.load(Ordering::SeqCst) + 20;
        self.until("debits are answered", |load| load.spent.load(Ordering::SeqCst) >= goal).await;
        let refused = self.refused.load(Ordering::SeqCst);
        postgres.run(Postgres::kill).await;
        self.until("requests are refused", |load| load.refused.load(Ordering::SeqCst) >= refused + 4).await;
        for path in ["/health", "/health/ready"] {
            let answer = app.request("GET", path, &[], None).await;
            assert_eq!((answer.status, &answer.body["status"]), (503, &"down".into()), "{path} {}", answer.body);
        }
        assert_eq!(app.request("GET", "/health/live", &[], None).await.status, 200);
        let listed = app.admin("GET", "/admin/v1/events", None).await;
        assert!(!is_good(&listed), "{listed:?}");

        postgres.run(Postgres::start_again).await;
        wait::until("the application is ready again", || async {
            (app.request("GET", "/health/ready", &[], None).await.status == 200).then_some(())
        })
        .await;
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        wait::until(what, || async { holds(self).then_some(()) }).await;
    }
}

/// Waits until an accepted event is processed; the database may be down meanwhile.
async fn app_has(app: &TestApp, event: &serde_json::Value) {
    wait::until("an event that was taken is processed", || async {
        (app.event(stripe::id(event)).await["event"]["state"] == "processed").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_kills_of_the_database_under_load_lose_nothing() {
    let (postgres, app) = on_private_postgres(|_| {}).await;
    let (spender, payer, stripe_customer) = (app.onboard_with(100_000).await, app.onboard().await, stripe_customer());
    let load = Load::default();
    let outages = async {
        load.outage(&app, &postgres).await;
        load.outage(&app, &postgres).await;
        let (spent, granted) = (load.spent.load(Ordering::SeqCst), load.granted.load(Ordering::SeqCst));
        load.until("work goes on", |load| {
            load.spent.load(Ordering::SeqCst) > spent + 20 && load.granted.load(Ordering::SeqCst) > granted
        })
        .await;
        load.enough.store(true, Ordering::SeqCst);
    };
    let names = ["a", "b", "c", "d"];
    let spending = join_all(names.iter().map(|name| load.spend(&app, &spender, name)));
    tokio::join!(outages, spending, load.deliver(&app, &payer, &stripe_customer));

    let spent = load.spent.load(Ordering::SeqCst);
    let entries = entry_list(app.app.db.read(), &customer_id(&spender), None, u64::from(u32::MAX)).await.unwrap();
    let debits: Vec<_> = entries.iter().filter(|entry| entry.kind == EntryKind::Debit).collect();
    assert_eq!(debits.len(), spent, "every answered debit is in the ledger once, and no other is");
    let keys: BTreeSet<_> = debits.iter().filter_map(|entry| entry.idempotency_key.as_deref()).collect();
    assert_eq!(keys.len(), spent);
    let count = |number: usize| i64::try_from(number).unwrap();
    assert_eq!(app.balance(&spender).await, SIGNUP + 100_000 - count(spent));
    let granted = load.granted.load(Ordering::SeqCst);
    assert_eq!(app.balance(&payer).await, SIGNUP + PERIOD * count(granted));
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_during_a_database_outage_do_not_stop_consumption() {
    const PREFETCH: u16 = 4;
    let (postgres, app) = on_private_postgres(|config| config.amqp.prefetch = PREFETCH).await;
    let view = BrokerView::of(&app).await;
    let (customer, stripe_customer) = (app.onboard().await, stripe_customer());
    deliver_until(&app, &invoice_paid(&stripe_customer, Some(&customer)), "processed").await;

    // More than the broker delivers before the first acknowledgement, each of another stream.
    postgres.run(Postgres::kill).await;
    for stream in 0..3 * PREFETCH {
        view.announce(&format!("stripe:cus_{stream}"), "job_whatever", 0).await;
    }
    wait::until("the application has taken what it may", || async {
        view.queue(&view.work_queue()).await.filter(|(messages, _)| *messages <= u32::from(2 * PREFETCH))
    })
    .await;
    // A request that waits for the database takes as long as the effects of the messages.
    for number in 0..4 {
        assert!(!is_good(&app.spend(&customer, 1, &format!("in-vain-{number}")).await));
    }
    postgres.run(Postgres::start_again).await;

    let event = invoice_paid(&stripe_customer, Some(&customer));
    wait::until("an event is taken", || async { is_good(&app.deliver(&event).await).then_some(()) }).await;
    app_has(&app, &event).await;
    view.until_consumed(&view.work_queue()).await;
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_delays_no_other_customer() {
    const LEASE_MS: i64 = 1_000;
    let app = TestApp::start_with(Backend::Production, |config| config.jobs.lease_ms = LEASE_MS).await;
    let (slow, other, stripe_customer) = (app.onboard().await, app.onboard_with(100_000).await, stripe_customer());
    let psql = Database::connect(&app.config.database_url).await.unwrap();
    let forgotten = psql.begin().await.unwrap();
    let lock = format!("UPDATE accounts SET balance = balance WHERE customer_id = '{}'", slow.id);
    forgotten.execute_unprepared(&lock).await.unwrap();
    let event = invoice_paid(&stripe_customer, Some(&slow));
    app.deliver(&event).await.expect(200);
    job_in_state(&app, &job_of(&app, &event).await.id, JobState::Running).await;

    // The job's commit waits for the row repeatedly, the row's owner is refused, and the neighbour, whose commits
    // share batches with theirs, spends.
    let (begun, spent) = (now_ms(), AtomicUsize::new(0));
    wait::until("many leases have passed", || async {
        let number = spent.fetch_add(1, Ordering::SeqCst);
        let (key, own_key) = (format!("neighbour-{number}"), format!("own-{number}"));
        let (answer, own) = tokio::join!(app.spend(&other, 1, &key), app.spend(&slow, 1, &own_key));
        answer.expect(200);
        own.expect_problem(503, "unavailable");
        (now_ms() > begun + 8 * LEASE_MS).then_some(())
    })
    .await;
    let spent = i64::try_from(spent.into_inner()).unwrap();
    assert!(spent > 8, "{spent} debits in eight leases");
    forgotten.rollback().await.unwrap();
    app_has(&app, &event).await;
    assert_eq!(job_of(&app, &event).await.rescues, 0, "nobody died");
    assert_eq!(app.balance(&slow).await, SIGNUP + PERIOD);
    assert_eq!(app.balance(&other).await, SIGNUP + 100_000 - spent);
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_result_costs_only_its_own_job_an_attempt() {
    let app = TestApp::start(Backend::Production).await;
    let (poisoned, mut innocent) = (app.onboard().await, Vec::new());
    for _ in 0..10 {
        innocent.push(app.onboard().await);
    }
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                  $$ BEGIN RAISE EXCEPTION 'not this one'; END $$";
    sql(&app, refuse).await;
    let whose = format!("FOR EACH ROW WHEN (NEW.customer_id = '{}')", poisoned.id);
    let trigger = format!("CREATE TRIGGER poison BEFORE INSERT ON ledger_entries {whose} EXECUTE FUNCTION refuse()");
    sql(&app, &trigger).await;
    let (bad, good) = (
        invoice_paid(&stripe_customer(), Some(&poisoned)),
        innocent.iter().map(|customer| invoice_paid(&stripe_customer(), Some(customer))).collect::<Vec<_>>(),
    );
    let events = std::iter::once(&bad).chain(&good);
    for answer in join_all(events.map(|event| app.deliver(event))).await {
        answer.expect(200);
    }
    for (event, customer) in good.iter().zip(&innocent) {
        app.event_in_state(stripe::id(event), "processed").await;
        assert_eq!(job_of(&app, event).await.attempt, 1);
        assert_eq!(app.balance(customer).await, SIGNUP + PERIOD);
    }
    let dead = app.event_in_state(stripe::id(&bad), "dead").await;
    assert!(dead["event"]["last_error"].as_str().unwrap().contains("not this one"), "{dead}");
    sql(&app, "DROP TRIGGER poison ON ledger_entries").await;
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_failure_cannot_be_stored_uses_up_no_attempt() {
    let app = TestApp::start(Backend::Production).await;
    let (customer, innocent, stripe_customer) = (app.onboard().await, app.onboard().await, stripe_customer());
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                  $$ BEGIN RAISE EXCEPTION 'not this one'; END $$";
    sql(&app, refuse).await;
    let whose = format!("FOR EACH ROW WHEN (NEW.stream_key = '{}')", stream_of(&stripe_customer));
    let trigger = format!("CREATE TRIGGER poison BEFORE INSERT ON attempts {whose} EXECUTE FUNCTION refuse()");
    sql(&app, &trigger).await;
    let event = invoice_paid(&stripe_customer, Some(&customer));
    app.deliver(&event).await.expect(200);
    let id = job_of(&app, &event).await.id;
    job_in_state(&app, &id, JobState::Running).await;
    deliver_until(&app, &invoice_paid(&crate::scene::stripe_customer(), Some(&innocent)), "processed").await;

    let waiting = job_in_state(&app, &id, JobState::Available).await;
    assert_eq!((waiting.attempt, waiting.rescues), (0, 0));
    assert_eq!(app.balance(&customer).await, SIGNUP);

    // It also does not prevent a stop, or die of one.
    job_in_state(&app, &id, JobState::Running).await;
    let (config, folder) = app.halt().await;
    let psql = Database::connect(&config.database_url).await.unwrap();
    psql.execute_unprepared("DROP TRIGGER poison ON attempts").await.unwrap();
    let app = TestApp::start_on(config, folder).await;
    app_has(&app, &event).await;
    let job = job_of(&app, &event).await;
    assert_eq!((job.attempt, job.rescues), (1, 0));
    assert_eq!(app.balance(&customer).await, SIGNUP + PERIOD);
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_times_out_and_its_connection_stays_usable() {
    let app = TestApp::start(Backend::Production).await;
    let url = app.config.database_url();
    let options = DbOptions { connections_max: 1, statement_timeout_ms: 50, ..DbOptions::new(url) };
    let db = Db::connect(&options).await.unwrap();
    // Another transaction holds the lock that it needs.
    let lock = "SELECT pg_advisory_xact_lock(1)";
    let holder = app.app.db.begin().await.unwrap();
    holder.execute_unprepared(lock).await.unwrap();
    let refused = db.read().execute_unprepared(lock).await.unwrap_err();
    holder.rollback().await.unwrap();
    assert!(refused.to_string().contains("statement timeout"), "{refused}");
    assert!(bursar_engine::Error::from(refused).is_retryable());
    db.read().ping().await.unwrap();
    // The server's own connections have the limit, too.
    let limit = app.app.db.read().query_one_raw(Statement::from_string(db.backend(), "SHOW statement_timeout")).await;
    let limit: String = limit.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert_ne!(limit, "0");
    db.close().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_the_same_sqlite_folder_is_refused_with_a_clear_message() {
    let app = TestApp::start(Backend::Embedded).await;
    let customer = app.onboard().await;
    // With the same settings, as if started twice by mistake: the port is taken, too.
    let same = Config { listen: app.address().to_string(), ..app.config.clone() };
    let second = serve::start(same, Role::All, Clock::System).await;
    let refusal = format!("{:#}", second.err().unwrap());
    let folder = app.config.data_dir.display().to_string();
    assert!(refusal.contains("another bursar process uses the folder") && refusal.contains(&folder), "{refusal}");
    assert!(refusal.contains("BURSAR_DATA_DIR") && refusal.contains("DATABASE_URL"), "it says what to do: {refusal}");
    app.spend(&customer, 1, "the-first-goes-on").await.expect(200);

    // The folder is free again as soon as the first has stopped.
    let (config, folder) = app.halt().await;
    let app = TestApp::start_on(config, folder).await;
    assert_eq!(app.balance(&customer).await, SIGNUP - 1);
    app.verify().await;
    app.stop().await;
}

/// Terminates connections of this kind whose commits wait for a standby, if there are any.
async fn cut_off(psql: &DatabaseConnection, condition: &str) -> Option<()> {
    let sql = format!(
        "SELECT pg_terminate_backend(a.pid)::text FROM pg_stat_activity a \
         WHERE a.wait_event = 'SyncRep' AND {condition}"
    );
    let cut = psql.query_all_raw(Statement::from_string(psql.get_database_backend(), sql)).await.unwrap();
    (!cut.is_empty()).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debit_with_an_uncertain_commit_is_made_once() {
    let (postgres, app) = on_private_postgres(|config| config.ledger.timeout_ms = 30_000).await;
    let customer = app.onboard().await;
    let url = postgres.run(|postgres| Ok(postgres.url("bursar"))).await;
    let psql = Database::connect(&url).await.unwrap();
    let standby = async |names: &str| {
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'");
        psql.execute_unprepared(&set).await.unwrap();
        psql.execute_unprepared("SELECT pg_reload_conf()").await.unwrap();
    };
    psql.execute_unprepared("CREATE TABLE probe (n INT)").await.unwrap();
    // A commit is written locally and then waits for a standby that does not exist: a terminated session has
    // committed without knowing it.
    standby("nobody").await;
    wait::until("commits wait", || async {
        let url = url.clone();
        let probe = tokio::spawn(async move {
            let probe = Database::connect(url).await.unwrap();
            let _ = probe.execute_unprepared("INSERT INTO probe VALUES (1)").await;
        });
        wait::until("the probe is written or cut off", || async {
            let is_cut = cut_off(&psql, "a.query LIKE 'INSERT INTO probe%'").await.is_some();
            (is_cut || probe.is_finished()).then_some(is_cut)
        })
        .await
        .then_some(())
    })
    .await;
    let asked = app.spend(&customer, 1, "key");
    let cut = async {
        let debit = "EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.relation = 'ledger_entries'::regclass)";
        wait::until("the debit's commit is cut off", || cut_off(&psql, debit)).await;
        standby("").await;
    };
    let (answer, ()) = tokio::join!(asked, cut);
    let spent = answer.expect(200);
    assert_eq!(spent["replayed"], false, "nobody was answered before: {spent}");
    let again = app.spend(&customer, 1, "key").await.expect(200);
    assert_eq!((&again["replayed"], &again["transaction"]), (&true.into(), &spent["transaction"]));
    assert_eq!(app.balance(&customer).await, SIGNUP - 1);
    app.verify().await;
    app.stop().await;
}
