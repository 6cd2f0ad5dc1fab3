//! The outside: it translates and decides nothing.
//!
//! | module | what is in it |
//! |---|---|
//! | [`store`] | all SQL |
//! | [`broker`] | RabbitMQ |
//! | [`stripe`] | the calls to Stripe |
//! | [`smtp`] | the delivery of mail |
//! | [`seal`] | secrets that are kept for a while, encrypted |

pub mod broker;
pub mod seal;
pub mod smtp;
pub mod store;
pub mod stripe;
