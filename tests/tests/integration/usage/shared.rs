//! The same key after a restart, and on another node.

use super::*;
use crate::scene::SIGNUP;

/// Stops the application and starts it again on the same data.
async fn restarted(app: TestApp) -> TestApp {
    let (config, folder) = app.halt().await;
    TestApp::start_on(config, folder).await
}

async fn check_restart(backend: Backend) {
    let app = TestApp::start(backend).await;
    let customer = app.onboard().await;
    let first = app.spend(&customer, 1, "first").await.expect(200);
    let app = restarted(app).await;
    assert_replay_of(&first, &app.spend(&customer, 1, "first").await.expect(200));
    app.spend(&customer, 2, "first").await.expect_problem(422, "idempotency_key_reused");
    app.spend(&customer, 4, "rest").await.expect(200);
    let app = restarted(app).await;
    assert_replay_of(&first, &app.spend(&customer, 1, "first").await.expect(200));
    assert_eq!(app.balance(&customer).await, 0);
    app.verify().await;
    app.stop().await;
}

// Without `with_app!`, whose application a test cannot stop.
mod a_repeated_request_after_a_restart_gets_the_first_answer {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn embedded() {
        check_restart(Backend::Embedded).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn production() {
        check_restart(Backend::Production).await;
    }
}

// Production only: SQLite serves one process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_writing_one_customer_concurrently_refuse_nothing() {
    const CALLERS: usize = 64;
    const EACH: usize = 3;
    let one = TestApp::start(Backend::Production).await;
    let (two, three, four) = tokio::join!(
        TestApp::start_on(one.config.clone(), None),
        TestApp::start_on(one.config.clone(), None),
        TestApp::start_on(one.config.clone(), None),
    );
    let nodes = [&one, &two, &three, &four];
    let debits = i64::try_from(CALLERS * EACH).unwrap();
    let hot = one.onboard_with(4 * debits - SIGNUP).await;
    let other = one.onboard_with(debits - SIGNUP).await;
    let callers =
        (0..CALLERS).flat_map(|caller| nodes.into_iter().enumerate().map(move |(at, node)| (caller, at, node)));
    let hot_debits = callers.map(|(caller, at, node)| {
        let hot = &hot;
        async move {
            for number in 0..EACH {
                node.spend(hot, 1, &format!("{at}-{caller}-{number}")).await.expect(200);
            }
        }
    });
    let other_debits = async {
        for number in 0..CALLERS * EACH {
            nodes[number % 4].spend(&other, 1, &format!("{number}")).await.expect(200);
        }
    };
    tokio::join!(join_all(hot_debits), other_debits);
    for node in nodes {
        assert_eq!((node.balance(&hot).await, node.balance(&other).await), (0, 0));
    }
    one.verify().await;
    for node in [four, three, two, one] {
        node.stop().await;
    }
}

// Production only, as above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_debits_over_two_nodes_are_all_applied_exactly_once() {
    let one = TestApp::start(Backend::Production).await;
    let two = TestApp::start_on(one.config.clone(), None).await;
    let customer = one.onboard_with(195).await;
    let keys: Vec<String> = (0..200).map(|n| format!("key-{n}")).collect();
    let debits = keys.iter().enumerate().map(|(n, key)| {
        let node = if n % 2 == 0 { &one } else { &two };
        node.spend(&customer, 1, key)
    });
    let answers: Vec<Value> = join_all(debits).await.into_iter().map(|answer| answer.expect(200)).collect();
    let ids: HashSet<&str> = answers.iter().map(|body| body["transaction"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 200);
    assert!(answers.iter().all(|body| body["replayed"] == false));
    for node in [&one, &two] {
        assert_eq!(node.balance(&customer).await, 0);
        node.verify().await;
    }
    // Each node sees the other's changes.
    assert_replay_of(&answers[0], &two.spend(&customer, 1, "key-0").await.expect(200));
    two.spend(&customer, 2, "key-0").await.expect_problem(422, "idempotency_key_reused");
    two.stop().await;
    one.stop().await;
}

// Production only, as above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_sent_to_two_nodes_at_once_debits_once() {
    let one = TestApp::start(Backend::Production).await;
    let two = TestApp::start_on(one.config.clone(), None).await;
    let customer = one.onboard().await;
    for round in 0..5 {
        let key = format!("key-{round}");
        let sends = (0..10).map(|n| if n % 2 == 0 { &one } else { &two }.spend(&customer, 1, &key));
        let answers: Vec<Value> = join_all(sends).await.into_iter().map(|answer| answer.expect(200)).collect();
        let ids: HashSet<&str> = answers.iter().map(|body| body["transaction"]["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(answers.iter().filter(|body| body["replayed"] == false).count(), 1, "in round {round}");
    }
    assert_eq!(two.balance(&customer).await, 0);
    one.verify().await;
    two.stop().await;
    one.stop().await;
}
