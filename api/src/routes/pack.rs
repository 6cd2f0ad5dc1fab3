//! Packs and debts: credits that are bought once, by request.

use super::bodies::Transaction;
use super::operation::{AcceptedOperation, Checked, RequestOutcome, accepted, check_purchase, request_operation};
use super::usage::{TransactionResult, transaction_result};
use super::{Tag, input};
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::ApiError;
use crate::routes::text::Text;
use bursar_engine::Error;
use bursar_engine::domain::catalogue::Pack;
use bursar_engine::domain::confirmation::unconfirmed;
use bursar_engine::domain::operation::{DebtPayment, Operation, PackPurchase, Request, State, payment_key};
use bursar_engine::infra::store::account;
use bursar_engine::key::PackKey;
use poem::web::Data;
use poem_openapi::param::Header;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Routes of packs.
pub struct PackApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("list_packs", &[]),
    OperationDoc::new(
        "purchase_pack",
        &[
            "address_unconfirmed",
            "authentication_required",
            "busy",
            "card_paused",
            "charge_too_large",
            "customer_suspended",
            "invalid_purchase",
            "nothing_owed",
            "pack_not_offered",
            "payment_declined",
            "payment_method_missing",
            "plan_without_unit_price",
            "purchases_waiting",
            "rate_limited",
            "refused_by_stripe",
            "spend_cap_reached",
            "stripe_not_configured",
            "stripe_unavailable",
        ],
    ),
];

/// A pack.
#[derive(Debug, Object)]
#[oai(example)]
struct PackBody {
    /// Its key, for the request to buy it.
    key: String,
    /// Its name.
    name: String,
    /// Its credits.
    credits: i64,
    /// What it costs, in minor units.
    amount_minor: i64,
    /// ISO 4217 code.
    currency: String,
    /// Days after which its credits expire; null for never.
    lifetime_days: Option<u32>,
}

impl PackBody {
    fn new(pack: &Pack) -> Self {
        Self {
            key: pack.key.to_string(),
            name: pack.name.clone(),
            credits: pack.credits.0,
            amount_minor: pack.amount.0,
            currency: pack.currency.to_string(),
            lifetime_days: pack.lifetime_days,
        }
    }
}

impl Example for PackBody {
    fn example() -> Self {
        Self {
            key: "fifty".to_owned(),
            name: "50 fixes".to_owned(),
            credits: 50,
            amount_minor: 95_000,
            currency: "usd".to_owned(),
            lifetime_days: Some(365),
        }
    }
}

/// The packs that can be bought.
#[derive(Debug, Object)]
#[oai(example)]
struct PackList {
    /// The packs.
    data: Vec<PackBody>,
}

impl Example for PackList {
    fn example() -> Self {
        Self { data: vec![PackBody::example()] }
    }
}

/// What to buy: a pack, or the credits that the account owes.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct PurchaseRequest {
    /// The key of the pack.
    pack: Option<Text>,
    /// True to buy the credits that the account owes, at the plan's unit price.
    pay_debt: Option<bool>,
}

impl Example for PurchaseRequest {
    fn example() -> Self {
        Self { pack: Some("fifty".into()), pay_debt: None }
    }
}

/// What was bought, with the transaction that granted the credits.
#[derive(Debug, Object)]
#[oai(example)]
struct PurchaseResult {
    /// The pack, on the terms on which it was bought; left out for a debt.
    #[oai(skip_serializing_if_is_none)]
    pack: Option<PackBody>,
    #[oai(flatten)]
    result: TransactionResult,
}

impl Example for PurchaseResult {
    fn example() -> Self {
        let transaction = Transaction {
            kind: "grant".to_owned(),
            amount: 50,
            balance_after: 54,
            source: "purchase".to_owned(),
            burned: Vec::new(),
            ..Transaction::example()
        };
        let result =
            TransactionResult { transaction, credit_balance: 54, available: 54, ..TransactionResult::example() };
        Self { pack: Some(PackBody::example()), result }
    }
}

#[derive(ApiResponse)]
enum PurchaseResponse {
    /// The credits are there.
    #[oai(status = 201)]
    Bought(Json<Box<PurchaseResult>>),
    /// The credits are being bought, and there is no result yet. The operation continues.
    #[oai(status = 202)]
    Accepted(Json<Box<AcceptedOperation>>, #[oai(header = "Location")] String),
}

#[OpenApi]
impl PackApi {
    /// List the packs
    ///
    /// Credits that can be bought once. Needs no API key.
    #[oai(path = "/api/v1/packs", method = "get", operation_id = "list_packs", tag = "Tag::Billing")]
    async fn list(&self, app: Data<&Arc<App>>) -> Result<Json<PackList>, ApiError> {
        let catalogue = app.config.catalogue.now();
        let offered = catalogue.packs.iter().filter(|pack| pack.offered);
        Ok(Json(PackList { data: offered.map(PackBody::new).collect() }))
    }

    /// Buy a pack, or pay a debt
    ///
    /// Charges the default payment method, once for each key, and grants the credits. They pay a debt first. With
    /// `pay_debt`, the credits that the account owes when the charge's turn comes are bought at the plan's unit price,
    /// in its steps. The rules of charges for usage apply: consent, spend caps, pauses after declines, one charge at a
    /// time. If there is no result in time: 202 with an operation to poll.
    #[oai(path = "/api/v1/credits/purchases", method = "post", operation_id = "purchase_pack", tag = "Tag::Billing")]
    async fn purchase(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<PurchaseRequest>,
    ) -> Result<PurchaseResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let hash = input::request_hash("pack", &body.0);
        let earlier = super::operation::find_earlier(&app, &auth.0, &key, &hash).await?;
        // A repeated request is answered from its operation, whatever is offered now.
        let request = match earlier.filter(|earlier| earlier.state != State::Failed) {
            Some(earlier) => earlier.request,
            None => requested(&app, &body.0)?,
        };
        match check_purchase(&app, &auth.0, &request, &key, &hash).await? {
            Checked::MayCharge | Checked::Covered => {}
            Checked::NoPaymentMethod => {
                return Err(ApiError::with_code("payment_method_missing", "Add a payment method to buy credits."));
            }
            Checked::Unconfirmed => return Err(unconfirmed().into()),
        }
        match request_operation(&app, &auth.0, request, &key, &hash).await? {
            RequestOutcome::Pending(operation) => {
                let (body, address) = accepted(&operation);
                Ok(PurchaseResponse::Accepted(body, address))
            }
            RequestOutcome::Succeeded { operation, is_new } => bought(&app, &operation, is_new).await,
        }
    }
}

/// What a request asks for, on the present terms.
fn requested(app: &App, body: &PurchaseRequest) -> Result<Request, ApiError> {
    match (&body.pack, body.pay_debt) {
        (Some(key), None | Some(false)) => {
            let catalogue = app.config.catalogue.now();
            let pack = PackKey::parse(&key.0).and_then(|key| catalogue.pack(&key).cloned());
            let pack = pack.filter(|pack| pack.offered);
            let pack = pack.ok_or_else(|| ApiError::with_code("pack_not_offered", "There is no such pack to buy."))?;
            Ok(Request::PackPurchase(PackPurchase { pack, charge: None }))
        }
        (None, Some(true)) => Ok(Request::DebtPayment(DebtPayment { charge: None })),
        _ => Err(ApiError::bad_request("invalid_purchase", "Send either the key of a pack, or pay_debt: true.")),
    }
}

/// The answer for credits that were bought, from the operation and the grant.
async fn bought(app: &App, operation: &Operation, is_new: bool) -> Result<PurchaseResponse, ApiError> {
    let pack = match &operation.request {
        Request::PackPurchase(purchase) => Some(PackBody::new(&purchase.pack)),
        _ => None,
    };
    let key = operation.stripe_id.as_deref().map(payment_key).unwrap_or_default();
    let entry = account::entry_find_by_key(app.db.read(), &operation.customer_id, &key).await?;
    let entry = entry.ok_or_else(|| Error::Corrupt(format!("operation {} granted nothing", operation.id)))?;
    let applied = bursar_actors::Applied { entry, replayed: !is_new };
    let result = transaction_result(app, &operation.customer_id, applied).await?;
    Ok(PurchaseResponse::Bought(Json(Box::new(PurchaseResult { pack, result }))))
}
