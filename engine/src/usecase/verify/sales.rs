//! Obligation 8 as far as the database tells: each grant for an invoice is what the lines of ours brought that are kept
//! with it, no more and no less, what it was exchanged for is taken back, and its later parts were granted when they
//! were due.

use super::CheckReport;
use crate::amount::Credits;
use crate::clock::{Clock, TimeMs, rfc3339};
use crate::domain::sale::SaleRecord;
use crate::domain::sale::grant::{grant_key, invoice_of, taken_key};
use crate::error::Result;
use crate::ids::CustomerId;
use crate::infra::store::Db;
use crate::infra::store::check::{self, DuePart, SoldGrant};
use std::collections::HashMap;

pub(super) const LINES_NAME: &str = "an invoice's grants are what the lines of ours brought that are kept with them";
pub(super) const PARTS_NAME: &str = "every part of an invoice's credits that was due was granted";
pub(super) const KEPT_NAME: &str = "every grant for an invoice has the lines that brought it";
/// Number of checks in one pass over the grants.
pub(super) const CHECKS: usize = 3;
/// Grants in memory at once.
const GRANTS_PAGE: u64 = 1_000;
/// How late a part may be: its job may have failed and be tried again.
const LATE_MS: i64 = 24 * 60 * 60 * 1_000;
/// The shortest time for which ended jobs are kept.
const JOBS_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// How long nodes of a release that kept no lines may work beside newer ones.
const ROLLING_MS: i64 = 24 * 60 * 60 * 1_000;

/// Checks all grants for invoices. `progress` receives those done and their approximate total.
pub(super) async fn run(db: &Db, progress: impl Fn(u64, u64)) -> Result<[CheckReport; CHECKS]> {
    let total = check::check_count(db.read(), check::SOLD_GRANTS).await?;
    let kept_since_ms = check::check_sold_since(db.read()).await?.map(|at_ms| at_ms.saturating_add(ROLLING_MS));
    let mut pass = Pass::new(kept_since_ms);
    let mut after = (String::new(), 0);
    loop {
        progress(pass.lines.checked, total.max(pass.lines.checked));
        let page = check::check_sold(db.read(), (&after.0, after.1), GRANTS_PAGE).await?;
        let Some(last) = page.last() else { return Ok(pass.into_reports()) };
        after = (last.customer_id.to_string(), last.seq);
        let mut due = Vec::new();
        for grant in &page {
            due.extend(pass.add(grant));
        }
        for part in check::check_parts(db.read(), &due).await? {
            pass.add_part(&part);
        }
    }
}

/// One pass over the grants, by customer and in the order of their ledgers.
struct Pass {
    lines: CheckReport,
    parts: CheckReport,
    kept: CheckReport,
    /// When all grants keep their lines; `None` if none does yet.
    kept_since_ms: Option<TimeMs>,
    now_ms: TimeMs,
    customer_id: Option<CustomerId>,
    /// Of the present customer's invoices, the later grants that they bring; `None` if no lines are kept.
    later: HashMap<String, Option<HashMap<String, Credits>>>,
    /// What the last grant was exchanged for, until it is taken back.
    awaited: Option<Awaited>,
}

/// Credits that the entry after a grant must take back.
struct Awaited {
    customer_id: CustomerId,
    seq: i64,
    key: String,
    credits: Credits,
    /// The problem if they are not.
    problem: String,
}

impl Awaited {
    fn is(&self, entry: &SoldGrant) -> bool {
        let place = (&self.customer_id, self.seq, &self.key, -self.credits);
        place == (&entry.customer_id, entry.seq, &entry.key, entry.amount)
    }
}

impl Pass {
    fn new(kept_since_ms: Option<TimeMs>) -> Self {
        Self {
            lines: CheckReport::new(8, LINES_NAME),
            parts: CheckReport::new(8, PARTS_NAME),
            kept: CheckReport::new(8, KEPT_NAME),
            kept_since_ms,
            now_ms: Clock::System.now_ms(),
            customer_id: None,
            later: HashMap::new(),
            awaited: None,
        }
    }

    fn into_reports(mut self) -> [CheckReport; CHECKS] {
        if let Some(awaited) = self.awaited.take() {
            self.lines.add(awaited.problem);
        }
        [self.lines, self.parts, self.kept]
    }

    /// Checks a grant; returns the parts that are due.
    fn add(&mut self, grant: &SoldGrant) -> Vec<DuePart> {
        if self.customer_id.as_ref() != Some(&grant.customer_id) {
            self.customer_id = Some(grant.customer_id.clone());
            self.later.clear();
        }
        for report in [&mut self.lines, &mut self.parts, &mut self.kept] {
            report.checked += 1;
        }
        let invoice = invoice_of(&grant.key).unwrap_or_default().to_owned();
        match self.awaited.take() {
            Some(awaited) if awaited.is(grant) => return Vec::new(),
            Some(awaited) => self.lines.add(awaited.problem),
            None => {}
        }
        if grant.key == grant_key(&invoice) { self.add_first(grant, invoice) } else { self.add_later(grant, &invoice) }
    }

    fn add_first(&mut self, grant: &SoldGrant, invoice: String) -> Vec<DuePart> {
        let Some(record) = SaleRecord::read(grant.metadata.as_deref()) else {
            if self.kept_since_ms.is_some_and(|since_ms| grant.created_at_ms > since_ms) {
                self.kept.add(describe(grant, &format!("no lines are kept with the credits of {invoice}")));
            }
            self.later.insert(invoice, None);
            return Vec::new();
        };
        if let Some(problem) = record.problem(grant.amount) {
            self.lines.add(describe(grant, &format!("of {invoice}: {problem}")));
        }
        if record.is_taken_apart {
            let what =
                format!("of {invoice}: the {} credits that it was exchanged for are not taken back", record.taken);
            self.awaited = Some(Awaited {
                customer_id: grant.customer_id.clone(),
                seq: grant.seq + 1,
                key: taken_key(&invoice),
                credits: record.taken,
                problem: describe(grant, &what),
            });
        }
        let is_due = |at_ms: TimeMs| at_ms.saturating_add(LATE_MS) < self.now_ms;
        let due = record.later.iter().filter(|later| is_due(later.at_ms)).map(|later| DuePart {
            customer_id: grant.customer_id.clone(),
            first: grant.seq,
            key: later.key.clone(),
            at_ms: later.at_ms,
        });
        let due = due.collect();
        let later = record.later.into_iter().map(|later| (later.key, later.credits)).collect();
        self.later.insert(invoice, Some(later));
        due
    }

    fn add_later(&mut self, grant: &SoldGrant, invoice: &str) -> Vec<DuePart> {
        match self.later.get(invoice).map(|later| later.as_ref().map(|later| later.get(&grant.key).copied())) {
            // A release that kept no lines, or an invoice that took back as much as it brought at once.
            None | Some(None) => {}
            // Less of a month that was left before it began.
            Some(Some(Some(credits))) if credits >= grant.amount => {}
            Some(Some(planned)) => {
                let planned = planned.unwrap_or_default();
                let problem = format!("{} has {} credits, and the invoice brings {planned}", grant.key, grant.amount);
                self.lines.add(describe(grant, &problem));
            }
        }
        Vec::new()
    }

    fn add_part(&mut self, (part, is_dead): &(DuePart, bool)) {
        // Retention may have deleted the job of a part that was given up.
        if !is_dead && part.at_ms < self.now_ms - JOBS_KEPT_MS {
            return;
        }
        let state = if *is_dead { "its job is dead" } else { "there is no job" };
        let due = rfc3339(part.at_ms);
        self.parts.add(format!("{}: {} was due {due}, and {state}", part.customer_id, part.key));
    }
}

fn describe(grant: &SoldGrant, problem: &str) -> String {
    format!("{}: entry {} with {} credits: {problem}", grant.customer_id, grant.seq, grant.amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sale::example::pro_price;
    use crate::domain::sale::grant::grants;
    use crate::domain::sale::{Sale, SaleRecord};

    fn entry(seq: i64, key: String, amount: i64, metadata: Option<String>) -> SoldGrant {
        let customer_id = CustomerId::trusted("cst_1".to_owned());
        SoldGrant { customer_id, seq, key, amount: Credits(amount), metadata, created_at_ms: 300 }
    }

    /// The problems of an invoice that exchanged 50 credits for 60, with these entries.
    fn problems(taken: &[SoldGrant]) -> Vec<String> {
        let sale = Sale { price: pro_price(), quantity: 1, from_ms: Some(0), until_ms: Some(1) };
        let grants = grants("in_1", std::slice::from_ref(&sale), 300);
        let record = SaleRecord::new(&[sale], Credits(50), &grants, &grant_key("in_1"), 300);
        let mut pass = Pass::new(None);
        pass.add(&entry(4, grant_key("in_1"), 60, Some(record.to_metadata())));
        for taken in taken {
            pass.add(taken);
        }
        let [lines, ..] = pass.into_reports();
        lines.violations
    }

    #[test]
    fn credits_that_were_exchanged_are_taken_back_by_the_next_entry_and_all_of_them() {
        let taken = |seq, amount| entry(seq, taken_key("in_1"), amount, None);
        assert_eq!(problems(&[taken(5, -50)]), Vec::<String>::new());
        for wrong in [vec![], vec![taken(5, -49)], vec![taken(6, -50)], vec![entry(5, grant_key("in_2"), 1, None)]] {
            let found = problems(&wrong);
            assert!(found.iter().any(|what| what.contains("the 50 credits that it was exchanged for")), "{found:?}");
        }
        assert_eq!(problems(&[taken(5, -50), taken(6, -50)]).len(), 1, "twice is once too often");
    }
}
