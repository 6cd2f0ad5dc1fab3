//! The growth run: what everyday work costs on a database that has grown, beside the same work on an
//! empty one. Both databases are measured one after the other for each figure.

mod figure;
pub mod fill;
mod report;

pub use fill::Size;
pub use report::report;

use super::plan::{Length, Scenario, Way};
use anyhow::Result;
use bursar_engine::infra::store::Db;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the run takes place.
pub struct Site {
    /// A database that exists, on a server that has room for two more.
    pub maintenance_url: String,
    /// A broker.
    pub amqp_url: String,
    /// A folder for the servers' files.
    pub folder: PathBuf,
    /// Tells the run's databases and queues from those of others.
    pub unique: String,
}

/// One thing that was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    pub name: String,
    /// `per second` or `ms`.
    pub unit: String,
    /// On the database without a past.
    pub empty: f64,
    /// On the database that has grown.
    pub full: f64,
    /// `full` divided by `empty`.
    pub ratio: f64,
}

/// What a run found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Scheduled jobs in the full database before the measurements.
    pub jobs: i64,
    /// Ledger entries in it.
    pub entries: i64,
    /// Seconds that filling it took.
    pub filled_in_seconds: f64,
    /// The figures, in the order in which they were measured.
    pub figures: Vec<Figure>,
}

/// A database under measurement.
struct Subject {
    scenario: Scenario,
    db: Db,
}

/// Fills a database, measures everything on it and on an empty one, and calls `progress` before each step.
///
/// # Errors
/// When a server does not start or an operation fails.
pub async fn run(site: &Site, size: Size, length: Length, progress: impl Fn(&str)) -> Result<Report> {
    progress("an empty database");
    let empty = Subject::create(site, "empty", Size { jobs: 0, entries: 0, ..size }, length).await?;
    progress("a full database");
    let started = tokio::time::Instant::now();
    let full = Subject::create(site, "full", size, length).await?;
    let filled_in_seconds = started.elapsed().as_secs_f64();
    let (jobs, entries) = fill::count(&full.db).await?;
    let mut figures = Vec::new();
    for measure in figure::Measure::ALL {
        progress(measure.name());
        let (before, after) = (measure.run(&empty).await?, measure.run(&full).await?);
        let measured = before.iter().zip(&after);
        figures.extend(measured.map(|((name, unit, empty), (_, _, full))| Figure {
            name: (*name).to_owned(),
            unit: (*unit).to_owned(),
            empty: *empty,
            full: *full,
            ratio: full / empty,
        }));
    }
    empty.db.close().await;
    full.db.close().await;
    Ok(Report { jobs, entries, filled_in_seconds, figures })
}

impl Subject {
    async fn create(site: &Site, name: &str, size: Size, length: Length) -> Result<Self> {
        let database = format!("growth_{name}_{}", site.unique);
        let mut scenario = Scenario::new(Way::Http, "postgres", 20, size.customers, length);
        scenario.database_url = crate::app::create_database(&site.maintenance_url, &database).await;
        scenario.amqp_url.clone_from(&site.amqp_url);
        scenario.folder = site.folder.join(&database);
        std::fs::create_dir_all(&scenario.folder)?;
        let db = super::seed::open(&scenario, 4, size.customers).await?;
        fill::fill(&db, size).await?;
        scenario.is_seeded = true;
        Ok(Self { scenario, db })
    }
}
