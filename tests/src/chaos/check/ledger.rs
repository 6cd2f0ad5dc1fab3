//! Checks that the ledger has every acknowledged request exactly once, and nothing else.

use crate::chaos::record::{CreditChange, Customer, Discrepancy, Invoice, Known, Operation, Outcome};
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
pub struct Entry {
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
pub struct StoredAccount {
    /// Its plan.
    pub plan: String,
    /// Its balance.
    pub balance: i64,
    /// Its held credits.
    pub held: i64,
    /// Its ledger, latest entry first.
    pub entries: Vec<Entry>,
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

impl Entry {
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
pub struct CustomerRequests<'a> {
    /// Requests.
    pub operations: Vec<&'a Operation>,
    /// Invoices.
    pub invoices: Vec<&'a Invoice>,
    /// Whether an event said that its subscription has ended.
    pub has_ended: bool,
}

/// The requests and events of each customer, by its number.
pub fn by_customer(known: &Known) -> Vec<CustomerRequests<'_>> {
    let mut all: Vec<CustomerRequests<'_>> = known.customers.iter().map(|_| CustomerRequests::default()).collect();
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
pub fn compare(
    customer: &Customer,
    requests: &CustomerRequests<'_>,
    account: &StoredAccount,
    span: &Span,
) -> Vec<Discrepancy> {
    let mut check = Check { customer, entries: HashMap::new(), balance: SIGNUP, found: Vec::new() };
    for entry in &account.entries {
        check.entries.entry(entry.cause()).or_default().push(entry);
    }
    check.signup();
    check.requests(&requests.operations);
    check.holds(&requests.operations, account);
    check.invoices(&requests.invoices);
    check.unexplained();
    check.sums(account);
    check.dates(account, span);
    check.plan(requests, &account.plan);
    check.found
}

struct Check<'a> {
    customer: &'a Customer,
    /// Entries that no request or event explains yet.
    entries: HashMap<Cause, Vec<&'a Entry>>,
    /// The expected balance.
    balance: i64,
    found: Vec<Discrepancy>,
}

impl<'a> Check<'a> {
    fn take(&mut self, cause: Cause) -> Vec<&'a Entry> {
        self.entries.remove(&cause).unwrap_or_default()
    }

    fn name(&self, operation: &Operation) -> String {
        format!(
            "customer {}: {:?} under key {}, {:?}",
            self.customer.id, operation.change, operation.key, operation.outcome
        )
    }

    fn signup(&mut self) {
        let entries = self.take(Cause::Signup);
        if entries.len() != 1 || entries[0].amount != SIGNUP {
            let text = format!("customer {}: the credits on signup are {entries:?}", self.customer.id);
            self.found.push(Discrepancy::wrong(text));
        }
    }

    /// Debits, holds and adjustments: each has its own key.
    fn requests(&mut self, operations: &[&Operation]) {
        for operation in operations {
            if matches!(operation.change, CreditChange::Capture { .. } | CreditChange::Release { .. }) {
                continue;
            }
            let entries = self.take(Cause::Request(operation.key.clone()));
            self.compare_entries(operation, &entries);
        }
    }

    fn compare_entries(&mut self, operation: &Operation, entries: &[&Entry]) {
        let amount = operation.change.amount();
        let name = self.name(operation);
        if entries.len() > 1 {
            self.found.push(Discrepancy::doubled(format!("{name}: its ledger entries are {entries:?}")));
        }
        match &operation.outcome {
            Outcome::Acknowledged { transaction } => {
                self.balance += amount;
                match entries.first() {
                    None => self.found.push(Discrepancy::lost(format!("{name}: it has no ledger entry"))),
                    Some(entry) if entry.id != *transaction || entry.amount != amount => {
                        self.found.push(Discrepancy::wrong(format!("{name}: its ledger entry is {entry:?}")));
                    }
                    Some(_) => {}
                }
            }
            Outcome::Refused { in_doubt: false } if !entries.is_empty() => {
                self.found
                    .push(Discrepancy::doubled(format!("{name}: it was refused but has ledger entries: {entries:?}")));
            }
            Outcome::Refused { .. } | Outcome::Unknown => {
                self.balance += entries.first().map_or(0, |entry| entry.amount);
                if entries.first().is_some_and(|entry| entry.amount != amount) {
                    self.found.push(Discrepancy::wrong(format!("{name}: its ledger entries are {entries:?}")));
                }
            }
        }
    }

    /// Captures and releases have no reference, so they are found by their hold, which ends once.
    fn holds(&mut self, operations: &[&Operation], account: &StoredAccount) {
        let mut ends: HashMap<&str, Vec<&Operation>> = HashMap::new();
        for operation in operations {
            if let CreditChange::Capture { hold, .. } | CreditChange::Release { hold } = &operation.change {
                ends.entry(hold).or_default().push(operation);
            }
        }
        let now = rfc3339(Clock::System.now_ms());
        for opened in account.entries.iter().filter(|entry| entry.kind == "hold") {
            let hold = opened.hold_id.as_deref().unwrap_or_default();
            let entries = self.take(Cause::EndOfHold(hold.to_owned()));
            let is_over = opened.expires_at.as_deref().is_none_or(|at| at < now.as_str());
            if is_over && entries.is_empty() {
                let text = format!("customer {}: this hold has expired but is open: {opened:?}", self.customer.id);
                self.found.push(Discrepancy::wrong(text));
            }
            let is_early = |end: &&&Entry| {
                end.source == "system" && opened.expires_at.as_ref().is_some_and(|at| end.created_at < *at)
            };
            if let Some(end) = entries.iter().find(is_early) {
                let text = format!("customer {}: {end:?} is earlier than the expiry of {opened:?}", self.customer.id);
                self.found.push(Discrepancy::wrong(text));
            }
            self.end_of_hold(hold, &ends.remove(hold).unwrap_or_default(), &entries);
        }
        for (hold, operations) in ends {
            let text = format!("customer {}: hold {hold} is missing: {operations:?}", self.customer.id);
            self.found.push(Discrepancy::lost(text));
        }
    }

    fn end_of_hold(&mut self, hold: &str, operations: &[&Operation], entries: &[&Entry]) {
        let is_done = |operation: &&&Operation| matches!(operation.outcome, Outcome::Acknowledged { .. });
        let done: Vec<_> = operations.iter().filter(is_done).collect();
        if done.len() > 1 || entries.len() > 1 {
            let text = format!("customer {}: hold {hold} ended twice: {done:?}, {entries:?}", self.customer.id);
            self.found.push(Discrepancy::doubled(text));
        }
        if let Some(done) = done.first() {
            return self.compare_entries(done, entries);
        }
        // No request was acknowledged: the hold expired, or the answer to its end was lost.
        let Some(entry) = entries.first() else { return };
        self.balance += entry.amount;
        let may_be = |operation: &&Operation| {
            let is_kind = matches!(operation.change, CreditChange::Capture { .. }) == (entry.kind == "capture");
            is_kind
                && operation.outcome != Outcome::Refused { in_doubt: false }
                && entry.amount == operation.change.amount()
        };
        if entry.source != "system" && !operations.iter().any(may_be) {
            let text = format!("customer {}: no request ended hold {hold} like this: {entry:?}", self.customer.id);
            self.found.push(Discrepancy::doubled(text));
        }
    }

    fn invoices(&mut self, invoices: &[&Invoice]) {
        for invoice in invoices {
            let entries = self.take(Cause::Invoice(invoice.id.clone()));
            let name = format!("customer {}: invoice {}", self.customer.id, invoice.id);
            let expected = usize::from(invoice.brings_credits);
            if invoice.brings_credits {
                self.balance += PRO_PERIOD;
            }
            if entries.len() > expected {
                self.found.push(Discrepancy::doubled(format!("{name} granted {entries:?}")));
            } else if entries.len() < expected {
                self.found.push(Discrepancy::lost(format!("{name} was paid and granted nothing")));
            } else if entries.iter().any(|entry| entry.amount != PRO_PERIOD) {
                self.found.push(Discrepancy::wrong(format!("{name} granted {entries:?}")));
            }
        }
    }

    fn unexplained(&mut self) {
        for (_, entries) in self.entries.drain() {
            let text = format!("customer {}: no request explains these entries: {entries:?}", self.customer.id);
            self.found.push(Discrepancy::doubled(text));
        }
    }

    fn sums(&mut self, account: &StoredAccount) {
        let (mut balance, mut held) = (0, 0);
        for entry in account.entries.iter().rev() {
            balance += entry.amount;
            held += entry.held_change;
            if (entry.balance_after, entry.held_after) != (balance, held) {
                let text = format!(
                    "customer {}: the sums up to this entry are {balance} and {held}: {entry:?}",
                    self.customer.id
                );
                self.found.push(Discrepancy::wrong(text));
                break;
            }
        }
        if (account.balance, account.held) != (balance, held) || account.balance != self.balance {
            let text = format!(
                "customer {}: the balance is {} and {} are held; the ledger adds up to {balance} and {held}; what was \
                 acknowledged adds up to {}",
                self.customer.id, account.balance, account.held, self.balance
            );
            self.found.push(Discrepancy::wrong(text));
        }
    }

    /// Dates lie within the run and never decrease, whatever the clocks of the nodes.
    fn dates(&mut self, account: &StoredAccount, span: &Span) {
        for entry in &account.entries {
            if entry.created_at < span.began || entry.created_at > span.ended {
                let text = format!("customer {}: the date lies outside the run: {entry:?}", self.customer.id);
                self.found.push(Discrepancy::wrong(text));
            }
        }
        // The latest comes first.
        for pair in account.entries.windows(2).filter(|pair| pair[0].created_at < pair[1].created_at) {
            let text = format!("customer {}: the dates decrease: {pair:?}", self.customer.id);
            self.found.push(Discrepancy::wrong(text));
        }
    }

    /// The plan follows from payments and the end of the subscription, whatever the order of the events.
    fn plan(&mut self, requests: &CustomerRequests<'_>, plan: &str) {
        let has_paid = requests.invoices.iter().any(|invoice| invoice.brings_credits);
        let expected = match (has_paid, requests.has_ended) {
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
