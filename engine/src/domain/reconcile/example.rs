//! Examples shared by the rules' tests.

use crate::domain::customer::Customer;
use crate::domain::webhook::ProPrice;
use crate::ids::CustomerId;
use crate::plan::Plan;

/// Ada, with this Stripe customer.
pub(super) fn ada(plan: Plan, stripe_customer_id: Option<&str>) -> Customer {
    Customer {
        id: CustomerId::trusted("cst_06h055fesprhr17icghjgpmuuk".to_owned()),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        source: "direct".to_owned(),
        plan,
        stripe_customer_id: stripe_customer_id.map(str::to_owned),
        has_payment_method: true,
        former_stripe_ids: Vec::new(),
        created_at_ms: 0,
    }
}

/// Pro, identified by its price id.
pub(super) fn pro() -> ProPrice {
    ProPrice { price_id: Some("price_pro".to_owned()), lookup_key: "pro_monthly".to_owned() }
}
