//! What is true: nouns and rules, as types and pure functions. No SQL, no network, no clock, nothing asynchronous.
//! A noun never names a use case.
//!
//! | module | what is in it |
//! |---|---|
//! | [`ledger`] | the credit ledger's rules |
//! | [`job`], [`effect`] | jobs, streams and outcomes; the changes that commit with them |
//! | [`failure_group`] | dead jobs with the same cause |
//! | [`webhook`], [`github`] | Stripe's events and GitHub's: signatures, deliveries, facts; the rules for Stripe's |
//! | [`marketplace`] | the rules for purchases on GitHub Marketplace |
//! | [`customer`], [`api_key`], [`subscription`], [`payment_method`], [`operation`], [`audit`] | the nouns |
//! | [`admin_token`] | who may do what as staff |
//! | [`pricing`], [`charge`], [`clawback`] | what a unit costs, whether a customer is charged for it, which credits go with refunded money |
//! | [`payment`], [`refund`] | payments as support sees them; what a refund does to the credits |
//! | [`catalogue`] | everything that is sold: plans and prices |
//! | [`sale`] | what was bought, read from the lines of invoices |
//! | [`stripe_link`] | which Stripe customer may be linked to a customer |
//! | [`idempotency`] | whether a repeated request is the same one |
//! | [`email`], [`disposable`] | which addresses are the same, which are throwaway |
//! | [`address`], [`confirmation`] | whether an address is its customer's own; the links by which it is confirmed |
//! | [`rate_limit`] | rate limits, exact across all nodes |
//! | [`mail`] | mails, and when each is dropped |
//! | [`summary`] | a customer's credits: balance, granted and spent in the period, warnings |
//! | [`reconcile`] | differences between Bursar's records and Stripe's |
//! | [`replay`] | a frozen set of jobs to run again |
//! | [`preflight`] | whether what surrounds the server is as it needs it |
//! | [`schema`] | whether the database's schema fits this release |

pub mod address;
pub mod admin_token;
pub mod api_key;
pub mod audit;
pub mod bonus;
pub mod catalogue;
pub mod charge;
pub mod clawback;
pub mod confirmation;
pub mod customer;
pub mod disposable;
pub mod effect;
pub mod email;
pub mod failure_group;
pub mod github;
pub mod idempotency;
pub mod job;
pub mod ledger;
pub mod mail;
pub mod marketplace;
pub mod operation;
pub mod payment;
pub mod payment_method;
pub mod preflight;
pub mod pricing;
pub mod rate_limit;
pub mod reconcile;
pub mod refund;
pub mod replay;
pub mod sale;
pub mod schema;
pub mod stripe_link;
pub mod subscription;
pub mod summary;
pub mod webhook;
