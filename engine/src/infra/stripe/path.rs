//! Which paths are asked of Stripe. Ids are checked where they come in; this is the last line of defence: what is no id
//! must not lead to another address.

use super::error::StripeError;
use crate::stripe_id::{is_stripe_id, is_unreserved};

/// Checks a path below `/v1`, such as `/prices/price_1` or `/invoices/in_1/lines`: each part has the letters that ids
/// have.
///
/// # Errors
/// [`StripeError::NotFound`]: nothing at Stripe has such an id.
pub(super) fn check(path: &str) -> Result<(), StripeError> {
    let is_sound = path.strip_prefix('/').is_some_and(|parts| parts.split('/').all(is_stripe_id));
    if is_sound { Ok(()) } else { Err(StripeError::NotFound { message: format!("no address of an object: {path:?}") }) }
}

/// A checked path as it stands in an address: letters that would mean something else there are percent-encoded. Source:
/// RFC 3986, section 2.1.
pub(super) fn encode(path: &str) -> String {
    let encode = |byte: u8| match byte {
        b'/' => "/".to_owned(),
        byte if is_unreserved(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_api_are_asked() {
        for path in [
            "/prices",
            "/prices/price_1MoBy5LkdIwHu7ix",
            "/prices/gold-plan.2019",
            "/prices/Gold plan: 2019+tax",
            "/invoices/create_preview",
            "/invoices/in_1/lines",
            "/payment_methods/pm_1/detach",
            "/checkout/sessions",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn letters_of_old_ids_that_mean_something_in_an_address_are_encoded() {
        assert_eq!(encode("/prices/Gold plan: 2019+tax"), "/prices/Gold%20plan%3A%202019%2Btax");
        assert_eq!(encode("/invoices/in_1/lines"), "/invoices/in_1/lines");
    }

    #[test]
    fn what_is_no_id_leads_nowhere_else() {
        for path in [
            "",
            "prices",
            "/",
            "/prices/",
            "/prices/../balance",
            "/prices/x/../price_1",
            "/prices/..",
            "/prices/.",
            "/prices/%2e%2e",
            "/prices/price_1?expand[]=product",
            "/prices/price_1#a",
            "/prices/ price_1",
            "/prices/x\\..\\balance",
            "/prices/prïce",
        ] {
            assert!(matches!(check(path), Err(StripeError::NotFound { .. })), "{path}");
        }
    }
}
