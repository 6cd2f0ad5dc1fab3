mod expired;
mod moved;
mod odd;

use super::*;
use crate::domain::catalogue::{Catalogue, CatalogueHistory, GrantSchedule};
use crate::domain::sale::example::{catalogue, pro_price};
use crate::domain::sale::grant::grants;
use crate::domain::sale::judge::judge;
use crate::domain::sale::record::LeftOut;
use crate::domain::sale::{DecidedBy, Decision, KnownPrice, Sale, SaleRecord, SoldTerms};
use crate::domain::webhook::fields::{self, Metadata};
use crate::key::PriceKey;
use proptest::prelude::*;
use std::sync::Arc;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// The first of June; a month of 30 days begins.
const START_MS: TimeMs = 1_748_736_000_000;
const END_MS: TimeMs = START_MS + 30 * DAY_MS;

fn priced(key: &str, amount: i64, credits: i64) -> Price {
    Price {
        key: PriceKey::trusted(key),
        lookup_key: key.to_owned(),
        amount: MoneyMinor(amount),
        credits: Credits(credits),
        ..pro_price()
    }
}

fn year() -> Price {
    let every = Interval { count: 1, unit: IntervalUnit::Year };
    Price { every, grant: GrantSchedule::Monthly, ..priced("pro_yearly", 599_000, 720) }
}

/// The built-in catalogue with Team for 250 credits a month, a price without credits, seats of 20 credits, and a year
/// of Pro granted monthly.
fn book() -> PriceBook {
    let mut catalogue = Catalogue::clone(&catalogue());
    let seats = Price { per_seat: true, ..priced("seats", 5_000, 20) };
    catalogue.prices.extend([priced("team", 199_900, 250), priced("plain", 199_900, 0), seats, year()]);
    PriceBook::new(Arc::new(catalogue), [])
}

fn line(key: &str, quantity: i64, amount: i64, from_ms: TimeMs, until_ms: TimeMs) -> Line {
    Line {
        price: fields::Price { lookup_key: Some(key.to_owned()), is_whole: true, ..fields::Price::default() },
        amount: Some(MoneyMinor(amount)),
        quantity: Some(quantity),
        period_start_ms: Some(from_ms),
        period_end_ms: Some(until_ms),
        ..Line::default()
    }
}

/// A whole period.
fn whole(key: &str, quantity: i64, amount: i64) -> Line {
    line(key, quantity, amount, START_MS, END_MS)
}

/// A credit (negative) or a charge for the rest of the period.
fn proration(key: &str, quantity: i64, amount: i64, at_ms: TimeMs) -> Line {
    Line { is_proration: true, ..line(key, quantity, amount, at_ms, END_MS) }
}

fn invoice(id: &str, lines: Vec<Line>) -> InvoiceFields {
    let total = lines.iter().filter_map(|line| line.net_amount()).map(|amount| amount.0).sum();
    InvoiceFields { id: Some(id.to_owned()), total: Some(MoneyMinor(total)), lines, ..InvoiceFields::default() }
}

/// What each of these invoices takes, with all others known.
fn taken_by(invoices: &[InvoiceFields]) -> Vec<i64> {
    invoices.iter().map(|own| taken(own, &Before::of(invoices.to_vec()), &book()).expect("it is decided").0).collect()
}

#[test]
fn several_changes_of_one_moment_take_each_their_own() {
    let reset = |id: &str, left: &str, right: &str| {
        let lines = vec![proration(left, 1, -1_000, START_MS), whole(right, 1, 1_000)];
        invoice(id, lines)
    };
    let first = invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]);
    let all = [first, reset("in_3", "pro_monthly", "team"), reset("in_2", "team", "pro_monthly")];
    assert_eq!(taken_by(&all), [0, 60, 250], "what is left of 60, 250 and 60 is 60");
    // Up and down again within one period: what was granted stays.
    let up = vec![proration("pro_monthly", 1, -100, START_MS), proration("team", 1, 300, START_MS)];
    let down = vec![proration("team", 1, -300, START_MS), proration("pro_monthly", 1, 100, START_MS)];
    let first = invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]);
    assert_eq!(taken_by(&[first, invoice("in_3", up), invoice("in_2", down)]), [0, 0, 0]);
}

#[test]
fn a_period_that_is_left_takes_its_unused_credits() {
    let at_ms = START_MS + 30 * DAY_MS * 19 / 599;
    let reset = invoice(
        "in_2",
        vec![proration("pro_monthly", 1, -58_000, at_ms), line("pro_monthly", 1, 59_900, at_ms, at_ms + 30 * DAY_MS)],
    );
    let first = invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]);
    assert_eq!(taken_by(&[first, reset.clone()]), [0, 59], "of 60, the new period brings 1");
    assert_eq!(taken(&reset, Before::NONE, &book()), Ok(Credits(59)), "what is not known counts as granted");
}

#[test]
fn time_counts_and_not_money_so_a_discount_keeps_no_credits() {
    let paid_half = Line { discount: MoneyMinor(29_950), ..whole("pro_monthly", 1, 59_900) };
    let left = invoice("in_2", vec![proration("pro_monthly", 1, -14_975, START_MS + 15 * DAY_MS)]);
    assert_eq!(taken_by(&[invoice("in_1", vec![paid_half]), left.clone()]), [0, 30]);
    let free = Line { discount: MoneyMinor(59_900), ..whole("pro_monthly", 1, 59_900) };
    assert_eq!(taken_by(&[invoice("in_1", vec![free]), left]), [0, 0], "it had brought nothing");
}

#[test]
fn charged_prorations_bring_nothing_and_take_nothing_when_they_are_credited() {
    let (up_ms, down_ms) = (START_MS + 3 * DAY_MS, START_MS + 6 * DAY_MS);
    let first = invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]);
    let up = invoice("in_2", vec![proration("pro_monthly", 1, -53_910, up_ms), proration("team", 1, 179_910, up_ms)]);
    let down =
        invoice("in_3", vec![proration("team", 1, -159_920, down_ms), proration("pro_monthly", 1, 47_920, down_ms)]);
    assert_eq!(taken_by(&[first.clone(), up.clone(), down.clone()]), [0, 0, 0]);
    let end = invoice("in_4", vec![proration("pro_monthly", 1, -29_950, START_MS + 15 * DAY_MS)]);
    assert_eq!(taken_by(&[end, down, up, first]), [30, 0, 0, 0], "in any order");
}

/// What the ledger says of an invoice that took this many credits.
fn brought(taken: i64) -> BroughtBefore {
    let record = SaleRecord { taken: Credits(taken), ..SaleRecord::default() };
    BroughtBefore { record, ..BroughtBefore::default() }
}

#[test]
fn of_changes_of_one_moment_each_is_decided_once_whenever_the_others_become_known() {
    let seats = |id, at_ms: TimeMs, from: i64, to: i64| {
        invoice(id, vec![proration("seats", from, -100, at_ms), proration("seats", to, 90, at_ms)])
    };
    let (moment_ms, later_ms) = (START_MS + 10 * DAY_MS, START_MS + 15 * DAY_MS);
    let first = invoice("in_1", vec![whole("seats", 5, 25_000)]);
    // The ids do not tell the order.
    for (down, up) in [("in_2", "in_3"), ("in_3", "in_2")] {
        let all =
            [first.clone(), seats(down, moment_ms, 5, 2), seats(up, moment_ms, 2, 5), seats("in_4", later_ms, 5, 2)];
        assert_eq!(taken_by(&all), [0, 0, 0, 30], "all are known: half of 60");
        let alone = Before::of(vec![first.clone(), all[1].clone()]);
        assert_eq!(taken(&all[1], &alone, &book()), Ok(Credits(40)), "two thirds of 60");
        let mut before = Before::of(all.to_vec());
        before.brought.insert(down.to_owned(), brought(40));
        for (own, takes) in [(&all[2], 0), (&all[3], 0)] {
            assert_eq!(taken(own, &before, &book()), Ok(Credits(takes)), "{own:?}");
        }
    }
}

/// A period of Pro that is left after half of it: the invoice that billed it, and the one that leaves it.
fn left_in_the_middle(is_paid: bool) -> [InvoiceFields; 2] {
    let first = invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]);
    let left = invoice("in_2", vec![proration("pro_monthly", 1, -29_950, START_MS + 15 * DAY_MS)]);
    let first = InvoiceFields { is_paid: Some(is_paid), attempt_count: Some(2), ..first };
    [first, InvoiceFields { is_paid: Some(true), ..left }]
}

#[test]
fn a_period_that_is_not_paid_has_brought_nothing_to_take() {
    let all = left_in_the_middle(false);
    assert_eq!(taken_by(&all), [0, 0]);
    let void = InvoiceFields { is_void: true, ..all[0].clone() };
    assert_eq!(taken_by(&[void, all[1].clone()]), [0, 0]);
    // What a void invoice credits, nobody got.
    let [first, left] = left_in_the_middle(true);
    let void = InvoiceFields { is_void: true, is_paid: Some(false), ..left.clone() };
    let again = InvoiceFields { id: Some("in_3".to_owned()), ..left };
    assert_eq!(taken_by(&[first, void, again])[2], 30);
}

#[test]
fn a_period_that_is_paid_after_it_was_left_brings_what_was_used_whichever_invoice_is_decided_first() {
    let [first, left] = left_in_the_middle(true);
    assert!(first.is_paid_late());
    let known = Before::of(vec![first.clone(), left.clone()]);
    let left_out = |before: &Before| left_before_paid(&first, before, &book(), None);
    let half = [LeftOut { invoice: "in_2".to_owned(), credits: Credits(30) }];
    // The one that left it was decided while it was not paid, and took nothing.
    assert_eq!(left_out(&known), half);
    // It is decided after this one.
    let mut decided = known.clone();
    let record = SaleRecord { taken: Credits(30), left_out: half.to_vec(), ..SaleRecord::default() };
    decided
        .brought
        .insert("in_1".to_owned(), BroughtBefore { record, granted: Credits(30), ..BroughtBefore::default() });
    assert_eq!(taken(&left, &decided, &book()), Ok(Credits::ZERO));
    assert_eq!(taken_of(&first, &decided, &book(), None), Credits::ZERO, "it brought the rest only");
    // It was decided before, when this one was paid.
    assert_eq!(taken(&left, &known, &book()), Ok(Credits(30)));
    let mut taken_before = known;
    taken_before.brought.insert("in_2".to_owned(), brought(30));
    assert!(left_out(&taken_before).is_empty());
    assert_eq!(left_out(&Before::of(vec![left.clone()])), half, "whether it is listed itself or not");
    let unpaid = InvoiceFields { is_paid: Some(false), ..left };
    assert!(left_out(&Before::of(vec![unpaid])).is_empty());
}

/// The middle of the period is left for one of another price, and that for nothing after half of it.
fn left_twice(other: &str) -> [InvoiceFields; 3] {
    let [first, left] = left_in_the_middle(true);
    let (from_ms, until_ms) = (START_MS + 15 * DAY_MS, START_MS + 45 * DAY_MS);
    let lines = vec![left.lines[0].clone(), line(other, 1, 199_900, from_ms, until_ms)];
    let second = InvoiceFields { is_paid: Some(true), attempt_count: Some(2), ..invoice("in_2", lines) };
    let end = Line { is_proration: true, ..line(other, 1, -99_950, from_ms + 15 * DAY_MS, until_ms) };
    [first, second, InvoiceFields { is_paid: Some(true), ..invoice("in_3", vec![end]) }]
}

#[test]
fn what_an_invoice_leaves_out_of_its_own_periods_is_not_taken_of_those_that_it_leaves() {
    let all = left_twice("team");
    let mut before = Before::of(all.to_vec());
    assert_eq!(taken(&all[1], &before, &book()), Ok(Credits(30)));
    let left_out = left_before_paid(&all[1], &before, &book(), None);
    assert_eq!(left_out, [LeftOut { invoice: "in_3".to_owned(), credits: Credits(125) }]);
    let record = SaleRecord { taken: Credits(155), left_out, ..SaleRecord::default() };
    assert_eq!(record.taken_of_others(), Credits(30));
    before.brought.insert("in_2".to_owned(), BroughtBefore { record, ..BroughtBefore::default() });
    assert_eq!(taken_of(&all[0], &before, &book(), None), Credits(30), "the rest may go with its money");
    assert_eq!(taken_of(&all[1], &before, &book(), None), Credits::ZERO);
}

#[test]
fn a_period_that_was_left_for_one_without_credits_brings_what_was_used_if_it_is_paid_later() {
    let left_out = |other: &str| {
        let all = left_twice(other);
        left_before_paid(&all[0], &Before::of(all.to_vec()), &book(), None)
    };
    // Nothing of it is in the ledger: it brought nothing, and took nothing of what was not paid.
    assert_eq!(left_out("plain"), [LeftOut { invoice: "in_2".to_owned(), credits: Credits(30) }]);
    assert!(left_out("team").is_empty(), "its credits are still to come, and are exchanged then");
}

#[test]
fn a_period_that_was_left_for_one_that_cost_nothing_brings_what_was_used_if_it_is_paid_later() {
    let mut all = left_twice("team");
    all[1].lines[1].amount = Some(MoneyMinor::ZERO);
    let left_out = left_before_paid(&all[0], &Before::of(all.to_vec()), &book(), None);
    assert_eq!(left_out, [LeftOut { invoice: "in_2".to_owned(), credits: Credits(30) }]);
}

#[test]
fn what_is_left_again_counts_as_when_it_was_billed_whatever_the_catalogue_says_since() {
    let selling = |credits: i64| {
        let mut catalogue = Catalogue::clone(book().catalogue());
        let team = catalogue.prices.iter_mut().find(|price| price.key.as_str() == "team").expect("Team");
        team.credits = Credits(credits);
        Arc::new(catalogue)
    };
    let (up_ms, down_ms) = (START_MS + 3 * DAY_MS, START_MS + 6 * DAY_MS);
    let made = |at_ms, invoice: InvoiceFields| InvoiceFields { created_ms: Some(at_ms), ..invoice };
    let first = made(START_MS, invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]));
    let up = vec![proration("pro_monthly", 1, -53_910, up_ms), proration("team", 1, 179_910, up_ms)];
    let down = vec![proration("team", 1, -159_920, down_ms), proration("pro_monthly", 1, 47_920, down_ms)];
    let all = [first, made(up_ms, invoice("in_2", up)), made(down_ms, invoice("in_3", down))];
    let mut book = PriceBook::new(selling(600), []);
    let versions = vec![(0, selling(250)), (up_ms + DAY_MS, selling(600))];
    book.earlier_mut().add_history(Arc::new(CatalogueHistory::new(versions)));
    for own in &all {
        assert_eq!(taken(own, &Before::of(all.to_vec()), &book), Ok(Credits::ZERO), "{:?}", own.id);
    }
}

#[test]
fn a_level_that_was_left_once_is_taken_once() {
    let change = |id, day: i64, from: (&str, i64), to: (&str, i64)| {
        let at_ms = START_MS + day * DAY_MS;
        invoice(id, vec![proration(from.0, 1, -from.1, at_ms), proration(to.0, 1, to.1, at_ms)])
    };
    let first = invoice("in_1", vec![whole("team", 1, 199_900)]);
    let down = change("in_2", 15, ("team", 99_950), ("pro_monthly", 29_950));
    let up = change("in_3", 18, ("pro_monthly", 23_960), ("team", 79_960));
    let again = change("in_4", 21, ("team", 59_970), ("pro_monthly", 17_970));
    assert_eq!(taken_by(&[first, down, up, again]), [0, 95, 0, 0]);
}

#[test]
fn fewer_seats_take_the_credits_of_the_rest_of_the_period() {
    let at_ms = START_MS + 15 * DAY_MS;
    let first = invoice("in_1", vec![whole("seats", 5, 25_000)]);
    let renewal = vec![
        proration("seats", 5, -12_500, at_ms),
        proration("seats", 3, 7_500, at_ms),
        line("seats", 3, 15_000, END_MS, END_MS + 31 * DAY_MS),
    ];
    assert_eq!(taken_by(&[first, invoice("in_2", renewal)]), [0, 20], "of 60");
    let more = vec![proration("seats", 3, -7_500, at_ms), proration("seats", 5, 12_500, at_ms)];
    assert_eq!(taken_by(&[invoice("in_1", vec![whole("seats", 3, 15_000)]), invoice("in_2", more)]), [0, 0]);
}

#[test]
fn a_period_that_was_billed_before_the_known_invoices_waits_for_a_person() {
    let first = invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]);
    let left = invoice("in_2", vec![proration("pro_monthly", 1, -29_950, START_MS + 15 * DAY_MS)]);
    let cut = |invoices: Vec<InvoiceFields>| Before { is_cut: true, ..Before::of(invoices) };
    assert_eq!(taken(&left, &cut(Vec::new()), &book()), Err(Unclear::Period(END_MS)));
    assert_eq!(taken(&left, &cut(vec![first.clone()]), &book()), Ok(Credits(30)));
    assert_eq!(taken(&first, &cut(Vec::new()), &book()), Ok(Credits::ZERO), "it leaves none");
}

/// Periods of Pro and of Team that ends ten days later, and the invoice that leaves 15 and 25 days of them.
fn leaving_two_periods() -> [InvoiceFields; 3] {
    let later_ms = 10 * DAY_MS;
    let pro = invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]);
    let team = invoice("in_2", vec![line("team", 1, 199_900, START_MS + later_ms, END_MS + later_ms)]);
    let at_ms = START_MS + 15 * DAY_MS;
    let of_team = Line { is_proration: true, ..line("team", 1, -166_583, at_ms, END_MS + later_ms) };
    let left = invoice("in_3", vec![proration("pro_monthly", 1, -29_950, at_ms), of_team]);
    [pro, team, InvoiceFields { is_paid: Some(true), ..left }]
}

#[test]
fn of_an_invoice_that_leaves_two_periods_each_counts_what_was_taken_of_it() {
    let all = leaving_two_periods();
    let by = |before: &Before| [0, 1, 2].map(|n| taken_of(&all[n], before, &book(), None).0);
    let mut before = Before::of(all.to_vec());
    assert_eq!(taken(&all[2], &before, &book()), Ok(Credits(239)), "30 and 208.3");
    assert_eq!(by(&before), [30, 209, 0]);
    before.brought.insert("in_3".to_owned(), brought(116));
    assert_eq!(by(&before), [14, 102, 0], "what the ledger says is divided as the rules would");
}

#[test]
fn what_was_taken_of_periods_that_nothing_tells_of_is_divided_alike_and_wholly() {
    let all = leaving_two_periods();
    let nothing_sold = PriceBook::new(Arc::new(Catalogue { prices: Vec::new(), ..Catalogue::clone(&catalogue()) }), []);
    let mut before = Before::of(all.to_vec());
    before.brought.insert("in_3".to_owned(), brought(101));
    let of = |n: usize| taken_of(&all[n], &before, &nothing_sold, None).0;
    assert_eq!([of(0), of(1)], [50, 51]);
}

#[test]
fn without_a_time_the_money_tells_what_is_left() {
    let undated = Line { period_end_ms: None, ..proration("pro_monthly", 1, -58_000, START_MS) };
    assert_eq!(taken(&invoice("in_1", vec![undated]), Before::NONE, &book()), Ok(Credits(59)));
}

#[test]
fn of_a_year_granted_monthly_the_months_rest_is_taken_and_later_months_do_not_come() {
    let from_ms = START_MS;
    let until_ms = add_months(from_ms, 12);
    let first = invoice("in_1", vec![line("pro_yearly", 1, 599_000, from_ms, until_ms)]);
    // The middle of September, the fourth month.
    let left_ms = add_months(from_ms, 3) + 15 * DAY_MS;
    let left = Line { is_proration: true, ..line("pro_yearly", 1, -430_000, left_ms, until_ms) };
    let all = [first.clone(), invoice("in_2", vec![left])];
    assert_eq!(taken_by(&all), [0, 30]);
    let month =
        |month| part_left(Credits(60), month, &first, &Before::of(all.to_vec()), &book()).expect("it is decided").0;
    assert_eq!((month(1), month(3), month(4), month(11)), (60, 60, 0, 0));
    assert_eq!(part_left(Credits(60), 4, &first, Before::NONE, &book()), Ok(Credits(60)));
}

/// Selling these prices, and the invoice of a year that was sold on the terms of `sold`, with what it brought.
fn year_sold(sold: &Price, now: Price) -> (PriceBook, InvoiceFields, BroughtBefore) {
    let until_ms = add_months(START_MS, 12);
    let first = invoice("in_1", vec![line("pro_yearly", 1, 599_000, START_MS, until_ms)]);
    let sales = [Sale { price: sold.clone(), quantity: 1, from_ms: Some(START_MS), until_ms: Some(until_ms) }];
    let brought = grants("in_1", &sales, START_MS);
    let record = SaleRecord::new(&sales, Credits::ZERO, &brought, &brought[0].key, START_MS);
    let catalogue = Catalogue { prices: vec![now], ..Catalogue::clone(&catalogue()) };
    let granted = brought[0].credits;
    (
        PriceBook::new(Arc::new(catalogue), []),
        first,
        BroughtBefore { record, granted, grants: vec![1], is_clawed_back: false },
    )
}

#[test]
fn a_year_is_left_in_the_parts_in_which_it_was_sold_whatever_the_catalogue_says_since() {
    let whole = Price { grant: GrantSchedule::Whole, ..year() };
    // In the middle of the fourth month, and after a quarter of the year.
    let (fourth_ms, year_ms) = (add_months(START_MS, 3) + 15 * DAY_MS, add_months(START_MS, 12) - START_MS);
    let of_whole = 720 * (year_ms - (fourth_ms - START_MS)) / year_ms + 1;
    for (sold, now, goes, comes) in [(year(), whole.clone(), 30, 0), (whole, year(), of_whole, 60)] {
        let (book, first, brought) = year_sold(&sold, now);
        let left = Line { is_proration: true, ..line("pro_yearly", 1, -430_000, fourth_ms, add_months(START_MS, 12)) };
        let left = invoice("in_2", vec![left]);
        let mut before = Before::of(vec![first.clone(), left.clone()]);
        before.brought.insert("in_1".to_owned(), brought.clone());
        assert_eq!(taken(&left, &before, &book), Ok(Credits(goes)));
        assert_eq!(part_left(Credits(60), 5, &first, &before, &book), Ok(Credits(comes)));
        // A record of an earlier release does not keep the parts.
        let mut older = brought;
        older.record.sold[0].months = None;
        before.brought.insert("in_1".to_owned(), older);
        assert_eq!(taken(&left, &before, &book), Ok(Credits(goes)));
    }
}

#[test]
fn a_period_that_ends_on_the_last_day_of_a_month_may_have_begun_on_the_last_day_of_its_month() {
    let at = |text: &str| DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis();
    let (january, february) = (at("2027-01-31T10:00:00Z"), at("2027-02-28T10:00:00Z"));
    assert_eq!(latest_start(Interval::MONTH, february), january);
    assert_eq!(latest_start(Interval::MONTH, at("2027-02-27T10:00:00Z")), at("2027-01-27T10:00:00Z"));
    let weeks = Interval { count: 2, unit: IntervalUnit::Week };
    assert_eq!(latest_start(weeks, january), january - 14 * DAY_MS);
}

proptest! {
    /// Whoever leaves a period for a new one at once, however often, keeps the credits of the time that it used and of
    /// the period that it is in, at whatever rates the prices sell.
    #[test]
    fn switching_multiplies_no_credits(switches in proptest::collection::vec((any::<bool>(), 1..29 * DAY_MS), 1..12)) {
        let of = |is_team: bool| if is_team { ("team", 250_i64) } else { ("pro_monthly", 60) };
        let (mut at_ms, mut now) = (START_MS, "pro_monthly");
        let mut invoices = vec![invoice("in_0", vec![line(now, 1, 100, at_ms, add_months(at_ms, 1))])];
        let (mut brought, mut used) = (60_i64, 0_f64);
        for (n, (is_team, after_ms)) in switches.into_iter().enumerate() {
            let until_ms = add_months(at_ms, 1);
            let credits = of(now == "team").1;
            used += credits as f64 * after_ms as f64 / (until_ms - at_ms) as f64;
            at_ms += after_ms;
            let credit = Line { is_proration: true, ..line(now, 1, -50, at_ms, until_ms) };
            let (next, credits) = of(is_team);
            let new = line(next, 1, 100, at_ms, add_months(at_ms, 1));
            let next_invoice = invoice(&format!("in_{}", n + 1), vec![credit, new]);
            invoices.push(next_invoice.clone());
            brought += credits - taken(&next_invoice, &Before::of(invoices.to_vec()), &book()).expect("it is decided").0;
            now = next;
            prop_assert!(brought as f64 <= used + credits as f64 + 1e-3, "{brought} of {used} used and {credits}");
        }
    }
}

/// A book that knows `price_x` as sold with a tag as Pro, on the terms of before it was raised.
fn with_tagged_price() -> PriceBook {
    let mut catalogue = Catalogue::clone(&catalogue());
    catalogue.prices = vec![priced("pro_monthly", 69_900, 80), priced("team", 199_900, 250)];
    let row = KnownPrice {
        decision: Decision::Ours(pro_price().key),
        decided_by: DecidedBy::Sold,
        amount: Some(MoneyMinor(59_900)),
        terms: Some(pro_price()),
        ..judge(&at_price_x(whole("pro_monthly", 1, 59_900)).price, &catalogue, &[], 1)
    };
    PriceBook::new(Arc::new(catalogue), [row])
}

fn at_price_x(line: Line) -> Line {
    Line { price: fields::Price { ids: vec!["price_x".to_owned()], ..fields::Price::default() }, ..line }
}

fn with_tags(invoice: InvoiceFields, tags: &[(&str, &str)]) -> InvoiceFields {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    InvoiceFields { subscription_metadata: tags.collect::<Metadata>(), ..invoice }
}

#[test]
fn a_credit_is_of_what_its_period_was_sold_as_whatever_tags_there_are_by_now() {
    let (book, half_ms) = (with_tagged_price(), START_MS + 15 * DAY_MS);
    let paid = invoice("in_1", vec![at_price_x(whole("pro_monthly", 1, 59_900))]);
    let credit = at_price_x(proration("pro_monthly", 1, -29_950, half_ms));
    let change = invoice("in_2", vec![credit, line("team", 1, 199_900, half_ms, half_ms + 30 * DAY_MS)]);
    let [pro, team] = ["pro", "team"].map(|plan| ("bursar_plan", plan));
    let takes = |first: &[(&str, &str)], change_tags: &[(&str, &str)]| {
        let (first, change) = (with_tags(paid.clone(), first), with_tags(change.clone(), change_tags));
        taken(&change, &Before::of(vec![first, change.clone()]), &book).expect("it is decided").0
    };
    assert_eq!([takes(&[pro], &[pro]), takes(&[pro], &[team]), takes(&[pro], &[])], [30; 3]);
    assert_eq!([takes(&[], &[pro]), takes(&[team], &[pro])], [0; 2], "its period sold nothing");
}

#[test]
fn a_credit_takes_what_its_period_brought_though_it_would_bring_nothing_by_now() {
    let mut book = with_tagged_price();
    let made = [("bursar_plan", "pro"), ("bursar_operation_id", "op_1")];
    let first = with_tags(invoice("in_1", vec![at_price_x(whole("pro_monthly", 1, 59_900))]), &made);
    let credit = at_price_x(proration("pro_monthly", 1, -29_950, START_MS + 15 * DAY_MS));
    let left = with_tags(invoice("in_2", vec![credit]), &made);
    let mut beside = first.clone();
    beside.lines.push(whole("pro_monthly", 1, 59_900));
    let of_add_on = Before::of(vec![beside, left.clone()]);
    assert_eq!(taken(&left, &of_add_on, &book), Ok(Credits::ZERO), "an add-on");
    let all = Before::of(vec![first, left.clone()]);
    assert!(matches!(taken(&left, &all, &book), Err(Unclear::Price(_))), "it took the place of what we sold");
    let terms = SoldTerms { ids: vec!["price_x".to_owned()], price: pro_price() };
    book.earlier_mut().add_decided("in_1", vec![terms]);
    assert_eq!(taken(&left, &all, &book), Ok(Credits(30)));
}
