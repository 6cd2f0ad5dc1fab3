//! Examples shared by the rules' tests.

use crate::domain::catalogue::{Catalogue, Price};
use crate::key::PriceKey;
use std::sync::Arc;

/// The built-in catalogue.
pub(crate) fn catalogue() -> Arc<Catalogue> {
    Catalogue::built_in()
}

/// Its price of Pro.
pub(crate) fn pro_price() -> Price {
    catalogue().price(&PriceKey::trusted("pro_monthly")).expect("it is in the built-in catalogue").clone()
}
