//! A running journey.

use super::answer::{Answer, Expected, Failure};
use super::client::{Call, Client};
use super::mask::Mask;
use super::report::{Ended, Outcome, Step};
use super::sandbox::SandboxControl;
use super::target::{StripeMode, Target};
use super::{Journey, Observer};
use serde_json::Value;
use tokio::time::Instant;

/// What all journeys of a run share.
pub struct RunSettings {
    /// The server and the options for it.
    pub target: Target,
    /// Which Stripe it uses.
    pub stripe: StripeMode,
    /// The run's unique part of addresses and ids.
    pub run: String,
    /// The secrets to mask.
    pub mask: Mask,
}

impl RunSettings {
    /// Creates the settings of a new run.
    pub fn new(target: Target, stripe: StripeMode) -> Self {
        let mask = target.mask();
        Self { target, stripe, run: format!("{:08x}", rand::random::<u32>()), mask }
    }
}

/// A running journey: steps, one after another, until one fails.
pub struct Walk<'a> {
    /// What all journeys share.
    pub settings: &'a RunSettings,
    /// Makes this journey's requests.
    pub client: Client,
    journey: Journey,
    observer: Observer<'a>,
    began: Instant,
    open: Option<(String, Instant)>,
    steps: Vec<Step>,
    customers: usize,
}

impl<'a> Walk<'a> {
    /// Starts a journey.
    pub fn new(journey: Journey, settings: &'a RunSettings, observer: Observer<'a>) -> Self {
        let client = Client::new(&settings.target);
        let (open, steps) = (None, Vec::new());
        Self { settings, client, journey, observer, began: Instant::now(), open, steps, customers: 0 }
    }

    /// Begins the next step; the one before has passed.
    pub fn step(&mut self, name: &str) {
        self.close();
        (self.observer)(self.journey, name);
        self.client.forget();
        self.open = Some((name.to_owned(), Instant::now()));
    }

    /// Records a step as skipped, with the reason.
    pub fn skip(&mut self, name: &str, reason: impl Into<String>) {
        self.close();
        let ended = Ended::Skipped(reason.into());
        self.steps.push(Step { name: name.to_owned(), took: std::time::Duration::ZERO, ended });
    }

    fn close(&mut self) {
        if let Some((name, began)) = self.open.take() {
            self.steps.push(Step { name, took: began.elapsed(), ended: Ended::Passed });
        }
    }

    /// Ends the journey.
    pub fn end(mut self, result: Expected) -> Outcome {
        if let Err(failure) = result {
            let (name, began) = self.open.take().unwrap_or_else(|| ("the beginning".to_owned(), self.began));
            let mask = &self.settings.mask;
            let failure = Failure::new(mask.hide(&failure.expected), mask.hide(&failure.got));
            let ended = Ended::Failed { failure, exchanges: self.client.exchanges(mask) };
            self.steps.push(Step { name, took: began.elapsed(), ended });
        }
        self.close();
        let requests = self.client.requests();
        Outcome { journey: self.journey, steps: self.steps, requests, took: self.began.elapsed() }
    }

    /// A text that no other customer or run uses.
    pub fn unique(&mut self) -> String {
        self.customers += 1;
        format!("{}-{}-{}", self.settings.run, self.journey.name(), self.customers)
    }

    /// Makes a request as staff.
    pub async fn admin(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Expected<Answer> {
        let bearer = format!("Bearer {token}");
        let call = body.map_or_else(Call::default, Call::json).header("Authorization", &bearer);
        self.client.send(method, path, call).await
    }

    /// The control of the server's Stripe sandbox, if its address and its token are given.
    pub fn sandbox(&self) -> Option<SandboxControl> {
        let target = &self.settings.target;
        let (url, token) = (target.sandbox_url.as_deref()?, target.sandbox_token.as_deref()?);
        Some(SandboxControl::new(self.client.with_base(url), token))
    }

    /// The admin token, or why staff requests are skipped.
    pub fn admin_token(&self) -> Result<&'a str, &'static str> {
        let token = self.settings.target.admin_token.as_deref();
        token.filter(|_| !self.settings.target.only_safe_steps).ok_or("needs --admin-token")
    }
}
