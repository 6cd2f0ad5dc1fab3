//! Bodies of the route of refunds.

use crate::routes::text::Text;
use crate::sample;
use bursar_engine::domain::operation::{Operation, Problem, Request};
use bursar_engine::domain::payment::Payment;
use bursar_engine::domain::refund::CreditsChoice;
use bursar_engine::ids::HoldId;
use bursar_engine::usecase::refund::RefundPlan;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

/// What becomes of the credits that refunded money bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum CreditsChoiceBody {
    /// Their share goes as far as it is not spent.
    Unspent,
    /// Their share goes, and the customer may owe credits then.
    All,
    /// The customer keeps them.
    None,
}

impl From<CreditsChoiceBody> for CreditsChoice {
    fn from(choice: CreditsChoiceBody) -> Self {
        match choice {
            CreditsChoiceBody::Unspent => Self::Unspent,
            CreditsChoiceBody::All => Self::All,
            CreditsChoiceBody::None => Self::None,
        }
    }
}

impl From<CreditsChoice> for CreditsChoiceBody {
    fn from(choice: CreditsChoice) -> Self {
        match choice {
            CreditsChoice::Unspent => Self::Unspent,
            CreditsChoice::All => Self::All,
            CreditsChoice::None => Self::None,
        }
    }
}

/// Money to give back.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct RefundRequestBody {
    /// How much, in minor units; if omitted, all that is left of the charge and was not credited.
    #[oai(skip_serializing_if_is_none)]
    pub(super) amount_minor: Option<i64>,
    /// Whether `amount_minor` may have been credited to the customer at Stripe already, so that it is given twice.
    #[oai(skip_serializing_if_is_none)]
    pub(super) beyond_credited: Option<bool>,
    /// What becomes of the credits that the money bought; `unspent`, if omitted.
    #[oai(skip_serializing_if_is_none)]
    credits: Option<CreditsChoiceBody>,
    /// The reason, for the audit log.
    pub(super) reason: Text,
    /// Whether to say only what would happen.
    #[oai(skip_serializing_if_is_none)]
    pub(super) dry_run: Option<bool>,
}

impl RefundRequestBody {
    pub(super) fn choice(&self) -> CreditsChoice {
        self.credits.map_or(CreditsChoice::Unspent, Into::into)
    }
}

impl Example for RefundRequestBody {
    fn example() -> Self {
        Self {
            amount_minor: Some(2_900),
            beyond_credited: None,
            credits: Some(CreditsChoiceBody::Unspent),
            reason: "charged twice, ticket 4711".into(),
            dry_run: Some(false),
        }
    }
}

/// A refund, made or only planned.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct RefundAnswer {
    /// The payment.
    payment_id: String,
    /// Its customer.
    customer_id: String,
    /// `planned` after a dry run, else `processing`, `succeeded` or `failed`.
    state: String,
    /// The operation that carries it out; null after a dry run.
    operation_id: Option<String>,
    /// The refund at Stripe, once there is one.
    refund: Option<String>,
    /// The charge at Stripe that it is taken from.
    charge: String,
    /// How much, in minor units.
    amount_minor: i64,
    /// ISO 4217 code.
    currency: String,
    /// What becomes of the credits.
    credits: CreditsChoiceBody,
    /// The most that could be given back before without giving anything twice, in minor units. Null if that is not
    /// known, and in the answer to a repeated request.
    refundable_minor: Option<i64>,
    /// What of this money later changes of the subscription have credited already, for time that was left, in minor
    /// units: `beyond_credited` gives it a second time. Null if that is not known, and in the answer to a repeated
    /// request.
    credited_minor: Option<i64>,
    /// Credits that go. Null in the answer to a repeated request.
    credits_to_go: Option<i64>,
    /// Credits of this money that `unspent` leaves only because open holds reserve them: they are not taken when a hold
    /// is released. Take them by `all`, or let the holds end first. Null in the answer to a repeated request.
    credits_reserved: Option<i64>,
    /// The open holds that reserve them, at most 20; one that begins with `rsv_` is of a purchase.
    reserved_by: Vec<String>,
    /// Credits of months to come that go once they come, at most, because this money paid for them. Null in the answer
    /// to a repeated request.
    credits_to_go_later: Option<i64>,
    /// All credits before. Null in the answer to a repeated request.
    credit_balance: Option<i64>,
    /// All credits once those are gone, within seconds of the refund. Null in the answer to a repeated request.
    credit_balance_after: Option<i64>,
    /// Why it failed, in words.
    detail: Option<String>,
}

impl RefundAnswer {
    /// The answer to a dry run.
    pub(super) fn planned(payment: &Payment, choice: CreditsChoice, plan: &RefundPlan) -> Self {
        Self {
            payment_id: payment.id.clone(),
            customer_id: payment.customer_id.to_string(),
            state: "planned".to_owned(),
            operation_id: None,
            refund: None,
            charge: plan.charge_id.clone(),
            amount_minor: plan.amount.0,
            currency: plan.currency.clone(),
            credits: choice.into(),
            refundable_minor: plan.refundable.map(|amount| amount.0),
            credited_minor: plan.credited.map(|amount| amount.0),
            credits_to_go: Some(plan.credits.0),
            credits_reserved: Some(plan.reserved.0),
            reserved_by: names(&plan.reserved_by),
            credits_to_go_later: Some(plan.credits_later.0),
            credit_balance: Some(plan.balance.0),
            credit_balance_after: Some(plan.balance_after.0),
            detail: None,
        }
    }

    /// The answer to a refund that was asked for, with its plan unless it was asked for before.
    pub(super) fn of(payment: &Payment, operation: &Operation, plan: Option<&RefundPlan>) -> Self {
        let (charge, amount_minor, currency, credits) = match &operation.request {
            Request::PaymentRefund { charge_id, amount_minor, currency, credits, .. } => {
                (charge_id.clone(), amount_minor.0, currency.clone(), *credits)
            }
            _ => (String::new(), 0, String::new(), CreditsChoice::default()),
        };
        Self {
            payment_id: payment.id.clone(),
            customer_id: payment.customer_id.to_string(),
            state: operation.state.as_str().to_owned(),
            operation_id: Some(operation.id.to_string()),
            refund: operation.stripe_id.clone(),
            charge,
            amount_minor,
            currency,
            credits: credits.into(),
            refundable_minor: plan.and_then(|plan| plan.refundable).map(|amount| amount.0),
            credited_minor: plan.and_then(|plan| plan.credited).map(|amount| amount.0),
            credits_to_go: plan.map(|plan| plan.credits.0),
            credits_reserved: plan.map(|plan| plan.reserved.0),
            reserved_by: plan.map_or_else(Vec::new, |plan| names(&plan.reserved_by)),
            credits_to_go_later: plan.map(|plan| plan.credits_later.0),
            credit_balance: plan.map(|plan| plan.balance.0),
            credit_balance_after: plan.map(|plan| plan.balance_after.0),
            detail: operation.problem.as_ref().map(|Problem { message, .. }| message.clone()),
        }
    }
}

fn names(holds: &[HoldId]) -> Vec<String> {
    holds.iter().map(ToString::to_string).collect()
}

impl Example for RefundAnswer {
    fn example() -> Self {
        Self {
            payment_id: sample::OPERATION.to_owned(),
            customer_id: sample::CUSTOMER.to_owned(),
            state: "succeeded".to_owned(),
            operation_id: sample::text(sample::OPERATION),
            refund: sample::text("re_1Nispe2eZvKYlo2Cd31jOCgZ"),
            charge: "ch_3MmlLrLkdIwHu7ix0snN0B15".to_owned(),
            amount_minor: 2_900,
            currency: "usd".to_owned(),
            credits: CreditsChoiceBody::Unspent,
            refundable_minor: Some(2_900),
            credited_minor: Some(0),
            credits_to_go: Some(1),
            credits_reserved: Some(0),
            reserved_by: Vec::new(),
            credits_to_go_later: Some(0),
            credit_balance: Some(4),
            credit_balance_after: Some(3),
            detail: None,
        }
    }
}
