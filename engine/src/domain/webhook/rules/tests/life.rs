//! A subscription's life in every order, with repetitions, on a store that does what ours does.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// As much of the store as the rules' effects touch.
struct World {
    customer: Customer,
    rows: BTreeMap<String, Subscription>,
    /// The keys of grants made at once.
    granted: BTreeSet<String>,
    /// The keys of jobs.
    jobs: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        Self {
            customer: Customer { stripe_customer_id: None, ..customer("trial") },
            rows: BTreeMap::new(),
            granted: BTreeSet::new(),
            jobs: BTreeSet::new(),
        }
    }

    fn deliver(&mut self, kind: EventKind, object: &Value, book: &PriceBook) {
        let look = lookup(object, kind);
        let verdict = decide(&Facts {
            customer: Some(self.customer.clone()),
            subscription: look.subscription_id.and_then(|id| self.rows.get(&id).cloned()),
            subscriptions_of_customer: self.rows.values().cloned().collect(),
            ..facts(kind, object, book, "trial")
        });
        assert_eq!(verdict.outcome, Outcome::Done, "{kind:?} {object}");
        if let Some((_, command)) = verdict.ledger {
            self.granted.insert(command.idempotency_key.expect("a key"));
        }
        for effect in verdict.effects {
            match effect {
                Effect::PlanSet { plan, has_left, catalogue, .. } => {
                    if has_left.is_some() || plan != self.customer.plan {
                        let given: Vec<PlanKey> =
                            self.rows.values().filter_map(Subscription::gives_plan).cloned().collect();
                        self.customer.plan = catalogue.plan_now(&self.customer.plan, &given, has_left.as_ref());
                    }
                }
                Effect::StripeLink { stripe_customer_id, .. } => {
                    self.customer.stripe_customer_id = Some(stripe_customer_id);
                }
                Effect::SubscriptionPut(row) => {
                    assert!(self.rows.get(&row.id).is_none_or(|old| old.ended_at_ms.is_none()), "revived");
                    self.rows.insert(row.id.clone(), row);
                }
                Effect::JobInsert(job) => {
                    self.jobs.insert(job.unique_key.expect("a key"));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    let Some(last) = n.checked_sub(1) else { return vec![Vec::new()] };
    let shorter = permutations(last);
    let at = |order: &Vec<usize>, place: usize| {
        let mut order = order.clone();
        order.insert(place, last);
        order
    };
    shorter.iter().flat_map(|order| (0..n).map(move |place| at(order, place))).collect()
}

/// The events of a subscription whose first payment fails once. `doc` is its paid invoice, `then` the subscription
/// after the payment.
fn life(version: Version, doc: InvoiceDoc, then: &SubscriptionDoc) -> Vec<(EventKind, Value)> {
    let first = InvoiceDoc { billing_reason: "subscription_create", ..doc };
    let failed = InvoiceDoc { amount_paid: 0, is_paid: false, ..first.clone() };
    vec![
        (CREATED, SubscriptionDoc { status: "incomplete", ..then.clone() }.render(version)),
        (FAILED, failed.render(version)),
        (PAID, first.render(version)),
        (EventKind::InvoicePaymentSucceeded, first.render(version)),
        (UPDATED, then.render(version)),
    ]
}

/// Each order of the events, with the world after them in that order and once more in the opposite one.
fn worlds(events: &[(EventKind, Value)], book: &PriceBook) -> Vec<(Vec<usize>, World)> {
    let after = |order: Vec<usize>| {
        let mut world = World::new();
        for at in order.iter().chain(order.iter().rev()) {
            let (kind, object) = &events[*at];
            world.deliver(*kind, object, book);
        }
        (order, world)
    };
    permutations(events.len()).into_iter().map(after).collect()
}

#[test]
fn a_subscription_that_was_paid_gives_its_plan_and_credits_once_in_every_order() {
    for version in [Version::V20200827, Version::Basil] {
        let events = life(version, InvoiceDoc::default(), &SubscriptionDoc::default());
        for (order, world) in worlds(&events, &by_id()) {
            assert_eq!((world.granted.len(), world.customer.plan.as_str()), (1, "pro"), "{order:?}");
            assert_eq!(world.customer.stripe_customer_id.as_deref(), Some(CUS), "{order:?}");
            assert_eq!(world.rows[SUB], row("active"), "{order:?}");
        }
        let events = life(version, InvoiceDoc::team(3), &SubscriptionDoc::team(3));
        for (order, world) in worlds(&events, &team()) {
            assert_eq!((world.granted.len(), world.customer.plan.as_str()), (1, "team"), "{order:?}");
            assert_eq!(world.rows[SUB], team_row("active", 3), "{order:?}");
        }
    }
}

#[test]
fn a_subscription_that_was_paid_and_ended_never_gives_its_plan_again_in_any_order() {
    let ended = SubscriptionDoc { ended_at_s: Some(PERIOD_END_S), ..SubscriptionDoc::with_status("canceled") };
    for version in [Version::V20200827, Version::Basil] {
        let mut events = life(version, InvoiceDoc::default(), &SubscriptionDoc::default());
        events.push((DELETED, ended.render(version)));
        for (order, world) in worlds(&events, &by_id()) {
            assert_eq!((world.granted.len(), world.customer.plan.as_str()), (1, "pay_as_you_go"), "{order:?}");
            assert_eq!(world.rows[SUB].ended_at_ms, Some(PERIOD_END_S * 1_000), "{order:?}");
        }
    }
}

#[test]
fn a_year_granted_monthly_brings_each_month_once_in_every_order() {
    let year = InvoiceDoc { period_end_s: PERIOD_START_S + 365 * 86_400, ..InvoiceDoc::default() };
    let subscription = SubscriptionDoc { period_end_s: year.period_end_s, ..SubscriptionDoc::default() };
    let of_a_year = |(kind, object): (EventKind, Value)| {
        let text = object.to_string().replace(r#""interval":"month""#, r#""interval":"year""#);
        (kind, serde_json::from_str(&text).expect("JSON"))
    };
    let events: Vec<_> = life(Version::Basil, year, &subscription).into_iter().map(of_a_year).collect();
    for (order, world) in worlds(&events, &yearly()) {
        assert_eq!((world.granted.len(), world.jobs.len()), (1, 11), "{order:?}");
    }
}

#[test]
fn an_old_subscriptions_end_does_not_take_the_plan_of_one_that_was_just_paid() {
    let ended = SubscriptionDoc { id: "sub_0", ..SubscriptionDoc::with_status("canceled") }.render(Version::Basil);
    let paid = InvoiceDoc { billing_reason: "subscription_create", ..InvoiceDoc::default() }.render(Version::Basil);
    let old = SubscriptionDoc { id: "sub_0", ..SubscriptionDoc::default() }.render(Version::Basil);
    let mut world = World::new();
    world.deliver(CREATED, &old, &by_id());
    world.deliver(PAID, &paid, &by_id());
    world.deliver(DELETED, &ended, &by_id());
    assert_eq!(world.customer.plan.as_str(), "pro");
}

#[test]
fn the_better_of_two_subscriptions_counts_in_every_order() {
    let of = |id: &'static str, doc: SubscriptionDoc| SubscriptionDoc { id, ..doc }.render(Version::Basil);
    let mut events =
        vec![(UPDATED, of("sub_1", SubscriptionDoc::default())), (UPDATED, of("sub_2", SubscriptionDoc::team(1)))];
    for (order, world) in worlds(&events, &team()) {
        assert_eq!(world.customer.plan.as_str(), "team", "{order:?}");
    }
    events.push((DELETED, of("sub_2", SubscriptionDoc { status: "canceled", ..SubscriptionDoc::team(1) })));
    for (order, world) in worlds(&events, &team()) {
        assert_eq!(world.customer.plan.as_str(), "pro", "{order:?}");
    }
}
