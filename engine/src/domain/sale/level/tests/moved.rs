//! Subscriptions of ours that were moved to another price of the same amount within a period: until a person has decided
//! what that sells, nothing is taken.

use super::*;

const MADE: [(&str, &str); 2] = [("bursar_price", "pro_monthly"), ("bursar_operation_id", "op_1")];

/// A book that knows `price_x`, at this amount for this time, by this decision of a person, if there is one.
fn knowing(amount: i64, every: &str, decided: Option<Decision>) -> PriceBook {
    let mut book = book();
    let by_nothing = judge(&at_price_x(whole("pro_monthly", 1, amount)).price, book.catalogue(), &[], 1);
    book.add([KnownPrice {
        amount: Some(MoneyMinor(amount)),
        every: Some(every.to_owned()),
        decided_by: if decided.is_some() { DecidedBy::Operator } else { DecidedBy::Nothing },
        decision: decided.unwrap_or(Decision::NotOurs),
        ..by_nothing
    }]);
    book
}

fn ours(key: &str) -> Option<Decision> {
    Some(Decision::Ours(PriceKey::trusted(key)))
}

/// The books in which nobody has decided what `price_x` sells, in which it sells Pro, and in which it is other business.
fn books() -> [PriceBook; 3] {
    [None, ours("pro_monthly"), Some(Decision::NotOurs)].map(|decided| knowing(59_900, "month", decided))
}

/// A paid invoice of the subscription.
fn of_subscription(id: &str, lines: Vec<Line>) -> InvoiceFields {
    with_tags(InvoiceFields { is_paid: Some(true), ..invoice(id, lines) }, &MADE)
}

/// A month of Pro, and its rest after five days at `price_x` instead.
fn moved() -> [InvoiceFields; 2] {
    let at_ms = START_MS + 5 * DAY_MS;
    let charge = at_price_x(proration("pro_monthly", 1, 49_917, at_ms));
    let change = vec![proration("pro_monthly", 1, -49_917, at_ms), charge];
    [of_subscription("in_1", vec![whole("pro_monthly", 1, 59_900)]), of_subscription("in_2", change)]
}

/// What an invoice takes by these books; `None` if a person must decide.
fn takes(own: &InvoiceFields, all: &[InvoiceFields]) -> [Option<i64>; 3] {
    let before = Before::of(all.to_vec());
    books().map(|book| match taken(own, &before, &book) {
        Ok(credits) => Some(credits.0),
        Err(Unclear::Price(why)) if why.contains("price_x") => None,
        Err(other) => panic!("{other:?}"),
    })
}

#[test]
fn a_price_that_took_the_place_of_ours_within_a_period_takes_nothing_before_it_is_decided() {
    let all = moved();
    assert_eq!(takes(&all[1], &all), [None, Some(0), Some(50)]);
    let before = Before::of(all.to_vec());
    let of_first = books().map(|book| taken_of(&all[0], &before, &book, None).0);
    assert_eq!(of_first, [0, 0, 50], "a refund of the period takes what the change has not");
    let not_ours = InvoiceFields { subscription_metadata: Metadata::new(), ..all[1].clone() };
    assert_eq!(takes(&not_ours, &all[..1]), [Some(50), Some(0), Some(50)], "we did not make it");
}

#[test]
fn a_move_that_a_renewal_settles_waits_whether_or_not_it_was_taken_back() {
    let [first, change] = moved();
    let next = |line: Line| Line { period_start_ms: Some(END_MS), period_end_ms: Some(END_MS + 31 * DAY_MS), ..line };
    let back_ms = START_MS + 10 * DAY_MS;
    let credit = at_price_x(proration("pro_monthly", 1, -39_933, back_ms));
    let back = vec![credit, proration("pro_monthly", 1, 39_933, back_ms), next(whole("pro_monthly", 1, 59_900))];
    for lines in [vec![at_price_x(next(whole("pro_monthly", 1, 59_900)))], back] {
        let renewal = InvoiceFields { lines: change.lines.iter().cloned().chain(lines).collect(), ..change.clone() };
        assert_eq!(takes(&renewal, &[first.clone(), renewal.clone()]), [None, Some(0), Some(50)]);
    }
}

#[test]
fn what_is_credited_of_a_price_that_is_not_decided_waits_with_it() {
    let [first, change] = moved();
    let at_ms = START_MS + 15 * DAY_MS;
    let credit = at_price_x(proration("pro_monthly", 1, -29_950, at_ms));
    let up = vec![credit.clone(), proration("team", 1, 99_950, at_ms)];
    let (left, up) = (of_subscription("in_3", vec![credit]), of_subscription("in_3", up));
    let all = [first.clone(), change.clone(), left.clone()];
    assert_eq!(takes(&left, &all), [None, Some(30), Some(0)]);
    assert_eq!(takes(&change, &all), [None, Some(0), Some(50)]);
    assert_eq!(takes(&up, &[first.clone(), change.clone(), up.clone()]), [None, Some(0), Some(0)]);
    let void = InvoiceFields { is_void: true, is_paid: Some(false), ..change };
    assert_eq!(takes(&left, &[first.clone(), void, left.clone()])[0], Some(0), "it was not moved");
    // A whole period of it waits as well.
    let renewal = of_subscription("in_1", vec![at_price_x(whole("pro_monthly", 1, 59_900))]);
    assert_eq!(takes(&left, &[renewal, left.clone()]), [None, Some(30), Some(0)]);
}

#[test]
fn an_invoice_on_which_nobody_has_decided_makes_no_other_take_more() {
    let [mut first, change] = moved();
    first.lines.push(whole("seats", 5, 25_000));
    let seats = |id: &str, day: i64, from: i64, to: i64| {
        let line = |count: i64, sign: i64| proration("seats", count, sign * 100 * count, START_MS + day * DAY_MS);
        of_subscription(id, vec![line(from, -1), line(to, 1)])
    };
    // In between there are more seats than the period was granted for.
    let (up, down) = (seats("in_3", 3, 5, 10), seats("in_4", 10, 10, 5));
    let all = [first, change.clone(), up, down.clone()];
    assert_eq!(takes(&down, &all), [Some(0), Some(0), Some(40)]);
    assert_eq!(takes(&change, &all), [None, Some(0), Some(0)]);
}

#[test]
fn what_an_undecided_invoice_charges_of_ours_counts_meanwhile() {
    let [first, mut up] = moved();
    // The change to Team is settled with another one that nobody has decided.
    let at_ms = START_MS + 5 * DAY_MS;
    up.lines.push(proration("team", 1, 199_900, at_ms));
    let unknown = fields::Price { ids: vec!["price_unknown".to_owned()], ..fields::Price::default() };
    up.lines[1].price = unknown;
    let back_ms = START_MS + 10 * DAY_MS;
    let back = vec![proration("team", 1, -133_267, back_ms), proration("pro_monthly", 1, 39_933, back_ms)];
    let back = of_subscription("in_3", back);
    assert_eq!(takes(&back, &[first, up, back.clone()]), [Some(0); 3]);
}

#[test]
fn what_was_taken_by_another_decision_is_not_taken_again() {
    let [first, change] = moved();
    let at_ms = START_MS + 15 * DAY_MS;
    let end = of_subscription("in_3", vec![at_price_x(proration("pro_monthly", 1, -29_950, at_ms))]);
    let before = |taken: &[(&str, i64)]| {
        let mut before = Before::of(vec![first.clone(), change.clone(), end.clone()]);
        before.brought.extend(taken.iter().map(|(id, credits)| ((*id).to_owned(), brought(*credits))));
        before
    };
    let [_, ours, not_ours] = books();
    // The move was other business when it was decided, and is ours by now; or the other way around.
    assert_eq!(taken(&end, &before(&[]), &ours), Ok(Credits(30)));
    assert_eq!(taken(&end, &before(&[("in_2", 50)]), &ours), Ok(Credits::ZERO));
    assert_eq!(taken(&change, &before(&[]), &not_ours), Ok(Credits(50)));
    assert_eq!(taken(&change, &before(&[("in_3", 30)]), &not_ours), Ok(Credits(20)));
}

#[test]
fn what_a_partly_undecided_invoice_replaces_with_ours_counts_meanwhile() {
    let first = of_subscription("in_1", vec![whole("seats", 5, 25_000)]);
    let at = |day: i64, count: i64, sign: i64| proration("seats", count, sign * 100 * count, START_MS + day * DAY_MS);
    let add_on = at_price_x(proration("pro_monthly", 1, 49_917, START_MS + 3 * DAY_MS));
    let unknown = fields::Price { ids: vec!["price_unknown".to_owned()], ..fields::Price::default() };
    let up = of_subscription("in_2", vec![at(3, 5, -1), at(3, 10, 1), Line { price: unknown, ..add_on }]);
    let down = of_subscription("in_3", vec![at(10, 10, -1), at(10, 2, 1)]);
    let with = takes(&down, &[first.clone(), up, down.clone()]);
    let decided = of_subscription("in_2", vec![at(3, 5, -1), at(3, 10, 1)]);
    assert_eq!(with, takes(&down, &[first, decided, down.clone()]));
    assert!(with[0] > Some(0), "seats of those that were granted are left: {with:?}");
}

#[test]
fn what_an_undecided_price_may_have_replaced_beside_a_change_of_seats_waits() {
    let [mut first, mut change] = moved();
    first.lines.push(whole("seats", 5, 25_000));
    let at = |day: i64, count: i64, sign: i64| proration("seats", count, sign * 100 * count, START_MS + day * DAY_MS);
    change.lines.extend([at(5, 5, -1), at(5, 10, 1)]);
    change.lines[1].price = fields::Price { ids: vec!["price_unknown".to_owned()], ..fields::Price::default() };
    let down = of_subscription("in_3", vec![at(10, 10, -1), at(10, 5, 1)]);
    assert_eq!(takes(&down, &[first, change, down.clone()]), [Some(0); 3], "as if the price were ours");
}

#[test]
fn months_of_a_year_that_may_have_been_left_wait_for_a_person() {
    let (until_ms, at_ms) = (add_months(START_MS, 12), add_months(START_MS, 3) + 15 * DAY_MS);
    let rest = |amount: i64| Line { is_proration: true, ..line("pro_yearly", 1, amount, at_ms, until_ms) };
    let made = |invoice: InvoiceFields| with_tags(invoice, &[("bursar_price", "pro_yearly"), MADE[1]]);
    let first = made(of_subscription("in_1", vec![line("pro_yearly", 1, 599_000, START_MS, until_ms)]));
    let change = made(of_subscription("in_2", vec![rest(-430_000), at_price_x(rest(430_000))]));
    let pending = InvoiceFields { id: None, is_paid: None, ..change.clone() };
    for change in [change, pending] {
        let before = Before::of(vec![first.clone(), change]);
        let months = [None, ours("pro_yearly"), Some(Decision::NotOurs)].map(|decided| {
            let book = knowing(599_000, "year", decided);
            [3, 4].map(|month| part_left(Credits(60), month, &first, &before, &book).ok())
        });
        assert_eq!(months, [[None; 2], [Some(Credits(60)); 2], [Some(Credits(60)), Some(Credits::ZERO)]]);
    }
}
