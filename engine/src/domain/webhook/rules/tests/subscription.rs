//! Subscriptions that are created, change and end.

use super::*;

fn decide_on(kind: EventKind, doc: &SubscriptionDoc, plan: &str, stored: Option<&Subscription>) -> Verdict {
    let object = doc.render(Version::Basil);
    let book = by_id();
    decide(&stored.into_iter().fold(facts(kind, &object, &book, plan), knowing))
}

#[test]
fn every_version_of_one_subscription_event_gives_the_same_verdict() {
    let docs = [
        SubscriptionDoc::default(),
        SubscriptionDoc { ends_with_period: true, ..SubscriptionDoc::default() },
        SubscriptionDoc { ended_at_s: Some(PERIOD_END_S), ..SubscriptionDoc::with_status("canceled") },
        SubscriptionDoc::other(),
    ];
    let book = by_key();
    for doc in docs {
        for kind in [CREATED, UPDATED, DELETED] {
            for stored in [None, Some(row("active"))] {
                let mut verdicts: Vec<String> = Version::ALL
                    .into_iter()
                    .map(|version| {
                        let object = doc.render(version);
                        let known = facts(kind, &object, &book, "pro");
                        text(&decide(&stored.iter().fold(known, knowing)))
                    })
                    .collect();
                verdicts.dedup();
                assert_eq!(verdicts.len(), 1, "{kind:?} {doc:?}: {verdicts:#?}");
            }
        }
    }
}

#[test]
fn a_subscription_that_gives_pro_makes_the_plan_pro() {
    for status in ["active", "trialing", "past_due"] {
        for kind in [CREATED, UPDATED] {
            let verdict = decide_on(kind, &SubscriptionDoc::with_status(status), "trial", None);
            assert_eq!(plan_set(&verdict), Some("pro"), "{kind:?} {status}");
            assert_eq!(put(&verdict).map(|row| row.status.as_str()), Some(status));
        }
    }
}

#[test]
fn metadata_on_the_subscription_makes_it_pro_at_our_amount_only() {
    for metadata in [json!({"plan": "pro"}), json!({"bursar_plan": "pro"}), json!({"bursar_price": "pro_monthly"})] {
        for version in Version::ALL {
            let tagged = SubscriptionDoc { lookup_key: None, metadata: metadata.clone(), ..SubscriptionDoc::default() };
            let verdict = decide(&facts(UPDATED, &tagged.render(version), &by_key(), "trial"));
            assert_eq!(plan_set(&verdict), Some("pro"), "{version:?} {metadata}");
            assert_eq!(put(&verdict), Some(&row("active")), "{version:?} {metadata}");
            let add_on = SubscriptionDoc { metadata: metadata.clone(), ..SubscriptionDoc::other() };
            let verdict = decide(&facts(UPDATED, &add_on.render(version), &by_key(), "trial"));
            assert!(changes_nothing(&verdict), "{version:?} {metadata}: {verdict:?}");
        }
    }
}

#[test]
fn a_subscription_to_something_else_is_done_whoever_its_customer_is() {
    let book = by_key();
    for kind in [CREATED, UPDATED, DELETED] {
        for version in Version::ALL {
            let object = SubscriptionDoc::other().render(version);
            let known = facts(kind, &object, &book, "pro");
            assert!(changes_nothing(&decide(&known)), "{kind:?} {version:?}");
            assert!(changes_nothing(&decide(&Facts { customer: None, ..known })), "{kind:?} {version:?}");
        }
    }
}

#[test]
fn changing_to_another_price_takes_pro_away() {
    for version in Version::ALL {
        let object = SubscriptionDoc::other().render(version);
        let verdict = decide(&knowing(facts(UPDATED, &object, &by_id(), "pro"), &row("active")));
        assert_eq!(put(&verdict), Some(&other_row("active")), "{version:?}");
        assert_eq!((plan_set(&verdict), plan_left(&verdict)), (Some("pay_as_you_go"), Some("pro")), "{version:?}");
    }
}

#[test]
fn a_subscription_that_no_longer_gives_pro_leads_to_pay_as_you_go_unless_another_gives_it() {
    let other = Subscription { id: "sub_2".to_owned(), ..row("past_due") };
    for (kind, status) in [
        (UPDATED, "unpaid"),
        (UPDATED, "canceled"),
        (UPDATED, "paused"),
        (UPDATED, "incomplete_expired"),
        (DELETED, "active"),
    ] {
        let object = SubscriptionDoc::with_status(status).render(Version::Basil);
        let book = by_id();
        let mut known = knowing(facts(kind, &object, &book, "pro"), &row("active"));
        let verdict = decide(&known);
        assert_eq!(
            (plan_set(&verdict), plan_left(&verdict)),
            (Some("pay_as_you_go"), Some("pro")),
            "{kind:?} {status}"
        );
        known.subscriptions_of_customer.push(other.clone());
        let verdict = decide(&known);
        assert_eq!((plan_set(&verdict), plan_left(&verdict)), (Some("pro"), Some("pro")), "{kind:?} {status}");
    }
}

#[test]
fn an_end_is_kept_with_its_time_and_not_that_of_the_request() {
    let doc = SubscriptionDoc { ended_at_s: Some(PERIOD_END_S), ..SubscriptionDoc::with_status("canceled") };
    for kind in [UPDATED, DELETED] {
        let verdict = decide_on(kind, &doc, "pro", Some(&row("active")));
        let ended = put(&verdict).expect("a row");
        assert_eq!((ended.status.as_str(), ended.ended_at_ms), ("canceled", Some(PERIOD_END_S * 1_000)));
    }
    let mut object = SubscriptionDoc::default().render(Version::Basil);
    object["canceled_at"] = json!(5);
    let verdict = decide(&facts(DELETED, &object, &by_id(), "pro"));
    let ended = put(&verdict).expect("a row");
    assert_eq!((ended.status.as_str(), ended.ended_at_ms), ("canceled", Some(NOW_MS)));
}

#[test]
fn a_late_update_does_not_revive_an_ended_subscription() {
    let ended = Subscription { ended_at_ms: Some(1), ..row("canceled") };
    for kind in [CREATED, UPDATED, DELETED] {
        for plan in ["trial", "pay_as_you_go"] {
            let verdict = decide_on(kind, &SubscriptionDoc::default(), plan, Some(&ended));
            assert!(changes_nothing(&verdict), "{kind:?}: {verdict:?}");
        }
    }
}

#[test]
fn an_end_that_was_taken_for_another_is_called_what_it_was_and_stays_an_end() {
    let expired = Subscription { ended_at_ms: Some(1), ..row("incomplete_expired") };
    for kind in [UPDATED, DELETED] {
        let verdict = decide_on(kind, &SubscriptionDoc::with_status("canceled"), "pay_as_you_go", Some(&expired));
        let ended = put(&verdict).expect("a row");
        assert_eq!((ended.status.as_str(), ended.ended_at_ms), ("canceled", Some(1)), "{kind:?}");
        assert_eq!(plan_set(&verdict), None);
        let verdict = decide_on(kind, &SubscriptionDoc::with_status("incomplete_expired"), "trial", Some(&expired));
        assert!(changes_nothing(&verdict), "{kind:?}: {verdict:?}");
    }
}

#[test]
fn a_creation_that_comes_late_changes_nothing() {
    for (first, stored) in [("incomplete", "active"), ("active", "past_due"), ("trialing", "unpaid")] {
        let verdict = decide_on(CREATED, &SubscriptionDoc::with_status(first), "pro", Some(&row(stored)));
        assert!(changes_nothing(&verdict), "{verdict:?}");
    }
}

#[test]
fn an_update_cannot_lead_back_to_incomplete() {
    let verdict = decide_on(UPDATED, &SubscriptionDoc::with_status("incomplete"), "pro", Some(&row("active")));
    assert!(changes_nothing(&verdict), "{verdict:?}");
}

#[test]
fn a_trial_customer_whose_subscription_never_gave_a_plan_stays_on_trial() {
    for (kind, status) in [
        (CREATED, "incomplete"),
        (UPDATED, "incomplete_expired"),
        (DELETED, "incomplete_expired"),
        (DELETED, "canceled"),
    ] {
        for stored in [None, Some(row("incomplete"))] {
            let verdict = decide_on(kind, &SubscriptionDoc::with_status(status), "trial", stored.as_ref());
            assert_eq!(plan_set(&verdict), None, "{kind:?} {status}");
        }
    }
}

#[test]
fn the_end_of_a_subscription_that_was_never_heard_of_ends_its_plan() {
    let verdict = decide_on(DELETED, &SubscriptionDoc::default(), "pro", None);
    assert_eq!((plan_set(&verdict), plan_left(&verdict)), (Some("pay_as_you_go"), Some("pro")));
}

#[test]
fn an_attempt_that_never_gave_pro_takes_none_away() {
    for (kind, status) in [(CREATED, "incomplete"), (UPDATED, "incomplete_expired"), (DELETED, "incomplete_expired")] {
        let verdict = decide_on(kind, &SubscriptionDoc::with_status(status), "pro", None);
        assert_eq!(plan_set(&verdict), None, "{kind:?} {status}");
    }
}

#[test]
fn an_unknown_subscription_that_gives_nothing_ends_its_plan() {
    for status in ["unpaid", "paused", "canceled"] {
        let verdict = decide_on(UPDATED, &SubscriptionDoc::with_status(status), "pro", None);
        assert_eq!(plan_set(&verdict), Some("pay_as_you_go"), "{status}");
    }
}

#[test]
fn the_end_of_something_else_leaves_pro_alone() {
    let object = SubscriptionDoc { id: "sub_9", ..SubscriptionDoc::other() }.render(Version::Basil);
    let book = by_key();
    assert!(changes_nothing(&decide(&facts(DELETED, &object, &book, "pro"))));
    // The same if it was known before, when it was ours, and Pro comes from elsewhere.
    let known = Subscription { id: "sub_9".to_owned(), ..other_row("active") };
    let verdict = decide(&knowing(facts(DELETED, &object, &book, "pro"), &known));
    assert_eq!(plan_set(&verdict), None);
    assert!(put(&verdict).is_some_and(|row| row.ended_at_ms.is_some()));
}

#[test]
fn being_late_is_remembered_from_its_beginning_and_forgotten_once_paid() {
    let verdict = decide_on(UPDATED, &SubscriptionDoc::with_status("past_due"), "pro", Some(&row("active")));
    let noted = put(&verdict).expect("a row");
    assert_eq!((noted.past_due_since_ms, noted.gives_plan()), (Some(NOW_MS), row("active").gives_plan()));
    assert_eq!(plan_set(&verdict), None, "past_due still gives Pro");

    let reason = "declined; attempt 1; Stripe tries again at 2026-11-30T00:00:00.000Z";
    let late = Subscription { past_due_since_ms: Some(5), past_due_reason: Some(reason.to_owned()), ..row("past_due") };
    for (status, reason) in [("past_due", reason), ("unpaid", reason), ("canceled", "declined; attempt 1")] {
        let verdict = decide_on(UPDATED, &SubscriptionDoc::with_status(status), "pro", Some(&late));
        let now = put(&verdict).unwrap_or(&late);
        assert_eq!((now.past_due_since_ms, now.past_due_reason.as_deref()), (Some(5), Some(reason)), "{status}");
    }
    let verdict = decide_on(UPDATED, &SubscriptionDoc::default(), "pro", Some(&late));
    assert_eq!(put(&verdict), Some(&row("active")));
}

#[test]
fn an_end_with_the_period_keeps_the_plan_until_then() {
    let doc = SubscriptionDoc { ends_with_period: true, ..SubscriptionDoc::default() };
    let verdict = decide_on(UPDATED, &doc, "pro", Some(&row("active")));
    let ending = Subscription { cancel_at_period_end: true, ..row("active") };
    assert_eq!((put(&verdict), plan_set(&verdict)), (Some(&ending), None));
    assert_eq!(ending.gives_plan(), row("active").gives_plan());
}

#[test]
fn a_subscription_without_all_its_prices_keeps_what_is_known_or_is_dead() {
    let mut without = SubscriptionDoc::default().render(Version::Basil);
    without["items"] = Value::Null;
    let mut cut = SubscriptionDoc::other().render(Version::Basil);
    cut["items"]["has_more"] = json!(true);
    let book = by_id();
    for object in [without, cut] {
        assert!(dead_reason(&decide(&facts(UPDATED, &object, &book, "trial"))).ends_with("no readable price"));
        let known = knowing(facts(UPDATED, &object, &book, "trial"), &row("incomplete"));
        assert_eq!(plan_set(&decide(&known)), Some("pro"));
        let ended = decide(&knowing(facts(DELETED, &object, &book, "pro"), &row("active")));
        assert_eq!(plan_set(&ended), Some("pay_as_you_go"), "an end is kept even so");
        let unheard_of = decide(&facts(DELETED, &object, &book, "pro"));
        assert!(dead_reason(&unheard_of).ends_with("no readable price"), "else a late event would revive it");
    }
}

#[test]
fn a_subscription_without_id_or_status_is_dead() {
    for field in ["id", "status"] {
        let mut object = SubscriptionDoc::default().render(Version::Basil);
        object.as_object_mut().expect("an object").remove(field);
        let verdict = decide(&facts(UPDATED, &object, &by_id(), "trial"));
        assert!(dead_reason(&verdict).ends_with(&format!("no readable {field}")));
    }
}
