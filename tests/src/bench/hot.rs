//! One hot customer on several nodes, alongside the traffic of other customers.

use super::plan::{OTHER_CUSTOMERS, Scenario};
use super::report::{Measurement, OtherTraffic};
use super::server::Server;
use super::{Attempt, http, quantile_ms, run_callers, seed, spread};
use anyhow::{Context, Result};
use bursar_engine::amount::Credits;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::account::{account_find, entry_list};
use reqwest::{Client, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Callers for the other customers at each node.
const OTHER_CALLERS: usize = 4;

/// Callers spread over the nodes.
#[derive(Clone)]
struct Traffic {
    client: Client,
    urls: Arc<Vec<String>>,
    refused: Arc<AtomicU64>,
}

/// Measures how many debits of one customer several nodes accept and refuse, and the latency of other customers'
/// debits meanwhile.
///
/// # Errors
/// When an answer is neither a debit nor 429, or the balance does not match the accepted debits.
pub async fn run(scenario: &Scenario) -> Result<Measurement> {
    let db = seed::open(scenario, 4, OTHER_CUSTOMERS + 1).await?;
    let mut nodes = Vec::new();
    for node in 0..scenario.nodes {
        nodes.push(Server::start_node(scenario, node).await?);
    }
    let urls = Arc::new(nodes.iter().map(|node| format!("{}/api/v1/usage", node.base)).collect::<Vec<_>>());
    let traffic = || Traffic { client: Client::new(), urls: urls.clone(), refused: Arc::default() };
    let (hot, others) = (traffic(), traffic());
    let debit_hot = {
        let hot = hot.clone();
        move |caller: usize, n: u64| hot.clone().debit(0, caller, n)
    };
    let debit_others = {
        let others = others.clone();
        move |caller: usize, n: u64| {
            let customer = 1 + spread(caller, n, OTHER_CUSTOMERS);
            others.clone().debit(customer, caller, n)
        }
    };
    let ((latencies, seconds), (other_latencies, other_seconds)) = tokio::try_join!(
        run_callers(scenario.callers, scenario.seconds, debit_hot),
        run_callers(OTHER_CALLERS * scenario.nodes, scenario.seconds, debit_others)
    )?;
    check_balance(&db, latencies.len()).await?;
    let mut measured = Measurement::new(scenario, &latencies, seconds, nodes[0].memory_mib()?);
    measured.refused = Some(hot.refused.load(Ordering::Relaxed));
    #[allow(clippy::cast_precision_loss)]
    let per_second = other_latencies.len() as f64 / other_seconds;
    let refused = others.refused.load(Ordering::Relaxed);
    measured.others = Some(OtherTraffic { per_second, p95_ms: quantile_ms(&other_latencies, 0.95), refused });
    Ok(measured)
}

impl Traffic {
    /// Debits one credit at the caller's node and counts a refusal.
    async fn debit(self, customer: u64, caller: usize, n: u64) -> Result<Attempt> {
        let url = &self.urls[caller % self.urls.len()];
        let response = http::debit(&self.client, url, customer, &format!("{caller}-{n}")).send().await?;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            self.refused.fetch_add(1, Ordering::Relaxed);
            response.bytes().await?;
            return Ok(Attempt::Refused);
        }
        http::expect_success(response).await?;
        Ok(Attempt::Done)
    }
}

/// Checks the hot customer's balance and latest entry against the number of accepted debits.
async fn check_balance(db: &Db, accepted: u64) -> Result<()> {
    let hot = seed::customer_id(0);
    let account = account_find(db.read(), &hot).await?.context("the hot customer has an account")?;
    let last = entry_list(db.read(), &hot, None, 1).await?.pop().context("the hot customer has entries")?;
    let left = Credits(seed::CREDITS - i64::try_from(accepted)?);
    anyhow::ensure!(
        account.balance == left && last.balance_after == left && last.seq == account.version,
        "{accepted} debits were accepted, and the balance is {} instead of {left}",
        account.balance
    );
    Ok(())
}
