//! What Bursar knows when an event comes: catalogues with known prices, customers, rows of subscriptions.

use bursar_engine::domain::address::Confirmation;
use bursar_engine::domain::catalogue::{Catalogue, read};
use bursar_engine::domain::customer::Customer;
use bursar_engine::domain::sale::{Decision, KnownPrice, PriceBook, judge};
use bursar_engine::domain::subscription::Subscription;
use bursar_engine::domain::webhook::fields;
use bursar_engine::ids::CustomerId;
use bursar_engine::key::{PlanKey, PriceKey};
use std::sync::{Arc, LazyLock};

/// Now: within the periods that the corpus bills.
pub(super) const NOW_MS: i64 = 1_750_000_000_000;

/// A catalogue with every way to grant credits: seats, years that are granted monthly, weeks, credits that end.
const RICH: &str = r#"
currency = "usd"
entry = "trial"
[plans.trial]
name = "Trial"
[plans.pro]
name = "Pro"
followed_by = "trial"
[plans.team]
name = "Team"
followed_by = "trial"
[prices.pro_monthly]
plan = "pro"
every = "month"
amount = 59900
currency = "usd"
credits = 60
rollover = "reset"
[prices.pro_yearly]
plan = "pro"
every = "year"
amount = 599000
currency = "usd"
credits = 720
grant = "monthly"
lifetime_days = 90
[prices.team_monthly]
plan = "team"
every = "2 weeks"
amount = 19900
currency = "usd"
credits = 25
per_seat = true
"#;

/// The built-in catalogue with no price known by its id; the same after asking Stripe; the rich one.
pub(super) static BOOKS: LazyLock<[PriceBook; 3]> = LazyLock::new(|| {
    let rich = Arc::new(read::read(RICH).expect("the catalogue of the target is valid"));
    let known = |catalogue: &Catalogue, prices: &[(&str, &str)]| {
        let ours = prices.iter().map(|(id, price)| known(catalogue, id, Decision::Ours(PriceKey::trusted(price))));
        ours.chain([known(catalogue, "price_other", Decision::NotOurs)]).collect::<Vec<_>>()
    };
    let built_in = Catalogue::built_in();
    let asked = known(&built_in, &[("price_pro", "pro_monthly")]);
    let all = [("price_pro", "pro_monthly"), ("price_year", "pro_yearly"), ("price_team", "team_monthly")];
    let of_rich = known(&rich, &all);
    [PriceBook::new(built_in.clone(), []), PriceBook::new(built_in, asked), PriceBook::new(rich, of_rich)]
});

fn known(catalogue: &Catalogue, id: &str, decision: Decision) -> KnownPrice {
    let judged = judge::judge(&fields::Price::default(), catalogue, &[], 1);
    KnownPrice { id: id.to_owned(), decision, ..judged }
}

/// Customers with the row of their subscription: nobody; the customer of the corpus on a trial, with each kind of row;
/// and on Pro with a date from which on periods count.
pub(super) static KNOWN: LazyLock<Vec<(Option<Customer>, Option<Subscription>)>> = LazyLock::new(|| {
    let pro = Customer { credits_from_ms: Some(NOW_MS), ..customer("pro") };
    let trial = stored().into_iter().map(|row| (Some(customer("trial")), row));
    [(None, None)].into_iter().chain(trial).chain([(Some(pro), Some(row("active")))]).collect()
});

fn customer(plan: &str) -> Customer {
    Customer {
        id: CustomerId::trusted("cst_00000000000000000000000001".to_owned()),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        source: "direct".to_owned(),
        plan: PlanKey::trusted(plan),
        stripe_customer_id: Some("cus_1".to_owned()),
        former_stripe_ids: Vec::new(),
        credits_from_ms: None,
        has_payment_method: true,
        confirmation: Confirmation::ASSUMED,
        created_at_ms: 0,
    }
}

/// No row; rows of the subscription of the corpus: one that pays, one that does not, one that has ended, one of other
/// business.
fn stored() -> [Option<Subscription>; 5] {
    let ended = Subscription { ended_at_ms: Some(1), ..row("canceled") };
    let other = Subscription { plan: None, price: None, ..row("active") };
    [None, Some(row("active")), Some(row("past_due")), Some(ended), Some(other)]
}

fn row(status: &str) -> Subscription {
    Subscription {
        id: "sub_1".to_owned(),
        customer_id: customer("trial").id,
        status: status.to_owned(),
        plan: Some(PlanKey::trusted("pro")),
        price: Some(PriceKey::trusted("pro_monthly")),
        quantity: 1,
        cancel_at_period_end: false,
        current_period_end_ms: Some(1_751_592_000_000),
        past_due_since_ms: None,
        past_due_reason: None,
        paused_collection: None,
        unpaid_change: None,
        pending_change: None,
        ended_at_ms: None,
    }
}
