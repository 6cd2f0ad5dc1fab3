//! The sandbox, which replaces Stripe inside this process. No real money moves.
//!
//! The cargo feature `sandbox` includes it. It is on by default; production builds can leave it out.

#[cfg(feature = "sandbox")]
mod built_in;
#[cfg(not(feature = "sandbox"))]
mod left_out;

#[cfg(feature = "sandbox")]
pub use built_in::{Sandbox, check, start};
#[cfg(not(feature = "sandbox"))]
pub use left_out::{Sandbox, check, start};
