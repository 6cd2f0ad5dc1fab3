//! The plans that can be bought.

use super::Tag;
use crate::app::App;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use bursar_engine::domain::catalogue::{Catalogue, GrantSchedule, Plan, Price, Rollover};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of the plans.
pub struct PlanApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[OperationDoc::new("list_plans", &[])];

/// A plan.
#[derive(Debug, Object)]
#[oai(example)]
struct PlanBody {
    /// Its key.
    key: String,
    /// Its name.
    name: String,
    /// What a unit costs once there are no credits left, in minor units; absent if such work is refused.
    unit_price_minor: Option<i64>,
    /// Credits are bought in multiples of this.
    unit_step: i64,
    /// ISO 4217 code of the unit price.
    currency: String,
    /// The prices at which it can be bought; none for a plan that is not bought.
    prices: Vec<PriceBody>,
}

/// A price of a plan.
#[derive(Debug, Object)]
#[oai(example)]
pub(in crate::routes) struct PriceBody {
    /// Its key, for the request to subscribe.
    key: String,
    /// What a period costs, in minor units; of one seat if it is sold by seat.
    amount_minor: i64,
    /// ISO 4217 code.
    currency: String,
    /// How long a period is: `month`, `year`, `2 weeks` …
    every: String,
    /// Credits of a period; of one seat if it is sold by seat.
    credits: i64,
    /// `whole`: all credits at once; `monthly`: an equal part each month.
    grant: String,
    /// Whether it is sold by seat.
    per_seat: bool,
    /// `keep`: credits that are left stay; `reset`: they expire with the period.
    rollover: String,
    /// Days after which credits expire.
    lifetime_days: Option<u32>,
}

impl Example for PriceBody {
    fn example() -> Self {
        Self {
            key: "pro_monthly".to_owned(),
            amount_minor: 59_900,
            currency: "usd".to_owned(),
            every: "month".to_owned(),
            credits: 60,
            grant: "whole".to_owned(),
            per_seat: false,
            rollover: "keep".to_owned(),
            lifetime_days: None,
        }
    }
}

impl Example for PlanBody {
    fn example() -> Self {
        Self {
            key: "pro".to_owned(),
            name: "Pro".to_owned(),
            unit_price_minor: Some(1_500),
            unit_step: 1,
            currency: "usd".to_owned(),
            prices: vec![PriceBody::example()],
        }
    }
}

/// The plans, each better than those before it.
#[derive(Debug, Object)]
#[oai(example)]
struct PlanList {
    /// The plans.
    data: Vec<PlanBody>,
}

impl Example for PlanList {
    fn example() -> Self {
        Self { data: vec![PlanBody::example()] }
    }
}

fn plan_body(catalogue: &Catalogue, plan: &Plan) -> PlanBody {
    PlanBody {
        key: plan.key.to_string(),
        name: plan.name.clone(),
        unit_price_minor: catalogue.unit_price(&plan.key).map(|price| price.0),
        unit_step: plan.unit_step.0,
        currency: catalogue.currency.to_string(),
        prices: catalogue.offered().filter(|price| price.plan == plan.key).map(price_body).collect(),
    }
}

pub(in crate::routes) fn price_body(price: &Price) -> PriceBody {
    PriceBody {
        key: price.key.to_string(),
        amount_minor: price.amount.0,
        currency: price.currency.to_string(),
        every: price.every.to_string(),
        credits: price.credits.0,
        grant: match price.grant {
            GrantSchedule::Whole => "whole",
            GrantSchedule::Monthly => "monthly",
        }
        .to_owned(),
        per_seat: price.per_seat,
        rollover: match price.rollover {
            Rollover::Keep => "keep",
            Rollover::Reset => "reset",
        }
        .to_owned(),
        lifetime_days: price.lifetime_days,
    }
}

#[OpenApi]
impl PlanApi {
    /// List the plans
    ///
    /// Every plan with the prices at which it can be bought. Needs no API key.
    #[oai(path = "/api/v1/plans", method = "get", operation_id = "list_plans", tag = "Tag::Billing")]
    async fn list(&self, app: Data<&Arc<App>>) -> Result<Json<PlanList>, ApiError> {
        let catalogue = app.config.catalogue.now();
        Ok(Json(PlanList { data: catalogue.plans.iter().map(|plan| plan_body(&catalogue, plan)).collect() }))
    }
}
