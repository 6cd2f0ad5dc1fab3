//! Customer actors under failures, overload and eviction: the ledger stays right.

use crate::scene::{SIGNUP, customer_id, metric, sql, with_backend};
use bursar_actors::Request;
use bursar_engine::Error;
use bursar_engine::amount::Credits;
use bursar_engine::config::Config;
use bursar_engine::domain::effect::Effect;
use bursar_engine::domain::ledger::{Command, EntryKind, GrantKind, Op};
use bursar_engine::domain::payment_method::PaymentMethod;
use bursar_engine::error::Refusal;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::account::entry_list;
use bursar_engine::metric::{ACTORS_PASSIVATED, ACTORS_RESTARTED};
use bursar_tests::{Backend, TestApp, TestCustomer, wait, with_app};
use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Spends one credit, and repeats the request while it is asked to retry.
async fn spend(app: &TestApp, customer: &TestCustomer, key: &str) -> String {
    wait::until("a debit is answered", || async {
        let answer = app.spend(customer, 1, key).await;
        if answer.status == 200 {
            return answer.body["transaction"]["id"].as_str().map(str::to_owned);
        }
        assert!([429, 503].contains(&answer.status) && answer.retry_after.is_some(), "{answer:?}");
        None
    })
    .await
}

/// Asserts that the ledger's debits are exactly these transactions, each once.
async fn debits_are(app: &TestApp, customer: &TestCustomer, answered: &[String]) {
    let id = customer_id(customer);
    let entries = entry_list(app.app.db.read(), &id, None, 10_000).await.unwrap();
    let debits = entries.iter().filter(|entry| entry.kind == EntryKind::Debit);
    let stored: BTreeSet<String> = debits.map(|entry| bursar_engine::ids::transaction_id(&id, entry.seq)).collect();
    assert_eq!(answered.iter().cloned().collect::<BTreeSet<_>>(), stored);
    assert_eq!(answered.len(), stored.len(), "two keys were answered with one debit");
}

/// Spends concurrently while something fails after every few answers.
async fn spend_while_failing(app: &TestApp, customers: &[TestCustomer], fail: impl Fn(usize)) -> Vec<Vec<String>> {
    const EACH: usize = 60;
    let answers = AtomicUsize::new(0);
    let spenders = customers.iter().flat_map(|customer| (0..4).map(move |spender| (customer, spender)));
    let all = join_all(spenders.map(|(customer, spender)| {
        let (answers, fail) = (&answers, &fail);
        async move {
            let mut answered = Vec::new();
            for number in 0..EACH {
                answered.push(spend(app, customer, &format!("{spender}-{number}")).await);
                if answers.fetch_add(1, Ordering::SeqCst) % 20 == 10 {
                    fail(number);
                }
            }
            answered
        }
    }))
    .await;
    all.chunks(4).map(<[_]>::concat).collect()
}

/// Blocks every commit of this customer until the returned transaction is rolled back.
async fn block_commits(app: &TestApp, customer: &TestCustomer) -> sea_orm::DatabaseTransaction {
    // SQLite has one connection for writing, Postgres has row locks.
    let tx = app.app.db.begin().await.unwrap();
    let sql = format!("UPDATE accounts SET balance = balance WHERE customer_id = '{}'", customer.id);
    tx.execute_unprepared(&sql).await.unwrap();
    tx
}

/// Makes many debits concurrently; returns the transactions of those that were not refused.
async fn ask(app: &TestApp, customer: &TestCustomer, count: usize, refused: &AtomicUsize) -> Vec<String> {
    let asked = join_all((0..count).map(|number| async move {
        let answer = app.spend(customer, 1, &format!("ask-{number}")).await;
        if answer.status != 200 {
            answer.expect_problem(429, "busy");
            assert!(answer.retry_after.is_some(), "{answer:?}");
            refused.fetch_add(1, Ordering::SeqCst);
        }
        answer.body["transaction"]["id"].as_str().map(str::to_owned)
    }));
    asked.await.into_iter().flatten().collect()
}

/// Spends a credit while every write of the account fails as if another writer had been first. From then on the
/// customer's actor locks the account to decide.
async fn lose_races(app: &TestApp, customer: &TestCustomer, key: &str) {
    let (make, forget) = if app.app.db.is_postgres() {
        (
            "CREATE FUNCTION nobody() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
             CREATE TRIGGER nobody BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION nobody()",
            "DROP TRIGGER nobody ON accounts",
        )
    } else {
        ("CREATE TRIGGER nobody BEFORE UPDATE ON accounts BEGIN SELECT RAISE(IGNORE); END", "DROP TRIGGER nobody")
    };
    sql(app, make).await;
    app.spend(customer, 1, key).await.expect_problem(429, "busy");
    sql(app, forget).await;
}

with_app! {
    async fn a_failing_customer_actor_loses_and_duplicates_nothing(app: &TestApp) {
        let customer = app.onboard_with(10_000).await;
        let id = customer_id(&customer);
        let crash = |_| app.app.runtime.customers.crash(&id);
        let answered = spend_while_failing(app, std::slice::from_ref(&customer), crash).await.remove(0);
        assert!(metric(app, ACTORS_RESTARTED, "\"customer\"") >= 1.0, "nothing failed");
        debits_are(app, &customer, &answered).await;
        app.spend(&customer, 1, "afterwards").await.expect(200);
        assert_eq!(app.balance(&customer).await, SIGNUP + 10_000 - 240 - 1);
        app.verify().await;
    }

    async fn a_failing_customer_router_loses_and_duplicates_nothing(app: &TestApp) {
        let customers = [app.onboard_with(10_000).await, app.onboard_with(10_000).await];
        // Only a few times: more than ten failures a minute end the process.
        let crashes = AtomicUsize::new(0);
        let crash = |_| {
            if crashes.fetch_add(1, Ordering::SeqCst) < 5 {
                app.app.runtime.customers.crash_router();
            }
        };
        let answered = spend_while_failing(app, &customers, crash).await;
        assert!(metric(app, ACTORS_RESTARTED, "\"customer_router\"") >= 1.0, "nothing failed");
        for (customer, answered) in customers.iter().zip(&answered) {
            debits_are(app, customer, answered).await;
            app.spend(customer, 1, "afterwards").await.expect(200);
            assert_eq!(app.balance(customer).await, SIGNUP + 10_000 - 240 - 1);
        }
        app.verify().await;
    }

    async fn a_repeated_request_gets_the_same_answer_after_a_failure(app: &TestApp) {
        let customer = app.onboard().await;
        let first = app.spend(&customer, 2, "same").await.expect(200);
        app.app.runtime.customers.crash(&customer_id(&customer));
        let second = wait::until("the debit is answered again", || async {
            let answer = app.spend(&customer, 2, "same").await;
            (answer.status == 200).then_some(answer.body)
        })
        .await;
        assert_eq!(first["transaction"], second["transaction"]);
        assert_eq!((&first["replayed"], &second["replayed"]), (&false.into(), &true.into()));
        assert_eq!(app.balance(&customer).await, SIGNUP - 2);
    }

    async fn a_command_refused_by_the_database_fails_alone_in_its_batch(app: &TestApp) {
        let customer = app.onboard().await;
        let id = customer_id(&customer);
        // Its customer does not exist.
        let strange = PaymentMethod {
            id: "pm_1".to_owned(),
            customer_id: CustomerId::new(),
            kind: "card".to_owned(),
            brand: None,
            last4: None,
            exp_month: None,
            exp_year: None,
            fingerprint: None,
            is_default: false,
            consent_at_ms: None,
            attached_at_ms: 1,
            detached_at_ms: None,
        };
        let grant = |key: &str, effects: Vec<Effect>| {
            let op = Op::Grant { kind: GrantKind::Promotional, amount: Credits(1), expires_at_ms: None };
            Request { command: Command::internal(op, "system", key.to_owned()), finish: None, effects }
        };
        let customers = &app.app.runtime.customers;
        let (first, refused, last) = tokio::join!(
            customers.apply(&id, grant("first", Vec::new())),
            customers.apply(&id, grant("refused", vec![Effect::PaymentMethodPut(strange)])),
            customers.apply(&id, grant("last", Vec::new())),
        );
        assert!(first.is_ok() && last.is_ok(), "{first:?} {last:?}");
        assert!(refused.as_ref().is_err_and(|error| !error.is_retryable()), "{refused:?}");
        assert_eq!(app.balance(&customer).await, SIGNUP + 2);
        app.verify().await;
    }

    async fn a_contended_account_is_busy_and_its_request_can_be_repeated(app: &TestApp) {
        let customer = app.onboard().await;
        lose_races(app, &customer, "key").await;
        app.spend(&customer, 1, "key").await.expect(200);
        assert_eq!(app.balance(&customer).await, SIGNUP - 1);
        app.verify().await;
    }

    async fn an_unproven_refusal_is_an_error(app: &TestApp) {
        let customer = app.onboard().await;
        let id = customer_id(&customer);
        let debit = || Command::internal(Op::Debit { amount: Credits(SIGNUP + 1) }, "usage", "key".to_owned());
        sql(app, "ALTER TABLE ledger_entries RENAME TO ledger_entries_away").await;
        let unknown = app.app.runtime.customers.apply(&id, debit()).await;
        assert!(matches!(unknown, Err(Error::Database(_))), "{unknown:?}");
        sql(app, "ALTER TABLE ledger_entries_away RENAME TO ledger_entries").await;
        let refused = app.app.runtime.customers.apply(&id, debit()).await;
        assert!(matches!(refused, Err(Error::Refused(Refusal::InsufficientCredits { .. }))), "{refused:?}");
    }
}

/// An application with changed ledger settings.
async fn with_ledger(backend: Backend, change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::start_with(backend, change).await
}

with_backend! {
    async fn a_customer_with_a_full_queue_is_asked_to_retry(backend: Backend) {
        const WAITING_MAX: usize = 4;
        const ASKED: usize = 40;
        let app = with_ledger(backend, |config| config.ledger.customer_queue_max = WAITING_MAX).await;
        let (crowded, other) = (app.onboard_with(1_000).await, app.onboard().await);
        let (block, refused) = (block_commits(&app, &crowded).await, AtomicUsize::new(0));
        // One batch may be in flight and as many commands may wait behind it; all others are refused at once.
        let room = 2 * WAITING_MAX;
        let unblock = async {
            wait::until("the others are refused", || async {
                (refused.load(Ordering::SeqCst) >= ASKED - room).then_some(())
            })
            .await;
            block.rollback().await.unwrap();
        };
        let (answered, ()) = tokio::join!(ask(&app, &crowded, ASKED, &refused), unblock);
        assert!((1..=room).contains(&answered.len()), "{answered:?}");
        debits_are(&app, &crowded, &answered).await;
        // No refused command was executed, and there is room again.
        assert_eq!(app.balance(&crowded).await, SIGNUP + 1_000 - i64::try_from(answered.len()).unwrap());
        app.spend(&crowded, 1, "afterwards").await.expect(200);
        app.spend(&other, 1, "another-customer").await.expect(200);
        app.verify().await;
        app.stop().await;
    }

    async fn an_overloaded_server_asks_every_customer_to_retry(backend: Backend) {
        const UNDER_WAY_MAX: usize = 4;
        let app = with_ledger(backend, |config| config.ledger.commands_max = UNDER_WAY_MAX).await;
        let (slow, other) = (app.onboard_with(100).await, app.onboard().await);
        let (block, refused) = (block_commits(&app, &slow).await, AtomicUsize::new(0));
        let (answered, ()) = tokio::join!(ask(&app, &slow, 12, &refused), async {
            wait::until("there is no more room", || async {
                (refused.load(Ordering::SeqCst) == 12 - UNDER_WAY_MAX).then_some(())
            })
            .await;
            app.spend(&other, 1, "other").await.expect_problem(429, "busy");
            block.rollback().await.unwrap();
        });
        assert_eq!(answered.len(), UNDER_WAY_MAX);
        debits_are(&app, &slow, &answered).await;
        spend(&app, &other, "other").await;
        assert_eq!((app.balance(&slow).await, app.balance(&other).await), (SIGNUP + 100 - 4, SIGNUP - 1));
        app.verify().await;
        app.stop().await;
    }

    async fn after_a_ledger_timeout_the_repeated_request_gets_the_outcome(backend: Backend) {
        let app = with_ledger(backend, |config| config.ledger.timeout_ms = 100).await;
        let customer = app.onboard().await;
        let block = block_commits(&app, &customer).await;
        app.spend(&customer, 1, "key").await.expect_problem(503, "timeout");
        block.rollback().await.unwrap();
        spend(&app, &customer, "key").await;
        assert_eq!(app.balance(&customer).await, SIGNUP - 1);
        app.verify().await;
        app.stop().await;
    }

    async fn an_actor_with_a_pending_commit_is_not_evicted(backend: Backend) {
        let app = with_ledger(backend, |config| config.ledger.idle_ms = 20).await;
        let (busy, idle) = (app.onboard().await, app.onboard().await);
        let block = block_commits(&app, &busy).await;
        let another_is_let_go = async {
            let before = metric(&app, ACTORS_PASSIVATED, "\"customer\"");
            app.spend(&idle, SIGNUP + 1, "too-many").await.expect_problem(402, "insufficient_credits");
            wait::until("the other actor is let go", || async {
                (metric(&app, ACTORS_PASSIVATED, "\"customer\"") > before).then_some(())
            })
            .await;
            block.rollback().await.unwrap();
        };
        let (answer, ()) = tokio::join!(app.spend(&busy, 1, "key"), another_is_let_go);
        assert_eq!(answer.expect(200)["replayed"], false);
        assert_eq!(app.balance(&busy).await, SIGNUP - 1);
        app.verify().await;
        app.stop().await;
    }

    async fn commands_beyond_one_batch_are_applied_once_each(backend: Backend) {
        let app = with_ledger(backend, |config| config.ledger.batch_max = 2).await;
        let customer = app.onboard_with(1_000).await;
        let keys: Vec<String> = (0..40).map(|number| format!("key-{number}")).collect();
        let answered = join_all(keys.iter().map(|key| spend(&app, &customer, key))).await;
        debits_are(&app, &customer, &answered).await;
        assert_eq!(app.balance(&customer).await, SIGNUP + 1_000 - 40);
        app.verify().await;
        app.stop().await;
    }

    async fn evicted_actors_reload_the_right_account(backend: Backend) {
        let app = with_ledger(backend, |config| config.ledger.idle_ms = 20).await;
        let customers = [app.onboard_with(1_000).await, app.onboard_with(1_000).await, app.onboard_with(1_000).await];
        let rounds = AtomicUsize::new(0);
        // Used repeatedly while they are evicted, with idle times in between.
        wait::until("actors were let go many times", || async {
            let round = rounds.fetch_add(1, Ordering::SeqCst);
            for (number, customer) in customers.iter().enumerate() {
                if round.is_multiple_of(number + 1) {
                    spend(&app, customer, &format!("round-{round}")).await;
                }
            }
            (metric(&app, ACTORS_PASSIVATED, "\"customer\"") >= 8.0).then_some(())
        })
        .await;
        let rounds = rounds.into_inner();
        for (number, customer) in customers.iter().enumerate() {
            let used = (0..rounds).filter(|round| round.is_multiple_of(number + 1)).count();
            assert_eq!(app.balance(customer).await, SIGNUP + 1_000 - i64::try_from(used).unwrap());
        }
        app.verify().await;
        app.stop().await;
    }

    async fn customers_beyond_the_actor_limit_all_get_answers(backend: Backend) {
        let app = with_ledger(backend, |config| {
            config.ledger.customers_memory_kib = 5 * 8;
            config.ledger.idle_ms = 20;
        })
        .await;
        let customers = join_all((0..25).map(|_| app.onboard_with(100))).await;
        for round in 0..4 {
            let key = format!("round-{round}");
            let spent = join_all(customers.iter().map(|customer| app.spend(customer, 1, &key)));
            for answer in spent.await {
                answer.expect(200);
            }
        }
        for customer in &customers {
            assert_eq!(app.balance(customer).await, SIGNUP + 100 - 4);
        }
        app.verify().await;
        app.stop().await;
    }
}

with_app! {
    async fn under_the_accounts_lock_a_refusal_takes_nothing_and_a_repetition_gets_the_first_answer(app: &TestApp) {
        let customer = app.onboard().await;
        let first = app.spend(&customer, 1, "first").await.expect(200);
        lose_races(app, &customer, "lost").await;
        app.spend(&customer, SIGNUP, "too-many").await.expect_problem(402, "insufficient_credits");
        app.spend(&customer, SIGNUP - 1, "rest").await.expect(200);
        // Today the account would refuse it.
        let again = app.spend(&customer, 1, "first").await.expect(200);
        assert_eq!(again["transaction"], first["transaction"]);
        assert_eq!(app.balance(&customer).await, 0);
        app.verify().await;
    }
}
