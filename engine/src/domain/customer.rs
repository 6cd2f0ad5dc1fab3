//! Customers.

use crate::clock::TimeMs;
use crate::domain::address::Confirmation;
use crate::ids::CustomerId;
use crate::key::PlanKey;
use serde::{Deserialize, Serialize};

/// How a customer came to sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Signed up directly.
    Direct,
    /// Bought on a marketplace.
    Marketplace,
    /// Invited before the launch.
    EarlyAccess,
}

impl Source {
    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Marketplace => "marketplace",
            Self::EarlyAccess => "early_access",
        }
    }
}

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// Its identifier.
    pub id: CustomerId,
    /// Its e-mail address as it was given.
    pub email: String,
    /// Its name.
    pub name: String,
    /// How it came to sign up.
    pub source: String,
    /// Its plan.
    pub plan: PlanKey,
    /// Its customer object at Stripe, once there is one.
    pub stripe_customer_id: Option<String>,
    /// The deleted Stripe customer by which an event found it; else empty.
    pub former_stripe_ids: Vec<String>,
    /// The beginning of the first period whose payment brings credits, if support linked its Stripe customer; payments
    /// for earlier periods bring none.
    pub credits_from_ms: Option<TimeMs>,
    /// Whether it can be charged.
    pub has_payment_method: bool,
    /// Whether its address is known to be its own.
    pub confirmation: Confirmation,
    /// When it was onboarded.
    pub created_at_ms: TimeMs,
}
