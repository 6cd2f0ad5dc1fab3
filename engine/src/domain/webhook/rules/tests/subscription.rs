//! Subscriptions that are created, change and end.

use super::*;

const CREATED: EventKind = EventKind::SubscriptionCreated;
const UPDATED: EventKind = EventKind::SubscriptionUpdated;
const DELETED: EventKind = EventKind::SubscriptionDeleted;

fn decide_on(kind: EventKind, doc: &SubscriptionDoc, plan: Plan, stored: Option<&Subscription>) -> Verdict {
    let object = doc.render(Version::Basil);
    let pro = by_id();
    decide(&stored.into_iter().fold(facts(kind, &object, &pro, plan), knowing))
}

#[test]
fn every_version_of_one_subscription_event_gives_the_same_verdict() {
    let docs = [
        SubscriptionDoc::default(),
        SubscriptionDoc { ends_with_period: true, ..SubscriptionDoc::default() },
        SubscriptionDoc { ended_at_s: Some(PERIOD_END_S), ..SubscriptionDoc::with_status("canceled") },
        SubscriptionDoc { lookup_key: Some("basic_monthly"), ..SubscriptionDoc::default() },
    ];
    let pro = ProPrice::default();
    for doc in docs {
        for kind in [CREATED, UPDATED, DELETED] {
            for stored in [None, Some(row("active"))] {
                let mut verdicts: Vec<String> = Version::ALL
                    .into_iter()
                    .map(|version| {
                        let object = doc.render(version);
                        let known = facts(kind, &object, &pro, Plan::Pro);
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
            let verdict = decide_on(kind, &SubscriptionDoc::with_status(status), Plan::Trial, None);
            assert_eq!(plan_set(&verdict), Some(Plan::Pro), "{kind:?} {status}");
            assert_eq!(put(&verdict).map(|row| row.status.as_str()), Some(status));
        }
    }
}

#[test]
fn metadata_on_the_subscription_makes_it_pro() {
    let doc = SubscriptionDoc { lookup_key: None, metadata: json!({"plan": "pro"}), ..SubscriptionDoc::default() };
    let object = doc.render(Version::Basil);
    let verdict = decide(&facts(UPDATED, &object, &ProPrice::default(), Plan::Trial));
    assert_eq!(plan_set(&verdict), Some(Plan::Pro));
}

#[test]
fn a_subscription_to_something_else_is_kept_and_gives_no_pro() {
    let object = SubscriptionDoc { lookup_key: Some("basic"), ..SubscriptionDoc::default() }.render(Version::Basil);
    let verdict = decide(&facts(UPDATED, &object, &ProPrice::default(), Plan::Trial));
    assert_eq!(put(&verdict).map(|row| row.is_pro), Some(false));
    assert_eq!(plan_set(&verdict), None);
}

#[test]
fn changing_to_another_price_takes_pro_away() {
    let object = SubscriptionDoc { lookup_key: Some("basic"), ..SubscriptionDoc::default() }.render(Version::Basil);
    let pro = ProPrice::default();
    let verdict = decide(&knowing(facts(UPDATED, &object, &pro, Plan::Pro), &row("active")));
    assert_eq!(plan_set(&verdict), Some(Plan::PayAsYouGo));
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
        let pro = by_id();
        let mut known = knowing(facts(kind, &object, &pro, Plan::Pro), &row("active"));
        assert_eq!(plan_set(&decide(&known)), Some(Plan::PayAsYouGo), "{kind:?} {status}");
        known.subscriptions_of_customer.push(other.clone());
        assert_eq!(plan_set(&decide(&known)), None, "{kind:?} {status}");
    }
}

#[test]
fn an_end_is_kept_with_its_time_and_not_that_of_the_request() {
    let doc = SubscriptionDoc { ended_at_s: Some(PERIOD_END_S), ..SubscriptionDoc::with_status("canceled") };
    for kind in [UPDATED, DELETED] {
        let verdict = decide_on(kind, &doc, Plan::Pro, Some(&row("active")));
        let ended = put(&verdict).expect("a row");
        assert_eq!((ended.status.as_str(), ended.ended_at_ms), ("canceled", Some(PERIOD_END_S * 1_000)));
    }
    let mut object = SubscriptionDoc::default().render(Version::Basil);
    object["canceled_at"] = json!(5);
    let verdict = decide(&facts(DELETED, &object, &by_id(), Plan::Pro));
    let ended = put(&verdict).expect("a row");
    assert_eq!((ended.status.as_str(), ended.ended_at_ms), ("canceled", Some(NOW_MS)));
}

#[test]
fn a_late_update_does_not_revive_an_ended_subscription() {
    let ended = Subscription { ended_at_ms: Some(1), ..row("canceled") };
    for kind in [CREATED, UPDATED, DELETED] {
        for plan in [Plan::Trial, Plan::PayAsYouGo] {
            let verdict = decide_on(kind, &SubscriptionDoc::default(), plan, Some(&ended));
            assert!(changes_nothing(&verdict), "{kind:?}: {verdict:?}");
        }
    }
}

#[test]
fn an_end_that_was_taken_for_another_is_called_what_it_was_and_stays_an_end() {
    let expired = Subscription { ended_at_ms: Some(1), ..row("incomplete_expired") };
    for kind in [UPDATED, DELETED] {
        let verdict = decide_on(kind, &SubscriptionDoc::with_status("canceled"), Plan::PayAsYouGo, Some(&expired));
        let ended = put(&verdict).expect("a row");
        assert_eq!((ended.status.as_str(), ended.ended_at_ms), ("canceled", Some(1)), "{kind:?}");
        assert_eq!(plan_set(&verdict), None);
        let verdict = decide_on(kind, &SubscriptionDoc::with_status("incomplete_expired"), Plan::Trial, Some(&expired));
        assert!(changes_nothing(&verdict), "{kind:?}: {verdict:?}");
    }
}

#[test]
fn a_creation_that_comes_late_changes_nothing() {
    for (first, stored) in [("incomplete", "active"), ("active", "past_due"), ("trialing", "unpaid")] {
        let verdict = decide_on(CREATED, &SubscriptionDoc::with_status(first), Plan::Pro, Some(&row(stored)));
        assert!(changes_nothing(&verdict), "{verdict:?}");
    }
}

#[test]
fn an_update_cannot_lead_back_to_incomplete() {
    let verdict = decide_on(UPDATED, &SubscriptionDoc::with_status("incomplete"), Plan::Pro, Some(&row("active")));
    assert!(changes_nothing(&verdict), "{verdict:?}");
}

#[test]
fn a_trial_customer_whose_subscription_never_gave_pro_stays_on_trial() {
    for (kind, status) in [
        (CREATED, "incomplete"),
        (UPDATED, "incomplete_expired"),
        (DELETED, "incomplete_expired"),
        (DELETED, "canceled"),
    ] {
        for stored in [None, Some(row("incomplete"))] {
            let verdict = decide_on(kind, &SubscriptionDoc::with_status(status), Plan::Trial, stored.as_ref());
            assert_eq!(plan_set(&verdict), None, "{kind:?} {status}");
        }
    }
}

#[test]
fn the_end_of_a_subscription_that_was_never_heard_of_ends_pro() {
    let verdict = decide_on(DELETED, &SubscriptionDoc::default(), Plan::Pro, None);
    assert_eq!(plan_set(&verdict), Some(Plan::PayAsYouGo));
}

#[test]
fn an_attempt_that_never_gave_pro_takes_none_away() {
    for (kind, status) in [(CREATED, "incomplete"), (UPDATED, "incomplete_expired")] {
        let verdict = decide_on(kind, &SubscriptionDoc::with_status(status), Plan::Pro, None);
        assert_eq!(plan_set(&verdict), None, "{kind:?} {status}");
    }
    for (kind, status) in [(UPDATED, "unpaid"), (UPDATED, "paused"), (UPDATED, "canceled")] {
        let verdict = decide_on(kind, &SubscriptionDoc::with_status(status), Plan::Pro, None);
        assert_eq!(plan_set(&verdict), Some(Plan::PayAsYouGo), "{kind:?} {status}");
    }
}

#[test]
fn the_end_of_something_else_leaves_pro_alone() {
    let doc = SubscriptionDoc { id: "sub_9", lookup_key: Some("basic"), ..SubscriptionDoc::default() };
    let object = doc.render(Version::Basil);
    let verdict = decide(&facts(DELETED, &object, &ProPrice::default(), Plan::Pro));
    assert_eq!(plan_set(&verdict), None);
    assert!(put(&verdict).is_some_and(|row| row.ended_at_ms.is_some()));
    // The same if it was known before and Pro comes from elsewhere.
    let known = Subscription { id: "sub_9".to_owned(), is_pro: false, ..row("active") };
    let verdict = decide(&knowing(facts(DELETED, &object, &ProPrice::default(), Plan::Pro), &known));
    assert_eq!(plan_set(&verdict), None);
}

#[test]
fn being_late_is_remembered_from_its_beginning_and_forgotten_once_paid() {
    let verdict = decide_on(UPDATED, &SubscriptionDoc::with_status("past_due"), Plan::Pro, Some(&row("active")));
    assert_eq!(put(&verdict).and_then(|row| row.past_due_since_ms), Some(NOW_MS));
    assert_eq!(plan_set(&verdict), Some(Plan::Pro), "past_due still gives Pro");

    let late =
        Subscription { past_due_since_ms: Some(5), past_due_reason: Some("declined".to_owned()), ..row("past_due") };
    for status in ["past_due", "unpaid", "canceled"] {
        let verdict = decide_on(UPDATED, &SubscriptionDoc::with_status(status), Plan::Pro, Some(&late));
        let now = put(&verdict).unwrap_or(&late);
        assert_eq!((now.past_due_since_ms, now.past_due_reason.as_deref()), (Some(5), Some("declined")), "{status}");
    }
    let verdict = decide_on(UPDATED, &SubscriptionDoc::default(), Plan::Pro, Some(&late));
    assert_eq!(put(&verdict), Some(&row("active")));
}

#[test]
fn an_end_with_the_period_keeps_pro_until_then() {
    let doc = SubscriptionDoc { ends_with_period: true, ..SubscriptionDoc::default() };
    let verdict = decide_on(UPDATED, &doc, Plan::Pro, Some(&row("active")));
    assert_eq!(put(&verdict), Some(&Subscription { cancel_at_period_end: true, ..row("active") }));
    assert_eq!(plan_set(&verdict), Some(Plan::Pro));
}

#[test]
fn a_subscription_without_readable_price_keeps_what_is_known_or_is_dead() {
    let mut object = SubscriptionDoc::default().render(Version::Basil);
    object["items"] = Value::Null;
    let pro = by_id();
    assert!(dead_reason(&decide(&facts(UPDATED, &object, &pro, Plan::Trial))).ends_with("no readable price"));
    let known = knowing(facts(UPDATED, &object, &pro, Plan::Trial), &row("incomplete"));
    assert_eq!(plan_set(&decide(&known)), Some(Plan::Pro));
    let ended = decide(&facts(DELETED, &object, &pro, Plan::Pro));
    assert_eq!(plan_set(&ended), Some(Plan::PayAsYouGo), "an end is kept even so");
}

#[test]
fn a_subscription_without_id_or_status_is_dead() {
    for field in ["id", "status"] {
        let mut object = SubscriptionDoc::default().render(Version::Basil);
        object.as_object_mut().expect("an object").remove(field);
        let verdict = decide(&facts(UPDATED, &object, &by_id(), Plan::Trial));
        assert!(dead_reason(&verdict).ends_with(&format!("no readable {field}")));
    }
}
