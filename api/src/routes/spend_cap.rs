//! Spend caps: how much may be charged for credits a day and a month.

use super::Tag;
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use bursar_engine::amount::MoneyMinor;
use bursar_engine::clock::{TimeMs, rfc3339};
use bursar_engine::domain::charge::cap::{PerSpan, Span};
use bursar_engine::usecase::spend_cap::{self, CapStanding, CapStandings};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of spend caps.
pub struct SpendCapApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] =
    &[OperationDoc::new("get_spend_caps", &[]), OperationDoc::new("set_spend_caps", &["invalid_spend_cap"])];

/// The caps that the customer sets for itself.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct SpendCapsRequest {
    /// The most that may be charged in a calendar day in UTC, in minor units; no own cap if it is null or left out.
    day_minor: Option<i64>,
    /// The same for a calendar month.
    month_minor: Option<i64>,
}

impl Example for SpendCapsRequest {
    fn example() -> Self {
        Self { day_minor: Some(10_000), month_minor: None }
    }
}

/// A customer's spend caps. Charges for units, packs and top-ups count, subscriptions do not. A cap is a number that
/// holds in each currency by itself, without conversion.
#[derive(Debug, Object)]
#[oai(example)]
pub(in crate::routes) struct SpendCapsBody {
    /// ISO 4217 code of the amounts of `day` and `month`: the currency of units.
    currency: String,
    /// Of the present calendar day in UTC.
    day: SpendCapBody,
    /// Of the present calendar month in UTC.
    month: SpendCapBody,
    /// The same in each other currency in which something was charged in the present month.
    other_currencies: Vec<OtherCurrencyBody>,
}

/// A customer's spend caps in another currency than that of units.
#[derive(Debug, Object)]
pub(in crate::routes) struct OtherCurrencyBody {
    /// ISO 4217 code of the amounts.
    currency: String,
    /// Of the present calendar day in UTC.
    day: SpendCapBody,
    /// Of the present calendar month in UTC.
    month: SpendCapBody,
}

/// The cap of a day or a month, in minor units.
#[derive(Debug, Object)]
pub(in crate::routes) struct SpendCapBody {
    /// The cap that counts: the lower one of the next two; null for no cap.
    cap_minor: Option<i64>,
    /// The customer's own cap.
    own_minor: Option<i64>,
    /// The highest own cap, set by the plan or by support; null for no limit.
    highest_minor: Option<i64>,
    /// What support set in place of the plan's.
    support_minor: Option<i64>,
    /// What was charged, and what charges under way may still take.
    charged_minor: i64,
    /// What may still be charged; null for no limit.
    left_minor: Option<i64>,
    /// When it starts anew.
    until: String,
}

impl SpendCapBody {
    fn new(standing: &CapStanding, span: Span, now_ms: TimeMs) -> Self {
        let (caps, charged) = (&standing.caps, standing.charged.get(span));
        let cap = caps.effective(span);
        Self {
            cap_minor: cap.map(|cap| cap.0),
            own_minor: caps.own.get(span).map(|cap| cap.0),
            highest_minor: caps.highest(span).map(|cap| cap.0),
            support_minor: caps.staff.get(span).map(|cap| cap.0),
            charged_minor: charged.0,
            left_minor: cap.map(|cap| (cap - charged).max(MoneyMinor::ZERO).0),
            until: rfc3339(span.around(now_ms).1),
        }
    }
}

impl SpendCapsBody {
    pub(in crate::routes) fn new(standings: &CapStandings, now_ms: TimeMs) -> Self {
        let of = |standing: &CapStanding| OtherCurrencyBody {
            currency: standing.currency.to_string(),
            day: SpendCapBody::new(standing, Span::Day, now_ms),
            month: SpendCapBody::new(standing, Span::Month, now_ms),
        };
        let OtherCurrencyBody { currency, day, month } = of(&standings.main);
        Self { currency, day, month, other_currencies: standings.others.iter().map(of).collect() }
    }
}

impl Example for SpendCapsBody {
    fn example() -> Self {
        let of = |cap: i64, own: Option<i64>, highest: Option<i64>, until: &str| SpendCapBody {
            cap_minor: Some(cap),
            own_minor: own,
            highest_minor: highest,
            support_minor: None,
            charged_minor: 2_900,
            left_minor: Some(cap - 2_900),
            until: until.to_owned(),
        };
        Self {
            currency: "usd".to_owned(),
            day: of(10_000, Some(10_000), None, "2026-11-23T00:00:00.000Z"),
            month: of(100_000, None, Some(100_000), "2026-12-01T00:00:00.000Z"),
            other_currencies: Vec::new(),
        }
    }
}

#[OpenApi]
impl SpendCapApi {
    /// My spend caps
    ///
    /// How much may be charged for credits a day and a month, what was charged, and what is left. A cap holds in each
    /// currency by itself: what is charged in a currency counts against the same number in that currency.
    #[oai(path = "/api/v1/spend-caps", method = "get", operation_id = "get_spend_caps", tag = "Tag::Billing")]
    async fn get(&self, app: Data<&Arc<App>>, auth: CustomerAuth) -> Result<Json<SpendCapsBody>, ApiError> {
        let (catalogue, now_ms) = (app.config.catalogue.now(), app.clock.now_ms());
        let standings = spend_cap::read(app.db.read(), &auth.0, &catalogue, now_ms).await?;
        Ok(Json(SpendCapsBody::new(&standings, now_ms)))
    }

    /// Set my spend caps
    ///
    /// Sets both caps, in the currency of units; the same numbers hold in every other currency. They may be lower than
    /// what the plan or support allow, and hold for the next charge. A charge that would exceed one is refused with 402
    /// `spend_cap_reached`; without a `retry_at`, it is more than the whole cap.
    #[oai(path = "/api/v1/spend-caps", method = "put", operation_id = "set_spend_caps", tag = "Tag::Billing")]
    async fn set(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        body: Json<SpendCapsRequest>,
    ) -> Result<Json<SpendCapsBody>, ApiError> {
        let (catalogue, now_ms) = (app.config.catalogue.now(), app.clock.now_ms());
        let new = PerSpan { day: body.0.day_minor.map(MoneyMinor), month: body.0.month_minor.map(MoneyMinor) };
        let standings = spend_cap::set_own(&app.db, &auth.0, new, &catalogue, now_ms).await?;
        Ok(Json(SpendCapsBody::new(&standings, now_ms)))
    }
}
