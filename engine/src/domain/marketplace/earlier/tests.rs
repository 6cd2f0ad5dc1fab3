use super::*;
use crate::domain::catalogue::Catalogue;
use crate::domain::github::Purchase;
use crate::domain::marketplace::Pending;
use crate::domain::marketplace::rules::apply_purchase;

const DAY_MS: i64 = 86_400_000;
/// 25 October 2026.
const BOUGHT: TimeMs = 1_792_886_400_000;

/// The row of an account that bought Pro, as this release writes it.
fn row() -> MarketplaceAccount {
    let said = Purchase {
        action: Action::Purchased,
        effective_ms: BOUGHT,
        account_id: 4,
        login: "acme".to_owned(),
        account_type: "Organization".to_owned(),
        email: None,
        plan_id: 435,
        plan_name: "Pro".to_owned(),
        previous_plan_id: None,
        billing_cycle: Some("monthly".to_owned()),
        unit_count: 1,
        on_free_trial: false,
        free_trial_ends_ms: None,
        next_billing_ms: Some(BOUGHT + 11 * DAY_MS),
    };
    apply_purchase(None, &said, Some(&PlanKey::trusted("pro")), "evt_1", &Catalogue::built_in(), BOUGHT)
}

/// The same row as an earlier build wrote it.
fn earlier_row() -> (MarketplaceAccount, Vec<OwedSpan>) {
    let row = row();
    let owed = owed_spans(&row);
    (MarketplaceAccount { news: Vec::new(), ..row }, owed)
}

fn is_paid(account: &MarketplaceAccount) -> bool {
    account.is_paid(&Catalogue::built_in())
}

/// The spans to grant by the catalogue, each of which must be as an event reports it.
fn ungranted(account: &MarketplaceAccount) -> Vec<OwedSpan> {
    let catalogue = Catalogue::built_in();
    let spans = account.ungranted_spans(&catalogue).into_iter();
    let owed = spans.inspect(|span| assert!(span.is_reported, "{span:?}"));
    let owed =
        owed.map(|span| OwedSpan { from_ms: span.from_ms, until_ms: span.until_ms, billing_ms: span.billing_ms });
    owed.collect()
}

#[test]
fn stored_plans_and_announcements_keep_their_form() {
    for stored in [r#"{"id":435,"name":"Pro","plan":"pro"}"#, r#"{"id":436,"name":"Gold","plan":null}"#] {
        let plan: ListingPlan = serde_json::from_str(stored).expect("it is read");
        assert_eq!(serde_json::to_string(&plan).expect("plain data"), stored);
    }
    let stored = r#"{"at_ms":1,"plan":null,"is_withdrawn":true}"#;
    let pending: Pending = serde_json::from_str(stored).expect("it is read");
    assert_eq!(serde_json::to_string(&pending).expect("plain data"), stored);
}

#[test]
fn a_row_of_this_release_is_left_alone() {
    let mut read = row();
    restore_news(&mut read, &[]);
    assert_eq!(read, row());
}

#[test]
fn a_row_whose_last_news_are_of_a_plan_that_nobody_knows_is_left_alone() {
    let mut read = row();
    let gold = ListingPlan { id: 436, name: "Gold".to_owned(), plan: None };
    read.add(News {
        id: "evt_2".to_owned(),
        action: Action::Changed,
        at_ms: BOUGHT + DAY_MS,
        plan: gold,
        ..read.news[0].clone()
    });
    let before = read.clone();
    restore_news(&mut read, &[]);
    assert_eq!((is_paid(&read), &read), (true, &before));
}

#[test]
fn a_day_whose_last_news_give_no_time_is_left_alone() {
    let mut read = row();
    let timed = News { at_ms: BOUGHT + 1, id: "evt_2".to_owned(), ..read.news[0].clone() };
    read.add(News { action: Action::Cancelled, ..timed });
    read.add(News { id: "evt_3".to_owned(), ..read.news[0].clone() });
    let last = sort_news(&read.news).news.last().map(|news| news.at_ms);
    assert_eq!((last, read.effective_ms), (Some(BOUGHT), BOUGHT + 1));
    let before = read.clone();
    restore_news(&mut read, &[]);
    assert_eq!(read, before);
}

#[test]
fn a_row_of_before_is_owed_what_it_was_owed() {
    let (mut read, owed) = earlier_row();
    restore_news(&mut read, &owed);
    assert_eq!((ungranted(&read), is_paid(&read)), (owed, true));
    read.granted_until_ms = Some(BOUGHT + 11 * DAY_MS);
    let next = read.next_period(&Catalogue::built_in(), 0).map(|period| period.from_ms);
    assert_eq!(next, read.granted_until_ms);
}

#[test]
fn spans_that_were_over_before_stay_owed_and_the_time_between_does_not() {
    let at = |n: i64| BOUGHT + n * DAY_MS;
    let span = |from: i64, until: Option<i64>| OwedSpan {
        from_ms: at(from),
        until_ms: until.map(at),
        billing_ms: Some(at(11)),
    };
    for (state, last_action, owed) in [
        (PurchaseState::Purchased, Action::Changed, vec![span(0, Some(5)), span(5, Some(20)), span(60, None)]),
        (PurchaseState::Cancelled, Action::Cancelled, vec![span(0, Some(5)), span(40, Some(60))]),
        (PurchaseState::Cancelled, Action::Cancelled, vec![]),
    ] {
        let (mut read, _) = earlier_row();
        (read.state, read.last_action, read.effective_ms) = (state, last_action, at(60));
        restore_news(&mut read, &owed);
        assert_eq!(ungranted(&read), owed, "{last_action:?}");
        let news = read.news.clone();
        restore_news(&mut read, &owed);
        assert_eq!(read.news, news, "completed once");
    }
}

#[test]
fn what_a_node_of_before_wrote_during_a_rolling_deploy_counts() {
    let mut read = row();
    (read.state, read.last_action, read.effective_ms) =
        (PurchaseState::Cancelled, Action::Cancelled, BOUGHT + 3 * DAY_MS);
    restore_news(&mut read, &[]);
    let ends: Vec<_> = owed_spans(&read).iter().map(|span| span.until_ms).collect();
    assert_eq!((ends, read.news.len()), (vec![Some(BOUGHT + 3 * DAY_MS)], 2));
}

#[test]
fn an_account_with_nothing_in_force_needs_no_news() {
    let mut read = MarketplaceAccount { state: PurchaseState::Announced, news: Vec::new(), ..row() };
    restore_news(&mut read, &[]);
    assert!(read.news.is_empty());
}
