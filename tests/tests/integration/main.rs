//! The one integration binary: the whole application over HTTP, on both pairs of backends.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod smoke;
