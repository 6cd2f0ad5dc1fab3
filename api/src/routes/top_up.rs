//! Automatic top-ups: credits that are bought by themselves when few are left.

use super::Tag;
use super::text::Text;
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use bursar_engine::amount::{Credits, MoneyMinor};
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::operation::TopUpTerms;
use bursar_engine::key::PackKey;
use bursar_engine::usecase::top_up::{self, Set, TopUpView};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of automatic top-ups.
pub struct TopUpApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("get_auto_top_up", &[]),
    OperationDoc::new(
        "set_auto_top_up",
        &[
            "address_unconfirmed",
            "charge_too_large",
            "invalid_auto_top_up",
            "pack_not_offered",
            "payment_method_missing",
            "plan_without_unit_price",
            "top_up_exceeds_cap",
        ],
    ),
];

/// When credits are bought automatically, and how many. To turn it off, `enabled` is enough, and the rest stays as it
/// was set.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct TopUpRequest {
    /// Whether credits are bought automatically.
    enabled: bool,
    /// Below this number of available credits, some are bought; 1 to 1000000. Required to turn it on.
    threshold: Option<i64>,
    /// So many are bought, by one charge, that at least this number is available; from `threshold` to 1000000. Required
    /// to turn it on.
    target: Option<i64>,
    /// The key of the pack that is bought, as often as needed; single units at the plan's price if not given.
    pack: Option<Text>,
    /// The most that automatic top-ups may cost in a calendar month in UTC, in minor units of the currency of what is
    /// bought. Spend caps apply besides.
    month_cap_minor: Option<i64>,
}

impl Example for TopUpRequest {
    fn example() -> Self {
        Self { enabled: true, threshold: Some(5), target: Some(20), pack: None, month_cap_minor: Some(300_000) }
    }
}

impl TopUpRequest {
    /// What is bought, and when; `None` if the request only turns it off.
    fn terms(&self) -> Result<Option<TopUpTerms>, ApiError> {
        let (threshold, target) = match (self.threshold, self.target) {
            (Some(threshold), Some(target)) => (threshold, target),
            (None, None) if !self.enabled && self.pack.is_none() && self.month_cap_minor.is_none() => return Ok(None),
            _ => {
                let detail = "Send threshold and target. Only enabled: false, which turns it off, needs nothing else.";
                return Err(ApiError::with_code("invalid_auto_top_up", detail));
            }
        };
        let pack = self.pack.as_ref().map(|key| PackKey::parse(&key.0));
        if pack == Some(None) {
            return Err(ApiError::with_code("pack_not_offered", "There is no such pack to buy."));
        }
        Ok(Some(TopUpTerms {
            threshold: Credits(threshold),
            target: Credits(target),
            pack: pack.flatten(),
            cap_month: self.month_cap_minor.map(MoneyMinor),
        }))
    }
}

/// When credits are bought automatically, and how many.
#[derive(Debug, Object)]
#[oai(example)]
pub(in crate::routes) struct TopUpBody {
    /// `off`, `on`, `waiting` for a cap that is reached, a card that was declined before, another purchase or credits
    /// that are spent, or `stopped` by itself because a charge failed or a payment was given back.
    state: String,
    /// Below this number of available credits, some are bought; null if nothing was ever set.
    threshold: Option<i64>,
    /// At least this number is available afterwards.
    target: Option<i64>,
    /// The pack that is bought; null for single units.
    pack: Option<String>,
    /// The most that automatic top-ups may cost in a calendar month in UTC, in minor units; null for no cap of their
    /// own.
    month_cap_minor: Option<i64>,
    /// What they have cost in this month, and one under way may still cost, in minor units.
    month_charged_minor: i64,
    /// ISO 4217 code of the amounts.
    currency: String,
    /// Why it waits or was stopped.
    #[oai(skip_serializing_if_is_none)]
    problem: Option<TopUpProblem>,
    /// Until when it waits.
    #[oai(skip_serializing_if_is_none)]
    waits_until: Option<String>,
}

/// Why automatic top-ups wait or were stopped.
#[derive(Debug, Object)]
struct TopUpProblem {
    /// `card_declined`, `spend_cap_reached`, `payment_returned` (a payment was refunded or disputed, and its credits
    /// were taken back), `credits_taken` (few are left because some expired or were taken, and not because they were
    /// spent), `purchase_waits` (for its authentication) …
    code: String,
    /// A description for people.
    detail: String,
}

impl TopUpBody {
    pub(in crate::routes) fn new(view: &TopUpView) -> Self {
        let setting = view.standing.setting.as_ref();
        let problem = setting.and_then(|setting| setting.stopped.as_ref());
        let state = match setting {
            Some(setting) if setting.is_on && (setting.waits_until_ms.is_some() || problem.is_some()) => "waiting",
            Some(setting) if setting.is_on => "on",
            Some(_) if problem.is_some() => "stopped",
            _ => "off",
        };
        let terms = setting.map(|setting| &setting.terms);
        Self {
            state: state.to_owned(),
            threshold: terms.map(|terms| terms.threshold.0),
            target: terms.map(|terms| terms.target.0),
            pack: terms.and_then(|terms| terms.pack.as_ref()).map(ToString::to_string),
            month_cap_minor: terms.and_then(|terms| terms.cap_month).map(|cap| cap.0),
            month_charged_minor: view.standing.charged.0,
            currency: view.currency.to_string(),
            problem: problem
                .map(|problem| TopUpProblem { code: problem.code.clone(), detail: problem.message.clone() }),
            waits_until: setting.and_then(|setting| setting.waits_until_ms).map(rfc3339),
        }
    }
}

impl Example for TopUpBody {
    fn example() -> Self {
        Self {
            state: "on".to_owned(),
            threshold: Some(5),
            target: Some(20),
            pack: None,
            month_cap_minor: Some(300_000),
            month_charged_minor: 116_000,
            currency: "usd".to_owned(),
            problem: None,
            waits_until: None,
        }
    }
}

#[OpenApi]
impl TopUpApi {
    /// My automatic top-up
    ///
    /// When credits are bought automatically, how many, and why not if it waits or was stopped.
    #[oai(path = "/api/v1/credits/auto-top-up", method = "get", operation_id = "get_auto_top_up", tag = "Tag::Billing")]
    async fn get(&self, app: Data<&Arc<App>>, auth: CustomerAuth) -> Result<Json<TopUpBody>, ApiError> {
        let view = top_up::read(&app.db, &auth.0, &app.config.catalogue.now(), app.clock.now_ms()).await?;
        Ok(Json(TopUpBody::new(&view)))
    }

    /// Set my automatic top-up
    ///
    /// Within seconds after the customer has spent or reserved credits so that fewer than `threshold` are available,
    /// one charge closes the gap to `target`: a sweep looks for such customers every 3 s. Units that are used meanwhile
    /// cost what units cost; a pack is bought for what it costs then. Credits that expire, that a change of plan, a
    /// refund or support takes are not bought back: the next top-up follows credits that are spent, within the credit
    /// limit, and a debt is not paid. This request itself buys at once if few are available, and pays a debt. A top-up
    /// obeys the rules of all charges. A charge that fails turns it off, and so does a refund or a dispute that takes
    /// credits back, of whichever payment. A reached cap makes it wait until the cap starts anew, and a card that was
    /// declined for something else until it is tried again. Each of these is mailed once. This request turns it on
    /// again, and ends a wait. A payment that requires authentication counts as failed, because nobody is there to
    /// authenticate it; so does a charge that is more than a whole cap, because waiting would not help. Terms on which
    /// no top-up could keep to a cap are refused: 422 `top_up_exceeds_cap`. `{"enabled": false}` turns it off and keeps
    /// the rest.
    #[oai(path = "/api/v1/credits/auto-top-up", method = "put", operation_id = "set_auto_top_up", tag = "Tag::Billing")]
    async fn set(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        body: Json<TopUpRequest>,
    ) -> Result<Json<TopUpBody>, ApiError> {
        let (config, catalogue) = (&app.config.credits, app.config.catalogue.now());
        let now_ms = app.clock.now_ms();
        match body.0.terms()? {
            None => top_up::turn_off(&app.db, &auth.0, now_ms).await?,
            Some(terms) => {
                let asked = (body.0.enabled, &terms);
                match top_up::set(&app.db, &auth.0, asked, (config, &catalogue), now_ms).await? {
                    Set::Stored(wakes) => app.runtime.dispatcher.announce(wakes),
                    Set::Refused(problem) if problem.code == "payment_method_gone" => {
                        return Err(ApiError::with_code("payment_method_missing", problem.message));
                    }
                    Set::Refused(problem) => return Err(ApiError::not_charged(&problem)),
                }
            }
        }
        let view = top_up::read(&app.db, &auth.0, &catalogue, now_ms).await?;
        Ok(Json(TopUpBody::new(&view)))
    }
}
