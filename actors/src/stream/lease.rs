//! Leases on streams: those that this process holds, and their renewal.

use bursar_engine::Result;
use bursar_engine::clock::TimeMs;
use bursar_engine::infra::store::{Db, stream};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The leases that this process holds: streams and their epochs.
#[derive(Clone, Default)]
pub(crate) struct Leases(Arc<Mutex<HashMap<String, i64>>>);

impl Leases {
    /// Extends all leases to `until_ms`.
    pub(crate) async fn renew(&self, db: &Db, until_ms: TimeMs) -> Result<()> {
        let leases = self.all();
        if !leases.is_empty() {
            stream::stream_renew_many(db.write(), &leases, until_ms).await?;
        }
        Ok(())
    }

    /// Has a lease renewed until the returned value is dropped.
    pub(super) fn hold(&self, key: &str, epoch: i64) -> Lease {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), epoch);
        Lease { leases: self.clone(), key: key.to_owned() }
    }

    fn all(&self) -> Vec<(String, i64)> {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.iter().map(|(key, epoch)| (key.clone(), *epoch)).collect()
    }
}

/// How often leases of this length are renewed: two renewals may fail before they expire.
pub(crate) fn renew_interval(lease_ms: i64) -> Duration {
    Duration::from_millis(lease_ms.unsigned_abs() / 3)
}

/// A lease that is renewed until this is dropped.
pub(super) struct Lease {
    leases: Leases,
    key: String,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
