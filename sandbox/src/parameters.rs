//! Stripe's known parameters, to refuse misspelt ones as Stripe does.

use crate::error::ApiError;
use crate::form::Form;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// The top-level parameters of each call. Source: Stripe's OpenAPI document, 2026-05-27.dahlia.
static KNOWN: LazyLock<HashMap<String, HashSet<String>>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("parameters.json")).expect("the file is JSON, as a test proves")
});

/// Refuses a call with an unknown parameter. Routes that the OpenAPI document lacks accept any.
pub(crate) fn check(method: &str, pattern: &str, form: &Form) -> Result<(), ApiError> {
    let Some(known) = KNOWN.get(&format!("{method} {pattern}")) else { return Ok(()) };
    match form.names().find(|name| !known.contains(*name)) {
        Some(name) => {
            let message = format!("Received unknown parameter: {name}");
            Err(ApiError::invalid("parameter_unknown", Some(name), &message))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_parameter_is_refused_by_name() {
        let check = |text: &str| check("POST", "/v1/customers", &Form::decode(text).unwrap());
        assert_eq!(check("email=a&metadata[b]=c"), Ok(()));
        assert_eq!(check("e_mail=a").unwrap_err().param.as_deref(), Some("e_mail"));
    }
}
