//! Payment methods of customers.

use crate::clock::TimeMs;
use crate::domain::operation::{Operation, Problem, State};
use crate::domain::subscription::Subscription;
use crate::domain::webhook::fields::PaymentMethodFields;
use crate::ids::CustomerId;

/// A payment method. Bursar never receives a card's number: the customer's browser sends it to Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentMethod {
    /// Its id at Stripe.
    pub id: String,
    /// Its customer.
    pub customer_id: CustomerId,
    /// `card`, `sepa_debit` …
    pub kind: String,
    /// A card's brand.
    pub brand: Option<String>,
    /// A card's last four digits.
    pub last4: Option<String>,
    /// The month in which a card expires, 1 to 12.
    pub exp_month: Option<i64>,
    /// The year in which a card expires.
    pub exp_year: Option<i64>,
    /// What tells a card's number from others, without telling the number.
    pub fingerprint: Option<String>,
    /// Whether charges use it by default.
    pub is_default: bool,
    /// When the customer consented to being charged; `None` if it was added elsewhere, such as on Stripe's own
    /// pages, where Stripe records the consent.
    pub consent_at_ms: Option<TimeMs>,
    /// When it was attached.
    pub attached_at_ms: TimeMs,
    /// When it was detached.
    pub detached_at_ms: Option<TimeMs>,
}

impl PaymentMethod {
    /// The new default after a payment method is detached; `None` if the default stays, or the customer consented
    /// to no other.
    pub fn next_default<'a>(known: &'a [Self], gone: &str) -> Option<&'a str> {
        let is_default = known.iter().any(|method| method.id == gone && method.is_default);
        let next = known.iter().find(|method| method.id != gone && method.consent_at_ms.is_some());
        next.filter(|_| is_default).map(|method| method.id.as_str())
    }

    /// What counts as the same card when declines are counted: it changes with the number and with the expiry, and not
    /// when the card is added once more.
    pub fn card(&self) -> String {
        let expiry = |part: Option<i64>| part.map_or_else(String::new, |part| part.to_string());
        let number = self.fingerprint.as_deref().unwrap_or(&self.id);
        format!("{number}:{}:{}", expiry(self.exp_year), expiry(self.exp_month))
    }

    /// Why it may not be taken away, `payment_method_in_use`: an operation charges it, or a subscription is left
    /// without one. `None` if it may.
    ///
    /// `known` are all of the customer's, `open` its operations that have not ended. A purchase that waits for the
    /// customer's bank is left out: without the payment method it only cannot be finished.
    pub fn kept_because(&self, known: &[Self], subscriptions: &[Subscription], open: &[Operation]) -> Option<Problem> {
        let refuse = |message: &str| Some(Problem::new("payment_method_in_use", message));
        let is_charged = |operation: &Operation| {
            let may_charge = match operation.state {
                State::Processing => true,
                State::RequiresAction => !operation.request.is_purchase(),
                State::Succeeded | State::Failed => false,
            };
            may_charge && operation.request.charges(&self.id, self.is_default)
        };
        if open.iter().any(is_charged) {
            return refuse("A charge of it, or a subscription with it, is under way. Try again when that has ended.");
        }
        let has_next = known.iter().any(|method| method.id != self.id && method.consent_at_ms.is_some());
        let is_needed = |row: &Subscription| row.gives_plan().is_some() && !row.cancel_at_period_end;
        if !has_next && subscriptions.iter().any(is_needed) {
            return refuse(
                "The subscription is paid with it. Add another payment method first, or cancel the subscription.",
            );
        }
        None
    }

    /// Builds the record from Stripe's object.
    pub fn from_stripe(
        fields: PaymentMethodFields,
        id: String,
        customer_id: &CustomerId,
        consent_at_ms: Option<TimeMs>,
        is_default: bool,
        now_ms: TimeMs,
    ) -> Self {
        Self {
            id,
            customer_id: customer_id.clone(),
            kind: fields.kind.unwrap_or_else(|| "unknown".to_owned()),
            brand: fields.brand,
            last4: fields.last4,
            exp_month: fields.exp_month,
            exp_year: fields.exp_year,
            fingerprint: fields.fingerprint,
            is_default,
            consent_at_ms,
            attached_at_ms: now_ms,
            detached_at_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operation::{DebtPayment, Request};
    use crate::domain::webhook::fixtures::row;
    use serde_json::json;

    fn method(id: &str, is_default: bool) -> PaymentMethod {
        let fields = PaymentMethodFields::default();
        PaymentMethod::from_stripe(fields, id.to_owned(), &CustomerId::new(), Some(1), is_default, 1)
    }

    #[test]
    fn a_payment_method_that_is_charged_or_needed_stays() {
        let (one, other) = (method("pm_1", true), method("pm_2", false));
        let operation = |request: Request, state: State| Operation {
            state,
            ..Operation::new(&one.customer_id, request, "api:k".to_owned(), "h".to_owned(), 1)
        };
        let subscribes = |state: State| {
            let request = Request::SubscriptionCreate {
                payment_method_id: one.id.clone(),
                price: None,
                quantity: 1,
                payer: None,
            };
            operation(request, state)
        };
        let may_go = |rows: &[Subscription], known: &[&PaymentMethod], open: &[Operation]| {
            let known: Vec<PaymentMethod> = known.iter().map(|method| (*method).clone()).collect();
            one.kept_because(&known, rows, open).is_none()
        };
        assert!(may_go(&[], &[&one], &[]));
        for state in [State::Processing, State::RequiresAction] {
            assert!(!may_go(&[], &[&one, &other], &[subscribes(state)]), "{state:?}");
        }
        assert!(may_go(&[], &[&one], &[subscribes(State::Failed)]));
        let detach = Request::PaymentMethodDetach { payment_method_id: one.id.clone() };
        assert!(may_go(&[], &[&one], &[operation(detach, State::Processing)]));
        let resumes = Request::SubscriptionResume { subscription_id: "sub_1".to_owned(), payer: None };
        assert!(!may_go(&[], &[&one], &[operation(resumes, State::Processing)]));
        let pays_debt = |state| operation(Request::DebtPayment(DebtPayment { charge: None }), state);
        assert!(!may_go(&[], &[&one], &[pays_debt(State::Processing)]), "the default is what will be charged");
        assert!(may_go(&[], &[&one], &[pays_debt(State::RequiresAction)]));
        assert!(!may_go(&[row("active")], &[&one], &[]) && may_go(&[row("active")], &[&one, &other], &[]));
        let ends = Subscription { cancel_at_period_end: true, ..row("active") };
        assert!(may_go(&[ends, row("canceled")], &[&one], &[]));
    }

    #[test]
    fn a_card_that_is_added_again_is_the_same_until_its_number_or_expiry_changes() {
        let card = |id: &str, fingerprint: Option<&str>, year: i64| {
            let card = json!({ "fingerprint": fingerprint, "exp_month": 4, "exp_year": year });
            let fields = PaymentMethodFields::read(&json!({ "id": id, "type": "card", "card": card }));
            PaymentMethod::from_stripe(fields, id.to_owned(), &CustomerId::new(), None, false, 1).card()
        };
        assert_eq!(card("pm_1", Some("f1"), 2030), card("pm_2", Some("f1"), 2030));
        assert_ne!(card("pm_1", Some("f1"), 2030), card("pm_2", Some("f2"), 2030));
        assert_ne!(card("pm_1", Some("f1"), 2030), card("pm_1", Some("f1"), 2031));
        assert_ne!(card("pm_1", None, 2030), card("pm_2", None, 2030), "without a fingerprint the id counts");
    }
}
