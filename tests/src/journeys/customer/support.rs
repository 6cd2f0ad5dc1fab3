//! What support does for a customer.

use super::{CapSide, Customer, Identity, pick, result_of};
use crate::chaos::caller::DefiniteAnswer;
use crate::journeys::plan::Action;
use serde_json::{Value, json};

impl Customer {
    pub(super) async fn act_as_support(&self, me: &Identity, action: Action) -> String {
        match action {
            Action::Adjust { credits } => {
                let body = json!({ "amount": credits, "reason": "journey" });
                result_of(self.ask_as_staff(me, "adjustments", &body).await.as_ref())
            }
            Action::SetHighestCaps { day, month } => self.set_highest_caps(me, day, month).await,
            Action::RefundBySupport { nth, percent, credits } => self.refund(me, nth, percent, credits).await,
            Action::Suspend => result_of(self.ask_as_staff(me, "suspend", &reason()).await.as_ref()),
            Action::Unsuspend => result_of(self.ask_as_staff(me, "resume", &reason()).await.as_ref()),
            _ => "nothing to do".to_owned(),
        }
    }

    async fn ask_as_staff(&self, me: &Identity, deed: &str, body: &Value) -> Option<DefiniteAnswer> {
        let path = format!("/admin/v1/customers/{}/{deed}", me.id);
        let answer = self.deps.caller.staff(&path, &self.key(), body).await;
        if let Some(answer) = answer.as_ref().filter(|answer| answer.is_success()) {
            self.answers().add_transaction(&answer.body["transaction"]);
        }
        answer
    }

    async fn set_highest_caps(&self, me: &Identity, day: Option<i64>, month: Option<i64>) -> String {
        let body = json!({ "day_minor": day, "month_minor": month, "reason": "journey" });
        let asked_ms = self.deps.clock.now_ms();
        let answer = self.ask_as_staff(me, "spend-caps", &body).await;
        let times = (asked_ms, self.deps.clock.now_ms());
        self.limits().add_caps(CapSide::Support, (day, month), times, answer.as_ref());
        result_of(answer.as_ref())
    }

    /// Refunds a part of one of the customer's payments that took money.
    async fn refund(&self, me: &Identity, nth: usize, percent: i64, credits: &str) -> String {
        let caller = &self.deps.caller;
        let Ok(mut paid) = caller.list_as_staff("/admin/v1/payments", &[("customer", &me.id)]).await else {
            return "no answer".to_owned();
        };
        paid.retain(|row| matches!(row["state"].as_str(), Some("paid" | "partly_refunded")));
        let Some(payment) = pick(&paid, nth) else { return "no payment".to_owned() };
        let amount = payment["amount_minor"].as_i64().unwrap_or(0) * percent / 100;
        let mut body = json!({ "credits": credits, "reason": "journey" });
        // Without an amount, all that is left is given back.
        if percent < 100 {
            body["amount_minor"] = amount.max(1).into();
        }
        let path = format!("/admin/v1/payments/{}/refund", payment["id"].as_str().unwrap_or_default());
        let answer = caller.staff(&path, &self.key(), &body).await;
        match answer.as_ref().filter(|answer| answer.is_success()) {
            Some(made) => format!("{} of {credits}", made.body["state"].as_str().unwrap_or_default()),
            None => result_of(answer.as_ref()),
        }
    }
}

fn reason() -> Value {
    json!({ "reason": "journey" })
}
