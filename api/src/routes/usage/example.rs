//! The credits of the document's examples.

use super::{CreditsBody, GrantBody, OpenHoldBody};
use crate::sample;
use poem_openapi::types::Example;

impl Example for CreditsBody {
    fn example() -> Self {
        Self {
            balance: 4,
            held: 3,
            available: 1,
            grants: vec![GrantBody {
                transaction_id: "txn_06bv1k2m8x0q3d5r7t9w1y3z5b_1".to_owned(),
                kind: "promotional".to_owned(),
                remaining: 4,
                expires_at: None,
            }],
            holds: vec![OpenHoldBody {
                id: sample::HOLD.to_owned(),
                amount: 3,
                expires_at: "2026-11-22T08:15:00.000Z".to_owned(),
                operation_id: None,
            }],
            next_price_minor: Some(2_900),
            currency: "usd".to_owned(),
            credit_limit: None,
            suspended: None,
            warning: None,
        }
    }
}
