//! The sandbox as a part of another process: tests and `bursar serve`.

use crate::app::App;
use crate::control::{Money, money_of};
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
use crate::world::{Cause, World};
use poem::Request;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long requests under way may take when it stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running sandbox. It stops when it is dropped.
pub struct Sandbox {
    app: Arc<App>,
    url: String,
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
    /// Starts one. It listens when this returns.
    ///
    /// # Errors
    /// `Options` if they make no sense, `Listen` if the address is taken, `File` if its folder or its
    /// recording cannot be used.
    pub async fn start(options: Options) -> Result<Self, Error> {
        options.check()?;
        let listen = options.listen;
        let problem = |source| Error::Listen { address: listen.to_string(), source };
        let listener = TcpListener::bind(listen).await.map_err(problem)?;
        let url = format!("http://{}", listener.local_addr().map_err(problem)?);
        let recorder = options.record.as_deref().map(Recorder::open).transpose()?;
        let client = courier::client()?;
        let app = Arc::new(App::new(options, &url)?);
        let cutter = ConnectionCutter::default();
        let server =
            Arc::new(Server { app: app.clone(), recorder, cutter: cutter.clone(), in_flight: AtomicUsize::new(0) });
        let endpoint = poem::endpoint::make(move |request: Request| {
            let server = server.clone();
            async move { http::answer(server, request).await }
        });
        let (stop, mut stopped) = watch::channel(false);
        let acceptor = Listener { inner: listener, cutter };
        let server = tokio::spawn(async move {
            let signal = async move {
                // An error means that the sandbox is gone, which is the same.
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
        Ok(Self { app, url, stop, server: Some(server), others })
    }

    /// Stops it: requests under way are answered, deliveries go on at the next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(server) = self.server.take() {
            // A server that ended badly has ended.
            let _ = server.await;
        }
    }

    /// Where it listens, such as `http://127.0.0.1:12111`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The sandbox's time, in seconds.
    pub fn now_s(&self) -> i64 {
        self.app.look(|world| world.now_s)
    }

    /// Adds an endpoint for events; one with the same address is changed. Gives its id.
    ///
    /// # Errors
    /// `Refused` if it is none, or one too many.
    pub fn add_endpoint(&self, endpoint: &NewEndpoint) -> Result<String, Error> {
        let made = self.act(|world| webhook_endpoint::add(world, endpoint))?;
        Ok(made["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Sets what goes wrong with deliveries planned from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.app.state().world.policy = policy;
        self.app.wake();
    }

    /// Orders a fault. Faults strike in the order in which they were ordered.
    ///
    /// # Errors
    /// `Refused` if there are too many.
    pub fn fault(&self, rule: FaultRule) -> Result<(), Error> {
        let is_added = self.app.state().faults.add(rule);
        if is_added { Ok(()) } else { Err(Error::Refused("too many faults are ordered".to_owned())) }
    }

    /// Takes all ordered faults back.
    pub fn clear_faults(&self) {
        self.app.state().faults.clear();
    }

    /// Moves the clock forward and does what becomes due, in order. Gives how much that was.
    ///
    /// # Errors
    /// `Refused` if something of it failed; then nothing was done.
    pub fn advance(&self, by: Duration) -> Result<usize, Error> {
        let by_s = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        let to_s = self.now_s().saturating_add(by_s);
        Ok(self.app.advance(to_s).map_err(refused)?.1)
    }

    /// What a customer paid, got back, and what banks took back.
    pub fn money(&self, customer: &str) -> Money {
        self.app.look(|world| money_of(world, customer))
    }

    /// An object as it is now, in the newest shape; null if there is none.
    pub fn object(&self, id: &str) -> Value {
        let mut object = self.app.look(|world| world.copy(id));
        strip(&mut object);
        object
    }

    /// All objects of a kind, such as `payment_intent`, oldest first.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let mut rows: Vec<Value> = self.app.look(|world| world.store.of_kind(kind).cloned().collect());
        rows.iter_mut().for_each(strip);
        rows
    }

    /// How often a call was made, such as `POST /v1/payment_intents`; refused, repeated and lost ones
    /// count too.
    pub fn calls(&self, call: &str) -> usize {
        let (method, path) = call.split_once(' ').unwrap_or(("GET", call));
        self.app.state().log.of(Some(method), path).filter(|made| made.path == path).count()
    }

    /// The customer authenticates a payment that waits for it, or fails to. Gives the PaymentIntent.
    ///
    /// # Errors
    /// `Refused` if nobody waits.
    pub fn authenticate(&self, payment_intent: &str, is_passed: bool) -> Result<Value, Error> {
        self.act(|world| payment_intent::authenticate(world, payment_intent, is_passed))
    }

    /// Gives money of a charge back, all that is left without an amount. Gives the refund.
    ///
    /// # Errors
    /// `Refused` if there is not that much.
    pub fn refund(&self, charge: &str, amount: Option<i64>) -> Result<Value, Error> {
        self.act(|world| refund::make(world, charge, amount, Value::Null, serde_json::json!({})))
    }

    /// A bank could not give refunded money back. Gives the refund.
    ///
    /// # Errors
    /// `Refused` if it did not succeed before.
    pub fn fail_refund(&self, refund: &str) -> Result<Value, Error> {
        self.act(|world| refund::fail(world, refund))
    }

    /// Opens a dispute about a charge, about all of it without an amount. Gives the dispute.
    ///
    /// # Errors
    /// `Refused` if the charge took no money.
    pub fn open_dispute(&self, charge: &str, amount: Option<i64>, reason: &str) -> Result<Value, Error> {
        self.act(|world| {
            let amount = amount.unwrap_or_else(|| world.copy(charge)["amount"].as_i64().unwrap_or(0));
            dispute::open(world, charge, amount, reason, false)
        })
    }

    /// Closes a dispute. Gives it.
    ///
    /// # Errors
    /// `Refused` if it is closed already.
    pub fn close_dispute(&self, dispute: &str, is_won: bool) -> Result<Value, Error> {
        self.act(|world| dispute::close(world, dispute, is_won))
    }

    /// A customer pays on the page of a checkout session. Gives the session.
    ///
    /// # Errors
    /// `Refused` if the session is not open, or the method does not pay.
    pub fn complete_checkout(&self, session: &str, payment_method: &str) -> Result<Value, Error> {
        self.act(|world| checkout::complete(world, session, payment_method))
    }

    /// A bank sent a customer a new card. Gives the payment method.
    ///
    /// # Errors
    /// `Refused` if there is no such method.
    pub fn renew_payment_method(&self, payment_method: &str) -> Result<Value, Error> {
        self.act(|world| payment_method::renew(world, payment_method))
    }

    /// Delivers an event again, or without one all that were not delivered. Gives how many deliveries.
    ///
    /// # Errors
    /// `Refused` if there is no such event.
    pub fn redeliver(&self, event: Option<&str>) -> Result<usize, Error> {
        let ordered = self.app.act(Cause::default(), |world| match event {
            Some(event) => world.redeliver(event),
            None => world.redeliver_all(),
        });
        ordered.map_err(refused)
    }

    /// How many deliveries wait.
    pub fn deliveries_waiting(&self) -> usize {
        self.app.look(World::waiting)
    }

    /// Changes fields of an object behind everybody's back: nobody is told.
    ///
    /// # Errors
    /// `Refused` if there is no such object.
    pub fn set(&self, id: &str, fields: Value) -> Result<Value, Error> {
        self.act(|world| {
            if world.get(id).is_none() {
                return Err(ApiError::no_such("object", id, None));
            }
            world.change(id, fields);
            Ok(world.copy(id))
        })
    }

    fn act(&self, change: impl FnOnce(&mut World) -> Result<Value, ApiError>) -> Result<Value, Error> {
        let mut value = self.app.act(Cause::default(), change).map_err(refused)?;
        strip(&mut value);
        Ok(value)
    }
}

fn refused(error: ApiError) -> Error {
    Error::Refused(error.message)
}
