//! Examples shared by the rules' tests.

use crate::domain::address::Confirmation;
use crate::domain::customer::Customer;
use crate::domain::sale::example::catalogue;
use crate::domain::sale::{Decision, PriceBook};
use crate::domain::webhook::fixtures::{known, ours};
use crate::ids::CustomerId;
use crate::key::PlanKey;

/// Ada, with this Stripe customer.
pub(super) fn ada(plan: &str, stripe_customer_id: Option<&str>) -> Customer {
    Customer {
        id: CustomerId::trusted("cst_06h055fesprhr17icghjgpmuuk".to_owned()),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        source: "direct".to_owned(),
        plan: PlanKey::trusted(plan),
        stripe_customer_id: stripe_customer_id.map(str::to_owned),
        has_payment_method: true,
        former_stripe_ids: Vec::new(),
        credits_from_ms: None,
        confirmation: Confirmation::ASSUMED,
        created_at_ms: 0,
    }
}

/// Two known prices: Pro's, and one of other business.
pub(super) fn book() -> PriceBook {
    PriceBook::new(catalogue(), [known("price_pro", ours("pro_monthly")), known("price_other", Decision::NotOurs)])
}
