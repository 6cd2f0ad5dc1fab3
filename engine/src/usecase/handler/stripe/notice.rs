//! Mails to customers about events.

use super::EventContext;
use crate::amount::MoneyMinor;
use crate::domain::customer::Customer;
use crate::domain::effect::{Effect, Verdict};
use crate::domain::job::Outcome;
use crate::domain::mail::{self, MailSubject, Template};
use crate::domain::webhook::EventKind;
use crate::domain::webhook::fields::{self, InvoiceFields, PaymentIntentFields};
use serde_json::Value;

/// Adds a mail to the verdict on a failed renewal: the customer has to authenticate the payment, or to pay in another
/// way. At most one mail of each kind for an invoice.
pub(super) fn of_failed_payment(about: &EventContext<'_>, invoice: &Value, verdict: Verdict) -> Verdict {
    let Some(customer) = about.event.customer.as_ref().filter(|_| makes_late(&verdict)) else { return verdict };
    let mail = failed_payment(customer, about.kind, invoice, about.now_ms);
    with(verdict, mail)
}

/// Whether a verdict makes a subscription of ours late.
fn makes_late(verdict: &Verdict) -> bool {
    let is_late =
        |effect: &Effect| matches!(effect, Effect::SubscriptionPut(row) if row.is_ours() && row.status == "past_due");
    verdict.effects.iter().any(is_late)
}

fn failed_payment(customer: &Customer, kind: EventKind, invoice: &Value, now_ms: i64) -> Option<Effect> {
    let invoice_fields = InvoiceFields::read(invoice);
    let id = invoice_fields.id.clone()?;
    let intents = fields::rows(&invoice["payments"]).iter().map(|payment| &payment["payment"]["payment_intent"]);
    let wants_customer = kind == EventKind::InvoicePaymentActionRequired
        || std::iter::once(&invoice["payment_intent"])
            .chain(intents)
            .any(|intent| intent.is_object() && PaymentIntentFields::read(intent).wants_authentication());
    let template = if wants_customer { Template::ActionRequired } else { Template::PaymentFailed };
    let subject = MailSubject {
        subscription: invoice_fields.subscription_id.clone(),
        purchase: None,
        amount_minor: invoice["amount_due"].as_i64().map(MoneyMinor),
        currency: invoice_fields.currency.clone(),
        reason: (!wants_customer).then(|| invoice_fields.failure_in_words()),
        problem: None,
        url: invoice["hosted_invoice_url"].as_str().map(str::to_owned),
    };
    Some(Effect::JobInsert(mail::job(template, &customer.id, &id, subject, now_ms)))
}

/// Adds one mail for each subscription of ours that the verdict ends.
pub(in crate::usecase::handler) fn of_ended_subscriptions(verdict: Verdict, now_ms: i64) -> Verdict {
    let mails: Vec<Effect> = verdict
        .effects
        .iter()
        .filter_map(|effect| match effect {
            // A subscription that expired while incomplete never began, so it gets no mail.
            Effect::SubscriptionPut(row) if row.is_ours() && row.status == "canceled" => {
                let subject = MailSubject { subscription: Some(row.id.clone()), ..MailSubject::default() };
                let mail = mail::job(Template::SubscriptionEnded, &row.customer_id, &row.id, subject, now_ms);
                Some(Effect::JobInsert(mail))
            }
            _ => None,
        })
        .collect();
    with(verdict, mails)
}

fn with(mut verdict: Verdict, mails: impl IntoIterator<Item = Effect>) -> Verdict {
    if matches!(verdict.outcome, Outcome::Done) {
        verdict.effects.extend(mails);
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subscription::Subscription;
    use crate::domain::webhook::fixtures;
    use serde_json::json;

    fn key_of(effect: &Effect) -> String {
        let Effect::JobInsert(job) = effect else { panic!("{effect:?}") };
        job.unique_key.clone().expect("mails are unique")
    }

    fn mail(kind: EventKind, invoice: &Value) -> String {
        key_of(&failed_payment(&fixtures::customer("pro"), kind, invoice, 1).expect("a mail"))
    }

    #[test]
    fn a_failed_renewal_is_told_once_for_each_invoice_and_authentication_apart() {
        let invoice = json!({"id": "in_1", "payments": {"data": [{"payment": {"payment_intent": {
            "id": "pi_1", "status": "requires_payment_method", "last_payment_error": {"code": "card_declined"}}}}]}});
        assert!(mail(EventKind::InvoicePaymentFailed, &invoice).starts_with("mail:payment_failed:"));
        assert_eq!(mail(EventKind::InvoicePaymentFailed, &invoice), mail(EventKind::InvoicePaymentFailed, &invoice));
        let mut waiting = invoice;
        waiting["payments"]["data"][0]["payment"]["payment_intent"]["status"] = "requires_action".into();
        assert!(mail(EventKind::InvoicePaymentFailed, &waiting).starts_with("mail:action_required:"));
    }

    #[test]
    fn only_a_subscription_of_ours_that_is_late_is_told() {
        let late = fixtures::row("past_due");
        let other_business = Subscription { plan: None, price: None, ..late.clone() };
        assert!(!other_business.is_ours());
        let makes = |row| {
            let effects = vec![Effect::SubscriptionPut(row)];
            makes_late(&Verdict { outcome: Outcome::Done, ledger: None, effects })
        };
        assert_eq!([late, other_business, fixtures::row("active")].map(makes), [true, false, false]);
    }

    #[test]
    fn an_end_is_told_and_an_expired_beginning_is_not() {
        let of = |status: &str| {
            let row = Subscription { ended_at_ms: Some(1), ..fixtures::row(status) };
            let effects = vec![Effect::SubscriptionPut(row)];
            of_ended_subscriptions(Verdict { outcome: Outcome::Done, ledger: None, effects }, 1).effects.len()
        };
        assert_eq!((of("canceled"), of("incomplete_expired")), (2, 1));
    }
}
