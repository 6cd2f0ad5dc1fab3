//! What a payment intent makes of a charge.

use super::*;
use crate::amount::{Credits, MoneyMinor};
use crate::domain::operation::{Request, UsageCharge};
use crate::ids::CustomerId;
use serde_json::json;

fn charge() -> Charge {
    Charge {
        credits: Credits(1),
        amount_minor: MoneyMinor(2_900),
        currency: "usd".to_owned(),
        payment_method_id: "pm_1".to_owned(),
        card: "pm_1::".to_owned(),
        description: "1 fix".to_owned(),
        reserved: None,
        lifetime_days: None,
    }
}

fn operation() -> Operation {
    let usage = UsageCharge { units: Credits(1), reference: None, metadata: None, charge: Some(charge()) };
    let key = "api:k".to_owned();
    Operation::new(&CustomerId::new(), Request::UsageCharge(usage), key, "h".to_owned(), 1_000)
}

fn state(verdict: &Verdict) -> Option<State> {
    verdict.effects.iter().find_map(|effect| match effect {
        Effect::OperationPut(operation) => Some(operation.state),
        _ => None,
    })
}

fn verdict(intent: Value) -> Verdict {
    by_intent(&operation(), &charge(), &PaymentIntentFields::read(&intent), 2_000)
}

#[test]
fn a_payment_that_succeeded_grants_and_debits_under_keys_of_its_own() {
    let verdict = verdict(json!({"id": "pi_1", "status": "succeeded"}));
    let (_, command) = verdict.ledger.clone().expect("a command");
    assert_eq!(command.keys().collect::<Vec<_>>(), ["stripe:payment:pi_1", "api:k"]);
    assert_eq!(state(&verdict), Some(State::Succeeded));
}

#[test]
fn a_payment_that_wants_authentication_keeps_its_intent_and_is_no_failure() {
    let intent = json!({"id": "pi_1", "status": "requires_payment_method", "client_secret": "cs",
                        "last_payment_error": {"code": "authentication_required"}});
    let verdict = verdict(intent);
    assert_eq!(state(&verdict), Some(State::RequiresAction));
    assert!(matches!(verdict.outcome, Outcome::Snooze { .. }));
    let Some(Effect::OperationPut(waiting)) = verdict.effects.first() else { panic!("{verdict:?}") };
    assert_eq!(waiting.stripe_id.as_deref(), Some("pi_1"));
    assert_eq!(waiting.problem.as_ref().and_then(|problem| problem.client_secret.as_deref()), Some("cs"));
}

#[test]
fn a_decline_moves_no_credit() {
    let intent = json!({"id": "pi_1", "status": "requires_payment_method",
                        "last_payment_error": {"code": "card_declined", "decline_code": "insufficient_funds"}});
    let verdict = verdict(intent);
    assert!(verdict.ledger.is_none());
    assert_eq!(state(&verdict), Some(State::Failed));
}

#[test]
fn money_that_is_not_what_was_asked_for_is_left_to_a_person() {
    for (amount, currency) in [(2_900, "eur"), (1_500, "usd"), (0, "usd")] {
        let intent = json!({"id": "pi_1", "status": "succeeded", "amount_received": amount, "currency": currency});
        let verdict = verdict(intent);
        assert!(matches!(&verdict.outcome, Outcome::Dead { reason } if reason.starts_with("payment_mismatch")));
        assert!(verdict.ledger.is_none() && verdict.effects.is_empty());
    }
}

#[test]
fn only_the_round_that_asks_takes_an_unfinished_payment_for_its_own() {
    let first = operation();
    let made = |round: &str| {
        let metadata = json!({"bursar_operation_id": first.id.as_str(), "bursar_round": round});
        PaymentIntentFields::read(&json!({"id": "pi_1", "metadata": metadata}))
    };
    let second = first.failed(Problem::default(), 2_000).next_round(first.request.clone(), 3_000);
    assert!(is_of(&second, &made("1")) && !is_of_round(&second, &made("1")));
    assert!(is_of_round(&second, &made("2")));
}

#[test]
fn a_payment_under_way_is_looked_at_again_and_uses_up_no_attempt() {
    let verdict = verdict(json!({"id": "pi_1", "status": "processing"}));
    assert!(matches!(verdict.outcome, Outcome::Snooze { .. }));
    assert_eq!(state(&verdict), Some(State::Processing));
}

#[test]
fn bad_news_goes_by_mail_only_if_they_come_after_the_answer_and_are_the_customers() {
    let declined = verdict(json!({"id": "pi_1", "status": "requires_payment_method",
        "last_payment_error": {"code": "card_declined", "message": "Your card was declined."}}));
    let waiting = verdict(json!({"id": "pi_1", "status": "requires_action"}));
    let paid = verdict(json!({"id": "pi_1", "status": "succeeded"}));
    let problem = Problem { code: "stripe_refused".to_owned(), ..Problem::default() };
    let refused = Verdict { effects: vec![Effect::operation(operation().failed(problem, 2_000))], ..paid.clone() };
    let template = |verdict: &Verdict, wait_ms: i64| {
        let id = verdict.operations().next().expect("the operation").id.clone();
        let asked = Operation { id, ..operation() };
        let Effect::JobInsert(job) = late_bad_news(&asked, verdict, wait_ms, 2_000)? else { panic!("it is a job") };
        let args: serde_json::Value = serde_json::from_str(&job.args).expect("JSON");
        assert_eq!(args["about"]["purchase"]["what"], "1 fix");
        args["template"].as_str().map(str::to_owned)
    };
    assert_eq!(template(&declined, 1_000).as_deref(), Some("payment_failed"));
    assert_eq!(template(&waiting, 1_000).as_deref(), Some("action_required"));
    assert_eq!((template(&declined, 1_501), template(&waiting, 1_501)), (None, None));
    assert_eq!((template(&paid, 0), template(&refused, 0)), (None, None));
    // Whoever has been asked to finish it on session knows of it.
    let known = Operation { state: State::RequiresAction, ..operation() };
    assert!(late_bad_news(&known, &declined, 0, 2_000).is_none());
}
