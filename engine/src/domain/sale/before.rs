//! What is known of the other invoices of a subscription when one of them is decided.

use super::record::SaleRecord;
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::domain::webhook::fields::{InvoiceFields, Line};
use std::collections::{BTreeMap, BTreeSet};

/// The invoices of a subscription, and what they brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Before {
    /// The other invoices.
    pub invoices: Vec<InvoiceFields>,
    /// What the ledger says of those invoices, and of the one in question, whose credits came, by their ids.
    pub brought: BTreeMap<String, BroughtBefore>,
    /// Whether the subscription has invoices that are older than all of these and not known.
    pub is_cut: bool,
    /// The credits that expired of those that came with the periods that the invoice in question leaves, or that it billed
    /// and others leave, by the end of the period and the month of it with which they came, 1 for the second.
    pub expired: BTreeMap<(TimeMs, u32), Credits>,
}

/// What an invoice brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BroughtBefore {
    /// What it sold, on the terms of that time; of one from before there were records only what it took.
    pub record: SaleRecord,
    /// The credits that it granted at once, if it took none.
    pub granted: Credits,
    /// The sequence numbers of the grants that it brought so far, and of those that returned credits of these.
    pub grants: Vec<i64>,
    /// Whether credits of it are clawed back.
    pub is_clawed_back: bool,
}

impl Before {
    /// Nothing is known, or there is nothing else.
    pub const NONE: &'static Self =
        &Self { invoices: Vec::new(), brought: BTreeMap::new(), is_cut: false, expired: BTreeMap::new() };

    /// The invoices with nothing known of what they brought.
    pub fn of(invoices: Vec<InvoiceFields>) -> Self {
        Self { invoices, ..Self::default() }
    }

    /// Whether all invoices that are later than a paid one are known, and so whatever else was said of its periods.
    pub fn covers(&self, invoice: &InvoiceFields) -> bool {
        !self.is_cut || self.invoices.iter().any(|other| other.id == invoice.id)
    }

    /// What an invoice brought.
    pub fn brought_by(&self, invoice: &InvoiceFields) -> Option<&BroughtBefore> {
        self.brought.get(invoice.id.as_ref()?)
    }

    /// The paid invoices that credit time of the periods that an invoice billed.
    pub fn leaving(&self, invoice: &InvoiceFields) -> impl Iterator<Item = &InvoiceFields> {
        let billed = ends(invoice, Line::bills_period);
        let leaves = move |other: &&InvoiceFields| !ends(other, Line::credits_time).is_disjoint(&billed);
        self.others(invoice).filter(|other| other.is_paid == Some(true)).filter(leaves)
    }

    /// The invoices whose periods an invoice leaves, and of whose credits some are clawed back: what goes with their
    /// money is less by what this one takes.
    pub fn left_by(&self, invoice: &InvoiceFields) -> impl Iterator<Item = &str> {
        let left = ends(invoice, Line::credits_time);
        let is_left = move |other: &&InvoiceFields| !ends(other, Line::bills_period).is_disjoint(&left);
        let is_clawed_back = |other: &&InvoiceFields| self.brought_by(other).is_some_and(|b| b.is_clawed_back);
        self.others(invoice).filter(is_left).filter(is_clawed_back).filter_map(|other| other.id.as_deref())
    }

    /// The grants that came with the periods that an invoice leaves; `None` if no known invoice billed one of them.
    pub fn grants_left_by(&self, invoice: &InvoiceFields) -> Option<Vec<i64>> {
        let left = ends(invoice, Line::credits_time);
        let is_left = move |other: &&InvoiceFields| !ends(other, Line::bills_period).is_disjoint(&left);
        let left: Vec<&InvoiceFields> = self.others(invoice).filter(is_left).collect();
        let brought = left.iter().filter_map(|other| self.brought_by(other));
        (!left.is_empty()).then(|| brought.flat_map(|brought| brought.grants.iter().copied()).collect())
    }

    /// The grants that came with each period that an invoice leaves, or that it billed and others leave, by the period's
    /// end.
    pub fn grants_of_left(&self, invoice: &InvoiceFields) -> BTreeMap<TimeMs, Vec<i64>> {
        let mut grants: BTreeMap<TimeMs, Vec<i64>> = BTreeMap::new();
        let billed = ends(invoice, Line::bills_period);
        let by_others = self.leaving(invoice).flat_map(|other| ends(other, Line::credits_time));
        let by_others: BTreeSet<TimeMs> = by_others.filter(|end_ms| billed.contains(end_ms)).collect();
        let left = &ends(invoice, Line::credits_time) | &by_others;
        for (other, left) in self.others(invoice).map(|other| (other, &left)).chain([(invoice, &by_others)]) {
            let Some(brought) = self.brought_by(other) else { continue };
            for end_ms in ends(other, Line::bills_period).intersection(left) {
                grants.entry(*end_ms).or_default().extend(&brought.grants);
            }
        }
        grants
    }

    /// The credits that came with a month of a period that is left, and expired.
    pub fn expired_of(&self, end_ms: TimeMs, month: u32) -> Credits {
        self.expired.get(&(end_ms, month)).copied().unwrap_or(Credits::ZERO)
    }

    /// The keys of the later grants that came, or are to come, with the periods that an invoice leaves.
    pub fn later_left_by(&self, invoice: &InvoiceFields) -> Vec<String> {
        let left = ends(invoice, Line::credits_time);
        let is_left = move |other: &&InvoiceFields| !ends(other, Line::bills_period).is_disjoint(&left);
        let brought = self.others(invoice).filter(is_left).filter_map(|other| self.brought_by(other));
        brought.flat_map(|brought| brought.record.later.iter().map(|later| later.key.clone())).collect()
    }

    /// The money that other invoices credit for time that an invoice charges, of a whole period or of more within one.
    /// Where Stripe names the invoice whose charge a line credits, only that counts. Paid or not, but not voided: what an open one credits is given once it is paid, and a draft becomes an open one.
    pub fn credited_of(&self, invoice: &InvoiceFields) -> MoneyMinor {
        let charged: Vec<&Line> = invoice.lines.iter().filter(|line| line.charges_time()).collect();
        let is_named = |line: &Line| line.credits_of.is_none() || line.credits_of == invoice.id;
        let is_of_it =
            |line: &&Line| line.credits_time() && is_named(line) && charged.iter().any(|it| may_credit(line, it));
        let others = self.others(invoice).filter(|other| !other.is_void);
        let credits = others.flat_map(|other| &other.lines).filter(is_of_it).filter_map(Line::net_amount);
        MoneyMinor(credits.fold(0, |sum, amount| sum.saturating_add(amount.0.saturating_neg().max(0))))
    }

    /// The invoices that charged time which a paid invoice credits, where none of them is paid, and what it credits for
    /// that: Stripe credits what was billed, whether or not anybody paid for it.
    pub fn unpaid_credited_by(&self, invoice: &InvoiceFields) -> (BTreeSet<&str>, MoneyMinor) {
        let (mut unpaid, mut credited) = (BTreeSet::new(), 0_i64);
        for credit in invoice.lines.iter().filter(|line| line.credits_time()) {
            let is_of =
                |line: &Line| line.charges_time() && line.price.ids == credit.price.ids && may_credit(credit, line);
            let named = |other: &InvoiceFields| credit.credits_of.is_none() || credit.credits_of == other.id;
            let charged: Vec<&InvoiceFields> =
                self.others(invoice).filter(|other| named(other) && other.lines.iter().any(is_of)).collect();
            // A draft is still to be charged.
            let is_unpaid = |other: &&InvoiceFields| other.is_paid == Some(false) && !other.is_draft;
            if !charged.is_empty() && charged.iter().all(is_unpaid) {
                unpaid.extend(charged.into_iter().filter_map(|other| other.id.as_deref()));
                credited = credited.saturating_sub(credit.net_amount().unwrap_or_default().0);
            }
        }
        (unpaid, MoneyMinor(credited))
    }

    fn others(&self, invoice: &InvoiceFields) -> impl Iterator<Item = &InvoiceFields> {
        self.invoices.iter().filter(|other| other.id != invoice.id)
    }
}

/// Whether a line may credit time that another one charged: both end together, and it was not left before it was charged.
fn may_credit(credit: &Line, charge: &Line) -> bool {
    let is_earlier = credit.period_start_ms.zip(charge.period_start_ms).is_some_and(|(left, charged)| left < charged);
    charge.period_end_ms.is_some() && credit.period_end_ms == charge.period_end_ms && !is_earlier
}

/// When the periods end of some lines.
pub fn ends(invoice: &InvoiceFields, is_one: impl Fn(&Line) -> bool) -> BTreeSet<TimeMs> {
    invoice.lines.iter().filter(|line| is_one(line)).filter_map(|line| line.period_end_ms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(amount: i64, is_proration: bool, end_ms: TimeMs) -> Line {
        Line { amount: Some(MoneyMinor(amount)), is_proration, period_end_ms: Some(end_ms), ..Line::default() }
    }

    fn invoice(id: &str, is_paid: bool, lines: Vec<Line>) -> InvoiceFields {
        InvoiceFields { id: Some(id.to_owned()), is_paid: Some(is_paid), lines, ..InvoiceFields::default() }
    }

    #[test]
    fn the_grants_of_a_period_that_is_left_are_those_of_the_invoice_that_billed_it() {
        let first = invoice("in_1", true, vec![line(59_900, false, 30)]);
        let change = invoice("in_2", true, vec![line(199_900, false, 40), line(-30_000, true, 30)]);
        let mut before = Before::of(vec![first.clone(), change.clone()]);
        for (id, grants) in [("in_1", vec![3, 5]), ("in_2", vec![7])] {
            before.brought.insert(id.to_owned(), BroughtBefore { grants, ..BroughtBefore::default() });
        }
        assert_eq!((before.grants_left_by(&change), before.grants_left_by(&first)), (Some(vec![3, 5]), None));
        for of in [&first, &change] {
            assert_eq!(before.grants_of_left(of), BTreeMap::from([(30, vec![3, 5])]), "nobody left the other period");
        }
        before.brought.clear();
        assert_eq!(before.grants_left_by(&change), Some(vec![]), "it is known, and has brought nothing yet");
    }

    #[test]
    fn what_follows_an_invoice_is_known_if_it_is_among_the_known_ones_or_none_is_left_out() {
        let (listed, older) = (invoice("in_2", true, Vec::new()), invoice("in_1", true, Vec::new()));
        let whole = Before::of(vec![listed.clone()]);
        let cut = Before { is_cut: true, ..whole.clone() };
        assert!(whole.covers(&older) && cut.covers(&listed) && !cut.covers(&older));
    }

    #[test]
    fn what_other_invoices_credit_for_time_of_a_period_is_given_back_of_its_money() {
        let first = invoice("in_1", true, vec![line(59_900, false, 30)]);
        let discounted = Line { discount: MoneyMinor(-1_000), ..line(-20_000, true, 30) };
        let change = invoice("in_2", true, vec![line(199_900, false, 40), line(-30_000, true, 30), discounted]);
        let unpaid = invoice("in_3", false, vec![line(-7, true, 30)]);
        let void = InvoiceFields { is_void: true, ..invoice("in_5", false, vec![line(-11, true, 30)]) };
        let pending = InvoiceFields { lines: vec![line(-2, true, 30)], ..InvoiceFields::default() };
        let of_another = invoice("in_4", true, vec![line(-9, true, 40), line(5, true, 30)]);
        let before = Before::of(vec![first.clone(), change.clone(), unpaid, of_another, void, pending]);
        assert_eq!(
            before.credited_of(&first),
            MoneyMinor(49_009),
            "also what is not paid yet, or waits for an invoice"
        );
        assert_eq!(before.credited_of(&change), MoneyMinor(9));
        assert_eq!(Before::NONE.credited_of(&first), MoneyMinor::ZERO);
    }

    #[test]
    fn a_credit_for_what_nobody_paid_is_found_and_one_for_what_somebody_paid_is_not() {
        let at = |id: &str, line: Line| {
            let mut line = line;
            line.price.ids = vec![id.to_owned()];
            line
        };
        let first = invoice("in_1", true, vec![at("pro", line(59_900, false, 30))]);
        let up = vec![at("pro", line(-59_900, true, 30)), at("team", line(199_900, true, 30))];
        let up = invoice("in_2", false, up);
        let more = [at("pro", line(59_900, true, 30)), at("pro", line(-700, true, 30))];
        let down = [vec![at("team", line(-199_900, true, 30))], more.to_vec()].concat();
        let down = invoice("in_3", true, down);
        let unpaid = |up: InvoiceFields| {
            let before = Before::of(vec![first.clone(), up, down.clone()]);
            let (ids, credited) = before.unpaid_credited_by(&down);
            (ids.into_iter().map(str::to_owned).collect::<Vec<_>>(), credited.0)
        };
        let found = (vec!["in_2".to_owned()], 199_900);
        assert_eq!(unpaid(up.clone()), found, "only what nobody paid");
        assert_eq!(unpaid(InvoiceFields { is_void: true, ..up.clone() }), found, "its credit stays");
        assert_eq!(unpaid(InvoiceFields { is_paid: Some(true), ..up.clone() }), (Vec::new(), 0));
        assert_eq!(unpaid(InvoiceFields { is_draft: true, ..up.clone() }), (Vec::new(), 0));
        let before = Before::of(vec![first.clone(), up.clone(), down.clone()]);
        assert!(before.unpaid_credited_by(&up).0.is_empty(), "the first one is paid");
    }

    #[test]
    fn a_credit_that_names_the_invoice_it_is_of_counts_against_no_other() {
        let first = invoice("in_1", true, vec![line(15_000, false, 30)]);
        let of = |id: &str, line: Line| Line { credits_of: Some(id.to_owned()), ..line };
        let more = vec![of("in_1", line(-9_000, true, 30)), line(30_000, true, 30)];
        let more = invoice("in_2", true, more);
        let fewer = invoice("in_3", true, vec![of("in_2", line(-30_000, true, 30)), line(9_000, true, 30)]);
        let before = Before::of(vec![first.clone(), more.clone(), fewer.clone()]);
        let credited = [&first, &more, &fewer].map(|invoice| before.credited_of(invoice).0);
        assert_eq!(credited, [9_000, 30_000, 0]);
    }

    #[test]
    fn time_that_a_change_charged_is_credited_by_what_leaves_it_later_and_by_nothing_before() {
        let from = |start_ms: TimeMs, line: Line| Line { period_start_ms: Some(start_ms), ..line };
        let first = invoice("in_1", true, vec![from(0, line(1_200, false, 30))]);
        let seats = [from(15, line(-600, true, 30)), from(15, line(1_200, true, 30))];
        let seats = invoice("in_2", true, seats.to_vec());
        let change = invoice("in_3", true, vec![from(20, line(-800, true, 30)), from(20, line(1_500, false, 50))]);
        let before = Before::of(vec![first.clone(), seats.clone(), change.clone()]);
        assert_eq!(before.credited_of(&seats), MoneyMinor(800), "what it credits itself is in its price");
        assert_eq!(before.credited_of(&first), MoneyMinor(1_400));
        let later = invoice("in_4", true, vec![from(18, line(100, true, 30))]);
        assert_eq!(before.credited_of(&later), MoneyMinor(800), "the seats came before");
    }
}
