//! Changes of the subscription, and their preview.

use super::{ChangeResponse, change_response, find_current};
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::operation::{find_earlier, request_operation};
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use crate::sample;
use crate::write_limit::OPERATION_COST;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::operation::{Request, State};
use bursar_engine::domain::subscription::change::quantity_kept;
use bursar_engine::domain::subscription::{Change, ChangeRefusal, ChangeTime};
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::customer;
use bursar_engine::key::PriceKey;
use bursar_engine::usecase::handler::{ChangePreview, PreviewError, preview_change};
use bursar_engine::usecase::price::check_change;
use poem::web::Data;
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use std::sync::Arc;

/// Routes of changes.
pub struct SubscriptionChangeApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "preview_subscription_change",
        &[
            "card_paused",
            "change_pending",
            "charge_too_large",
            "grant_too_large",
            "invalid_quantity",
            "not_found",
            "not_subscribed",
            "payment_method_missing",
            "payment_unavailable",
            "prices_changing",
            "period_refunded",
            "period_unpaid",
            "price_currency_differs",
            "price_not_offered",
            "rate_limited",
            "stripe_not_configured",
            "stripe_unavailable",
            "subscription_ending",
            "subscription_inactive",
            "subscription_paid_elsewhere",
            "subscription_unchanged",
        ],
    ),
    OperationDoc::new(
        "change_subscription",
        &[
            "address_unconfirmed",
            "card_paused",
            "change_pending",
            "charge_too_large",
            "customer_suspended",
            "grant_too_large",
            "invalid_quantity",
            "not_found",
            "not_subscribed",
            "payment_declined",
            "payment_method_missing",
            "payment_unavailable",
            "prices_changing",
            "period_refunded",
            "period_unpaid",
            "price_currency_differs",
            "price_not_offered",
            "rate_limited",
            "refused_by_stripe",
            "stripe_unavailable",
            "subscription_ending",
            "subscription_inactive",
            "subscription_paid_elsewhere",
            "subscription_unchanged",
        ],
    ),
];

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, serde::Serialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum When {
    /// At once. A new period begins, and is paid less what is left of the present one. Not possible where money of the
    /// present one was given back.
    Now,
    /// With the end of the present period.
    PeriodEnd,
}

/// What the subscription is to sell.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct ChangeRequest {
    /// The key of the price, as `GET /api/v1/plans` lists them. The present one, for another number of seats: it keeps
    /// its amount and terms unless `present_terms` says otherwise.
    price: Text,
    /// The number of seats, 1 to 100000, of a price that is sold by seat; the present number if not given.
    quantity: Option<i64>,
    /// When the change takes effect.
    when: When,
    /// Whether the subscription, if it has this price already, takes it on the terms on which it is sold now, as
    /// `GET /api/v1/plans` has them. If not, it keeps the amount and the terms on which it was bought. Another price is
    /// always taken on its present terms.
    #[oai(skip_serializing_if_is_none)]
    present_terms: Option<bool>,
}

impl Example for ChangeRequest {
    fn example() -> Self {
        Self { price: "pro_monthly".into(), quantity: None, when: When::Now, present_terms: None }
    }
}

impl ChangeRequest {
    /// The change that is asked for. Seats that it does not name stay as they are.
    async fn change(&self, app: &App, customer: &CustomerId) -> Result<Change, ApiError> {
        let price = PriceKey::parse(self.price.0.as_str());
        let price = price.ok_or_else(|| refused(&not_offered()))?;
        let when = match self.when {
            When::Now => ChangeTime::Now,
            When::PeriodEnd => ChangeTime::PeriodEnd,
        };
        let quantity = match self.quantity {
            Some(quantity) => quantity,
            None => {
                let row = find_current(app, customer).await?;
                quantity_kept(row.as_ref(), &app.config.catalogue.now(), &price)
            }
        };
        Ok(Change { price, quantity, when, present_terms: self.present_terms.unwrap_or(false) })
    }
}

/// What a change costs and brings.
#[derive(Debug, Object)]
#[oai(example)]
struct PreviewBody {
    /// The key of the price from then on.
    price: String,
    /// The key of its plan.
    plan: String,
    /// How many of the price.
    quantity: i64,
    /// When the change takes effect; absent if it does at once.
    #[oai(skip_serializing_if_is_none)]
    takes_effect_at: Option<String>,
    /// What is charged at once, in minor units: the new period, less what is left of the present one and what Stripe
    /// owes the customer. Automatic top-up adds nothing to it: credits that the change takes are not bought back.
    due_now_minor: i64,
    /// What is left of the present period beyond the price of the new one, in minor units. It pays later invoices.
    credited_minor: i64,
    /// ISO 4217 code of all amounts.
    currency: String,
    /// The credits that the change brings at once: those of the new period, less those of the time that is left of the
    /// present one. Negative if more go than come.
    credits_now: i64,
    /// Credits that come later within the new period, of a price that grants them monthly.
    credits_later: i64,
    /// When the next period begins.
    next_at: Option<String>,
    /// What it costs, in minor units, as far as can be told.
    next_amount_minor: i64,
    /// What it brings.
    next_credits: i64,
}

impl Example for PreviewBody {
    fn example() -> Self {
        Self {
            price: "team_monthly".to_owned(),
            plan: "team".to_owned(),
            quantity: 1,
            takes_effect_at: None,
            due_now_minor: 169_950,
            credited_minor: 0,
            currency: "usd".to_owned(),
            credits_now: 220,
            credits_later: 0,
            next_at: sample::text(sample::MONTH_LATER),
            next_amount_minor: 199_900,
            next_credits: 250,
        }
    }
}

impl From<ChangePreview> for PreviewBody {
    fn from(preview: ChangePreview) -> Self {
        Self {
            price: preview.price.key.to_string(),
            plan: preview.price.plan.to_string(),
            quantity: preview.quantity,
            takes_effect_at: preview.takes_effect_at_ms.map(rfc3339),
            due_now_minor: preview.due.0,
            credited_minor: preview.credited.0,
            currency: preview.price.currency.as_str().to_owned(),
            credits_now: preview.credits.0,
            credits_later: preview.credits_later.0,
            next_at: preview.next_at_ms.map(rfc3339),
            next_amount_minor: preview.next_amount.0,
            next_credits: preview.next_credits.0,
        }
    }
}

fn not_offered() -> ChangeRefusal {
    ChangeRefusal { code: "price_not_offered", message: "There is no such price to subscribe to.".to_owned() }
}

fn refused(refusal: &ChangeRefusal) -> ApiError {
    ApiError::with_code(refusal.code, refusal.message.as_str())
}

impl From<PreviewError> for ApiError {
    fn from(error: PreviewError) -> Self {
        match error {
            PreviewError::Refused(refusal) => refused(&refusal),
            PreviewError::NotCharged(problem) => Self::not_charged(&problem),
            PreviewError::PriceMissing | PreviewError::Undecided => Self::price_missing(),
            PreviewError::Stripe(error) => error.into(),
            PreviewError::Engine(error) => error.into(),
        }
    }
}

impl SubscriptionChangeApi {
    /// Makes the request to change the subscription, if it can be. What it needs of whoever pays is decided in its
    /// turn, before Stripe is asked for it: what the subscription costs is up to its price there.
    async fn change_request(&self, app: &App, customer: &CustomerId, change: Change) -> Result<Request, ApiError> {
        let row = find_current(app, customer).await?;
        let catalogue = app.config.catalogue.now();
        let checked = check_change(app.db.read(), row.as_ref(), &catalogue, &change).await?;
        checked.map_err(|refusal| refused(&refusal))?;
        let row = row.ok_or(Error::NotFound("subscription"))?;
        Ok(Request::SubscriptionChange { subscription_id: row.id, change, payer: None })
    }
}

#[OpenApi]
impl SubscriptionChangeApi {
    /// Preview a change of the subscription
    ///
    /// What the change would cost and bring if it were made now: the amounts by Stripe, from the same parameters as the
    /// change, and the credits by the same rules. Nothing changes. Prorations count by the second, so the change itself
    /// may differ by little.
    #[oai(
        path = "/api/v1/subscription/preview",
        method = "post",
        operation_id = "preview_subscription_change",
        tag = "Tag::Billing"
    )]
    async fn preview(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        body: Json<ChangeRequest>,
    ) -> Result<Json<PreviewBody>, ApiError> {
        let change = body.0.change(&app, &auth.0).await?;
        let now_ms = app.clock.now_ms();
        // It asks Stripe several times.
        let _read = app.stripe_reads.begin(&auth.0)?;
        let _cost = app.write_limits.writes.take(&auth.0, OPERATION_COST).await?;
        let found = customer::customer_find(app.db.read(), &auth.0).await?.ok_or(Error::NotFound("customer"))?;
        let deps = app.runtime.handlers.for_caller(auth.0.as_str());
        let preview = preview_change(&deps, &found, &change, now_ms).await?;
        Ok(Json(preview.into()))
    }

    /// Change the subscription
    ///
    /// To another price or another number of seats. `now`: a new period begins and is paid at once, less what is left
    /// of the present one; if the payment fails, nothing changes (402 `payment_declined`). The credits of the new
    /// period come at once, and those of the time that is left of the old one go. `period_end`: nothing changes before
    /// the end of the period; `POST /api/v1/subscription/resume` takes the change back. In a trial a change is made
    /// now, and nothing is charged before the trial's end.
    ///
    /// What costs more than before is charged to the customer's default payment method, which it must have (402
    /// `payment_method_missing`). Whoever bought the subscription elsewhere is not charged more from here (409
    /// `subscription_paid_elsewhere`). Time whose money was refunded or is disputed is not credited (409
    /// `period_refunded`), nor is more than was paid for it, as long as an invoice of the period is open, say (409
    /// `period_unpaid`). Then a change `now` is refused, and one with the end of the period is possible. The preview
    /// answers the same.
    #[oai(
        path = "/api/v1/subscription/change",
        method = "post",
        operation_id = "change_subscription",
        tag = "Tag::Billing"
    )]
    async fn change(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<ChangeRequest>,
    ) -> Result<ChangeResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash("subscription_change", &body.0);
        let change = body.0.change(&app, &auth.0).await?;
        let request = match find_earlier(&app, &auth.0, &key, &hash).await? {
            Some(known) if known.state != State::Failed => known.request,
            _ => self.change_request(&app, &auth.0, change).await?,
        };
        let outcome = request_operation(&app, &auth.0, request, &key, &hash).await?;
        change_response(&app, &auth.0, outcome).await
    }
}
