//! Support: prices at Stripe, and the decision whether they are ours.

use super::reason::check_reason;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::Tag;
use crate::routes::page::{PageQuery, page};
use crate::routes::text::Text;
use crate::sample;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::sale::{Decision, KnownPrice};
use bursar_engine::infra::store::price::{price_find_many, price_list};
use bursar_engine::key::PriceKey;
use bursar_engine::stripe_id::is_stripe_id;
use bursar_engine::usecase::price::{PriceDecision, check_decision, decide};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Routes of prices at Stripe for staff.
pub struct AdminPriceApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_prices", &[]),
    OperationDoc::new("admin_get_price", &["not_found"]),
    OperationDoc::new(
        "admin_decide_price",
        &[
            "catalogue_price_unknown",
            "invalid_decision",
            "invalid_reason",
            "not_found",
            "price_in_use",
            "stripe_price_differs",
            "stripe_price_unknown",
            "stripe_unavailable",
        ],
    ),
];

/// What a price at Stripe sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum PriceDecisionBody {
    /// A price of the catalogue.
    Ours,
    /// Other business.
    NotOurs,
    /// It may be ours, and a person must decide.
    Undecided,
}

impl PriceDecisionBody {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::NotOurs => "not_ours",
            Self::Undecided => "undecided",
        }
    }
}

impl From<&Decision> for PriceDecisionBody {
    fn from(decision: &Decision) -> Self {
        match decision {
            Decision::Ours(_) => Self::Ours,
            Decision::NotOurs => Self::NotOurs,
            Decision::Undecided => Self::Undecided,
        }
    }
}

/// A price at Stripe that was seen.
#[derive(Debug, Object)]
#[oai(example)]
struct StripePriceBody {
    /// Its id at Stripe.
    id: String,
    /// What it sells.
    decision: PriceDecisionBody,
    /// The key of the catalogue's price, if it is ours.
    price: Option<String>,
    /// Who or what decided: `catalogue`, `lookup_key`, `tag`, `product`, `sold`, `operator` or `nothing`.
    decided_by: String,
    /// What is unclear, or the reason that support gave.
    reason: Option<String>,
    /// What one costs, in minor units, if it is known.
    amount_minor: Option<i64>,
    /// ISO 4217 code, if it is known.
    currency: Option<String>,
    /// How long a period is, such as `month` or `2 weeks`; null if it is not known or the price is paid once.
    every: Option<String>,
    /// Its product at Stripe, if it is known.
    product_id: Option<String>,
    /// Its lookup key, if it has one.
    lookup_key: Option<String>,
    /// Its metadata.
    metadata: BTreeMap<String, String>,
    /// When it was first seen.
    first_seen_at: String,
    /// When it was decided.
    decided_at: String,
}

impl Example for StripePriceBody {
    fn example() -> Self {
        Self {
            id: sample::PRICE.to_owned(),
            decision: PriceDecisionBody::Undecided,
            price: None,
            decided_by: "product".to_owned(),
            reason: sample::text(
                "its product is one that we sell, and it costs 49900 usd each month, which is no price of the \
                 catalogue",
            ),
            amount_minor: Some(49_900),
            currency: sample::text("usd"),
            every: sample::text("month"),
            product_id: sample::text("prod_NWjs8kKbJWmuuc"),
            lookup_key: None,
            metadata: BTreeMap::new(),
            first_seen_at: sample::AT.to_owned(),
            decided_at: sample::AT.to_owned(),
        }
    }
}

impl From<KnownPrice> for StripePriceBody {
    fn from(price: KnownPrice) -> Self {
        Self {
            decision: (&price.decision).into(),
            price: price.decision.price().map(ToString::to_string),
            id: price.id,
            decided_by: price.decided_by.as_str().to_owned(),
            reason: price.reason,
            amount_minor: price.amount.map(|amount| amount.0),
            currency: price.currency,
            every: price.every,
            product_id: price.product_id,
            lookup_key: price.lookup_key,
            metadata: price.metadata,
            first_seen_at: rfc3339(price.first_seen_ms),
            decided_at: rfc3339(price.decided_at_ms),
        }
    }
}

page! {
    /// A page of prices, by id.
    StripePricePage of StripePriceBody
}

/// One price at Stripe.
#[derive(Debug, Object)]
#[oai(example)]
struct StripePriceDetail {
    /// The price.
    price: StripePriceBody,
}

impl StripePriceDetail {
    fn of(price: KnownPrice) -> Json<Self> {
        Json(Self { price: price.into() })
    }
}

impl Example for StripePriceDetail {
    fn example() -> Self {
        Self { price: StripePriceBody::example() }
    }
}

/// A decision about a price at Stripe.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct PriceDecisionRequest {
    /// What it sells. `undecided` takes an earlier decision back: the rules decide again.
    decision: PriceDecisionBody,
    /// With `ours`, and only then: the key of the catalogue's price.
    price: Option<Text>,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for PriceDecisionRequest {
    fn example() -> Self {
        Self {
            decision: PriceDecisionBody::Ours,
            price: Some("pro_monthly".into()),
            reason: "the price of 2024, ticket 4711".into(),
        }
    }
}

impl PriceDecisionRequest {
    fn decision(&self) -> Result<Decision, ApiError> {
        match (self.decision, &self.price) {
            (PriceDecisionBody::Ours, Some(key)) => match PriceKey::parse(&key.0) {
                Some(key) => Ok(Decision::Ours(key)),
                None => Err(ApiError::bad_request("invalid_decision", "price must be the key of a price.")),
            },
            (PriceDecisionBody::NotOurs, None) => Ok(Decision::NotOurs),
            (PriceDecisionBody::Undecided, None) => Ok(Decision::Undecided),
            (PriceDecisionBody::Ours, None) | (PriceDecisionBody::NotOurs | PriceDecisionBody::Undecided, Some(_)) => {
                let detail = "price, the key of the catalogue's price, goes with the decision ours and no other.";
                Err(ApiError::bad_request("invalid_decision", detail))
            }
        }
    }
}

/// The id of a price in a path. What no id of Stripe can be counts as unknown.
fn price_id(text: String) -> Result<String, ApiError> {
    if is_stripe_id(&text) { Ok(text) } else { Err(Error::NotFound("price").into()) }
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminPriceApi {
    /// Find prices at Stripe
    ///
    /// Every price that an invoice or a subscription named, with what it sells. Those that are `undecided` wait for a
    /// person: events with them are dead with `price_unknown`.
    #[oai(path = "/admin/v1/prices", method = "get", operation_id = "admin_list_prices")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only prices with this decision.
        decision: Query<Option<PriceDecisionBody>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<StripePricePage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let decision = decision.0.map(PriceDecisionBody::as_str);
        let found = price_list(app.db.read(), page.cursor.as_deref(), decision, page.rows_to_query()).await?;
        Ok(page.answer(found, |price| price.id.clone(), StripePriceBody::from))
    }

    /// Look at a price at Stripe
    ///
    /// What Stripe said of it when it was last seen, what it sells, and who or what decided that.
    #[oai(path = "/admin/v1/prices/:id", method = "get", operation_id = "admin_get_price")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// The price's id at Stripe.
        id: Path<String>,
    ) -> Result<Json<StripePriceDetail>, ApiError> {
        let found = price_find_many(app.db.read(), &[price_id(id.0)?]).await?.pop();
        Ok(StripePriceDetail::of(found.ok_or(Error::NotFound("price"))?))
    }

    /// Decide what a price at Stripe sells
    ///
    /// Counts before everything that Stripe and the catalogue say of it, also for a price that was never seen,
    /// if Stripe has it. Then replay the events that are dead with `price_unknown`. Months of a year that wait for the
    /// decision come at once. Credits that were granted stay.
    ///
    /// Events of a price that was other business until now are processed, and no replay brings what they left out:
    /// compare its customers with Stripe, each by `customer_id` or all with `full`.
    ///
    /// Nobody is to be charged for nothing: 409 `price_in_use` while the catalogue sells by the price, or while an open
    /// subscription has it.
    #[oai(path = "/admin/v1/prices/:id/decision", method = "post", operation_id = "admin_decide_price")]
    async fn decide(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The price's id at Stripe.
        id: Path<String>,
        body: Json<PriceDecisionRequest>,
    ) -> Result<Json<StripePriceDetail>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let (id, decision) = (price_id(id.0)?, body.0.decision()?);
        check_decision(&app.for_support(), &id, &decision).await?;
        let decided = PriceDecision { id: &id, decision, reason: &reason, actor: &auth.0.actor };
        let (price, wakes) = decide(&app.for_support(), &decided, app.clock.now_ms()).await?;
        app.runtime.dispatcher.announce(wakes);
        Ok(StripePriceDetail::of(price))
    }
}
