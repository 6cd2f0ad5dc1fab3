//! Checks that the ledger has every acknowledged request exactly once, and nothing else.

use crate::chaos::record::{Act, Customer, Discrepancy, Fate, Invoice, Known, Operation};
use bursar_engine::clock::{Clock, TimeMs, rfc3339};
use serde::Deserialize;
use std::collections::HashMap;

/// Credits on signup, as configured by default.
pub const SIGNUP: i64 = 5;
/// Credits of a paid period of Pro, as configured by default.
pub const PRO_PERIOD: i64 = 60;

/// How far a date may lie outside the run: a node's clock may be off by this much.
const DATE_TOLERANCE_MS: i64 = 1_000;

/// One entry of a customer's ledger, as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// Its id.
    pub id: String,
    /// What it does.
    pub kind: String,
    /// Change of the balance.
    pub amount: i64,
    /// Change of the held credits.
    pub held_change: i64,
    /// Balance after it.
    pub balance_after: i64,
    /// Held credits after it.
    pub held_after: i64,
    /// What caused it.
    pub source: String,
    /// The request's reference, which is its key, or the invoice.
    pub reference: Option<String>,
    /// The hold that it opens or closes.
    pub hold_id: Option<String>,
    /// The request's reason, which is its key.
    pub reason: Option<String>,
    /// When the hold expires.
    pub expires_at: Option<String>,
    /// When it was written.
    pub created_at: String,
}

/// The time of a run, as texts that compare like the entries' times.
#[derive(Debug, Clone)]
pub struct Span {
    /// Nothing is dated before this.
    pub began: String,
    /// Nothing is dated after this.
    pub ended: String,
}

impl Span {
    /// A run that ends now.
    pub fn until_now(began_ms: TimeMs) -> Self {
        let ended_ms = Clock::System.now_ms() + DATE_TOLERANCE_MS;
        Self { began: rfc3339(began_ms - DATE_TOLERANCE_MS), ended: rfc3339(ended_ms) }
    }
}

/// The stored state of a customer.
#[derive(Debug, Clone)]
pub struct Books {
    /// Its plan.
    pub plan: String,
    /// Its balance.
    pub balance: i64,
    /// Its held credits.
    pub held: i64,
    /// Its ledger, latest entry first.
    pub lines: Vec<Line>,
}

/// The request or event that an entry belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Cause {
    Signup,
    Request(String),
    EndOfHold(String),
    Invoice(String),
    /// None that this run knows of.
    Unexplained(String),
}

impl Line {
    fn cause(&self) -> Cause {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        match (self.source.as_str(), self.kind.as_str()) {
            ("signup", "grant") => Cause::Signup,
            ("usage", "debit") | ("hold", "hold") => Cause::Request(text(&self.reference)),
            ("support", "grant" | "adjust") => Cause::Request(text(&self.reason)),
            ("hold", "capture" | "release") | ("system", "release") => Cause::EndOfHold(text(&self.hold_id)),
            ("stripe", "grant") => Cause::Invoice(text(&self.reference)),
            _ => Cause::Unexplained(self.id.clone()),
        }
    }
}

/// The requests and events of one customer.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// Requests.
    pub operations: Vec<&'a Operation>,
    /// Invoices.
    pub invoices: Vec<&'a Invoice>,
    /// Whether an event said that its subscription has ended.
    pub has_ended: bool,
}

/// The requests and events of each customer, by its number.
pub fn by_customer(known: &Known) -> Vec<Asked<'_>> {
    let mut all: Vec<Asked<'_>> = known.customers.iter().map(|_| Asked::default()).collect();
    for operation in &known.operations {
        all[operation.customer].operations.push(operation);
    }
    for invoice in &known.invoices {
        all[invoice.customer].invoices.push(invoice);
    }
    for customer in &known.ended {
        all[*customer].has_ended = true;
    }
    all
}

/// Returns what is wrong with one customer's ledger.
pub fn compare(customer: &Customer, asked: &Asked<'_>, books: &Books, span: &Span) -> Vec<Discrepancy> {
    let mut check = Check { customer, lines: HashMap::new(), balance: SIGNUP, found: Vec::new() };
    for line in &books.lines {
        check.lines.entry(line.cause()).or_default().push(line);
    }
    check.signup();
    check.requests(&asked.operations);
    check.holds(&asked.operations, books);
    check.invoices(&asked.invoices);
    check.rest();
    check.sums(books);
    check.dates(books, span);
    check.plan(asked, &books.plan);
    check.found
}

struct Check<'a> {
    customer: &'a Customer,
    /// Entries that no request or event explains yet.
    lines: HashMap<Cause, Vec<&'a Line>>,
    /// The expected balance.
    balance: i64,
    found: Vec<Discrepancy>,
}

impl<'a> Check<'a> {
    fn take(&mut self, cause: Cause) -> Vec<&'a Line> {
        self.lines.remove(&cause).unwrap_or_default()
    }

    fn name(&self, operation: &Operation) -> String {
        format!("customer {}: {:?} under key {}, {:?}", self.customer.id, operation.act, operation.key, operation.fate)
    }

    fn signup(&mut self) {
        let lines = self.take(Cause::Signup);
        if lines.len() != 1 || lines[0].amount != SIGNUP {
            let text = format!("customer {}: the credits on signup are {lines:?}", self.customer.id);
            self.found.push(Discrepancy::wrong(text));
        }
    }

    /// Debits, holds and adjustments: each has its own key.
    fn requests(&mut self, operations: &[&Operation]) {
        for operation in operations {
            if matches!(operation.act, Act::Capture { .. } | Act::Release { .. }) {
                continue;
            }
            let lines = self.take(Cause::Request(operation.key.clone()));
            self.compare_lines(operation, &lines);
        }
    }

    fn compare_lines(&mut self, operation: &Operation, lines: &[&Line]) {
        let amount = operation.act.amount();
        let name = self.name(operation);
        if lines.len() > 1 {
            self.found.push(Discrepancy::doubled(format!("{name}: it is there as {lines:?}")));
        }
        match &operation.fate {
            Fate::Acknowledged { transaction } => {
                self.balance += amount;
                match lines.first() {
                    None => self.found.push(Discrepancy::lost(format!("{name}: it is not there"))),
                    Some(line) if line.id != *transaction || line.amount != amount => {
                        self.found.push(Discrepancy::wrong(format!("{name}: it is there as {line:?}")));
                    }
                    Some(_) => {}
                }
            }
            Fate::Refused { doubt: false } if !lines.is_empty() => {
                self.found.push(Discrepancy::doubled(format!("{name}: it is there all the same: {lines:?}")));
            }
            Fate::Refused { .. } | Fate::Unknown => {
                self.balance += lines.first().map_or(0, |line| line.amount);
                if lines.first().is_some_and(|line| line.amount != amount) {
                    self.found.push(Discrepancy::wrong(format!("{name}: it is there as {lines:?}")));
                }
            }
        }
    }

    /// Captures and releases have no reference, so they are found by their hold, which ends once.
    fn holds(&mut self, operations: &[&Operation], books: &Books) {
        let mut ends: HashMap<&str, Vec<&Operation>> = HashMap::new();
        for operation in operations {
            if let Act::Capture { hold, .. } | Act::Release { hold } = &operation.act {
                ends.entry(hold).or_default().push(operation);
            }
        }
        let now = rfc3339(Clock::System.now_ms());
        for opened in books.lines.iter().filter(|line| line.kind == "hold") {
            let hold = opened.hold_id.as_deref().unwrap_or_default();
            let lines = self.take(Cause::EndOfHold(hold.to_owned()));
            let is_over = opened.expires_at.as_deref().is_none_or(|at| at < now.as_str());
            if is_over && lines.is_empty() {
                let text = format!("customer {}: the time of this hold ran out: {opened:?}", self.customer.id);
                self.found.push(Discrepancy::wrong(text));
            }
            let is_early = |end: &&&Line| {
                end.source == "system" && opened.expires_at.as_ref().is_some_and(|at| end.created_at < *at)
            };
            if let Some(end) = lines.iter().find(is_early) {
                let text = format!("customer {}: {end:?} came before the time of {opened:?}", self.customer.id);
                self.found.push(Discrepancy::wrong(text));
            }
            self.end_of_hold(hold, &ends.remove(hold).unwrap_or_default(), &lines);
        }
        for (hold, operations) in ends {
            let text = format!("customer {}: hold {hold} is not there: {operations:?}", self.customer.id);
            self.found.push(Discrepancy::lost(text));
        }
    }

    fn end_of_hold(&mut self, hold: &str, operations: &[&Operation], lines: &[&Line]) {
        let is_done = |operation: &&&Operation| matches!(operation.fate, Fate::Acknowledged { .. });
        let done: Vec<_> = operations.iter().filter(is_done).collect();
        if done.len() > 1 || lines.len() > 1 {
            let text = format!("customer {}: hold {hold} ended twice: {done:?}, {lines:?}", self.customer.id);
            self.found.push(Discrepancy::doubled(text));
        }
        if let Some(done) = done.first() {
            return self.compare_lines(done, lines);
        }
        // No request was acknowledged: the hold expired, or the answer to its end was lost.
        let Some(line) = lines.first() else { return };
        self.balance += line.amount;
        let may_be = |operation: &&Operation| {
            let is_kind = matches!(operation.act, Act::Capture { .. }) == (line.kind == "capture");
            is_kind && operation.fate != Fate::Refused { doubt: false } && line.amount == operation.act.amount()
        };
        if line.source != "system" && !operations.iter().any(may_be) {
            let text = format!("customer {}: nobody ended hold {hold} like this: {line:?}", self.customer.id);
            self.found.push(Discrepancy::doubled(text));
        }
    }

    fn invoices(&mut self, invoices: &[&Invoice]) {
        for invoice in invoices {
            let lines = self.take(Cause::Invoice(invoice.id.clone()));
            let name = format!("customer {}: invoice {}", self.customer.id, invoice.id);
            let expected = usize::from(invoice.brings_credits);
            if invoice.brings_credits {
                self.balance += PRO_PERIOD;
            }
            if lines.len() > expected {
                self.found.push(Discrepancy::doubled(format!("{name} brought {lines:?}")));
            } else if lines.len() < expected {
                self.found.push(Discrepancy::lost(format!("{name} was paid and brought nothing")));
            } else if lines.iter().any(|line| line.amount != PRO_PERIOD) {
                self.found.push(Discrepancy::wrong(format!("{name} brought {lines:?}")));
            }
        }
    }

    fn rest(&mut self) {
        for (_, lines) in self.lines.drain() {
            let text = format!("customer {}: nobody asked for this: {lines:?}", self.customer.id);
            self.found.push(Discrepancy::doubled(text));
        }
    }

    fn sums(&mut self, books: &Books) {
        let (mut balance, mut held) = (0, 0);
        for line in books.lines.iter().rev() {
            balance += line.amount;
            held += line.held_change;
            if (line.balance_after, line.held_after) != (balance, held) {
                let text = format!("customer {}: up to here it is {balance} and {held}: {line:?}", self.customer.id);
                self.found.push(Discrepancy::wrong(text));
                break;
            }
        }
        if (books.balance, books.held) != (balance, held) || books.balance != self.balance {
            let text = format!(
                "customer {}: the balance is {} and {} are held; the ledger adds up to {balance} and {held}; what was \
                 acknowledged adds up to {}",
                self.customer.id, books.balance, books.held, self.balance
            );
            self.found.push(Discrepancy::wrong(text));
        }
    }

    /// Dates lie within the run and never decrease, whatever the clocks of the nodes.
    fn dates(&mut self, books: &Books, span: &Span) {
        for line in &books.lines {
            if line.created_at < span.began || line.created_at > span.ended {
                let text = format!("customer {}: it is dated outside of the run: {line:?}", self.customer.id);
                self.found.push(Discrepancy::wrong(text));
            }
        }
        // The latest comes first.
        for pair in books.lines.windows(2).filter(|pair| pair[0].created_at < pair[1].created_at) {
            let text = format!("customer {}: the dates go back: {pair:?}", self.customer.id);
            self.found.push(Discrepancy::wrong(text));
        }
    }

    /// The plan follows from payments and the end of the subscription, whatever the order of the events.
    fn plan(&mut self, asked: &Asked<'_>, plan: &str) {
        let has_paid = asked.invoices.iter().any(|invoice| invoice.brings_credits);
        let expected = match (has_paid, asked.has_ended) {
            (_, true) => "pay_as_you_go",
            (true, false) => "pro",
            (false, false) => "trial",
        };
        if plan != expected {
            let text = format!("customer {} is on plan {plan} and should be on {expected}", self.customer.id);
            self.found.push(Discrepancy::wrong(text));
        }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
