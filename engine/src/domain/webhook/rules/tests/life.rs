//! A subscription's life in every order, with repetitions, on a store that does what ours does.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// As much of the store as the rules' effects touch.
struct World {
    customer: Customer,
    rows: BTreeMap<String, Subscription>,
    granted: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        Self {
            customer: Customer { stripe_customer_id: None, ..customer(Plan::Trial) },
            rows: BTreeMap::new(),
            granted: BTreeSet::new(),
        }
    }

    fn deliver(&mut self, kind: EventKind, object: &Value, pro: &ProPrice) {
        let look = lookup(object, kind);
        let verdict = decide(&Facts {
            customer: Some(self.customer.clone()),
            subscription: look.subscription_id.and_then(|id| self.rows.get(&id).cloned()),
            subscriptions_of_customer: self.rows.values().cloned().collect(),
            ..facts(kind, object, pro, Plan::Trial)
        });
        assert_eq!(verdict.outcome, Outcome::Done, "{kind:?} {object}");
        if let Some((_, command)) = verdict.ledger {
            self.granted.insert(command.idempotency_key.expect("a key"));
        }
        for effect in verdict.effects {
            match effect {
                Effect::PlanSet { plan, .. } => self.customer.plan = plan,
                Effect::StripeLink { stripe_customer_id, .. } => {
                    self.customer.stripe_customer_id = Some(stripe_customer_id);
                }
                Effect::SubscriptionPut(row) => {
                    assert!(self.rows.get(&row.id).is_none_or(|old| old.ended_at_ms.is_none()), "revived");
                    self.rows.insert(row.id.clone(), row);
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

fn life(version: Version) -> Vec<(EventKind, Value)> {
    let first = InvoiceDoc { billing_reason: "subscription_create", ..InvoiceDoc::default() }.render(version);
    let failed =
        InvoiceDoc { billing_reason: "subscription_create", amount_paid: 0, is_paid: false, ..InvoiceDoc::default() };
    vec![
        (EventKind::SubscriptionCreated, SubscriptionDoc::with_status("incomplete").render(version)),
        (EventKind::InvoicePaymentFailed, failed.render(version)),
        (EventKind::InvoicePaid, first.clone()),
        (EventKind::InvoicePaymentSucceeded, first),
        (EventKind::SubscriptionUpdated, SubscriptionDoc::default().render(version)),
    ]
}

#[test]
fn a_subscription_that_was_paid_is_pro_with_credits_once_in_every_order() {
    for version in [Version::V20200827, Version::Basil] {
        let events = life(version);
        for order in permutations(events.len()) {
            let mut world = World::new();
            for at in order.iter().chain(order.iter().rev()) {
                let (kind, object) = &events[*at];
                world.deliver(*kind, object, &by_id());
            }
            assert_eq!(world.granted.len(), 1, "{order:?}");
            assert_eq!(world.customer.plan, Plan::Pro, "{order:?}");
            assert_eq!(world.customer.stripe_customer_id.as_deref(), Some(CUS), "{order:?}");
            assert_eq!(world.rows[SUB], row("active"), "{order:?}");
        }
    }
}

#[test]
fn a_subscription_that_was_paid_and_ended_is_never_pro_again_in_any_order() {
    let ended = SubscriptionDoc { ended_at_s: Some(PERIOD_END_S), ..SubscriptionDoc::with_status("canceled") };
    for version in [Version::V20200827, Version::Basil] {
        let mut events = life(version);
        events.push((EventKind::SubscriptionDeleted, ended.render(version)));
        for order in permutations(events.len()) {
            let mut world = World::new();
            for at in order.iter().chain(order.iter().rev()) {
                let (kind, object) = &events[*at];
                world.deliver(*kind, object, &by_id());
            }
            assert_eq!(world.granted.len(), 1, "{order:?}");
            assert_eq!(world.customer.plan, Plan::PayAsYouGo, "{order:?}");
            assert_eq!(world.rows[SUB].ended_at_ms, Some(PERIOD_END_S * 1_000), "{order:?}");
        }
    }
}

#[test]
fn an_old_subscriptions_end_does_not_take_the_pro_of_one_that_was_just_paid() {
    let ended = SubscriptionDoc { id: "sub_0", ..SubscriptionDoc::with_status("canceled") }.render(Version::Basil);
    let paid = InvoiceDoc { billing_reason: "subscription_create", ..InvoiceDoc::default() }.render(Version::Basil);
    let old = SubscriptionDoc { id: "sub_0", ..SubscriptionDoc::default() }.render(Version::Basil);
    let mut world = World::new();
    world.deliver(EventKind::SubscriptionCreated, &old, &by_id());
    world.deliver(EventKind::InvoicePaid, &paid, &by_id());
    world.deliver(EventKind::SubscriptionDeleted, &ended, &by_id());
    assert_eq!(world.customer.plan, Plan::Pro);
}
