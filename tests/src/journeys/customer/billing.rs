//! What a customer buys besides units, and the limits that it sets: packs, debts, top-ups, spend caps, changes of plan.

use super::{CapSide, Customer, Identity, TopUpTerms, result_of};
use crate::journeys::plan::Action;
use reqwest::Method;
use serde_json::{Value, json};

impl Customer {
    pub(super) async fn act_on_billing(&self, me: &Identity, action: Action) -> String {
        match action {
            Action::BuyPack { pack } => self.buy(me, &json!({ "pack": pack })).await,
            Action::PayDebt => self.buy(me, &json!({ "pay_debt": true })).await,
            Action::SetTopUp { threshold, target, pack, month_cap } => {
                let terms = TopUpTerms { is_on: true, threshold, target, pack, month_cap };
                self.set_top_up(me, terms).await
            }
            Action::EndTopUp => {
                let terms = TopUpTerms { is_on: false, threshold: 1, target: 1, pack: None, month_cap: None };
                self.set_top_up(me, terms).await
            }
            Action::SetCaps { day, month } => self.set_caps(me, day, month).await,
            Action::ChangePlan { price, is_now } => self.change_plan(me, price, is_now).await,
            _ => "nothing to do".to_owned(),
        }
    }

    async fn buy(&self, me: &Identity, body: &Value) -> String {
        let answer = self.ask(me, Method::POST, "/api/v1/credits/purchases", Some(body)).await;
        result_of(answer.as_ref())
    }

    async fn set_top_up(&self, me: &Identity, terms: TopUpTerms) -> String {
        let body = json!({
            "enabled": terms.is_on, "threshold": terms.threshold, "target": terms.target, "pack": terms.pack,
            "month_cap_minor": terms.month_cap,
        });
        let asked_ms = self.deps.clock.now_ms();
        let answer = self.ask(me, Method::PUT, "/api/v1/credits/auto-top-up", Some(&body)).await;
        let times = (asked_ms, self.deps.clock.now_ms());
        self.limits().add_top_up(terms, times, answer.as_ref());
        result_of(answer.as_ref())
    }

    async fn set_caps(&self, me: &Identity, day: Option<i64>, month: Option<i64>) -> String {
        let body = json!({ "day_minor": day, "month_minor": month });
        let asked_ms = self.deps.clock.now_ms();
        let answer = self.ask(me, Method::PUT, "/api/v1/spend-caps", Some(&body)).await;
        let times = (asked_ms, self.deps.clock.now_ms());
        self.limits().add_caps(CapSide::Own, (day, month), times, answer.as_ref());
        result_of(answer.as_ref())
    }

    /// A change is made even if its preview is refused: the same rules refuse it then.
    async fn change_plan(&self, me: &Identity, price: &str, is_now: bool) -> String {
        let body = json!({ "price": price, "when": if is_now { "now" } else { "period_end" } });
        let preview = self.ask(me, Method::POST, "/api/v1/subscription/preview", Some(&body)).await;
        let changed = self.ask(me, Method::POST, "/api/v1/subscription/change", Some(&body)).await;
        let when = if is_now { "now" } else { "at the end" };
        match preview.as_ref().is_some_and(|preview| preview.is_success()) {
            true => format!("{} {when}, previewed", result_of(changed.as_ref())),
            false => result_of(changed.as_ref()),
        }
    }
}
