//! The runtime: starts the actors, provides handles to them, shuts them down.

use crate::credential::Credentials;
use crate::customer::{AccountCache, Customers};
use crate::dispatch::Dispatcher;
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::limiter::Limiters;
use crate::root::{Child, Root, RootArguments, RootMsg};
use crate::scheduler::{self, SchedulerDeps};
use crate::sealer::{self, SealerDeps};
use crate::stream::{self, Leases, StreamDeps};
use crate::sweeper::{self, SweeperDeps};
use crate::timekeeper::{self, TimekeeperDeps};
use crate::waker::StreamWaker;
use crate::workers::Workers;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::infra::broker::{Broker, BrokerOptions, Delivered};
use bursar_engine::infra::smtp::Mailer;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::stripe::Gateway;
use bursar_engine::usecase::handler::Deps;
use bursar_engine::usecase::work;
use bursar_engine::{Error, Result};
use ractor::{Actor, ActorRef};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{RwLock, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Maximum number of waiting claims; more than the streams that can be alive.
const CLAIMS_WAITING_MAX: usize = 16_384;

/// How long the release of leases may take at shutdown.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// HTTP and jobs.
    All,
    /// HTTP only.
    Api,
    /// Jobs only.
    Worker,
}

/// The inputs of [`Runtime::start`].
pub struct RuntimeOptions {
    /// The configuration.
    pub config: Config,
    /// A migrated database.
    pub db: Db,
    /// The clock, compared with the database's.
    pub clock: Clock,
    /// Name of this process, never used by another.
    pub node: String,
    /// Whether it serves HTTP, runs jobs, or both.
    pub role: Role,
    /// The Stripe client.
    pub stripe: Gateway,
}

/// The running actors and the handles to them.
pub struct Runtime {
    /// API keys.
    pub credentials: Credentials,
    /// Rate limits.
    pub limiters: Limiters,
    /// Credit commands.
    pub customers: Customers,
    /// Commits without a customer's actor.
    pub ledger: Ledger,
    /// Intake of events.
    pub intake: Intake,
    /// Announces jobs.
    pub dispatcher: Dispatcher,
    /// The broker, if there is one.
    pub broker: Option<Broker>,
    /// The dependencies of handlers, for dry runs.
    pub handlers: Deps,
    root: ActorRef<RootMsg>,
    tasks: Vec<JoinHandle<()>>,
    draining: CancellationToken,
    stopping: CancellationToken,
    fatal: CancellationToken,
    workers: Arc<Workers>,
    db: Db,
    node: String,
}

impl Runtime {
    /// Starts everything. The broker may still be down.
    ///
    /// # Errors
    /// If the database cannot be reached or an actor does not start.
    pub async fn start(options: RuntimeOptions) -> Result<Self> {
        let RuntimeOptions { config, db, clock, node, role, stripe } = options;
        if !db.is_postgres() {
            // The folder's lock proves that no other process runs, so all leases belong to dead processes.
            work::rescue_all(&db).await?;
        }
        let runs_jobs = role != Role::Api;
        let draining = CancellationToken::new();
        let mut parts = Parts::new(&config, &db, &clock, &node, runs_jobs, &draining);
        let workers = Arc::new(Workers::new(config.jobs.workers_max));
        let handlers = Deps {
            db: db.clone(),
            node: node.clone(),
            catalogue: config.catalogue.clone(),
            credits: config.credits.clone(),
            marketplace: config.marketplace.clone(),
            stripe: stripe.clone(),
            answer_wait_ms: config.stripe.wait_ms.try_into().unwrap_or(i64::MAX),
            doubt_ms: config.stripe.doubt_ms,
            mail: Mailer::new(&config)?,
            livemode: config.stripe.livemode,
            reconcile_grace_ms: config.stripe.reconcile_window().grace_ms,
            retention_days: config.jobs.retention_days,
            is_dry_run: false,
        };
        if runs_jobs {
            parts.add_work(&config, &handlers, &clock, &draining, &workers);
        }
        let (stopping, fatal) = (CancellationToken::new(), CancellationToken::new());
        let arguments = RootArguments { children: parts.children, stopping: stopping.clone(), fatal: fatal.clone() };
        let (root, _) = Actor::spawn(None, Root, arguments).await.map_err(|error| Error::Io {
            what: "the actors did not start".to_owned(),
            source: std::io::Error::other(error.to_string()),
        })?;
        Ok(Self {
            credentials: parts.credentials,
            limiters: parts.limiters,
            customers: parts.customers,
            ledger: parts.ledger,
            intake: parts.intake,
            dispatcher: parts.dispatcher,
            broker: parts.broker,
            handlers,
            root,
            tasks: parts.tasks,
            draining,
            stopping,
            fatal,
            workers,
            db,
            node,
        })
    }

    /// Waits until an actor can no longer be restarted. The process must end then.
    pub async fn failed(&self) {
        self.fatal.cancelled().await;
    }

    /// Shuts down: starts no more jobs, waits up to `patience` for running ones, releases the leases of the rest, which
    /// uses up no attempt.
    pub async fn stop(&self, patience: Duration) {
        self.draining.cancel();
        if tokio::time::timeout(patience, self.workers.drain()).await.is_err() {
            tracing::warn!("some jobs did not end in time; another node runs them again");
        }
        for task in &self.tasks {
            task.abort();
        }
        self.stopping.cancel();
        self.root.stop(None);
        self.root.stop_children(None);
        let release = work::release_node(&self.db, &self.node);
        match tokio::time::timeout(RELEASE_TIMEOUT, release).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %error.chain(), "leases could not be released; they will expire");
            }
            Err(_) => tracing::warn!("leases could not be released in time; they will expire"),
        }
    }
}

/// The parts of a runtime during its construction.
struct Parts {
    children: Vec<Child>,
    tasks: Vec<JoinHandle<()>>,
    credentials: Credentials,
    limiters: Limiters,
    customers: Customers,
    ledger: Ledger,
    intake: Intake,
    dispatcher: Dispatcher,
    broker: Option<Broker>,
    streams: Option<StreamWaker>,
    leases: Leases,
}

impl Parts {
    fn new(config: &Config, db: &Db, clock: &Clock, node: &str, runs_jobs: bool, draining: &CancellationToken) -> Self {
        let mut tasks = Vec::new();
        let streams = runs_jobs.then(StreamWaker::new);
        let broker = (!config.amqp_url.is_empty()).then(|| {
            let deliveries_max = usize::from(config.amqp.prefetch);
            let (deliveries, received) = mpsc::channel(deliveries_max);
            let options =
                BrokerOptions { url: config.amqp_url.clone(), config: config.amqp.clone(), consume: runs_jobs };
            let (broker, task) = Broker::start(options, deliveries);
            tasks.push(task);
            if let Some(streams) = &streams {
                tasks.push(tokio::spawn(deliver(received, streams.clone())));
            }
            broker
        });
        let dispatcher = Dispatcher::new(broker.clone(), streams.clone(), clock.clone());
        let ledger = Ledger::new(db, node, clock, &dispatcher, config);
        let account_cache = AccountCache::new(config.ledger.accounts_memory_kib.saturating_mul(1_024));
        let (customers, router) = Customers::new(db, clock, &ledger, &account_cache, config);
        let intake = Intake::new(db, clock, &dispatcher);
        let credentials = Credentials::new(db, clock, account_cache, config.http.requests_max);
        let limiters = Limiters::new(db, clock, config.http.requests_max);
        let leases = Leases::default();
        let sweeper = SweeperDeps {
            db: db.clone(),
            clock: clock.clone(),
            dispatcher: dispatcher.clone(),
            customers: customers.clone(),
            broker: broker.clone(),
            leases: leases.clone(),
            jobs: config.jobs.clone(),
            catalogue: config.catalogue.clone(),
            runs_jobs,
            draining: draining.clone(),
        };
        let timekeeper =
            TimekeeperDeps { db: db.clone(), clock: clock.clone(), offset_max_ms: config.database.clock_offset_max_ms };
        let children = vec![router, sweeper::child(Arc::new(sweeper)), timekeeper::child(Arc::new(timekeeper))];
        Self { children, tasks, credentials, limiters, customers, ledger, intake, dispatcher, broker, streams, leases }
    }

    fn add_work(
        &mut self,
        config: &Config,
        handlers: &Deps,
        clock: &Clock,
        draining: &CancellationToken,
        workers: &Arc<Workers>,
    ) {
        let Some(streams) = &self.streams else { return };
        let claims = stream::claims(handlers, clock, config.jobs.lease_ms, CLAIMS_WAITING_MAX);
        let deps = StreamDeps {
            handlers: handlers.clone(),
            clock: clock.clone(),
            claims,
            ledger: self.ledger.clone(),
            customers: self.customers.clone(),
            dispatcher: self.dispatcher.clone(),
            leases: self.leases.clone(),
            workers: workers.clone(),
            isolation: RwLock::new(()),
            jobs: config.jobs.clone(),
            draining: draining.clone(),
        };
        let scheduler = SchedulerDeps {
            db: handlers.db.clone(),
            clock: clock.clone(),
            dispatcher: self.dispatcher.clone(),
            // Without a Stripe key there is nothing to compare with.
            reconcile_hour: Some(config.stripe.reconcile_hour).filter(|hour| *hour >= 0 && config.has_stripe()),
            reconcile_window: config.stripe.reconcile_window(),
        };
        let sealer = SealerDeps { db: handlers.db.clone(), clock: clock.clone() };
        self.children.extend([
            stream::child(streams, Arc::new(deps)),
            scheduler::child(Arc::new(scheduler)),
            sealer::child(Arc::new(sealer)),
        ]);
    }
}

/// Passes the broker's messages to the streams.
async fn deliver(mut received: mpsc::Receiver<Delivered>, streams: StreamWaker) {
    while let Some(delivered) = received.recv().await {
        if !delivered.is_usable() {
            continue;
        }
        match delivered.pointer.clone() {
            Some(pointer) => streams.wake(&pointer.stream, Some(delivered)),
            None => {
                tracing::warn!("an unreadable message was dropped; the sweeper finds its job in the database");
                delivered.ack().await;
            }
        }
    }
}
