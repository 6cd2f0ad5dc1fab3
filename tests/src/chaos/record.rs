//! The record of all requests and events, and their answers.

use serde::Serialize;
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A customer whose onboarding was acknowledged.
#[derive(Debug, Clone)]
pub struct Customer {
    /// Its number in this run.
    pub n: usize,
    /// Its identifier.
    pub id: String,
    /// Its API key.
    pub api_key: String,
    /// Its email address.
    pub email: String,
    /// Its Stripe customer.
    pub stripe_id: String,
}

/// A change of a customer's credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreditChange {
    /// Spend.
    Debit {
        /// How many.
        units: i64,
    },
    /// Reserve.
    Hold {
        /// How many.
        units: i64,
    },
    /// Capture a hold, wholly or in part.
    Capture {
        /// The hold.
        hold: String,
        /// How many.
        units: i64,
    },
    /// Release a hold.
    Release {
        /// The hold.
        hold: String,
    },
    /// Adjust the balance as support.
    Adjust {
        /// How many; negative to take.
        amount: i64,
    },
}

impl CreditChange {
    /// The change of the balance.
    pub fn amount(&self) -> i64 {
        match self {
            Self::Debit { units } | Self::Capture { units, .. } => -units,
            Self::Hold { .. } | Self::Release { .. } => 0,
            Self::Adjust { amount } => *amount,
        }
    }
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed, with this ledger entry.
    Acknowledged {
        /// The transaction.
        transaction: String,
    },
    /// It was refused.
    Refused {
        /// Whether an earlier try may have been executed all the same.
        in_doubt: bool,
    },
    /// There was no definite answer.
    Unknown,
}

/// A request to change the credits of a customer.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The number of the customer.
    pub customer: usize,
    /// Its idempotency key, which is its reference or reason as well.
    pub key: String,
    /// The requested change.
    pub change: CreditChange,
    /// Its outcome.
    pub outcome: Outcome,
}

/// A signup without an acknowledgement.
#[derive(Debug, Clone)]
pub struct UnconfirmedSignup {
    /// The address.
    pub email: String,
    /// Whether the server says that the customer exists: there must be exactly one then.
    pub exists: bool,
}

/// An invoice of a known customer.
#[derive(Debug, Clone)]
pub struct Invoice {
    /// Its id at Stripe.
    pub id: String,
    /// The number of the customer.
    pub customer: usize,
    /// Whether it is a paid invoice for Pro, which grants credits exactly once.
    pub brings_credits: bool,
}

/// The expected state of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is processed.
    Processed,
    /// It is dead, and its last error contains one of these texts.
    Dead(&'static [&'static str]),
    /// It was not accepted.
    Absent,
}

/// An event and its deliveries.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id at Stripe, or the fallback id of bytes that have none.
    pub external_id: String,
    /// A description for the report.
    pub what: String,
    /// Its expected state.
    pub expected: Expected,
    /// Deliveries that were answered with 2xx.
    pub acknowledged: u64,
    /// Those of them that were not answered as duplicates.
    pub fresh: u64,
    /// Deliveries without a definite answer.
    pub unanswered: u64,
}

/// The kind of a discrepancy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something acknowledged is not there.
    Lost,
    /// Something exists that must not, or more than once.
    Doubled,
    /// Anything else.
    Wrong,
}

/// A difference between what was acknowledged and what is stored.
#[derive(Debug, Clone, Serialize)]
pub struct Discrepancy {
    /// Its kind.
    pub kind: Kind,
    /// The description, with all details needed to investigate it.
    pub text: String,
}

impl Discrepancy {
    /// Something acknowledged is not there.
    pub fn lost(text: impl Into<String>) -> Self {
        Self { kind: Kind::Lost, text: text.into() }
    }

    /// Something exists that must not, or too often.
    pub fn doubled(text: impl Into<String>) -> Self {
        Self { kind: Kind::Doubled, text: text.into() }
    }

    /// Something else is wrong.
    pub fn wrong(text: impl Into<String>) -> Self {
        Self { kind: Kind::Wrong, text: text.into() }
    }
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Lost => "LOST",
            Kind::Doubled => "DOUBLED",
            Kind::Wrong => "WRONG",
        };
        write!(f, "{kind}: {}", self.text)
    }
}

/// All requests, events and discrepancies.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Customers, by number.
    pub customers: Vec<Arc<Customer>>,
    /// Signups without an acknowledgement.
    pub unconfirmed_signups: Vec<UnconfirmedSignup>,
    /// Requests to change credits.
    pub operations: Vec<Operation>,
    /// Invoices of known customers.
    pub invoices: Vec<Invoice>,
    /// Customers with an event that says their subscription has ended.
    pub ended: HashSet<usize>,
    /// Events.
    pub events: Vec<Event>,
    /// Discrepancies found while the load ran.
    pub discrepancies: Vec<Discrepancy>,
}

/// The record that all tasks of the load write to.
#[derive(Debug, Default)]
pub struct Record(Mutex<Known>);

impl Record {
    /// Locks the record; never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request before it is made; returns its number.
    pub fn begin(&self, customer: usize, key: &str, change: CreditChange) -> usize {
        let mut known = self.lock();
        known.operations.push(Operation { customer, key: key.to_owned(), change, outcome: Outcome::Unknown });
        known.operations.len() - 1
    }

    /// Records the outcome of a request.
    pub fn end(&self, operation: usize, outcome: Outcome) {
        if let Some(operation) = self.lock().operations.get_mut(operation) {
            operation.outcome = outcome;
        }
    }

    /// Records an event before it is delivered; returns its number.
    pub fn event(&self, external_id: String, what: String, expected: Expected) -> usize {
        let mut known = self.lock();
        let event = Event { external_id, what, expected, acknowledged: 0, fresh: 0, unanswered: 0 };
        known.events.push(event);
        known.events.len() - 1
    }

    /// Records a discrepancy.
    pub fn discrepancy(&self, discrepancy: Discrepancy) {
        self.lock().discrepancies.push(discrepancy);
    }
}
