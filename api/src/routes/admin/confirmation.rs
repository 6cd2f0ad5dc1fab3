//! Support: sends a customer a new link, or confirms its address by hand.

use super::reason::{ReasonRequest, check_reason};
use crate::app::App;
use crate::auth::AdminAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::path_id::PathId;
use crate::routes::{Tag, input};
use crate::sample;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::customer::Customer;
use bursar_engine::ids::CustomerId;
use bursar_engine::usecase::confirmation::{self, Asker, LinkRequest};
use poem::web::Data;
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;

/// Routes of confirmations for staff.
pub struct AdminConfirmationApi;

pub(in crate::routes) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("admin_send_confirmation", &["invalid_reason", "not_found"]),
    OperationDoc::new("admin_confirm_customer", &["address_confirmed", "invalid_reason", "not_found"]),
];

/// A customer's address.
#[derive(Debug, Object)]
#[oai(example)]
struct AddressBody {
    /// The customer.
    customer_id: String,
    /// Its e-mail address.
    email: String,
    /// Whether it counts as the customer's own: `pending` (not yet), `assumed` (nobody asked), `link` (by the link in a
    /// mail), `vouched` (by whoever signed it up, with an admin token) or `staff`.
    email_confirmation: String,
    /// Since when it is confirmed; null if it is not, or nobody asked.
    email_confirmed_at: Option<String>,
}

impl AddressBody {
    fn new(customer: &Customer) -> Self {
        Self {
            customer_id: customer.id.to_string(),
            email: customer.email.clone(),
            email_confirmation: customer.confirmation.state.as_str().to_owned(),
            email_confirmed_at: customer.confirmation.at_ms.map(rfc3339),
        }
    }
}

impl Example for AddressBody {
    fn example() -> Self {
        Self {
            customer_id: sample::CUSTOMER.to_owned(),
            email: sample::EMAIL.to_owned(),
            email_confirmation: "staff".to_owned(),
            email_confirmed_at: sample::text(sample::AT),
        }
    }
}

#[OpenApi(tag = "Tag::Admin")]
impl AdminConfirmationApi {
    /// Send a customer a new link
    ///
    /// Mails a link that confirms the address. If it is confirmed already, the link is good for a new API key: for a
    /// customer that has lost its own. Whoever reads the mailbox decides whether the keys that were made before stay.
    #[oai(
        path = "/admin/v1/customers/:id/confirmation-link",
        method = "post",
        operation_id = "admin_send_confirmation"
    )]
    async fn send(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<AddressBody>, ApiError> {
        let id = id.0.parsed()?;
        // The prefix keeps it apart from idempotency keys that the customer itself uses.
        let key = format!("admin:{}", input::idempotency_key(&idempotency_key.0)?);
        let hash = input::request_hash("admin_send_confirmation", &body.0);
        let reason = check_reason(&body.0.reason)?;
        let asker = Asker::Staff { actor: &auth.0.actor, reason: &reason };
        let request = LinkRequest { asker, key: &key, request_hash: &hash };
        let config = &app.config.onboarding;
        let sent = confirmation::send_link(&app.db, app.seal(), config, &id, request, app.clock.now_ms()).await?;
        app.runtime.dispatcher.announce(sent.wakes);
        Ok(Json(AddressBody::new(&sent.customer)))
    }

    /// Confirm a customer's address
    ///
    /// For somebody whose mail does not arrive and who has shown otherwise who it is. Its API keys stay as they are:
    /// revoke those that somebody else may have made.
    #[oai(path = "/admin/v1/customers/:id/confirm", method = "post", operation_id = "admin_confirm_customer")]
    async fn confirm(
        &self,
        app: Data<&Arc<App>>,
        auth: AdminAuth,
        /// The customer.
        id: Path<PathId<CustomerId>>,
        body: Json<ReasonRequest>,
    ) -> Result<Json<AddressBody>, ApiError> {
        let (id, reason) = (id.0.parsed()?, check_reason(&body.0.reason)?);
        let confirmed = confirmation::confirm_by_hand(&app.db, &id, &auth.0.actor, &reason, app.clock.now_ms()).await?;
        Ok(Json(AddressBody::new(&confirmed)))
    }
}
