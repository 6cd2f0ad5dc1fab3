//! The signature of handlers.

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::form::Form;
use serde_json::Value;

/// A call with its route.
pub(crate) struct Call {
    pub(crate) path: String,
    /// The parts of the path at the `{}` of its route.
    pub(crate) ids: Vec<String>,
    pub(crate) form: Form,
}

impl Call {
    /// The first id in the path.
    pub(crate) fn id(&self) -> &str {
        self.ids.first().map_or("", String::as_str)
    }

    /// The second id in the path.
    pub(crate) fn second_id(&self) -> &str {
        self.ids.get(1).map_or("", String::as_str)
    }
}

/// Answers a call from the state.
pub(crate) type Handler = fn(&mut StripeAccount, &Call) -> Result<Value, ApiError>;
