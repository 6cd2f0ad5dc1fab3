//! Catalogues of tests.

use bursar_engine::domain::catalogue::{Catalogue, SharedCatalogue};
use std::sync::Arc;

/// The built-in catalogue with changes, for a test's configuration.
pub fn catalogue_with(change: impl FnOnce(&mut Catalogue)) -> SharedCatalogue {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    change(&mut catalogue);
    SharedCatalogue::new(Arc::new(catalogue))
}
