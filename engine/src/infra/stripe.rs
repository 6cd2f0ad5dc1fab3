//! The Stripe gateway: every call that Bursar makes to Stripe, and what came of it.
//!
//! Requests are built by async-stripe, so their paths and parameters are Stripe's own. They are sent
//! by our own transport and answers are read like events, leniently and in any API version
//! ([`crate::domain::webhook::shape`]): a field that Stripe adds or moves must not make a payment unreadable.
//!
//! | module | what is in it |
//! |---|---|
//! | [`error`] | what a failed call means for the caller |
//! | [`retry`] | whether and when a call is tried again, pure |
//! | [`breaker`] | when Stripe is left alone for a while, pure |
//! | [`gateway`] | one call: limits, retries, metrics |
//! | [`requests`] | the calls, one function each |

pub mod breaker;
pub mod error;
pub mod gateway;
pub mod requests;
pub mod retry;

pub use error::{Decline, StripeError};
pub use gateway::{Answer, Gateway, GatewayOptions};

/// Where Stripe's API is.
pub const API_BASE: &str = "https://api.stripe.com";

/// Which mode a secret key belongs to; `None` if it is no secret or restricted key of Stripe.
/// Source: Stripe, "API keys".
pub fn key_is_live(key: &str) -> Option<bool> {
    let rest = key.strip_prefix("sk_").or_else(|| key.strip_prefix("rk_"))?;
    match rest.split_once('_') {
        Some(("live", body)) if !body.is_empty() => Some(true),
        Some(("test", body)) if !body.is_empty() => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_its_mode_and_anything_else_is_no_key() {
        assert_eq!(key_is_live("sk_live_x"), Some(true));
        assert_eq!(key_is_live("rk_test_x"), Some(false));
        for text in ["", "sk_live_", "sk_test_", "pk_test_x", "whsec_x", "sk_x"] {
            assert_eq!(key_is_live(text), None, "{text}");
        }
    }
}
