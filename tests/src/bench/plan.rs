//! The scenarios, what each is compared with, and its goal.

use super::goal::Goal;
use anyhow::Result;
use bursar_services::Postgres;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Customers of the scenarios with many customers.
const MANY: u64 = 10_000;
/// Numbers of callers in the debit scenarios.
const CALLERS: [usize; 3] = [1, 20, 256];
/// Pairs of nodes and callers for the hot customer at each node.
const HOT: [(usize, usize); 3] = [(2, 16), (4, 8), (4, 64)];
/// Customers besides the hot one.
pub const OTHER_CUSTOMERS: u64 = 1_000;
/// How many times longer the signups run than debits.
const SIGNUPS_LAST: u64 = 3;

/// The operation that a scenario measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// BEGIN; SELECT … FOR UPDATE; INSERT; UPDATE; COMMIT, called in the process.
    RowLock,
    /// Customer actors and group commit, called in the process.
    Actors,
    /// A service on row locks, through HTTP.
    Baseline,
    /// Bursar through HTTP.
    Http,
    /// Webhooks from delivery to processed.
    Webhooks,
    /// Signups through HTTP, at a constant rate.
    Signups,
    /// Holds and their captures through HTTP.
    Holds,
    /// One hot customer on several nodes.
    Hot,
    /// A paying customer beside another one whose card declines and who asks all the time.
    Fairness,
    /// Debits beside strangers who are slow, withhold bodies and forge webhooks.
    Abuse,
    /// One debit for each of many customers; measures the resident memory.
    Touch,
}

impl Workload {
    /// Its name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RowLock => "row lock",
            Self::Actors => "actors",
            Self::Baseline => "http baseline",
            Self::Http => "http bursar",
            Self::Webhooks => "webhooks",
            Self::Signups => "signups",
            Self::Holds => "hold + capture",
            Self::Hot => "hot customer",
            Self::Fairness => "fairness",
            Self::Abuse => "abuse",
            Self::Touch => "touch",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name in the table.
    pub name: String,
    /// The operation.
    pub workload: Workload,
    /// `postgres` or `sqlite`.
    pub database: String,
    /// Concurrent callers.
    pub callers: usize,
    /// Customers.
    pub customers: u64,
    /// Nodes; more than one only for the hot customer.
    pub nodes: usize,
    /// How long the load lasts.
    pub seconds: u64,
    /// How many webhooks are delivered.
    pub webhooks: u64,
    /// The scenario whose rate this one's is divided by.
    pub compared_with: Option<String>,
    /// The goal, if it has one.
    pub goal: Option<Goal>,
    /// Whether the database already has its customers.
    pub is_seeded: bool,
    /// The database's URL; filled in by [`Services::prepare`].
    pub database_url: String,
    /// The broker's URL; empty for the in-process queue.
    pub amqp_url: String,
    /// A folder for the scenario's own files.
    pub folder: PathBuf,
}

/// How long the scenarios run.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// Seconds that debits and signups last.
    pub seconds: u64,
    /// Webhooks that are delivered.
    pub webhooks: u64,
}

impl Scenario {
    /// Creates a scenario on one node, without a goal and without a database.
    pub fn new(workload: Workload, database: &str, callers: usize, customers: u64, length: Length) -> Self {
        Self {
            name: format!("{} {database} {callers}x{customers}", workload.as_str()),
            workload,
            database: database.to_owned(),
            callers,
            customers,
            nodes: 1,
            seconds: length.seconds,
            webhooks: length.webhooks,
            compared_with: None,
            goal: None,
            is_seeded: false,
            database_url: String::new(),
            amqp_url: String::new(),
            folder: PathBuf::new(),
        }
    }

    /// The prefix of its queues' names, unique to this scenario.
    pub fn queue_prefix(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        format!("bench.{}", name.to_string_lossy())
    }

    fn compared_with(mut self, other: &Self) -> Self {
        self.compared_with = Some(other.name.clone());
        self
    }

    fn goal(mut self, goal: Option<Goal>) -> Self {
        self.goal = goal;
        self
    }

    /// Whether its name contains each word of the filter.
    pub fn matches(&self, filter: &str) -> bool {
        filter.split_whitespace().all(|word| self.name.contains(word))
    }
}

/// The services that scenarios run on.
pub struct Services<'a> {
    /// Postgres.
    pub postgres: &'a Postgres,
    /// RabbitMQ.
    pub amqp_url: String,
    /// The folder for files.
    pub folder: PathBuf,
}

impl Services<'_> {
    /// Creates a database for this scenario and round.
    pub fn prepare(&self, scenario: &mut Scenario, round: usize) -> Result<()> {
        let name: String = scenario.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let name = format!("{name}_{round}");
        scenario.folder = self.folder.join(&name);
        std::fs::create_dir_all(&scenario.folder)?;
        if scenario.database == "postgres" {
            scenario.database_url = self.postgres.create_database(&format!("bench_{name}").to_lowercase())?;
            let without_broker =
                [Workload::RowLock, Workload::Actors, Workload::Baseline, Workload::Http, Workload::Touch];
            if !without_broker.contains(&scenario.workload) {
                scenario.amqp_url.clone_from(&self.amqp_url);
            }
        } else {
            scenario.database_url = format!("sqlite://{}", scenario.folder.join("bursar.db").display());
        }
        Ok(())
    }
}

/// Returns all scenarios in the order they run.
pub fn plan(length: Length) -> Vec<Scenario> {
    let scenario = |workload: Workload, database: &str, callers: usize, customers: u64| {
        Scenario::new(workload, database, callers, customers, length)
    };
    let mut all = Vec::new();
    for customers in [1, MANY] {
        let row_lock = scenario(Workload::RowLock, "postgres", 20, customers);
        all.push(row_lock.clone());
        for callers in CALLERS {
            let goal = (callers == 256 && customers == MANY).then_some(Goal::Ratio(8.0));
            all.push(scenario(Workload::Actors, "postgres", callers, customers).compared_with(&row_lock).goal(goal));
        }
    }
    for customers in [1, MANY] {
        for callers in CALLERS {
            // The two run back to back, so that the ratio is taken under the same machine load.
            let baseline = scenario(Workload::Baseline, "postgres", callers, customers);
            let goal = http_goal(callers, customers);
            let bursar = scenario(Workload::Http, "postgres", callers, customers).compared_with(&baseline).goal(goal);
            all.extend([baseline, bursar]);
        }
    }
    all.extend([20, 256].map(|callers| scenario(Workload::Holds, "postgres", callers, MANY)));
    all.extend(HOT.map(|(nodes, callers)| hot(nodes, callers, length)));
    all.push(signups(length));
    all.push(fairness(length));
    all.push(abuse(length));
    all.push(scenario(Workload::Webhooks, "postgres", 64, 2_000));
    for customers in [1, MANY] {
        for callers in CALLERS {
            all.push(scenario(Workload::Actors, "sqlite", callers, customers));
        }
    }
    all.push(scenario(Workload::Webhooks, "sqlite", 64, 2_000));
    all.push(scenario(Workload::Touch, "postgres", 256, 100_000).goal(Some(Goal::PeakMib(150.0))));
    all
}

/// One hot customer on several nodes, with this many callers for it at each.
fn hot(nodes: usize, callers: usize, length: Length) -> Scenario {
    // The other customers count as the scenario's customers, too.
    let scenario = Scenario::new(Workload::Hot, "postgres", nodes * callers, 1 + OTHER_CUSTOMERS, length);
    let name = format!("hot customer postgres, {nodes} nodes x {callers}");
    Scenario { name, nodes, goal: Some(Goal::NoneRefused), ..scenario }
}

/// A customer that is charged for each unit, beside a flood.
fn fairness(length: Length) -> Scenario {
    let scenario = Scenario::new(Workload::Fairness, "postgres", 1, 2, length);
    let name = "charges postgres, beside 500 declines a second".to_owned();
    Scenario { name, goal: Some(Goal::P95Times(2.0)), ..scenario }
}

/// Debits beside an attack from another address.
fn abuse(length: Length) -> Scenario {
    let scenario = Scenario::new(Workload::Abuse, "postgres", 20, OTHER_CUSTOMERS, length);
    let name = "debits postgres, beside 2,100 slow clients and forged webhooks".to_owned();
    Scenario { name, goal: Some(Goal::P99Times(2.0)), ..scenario }
}

/// Signups run longer, since query plans made for empty tables degrade over time.
fn signups(length: Length) -> Scenario {
    let length = Length { seconds: length.seconds * SIGNUPS_LAST, ..length };
    let scenario = Scenario::new(Workload::Signups, "postgres", 0, 0, length);
    Scenario { name: "signups postgres, 100 a second".to_owned(), goal: Some(Goal::P95Ms(8.0)), ..scenario }
}

fn http_goal(callers: usize, customers: u64) -> Option<Goal> {
    match (callers, customers) {
        (1, _) => Some(Goal::Ratio(1.0)),
        (20, MANY) => Some(Goal::Ratio(2.0)),
        (256, 1) => Some(Goal::Ratio(15.0)),
        (256, MANY) => Some(Goal::Ratio(4.0)),
        _ => None,
    }
}
