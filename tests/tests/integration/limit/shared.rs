//! Shares of a limit: several limiters on one database, each as one of a process.

use super::*;
use crate::database_proxy::DatabaseProxy;
use bursar_actors::{Decision, Limiter, Limiters, WithoutDatabase};
use bursar_engine::infra::store::{Db, DbOptions};

const QUOTA: Quota = Quota { units: 100, window_ms: 60_000 };
const WAITING_MAX: usize = 1_000;

/// A limiter with a memory of its own, as another process has.
fn limiter(app: &TestApp, quota: Quota) -> Limiter {
    app.app.runtime.limiters.limiter("test", quota, WithoutDatabase::Fails)
}

async fn passes(limiter: &Limiter, units: u32) -> bool {
    let (decision, _) = limiter.take("subject", units).await.unwrap();
    matches!(decision, Decision::Used(_))
}

async fn connect(url: &str) -> Db {
    Db::connect(&DbOptions { connections_max: 3, ..DbOptions::new(url) }).await.unwrap()
}

with_backend! {
    async fn three_processes_pass_all_of_a_limit_and_no_more(backend: Backend) {
        let app = TestApp::start(backend).await;
        let limiters = [(); 3].map(|()| limiter(&app, QUOTA));
        let hammer = async || {
            let takes = limiters.iter().flat_map(|limiter| std::iter::repeat_n(limiter, 15));
            let passed = join_all(takes.map(|limiter| passes(limiter, 1))).await;
            passed.into_iter().filter(|passed| *passed).count()
        };
        let passed = Cell::new(0);
        wait::until("all of the limit is used", || async {
            passed.set(passed.get() + hammer().await);
            (passed.get() >= 100).then_some(())
        })
        .await;
        assert_eq!((passed.get(), hammer().await), (100, 0));
        app.stop().await;
    }

    async fn what_is_given_back_can_be_used_again_at_once_and_later(backend: Backend) {
        let app = TestApp::start(backend).await;
        let limiter = limiter(&app, QUOTA);
        let (Decision::Used(used), left) = limiter.take("subject", 60).await.unwrap() else { panic!() };
        assert_eq!(left.units, 40);
        assert!(!passes(&limiter, 50).await);
        used.give_back();
        assert!(passes(&limiter, 90).await);
        limiter.give_back("subject", 60).await;
        assert!(passes(&limiter, 65).await);
        assert!(!passes(&limiter, 10).await);
        app.stop().await;
    }

    async fn more_than_a_limit_uses_all_of_it(backend: Backend) {
        let app = TestApp::start(backend).await;
        let limiter = limiter(&app, Quota { units: 5, ..QUOTA });
        assert!(passes(&limiter, 9).await);
        assert!(!passes(&limiter, 1).await);
        app.stop().await;
    }

    async fn without_the_database_a_limit_passes_or_fails_as_it_was_told(backend: Backend) {
        let app = TestApp::start(backend).await;
        let gone = connect(&app.config.database_url()).await;
        gone.close().await;
        let limiters = Limiters::new(&gone, &app.app.clock, WAITING_MAX);
        let open = limiters.limiter("open", QUOTA, WithoutDatabase::Passes);
        for _ in 0..200 {
            let (decision, _) = open.take("subject", 1).await.unwrap();
            assert!(matches!(decision, Decision::Unchecked), "{decision:?}");
        }
        let closed = limiters.limiter("closed", QUOTA, WithoutDatabase::Fails);
        assert!(closed.take("subject", 1).await.is_err());
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_key_asks_the_database_far_less_than_once_a_request() {
    let app = TestApp::start(Backend::Production).await;
    let proxy = DatabaseProxy::start(&app.config.database_url).await;
    let db = connect(&proxy.url).await;
    let limiters = Limiters::new(&db, &app.app.clock, WAITING_MAX);
    let limiter = limiters.limiter("test", Quota { units: 30_000, ..QUOTA }, WithoutDatabase::Fails);
    assert!(passes(&limiter, 1).await);
    let before = proxy.statements();
    for _ in 0..1_000 {
        assert!(passes(&limiter, 1).await);
    }
    let statements = proxy.statements() - before;
    assert!(statements <= 100, "{statements} statements");
    db.close().await;
    app.stop().await;
}
