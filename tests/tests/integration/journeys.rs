//! Short journeys runs; see [`bursar_tests::journeys`]. `./dev journeys` runs longer ones, and ones in which the
//! application is killed. `BURSAR_JOURNEYS_SEED` fixes the random seed, so that two versions can be compared.

use crate::scene::with_backend;
use bursar_tests::Backend;
use bursar_tests::journeys::deployment::Placement;
use bursar_tests::journeys::{Options, run};

/// Enough for every kind of action, within half a minute.
const CUSTOMERS: usize = 6;
const DAYS: usize = 4;
/// No day starts later than this, however slow the machine is.
const SECONDS: u64 = 20;

async fn everything_agrees(backend: Backend, seed: u64) {
    let options = Options {
        seed,
        customers: CUSTOMERS,
        seconds: Some(SECONDS),
        days: Some(DAYS),
        backend,
        placement: Placement::InProcess,
    };
    let report = run(options).await.unwrap();
    assert!(report.holds(), "{}\n{}", report.table(), report.problems().join("\n"));
}

with_backend! {
    async fn the_ledger_agrees_with_stripe_for_a_known_seed(backend: Backend) {
        everything_agrees(backend, 1).await;
    }

    async fn the_ledger_agrees_with_stripe_for_a_random_seed(backend: Backend) {
        let given = std::env::var("BURSAR_JOURNEYS_SEED").ok().map(|seed| seed.parse().expect("a number"));
        everything_agrees(backend, given.unwrap_or_else(|| rand::random::<u64>() >> 11)).await;
    }
}
