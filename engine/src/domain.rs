//! What is true: nouns and rules, as types and pure functions. No SQL, no network, no clock, nothing asynchronous.
//! A noun never names the use case that works with it.
//!
//! | module | what is in it |
//! |---|---|
//! | [`ledger`] | the credit ledger's rules |
//! | [`job`], [`effect`] | jobs, streams and outcomes; what commits together with them |
//! | [`webhook`], [`github`] | signatures, deliveries, and where a fact stands, of Stripe's events and of GitHub's; what Stripe's change |
//! | [`marketplace`] | what a purchase on GitHub Marketplace means |
//! | [`customer`], [`api_key`], [`subscription`], [`payment_method`], [`operation`], [`audit`] | the nouns |
//! | [`pricing`], [`charge`], [`clawback`] | what a unit costs, whether a customer is charged for it, which credits go with refunded money |
//! | [`email`], [`disposable`] | which addresses are the same, which are throwaway |
//! | [`rate_limit`], [`token_bucket`] | how often something may be done, exactly on all nodes or roughly in one process |
//! | [`mail`] | what mails say, and when they make no sense any more |
//! | [`summary`] | what a customer has, was given and has spent, with warnings |
//! | [`reconcile`] | what is here against what Stripe has |
//! | [`replay`] | a frozen set of jobs that runs again |
//! | [`schema`] | whether the database's schema is this release's |

pub mod api_key;
pub mod audit;
pub mod charge;
pub mod clawback;
pub mod customer;
pub mod disposable;
pub mod effect;
pub mod email;
pub mod github;
pub mod job;
pub mod ledger;
pub mod mail;
pub mod marketplace;
pub mod operation;
pub mod payment_method;
pub mod pricing;
pub mod rate_limit;
pub mod reconcile;
pub mod replay;
pub mod schema;
pub mod subscription;
pub mod summary;
pub mod token_bucket;
pub mod webhook;
