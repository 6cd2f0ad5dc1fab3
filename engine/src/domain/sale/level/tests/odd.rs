//! Periods that the catalogue of now does not tell of: sold before there were records, decided anew, or for nothing.

use super::*;

#[test]
fn a_line_that_an_invoice_from_before_the_records_brought_credits_for_counts_only_if_it_is_alone() {
    let at_ms = START_MS + 15 * DAY_MS;
    let of_line = |key: &str, amount| invoice("in_2", vec![proration(key, 1, amount, at_ms)]);
    let taken_of = |first: InvoiceFields, left: &InvoiceFields| {
        let mut before = Before::of(vec![first]);
        let brought = BroughtBefore { granted: Credits(40), ..BroughtBefore::default() };
        before.brought.insert("in_1".to_owned(), brought);
        taken(left, &before, &book()).expect("it is decided").0
    };
    let left = of_line("pro_monthly", -29_950);
    assert_eq!(taken_of(invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]), &left), 20, "half of what came");
    let with_seats = invoice("in_1", vec![whole("pro_monthly", 1, 59_900), whole("seats", 1, 5_000)]);
    assert_eq!(taken_of(with_seats, &left), 30, "by its price");
    // A year was granted in parts, which one number does not tell.
    let year = invoice("in_1", vec![line("pro_yearly", 1, 599_000, START_MS, add_months(START_MS, 12))]);
    let left = Line { is_proration: true, ..line("pro_yearly", 1, -299_500, at_ms, add_months(START_MS, 12)) };
    assert_eq!(taken_of(year, &invoice("in_2", vec![left])), 30, "half of the month's part");
}

#[test]
fn what_a_price_that_is_decided_anew_had_brought_is_found_by_number_and_time() {
    let sold = |key: &str, quantity: i64, until_ms: TimeMs| SoldLine {
        price: PriceKey::trusted(key),
        quantity,
        credits: Credits(100),
        from_ms: Some(START_MS),
        until_ms: Some(until_ms),
        months: Some(1),
    };
    let first = invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]);
    let left = invoice("in_2", vec![proration("pro_monthly", 1, -29_950, START_MS + 15 * DAY_MS)]);
    let taken_of = |line: SoldLine| {
        let mut before = Before::of(vec![first.clone()]);
        let record = SaleRecord { sold: vec![line], ..SaleRecord::default() };
        before.brought.insert("in_1".to_owned(), BroughtBefore { record, ..BroughtBefore::default() });
        taken(&left, &before, &book()).expect("it is decided").0
    };
    assert_eq!(taken_of(sold("pro_monthly", 1, END_MS)), 50);
    assert_eq!(taken_of(sold("team", 1, END_MS)), 50, "it sold Team once");
    for other in [sold("pro_monthly", 2, END_MS), sold("team", 2, END_MS), sold("team", 1, END_MS + 1)] {
        assert_eq!(taken_of(other), 0, "nothing came for the line");
    }
}

#[test]
fn what_stands_for_no_credits_takes_none() {
    let mut catalogue = Catalogue::clone(book().catalogue());
    catalogue.prices.push(priced("gift", 0, 60));
    let with_gift = PriceBook::new(Arc::new(catalogue), []);
    let undated = Line { period_end_ms: None, ..proration("gift", 1, -100, START_MS) };
    assert_eq!(taken(&invoice("in_1", vec![undated]), Before::NONE, &with_gift), Ok(Credits::ZERO), "it costs nothing");
    let no_seat = invoice("in_1", vec![proration("seats", 0, -100, START_MS)]);
    assert_eq!(taken(&no_seat, Before::NONE, &book()), Ok(Credits::ZERO), "of no seat");
    // A month of a year for nothing is what its job says.
    let free = Line { amount: Some(MoneyMinor::ZERO), ..line("pro_yearly", 1, 0, START_MS, add_months(START_MS, 12)) };
    assert_eq!(part_left(Credits(60), 1, &invoice("in_1", vec![free]), Before::NONE, &book()), Ok(Credits(60)));
}

#[test]
fn a_price_that_is_not_decided_stops_its_own_invoice_and_no_other() {
    let at_ms = START_MS + 15 * DAY_MS;
    let price = fields::Price { ids: vec!["price_unknown".to_owned()], ..fields::Price::default() };
    let unknown = invoice("in_3", vec![Line { price, ..proration("unknown", 1, -100, at_ms) }]);
    let first = invoice("in_1", vec![whole("pro_monthly", 1, 59_900)]);
    let left = invoice("in_2", vec![proration("pro_monthly", 1, -29_950, at_ms)]);
    let before = Before::of(vec![first, left.clone(), unknown.clone()]);
    assert_eq!(taken(&left, &before, &book()), Ok(Credits(30)));
    assert!(matches!(taken(&unknown, &before, &book()), Err(Unclear::Price(_))));
}

#[test]
fn an_add_on_of_a_plan_stays_one_when_its_number_changes_within_the_period() {
    let (more_ms, end_ms) = (START_MS + 10 * DAY_MS, START_MS + 20 * DAY_MS);
    let of_x = |amount: i64, at_ms: TimeMs| at_price_x(proration("pro_monthly", 1, amount, at_ms));
    let add_on = at_price_x(whole("pro_monthly", 1, 59_900));
    let first = invoice("in_1", vec![whole("pro_monthly", 1, 69_900), add_on]);
    let more = invoice("in_2", vec![of_x(-39_933, more_ms), of_x(79_867, more_ms)]);
    let gone = invoice("in_3", vec![of_x(-39_933, end_ms)]);
    let all = [first, more, gone].map(|invoice| with_tags(invoice, &[("bursar_plan", "pro")]));
    let before = Before::of(all.to_vec());
    for own in &all[1..] {
        assert_eq!(taken(own, &before, &with_tagged_price()), Ok(Credits::ZERO), "{:?}", own.id);
    }
}

#[test]
fn what_an_invoice_rounded_up_of_two_periods_is_of_no_other() {
    let (first_ms, second_ms, later_ms) = (START_MS + DAY_MS * 573 / 20, START_MS + 32 * DAY_MS, END_MS + 10 * DAY_MS);
    let until = |line: Line| Line { period_end_ms: Some(later_ms), ..line };
    let bills = vec![whole("seats", 1, 5_000), line("seats", 3, 15_000, START_MS + 10 * DAY_MS, later_ms)];
    let credit = |at_ms: TimeMs| proration("seats", 1, -1_000, at_ms);
    let both = invoice("in_2", vec![credit(first_ms), until(credit(first_ms))]);
    let all = [invoice("in_1", bills), both, invoice("in_3", vec![until(credit(second_ms))])];
    assert_eq!(taken_by(&all), [0, 9, 6], "0.9 and 7.6, and 5.3");
    let mut before = Before::of(all.to_vec());
    before.brought.insert("in_2".to_owned(), brought(9));
    assert_eq!(taken(&all[2], &before, &book()), Ok(Credits(6)), "whichever is decided first");
}
