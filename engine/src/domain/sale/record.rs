//! What an invoice sold, as it is kept with the first grant of its credits: so it can be proved later that exactly this
//! was granted, whatever the catalogue has become.

use super::grant::{Grant, MONTHS_MAX, month_of, months_of};
use super::line::Sale;
use crate::amount::{Credits, UNITS_MAX};
use crate::clock::TimeMs;
use crate::domain::catalogue::Price;
use crate::key::PriceKey;
use serde::{Deserialize, Serialize};

/// A whole period that an invoice billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoldLine {
    /// The catalogue's price.
    pub price: PriceKey,
    /// How many of it.
    pub quantity: i64,
    /// The credits of the whole period.
    pub credits: Credits,
    /// When the period begins.
    pub from_ms: Option<TimeMs>,
    /// When it ends.
    pub until_ms: Option<TimeMs>,
    /// In how many parts, one a month, its credits are granted; 1 if all at once. `None` in records of earlier
    /// releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub months: Option<u32>,
}

/// A grant of the same invoice that is made apart from the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaterGrant {
    /// Its key in the ledger.
    pub key: String,
    /// Its credits.
    pub credits: Credits,
    /// When it is due.
    pub at_ms: TimeMs,
}

/// Credits of a period that was left before it was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The invoice that left it.
    pub invoice: String,
    /// The credits of the time that was left.
    pub credits: Credits,
}

/// What an invoice sold, and which grants that brings beside the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaleRecord {
    /// The lines of ours.
    pub sold: Vec<SoldLine>,
    /// The credits that it takes back of periods that were left.
    #[serde(default)]
    pub taken: Credits,
    /// Which of those are of its own periods, because others left these before it was paid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Whether those are an entry of their own beside the first grant; else the first entry has only the difference.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_taken_apart: bool,
    /// The other grants.
    pub later: Vec<LaterGrant>,
}

/// Lines in which a record and its invoice differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineCounts {
    /// Lines that the invoice sells, and for which nothing was granted.
    pub ungranted: usize,
    /// Lines for which something was granted, and that the invoice does not sell.
    pub unsold: usize,
}

impl SaleRecord {
    /// The record of sales, of what is taken back, and of the grants that remain; `first` is the key of the entry that
    /// keeps it.
    pub fn new(sales: &[Sale], taken: Credits, grants: &[Grant], first: &str, now_ms: TimeMs) -> Self {
        let line = |sale: &Sale| SoldLine {
            price: sale.price.key.clone(),
            quantity: sale.quantity,
            credits: sale.credits(),
            from_ms: sale.from_ms,
            until_ms: sale.until_ms,
            months: Some(months_of(&sale.price)),
        };
        let later = grants.iter().filter(|grant| grant.key != first).map(|grant| LaterGrant {
            key: grant.key.clone(),
            credits: grant.credits,
            at_ms: grant.at_ms.unwrap_or(now_ms),
        });
        let is_taken_apart = taken > Credits::ZERO && grants.iter().any(|grant| grant.key == first);
        let sold = sales.iter().map(line).collect();
        Self { sold, taken, left_out: Vec::new(), is_taken_apart, later: later.collect() }
    }

    /// The credits that are taken back in an entry of their own.
    pub fn taken_apart(&self) -> Credits {
        if self.is_taken_apart { self.taken } else { Credits::ZERO }
    }

    /// The credits that it takes back of periods of other invoices.
    pub fn taken_of_others(&self) -> Credits {
        self.taken - self.left_out.iter().map(|left| left.credits).sum()
    }

    /// In how many parts, one a month, the credits of one of these lines are granted, whatever its price says by now.
    /// Where an earlier release did not keep it, the later grants tell.
    pub fn months_of(&self, line: &SoldLine, price: &Price) -> u32 {
        let is_monthly = || self.later.iter().any(|grant| month_of(&grant.key).is_some());
        match (line.months, &self.sold[..]) {
            (Some(months), _) => months,
            _ if !is_monthly() => 1,
            (None, [_]) => price.every.months().clamp(1, MONTHS_MAX),
            // Which of several lines the parts are of is not known.
            (None, _) => months_of(price),
        }
    }

    /// As the metadata of the first grant.
    pub fn to_metadata(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    /// Reads the metadata of a grant; `None` if it is no record, as before there were any.
    pub fn read(metadata: Option<&str>) -> Option<Self> {
        serde_json::from_str(metadata?).ok()
    }

    /// Why these lines do not bring `first`, negative if it takes credits back, and the later grants.
    pub fn problem(&self, first: Credits) -> Option<String> {
        let taken_here = self.taken - self.taken_apart();
        let brought = self.sold.iter().map(|line| line.credits).sum::<Credits>() - taken_here;
        let granted = self.later.iter().map(|grant| grant.credits).sum::<Credits>() + first;
        // One grant has at most so many.
        let is_capped = brought > UNITS_MAX && granted >= UNITS_MAX;
        (brought != granted && !is_capped)
            .then(|| format!("its lines bring {brought} credits, and its grants have {granted}"))
    }

    /// Compares with what the invoice sells by the rules and the prices of now.
    pub fn compare(&self, now: &[Sale]) -> LineCounts {
        let mut unsold: Vec<(&PriceKey, i64)> = self.sold.iter().map(|line| (&line.price, line.quantity)).collect();
        let mut ungranted = 0;
        for sale in now {
            match unsold.iter().position(|line| *line == (&sale.price.key, sale.quantity)) {
                Some(at) => drop(unsold.swap_remove(at)),
                None => ungranted += 1,
            }
        }
        LineCounts { ungranted, unsold: unsold.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::{GrantSchedule, Interval, IntervalUnit, Price};
    use crate::domain::sale::example::pro_price;
    use crate::domain::sale::grant::{grant_key, grants};

    const NOW_MS: TimeMs = 1_796_000_000_000;

    fn sale(price: Price) -> Sale {
        Sale { price, quantity: 1, from_ms: Some(NOW_MS), until_ms: Some(NOW_MS + 1) }
    }

    fn year() -> Price {
        let every = Interval { count: 1, unit: IntervalUnit::Year };
        Price { every, grant: GrantSchedule::Monthly, credits: Credits(100), ..pro_price() }
    }

    #[test]
    fn a_record_is_read_as_it_is_written_and_explains_its_grants() {
        for sales in [vec![sale(pro_price())], vec![sale(year())], vec![sale(year()), sale(pro_price())]] {
            let grants = grants("in_1", &sales, NOW_MS);
            let record = SaleRecord::new(&sales, Credits::ZERO, &grants, &grants[0].key, NOW_MS);
            assert_eq!(record.problem(grants[0].credits), None);
            assert!(record.problem(grants[0].credits + Credits(1)).is_some());
            assert_eq!(record.later.len(), grants.len() - 1);
            assert_eq!(SaleRecord::read(Some(&record.to_metadata())), Some(record));
        }
        assert_eq!(SaleRecord::read(None), None);
        assert_eq!(SaleRecord::read(Some("{\"ticket\":4711}")), None, "metadata of a caller is no record");
    }

    #[test]
    fn in_how_many_parts_a_line_is_granted_is_kept_and_else_told_by_the_grants() {
        let whole = Price { grant: GrantSchedule::Whole, ..year() };
        for (sold, now, months) in [(year(), &whole, 12), (whole.clone(), &year(), 1), (pro_price(), &pro_price(), 1)] {
            let sales = [sale(sold)];
            let grants = grants("in_1", &sales, NOW_MS);
            let mut record = SaleRecord::new(&sales, Credits::ZERO, &grants, &grants[0].key, NOW_MS);
            assert_eq!(record.months_of(&record.sold[0], now), months);
            record.sold[0].months = None;
            let record = SaleRecord::read(Some(&record.to_metadata())).expect("a record");
            assert_eq!(record.months_of(&record.sold[0], now), months, "of an earlier release");
        }
    }

    #[test]
    fn what_is_taken_back_is_an_entry_of_its_own_beside_a_grant() {
        let sales = [sale(pro_price())];
        let grants = grants("in_1", &sales, NOW_MS);
        for taken in [50, 70] {
            let record = SaleRecord::new(&sales, Credits(taken), &grants, &grant_key("in_1"), NOW_MS);
            assert_eq!((record.problem(Credits(60)), record.taken_apart()), (None, Credits(taken)));
            assert!(record.problem(Credits(60 - taken)).is_some());
            assert_eq!(SaleRecord::read(Some(&record.to_metadata())), Some(record));
        }
        let only_taken = SaleRecord::new(&[], Credits(70), &[], &grant_key("in_1"), NOW_MS);
        assert_eq!((only_taken.problem(Credits(-70)), only_taken.taken_apart()), (None, Credits::ZERO));
    }

    #[test]
    fn in_older_records_what_is_taken_back_comes_out_of_the_first_grant() {
        let sales = [sale(pro_price())];
        let first = SaleRecord::new(&sales, Credits(50), &grants("in_1", &sales, NOW_MS), &grant_key("in_1"), NOW_MS);
        let older = first.to_metadata().replace(",\"is_taken_apart\":true", "");
        let older = SaleRecord::read(Some(&older)).expect("a record");
        assert_eq!((older.problem(Credits(10)), older.taken_apart()), (None, Credits::ZERO));
        assert!(older.problem(Credits(60)).is_some());
    }

    #[test]
    fn a_line_more_or_less_or_other_than_was_sold_is_counted() {
        let sales = [sale(pro_price())];
        let record =
            SaleRecord::new(&sales, Credits::ZERO, &grants("in_1", &sales, NOW_MS), "stripe:invoice:in_1", NOW_MS);
        let counts = |now: &[Sale]| {
            let LineCounts { ungranted, unsold } = record.compare(now);
            (ungranted, unsold)
        };
        assert_eq!(counts(&sales), (0, 0));
        assert_eq!(counts(&[sale(pro_price()), sale(pro_price())]), (1, 0));
        assert_eq!(counts(&[]), (0, 1));
        assert_eq!(counts(&[sale(Price { key: PriceKey::trusted("other"), ..pro_price() })]), (1, 1));
        assert_eq!(counts(&[Sale { quantity: 2, ..sale(pro_price()) }]), (1, 1));
    }

    #[test]
    fn parts_of_one_of_several_lines_are_those_of_its_price() {
        let sales = [sale(year()), sale(pro_price())];
        let grants = grants("in_1", &sales, NOW_MS);
        let mut record = SaleRecord::new(&sales, Credits::ZERO, &grants, &grants[0].key, NOW_MS);
        record.sold.iter_mut().for_each(|line| line.months = None);
        assert_eq!(record.months_of(&record.sold[0], &year()), 12);
        assert_eq!(record.months_of(&record.sold[1], &pro_price()), 1);
    }

    #[test]
    fn lines_that_bring_more_than_one_grant_may_have_are_explained_by_the_most() {
        let most = Price { credits: UNITS_MAX, ..pro_price() };
        let record = SaleRecord::new(&[sale(most.clone()), sale(most)], Credits::ZERO, &[], "", NOW_MS);
        assert_eq!(record.problem(UNITS_MAX), None);
        assert!(record.problem(UNITS_MAX - Credits(1)).is_some());
    }
}
