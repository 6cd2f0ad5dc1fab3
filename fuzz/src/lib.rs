//! What the fuzzer runs: for each target a function that takes any bytes, and panics if a claim about them does not
//! hold. `fuzz_targets/` gives each to libFuzzer, and an ordinary test runs the files of `corpus/` through them.
//!
//! | target | what reads the bytes | the input |
//! |---|---|---|
//! | [`webhook_signature`] | signatures of Stripe and GitHub | a header, a line break, the clock, a line break, a body |
//! | [`event`] | events of Stripe and GitHub, and the rules | an event in JSON |
//! | [`request`] | cursors, forms, query parameters, bodies | a text |
//! | [`ledger`] | commands to one account | commands, a few bytes each |
//! | [`catalogue`] | the catalogue's file | TOML |
//!
//! [`mutate`] makes other JSON and TOML of such a text, where a changed byte would most often make it unreadable.

pub mod catalogue;
pub mod event;
pub mod ledger;
pub mod mutate;
pub mod request;
pub mod webhook_signature;

/// Name and function of a target. The function returns whether the bytes were accepted, such as an event that could be
/// read: a corpus should have some that are and some that are not.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All targets.
pub const TARGETS: [Target; 5] = [
    ("webhook_signature", webhook_signature::run),
    ("event", event::run),
    ("request", request::run),
    ("ledger", ledger::run),
    ("catalogue", catalogue::run),
];
