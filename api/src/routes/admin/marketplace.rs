//! Purchases on GitHub Marketplace and their customers, for staff and for the company's own site.

use super::reason::check_reason;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::page::{PageQuery, page};
use crate::routes::path_id::parse_id;
use crate::routes::text::Text;
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::Error;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::catalogue::Catalogue;
use bursar_engine::domain::marketplace::{Correction, ListingPlan, MarketplaceAccount, PurchaseState};
use bursar_engine::infra::store::marketplace::{MarketplaceFilter, marketplace_find, marketplace_list};
use bursar_engine::usecase::marketplace::correct::correct;
use bursar_engine::usecase::marketplace::link;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use std::sync::Arc;

/// Routes of purchases on GitHub Marketplace.
pub struct AdminMarketplaceApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_list_marketplace_accounts", &[]),
    OperationDoc::new("admin_get_marketplace_account", &["not_found"]),
    OperationDoc::new(
        "admin_link_marketplace_account",
        &["invalid_reason", "marketplace_account_linked", "marketplace_customer_linked", "not_found"],
    ),
    OperationDoc::new(
        "admin_correct_marketplace_account",
        &["effective_date_required", "invalid_date", "invalid_reason", "marketplace_not_purchased", "not_found"],
    ),
    OperationDoc::new("admin_create_marketplace_link_token", &["marketplace_account_linked", "not_found"]),
];

/// The state of a purchase.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case", remote = "PurchaseState")]
enum MarketplaceState {
    /// Only a future change was reported so far.
    Announced,
    /// It is active.
    Purchased,
    /// It has ended.
    Cancelled,
}

/// A plan of the listing.
#[derive(Debug, Object)]
struct MarketplacePlanBody {
    /// GitHub's id of the plan.
    id: i64,
    /// Its name in the listing.
    name: String,
    /// The key of the plan that it stands for; null if it is not configured.
    plan: Option<String>,
}

impl From<&ListingPlan> for MarketplacePlanBody {
    fn from(plan: &ListingPlan) -> Self {
        Self { id: plan.id, name: plan.name.clone(), plan: plan.plan.as_ref().map(ToString::to_string) }
    }
}

/// An announced change.
#[derive(Debug, Object)]
struct MarketplacePendingBody {
    /// When it takes effect.
    at: String,
    /// The plan from then on; null if the purchase ends.
    plan: Option<MarketplacePlanBody>,
}

/// The purchase of one GitHub account.
#[derive(Debug, Object)]
#[oai(example)]
struct MarketplaceAccountBody {
    /// GitHub's id of the account.
    github_account_id: i64,
    /// Its name at GitHub, as last reported.
    login: String,
    /// `User` or `Organization`.
    account_type: String,
    /// An organisation's billing address.
    email: Option<String>,
    /// The state of the purchase.
    state: MarketplaceState,
    /// The active plan, or the last one.
    plan: MarketplacePlanBody,
    /// `monthly` or `yearly`; null for a free plan.
    billing_cycle: Option<String>,
    /// Units bought, if the plan is sold by the unit.
    unit_count: i64,
    /// Whether it is a free trial.
    on_free_trial: bool,
    /// When the free trial ends.
    free_trial_ends_at: Option<String>,
    /// The next billing date, as GitHub last reported.
    next_billing_at: Option<String>,
    /// Since when it has this state; null while it is only announced.
    effective_at: Option<String>,
    /// The announced change.
    pending: Option<MarketplacePendingBody>,
    /// When the next credits are granted: those of a purchase at once, those of each billing date
    /// `marketplace.renewal_grace_hours` later, unless the purchase has ended by then.
    next_credits_at: Option<String>,
    /// The end of the last period whose credits were granted.
    credits_until: Option<String>,
    /// The customer that it is linked to.
    customer_id: Option<String>,
    /// When it was linked.
    linked_at: Option<String>,
    /// When it was first reported.
    created_at: String,
    /// When it last changed.
    updated_at: String,
}

impl Example for MarketplaceAccountBody {
    fn example() -> Self {
        Self {
            github_account_id: 18_404_719,
            login: "example-org".to_owned(),
            account_type: "Organization".to_owned(),
            email: sample::text(sample::EMAIL),
            state: MarketplaceState::Purchased,
            plan: MarketplacePlanBody { id: 1_313, name: "Pro".to_owned(), plan: sample::text("pro") },
            billing_cycle: sample::text("monthly"),
            unit_count: 1,
            on_free_trial: false,
            free_trial_ends_at: None,
            next_billing_at: sample::text(sample::MONTH_LATER),
            effective_at: sample::text(sample::AT),
            pending: None,
            next_credits_at: sample::text(sample::MONTH_LATER),
            credits_until: sample::text(sample::MONTH_LATER),
            customer_id: sample::text(sample::CUSTOMER),
            linked_at: sample::text(sample::AT),
            created_at: sample::AT.to_owned(),
            updated_at: sample::AT.to_owned(),
        }
    }
}

impl MarketplaceAccountBody {
    fn of(account: &MarketplaceAccount, catalogue: &Catalogue, app: &App) -> Self {
        let grace_ms = app.config.marketplace.renewal_grace_ms();
        let pending = account.announced_change().map(|pending| MarketplacePendingBody {
            at: rfc3339(pending.at_ms),
            plan: pending.plan.as_ref().map(MarketplacePlanBody::from),
        });
        Self {
            github_account_id: account.github_account_id,
            login: account.login.clone(),
            account_type: account.account_type.clone(),
            email: account.email.clone(),
            state: account.state.into(),
            plan: MarketplacePlanBody::from(&account.plan),
            billing_cycle: account.billing_cycle.clone(),
            unit_count: account.unit_count,
            on_free_trial: account.on_free_trial,
            free_trial_ends_at: account.free_trial_ends_ms.map(rfc3339),
            next_billing_at: account.next_billing_ms.map(rfc3339),
            effective_at: (account.state != PurchaseState::Announced).then(|| rfc3339(account.effective_ms)),
            pending,
            next_credits_at: account.next_period(catalogue, grace_ms).map(|period| rfc3339(period.due_ms)),
            credits_until: account.granted_until_ms.map(rfc3339),
            customer_id: account.customer_id.as_ref().map(ToString::to_string),
            linked_at: account.linked_at_ms.map(rfc3339),
            created_at: rfc3339(account.created_at_ms),
            updated_at: rfc3339(account.updated_at_ms),
        }
    }
}

page! {
    /// A page of purchases, by GitHub's id of the account.
    MarketplaceAccountPage of MarketplaceAccountBody
}

/// One purchase.
#[derive(Debug, Object)]
#[oai(example)]
struct MarketplaceAccountDetail {
    /// The purchase.
    account: MarketplaceAccountBody,
}

impl MarketplaceAccountDetail {
    fn of(account: &MarketplaceAccount, app: &App) -> Json<Self> {
        Json(Self { account: MarketplaceAccountBody::of(account, &app.config.catalogue.now(), app) })
    }
}

impl Example for MarketplaceAccountDetail {
    fn example() -> Self {
        Self { account: MarketplaceAccountBody::example() }
    }
}

/// The customer to link a purchase to.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct MarketplaceLinkRequest {
    /// The customer.
    customer_id: Text,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for MarketplaceLinkRequest {
    fn example() -> Self {
        Self { customer_id: "cst_06h055fesprhr17icghjgpmuuk".into(), reason: "signed up before, ticket 4711".into() }
    }
}

/// The corrected state of a purchase.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename_all = "snake_case")]
enum MarketplaceCorrection {
    /// It is active.
    Purchased,
    /// It has ended.
    Cancelled,
}

impl From<MarketplaceCorrection> for PurchaseState {
    fn from(state: MarketplaceCorrection) -> Self {
        match state {
            MarketplaceCorrection::Purchased => Self::Purchased,
            MarketplaceCorrection::Cancelled => Self::Cancelled,
        }
    }
}

/// A correction of a purchase.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct MarketplaceCorrectionRequest {
    /// The correct state.
    state: MarketplaceCorrection,
    /// The day (UTC) from which the state applies, such as `2026-11-05`, not in the future. It may be omitted only if
    /// the order of the last events is unclear; it then defaults to the day of those events.
    effective_date: Option<Text>,
    /// The next billing date at GitHub; the known one if not given.
    next_billing_date: Option<Text>,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for MarketplaceCorrectionRequest {
    fn example() -> Self {
        Self {
            state: MarketplaceCorrection::Cancelled,
            effective_date: Some("2026-11-05".into()),
            next_billing_date: None,
            reason: "cancelled at GitHub, ticket 4711".into(),
        }
    }
}

/// A link token.
#[derive(Debug, Object)]
#[oai(example)]
struct MarketplaceLinkTokenBody {
    /// The token, shown only in this answer. It works once, as `marketplace_link` of a signup.
    token: String,
    /// When it expires.
    expires_at: String,
}

impl Example for MarketplaceLinkTokenBody {
    fn example() -> Self {
        Self { token: "mlt_…".to_owned(), expires_at: "2026-11-22T08:15:00.000Z".to_owned() }
    }
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminMarketplaceApi {
    /// Find purchases on GitHub Marketplace
    ///
    /// By GitHub's id of the account. A purchase without a customer waits for its buyer to sign up.
    #[oai(path = "/admin/v1/marketplace/accounts", method = "get", operation_id = "admin_list_marketplace_accounts")]
    #[allow(clippy::too_many_arguments)]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// Only purchases in this state.
        state: Query<Option<MarketplaceState>>,
        /// Only purchases that are linked to a customer, or only those that are not.
        linked: Query<Option<bool>>,
        /// Part of the account's name at GitHub.
        login: Query<Option<String>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<MarketplaceAccountPage>, ApiError> {
        let page = PageQuery::parse_numbered(cursor.0, limit.0)?;
        let filter = MarketplaceFilter { state: state.0.map(Into::into), is_linked: linked.0, login: login.0 };
        let after = page.cursor.unwrap_or(0);
        let found = marketplace_list(app.db.read(), &filter, after, page.rows_to_query()).await?;
        let key = |account: &MarketplaceAccount| account.github_account_id.to_string();
        let catalogue = app.config.catalogue.now();
        Ok(page.answer(found, key, |account| MarketplaceAccountBody::of(&account, &catalogue, &app)))
    }

    /// Look at a purchase on GitHub Marketplace
    ///
    /// Its state, its announced change, and the customer that it is linked to.
    #[oai(
        path = "/admin/v1/marketplace/accounts/:github_account_id",
        method = "get",
        operation_id = "admin_get_marketplace_account"
    )]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        _auth: AdminAuth,
        /// GitHub's id of the account.
        github_account_id: Path<i64>,
    ) -> Result<Json<MarketplaceAccountDetail>, ApiError> {
        let found = marketplace_find(app.db.read(), github_account_id.0).await?;
        let account = found.ok_or(Error::NotFound("marketplace account"))?;
        Ok(MarketplaceAccountDetail::of(&account, &app))
    }

    /// Link a purchase to a customer
    ///
    /// For buyers that were customers before. Verify that the customer is the buyer: it gets the plan and the
    /// credits, which follow a moment later. A link cannot be undone.
    #[oai(
        path = "/admin/v1/marketplace/accounts/:github_account_id/link",
        method = "post",
        operation_id = "admin_link_marketplace_account"
    )]
    async fn link(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// GitHub's id of the account.
        github_account_id: Path<i64>,
        body: Json<MarketplaceLinkRequest>,
    ) -> Result<Json<MarketplaceAccountDetail>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let customer = parse_id(&body.0.customer_id.0)?;
        let (actor, now_ms) = (&auth.0.actor, app.clock.now_ms());
        let (account, wakes) = link::by_hand(&app.db, github_account_id.0, &customer, actor, &reason, now_ms).await?;
        app.runtime.dispatcher.announce(wakes);
        Ok(MarketplaceAccountDetail::of(&account, &app))
    }

    /// Correct the state of a purchase
    ///
    /// For events that are dead with `order_unclear`, and for an event that GitHub never delivered. Look at the
    /// purchase at GitHub first. The correction counts like GitHub's event of that day, and overrides all events of
    /// that day that arrived before; events of later days still apply. The answer shows the account before the
    /// correction, which follows a moment later with plan and credits. Credits that were granted stay.
    #[oai(
        path = "/admin/v1/marketplace/accounts/:github_account_id/state",
        method = "post",
        operation_id = "admin_correct_marketplace_account"
    )]
    async fn correct(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// GitHub's id of the account.
        github_account_id: Path<i64>,
        body: Json<MarketplaceCorrectionRequest>,
    ) -> Result<Json<MarketplaceAccountDetail>, ApiError> {
        let reason = check_reason(&body.0.reason)?;
        let (actor, now_ms) = (&auth.0.actor, app.clock.now_ms());
        let correction = Correction {
            state: body.0.state.into(),
            effective_ms: input::day("effective_date", body.0.effective_date)?,
            next_billing_ms: input::day("next_billing_date", body.0.next_billing_date)?,
        };
        let (account, wakes) = correct(&app.db, github_account_id.0, correction, actor, &reason, now_ms).await?;
        app.runtime.dispatcher.announce(wakes);
        Ok(MarketplaceAccountDetail::of(&account, &app))
    }

    /// Create a link token for a purchase
    ///
    /// For the company's own site, once it has verified by OAuth that the visitor is, or acts for, this GitHub
    /// account. It signs the visitor up with the token as `marketplace_link`. A new token replaces the previous
    /// one.
    #[oai(
        path = "/admin/v1/marketplace/accounts/:github_account_id/link-token",
        method = "post",
        operation_id = "admin_create_marketplace_link_token"
    )]
    async fn token(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// GitHub's id of the account.
        github_account_id: Path<i64>,
    ) -> Result<Json<MarketplaceLinkTokenBody>, ApiError> {
        let (ttl_s, now_ms) = (app.config.marketplace.link_token_ttl_s, app.clock.now_ms());
        let (token, expires_ms) = link::issue_token(&app.db, github_account_id.0, ttl_s, &auth.0.actor, now_ms).await?;
        Ok(Json(MarketplaceLinkTokenBody { token: token.expose().to_owned(), expires_at: rfc3339(expires_ms) }))
    }
}
