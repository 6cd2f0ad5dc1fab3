//! Periods that were left, of whose credits some expired.

use super::*;

#[test]
fn what_expired_of_a_period_that_was_left_is_not_taken_once_more() {
    let half_ms = START_MS + 15 * DAY_MS;
    let settled = |expired: &[((TimeMs, u32), i64)]| {
        // Of five, three are left, and the renewal settles it.
        let first = invoice("in_1", vec![whole("seats", 5, 25_000)]);
        let lines = vec![
            proration("seats", 5, -12_500, half_ms),
            proration("seats", 2, 5_000, half_ms),
            line("seats", 2, 10_000, END_MS, END_MS + 31 * DAY_MS),
        ];
        let renewal = invoice("in_2", lines);
        let expired = expired.iter().map(|(of, credits)| (*of, Credits(*credits))).collect();
        let before = Before { expired, ..Before::of(vec![first, renewal.clone()]) };
        taken(&renewal, &before, &book()).expect("it is decided").0
    };
    let seats = |expired: i64| settled(&[((END_MS, 0), expired)]);
    assert_eq!([0, 10, 30, 70].map(seats), [30, 20, 0, 0]);
    let of_others = [((END_MS, 1), 30), ((START_MS, 0), 30)];
    assert_eq!(settled(&of_others), 30, "what came with another month or period is no matter");
}

/// A period of seats that invoices leave in steps: how many days after the one before, and how many seats fewer.
fn left_in_steps(seats: i64, falls: &[(i64, i64)]) -> Vec<InvoiceFields> {
    let mut all = vec![invoice("in_1", vec![whole("seats", seats, 100_000)])];
    let (mut at_ms, mut now) = (START_MS, seats);
    for (n, (days, fewer)) in falls.iter().enumerate() {
        at_ms += days * DAY_MS;
        let lines = vec![proration("seats", now, -1_000, at_ms), proration("seats", now - fewer, 900, at_ms)];
        all.push(invoice(&format!("in_{}", n + 2), lines));
        now -= fewer;
    }
    all
}

fn expired(credits: i64) -> BTreeMap<(TimeMs, u32), Credits> {
    BTreeMap::from([((END_MS, 0), Credits(credits))])
}

#[test]
fn what_expired_excuses_the_first_step_first() {
    let all = left_in_steps(5, &[(15, 2), (6, 2)]);
    assert_eq!(taken_by(&all), [0, 20, 12]);
    let take = |before: &Before| [1, 2].map(|at| taken(&all[at], before, &book()).expect("it is decided").0);
    for (gone, takes) in [(5, [15, 12]), (20, [0, 12]), (25, [0, 7]), (40, [0, 0])] {
        let before = Before { expired: expired(gone), ..Before::of(all.clone()) };
        assert_eq!(take(&before), takes, "{gone} expired");
        // The other one is decided after it.
        let mut decided = before.clone();
        decided.brought.insert("in_3".to_owned(), brought(takes[1]));
        assert_eq!(take(&decided)[0], takes[0], "{gone} expired");
    }
}

#[test]
fn what_expired_after_an_invoice_took_its_credits_excuses_the_others() {
    let all = left_in_steps(5, &[(15, 2), (6, 2)]);
    for (done, takes, open) in [("in_2", 20, 2), ("in_3", 12, 1)] {
        let mut before = Before { expired: expired(5), ..Before::of(all.clone()) };
        before.brought.insert(done.to_owned(), brought(takes));
        assert_eq!(taken(&all[open], &before, &book()), Ok(Credits(32 - takes - 5)), "after {done}");
    }
}

#[test]
fn what_expired_counts_as_not_taken_before_its_invoice_is_decided() {
    let paid = |invoice: InvoiceFields| InvoiceFields { is_paid: Some(true), ..invoice };
    let all: Vec<InvoiceFields> = left_in_steps(5, &[(15, 2)]).into_iter().map(paid).collect();
    for (gone, takes) in [(0, 20), (5, 15), (20, 0)] {
        let mut before = Before { expired: expired(gone), ..Before::of(all.clone()) };
        assert_eq!(taken(&all[1], &before, &book()), Ok(Credits(takes)));
        let of_first = |before: &Before| taken_of(&all[0], before, &book(), None);
        assert_eq!(
            of_first(&before),
            Credits(takes),
            "its event may be on its way, and leaves no entry if it takes none"
        );
        if takes > 0 {
            before.brought.insert("in_2".to_owned(), brought(takes));
            assert_eq!(of_first(&before), Credits(takes));
        }
    }
}

#[test]
fn what_an_invoice_was_excused_of_one_period_excuses_nothing_of_another() {
    let (half_ms, later_ms) = (START_MS + 15 * DAY_MS, END_MS + 30 * DAY_MS);
    let until = |line: Line| Line { period_end_ms: Some(later_ms), ..line };
    let credit = || proration("seats", 1, -2_500, half_ms);
    // Of two periods that end at different times, one invoice leaves both, and another one the second again.
    let first = invoice("in_1", vec![whole("seats", 1, 5_000), line("seats", 2, 10_000, START_MS, later_ms)]);
    let both = invoice("in_2", vec![credit(), until(credit())]);
    let again = invoice("in_3", vec![Line { period_start_ms: Some(half_ms + 3 * DAY_MS), ..until(credit()) }]);
    let mut before = Before::of(vec![first, both.clone(), again.clone()]);
    let take = |of: &InvoiceFields, before: &Before| taken(of, before, &book()).expect("it is decided").0;
    let due = take(&both, &before);
    let due_of_again = take(&again, &before);
    before.expired = BTreeMap::from([((END_MS, 0), Credits(100))]);
    let took = take(&both, &before);
    assert!(0 < took && took < due, "all of one period expired");
    before.brought.insert("in_2".to_owned(), brought(took));
    // Later some of the other period expires as well.
    before.expired.insert((later_ms, 0), Credits(2));
    assert_eq!(take(&again, &before), due_of_again - 2);
}

#[test]
fn what_the_first_step_was_excused_stays_when_a_later_one_is_decided() {
    // Parts of credits are due: 73.3, and 53.3 less the 26.7 that are left of what expired.
    let all = left_in_steps(10, &[(8, 5), (2, 4)]);
    let mut before = Before { expired: expired(100), ..Before::of(all[..2].to_vec()) };
    assert_eq!(taken(&all[1], &before, &book()), Ok(Credits::ZERO));
    before.invoices.clone_from(&all);
    assert_eq!(taken(&all[2], &before, &book()), Ok(Credits(27)));
    before.brought.insert("in_3".to_owned(), brought(27));
    assert_eq!(taken(&all[1], &before, &book()), Ok(Credits::ZERO), "it left no entry, and is decided again");
}

proptest! {
    /// What an invoice takes follows from it and from those before it, also in parts of credits: whichever is decided
    /// first, however often, and whatever expires later of what nobody took.
    #[test]
    fn an_invoice_takes_the_same_whatever_is_known_of_later_ones(
        falls in proptest::collection::vec((1_i64..7, 1_i64..5), 2..5),
        ranks in proptest::array::uniform4(any::<u16>()),
        gone in 0_i64..400,
        later in 0_i64..50,
    ) {
        let all = left_in_steps(20, &falls);
        let takes = |own: usize, before: &Before| taken(&all[own], before, &book()).expect("it is decided").0;
        let known = |count: usize| Before { expired: expired(gone), ..Before::of(all[..count].to_vec()) };
        let as_last: Vec<i64> = (1..all.len()).map(|own| takes(own, &known(own + 1))).collect();
        let mut order: Vec<usize> = (1..all.len()).collect();
        order.sort_by_key(|own| ranks[own - 1]);
        let mut before = known(all.len());
        for own in order {
            let credits = takes(own, &before);
            prop_assert_eq!(credits, as_last[own - 1], "invoice {} of {:?}", own, as_last);
            if credits > 0 {
                before.brought.insert(all[own].id.clone().expect("an id"), brought(credits));
            }
        }
        for own in 1..all.len() {
            prop_assert_eq!(takes(own, &before), as_last[own - 1], "invoice {} of {:?}, again", own, as_last);
        }
        before.expired = expired(gone + later);
        for own in (1..all.len()).filter(|own| as_last[own - 1] == 0) {
            prop_assert_eq!(takes(own, &before), 0, "invoice {} of {:?}, later", own, as_last);
        }
    }

    /// Credits that are due are taken or expired, and none is both: whichever of the invoices that leave a period is
    /// decided first, and however many of them before the rest expires.
    #[test]
    fn what_is_due_is_taken_or_expired_in_any_order(
        falls in proptest::collection::vec((1_i64..3, 1_i64..5), 2..5),
        ranks in proptest::array::uniform4(any::<u16>()),
        unused in 0_i64..400,
        early in 0_usize..5,
    ) {
        // Days by threes, so that all parts are whole credits.
        let falls: Vec<(i64, i64)> = falls.into_iter().map(|(threes, fewer)| (3 * threes, fewer)).collect();
        let all = left_in_steps(20, &falls);
        let due: i64 = taken_by(&all).iter().sum();
        let mut order: Vec<usize> = (1..all.len()).collect();
        order.sort_by_key(|at| ranks[at - 1]);
        let (mut before, mut sum, mut gone) = (Before::of(all.clone()), 0, 0);
        for (n, at) in order.iter().enumerate() {
            if n == early {
                gone = (unused - sum).max(0);
                before.expired = expired(gone);
            }
            let takes = taken(&all[*at], &before, &book()).expect("it is decided").0;
            sum += takes;
            if takes > 0 {
                before.brought.insert(all[*at].id.clone().expect("an id"), brought(takes));
            }
        }
        if early >= order.len() {
            gone = (unused - sum).max(0);
        }
        prop_assert_eq!(sum + gone, due.max(unused), "{} of {} due were taken", sum, due);
    }
}
