//! The sandbox over HTTP, as a client sees it.

mod balances;
mod client;
mod control;
mod credit_notes;
mod declines;
mod delivery;
mod faults;
mod idempotency;
mod invoices;
mod killed;
mod lists;
mod money;
mod persistence;
mod prorations;
mod receiver;
mod subscriptions;
mod test_clocks;
