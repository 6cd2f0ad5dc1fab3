//! The credits that a paid period of Pro brings, whether Stripe or GitHub Marketplace bills it.

use crate::amount::Credits;
use crate::domain::ledger::{GrantKind, Op};

/// The grant for a paid period; `None` if the settings give a period no credits.
pub fn period_grant(credits: Credits) -> Option<Op> {
    let grant = Op::Grant { kind: GrantKind::Included, amount: credits, expires_at_ms: None };
    (credits > Credits::ZERO).then_some(grant)
}

/// Whether a Stripe invoice with this `billing_reason` bills a period of a subscription: its first one or a renewal.
/// Source: Stripe, "The Invoice object".
pub fn bills_period(billing_reason: Option<&str>) -> bool {
    matches!(billing_reason, Some("subscription_create" | "subscription_cycle"))
}

/// Whether a Stripe invoice brings credits once it is paid. `may_be_pro` is false if it certainly bills no Pro.
pub fn invoice_brings_credits(billing_reason: Option<&str>, may_be_pro: bool, credits: Credits) -> bool {
    bills_period(billing_reason) && may_be_pro && period_grant(credits).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_periods_of_pro_bring_credits_and_only_if_the_settings_give_any() {
        for reason in ["subscription_create", "subscription_cycle"] {
            assert!(invoice_brings_credits(Some(reason), true, Credits(60)));
            assert!(!invoice_brings_credits(Some(reason), false, Credits(60)));
            assert!(!invoice_brings_credits(Some(reason), true, Credits::ZERO));
        }
        for reason in [None, Some("manual"), Some("subscription"), Some("subscription_update")] {
            assert!(!invoice_brings_credits(reason, true, Credits(60)));
        }
        assert_eq!(period_grant(Credits(-1)), None);
    }
}
