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
    /// How long debits are made.
    pub seconds: u64,
    /// How many webhooks are delivered.
    pub webhooks: u64,
    /// The scenario that this one's rate is divided by.
    pub against: Option<String>,
    /// What is to be reached.
    pub goal: Option<Goal>,
    /// Where the database is; filled in by [`Services::prepare`].
    pub database_url: String,
    /// Where the broker is; empty for the in-process queue.
    pub amqp_url: String,
    /// A folder for the scenario's own files.
    pub folder: PathBuf,
}

impl Scenario {
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
            if scenario.way == Way::Webhooks {
                scenario.amqp_url.clone_from(&self.amqp_url);
            }
        } else {
            scenario.database_url = format!("sqlite://{}", scenario.folder.join("bursar.db").display());
        }
        Ok(())
    }
}

/// All scenarios in the order in which they run.
pub fn plan(seconds: u64, webhooks: u64) -> Vec<Scenario> {
    let scenario = |way: Way, database: &str, callers: usize, customers: u64| Scenario {
        name: format!("{} {database} {callers}x{customers}", way.as_str()),
        way,
        database: database.to_owned(),
        callers,
        customers,
        seconds,
        webhooks,
        against: None,
        goal: None,
        database_url: String::new(),
        amqp_url: String::new(),
        folder: PathBuf::new(),
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

fn http_goal(callers: usize, customers: u64) -> Option<Goal> {
    match (callers, customers) {
        (1, _) => Some(Goal::Ratio(1.0)),
        (20, MANY) => Some(Goal::Ratio(2.0)),
        (256, 1) => Some(Goal::Ratio(15.0)),
        (256, MANY) => Some(Goal::Ratio(4.0)),
        _ => None,
    }
}
