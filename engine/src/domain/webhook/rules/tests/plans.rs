//! Several plans and prices, and a catalogue that changes.

use super::*;
use crate::domain::sale::Decision;
use crate::key::PriceKey;

/// Another subscription of the customer.
fn second(row: Subscription) -> Subscription {
    Subscription { id: "sub_2".to_owned(), ..row }
}

/// The verdict on a subscription that is known as `stored`, of a customer with another one.
fn beside(kind: EventKind, doc: &SubscriptionDoc, stored: Option<Subscription>, other: Subscription) -> Verdict {
    let object = doc.render(Version::Basil);
    let book = team();
    let rows: Vec<Subscription> = stored.iter().chain([&other]).cloned().collect();
    let plan = rows
        .iter()
        .filter_map(Subscription::gives_plan)
        .cloned()
        .reduce(|one, other| book.catalogue().better(&one, &other).clone());
    let known = facts(kind, &object, &book, plan.expect("a plan").as_str());
    decide(&Facts { subscription: stored, subscriptions_of_customer: rows, ..known })
}

#[test]
fn of_two_prices_in_one_subscription_that_of_the_better_plan_counts() {
    let book = team();
    for version in Version::ALL {
        let (pro, team) = (SubscriptionDoc::default().item(version), SubscriptionDoc::team(3).item(version));
        let mut object = SubscriptionDoc::default().render(version);
        for items in [json!([pro, team]), json!([team, pro])] {
            object["items"]["data"] = items;
            let verdict = decide(&facts(CREATED, &object, &book, "trial"));
            assert_eq!(put(&verdict), Some(&team_row("active", 3)), "{version:?}");
            assert_eq!(plan_set(&verdict), Some("team"), "{version:?}");
        }
    }
}

#[test]
fn two_prices_in_one_invoice_bring_both_credits_and_the_better_plan() {
    let book = team();
    for version in Version::ALL {
        let (pro, team) = (InvoiceDoc::default().line(version), InvoiceDoc::team(3).line(version));
        let mut object = InvoiceDoc::default().render(version);
        for lines in [json!([pro, team]), json!([team, pro])] {
            object["lines"]["data"] = lines;
            let verdict = decide(&facts(PAID, &object, &book, "trial"));
            assert_eq!(granted(&verdict), Some(60 + 75), "{version:?}");
            assert_eq!(put(&verdict), Some(&team_row("active", 3)), "{version:?}");
            assert_eq!(plan_set(&verdict), Some("team"), "{version:?}");
        }
    }
}

#[test]
fn of_two_subscriptions_the_better_plan_counts_whichever_came_first() {
    let verdict = beside(CREATED, &SubscriptionDoc::team(1), None, second(row("active")));
    assert_eq!(plan_set(&verdict), Some("team"));
    let verdict = beside(CREATED, &SubscriptionDoc::default(), None, second(team_row("active", 1)));
    assert_eq!(put(&verdict), Some(&row("active")));
    assert_eq!(plan_set(&verdict), Some("team"));
}

#[test]
fn when_the_better_of_two_subscriptions_ends_the_other_ones_plan_follows() {
    let ended = SubscriptionDoc { status: "canceled", ..SubscriptionDoc::team(1) };
    let verdict = beside(DELETED, &ended, Some(team_row("active", 1)), second(row("active")));
    assert_eq!((plan_set(&verdict), plan_left(&verdict)), (Some("pro"), Some("team")));
    let verdict = beside(DELETED, &ended, Some(team_row("active", 1)), second(row("unpaid")));
    assert_eq!((plan_set(&verdict), plan_left(&verdict)), (Some("pay_as_you_go"), Some("team")));
    let ended = SubscriptionDoc::with_status("canceled");
    let verdict = beside(DELETED, &ended, Some(row("active")), second(team_row("active", 1)));
    assert_eq!((plan_set(&verdict), plan_left(&verdict)), (Some("team"), Some("pro")), "the better one stays");
}

#[test]
fn a_switch_of_the_price_changes_plan_price_and_seats() {
    let book = team();
    for version in Version::ALL {
        let switched = |doc: &SubscriptionDoc, stored: &Subscription, plan: &str| {
            decide(&knowing(facts(UPDATED, &doc.render(version), &book, plan), stored))
        };
        let verdict = switched(&SubscriptionDoc::team(3), &row("active"), "pro");
        assert_eq!(put(&verdict), Some(&team_row("active", 3)), "{version:?}");
        assert_eq!((plan_set(&verdict), plan_left(&verdict)), (Some("team"), Some("pro")), "{version:?}");

        let verdict = switched(&SubscriptionDoc::default(), &team_row("active", 3), "team");
        assert_eq!(put(&verdict), Some(&row("active")), "{version:?}");
        assert_eq!((plan_set(&verdict), plan_left(&verdict)), (Some("pro"), Some("team")), "{version:?}");

        let verdict = switched(&SubscriptionDoc::team(5), &team_row("active", 3), "team");
        assert_eq!((put(&verdict), plan_set(&verdict)), (Some(&team_row("active", 5)), None), "{version:?}");
    }
}

#[test]
fn only_an_invoice_of_a_later_period_switches_the_price() {
    let book = team();
    let mut later = InvoiceDoc { period_end_s: PERIOD_END_S + 60, ..InvoiceDoc::team(2) }.render(Version::Basil);
    // One that begins within the present period is of a change: the subscription tells which came last.
    let verdict = decide(&knowing(facts(PAID, &later, &book, "pro"), &row("active")));
    assert_eq!((granted(&verdict), put(&verdict), plan_set(&verdict)), (Some(50), None, None));
    later["lines"]["data"][0]["period"]["start"] = PERIOD_END_S.into();
    let verdict = decide(&knowing(facts(PAID, &later, &book, "pro"), &row("active")));
    let current_period_end_ms = Some((PERIOD_END_S + 60) * 1_000);
    assert_eq!(put(&verdict), Some(&Subscription { current_period_end_ms, ..team_row("active", 2) }));
    assert_eq!((granted(&verdict), plan_set(&verdict)), (Some(50), Some("team")));

    for period_end_s in [PERIOD_START_S, PERIOD_END_S] {
        let late = InvoiceDoc { period_end_s, ..InvoiceDoc::default() }.render(Version::Basil);
        let verdict = decide(&knowing(facts(PAID, &late, &book, "team"), &team_row("active", 2)));
        assert_eq!(granted(&verdict), Some(60), "what was bought then");
        assert!(verdict.effects.is_empty(), "{verdict:?}");
    }
}

#[test]
fn a_raised_price_leaves_whoever_pays_the_old_one_on_plan_and_price() {
    // The lookup key has moved to the new price.
    let doc = SubscriptionDoc { lookup_key: None, ..SubscriptionDoc::default() };
    let invoice = InvoiceDoc { lookup_key: None, ..InvoiceDoc::default() };
    let book = with_pro(|price| price.amount = crate::amount::MoneyMinor(69_900));
    for version in Version::ALL {
        let object = doc.render(version);
        let verdict = decide(&knowing(facts(UPDATED, &object, &book, "pro"), &row("active")));
        assert!(changes_nothing(&verdict), "{version:?}: {verdict:?}");
        let object = invoice.render(version);
        let verdict = decide(&knowing(facts(PAID, &object, &book, "pro"), &row("active")));
        assert_eq!((granted(&verdict), put(&verdict), plan_set(&verdict)), (Some(60), None, None), "{version:?}");
    }
}

#[test]
fn a_subscription_whose_price_left_the_catalogue_keeps_plan_and_price() {
    let mut book = by_id();
    book.add([known(PRICE, ours("gone"))]);
    for plan in ["pro", "gone"] {
        let (sold, price) = (Some(PlanKey::trusted(plan)), Some(PriceKey::trusted("gone")));
        let of = |status: &str| Subscription { plan: sold.clone(), price: price.clone(), quantity: 4, ..row(status) };
        for version in Version::ALL {
            let object = SubscriptionDoc::default().render(version);
            let verdict = decide(&knowing(facts(UPDATED, &object, &book, plan), &of("active")));
            assert!(changes_nothing(&verdict), "{version:?}: {verdict:?}");
        }
        let object = SubscriptionDoc::with_status("past_due").render(Version::Basil);
        let verdict = decide(&knowing(facts(UPDATED, &object, &book, plan), &of("active")));
        let late = Subscription { past_due_since_ms: Some(NOW_MS), ..of("past_due") };
        assert_eq!((put(&verdict), plan_set(&verdict)), (Some(&late), None));
    }
    let object = SubscriptionDoc::with_status("canceled").render(Version::Basil);
    let verdict = decide(&knowing(facts(DELETED, &object, &book, "pro"), &row("active")));
    assert_eq!((plan_set(&verdict), plan_left(&verdict)), (Some("pay_as_you_go"), Some("pro")), "its end counts");
}

#[test]
fn an_undecided_price_waits_or_leaves_what_is_known() {
    let mut book = by_id();
    book.add([known(PRICE, Decision::Undecided)]);
    let object = SubscriptionDoc { lookup_key: None, ..SubscriptionDoc::default() }.render(Version::Basil);
    for kind in [CREATED, UPDATED] {
        let verdict = decide(&facts(kind, &object, &book, "trial"));
        assert!(dead_reason(&verdict).starts_with("price_unknown: subscription sub_1: "), "{verdict:?}");
    }
    for stored in [row("active"), team_row("active", 2), other_row("active")] {
        let plan = stored.plan.as_ref().map_or("trial", PlanKey::as_str).to_owned();
        let verdict = decide(&knowing(facts(UPDATED, &object, &book, &plan), &stored));
        assert!(changes_nothing(&verdict), "{verdict:?}");
    }
}
