//! RabbitMQ, which announces work. A message is a pointer into the database, never the only copy of anything, so
//! the sweeper can republish whatever the broker loses.
//!
//! One mechanism recovers from everything (broker restart, lost connection, closed channel, cancelled consumer):
//! the session ends, and a new one connects, declares the topology and consumes again.

mod session;
mod survey;
mod topology;

pub use session::{Broker, BrokerOptions, Delivered, Health};
pub use survey::{Survey, SurveyError, server_version, survey};
pub use topology::Topology;

use crate::domain::job::Wake;
use serde::{Deserialize, Serialize};

/// The body of a message: job J, attempt n, is due on its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The stream.
    pub stream: String,
    /// The job.
    pub job: String,
    /// Attempts used up at publication; a copy with another number is stale.
    pub attempt: i64,
}

impl From<&Wake> for Pointer {
    fn from(wake: &Wake) -> Self {
        Self { stream: wake.stream_key.clone(), job: wake.job_id.to_string(), attempt: wake.attempt }
    }
}
