//! The sandbox as a part of another process, such as a test or `bursar serve`.

use crate::account::{Cause, StripeAccount};
use crate::app::App;
use crate::control::{ControlToken, Money, money_of};
use crate::cut::{ConnectionCutter, Listener};
use crate::deliver::courier;
use crate::error::{ApiError, Error};
use crate::fault::FaultRule;
use crate::field::strip;
use crate::http::{self, Server};
use crate::objects::webhook_endpoint::{self, NewEndpoint};
use crate::objects::{checkout, dispute, payment_intent, payment_method, refund};
use crate::options::Options;
use crate::policy::Policy;
use crate::record::Recorder;
use poem::Request;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long requests in progress may take when it stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running sandbox. It stops when it is dropped.
pub struct Sandbox {
    app: Arc<App>,
    url: String,
    control_token: ControlToken,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for task in self.server.iter().chain(&self.others) {
            task.abort();
        }
        self.app.close();
    }
}

impl Sandbox {
    /// Starts a sandbox. It listens when this returns.
    ///
    /// # Errors
    /// `Options` if they are invalid, `Listen` if the address is taken, `File` if the folder or the recording cannot
    /// be used.
    pub async fn start(options: Options) -> Result<Self, Error> {
        options.check()?;
        let listen = options.listen;
        let problem = |source| Error::Listen { address: listen.to_string(), source };
        let listener = TcpListener::bind(listen).await.map_err(problem)?;
        let url = format!("http://{}", listener.local_addr().map_err(problem)?);
        let recorder = options.record.as_deref().map(Recorder::open).transpose()?;
        let client = courier::client()?;
        let control_token = ControlToken::find(options.control_token.as_ref(), options.data_dir.as_deref())?;
        let app = Arc::new(App::new(options, &url)?);
        let cutter = ConnectionCutter::default();
        let server = Arc::new(Server {
            app: app.clone(),
            control_token: control_token.clone(),
            recorder,
            cutter: cutter.clone(),
            in_flight: AtomicUsize::new(0),
        });
        let endpoint = poem::endpoint::make(move |request: Request| {
            let server = server.clone();
            async move { http::answer(server, request).await }
        });
        let (stop, mut stopped) = watch::channel(false);
        let acceptor = Listener { inner: listener, cutter };
        let server = tokio::spawn(async move {
            let signal = async move {
                // An error means that the sandbox was dropped, which also stops the server.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            let served = poem::Server::new_with_acceptor(acceptor);
            if let Err(error) = served.run_with_graceful_shutdown(endpoint, signal, Some(STOP_WITHIN)).await {
                tracing::error!(error = %error, "the sandbox's server ended");
            }
        });
        let ticking = app.clone();
        let others =
            vec![tokio::spawn(courier::run(app.clone(), client)), tokio::spawn(async move { ticking.tick().await })];
        Ok(Self { app, url, control_token, stop, server: Some(server), others })
    }

    /// Stops it after answering the requests in progress. Deliveries continue at the next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(server) = self.server.take() {
            // Nothing is left to do if the server panicked.
            let _ = server.await;
        }
    }

    /// Its URL, such as `http://127.0.0.1:12111`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The token of its control API.
    pub fn control_token(&self) -> &ControlToken {
        &self.control_token
    }

    /// The sandbox's time, in seconds.
    pub fn now_s(&self) -> i64 {
        self.app.read(|account| account.now_s)
    }

    /// Adds a webhook endpoint, or changes the one with the same URL. Returns its id.
    ///
    /// # Errors
    /// `Refused` if it is invalid, or if there are too many.
    pub fn add_endpoint(&self, endpoint: &NewEndpoint) -> Result<String, Error> {
        let made = self.transact(|account| webhook_endpoint::add(account, endpoint))?;
        Ok(made["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Sets the policy of deliveries planned from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.app.state().account.policy = policy;
        self.app.notify_changed();
    }

    /// Adds a fault. The first matching one applies to a call.
    ///
    /// # Errors
    /// `Refused` if there are too many.
    pub fn fault(&self, rule: FaultRule) -> Result<(), Error> {
        let is_added = self.app.state().faults.add(rule);
        if is_added { Ok(()) } else { Err(Error::Refused("there are too many faults".to_owned())) }
    }

    /// Removes all pending faults.
    pub fn clear_faults(&self) {
        self.app.state().faults.clear();
    }

    /// Advances the clock and carries out what becomes due, in order. Returns the number of transitions.
    ///
    /// # Errors
    /// `Refused` if a transition failed. Then nothing is changed.
    pub fn advance(&self, by: Duration) -> Result<usize, Error> {
        let by_s = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        let to_s = self.now_s().saturating_add(by_s);
        Ok(self.app.advance(to_s).map_err(refused)?.1)
    }

    /// The totals of a customer.
    pub fn money(&self, customer: &str) -> Money {
        self.app.read(|account| money_of(account, customer))
    }

    /// An object's current state in the newest format, null if there is none.
    pub fn object(&self, id: &str) -> Value {
        let mut object = self.app.read(|account| account.copy(id));
        strip(&mut object);
        object
    }

    /// All objects of a kind, such as `payment_intent`, oldest first.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let mut rows: Vec<Value> = self.app.read(|account| account.store.of_kind(kind).cloned().collect());
        rows.iter_mut().for_each(strip);
        rows
    }

    /// The number of calls such as `POST /v1/payment_intents`, including refused, replayed and lost ones.
    pub fn calls(&self, call: &str) -> usize {
        let (method, path) = call.split_once(' ').unwrap_or(("GET", call));
        self.app.state().log.of(Some(method), path).filter(|made| made.path == path).count()
    }

    /// Passes or fails the authentication that a payment waits for. Returns the PaymentIntent.
    ///
    /// # Errors
    /// `Refused` if the payment does not wait for authentication.
    pub fn authenticate(&self, payment_intent: &str, is_passed: bool) -> Result<Value, Error> {
        self.transact(|account| payment_intent::authenticate(account, payment_intent, is_passed))
    }

    /// Refunds an amount of a charge, by default all that is left. Returns the refund.
    ///
    /// # Errors
    /// `Refused` if the amount is too high.
    pub fn refund(&self, charge: &str, amount: Option<i64>) -> Result<Value, Error> {
        self.transact(|account| refund::make(account, charge, amount, Value::Null, serde_json::json!({})))
    }

    /// Fails a refund: the bank could not return the money. Returns the refund.
    ///
    /// # Errors
    /// `Refused` if the refund did not succeed before.
    pub fn fail_refund(&self, refund: &str) -> Result<Value, Error> {
        self.transact(|account| refund::fail(account, refund))
    }

    /// Opens a dispute of a charge, by default of the whole amount. Returns the dispute.
    ///
    /// # Errors
    /// `Refused` if the charge captured no money.
    pub fn open_dispute(&self, charge: &str, amount: Option<i64>, reason: &str) -> Result<Value, Error> {
        self.transact(|account| {
            let amount = amount.unwrap_or_else(|| account.copy(charge)["amount"].as_i64().unwrap_or(0));
            dispute::open(account, charge, amount, reason, false)
        })
    }

    /// Closes a dispute. Returns it.
    ///
    /// # Errors
    /// `Refused` if it is already closed.
    pub fn close_dispute(&self, dispute: &str, is_won: bool) -> Result<Value, Error> {
        self.transact(|account| dispute::close(account, dispute, is_won))
    }

    /// Completes a checkout session as if the customer had paid on its page. Returns the session.
    ///
    /// # Errors
    /// `Refused` if the session is not open, or the payment is declined.
    pub fn complete_checkout(&self, session: &str, payment_method: &str) -> Result<Value, Error> {
        self.transact(|account| checkout::complete(account, session, payment_method))
    }

    /// Updates a card as if the bank had replaced it. Returns the payment method.
    ///
    /// # Errors
    /// `Refused` if there is no such method.
    pub fn renew_payment_method(&self, payment_method: &str) -> Result<Value, Error> {
        self.transact(|account| payment_method::renew(account, payment_method))
    }

    /// Redelivers an event, or with `None` all undelivered ones. Returns the number of deliveries.
    ///
    /// # Errors
    /// `Refused` if there is no such event.
    pub fn redeliver(&self, event: Option<&str>) -> Result<usize, Error> {
        let ordered = self.app.transact(Cause::default(), |account| match event {
            Some(event) => account.redeliver(event),
            None => account.redeliver_all(),
        });
        ordered.map_err(refused)
    }

    /// The number of waiting deliveries.
    pub fn deliveries_waiting(&self) -> usize {
        self.app.read(StripeAccount::waiting)
    }

    /// Changes fields of an object without emitting an event.
    ///
    /// # Errors
    /// `Refused` if there is no such object.
    pub fn set(&self, id: &str, fields: Value) -> Result<Value, Error> {
        self.transact(|account| {
            if account.get(id).is_none() {
                return Err(ApiError::no_such("object", id, None));
            }
            account.change(id, fields);
            Ok(account.copy(id))
        })
    }

    fn transact(&self, change: impl FnOnce(&mut StripeAccount) -> Result<Value, ApiError>) -> Result<Value, Error> {
        let mut value = self.app.transact(Cause::default(), change).map_err(refused)?;
        strip(&mut value);
        Ok(value)
    }
}

fn refused(error: ApiError) -> Error {
    Error::Refused(error.message)
}
