//! Every action and its effects.

mod catalogue;
mod change;
mod correction;
mod late;
mod model;
mod renewal;
mod same_day;
mod unknown_plan;

use super::*;
use crate::config::MarketplaceConfig;
use crate::domain::address::Confirmation;
use crate::domain::customer::Source;
use crate::domain::ledger::Op;
use crate::ids::CustomerId;
use std::collections::HashSet;

const DAY_MS: i64 = 86_400_000;
/// 25 October 2026.
const BOUGHT: TimeMs = 1_792_886_400_000;
/// 5 November: the next billing date of a new purchase.
const BILLED: TimeMs = BOUGHT + 11 * DAY_MS;
/// The default of `marketplace.renewal_grace_hours`.
const GRACE_MS: i64 = DAY_MS;
const ACCOUNT: i64 = 4;

/// The plans of the listing. Each is the catalogue's plan of the same name, but Free is the trial, and Gold is unknown.
const LISTING: [&str; 6] = ["Free", "Trial", "Pro", "Pay_as_you_go", "Gold", "Team"];

fn said(action: Action, plan: &str, effective_ms: TimeMs) -> Purchase {
    Purchase {
        action,
        effective_ms,
        account_id: ACCOUNT,
        login: "acme".to_owned(),
        account_type: "Organization".to_owned(),
        email: None,
        plan_id: LISTING.iter().position(|name| *name == plan).unwrap() as i64,
        plan_name: plan.to_owned(),
        previous_plan_id: None,
        billing_cycle: Some("monthly".to_owned()),
        unit_count: 1,
        on_free_trial: false,
        free_trial_ends_ms: None,
        next_billing_ms: Some(BILLED),
    }
}

fn on_trial(purchase: Purchase, until_ms: TimeMs) -> Purchase {
    Purchase { on_free_trial: true, free_trial_ends_ms: Some(until_ms), ..purchase }
}

/// Does what the handlers do, one event or settling after the other, and applies the commits.
struct World {
    account: Option<MarketplaceAccount>,
    customer: Customer,
    /// The idempotency keys of grants.
    granted: Vec<String>,
    /// The same grants.
    ops: Vec<Op>,
    timers: Vec<TimeMs>,
    /// Keys of all jobs ever created: even after a job has ended, its key prevents another one.
    job_keys: HashSet<String>,
    catalogue: Arc<Catalogue>,
    config: MarketplaceConfig,
}

fn plan(key: &str) -> PlanKey {
    PlanKey::parse(key).expect("a key")
}

impl World {
    fn new() -> Self {
        let customer = Customer {
            id: CustomerId::new(),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            source: Source::Marketplace.as_str().to_owned(),
            plan: plan("trial"),
            stripe_customer_id: None,
            former_stripe_ids: Vec::new(),
            credits_from_ms: None,
            has_payment_method: false,
            confirmation: Confirmation::ASSUMED,
            created_at_ms: 0,
        };
        Self {
            account: None,
            customer,
            granted: Vec::new(),
            ops: Vec::new(),
            timers: Vec::new(),
            job_keys: HashSet::new(),
            catalogue: Catalogue::built_in(),
            config: MarketplaceConfig {
                plans: [("Free".to_owned(), "trial".to_owned())].into(),
                ..MarketplaceConfig::default()
            },
        }
    }

    /// An account that is linked before its first purchase, so that each event has its effect.
    fn linked() -> Self {
        let mut world = Self::new();
        world.tell(&said(Action::PendingChangeCancelled, "Free", 1), 1);
        world.link(1);
        world
    }

    fn terms(&self) -> Terms<'_> {
        Terms { catalogue: &self.catalogue, config: &self.config }
    }

    /// The key of the customer's plan.
    fn plan(&self) -> &str {
        self.customer.plan.as_str()
    }

    /// Whether the plan in force is one that is bought.
    fn is_paid(&self) -> bool {
        self.account().is_paid(&self.catalogue)
    }

    fn next_period(&self) -> Option<period::Period<'_>> {
        self.account().next_period(&self.catalogue, GRACE_MS)
    }

    /// Delivers an event; equal events share an id.
    fn tell(&mut self, said: &Purchase, now_ms: TimeMs) {
        self.deliver(&format!("{said:?}"), said, now_ms);
    }

    fn deliver(&mut self, id: &str, said: &Purchase, now_ms: TimeMs) {
        let plan = self.terms().plan_of(said.plan_id, &said.plan_name);
        let account = apply_purchase(self.account.as_ref(), said, plan.as_ref(), id, &self.catalogue, now_ms);
        self.settle_as(account, now_ms);
    }

    fn correct(&mut self, id: &str, state: PurchaseState, effective_ms: TimeMs, now_ms: TimeMs) {
        let correction = Correction { state, effective_ms: Some(effective_ms), next_billing_ms: None };
        let account = apply_correction(self.account(), &correction, id, now_ms).expect("a purchase");
        self.settle_as(account, now_ms);
    }

    fn link(&mut self, now_ms: TimeMs) {
        let account = self.account.as_mut().expect("told of");
        account.customer_id = Some(self.customer.id.clone());
        self.settle(now_ms);
    }

    fn settle(&mut self, now_ms: TimeMs) {
        let account = self.account.clone().expect("told of");
        self.settle_as(account, now_ms);
    }

    fn settle_as(&mut self, account: MarketplaceAccount, now_ms: TimeMs) {
        let customer = account.customer_id.is_some().then_some(&self.customer);
        let verdict = settle(self.account.as_ref(), account, customer, self.terms(), now_ms);
        assert_eq!(verdict.outcome, Outcome::Done);
        if let Some((id, Command { op, idempotency_key: Some(key), .. })) = verdict.ledger {
            assert_eq!(id, self.customer.id);
            // The ledger's own check.
            if !self.granted.contains(&key) {
                self.granted.push(key);
                self.ops.push(op);
            }
        }
        for effect in verdict.effects {
            match effect {
                Effect::MarketplacePut(account) => self.account = Some(*account),
                Effect::PlanSet { plan, .. } => self.customer.plan = plan,
                Effect::JobInsert(job) => {
                    if job.unique_key.is_none_or(|key| self.job_keys.insert(key)) {
                        self.timers.push(job.run_at_ms);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Fires due timers, each once, until none is left.
    fn until(&mut self, now_ms: TimeMs) {
        while let Some(at) = self.timers.iter().position(|at_ms| *at_ms <= now_ms) {
            let at_ms = self.timers[at];
            self.timers.retain(|other| *other != at_ms);
            self.settle(now_ms);
        }
    }

    fn account(&self) -> &MarketplaceAccount {
        self.account.as_ref().expect("told of")
    }
}

fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.len() < 2 {
        return vec![items.to_vec()];
    }
    let mut all = Vec::new();
    for at in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(at);
        all.extend(permutations(&rest).into_iter().map(|mut rest| {
            rest.insert(0, first.clone());
            rest
        }));
    }
    all
}

#[test]
fn a_purchase_waits_for_its_customer_and_then_brings_pro_and_credits_once() {
    let mut world = World::new();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT + 1);
    assert!(world.granted.is_empty() && world.timers.is_empty());
    world.link(BOUGHT + 2);
    assert_eq!((world.plan(), world.granted.as_slice()), ("pro", &["marketplace:4:2026-10-25".to_owned()][..]));
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT + 3);
    world.settle(BOUGHT + 4);
    assert_eq!(world.granted.len(), 1);
    assert_eq!(world.timers.last(), Some(&(BILLED + GRACE_MS)));
}

#[test]
fn each_billing_date_brings_credits_once_while_pro_lasts() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    let due_ms = BILLED + GRACE_MS;
    world.until(due_ms - 1);
    world.settle(due_ms - 1);
    assert_eq!(world.granted.len(), 1);
    world.until(due_ms);
    world.settle(due_ms);
    assert_eq!(world.granted.last().map(String::as_str), Some("marketplace:4:2026-11-05"));
    world.until(BILLED + 95 * DAY_MS);
    let days = ["2026-10-25", "2026-11-05", "2026-12-05", "2027-01-05", "2027-02-05"];
    assert_eq!(world.granted, days.map(|day| format!("marketplace:4:{day}")));
}

#[test]
fn a_purchase_that_is_linked_late_brings_every_period_that_was_paid() {
    let mut world = World::new();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.link(BILLED + 31 * DAY_MS);
    world.until(BILLED + 31 * DAY_MS);
    assert_eq!(world.granted.len(), 3);
}

#[test]
fn a_timer_that_fired_before_the_link_keeps_no_later_period_from_being_granted() {
    let mut world = World::new();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.tell(&said(Action::PendingChange, "Trial", BILLED), BOUGHT + DAY_MS);
    world.tell(&said(Action::PendingChangeCancelled, "Pro", BILLED), BOUGHT + 2 * DAY_MS);
    world.until(BILLED);
    world.link(BILLED + 15 * DAY_MS);
    world.until(BILLED + 31 * DAY_MS);
    let days = ["2026-10-25", "2026-11-05", "2026-12-05"];
    assert_eq!(world.granted, days.map(|day| format!("marketplace:4:{day}")));
}

#[test]
fn a_purchase_that_ended_before_it_is_linked_brings_every_period_that_was_paid() {
    let months = BILLED + 64 * DAY_MS;
    let news = [said(Action::Purchased, "Pro", BOUGHT), said(Action::Cancelled, "Pro", months)];
    for news in permutations(&news) {
        let mut world = World::new();
        news.iter().for_each(|said| world.tell(said, months));
        world.link(months + 5 * DAY_MS);
        world.until(months + 400 * DAY_MS);
        let days = ["2026-10-25", "2026-11-05", "2026-12-05", "2027-01-05"];
        assert_eq!(world.granted, days.map(|day| format!("marketplace:4:{day}")));
        assert_eq!((world.plan(), world.next_period()), ("pay_as_you_go", None));
    }
}

#[test]
fn months_between_an_end_and_the_next_purchase_bring_nothing() {
    let (ended, again) = (BOUGHT + 5 * DAY_MS, BOUGHT + 150 * DAY_MS);
    let life = [
        said(Action::Purchased, "Pro", BOUGHT),
        said(Action::Cancelled, "Pro", ended),
        Purchase { next_billing_ms: Some(again + 20 * DAY_MS), ..said(Action::Purchased, "Pro", again) },
        Purchase {
            unit_count: 5,
            next_billing_ms: Some(again + 20 * DAY_MS),
            ..said(Action::Changed, "Pro", again + 1)
        },
    ];
    // In order, and with the cancellation last.
    for order in [[0, 1, 2, 3], [0, 2, 3, 1]] {
        let mut world = World::new();
        for at in order {
            (0..2).for_each(|_| world.tell(&life[at], again + 1));
        }
        world.link(again + DAY_MS);
        world.until(again + 19 * DAY_MS);
        assert_eq!(world.granted, ["marketplace:4:2026-10-25", "marketplace:4:2027-03-24"], "{order:?}");
        world.until(again + 20 * DAY_MS + GRACE_MS);
        assert_eq!(world.granted.len(), 3);
    }
}

#[test]
fn a_purchase_that_is_bought_again_within_a_granted_period_brings_no_second_one_in_it() {
    for is_linked in [true, false] {
        let mut world = if is_linked { World::linked() } else { World::new() };
        world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
        world.tell(&said(Action::Cancelled, "Pro", BOUGHT + DAY_MS), BOUGHT + DAY_MS);
        world.tell(&said(Action::Purchased, "Pro", BOUGHT + 2 * DAY_MS), BOUGHT + 2 * DAY_MS);
        if !is_linked {
            world.link(BOUGHT + 3 * DAY_MS);
        }
        world.until(BILLED + GRACE_MS);
        assert_eq!(world.granted, ["marketplace:4:2026-10-25", "marketplace:4:2026-11-05"], "{is_linked}");
    }
}

#[test]
fn pro_is_said_also_of_a_customer_that_was_on_it_when_it_was_read() {
    let mut world = World::linked();
    world.customer.plan = plan("pro");
    let bought = said(Action::Purchased, "Pro", BOUGHT);
    let account =
        apply_purchase(world.account.as_ref(), &bought, Some(&plan("pro")), "evt_1", &world.catalogue, BOUGHT);
    let verdict = settle(world.account.as_ref(), account, Some(&world.customer), world.terms(), BOUGHT);
    assert!(
        verdict.effects.iter().any(|effect| matches!(effect, Effect::PlanSet { plan, .. } if plan.as_str() == "pro"))
    );
}

#[test]
fn a_cancellation_counts_on_its_day_and_granted_credits_stay() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.tell(&said(Action::Cancelled, "Pro", BILLED), BOUGHT + DAY_MS);
    assert_eq!((world.plan(), world.account().state), ("pro", PurchaseState::Purchased));
    world.until(BILLED + 60 * DAY_MS);
    assert_eq!((world.plan(), world.account().state), ("pay_as_you_go", PurchaseState::Cancelled));
    assert_eq!(world.granted.len(), 1);
}

#[test]
fn who_buys_again_after_the_end_is_on_pro_again() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    world.tell(&said(Action::Cancelled, "Pro", BILLED), BILLED);
    let again = BILLED + 3 * DAY_MS;
    world
        .tell(&Purchase { next_billing_ms: Some(again + 30 * DAY_MS), ..said(Action::Purchased, "Pro", again) }, again);
    assert_eq!((world.plan(), world.granted.len()), ("pro", 2));
}

#[test]
fn a_free_trial_gives_pro_and_no_credits_until_it_is_paid() {
    let ends_ms = BOUGHT + 14 * DAY_MS;
    let bought = on_trial(said(Action::Purchased, "Pro", BOUGHT), ends_ms);
    let mut world = World::linked();
    world.tell(&bought, BOUGHT);
    assert_eq!((world.plan(), world.granted.len()), ("pro", 0));
    world.until(ends_ms + GRACE_MS - 1);
    assert!(world.granted.is_empty());
    world.until(ends_ms + GRACE_MS);
    world.tell(&said(Action::Changed, "Pro", ends_ms), ends_ms + GRACE_MS);
    assert_eq!(world.granted, ["marketplace:4:2026-11-08"]);

    let mut affected_objects = World::linked();
    affected_objects.tell(&bought, BOUGHT);
    affected_objects.tell(&said(Action::Changed, "Pro", ends_ms), ends_ms);
    assert_eq!(affected_objects.granted, ["marketplace:4:2026-11-08"]);

    let mut paid_early = World::linked();
    paid_early.tell(&bought, BOUGHT);
    paid_early.tell(&said(Action::Changed, "Pro", BOUGHT + DAY_MS), BOUGHT + DAY_MS);
    assert_eq!(paid_early.granted, ["marketplace:4:2026-10-26"]);

    let mut cancelled = World::linked();
    cancelled.tell(&bought, BOUGHT);
    cancelled.tell(&said(Action::Cancelled, "Pro", BOUGHT + DAY_MS), BOUGHT + DAY_MS);
    cancelled.until(BOUGHT + 60 * DAY_MS);
    assert_eq!((cancelled.plan(), cancelled.granted.len()), ("pay_as_you_go", 0));
}

#[test]
fn a_plan_that_pays_one_by_one_ends_the_trial() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pay_as_you_go", BOUGHT), BOUGHT);
    assert_eq!((world.plan(), world.granted.len()), ("pay_as_you_go", 0));
}

#[test]
fn pro_of_the_marketplace_is_not_taken_from_whom_it_never_gave_it_to() {
    let mut world = World::linked();
    world.customer.plan = plan("pro");
    world.tell(&said(Action::Purchased, "Trial", BOUGHT), BOUGHT);
    world.tell(&said(Action::Cancelled, "Trial", BOUGHT + 1), BOUGHT + 1);
    assert_eq!(world.plan(), "pro");
}

#[test]
fn where_pro_brings_no_credits_the_plan_moves_all_the_same() {
    let mut world = World::linked();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT - 1);
    let account = world.account().clone();
    Arc::make_mut(&mut world.catalogue).prices.clear();
    let verdict = settle(Some(&account), account.clone(), Some(&world.customer), world.terms(), BOUGHT);
    assert!(verdict.ledger.is_none());
    assert!(
        verdict.effects.iter().any(|effect| matches!(effect, Effect::PlanSet { plan, .. } if plan.as_str() == "pro"))
    );
}

#[test]
fn a_purchase_gives_pro_only_to_whom_it_is_linked() {
    let mut world = World::new();
    world.tell(&said(Action::Purchased, "Pro", BOUGHT), BOUGHT);
    assert!(world.is_paid() && world.account().gives_plan(&world.catalogue).is_none());
    world.link(BOUGHT + 1);
    assert_eq!(world.account().gives_plan(&world.catalogue), Some(&plan("pro")));
}
