//! Which scenarios there are, what each is held against, and its goal.

use super::goal::Goal;
use anyhow::Result;
use bursar_services::Postgres;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Customers of the scenarios with many.
const MANY: u64 = 10_000;
/// Callers of the scenarios with debits.
const CALLERS: [usize; 3] = [1, 20, 256];
/// Nodes, and callers for the hot customer at each.
const HOT: [(usize, usize); 3] = [(2, 16), (4, 8), (4, 64)];
/// Customers beside the hot one.
pub const HOT_OTHERS: u64 = 1_000;
/// How many times longer than debits signups last.
const SIGNUPS_LAST: u64 = 3;

/// How something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
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
    /// Each of many customers once, for the memory that stays.
    Touch,
}

impl Way {
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
            Self::Touch => "touch",
        }
    }
}

/// One thing to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name in the table.
    pub name: String,
    /// How it is done.
    pub way: Way,
    /// `postgres` or `sqlite`.
    pub database: String,
    /// Callers at once.
    pub callers: usize,
    /// Customers.
    pub customers: u64,
    /// Nodes; one, unless the scenario is about several.
    pub nodes: usize,
    /// How long debits are made.
    pub seconds: u64,
    /// How many webhooks are delivered.
    pub webhooks: u64,
    /// The scenario that this one's rate is divided by.
    pub against: Option<String>,
    /// What is to be reached.
    pub goal: Option<Goal>,
    /// Whether the database has its customers already.
    pub is_seeded: bool,
    /// Where the database is; filled in by [`Services::prepare`].
    pub database_url: String,
    /// Where the broker is; empty for the in-process queue.
    pub amqp_url: String,
    /// A folder for the scenario's own files.
    pub folder: PathBuf,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Length {
    /// Seconds that debits and signups last.
    pub seconds: u64,
    /// Webhooks that are delivered.
    pub webhooks: u64,
}

impl Scenario {
    /// A scenario on one node that has no goal and no database yet.
    pub fn new(way: Way, database: &str, callers: usize, customers: u64, length: Length) -> Self {
        Self {
            name: format!("{} {database} {callers}x{customers}", way.as_str()),
            way,
            database: database.to_owned(),
            callers,
            customers,
            nodes: 1,
            seconds: length.seconds,
            webhooks: length.webhooks,
            against: None,
            goal: None,
            is_seeded: false,
            database_url: String::new(),
            amqp_url: String::new(),
            folder: PathBuf::new(),
        }
    }

    /// What its queues' names begin with: nobody else's do.
    pub fn queue_prefix(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        format!("bench.{}", name.to_string_lossy())
    }

    fn against(mut self, other: &Self) -> Self {
        self.against = Some(other.name.clone());
        self
    }

    fn goal(mut self, goal: Option<Goal>) -> Self {
        self.goal = goal;
        self
    }

    /// Whether a filter chooses it: its name contains each word.
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
    /// Where files go.
    pub folder: PathBuf,
}

impl Services<'_> {
    /// Gives a scenario a database of its own, another one in each round.
    pub fn prepare(&self, scenario: &mut Scenario, round: usize) -> Result<()> {
        let name: String = scenario.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let name = format!("{name}_{round}");
        scenario.folder = self.folder.join(&name);
        std::fs::create_dir_all(&scenario.folder)?;
        if scenario.database == "postgres" {
            scenario.database_url = self.postgres.create_database(&format!("bench_{name}").to_lowercase())?;
            if matches!(scenario.way, Way::Webhooks | Way::Signups | Way::Holds | Way::Hot) {
                scenario.amqp_url.clone_from(&self.amqp_url);
            }
        } else {
            scenario.database_url = format!("sqlite://{}", scenario.folder.join("bursar.db").display());
        }
        Ok(())
    }
}

/// All scenarios in the order in which they run.
pub fn plan(length: Length) -> Vec<Scenario> {
    let scenario = |way: Way, database: &str, callers: usize, customers: u64| {
        Scenario::new(way, database, callers, customers, length)
    };
    let mut all = Vec::new();
    for customers in [1, MANY] {
        let row_lock = scenario(Way::RowLock, "postgres", 20, customers);
        all.push(row_lock.clone());
        for callers in CALLERS {
            let goal = (callers == 256 && customers == MANY).then_some(Goal::Ratio(8.0));
            all.push(scenario(Way::Actors, "postgres", callers, customers).against(&row_lock).goal(goal));
        }
    }
    for customers in [1, MANY] {
        for callers in CALLERS {
            // A ratio means something only while the machine stays as it is: the two run one after the other.
            let baseline = scenario(Way::Baseline, "postgres", callers, customers);
            let goal = http_goal(callers, customers);
            let bursar = scenario(Way::Http, "postgres", callers, customers).against(&baseline).goal(goal);
            all.extend([baseline, bursar]);
        }
    }
    all.extend([20, 256].map(|callers| scenario(Way::Holds, "postgres", callers, MANY)));
    all.extend(HOT.map(|(nodes, callers)| hot(nodes, callers, length)));
    all.push(signups(length));
    all.push(scenario(Way::Webhooks, "postgres", 64, 2_000));
    for customers in [1, MANY] {
        for callers in CALLERS {
            all.push(scenario(Way::Actors, "sqlite", callers, customers));
        }
    }
    all.push(scenario(Way::Webhooks, "sqlite", 64, 2_000));
    all.push(scenario(Way::Touch, "postgres", 256, 100_000).goal(Some(Goal::PeakMib(150.0))));
    all
}

/// One hot customer on several nodes, with so many callers for it at each.
fn hot(nodes: usize, callers: usize, length: Length) -> Scenario {
    // The customers beside the hot one are the scenario's too.
    let scenario = Scenario::new(Way::Hot, "postgres", nodes * callers, 1 + HOT_OTHERS, length);
    let name = format!("hot customer postgres, {nodes} nodes x {callers}");
    Scenario { name, nodes, goal: Some(Goal::NoneRefused), ..scenario }
}

/// Signups; longer than other scenarios, since plans that were made for empty tables go wrong with time.
fn signups(length: Length) -> Scenario {
    let length = Length { seconds: length.seconds * SIGNUPS_LAST, ..length };
    let scenario = Scenario::new(Way::Signups, "postgres", 0, 0, length);
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
