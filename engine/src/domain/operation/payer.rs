//! What pays for a subscription, or at once for its change or resume.
//!
//! It is decided when the operation's turn comes (`domain/charge/payer.rs`), and stored before Stripe is called: an
//! attempt that is repeated after a crash charges the same card.

use super::Request;
use serde::{Deserialize, Serialize};

/// A payment method of the customer's own that a subscription's payment is charged to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payer {
    /// Its id at Stripe.
    pub payment_method_id: String,
    /// The card behind it: see [`PaymentMethod::card`](crate::domain::payment_method::PaymentMethod::card).
    pub card: String,
    /// ISO currency of the payment, in lower case.
    pub currency: String,
}

impl Request {
    /// What pays for a subscription, once that is decided.
    pub fn payer(&self) -> Option<&Payer> {
        match self {
            Self::SubscriptionCreate { payer, .. }
            | Self::SubscriptionChange { payer, .. }
            | Self::SubscriptionResume { payer, .. } => payer.as_ref(),
            _ => None,
        }
    }

    /// The same request with what pays. Requests that charge no subscription stay as they are.
    #[must_use]
    pub fn with_payer(&self, decided: Payer) -> Self {
        let mut request = self.clone();
        if let Self::SubscriptionCreate { payer, .. }
        | Self::SubscriptionChange { payer, .. }
        | Self::SubscriptionResume { payer, .. } = &mut request
        {
            *payer = Some(decided);
        }
        request
    }

    /// Whether it charges this payment method, or begins to need it, while it has not ended. What is not decided yet
    /// charges the default.
    pub fn charges(&self, payment_method_id: &str, is_default: bool) -> bool {
        match self {
            Self::SubscriptionCreate { payment_method_id: named, .. } => named == payment_method_id,
            Self::SubscriptionChange { payer, .. } | Self::SubscriptionResume { payer, .. } => {
                payer.as_ref().map_or(is_default, |payer| payer.payment_method_id == payment_method_id)
            }
            _ if self.is_purchase() => {
                self.charge().map_or(is_default, |charge| charge.payment_method_id == payment_method_id)
            }
            _ => false,
        }
    }
}
