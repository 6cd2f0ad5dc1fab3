//! What becomes of a refund by support after Stripe took it for made.

use super::{Operation, Problem, Request, State};
use crate::clock::TimeMs;
use crate::domain::refund::FailedRefund;

impl Operation {
    /// The refund by support that made this refund, which has failed since; `None` if it is another one or has not
    /// succeeded. One that is under way finds the failure itself.
    pub fn after_failed_refund(&self, failed: &FailedRefund, now_ms: TimeMs) -> Option<Self> {
        let is_refund = matches!(self.request, Request::PaymentRefund { .. });
        let made_it = self.state == State::Succeeded && self.stripe_id.as_ref() == Some(&failed.id);
        (is_refund && made_it).then(|| self.failed(Problem::refund_failed(failed.reason.as_deref()), now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::MoneyMinor;
    use crate::domain::refund::CreditsChoice;
    use crate::ids::CustomerId;

    fn refund(state: State, stripe_id: Option<&str>) -> Operation {
        let request = Request::PaymentRefund {
            payment_id: "in_1".to_owned(),
            charge_id: "ch_1".to_owned(),
            amount_minor: MoneyMinor(700),
            currency: "usd".to_owned(),
            credits: CreditsChoice::All,
            beyond_credited: false,
        };
        let new = Operation::new(&CustomerId::new(), request, "admin:k".to_owned(), "h".to_owned(), 1_000);
        Operation { state, stripe_id: stripe_id.map(str::to_owned), ..new }
    }

    fn failed(id: &str) -> FailedRefund {
        FailedRefund { id: id.to_owned(), reason: Some("expired_or_canceled_card".to_owned()) }
    }

    #[test]
    fn a_refund_that_the_bank_returned_ends_as_failed_with_the_reason() {
        let made = refund(State::Succeeded, Some("re_1"));
        let ended = made.after_failed_refund(&failed("re_1"), 2_000).expect("it ends");
        let problem = ended.problem.clone().expect("a problem");
        assert_eq!(
            (ended.state, ended.stripe_id.as_deref(), ended.updated_at_ms),
            (State::Failed, Some("re_1"), 2_000)
        );
        assert_eq!((problem.code.as_str(), problem.is_decline), ("refund_failed", false), "it says nothing of a card");
        assert_eq!(problem.decline_code.as_deref(), Some("expired_or_canceled_card"));
        assert!(problem.message.contains("(expired_or_canceled_card)"), "{problem:?}");
        assert_eq!(ended.after_failed_refund(&failed("re_1"), 3_000), None, "it is told twice");
    }

    #[test]
    fn another_refund_one_under_way_and_what_is_no_refund_stay_as_they_are() {
        assert_eq!(refund(State::Succeeded, Some("re_2")).after_failed_refund(&failed("re_1"), 2_000), None);
        for state in [State::Processing, State::Failed] {
            for id in [None, Some("re_1")] {
                assert_eq!(refund(state, id).after_failed_refund(&failed("re_1"), 2_000), None, "{state:?} {id:?}");
            }
        }
        let detach = Request::PaymentMethodDetach { payment_method_id: "pm_1".to_owned() };
        let other = Operation { request: detach, ..refund(State::Succeeded, Some("re_1")) };
        assert_eq!(other.after_failed_refund(&failed("re_1"), 2_000), None);
    }
}
