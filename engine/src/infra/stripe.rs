//! The Stripe gateway: every call that Bursar makes to Stripe, and its result.
//!
//! Requests are built by async-stripe, so their paths and parameters are Stripe's own. Bursar's own transport sends
//! them. Answers are parsed like events, leniently and in any API version ([`crate::domain::webhook::fields`]): a
//! field that Stripe adds or moves must not make a payment unreadable.
//!
//! | module | what is in it |
//! |---|---|
//! | [`error`] | the meaning of a failed call for the caller |
//! | [`retry`] | whether and when a call is retried, pure |
//! | [`breaker`] | the circuit breaker, pure |
//! | `path` | which paths are asked |
//! | `turns` | whose call is next at the rate limit |
//! | [`gateway`] | one call: limits, retries, metrics |
//! | [`probe`] | reads for a preflight |
//! | [`requests`] | the calls, one function each |
//! | [`charge`] | those about charges, refunds and disputes |
//! | [`catalogue`] | those that make products and prices |
//! | [`change`] | those that change and preview a subscription |

pub mod breaker;
pub mod catalogue;
pub mod change;
pub mod charge;
pub mod error;
pub mod gateway;
mod path;
pub mod probe;
pub mod requests;
pub mod retry;
mod turns;

pub use error::{Decline, StripeError, found};
pub use gateway::{Answer, Gateway, GatewayOptions};

pub use crate::config::STRIPE_API_BASE as API_BASE;
