//! Versions: every catalogue that was ever in force. The latest one is.

use crate::clock::TimeMs;

/// The number of the first version.
pub const FIRST: i64 = 1;

/// A catalogue that is or was in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueVersion {
    /// Its number, from [`FIRST`] without gaps.
    pub version: i64,
    /// The catalogue as [`write`](super::write::write) writes it.
    pub catalogue: String,
    /// Who applied it: `system` or `admin:<name>`.
    pub applied_by: String,
    /// Why.
    pub reason: String,
    /// When it came into force.
    pub applied_at_ms: TimeMs,
}
