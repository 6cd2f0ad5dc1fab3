//! The load: what customers, support and Stripe do, at a limited rate, chosen by the seed.
//!
//! Every request is retried until it has a definite answer, and every delivery until it is answered with 2xx, as a
//! careful client and Stripe do.

mod credits;
mod delivery;

pub(super) use credits::HOLD_SHORT_S;

use super::caller::Caller;
use super::record::{Customer, Discrepancy, Record, UnconfirmedSignup};
use super::run_log::RunLog;
use super::tally::Tally;
use crate::unique::unique;
use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// Customers that get half of the load.
const HOT: usize = 3;
/// Credits of a hot customer at the start, besides its signup credits.
const HOT_CREDITS: i64 = 500;
/// Maximum number of concurrent actions; the load waits beyond that, so that an outage does not pile up work.
const ACTIONS_MAX: usize = 384;
/// Maximum number of concurrent deliveries, including those waiting for their time.
const DELIVERIES_MAX: usize = 512;
/// How often the progress bar is updated.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// The load, and what it has done.
pub struct Load {
    /// Makes the requests.
    pub caller: Caller,
    /// What was requested and answered.
    pub record: Record,
    /// Counts requests by their outcome.
    pub tally: Arc<Tally>,
    /// Prints and keeps the events of the run.
    pub run_log: Arc<RunLog>,
    /// Customers to choose from; the hot ones come first.
    customers: Mutex<Vec<Arc<Customer>>>,
    actions: Arc<Semaphore>,
    deliveries: Arc<Semaphore>,
}

impl Load {
    /// Creates a load without customers.
    pub fn new(caller: Caller, tally: Arc<Tally>, run_log: Arc<RunLog>) -> Self {
        let (actions, deliveries) = (Arc::new(Semaphore::new(ACTIONS_MAX)), Arc::new(Semaphore::new(DELIVERIES_MAX)));
        Self { caller, record: Record::default(), tally, run_log, customers: Mutex::default(), actions, deliveries }
    }

    /// Onboards the hot customers and gives them credits.
    pub async fn prepare(&self) -> Result<()> {
        for _ in 0..HOT {
            let customer = self.onboard().await.context("a customer could not be onboarded before the load")?;
            self.adjust(&customer, HOT_CREDITS).await;
            self.add_customer(customer);
        }
        Ok(())
    }

    /// Starts `rate` actions a second until `until`. Returns when all actions have ended; the deadline of `caller`
    /// limits how long that takes.
    pub async fn run(self: Arc<Self>, seed: u64, rate: u32, until: Instant) -> Result<()> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut under_way = JoinSet::new();
        let mut shown = Instant::now();
        while Instant::now() < until {
            tick.tick().await;
            let Ok(Ok(permit)) = tokio::time::timeout_at(until, self.actions.clone().acquire_owned()).await else {
                break;
            };
            let (load, rng) = (self.clone(), StdRng::seed_from_u64(rng.random()));
            under_way.spawn(async move {
                load.run_action(rng).await;
                drop(permit);
            });
            while let Some(ended) = under_way.try_join_next() {
                ended?;
            }
            if shown.elapsed() >= PROGRESS_EVERY {
                shown = Instant::now();
                self.show_progress(until);
            }
        }
        self.run_log.note(&format!("the load ends; {} actions are under way", under_way.len()));
        while let Some(ended) = under_way.join_next().await {
            ended?;
        }
        Ok(())
    }

    async fn run_action(self: Arc<Self>, mut rng: StdRng) {
        match rng.random_range(0..100) {
            0..8 => {
                let Some(customer) = self.onboard().await else { return };
                if rng.random_bool(0.5) {
                    self.spend_everything(&customer, &mut rng).await;
                }
                self.add_customer(customer);
            }
            8..64 => self.debit(&self.any_customer(&mut rng), rng).await,
            64..80 => self.hold(&self.any_customer(&mut rng), rng).await,
            80..88 => {
                let customer = self.any_customer(&mut rng);
                let amount = if rng.random_bool(0.7) { rng.random_range(1..=40) } else { -rng.random_range(1..=20) };
                self.adjust(&customer, amount).await;
            }
            _ => {
                let customer = self.any_customer(&mut rng);
                self.run_scenario(&customer, rng).await;
            }
        }
    }

    fn add_customer(&self, customer: Arc<Customer>) {
        self.customers.lock().unwrap_or_else(PoisonError::into_inner).push(customer);
    }

    /// Picks one of the hot customers, or any customer.
    fn any_customer(&self, rng: &mut StdRng) -> Arc<Customer> {
        let customers = self.customers.lock().unwrap_or_else(PoisonError::into_inner);
        let n = if rng.random_bool(0.5) { rng.random_range(0..HOT) } else { rng.random_range(0..customers.len()) };
        customers[n].clone()
    }

    /// Signs a new customer up. Only the answer has its API key, so a customer without an answer cannot be used.
    async fn onboard(&self) -> Option<Arc<Customer>> {
        let email = format!("{}@example.com", unique());
        let body = json!({ "email": email, "name": "Chaos", "source": "direct" });
        let answer = self
            .caller
            .until_definite(|client, base| client.post(format!("{base}/api/v1/customers/onboard")).json(&body))
            .await;
        let Some(answer) = answer else {
            self.unanswered(&format!("onboarding {email}"));
            self.record.lock().unconfirmed_signups.push(UnconfirmedSignup { email, exists: false });
            return None;
        };
        if answer.status == 201 {
            self.tally.acknowledged.up();
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let mut known = self.record.lock();
            let customer = Arc::new(Customer {
                n: known.customers.len(),
                id: text(&answer.body["customer"]["id"]),
                api_key: text(&answer.body["api_key"]),
                email,
                stripe_id: format!("cus_{}", unique()),
            });
            known.customers.push(customer.clone());
            return Some(customer);
        }
        self.tally.refused.up();
        if answer.code() != "customer_exists" || !answer.in_doubt {
            let text = format!("onboarding {email} was answered with {} {}", answer.status, answer.body);
            self.record.discrepancy(Discrepancy::wrong(text));
        }
        self.record
            .lock()
            .unconfirmed_signups
            .push(UnconfirmedSignup { email, exists: answer.code() == "customer_exists" });
        None
    }

    /// Records a missing answer as a discrepancy: all servers have been up for a while by then.
    fn unanswered(&self, what: &str) {
        self.tally.unanswered.up();
        self.record.discrepancy(Discrepancy::wrong(format!("there was never a definite answer: {what}")));
    }

    fn show_progress(&self, until: Instant) {
        let left_s = until.saturating_duration_since(Instant::now()).as_secs();
        let tally = &self.tally;
        self.run_log.show(format!(
            "{left_s} s left; {} requests done, {} refused, {} deliveries, {} tried again, {} under way",
            tally.acknowledged.get(),
            tally.refused.get(),
            tally.deliveries.get(),
            tally.retried.get(),
            ACTIONS_MAX - self.actions.available_permits(),
        ));
    }
}
