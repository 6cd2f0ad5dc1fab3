//! Purchases: operations that charge a payment method for credits.
//!
//! A purchase is stored without its charge. When its turn among the customer's purchases comes, the charge is decided
//! (`domain/charge.rs`) and stored together with the reservation of the credits that the customer has.

use super::{Operation, Request, State};
use crate::amount::{Credits, MoneyMinor, SPEND_CAP_MAX, UNITS_MAX};
use crate::clock::TimeMs;
use crate::domain::catalogue::currency::Currency;
use crate::domain::catalogue::{Catalogue, Pack};
use crate::domain::ledger::Spend;
use crate::error::{Error, Result};
use crate::ids::{HoldId, OperationId};
use crate::key::PackKey;
use serde::{Deserialize, Serialize};

/// How long credits stay reserved for a charge whose end never comes, because its job was cancelled or is dead: 90
/// days. That is longer than any charge lasts.
pub const RESERVED_FOR_MS: i64 = 90 * DAY_MS;

/// The stored names of all purchases, for SQL.
pub const PURCHASE_KINDS: &str =
    "('usage_charge', 'hold_charge', 'pack_purchase', 'debt_payment', 'auto_top_up', 'duplicate_payment')";

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Units of work beyond the customer's credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageCharge {
    /// Units of work, counted in the credits that they cost.
    pub units: Credits,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// The caller's metadata as JSON.
    pub metadata: Option<String>,
    /// The charge, once it is decided.
    #[serde(flatten)]
    pub charge: Option<Charge>,
}

/// Credits to reserve for work, beyond those that the customer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldCharge {
    /// Credits to reserve.
    pub units: Credits,
    /// How long the hold lasts, from the moment when it is opened.
    pub lasts_ms: i64,
    /// The caller's own reference.
    pub reference: Option<String>,
    /// The caller's metadata as JSON.
    pub metadata: Option<String>,
    /// The charge, once it is decided.
    #[serde(flatten)]
    pub charge: Option<Charge>,
}

/// A pack of the catalogue, on the terms of the moment when it was requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackPurchase {
    /// The pack.
    pub pack: Pack,
    /// The charge, once it is decided.
    #[serde(flatten)]
    pub charge: Option<Charge>,
}

/// The credits that a customer owes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebtPayment {
    /// The charge, once it is decided.
    #[serde(flatten)]
    pub charge: Option<Charge>,
}

/// A second payment of an operation that was paid before. It brought credits of its own, and is there to be given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DuplicatePayment {
    /// The operation that was paid before.
    pub of: OperationId,
    /// What was charged.
    #[serde(flatten)]
    pub charge: Option<Charge>,
}

/// Credits that are bought automatically, because few are left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoTopUp {
    /// The version of the customer's setting that began it.
    pub version: i64,
    /// What that says.
    pub terms: TopUpTerms,
    /// The charge, once it is decided.
    #[serde(flatten)]
    pub charge: Option<Charge>,
}

/// What a customer has set about automatic top-ups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpTerms {
    /// Below this number of available credits, credits are bought.
    pub threshold: Credits,
    /// So many that at least this number is available afterwards.
    pub target: Credits,
    /// The pack that is bought, as often as needed; `None` for single units.
    pub pack: Option<PackKey>,
    /// The most that all top-ups of a calendar month in UTC may cost, in minor units of the currency of what is bought:
    /// like a spend cap, it is a number that holds in each currency by itself. The spend caps apply besides.
    pub cap_month: Option<MoneyMinor>,
}

impl TopUpTerms {
    /// Checks the numbers.
    ///
    /// # Errors
    /// `Invalid` `invalid_auto_top_up`.
    pub fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::invalid("invalid_auto_top_up", message));
        if !(Credits(1)..=UNITS_MAX).contains(&self.threshold) {
            return invalid(format!("threshold must be from 1 to {UNITS_MAX} credits"));
        }
        if !(self.threshold..=UNITS_MAX).contains(&self.target) {
            return invalid(format!("target must be from threshold to {UNITS_MAX} credits"));
        }
        if self.cap_month.is_some_and(|cap| !(MoneyMinor::ZERO..=SPEND_CAP_MAX).contains(&cap)) {
            return invalid(format!("month_cap_minor must be from 0 to {SPEND_CAP_MAX}"));
        }
        Ok(())
    }
}

/// A decided charge. All that Stripe is told is fixed here: the same key must carry the same words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Credits to buy.
    pub credits: Credits,
    /// Their price.
    pub amount_minor: MoneyMinor,
    /// ISO currency, in lower case.
    pub currency: String,
    /// What is charged.
    pub payment_method_id: String,
    /// The card behind it: see [`PaymentMethod::card`](crate::domain::payment_method::PaymentMethod::card).
    #[serde(default)]
    pub card: String,
    /// What it is for, as the customer sees it at its bank.
    pub description: String,
    /// The customer's own credits that are kept for the same purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Reservation>,
    /// Days after which the bought credits expire; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_days: Option<u32>,
}

/// Credits that are kept while the missing ones are bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The hold that keeps them.
    pub hold: HoldId,
    /// Their number.
    pub credits: Credits,
}

impl Request {
    /// Whether it charges a payment method for credits.
    pub fn is_purchase(&self) -> bool {
        matches!(
            self,
            Self::UsageCharge(_)
                | Self::HoldCharge(_)
                | Self::PackPurchase(_)
                | Self::DebtPayment(_)
                | Self::AutoTopUp(_)
                | Self::DuplicatePayment(_)
        )
    }

    /// The decided charge of a purchase.
    pub fn charge(&self) -> Option<&Charge> {
        match self {
            Self::UsageCharge(usage) => usage.charge.as_ref(),
            Self::HoldCharge(hold) => hold.charge.as_ref(),
            Self::PackPurchase(purchase) => purchase.charge.as_ref(),
            Self::DebtPayment(payment) => payment.charge.as_ref(),
            Self::AutoTopUp(top_up) => top_up.charge.as_ref(),
            Self::DuplicatePayment(duplicate) => duplicate.charge.as_ref(),
            _ => None,
        }
    }

    /// The same purchase with this charge. Other requests stay as they are.
    #[must_use]
    pub fn with_charge(&self, charge: Charge) -> Self {
        match self {
            Self::UsageCharge(usage) => Self::UsageCharge(UsageCharge { charge: Some(charge), ..usage.clone() }),
            Self::HoldCharge(hold) => Self::HoldCharge(HoldCharge { charge: Some(charge), ..hold.clone() }),
            Self::PackPurchase(PackPurchase { pack, .. }) => {
                Self::PackPurchase(PackPurchase { pack: pack.clone(), charge: Some(charge) })
            }
            Self::DebtPayment(_) => Self::DebtPayment(DebtPayment { charge: Some(charge) }),
            Self::AutoTopUp(top_up) => Self::AutoTopUp(AutoTopUp { charge: Some(charge), ..top_up.clone() }),
            other => other.clone(),
        }
    }

    /// The same purchase before its charge is decided. Other requests stay as they are.
    #[must_use]
    pub fn without_charge(&self) -> Self {
        match self {
            Self::UsageCharge(usage) => Self::UsageCharge(UsageCharge { charge: None, ..usage.clone() }),
            Self::HoldCharge(hold) => Self::HoldCharge(HoldCharge { charge: None, ..hold.clone() }),
            Self::PackPurchase(PackPurchase { pack, .. }) => {
                Self::PackPurchase(PackPurchase { pack: pack.clone(), charge: None })
            }
            Self::DebtPayment(_) => Self::DebtPayment(DebtPayment { charge: None }),
            Self::AutoTopUp(top_up) => Self::AutoTopUp(AutoTopUp { charge: None, ..top_up.clone() }),
            other => other.clone(),
        }
    }

    /// The units that a purchase is for; `None` if it buys credits for the balance.
    pub fn wanted_units(&self) -> Option<Credits> {
        match self {
            Self::UsageCharge(usage) => Some(usage.units),
            Self::HoldCharge(hold) => Some(hold.units),
            _ => None,
        }
    }

    /// The currency of a purchase's charge: that of its pack, else that of the catalogue.
    pub fn currency<'a>(&'a self, catalogue: &'a Catalogue) -> &'a Currency {
        match self {
            Self::PackPurchase(purchase) => &purchase.pack.currency,
            Self::AutoTopUp(top_up) => catalogue.currency_of(top_up.terms.pack.as_ref()),
            _ => &catalogue.currency,
        }
    }

    /// The caller's metadata, as JSON.
    pub fn metadata(&self) -> Option<&str> {
        match self {
            Self::UsageCharge(usage) => usage.metadata.as_deref(),
            Self::HoldCharge(hold) => hold.metadata.as_deref(),
            _ => None,
        }
    }
}

impl Operation {
    /// What the bought credits are spent on, under the key of the customer's own request; `None` if they stay in the
    /// balance. A hold that is opened lasts from now on.
    pub fn spend(&self, now_ms: TimeMs) -> Option<Spend> {
        let (source, hold, reference) = match &self.request {
            Request::UsageCharge(usage) => ("usage", None, &usage.reference),
            Request::HoldCharge(hold) => ("hold", Some((HoldId::new(), now_ms + hold.lasts_ms)), &hold.reference),
            _ => return None,
        };
        Some(Spend {
            amount: self.request.wanted_units()?,
            hold,
            source: source.to_owned(),
            reference: reference.clone(),
            idempotency_key: self.idempotency_key.clone(),
            request_hash: Some(self.request_hash.clone()),
            metadata: self.request.metadata().map(str::to_owned),
        })
    }

    /// The record of this payment, if the operation was paid by another one before. Its key makes it one for each
    /// payment.
    pub fn duplicate(&self, payment_intent_id: &str, now_ms: TimeMs) -> Option<Self> {
        let is_paid = self.state == State::Succeeded;
        self.stripe_id.as_deref().filter(|paid_by| is_paid && *paid_by != payment_intent_id)?;
        let charge = self.request.charge().map(|charge| Charge { reserved: None, ..charge.clone() });
        let request = Request::DuplicatePayment(DuplicatePayment { of: self.id.clone(), charge });
        let key = format!("duplicate:{payment_intent_id}");
        let new = Self::new(&self.customer_id, request, key.clone(), key, now_ms);
        Some(new.succeeded(Some(payment_intent_id.to_owned()), now_ms))
    }

    /// The reservation of its charge, if it has one.
    pub fn reservation(&self) -> Option<&Reservation> {
        self.request.charge()?.reserved.as_ref()
    }

    /// When the credits that it buys expire, if they are granted now.
    pub fn bought_until_ms(&self, now_ms: TimeMs) -> Option<TimeMs> {
        let days = self.request.charge()?.lifetime_days?;
        Some(now_ms + i64::from(days) * DAY_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CustomerId;

    #[test]
    fn a_charge_of_an_earlier_release_and_an_undecided_one_read_back() {
        let old = r#"{"kind":"usage_charge","units":2,"credits":1,"amount_minor":2900,"currency":"usd",
            "payment_method_id":"pm_1","description":"1 fix credit","reference":null,"metadata":null}"#;
        let request: Request = serde_json::from_str(old).expect("it reads");
        let charge = request.charge().expect("a charge");
        assert_eq!((charge.credits, &charge.reserved, charge.lifetime_days), (Credits(1), &None, None));
        let undecided = Request::UsageCharge(UsageCharge {
            units: Credits(2),
            reference: None,
            metadata: Some("{}".to_owned()),
            charge: None,
        });
        let hold = HoldId::trusted("rsv_1".to_owned());
        let decided = Charge { reserved: Some(Reservation { hold, credits: Credits(1) }), ..charge.clone() };
        for request in [undecided.clone(), undecided.with_charge(decided)] {
            let text = serde_json::to_string(&request).expect("plain data");
            assert_eq!(serde_json::from_str::<Request>(&text).expect("it reads back"), request, "{text}");
            assert_eq!(request.without_charge(), undecided, "{text}");
        }
    }

    #[test]
    fn only_another_payment_of_a_paid_operation_is_a_duplicate() {
        let charge = r#"{"kind":"usage_charge","units":2,"credits":1,"amount_minor":2900,"currency":"usd",
            "payment_method_id":"pm_1","description":"1 fix credit","reference":null,"metadata":null}"#;
        let request: Request = serde_json::from_str(charge).expect("it reads");
        let open = Operation::new(&CustomerId::new(), request, "api:k".to_owned(), "h".to_owned(), 1);
        let paid = open.succeeded(Some("pi_1".to_owned()), 2);
        assert!(open.duplicate("pi_2", 3).is_none() && open.succeeded(None, 2).duplicate("pi_2", 3).is_none());
        assert_eq!(paid.duplicate("pi_1", 3), None);
        let second = paid.duplicate("pi_2", 3).expect("a second payment");
        assert_eq!((second.state, second.stripe_id.as_deref()), (State::Succeeded, Some("pi_2")));
        assert_eq!(second.request.charge().expect("a charge").amount_minor, MoneyMinor(2_900));
        assert_ne!((&second.id, &second.idempotency_key), (&paid.id, &paid.idempotency_key));
        assert!(second.request.wanted_units().is_none(), "its credits stay in the balance");
        let text = serde_json::to_string(&second.request).expect("plain data");
        assert_eq!(serde_json::from_str::<Request>(&text).expect("it reads back"), second.request);
        assert!(PURCHASE_KINDS.contains(second.request.kind()));
    }

    #[test]
    fn the_terms_of_top_ups_have_limits() {
        let terms = |threshold: i64, target: i64, cap: Option<i64>| {
            let (threshold, target) = (Credits(threshold), Credits(target));
            TopUpTerms { threshold, target, pack: None, cap_month: cap.map(MoneyMinor) }.check()
        };
        assert!(terms(1, 1, None).is_ok() && terms(1, UNITS_MAX.0, Some(0)).is_ok());
        for (threshold, target) in [(0, 5), (5, 4), (1, UNITS_MAX.0 + 1), (-1, 5)] {
            assert!(terms(threshold, target, None).is_err(), "{threshold} {target}");
        }
        assert!(terms(1, 2, Some(-1)).is_err() && terms(1, 2, Some(SPEND_CAP_MAX.0 + 1)).is_err());
    }
}
