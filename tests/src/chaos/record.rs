//! What the run knows: everything that was asked for, and what was answered.

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
    /// Its address.
    pub email: String,
    /// What it is called at Stripe.
    pub stripe_id: String,
}

/// What a request is to do to the credits of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
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
    /// Spend a hold, wholly or in part.
    Capture {
        /// The hold.
        hold: String,
        /// How many.
        units: i64,
    },
    /// End a hold.
    Release {
        /// The hold.
        hold: String,
    },
    /// Give or take, as support.
    Adjust {
        /// How many; negative to take.
        amount: i64,
    },
}

impl Act {
    /// What it does to the balance.
    pub fn amount(&self) -> i64 {
        match self {
            Self::Debit { units } | Self::Capture { units, .. } => -units,
            Self::Hold { .. } | Self::Release { .. } => 0,
            Self::Adjust { amount } => *amount,
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was done, under this id in the ledger.
    Acknowledged {
        /// The transaction.
        transaction: String,
    },
    /// It was refused.
    Refused {
        /// An earlier try may have been done all the same.
        doubt: bool,
    },
    /// There was no definite answer.
    Unknown,
}

/// A request to change the credits of a customer.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Whose credits.
    pub customer: usize,
    /// Its idempotency key, which is its reference or reason as well.
    pub key: String,
    /// What it is to do.
    pub act: Act,
    /// What became of it.
    pub fate: Fate,
}

/// How an onboarding ended that did not give us a customer.
#[derive(Debug, Clone)]
pub struct Stray {
    /// The address.
    pub email: String,
    /// The server says that there is such a customer: there must be exactly one.
    pub exists: bool,
}

/// An invoice of a known customer.
#[derive(Debug, Clone)]
pub struct Invoice {
    /// Its id at Stripe.
    pub id: String,
    /// Whose it is.
    pub customer: usize,
    /// Whether it was paid for Pro, which brings credits exactly once.
    pub brings_credits: bool,
}

/// What has to become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is processed.
    Processed,
    /// It is dead, and its last error contains one of these.
    Dead(&'static [&'static str]),
    /// It was never taken in.
    Absent,
}

/// An event with its deliveries.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id at Stripe, or the fallback of bytes that have none.
    pub external_id: String,
    /// What it is, for a person.
    pub what: String,
    /// What has to become of it.
    pub expected: Expected,
    /// Deliveries that were answered with 2xx.
    pub acknowledged: u64,
    /// Of those, deliveries that were called new.
    pub fresh: u64,
    /// Deliveries without any definite answer.
    pub unanswered: u64,
}

/// What is wrong with a discrepancy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Something acknowledged is not there.
    Lost,
    /// Something is there that must not be, or more than once.
    Doubled,
    /// Anything else.
    Wrong,
}

/// Something that must not be.
#[derive(Debug, Clone, Serialize)]
pub struct Discrepancy {
    /// Of which kind.
    pub kind: Kind,
    /// What, with everything that is needed to look into it.
    pub text: String,
}

impl Discrepancy {
    /// Something acknowledged is not there.
    pub fn lost(text: impl Into<String>) -> Self {
        Self { kind: Kind::Lost, text: text.into() }
    }

    /// Something is there too often.
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

/// Everything that is known.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Customers, by number.
    pub customers: Vec<Arc<Customer>>,
    /// Onboardings that gave no customer.
    pub strays: Vec<Stray>,
    /// Requests to change credits.
    pub operations: Vec<Operation>,
    /// Invoices of known customers.
    pub invoices: Vec<Invoice>,
    /// Customers whose subscription was said to have ended.
    pub ended: HashSet<usize>,
    /// Events.
    pub events: Vec<Event>,
    /// What was wrong already while the load ran.
    pub discrepancies: Vec<Discrepancy>,
}

/// The record that all tasks of the load write to.
#[derive(Debug, Default)]
pub struct Record(Mutex<Known>);

impl Record {
    /// The record, to read or to write; never kept over an await.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request before it is made; gives its number.
    pub fn begin(&self, customer: usize, key: &str, act: Act) -> usize {
        let mut known = self.known();
        known.operations.push(Operation { customer, key: key.to_owned(), act, fate: Fate::Unknown });
        known.operations.len() - 1
    }

    /// Notes what became of a request.
    pub fn end(&self, operation: usize, fate: Fate) {
        if let Some(operation) = self.known().operations.get_mut(operation) {
            operation.fate = fate;
        }
    }

    /// Notes an event before it is delivered; gives its number.
    pub fn event(&self, external_id: String, what: String, expected: Expected) -> usize {
        let mut known = self.known();
        let event = Event { external_id, what, expected, acknowledged: 0, fresh: 0, unanswered: 0 };
        known.events.push(event);
        known.events.len() - 1
    }

    /// Notes something that must not be.
    pub fn discrepancy(&self, discrepancy: Discrepancy) {
        self.known().discrepancies.push(discrepancy);
    }
}
