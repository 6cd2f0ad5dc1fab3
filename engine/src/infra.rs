//! The outside: this wing translates and decides nothing.
//!
//! | module | what is in it |
//! |---|---|
//! | [`store`] | all SQL |
//! | [`broker`] | RabbitMQ |
//! | [`stripe`] | the calls to Stripe |
//! | [`smtp`] | delivery of mail |
//! | [`seal`] | encryption of temporarily stored secrets |

pub mod broker;
pub mod seal;
pub mod smtp;
pub mod store;
pub mod stripe;
