//! The catalogue that this process uses now, shared by all its parts.

use super::Catalogue;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A handle to the present catalogue. Clones share it.
#[derive(Clone)]
pub struct SharedCatalogue(Arc<RwLock<Arc<Catalogue>>>);

impl SharedCatalogue {
    /// Shares a catalogue.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Self(Arc::new(RwLock::new(catalogue)))
    }

    /// The present catalogue. Whoever decides something takes it once, so that one decision sees one catalogue.
    pub fn now(&self) -> Arc<Catalogue> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the catalogue for all clones.
    pub fn replace(&self, catalogue: Arc<Catalogue>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = catalogue;
    }
}

impl Default for SharedCatalogue {
    fn default() -> Self {
        Self::new(Catalogue::built_in())
    }
}

impl fmt::Debug for SharedCatalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedCatalogue").field(&self.now()).finish()
    }
}
