//! A stateful stand-in for Stripe, for laptops and tests. No real money moves.
//!
//! It knows nothing of the rest of the workspace.

pub mod render;
pub mod version;
