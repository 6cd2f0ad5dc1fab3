//! The goals of scenarios.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The goal of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// At least this many times the rate of the scenario it is compared with.
    Ratio(f64),
    /// A 95th percentile of latencies below this many milliseconds.
    P95Ms(f64),
    /// A 95th percentile of less than this many times the one without the other traffic.
    P95Times(f64),
    /// A 99th percentile of less than this many times the one without the other traffic.
    P99Times(f64),
    /// No request is refused, neither for the hot customer nor for others.
    NoneRefused,
    /// A peak of resident memory below this many MiB.
    PeakMib(f64),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(least) => write!(f, "{least:.1}x"),
            Self::P95Ms(bound) => write!(f, "p95 < {bound:.0} ms"),
            Self::P95Times(bound) => write!(f, "p95 < {bound:.0}x alone"),
            Self::P99Times(bound) => write!(f, "p99 < {bound:.0}x alone"),
            Self::NoneRefused => f.write_str("none refused"),
            Self::PeakMib(bound) => write!(f, "peak < {bound:.0} MiB"),
        }
    }
}
