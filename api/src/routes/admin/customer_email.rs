//! Support: a customer's wrong address.

use super::reason::check_reason;
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::Tag;
use crate::routes::bodies::CustomerBody;
use crate::routes::path_id::PathId;
use crate::routes::text::Text;
use crate::sample;
use bursar_engine::ids::CustomerId;
use bursar_engine::usecase::customer_email::{Correction, correct};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of customers' addresses for staff.
pub struct AdminCustomerEmailApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[OperationDoc::new(
    "admin_correct_customer_email",
    &["address_confirmed", "customer_exists", "invalid_email", "invalid_reason", "not_found"],
)];

/// The right address.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct CorrectEmailRequest {
    /// The address.
    email: Text,
    /// The reason, for the audit log.
    reason: Text,
}

impl Example for CorrectEmailRequest {
    fn example() -> Self {
        Self { email: sample::EMAIL.into(), reason: "mistyped, ticket 4711".into() }
    }
}

/// The customer with its new address.
#[derive(Debug, Object)]
#[oai(example)]
struct CorrectedEmailBody {
    /// The customer.
    customer: CustomerBody,
}

impl Example for CorrectedEmailBody {
    fn example() -> Self {
        Self { customer: CustomerBody::example() }
    }
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminCustomerEmailApi {
    /// Correct a customer's address
    ///
    /// Only as long as nobody has confirmed it. Links in mails to the wrong address are good for nothing from then on,
    /// and a customer that has to confirm its address is mailed a new one. Mails that are still to be sent go to the
    /// right address, and Stripe gets it if it has the wrong one. API keys stay: revoke those that somebody else may
    /// have. Verify the identity of the person who asks. Repeating the request changes nothing.
    #[oai(path = "/admin/v1/customers/:id/email", method = "post", operation_id = "admin_correct_customer_email")]
    async fn correct(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        body: Json<CorrectEmailRequest>,
    ) -> Result<Json<CorrectedEmailBody>, ApiError> {
        let id = id.0.parsed()?;
        let reason = check_reason(&body.0.reason)?;
        let asked = Correction { email: &body.0.email.0, reason: &reason, actor: &auth.0.actor };
        let (config, now_ms) = (&app.config.onboarding, app.clock.now_ms());
        let corrected = correct(&app.db, app.seal(), config, &id, asked, now_ms).await?;
        app.runtime.dispatcher.announce(corrected.wakes);
        Ok(Json(CorrectedEmailBody { customer: CustomerBody::new(&corrected.customer, None) }))
    }
}
