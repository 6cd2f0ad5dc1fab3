//! What is kept of each charge: one record for each round in which an operation charges.

use crate::amount::MoneyMinor;
use crate::clock::TimeMs;
use crate::domain::operation::{Operation, Request, State};
use crate::ids::{CustomerId, OperationId};

/// Where a charge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeState {
    /// It may still succeed.
    Open,
    /// The money was taken.
    Succeeded,
    /// The card was declined.
    Declined,
    /// It failed for another reason.
    Failed,
    /// The same charge goes on in another round.
    Replaced,
}

impl ChargeState {
    /// The name as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
            Self::Failed => "failed",
            Self::Replaced => "replaced",
        }
    }
}

/// A charge as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeRecord {
    /// The operation.
    pub operation_id: OperationId,
    /// Its round.
    pub round: i64,
    /// Its customer.
    pub customer_id: CustomerId,
    /// The card: see [`PaymentMethod::card`](crate::domain::payment_method::PaymentMethod::card).
    pub card: String,
    /// What it counts against the spend caps: what it takes for credits, and nothing for a subscription, which the
    /// customer asked for at its price.
    pub amount_minor: MoneyMinor,
    /// ISO currency, in lower case.
    pub currency: String,
    /// Where it stands.
    pub state: ChargeState,
    /// What the card's network advised after a decline.
    pub advice_code: Option<String>,
    /// When it was decided, or last changed if it is stored already.
    pub at_ms: TimeMs,
}

impl ChargeRecord {
    /// The same where nothing was charged after all, as in a trial: it says nothing of the card.
    #[must_use]
    pub fn without_payment(self) -> Self {
        if self.state == ChargeState::Succeeded { Self { state: ChargeState::Failed, ..self } } else { self }
    }
}

/// The records that follow from a change of an operation: that of its present round and, if a round went before, that
/// one's end. None if it charges nothing.
pub fn records(before: &Operation, after: &Operation) -> Vec<ChargeRecord> {
    let record = |operation: &Operation, state: ChargeState| {
        let (card, amount_minor, currency) = charged(&operation.request)?;
        let advice = operation.problem.as_ref().and_then(|problem| problem.advice_code.clone());
        Some(ChargeRecord {
            operation_id: operation.id.clone(),
            round: operation.round,
            customer_id: operation.customer_id.clone(),
            card: card.to_owned(),
            amount_minor,
            currency: currency.to_owned(),
            state,
            advice_code: advice.filter(|_| state == ChargeState::Declined),
            at_ms: after.updated_at_ms,
        })
    };
    let replaced = (after.round > before.round).then(|| record(before, ChargeState::Replaced)).flatten();
    replaced.into_iter().chain(record(after, state_of(after))).collect()
}

/// The card that a request charges, what that counts against the spend caps, and the currency; `None` while nothing is
/// charged.
fn charged(request: &Request) -> Option<(&str, MoneyMinor, &str)> {
    let of_subscription = || {
        let payer = request.payer()?;
        Some((payer.card.as_str(), MoneyMinor::ZERO, payer.currency.as_str()))
    };
    let of_purchase =
        request.charge().map(|charge| (charge.card.as_str(), charge.amount_minor, charge.currency.as_str()));
    of_purchase.or_else(of_subscription)
}

fn state_of(operation: &Operation) -> ChargeState {
    match operation.state {
        State::Processing | State::RequiresAction => ChargeState::Open,
        // Credits paid for the request in the end, so that no payment was needed.
        State::Succeeded if operation.stripe_id.is_none() => ChargeState::Failed,
        State::Succeeded => ChargeState::Succeeded,
        State::Failed if operation.problem.as_ref().is_some_and(|problem| problem.is_decline) => ChargeState::Declined,
        State::Failed => ChargeState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::charge::tests::charged_operation;
    use crate::domain::operation::{Payer, Problem};

    fn states(before: &Operation, after: &Operation) -> Vec<(i64, &'static str)> {
        records(before, after).iter().map(|record| (record.round, record.state.as_str())).collect()
    }

    #[test]
    fn a_charge_counts_until_it_has_failed_for_good() {
        let open = charged_operation();
        let paid = open.succeeded(Some("pi_1".to_owned()), 2);
        let declined =
            Problem { is_decline: true, advice_code: Some("do_not_try_again".to_owned()), ..Problem::default() };
        assert_eq!(states(&open, &open), [(1, "open")]);
        assert_eq!(states(&open, &open.waits_for_customer(Problem::default(), None, 2)), [(1, "open")]);
        assert_eq!(states(&open, &paid), [(1, "succeeded")]);
        assert_eq!(states(&open, &open.succeeded(None, 2)), [(1, "failed")], "credits paid for it");
        assert_eq!(states(&open, &open.failed(Problem::default(), 2)), [(1, "failed")]);
        let after = open.failed(declined, 2);
        assert_eq!(states(&open, &after), [(1, "declined")]);
        assert_eq!(records(&open, &after)[0].advice_code.as_deref(), Some("do_not_try_again"));
        assert_eq!(
            states(&after, &after.succeeded(Some("pi_1".to_owned()), 3)),
            [(1, "succeeded")],
            "the news came late"
        );
    }

    #[test]
    fn a_subscriptions_payment_is_kept_of_its_card_and_counts_against_no_cap() {
        let payer =
            Payer { payment_method_id: "pm_1".to_owned(), card: "f1:2030:4".to_owned(), currency: "usd".to_owned() };
        let undecided =
            Request::SubscriptionCreate { payment_method_id: "pm_1".to_owned(), price: None, quantity: 1, payer: None };
        let open = Operation { request: undecided.with_payer(payer.clone()), ..charged_operation() };
        let declined = open.failed(Problem { is_decline: true, ..Problem::default() }, 2);
        let record = records(&open, &declined).pop().expect("a record");
        assert_eq!(
            (record.card.as_str(), record.amount_minor, record.state),
            ("f1:2030:4", MoneyMinor(0), ChargeState::Declined)
        );
        assert_eq!(states(&open, &open.succeeded(Some("sub_1".to_owned()), 2)), [(1, "succeeded")]);
        let undecided = Operation { request: undecided, ..open };
        assert!(states(&undecided, &undecided.failed(Problem::default(), 2)).is_empty(), "nothing was charged");
        let resume = Request::SubscriptionResume { subscription_id: "sub_1".to_owned(), payer: None };
        let paused = Operation { request: resume.with_payer(payer), ..undecided };
        let declined = paused.failed(Problem { is_decline: true, ..Problem::default() }, 2);
        assert_eq!(states(&paused, &declined), [(1, "declined")]);
    }

    #[test]
    fn what_cost_nothing_says_nothing_of_the_card() {
        let open = charged_operation();
        let without_payment =
            |after: &Operation| records(&open, after).pop().expect("a record").without_payment().state.as_str();
        assert_eq!(without_payment(&open.succeeded(Some("sub_1".to_owned()), 2)), "failed");
        assert_eq!(without_payment(&open), "open");
        assert_eq!(without_payment(&open.failed(Problem { is_decline: true, ..Problem::default() }, 2)), "declined");
    }

    #[test]
    fn a_charge_that_goes_on_in_another_round_counts_once() {
        let open = charged_operation();
        let next = open.next_round(open.request.clone(), 2);
        assert_eq!(states(&open, &next), [(1, "replaced"), (2, "open")]);
    }
}
