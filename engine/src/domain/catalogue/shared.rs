//! The catalogue that this process uses now, shared by all its parts.

use super::version::FIRST;
use super::{Catalogue, CatalogueHistory};
use crate::clock::TimeMs;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A handle to the present catalogue. Clones share it.
#[derive(Clone)]
pub struct SharedCatalogue(Arc<RwLock<InForce>>);

struct InForce {
    version: i64,
    since_ms: TimeMs,
    catalogue: Arc<Catalogue>,
    /// With the present one, once somebody has asked for what was in force before.
    history: Option<Arc<CatalogueHistory>>,
}

impl SharedCatalogue {
    /// Shares a catalogue that is no version yet.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Self(Arc::new(RwLock::new(InForce { version: 0, since_ms: 0, catalogue, history: None })))
    }

    /// The present catalogue. Whoever decides something takes it once, so that one decision sees one catalogue.
    pub fn now(&self) -> Arc<Catalogue> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).catalogue.clone()
    }

    /// The number of the present version; 0 before the first.
    pub fn version(&self) -> i64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).version
    }

    /// Replaces the catalogue for all clones, under the present version's number.
    pub fn replace(&self, catalogue: Arc<Catalogue>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).catalogue = catalogue;
    }

    /// Puts a version that is in force since a time into force for all clones, unless that or a newer one already is.
    /// False if so.
    pub fn advance(&self, version: i64, since_ms: TimeMs, catalogue: Arc<Catalogue>) -> bool {
        let mut in_force = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_newer = version > in_force.version;
        if is_newer {
            *in_force = InForce { version, since_ms, catalogue, history: None };
        }
        is_newer
    }

    /// Whether another version than the present one may have been in force at a time.
    pub fn may_have_changed_since(&self, at_ms: TimeMs) -> bool {
        let in_force = self.0.read().unwrap_or_else(PoisonError::into_inner);
        in_force.version > FIRST && at_ms < in_force.since_ms
    }

    /// The number of the present version, and the history up to it if it is remembered.
    pub fn history(&self) -> (i64, Option<Arc<CatalogueHistory>>) {
        let in_force = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (in_force.version, in_force.history.clone())
    }

    /// Remembers the history up to a version, if that is the present one.
    pub fn remember(&self, version: i64, history: Arc<CatalogueHistory>) {
        let mut in_force = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if in_force.version == version {
            in_force.history = Some(history);
        }
    }
}

impl Default for SharedCatalogue {
    fn default() -> Self {
        Self::new(Catalogue::built_in())
    }
}

impl fmt::Debug for SharedCatalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCatalogue").field("version", &self.version()).field("catalogue", &self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let (shared, built_in) = (SharedCatalogue::default(), Catalogue::built_in());
        let other = Arc::new(Catalogue { prices: Vec::new(), ..Catalogue::clone(&built_in) });
        assert!(shared.clone().advance(2, 10, other.clone()));
        for late in [1, 2] {
            assert!(!shared.advance(late, 20, built_in.clone()), "{late}");
        }
        assert_eq!((shared.version(), shared.now()), (2, other));
        assert_eq!([9, 10].map(|at_ms| shared.may_have_changed_since(at_ms)), [true, false]);
    }

    #[test]
    fn a_history_is_remembered_until_the_next_version() {
        let (shared, built_in) = (SharedCatalogue::default(), Catalogue::built_in());
        let history = Arc::new(CatalogueHistory::new(vec![(10, built_in.clone())]));
        assert!(shared.advance(1, 10, built_in.clone()));
        assert!(!shared.may_have_changed_since(9), "there was none before the first");
        shared.remember(2, history.clone());
        assert_eq!(shared.history(), (1, None), "it is of another version");
        shared.remember(1, history.clone());
        assert_eq!(shared.history(), (1, Some(history)));
        assert!(shared.advance(2, 20, built_in));
        assert_eq!(shared.history(), (2, None));
    }
}
