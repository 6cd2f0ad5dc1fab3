//! Rate limits: the limit holds exactly in any window, at chosen times.

use crate::database::number;
use bursar_engine::domain::rate_limit::Admission;
use bursar_engine::infra::store::rate_limit::rate_limit_prune;
use bursar_engine::usecase::rate_limit::take;
use bursar_tests::{TestApp, with_app};
use futures_util::future::join_all;

const WINDOW_MS: i64 = 60_000;
/// Far in the future, so that the application's retention does not delete the counts.
const START_MS: i64 = 4_000_000_000_000;

async fn try_at(app: &TestApp, key: &str, limit: u32, now_ms: i64) -> Admission {
    take(&app.app.db, key, limit, WINDOW_MS, now_ms).await.unwrap()
}

/// Reproducible pseudo-random numbers (an LCG of Knuth's).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % bound
    }
}

with_app! {
    async fn no_window_exceeds_the_limit(app: &TestApp) {
        let (mut numbers, mut now_ms, mut let_through) = (Numbers(7), START_MS, Vec::new());
        for _ in 0..400 {
            now_ms += numbers.below(8_000);
            // Requests do not arrive in the order of their times.
            let at_ms = now_ms - numbers.below(3_000);
            if try_at(app, "key", 5, at_ms).await == Admission::Allowed {
                let_through.push(at_ms);
            }
        }
        let_through.sort_unstable();
        assert!(let_through.len() > 50, "{}", let_through.len());
        for (n, first) in let_through.iter().enumerate() {
            let within = let_through[n..].iter().filter(|at_ms| **at_ms < first + WINDOW_MS).count();
            assert!(within <= 5, "{within} in the window from {first}");
        }
    }

    async fn a_denied_attempt_says_exactly_when_the_next_one_passes(app: &TestApp) {
        for n in 0..3 {
            assert_eq!(try_at(app, "key", 3, START_MS + n * 1_000).await, Admission::Allowed);
        }
        let denied = Admission::Denied { retry_after_ms: WINDOW_MS - 2_500 };
        assert_eq!(try_at(app, "key", 3, START_MS + 2_500).await, denied);
        assert_eq!(try_at(app, "key", 3, START_MS + WINDOW_MS - 1).await, Admission::Denied { retry_after_ms: 1 });
        assert_eq!(try_at(app, "key", 3, START_MS + WINDOW_MS).await, Admission::Allowed);
        assert_eq!(try_at(app, "key", 3, START_MS + WINDOW_MS).await, Admission::Denied { retry_after_ms: 1_000 });
        assert_eq!(try_at(app, "other", 3, START_MS).await, Admission::Allowed, "each key by itself");
    }

    async fn concurrent_attempts_pass_up_to_the_limit(app: &TestApp) {
        for (limit, tries) in [(1, 20), (10, 100), (500, 520)] {
            let key = format!("at once {limit}");
            let answers = join_all((0..tries).map(|_| try_at(app, &key, limit, START_MS))).await;
            let allowed = answers.iter().filter(|taken| **taken == Admission::Allowed).count();
            assert_eq!(allowed, usize::try_from(limit).unwrap());
        }
    }

    async fn a_changed_limit_counts_earlier_attempts(app: &TestApp) {
        for n in 0..10 {
            assert_eq!(try_at(app, "key", 10, START_MS + n).await, Admission::Allowed);
        }
        assert_eq!(try_at(app, "key", 4, START_MS + 20).await, Admission::Denied { retry_after_ms: WINDOW_MS - 14 });
        assert_eq!(try_at(app, "key", 4, START_MS + WINDOW_MS + 6).await, Admission::Allowed);
        assert_eq!(try_at(app, "key", 4, START_MS + WINDOW_MS + 6).await, Admission::Denied { retry_after_ms: 1 });
        assert_eq!(try_at(app, "key", 6, START_MS + WINDOW_MS + 6).await, Admission::Allowed);
        assert_eq!(try_at(app, "none", 0, START_MS).await, Admission::Denied { retry_after_ms: WINDOW_MS });
    }

    async fn limits_are_deleted_once_their_last_window_is_over(app: &TestApp) {
        for (key, at_ms) in [("old", START_MS), ("older", START_MS - 5), ("new", START_MS + 10)] {
            assert_eq!(try_at(app, key, 3, at_ms).await, Admission::Allowed);
        }
        let count = "SELECT COUNT(*) FROM rate_limits";
        let db = app.app.db.write();
        assert_eq!(rate_limit_prune(db, START_MS, 100).await.unwrap(), 0);
        assert_eq!(rate_limit_prune(db, START_MS + WINDOW_MS + 1, 1).await.unwrap(), 1);
        assert_eq!(rate_limit_prune(db, START_MS + WINDOW_MS + 1, 100).await.unwrap(), 1);
        assert_eq!(number(app, count, []).await, 1);
    }
}
