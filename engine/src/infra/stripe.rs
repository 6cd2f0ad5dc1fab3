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
