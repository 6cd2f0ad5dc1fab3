//! The facts that the model of Stripe keeps.

use super::deed::Way;
use crate::domain::catalogue::{Interval, Price};

/// A price, with what whoever pays it is promised now; nothing if it is other business.
#[derive(Debug, Clone)]
pub(super) struct StripePrice {
    pub product: String,
    pub amount: i64,
    pub currency: String,
    pub every: Interval,
    pub lookup_key: Option<String>,
    pub is_metered: bool,
    pub promise: Option<Price>,
}

#[derive(Debug, Clone)]
pub(super) struct Sub {
    pub is_stranger: bool,
    /// Prices and quantities.
    pub items: Vec<(usize, i64)>,
    /// The price that our own tag names, if we made it.
    pub tag: Option<Price>,
    pub percent_off: i64,
    pub from_s: i64,
    pub until_s: i64,
    pub status: &'static str,
    pub is_paused: bool,
    pub ended_s: Option<i64>,
}

/// What a line bills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Period,
    Proration,
    Item,
}

#[derive(Debug, Clone)]
pub(super) struct Line {
    pub price: usize,
    /// What whoever pays for a whole period was promised when it was billed.
    pub promise: Option<Price>,
    pub quantity: i64,
    pub amount: i64,
    pub discount: i64,
    pub kind: Kind,
    pub from_s: i64,
    pub until_s: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Charge {
    pub amount: i64,
    pub refunded: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Invoice {
    pub created_s: i64,
    pub sub: Option<usize>,
    pub is_stranger: bool,
    pub reason: &'static str,
    pub lines: Vec<Line>,
    pub total: i64,
    pub status: &'static str,
    pub charge: Option<Charge>,
}

impl Invoice {
    pub fn is_paid(&self) -> bool {
        self.status == "paid"
    }

    /// Whether it credits time that was left.
    pub fn credits_time(&self) -> bool {
        self.lines.iter().any(|line| line.kind == Kind::Proration && line.amount < 0)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Dispute {
    pub invoice: usize,
    pub amount: i64,
    pub is_foreign: bool,
    pub status: &'static str,
}

#[derive(Debug, Clone)]
pub(super) struct Note {
    pub invoice: usize,
    pub amount: i64,
    pub way: Way,
    pub is_void: bool,
}

/// An object that an event is about. A charge has the number of its invoice.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named {
    Sub(usize),
    Invoice(usize),
    Charge(usize),
    Dispute(usize),
    Note(usize),
}
