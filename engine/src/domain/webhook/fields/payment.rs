//! Payments: PaymentIntents, charges, refunds, disputes, payment methods.

use super::{Metadata, clean, id, metadata_of, money, rows, saturating_sum, short_text, stripe_customer_id};
use crate::amount::MoneyMinor;
use serde_json::Value;

/// The longest text kept of Stripe's explanation, in characters.
const MESSAGE_LEN_MAX: usize = 500;

/// The fields of a PaymentIntent that the rules use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentIntentFields {
    /// Its id.
    pub id: Option<String>,
    /// Its Stripe customer.
    pub stripe_customer_id: Option<String>,
    /// Stripe's status: `succeeded`, `requires_payment_method`, `requires_action`, `processing` …
    pub status: Option<String>,
    /// What is to be paid.
    pub amount: Option<MoneyMinor>,
    /// What was paid.
    pub amount_received: Option<MoneyMinor>,
    /// ISO currency, in lower case.
    pub currency: Option<String>,
    /// Its metadata.
    pub metadata: Metadata,
    /// What the customer's browser needs to finish it. A secret of this one payment.
    pub client_secret: Option<String>,
    /// Its payment method.
    pub payment_method_id: Option<String>,
    /// Its latest charge.
    pub charge_id: Option<String>,
    /// Code of the last failure.
    pub error_code: Option<String>,
    /// The issuer's reason of the last failure.
    pub decline_code: Option<String>,
    /// What the network advises after it.
    pub advice_code: Option<String>,
    /// Stripe's words on it.
    pub error_message: Option<String>,
}

impl PaymentIntentFields {
    /// Reads a PaymentIntent in any API version.
    pub fn read(object: &Value) -> Self {
        let error = &object["last_payment_error"];
        let charges = rows(&object["charges"]);
        Self {
            id: id(&object["id"]),
            stripe_customer_id: stripe_customer_id(object),
            status: short_text(&object["status"]),
            amount: money(&object["amount"]),
            amount_received: money(&object["amount_received"]),
            currency: short_text(&object["currency"]),
            metadata: metadata_of(object),
            client_secret: short_text(&object["client_secret"]),
            payment_method_id: id(&object["payment_method"]).or_else(|| id(&error["payment_method"])),
            // `charges` was a list inside before 2022-11-15.
            charge_id: id(&object["latest_charge"]).or_else(|| charges.first().and_then(|charge| id(&charge["id"]))),
            error_code: short_text(&error["code"]),
            decline_code: short_text(&error["decline_code"]),
            advice_code: short_text(&error["advice_code"]),
            error_message: error["message"].as_str().map(|text| clean(text, MESSAGE_LEN_MAX)),
        }
    }

    /// Whether the bank wants to see the customer before it pays.
    pub fn wants_authentication(&self) -> bool {
        self.status.as_deref() == Some("requires_action")
            || (self.status.as_deref() == Some("requires_payment_method")
                && [&self.error_code, &self.decline_code]
                    .into_iter()
                    .any(|code| code.as_deref() == Some("authentication_required")))
    }
}

/// The fields of a charge that the rules use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChargeFields {
    /// Its id.
    pub id: Option<String>,
    /// Its Stripe customer.
    pub stripe_customer_id: Option<String>,
    /// Its PaymentIntent.
    pub payment_intent_id: Option<String>,
    /// Its invoice (gone in 2025-03-31.basil).
    pub invoice_id: Option<String>,
    /// What was charged.
    pub amount: Option<MoneyMinor>,
    /// ISO currency, in lower case.
    pub currency: Option<String>,
    /// What was refunded so far; cumulative.
    pub amount_refunded: MoneyMinor,
    /// Whether it was disputed, ever.
    pub is_disputed: bool,
    /// Whether it took the money.
    pub is_paid: bool,
    /// Its metadata; Stripe copies the PaymentIntent's.
    pub metadata: Metadata,
}

impl ChargeFields {
    /// Reads a charge in any API version.
    pub fn read(object: &Value) -> Self {
        Self {
            id: id(&object["id"]),
            stripe_customer_id: stripe_customer_id(object),
            payment_intent_id: id(&object["payment_intent"]),
            invoice_id: id(&object["invoice"]),
            amount: money(&object["amount"]),
            currency: short_text(&object["currency"]),
            amount_refunded: money(&object["amount_refunded"]).unwrap_or_default(),
            is_disputed: object["disputed"] == true || !object["dispute"].is_null(),
            is_paid: object["paid"] == true || object["status"] == "succeeded",
            metadata: metadata_of(object),
        }
    }
}

/// The fields of a dispute that the rules use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DisputeFields {
    /// Its id.
    pub id: Option<String>,
    /// The charge.
    pub charge_id: Option<String>,
    /// What is disputed.
    pub amount: MoneyMinor,
    /// ISO currency, in lower case. It may be another than the charge's.
    pub currency: Option<String>,
    /// Stripe's status: `needs_response`, `under_review`, `won`, `lost`, `warning_…`, `prevented`.
    pub status: Option<String>,
    /// What it moved on our balance at Stripe, in all: negative while the money is gone.
    pub moved: Option<MoneyMinor>,
}

impl DisputeFields {
    /// Reads a dispute in any API version.
    pub fn read(object: &Value) -> Self {
        let moved = object["balance_transactions"]
            .as_array()
            .map(|rows| saturating_sum(rows.iter().filter_map(|row| money(&row["amount"]))));
        Self {
            id: id(&object["id"]),
            charge_id: id(&object["charge"]),
            amount: money(&object["amount"]).unwrap_or_default(),
            currency: short_text(&object["currency"]),
            status: short_text(&object["status"]),
            moved,
        }
    }

    /// What of the money is gone. Once the dispute is decided its status tells; until then the
    /// withdrawal does. Inquiries (`warning_…`) and prevented disputes take no money.
    /// Source: Stripe, "The Dispute object".
    pub fn amount_gone(&self) -> MoneyMinor {
        match self.status.as_deref() {
            Some("lost") => self.amount,
            Some("needs_response" | "under_review") => match self.moved {
                Some(moved) if moved >= MoneyMinor::ZERO => MoneyMinor::ZERO,
                _ => self.amount,
            },
            _ => MoneyMinor::ZERO,
        }
    }
}

impl DisputeFields {
    /// Whether it leaves the money of its charge to us, which may be given back: it is an inquiry, which a refund may
    /// settle, or was won or prevented. Source: Stripe, "How disputes work".
    pub fn allows_refund(&self) -> bool {
        let status = self.status.as_deref().unwrap_or_default();
        status.starts_with("warning_") || matches!(status, "won" | "prevented")
    }

    /// What is gone of a charge of this amount and currency. A dispute in another currency is about the whole charge,
    /// as nearly all are: Stripe does not tell which part it is.
    pub fn amount_gone_of(&self, charged: MoneyMinor, currency: Option<&str>) -> MoneyMinor {
        let gone = self.amount_gone();
        let is_foreign = self.currency.is_some() && currency.is_some() && self.currency.as_deref() != currency;
        if is_foreign && gone > MoneyMinor::ZERO { charged } else { gone }
    }
}

/// The fields of a payment method that the rules use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentMethodFields {
    /// Its id.
    pub id: Option<String>,
    /// The Stripe customer that it is attached to.
    pub stripe_customer_id: Option<String>,
    /// `card`, `sepa_debit` …
    pub kind: Option<String>,
    /// A card's brand.
    pub brand: Option<String>,
    /// A card's last four digits.
    pub last4: Option<String>,
    /// The month in which a card ends, 1 to 12.
    pub exp_month: Option<i64>,
    /// The year in which a card ends.
    pub exp_year: Option<i64>,
    /// A card's fingerprint.
    pub fingerprint: Option<String>,
}

impl PaymentMethodFields {
    /// Reads a payment method in any API version.
    pub fn read(object: &Value) -> Self {
        let kind = short_text(&object["type"]);
        let details = kind.as_deref().map_or(&Value::Null, |kind| &object[kind]);
        Self {
            id: id(&object["id"]),
            stripe_customer_id: id(&object["customer"]),
            brand: short_text(&details["brand"]),
            last4: short_text(&details["last4"]),
            exp_month: details["exp_month"].as_i64(),
            exp_year: details["exp_year"].as_i64(),
            fingerprint: short_text(&details["fingerprint"]),
            kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_charge_is_found_in_a_payment_intent_of_any_version() {
        let new = PaymentIntentFields::read(&json!({"id": "pi_1", "latest_charge": "ch_1"}));
        let old = PaymentIntentFields::read(&json!({"id": "pi_1", "charges": {"data": [{"id": "ch_1"}]}}));
        assert_eq!(new.charge_id.as_deref(), Some("ch_1"));
        assert_eq!(old.charge_id, new.charge_id);
    }

    #[test]
    fn an_off_session_payment_that_needs_authentication_is_told_from_a_decline() {
        let error = |code: &str| {
            PaymentIntentFields::read(
                &json!({"status": "requires_payment_method", "last_payment_error": {"code": code}}),
            )
        };
        assert!(error("authentication_required").wants_authentication());
        assert!(!error("card_declined").wants_authentication());
    }

    #[test]
    fn the_money_of_a_dispute_is_gone_while_withdrawn_and_when_lost_and_back_when_won() {
        let gone = |status: &str, moved: Value| {
            DisputeFields::read(&json!({"amount": 2900, "status": status, "balance_transactions": moved}))
                .amount_gone()
                .0
        };
        assert_eq!(gone("needs_response", json!([{"amount": -2900}])), 2_900);
        assert_eq!(gone("needs_response", json!([])), 0);
        assert_eq!(gone("under_review", Value::Null), 2_900);
        assert_eq!(gone("won", json!([{"amount": -2900}, {"amount": 2900}])), 0);
        assert_eq!(gone("lost", json!([])), 2_900);
        for status in ["warning_needs_response", "warning_closed", "prevented"] {
            assert_eq!(gone(status, json!([{"amount": -2900}])), 0, "{status}");
        }
    }

    #[test]
    fn amounts_that_overflow_when_added_are_still_a_withdrawal_or_a_return() {
        for (amount, gone) in [(i64::MIN, 2_900), (i64::MAX, 0)] {
            let moved = json!([{"amount": amount}, {"amount": amount}]);
            let dispute = json!({"amount": 2900, "status": "needs_response", "balance_transactions": moved});
            assert_eq!(DisputeFields::read(&dispute).amount_gone(), MoneyMinor(gone), "{amount}");
        }
    }

    #[test]
    fn a_dispute_in_another_currency_takes_the_whole_charge_and_none_while_no_money_is_gone() {
        let gone = |currency: &str, status: &str| {
            let dispute = json!({"amount": 90_000, "currency": currency, "status": status});
            DisputeFields::read(&dispute).amount_gone_of(MoneyMinor(59_900), Some("usd")).0
        };
        assert_eq!((gone("jpy", "lost"), gone("jpy", "won"), gone("usd", "lost")), (59_900, 0, 90_000));
    }

    #[test]
    fn an_inquiry_and_a_dispute_that_took_nothing_allow_a_refund() {
        let allows = |status: Value| DisputeFields::read(&json!({"amount": 1, "status": status})).allows_refund();
        for status in ["warning_needs_response", "warning_under_review", "warning_closed", "won", "prevented"] {
            assert!(allows(json!(status)), "{status}");
        }
        for status in [json!("needs_response"), json!("under_review"), json!("lost"), json!("new"), Value::Null] {
            assert!(!allows(status.clone()), "{status}");
        }
    }

    #[test]
    fn a_dispute_takes_what_it_says_unless_both_currencies_are_known_to_differ() {
        for (disputed, charged) in [(json!("jpy"), None), (Value::Null, Some("usd")), (Value::Null, None)] {
            let dispute = DisputeFields::read(&json!({"amount": 500, "currency": disputed, "status": "lost"}));
            assert_eq!(dispute.amount_gone_of(MoneyMinor(59_900), charged), MoneyMinor(500), "{disputed}");
        }
    }

    #[test]
    fn a_card_shows_its_brand_and_its_end() {
        let read = PaymentMethodFields::read(
            &json!({"id": "pm_1", "type": "card", "card": {"brand": "visa", "last4": "4242", "exp_month": 1, "exp_year": 2031}}),
        );
        assert_eq!(
            (read.brand.as_deref(), read.last4.as_deref(), read.exp_year),
            (Some("visa"), Some("4242"), Some(2031))
        );
    }
}
