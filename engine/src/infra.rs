//! The outside: the database, the broker, Stripe, the SMTP server. It translates and decides nothing.

pub mod broker;
pub mod seal;
pub mod smtp;
pub mod store;
pub mod stripe;
