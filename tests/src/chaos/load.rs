//! The load: what customers, support and Stripe do, at a bounded rate, chosen by the seed.
//!
//! Every request is made until there is a definite answer, every delivery until it is answered with
//! 2xx, as a careful client and Stripe would.

mod credits;
mod delivery;

pub(super) use credits::HOLD_S;

use super::caller::Caller;
use super::chronicle::Chronicle;
use super::record::{Customer, Discrepancy, Record, Stray};
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

/// Customers that half of the load is about.
const HOT: usize = 3;
/// What a hot customer has to spend at first, besides its signup credits.
const HOT_CREDITS: i64 = 500;
/// Acts under way at once; beyond that the load waits, so an outage does not pile work up.
const ACTS_MAX: usize = 384;
/// Deliveries under way or waiting for their time at once.
const DELIVERIES_MAX: usize = 512;
/// How often the progress is shown.
const SAY_EVERY: Duration = Duration::from_millis(500);

/// What the load works with.
pub struct Load {
    /// Makes the requests.
    pub caller: Caller,
    /// Where everything is written down.
    pub record: Record,
    /// Where everything is counted.
    pub tally: Arc<Tally>,
    /// The log of the run.
    pub chronicle: Arc<Chronicle>,
    /// Customers that anything may happen to; the hot ones come first.
    crowd: Mutex<Vec<Arc<Customer>>>,
    acts: Arc<Semaphore>,
    deliveries: Arc<Semaphore>,
}

impl Load {
    /// Nothing has been asked for yet.
    pub fn new(caller: Caller, tally: Arc<Tally>, chronicle: Arc<Chronicle>) -> Self {
        let (acts, deliveries) = (Arc::new(Semaphore::new(ACTS_MAX)), Arc::new(Semaphore::new(DELIVERIES_MAX)));
        Self { caller, record: Record::default(), tally, chronicle, crowd: Mutex::default(), acts, deliveries }
    }

    /// Onboards the hot customers and gives them something to spend.
    pub async fn prepare(&self) -> Result<()> {
        for _ in 0..HOT {
            let customer = self.onboard().await.context("a customer could not be onboarded before the load")?;
            self.adjust(&customer, HOT_CREDITS).await;
            self.join_crowd(customer);
        }
        Ok(())
    }

    /// Begins `rate` acts a second until the time has come; returns when all of them have ended,
    /// which the caller's deadline sees to.
    pub async fn run(self: Arc<Self>, seed: u64, rate: u32, until: Instant) -> Result<()> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut under_way = JoinSet::new();
        let mut said = Instant::now();
        while Instant::now() < until {
            tick.tick().await;
            let Ok(Ok(permit)) = tokio::time::timeout_at(until, self.acts.clone().acquire_owned()).await else { break };
            let (load, rng) = (self.clone(), StdRng::seed_from_u64(rng.random()));
            under_way.spawn(async move {
                load.act(rng).await;
                drop(permit);
            });
            while let Some(ended) = under_way.try_join_next() {
                ended?;
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                self.say(until);
            }
        }
        self.chronicle.note(&format!("the load ends; {} acts are under way", under_way.len()));
        while let Some(ended) = under_way.join_next().await {
            ended?;
        }
        Ok(())
    }

    async fn act(self: Arc<Self>, mut rng: StdRng) {
        match rng.random_range(0..100) {
            0..8 => {
                let Some(customer) = self.onboard().await else { return };
                if rng.random_bool(0.5) {
                    self.spend_to_the_last(&customer, &mut rng).await;
                }
                self.join_crowd(customer);
            }
            8..64 => self.debit(&self.anybody(&mut rng), rng).await,
            64..80 => self.hold(&self.anybody(&mut rng), rng).await,
            80..88 => {
                let customer = self.anybody(&mut rng);
                let amount = if rng.random_bool(0.7) { rng.random_range(1..=40) } else { -rng.random_range(1..=20) };
                self.adjust(&customer, amount).await;
            }
            _ => {
                let customer = self.anybody(&mut rng);
                self.story(&customer, rng).await;
            }
        }
    }

    fn join_crowd(&self, customer: Arc<Customer>) {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner).push(customer);
    }

    /// One of the hot customers, or any of the others.
    fn anybody(&self, rng: &mut StdRng) -> Arc<Customer> {
        let crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        let n = if rng.random_bool(0.5) { rng.random_range(0..HOT) } else { rng.random_range(0..crowd.len()) };
        crowd[n].clone()
    }

    /// Signs a new customer up. Its key is in the answer and nowhere else, so without an answer there
    /// is a customer that nobody can use; that is known of the interface.
    async fn onboard(&self) -> Option<Arc<Customer>> {
        let email = format!("{}@example.com", unique());
        let body = json!({ "email": email, "name": "Chaos", "source": "direct" });
        let answer = self
            .caller
            .until_definite(|client, base| client.post(format!("{base}/api/v1/customers/onboard")).json(&body))
            .await;
        let Some(answer) = answer else {
            self.unanswered(&format!("onboarding {email}"));
            self.record.known().strays.push(Stray { email, exists: false });
            return None;
        };
        if answer.status == 201 {
            self.tally.acknowledged.up();
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let mut known = self.record.known();
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
        if answer.code() != "customer_exists" || !answer.doubt {
            let text = format!("onboarding {email} was answered with {} {}", answer.status, answer.body);
            self.record.discrepancy(Discrepancy::wrong(text));
        }
        self.record.known().strays.push(Stray { email, exists: answer.code() == "customer_exists" });
        None
    }

    /// Everything has been up for a while by then, so this is no excuse of the server.
    fn unanswered(&self, what: &str) {
        self.tally.unanswered.up();
        self.record.discrepancy(Discrepancy::wrong(format!("there was no definite answer to the end: {what}")));
    }

    fn say(&self, until: Instant) {
        let left_s = until.saturating_duration_since(Instant::now()).as_secs();
        let tally = &self.tally;
        self.chronicle.say(format!(
            "{left_s} s left; {} requests done, {} refused, {} deliveries, {} tried again, {} under way",
            tally.acknowledged.get(),
            tally.refused.get(),
            tally.deliveries.get(),
            tally.retried.get(),
            ACTS_MAX - self.acts.available_permits(),
        ));
    }
}
