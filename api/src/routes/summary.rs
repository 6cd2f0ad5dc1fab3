//! The usage summary: a customer's credits, spending, charges and warnings.

use super::Tag;
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::sample;
use bursar_engine::clock::{day, rfc3339};
use bursar_engine::config::CreditsConfig;
use bursar_engine::domain::catalogue::Catalogue;
use bursar_engine::domain::catalogue::currency::money;
use bursar_engine::domain::pricing;
use bursar_engine::domain::subscription::Subscription;
use bursar_engine::domain::summary::{Charged, Day, Flow, Summary, Totals, Warning, describe_subscription};
use bursar_engine::ids::CustomerId;
use bursar_engine::usecase::summary::summary;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of the usage summary.
pub struct SummaryApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[OperationDoc::new("get_usage_summary", &[])];

/// A customer's credits, usage and charges.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct UsageSummary {
    /// The customer.
    customer_id: String,
    /// The key of its plan, such as `trial`.
    plan: String,
    /// Whether it can be charged.
    has_payment_method: bool,
    /// All credits.
    balance: i64,
    /// The part that holds reserve.
    held: i64,
    /// The part that can be spent.
    available: i64,
    /// Price of one unit beyond the credits, in minor units; null if the customer cannot be charged, or its plan has no
    /// unit price.
    next_price_minor: Option<i64>,
    /// What is charged next as text: `$29.00`, or `5.00 EUR for 20 pages` where the plan sells several units at a time.
    next_price: Option<String>,
    /// Currency of the price.
    currency: String,
    /// Warnings for the customer, the most urgent first.
    warnings: Vec<WarningBody>,
    /// The subscription to a plan, if there ever was one.
    subscription: Option<SubscriptionState>,
    /// Credits in total.
    totals: TotalsBody,
    /// Credits in the current period.
    period: PeriodBody,
    /// Changes of the balance other than usage, by kind and source.
    flows: Vec<FlowBody>,
    /// Charges for credits (units, packs, top-ups and debts), one row for each currency. Payments for subscriptions are
    /// not included: they are invoices. Refunds are not subtracted.
    charged: Vec<ChargedBody>,
    /// The last 30 days in UTC, oldest first.
    days: Vec<DayBody>,
}

impl Example for UsageSummary {
    fn example() -> Self {
        let totals = || TotalsBody { granted: 5, spent: 4, expired: 0, clawed_back: 0, removed: 0 };
        Self {
            customer_id: sample::CUSTOMER.to_owned(),
            plan: "trial".to_owned(),
            has_payment_method: false,
            balance: 1,
            held: 0,
            available: 1,
            next_price_minor: None,
            next_price: None,
            currency: "usd".to_owned(),
            warnings: vec![WarningBody {
                code: "low_credits".to_owned(),
                message: "1 fix left. Add billing to continue after that.".to_owned(),
            }],
            subscription: None,
            totals: totals(),
            period: PeriodBody {
                kind: "calendar_month".to_owned(),
                start: "2026-11-01T00:00:00.000Z".to_owned(),
                end: "2026-12-01T00:00:00.000Z".to_owned(),
                totals: totals(),
            },
            flows: vec![FlowBody {
                kind: "grant".to_owned(),
                source: "signup".to_owned(),
                grant_kind: sample::text("promotional"),
                credits: 5,
                credits_in_period: 5,
            }],
            charged: Vec::new(),
            days: vec![DayBody { date: "2026-11-22".to_owned(), credits: 4 }],
        }
    }
}

/// A warning for the customer.
#[derive(Debug, Object)]
struct WarningBody {
    /// Stable: `customer_suspended`, `low_credits`, `no_credits`, `credits_owed`, `payment_past_due`,
    /// `payment_method_missing`, `subscription_ends` or `credits_expiring`.
    code: String,
    /// A message for people.
    message: String,
}

/// The state of the subscription.
#[derive(Debug, Object)]
struct SubscriptionState {
    /// Its id at Stripe.
    id: String,
    /// Stripe's status.
    status: String,
    /// Whether it ends with the period.
    cancel_at_period_end: bool,
    /// When the paid period ends.
    current_period_end: Option<String>,
    /// Since when a payment is overdue.
    past_due_since: Option<String>,
    /// A description for people.
    message: String,
}

/// Credits granted, and what became of them. The change of the balance is `granted` minus all others.
#[derive(Debug, Object)]
struct TotalsBody {
    /// Granted, whatever the source.
    granted: i64,
    /// Spent on work.
    spent: i64,
    /// Expired unspent.
    expired: i64,
    /// Taken back because their payment was refunded or disputed, or because the time that they were for was left and
    /// credited.
    clawed_back: i64,
    /// Removed by support.
    removed: i64,
}

/// The current period.
#[derive(Debug, Object)]
struct PeriodBody {
    /// `subscription`: a month of the subscription, counted back from the end of its paid period; else
    /// `calendar_month`, in UTC.
    kind: String,
    /// When it began.
    start: String,
    /// When it ends, exclusive.
    end: String,
    /// Credits in it.
    totals: TotalsBody,
}

/// The sum of transactions of one kind and source.
#[derive(Debug, Object)]
struct FlowBody {
    /// `grant`, `adjust`, `claw_back` or `expire`.
    kind: String,
    /// Who or what caused them: one of the sources of a transaction.
    source: String,
    /// The kind of grants: `promotional`, `adjustment`, `included` or `purchased`.
    grant_kind: Option<String>,
    /// Change of the balance in total.
    credits: i64,
    /// Change of the balance in the current period.
    credits_in_period: i64,
}

/// Money in one currency.
#[derive(Debug, Object)]
struct ChargedBody {
    /// ISO 4217 code.
    currency: String,
    /// In total, in minor units.
    amount_minor: i64,
    /// The same as text.
    amount: String,
    /// Number of charges in total.
    charges: i64,
    /// In the current period, in minor units.
    amount_in_period_minor: i64,
    /// The same as text.
    amount_in_period: String,
    /// Number of charges in the current period.
    charges_in_period: i64,
}

/// Usage on one day.
#[derive(Debug, Object)]
struct DayBody {
    /// The day in UTC.
    date: String,
    /// Credits spent.
    credits: i64,
}

impl From<Totals> for TotalsBody {
    fn from(totals: Totals) -> Self {
        Self {
            granted: totals.granted.0,
            spent: totals.spent.0,
            expired: totals.expired.0,
            clawed_back: totals.clawed_back.0,
            removed: totals.removed.0,
        }
    }
}

impl From<Warning> for WarningBody {
    fn from(warning: Warning) -> Self {
        Self { code: warning.code.to_owned(), message: warning.message }
    }
}

impl SubscriptionState {
    fn new(row: &Subscription, catalogue: &Catalogue) -> Self {
        Self {
            id: row.id.clone(),
            status: row.status.clone(),
            cancel_at_period_end: row.cancel_at_period_end,
            current_period_end: row.current_period_end_ms.map(rfc3339),
            past_due_since: row.past_due_since_ms.map(rfc3339),
            message: describe_subscription(row, catalogue),
        }
    }
}

impl From<Flow> for FlowBody {
    fn from(flow: Flow) -> Self {
        Self {
            kind: flow.kind.as_str().to_owned(),
            source: flow.source,
            grant_kind: flow.grant_kind,
            credits: flow.total.0,
            credits_in_period: flow.period.0,
        }
    }
}

impl From<Charged> for ChargedBody {
    fn from(charged: Charged) -> Self {
        Self {
            amount: money(charged.total_minor, &charged.currency),
            amount_in_period: money(charged.period_minor, &charged.currency),
            currency: charged.currency,
            amount_minor: charged.total_minor.0,
            charges: charged.count,
            amount_in_period_minor: charged.period_minor.0,
            charges_in_period: charged.period_count,
        }
    }
}

impl From<Day> for DayBody {
    fn from(usage: Day) -> Self {
        Self { date: day(usage.start_ms), credits: usage.spent.0 }
    }
}

impl UsageSummary {
    fn new(summary: Summary, config: &CreditsConfig, catalogue: &Catalogue) -> Self {
        let Summary { customer, account, subscription, period, totals, period_totals, flows, charged, days, warnings } =
            summary;
        let next_price_minor = pricing::next_price_minor(&customer, catalogue);
        Self {
            customer_id: customer.id.to_string(),
            plan: customer.plan.as_str().to_owned(),
            has_payment_method: customer.has_payment_method,
            balance: account.balance.0,
            held: account.held.0,
            available: account.available().0,
            next_price_minor: next_price_minor.map(|price| price.0),
            next_price: pricing::next_price(&customer, config, catalogue),
            currency: catalogue.currency.to_string(),
            warnings: warnings.into_iter().map(WarningBody::from).collect(),
            subscription: subscription.map(|row| SubscriptionState::new(&row, catalogue)),
            totals: totals.into(),
            period: PeriodBody {
                kind: period.kind.as_str().to_owned(),
                start: rfc3339(period.start_ms),
                end: rfc3339(period.end_ms),
                totals: period_totals.into(),
            },
            flows: flows.into_iter().map(FlowBody::from).collect(),
            charged: charged.into_iter().map(ChargedBody::from).collect(),
            days: days.into_iter().map(DayBody::from).collect(),
        }
    }
}

/// Makes the summary of one customer.
pub(super) async fn usage_summary(app: &App, customer: &CustomerId) -> Result<Json<UsageSummary>, ApiError> {
    let catalogue = app.config.catalogue.now();
    let found = summary(&app.db, customer, &app.config.credits, &catalogue, app.clock.now_ms()).await?;
    Ok(Json(UsageSummary::new(found, &app.config.credits, &catalogue)))
}

#[OpenApi]
impl SummaryApi {
    /// My usage summary
    ///
    /// Credits in total and in the current period, charges, usage of the last 30 days, the state of the
    /// subscription, warnings, and the price of the next unit.
    #[oai(path = "/api/v1/usage/summary", method = "get", operation_id = "get_usage_summary", tag = "Tag::Credits")]
    async fn summary(&self, app: Data<&Arc<App>>, auth: CustomerAuth) -> Result<Json<UsageSummary>, ApiError> {
        usage_summary(&app, &auth.0).await
    }
}
