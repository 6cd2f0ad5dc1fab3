//! The catalogue that this process uses now, shared by all its parts.

use super::Catalogue;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A handle to the present catalogue. Clones share it.
#[derive(Clone)]
pub struct SharedCatalogue(Arc<RwLock<InForce>>);

struct InForce {
    version: i64,
    catalogue: Arc<Catalogue>,
}

impl SharedCatalogue {
    /// Shares a catalogue that is no version yet.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Self(Arc::new(RwLock::new(InForce { version: 0, catalogue })))
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

    /// Puts a version into force for all clones, unless that or a newer one already is. False if so.
    pub fn advance(&self, version: i64, catalogue: Arc<Catalogue>) -> bool {
        let mut in_force = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_newer = version > in_force.version;
        if is_newer {
            *in_force = InForce { version, catalogue };
        }
        is_newer
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
        assert!(shared.clone().advance(2, other.clone()));
        for late in [1, 2] {
            assert!(!shared.advance(late, built_in.clone()), "{late}");
        }
        assert_eq!((shared.version(), shared.now()), (2, other));
    }
}
