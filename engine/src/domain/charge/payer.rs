//! Who pays for a subscription and its changes: a payment method of the customer's own, with consent, unless it was
//! declined lately.

use super::NotCharged;
use super::decline::{PastCharge, pause};
use crate::clock::TimeMs;
use crate::domain::catalogue::currency::Currency;
use crate::domain::operation::Payer;
use crate::domain::payment_method::PaymentMethod;
use crate::domain::subscription::change::Need;

/// What is known of whoever pays for a subscription.
#[derive(Debug, Clone, Default)]
pub struct PayerStanding {
    /// The payment method, if there is one with consent.
    pub method: Option<PaymentMethod>,
    /// What ended charges of the same card came to, the latest first.
    pub past: Vec<PastCharge>,
}

impl PayerStanding {
    /// The payment method that later periods are charged to.
    ///
    /// # Errors
    /// There is none with consent.
    fn method(&self) -> Result<&PaymentMethod, NotCharged> {
        let method = self.method.as_ref().filter(|method| method.consent_at_ms.is_some());
        method.ok_or(NotCharged::NoPaymentMethod)
    }

    /// Checks that it has what a change of a subscription needs.
    ///
    /// # Errors
    /// There is no payment method with consent, or it was declined lately and is to be charged at once.
    pub fn check(&self, need: Need, currency: &Currency, now_ms: TimeMs) -> Result<(), NotCharged> {
        match need {
            Need::Nothing => Ok(()),
            Need::Consent => self.method().map(|_| ()),
            Need::Charge => self.decide(currency, now_ms).map(|_| ()),
        }
    }

    /// What a payment at once is charged to.
    ///
    /// # Errors
    /// There is no payment method with consent, or it was declined lately.
    pub fn decide(&self, currency: &Currency, now_ms: TimeMs) -> Result<Payer, NotCharged> {
        let method = self.method()?;
        if let Some(pause) = pause(&self.past, now_ms) {
            return Err(NotCharged::Declined(pause));
        }
        Ok(Payer { payment_method_id: method.id.clone(), card: method.card(), currency: currency.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::charge::decline::Pause;
    use crate::domain::webhook::fields::PaymentMethodFields;
    use crate::ids::CustomerId;

    fn method(consent_at_ms: Option<TimeMs>) -> PaymentMethod {
        let fields = PaymentMethodFields::default();
        PaymentMethod::from_stripe(fields, "pm_1".to_owned(), &CustomerId::new(), consent_at_ms, true, 1)
    }

    fn declined_at(ended_at_ms: TimeMs) -> PastCharge {
        PastCharge { was_declined: true, advice_code: None, ended_at_ms }
    }

    #[test]
    fn only_a_payment_method_with_consent_pays_and_none_that_was_declined_lately() {
        let usd = Currency::parse("usd").expect("a currency");
        let decide = |method: Option<PaymentMethod>, past: Vec<PastCharge>| {
            PayerStanding { method, past }.decide(&usd, 1_000).map(|payer| payer.payment_method_id)
        };
        assert_eq!(decide(None, Vec::new()), Err(NotCharged::NoPaymentMethod));
        assert_eq!(decide(Some(method(None)), Vec::new()), Err(NotCharged::NoPaymentMethod));
        assert_eq!(decide(Some(method(Some(1))), Vec::new()), Ok("pm_1".to_owned()));
        let paused = decide(Some(method(Some(1))), vec![declined_at(999)]);
        assert!(matches!(paused, Err(NotCharged::Declined(Pause::Until(_)))), "{paused:?}");
        let standing = PayerStanding { method: Some(method(Some(1))), past: vec![declined_at(999)] };
        let check = |standing: &PayerStanding, need: Need| standing.check(need, &usd, 1_000).is_ok();
        assert!(
            !check(&standing, Need::Charge) && check(&standing, Need::Consent),
            "what is charged later does not wait"
        );
        let nobody = PayerStanding::default();
        assert!(!check(&nobody, Need::Consent) && check(&nobody, Need::Nothing));
        assert!(check(&nobody, Need::Charge.of_card(true)), "its invoices are sent");
    }
}
