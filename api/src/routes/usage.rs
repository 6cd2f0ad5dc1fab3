//! Usage: spending credits, and reading them.

mod example;

use super::bodies::{Transaction, TransactionPage};
use super::operation::{
    AcceptedOperation, Checked, RequestOutcome, accepted, check_purchase, floor, refuse_uncharged, request_operation,
    why_not_spent,
};
use super::page::PageQuery;
use super::text::Text;
use super::{Tag, input};
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::{ApiError, advised};
use bursar_engine::Error;
use bursar_engine::amount::Credits;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::customer::Customer;
use bursar_engine::domain::idempotency::check_same_request;
use bursar_engine::domain::ledger::{Account, Command, Op};
use bursar_engine::domain::operation::{Request, UsageCharge, payment_key};
use bursar_engine::domain::pricing::{self, Funds};
use bursar_engine::domain::summary::SUSPENDED;
use bursar_engine::error::Refusal;
use bursar_engine::ids::{CustomerId, transaction_id};
use bursar_engine::infra::store::{account, customer};
use poem::web::Data;
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use std::sync::Arc;

/// Maximum number of decisions on one request. It is decided again if credits arrive before it is charged.
const DECISIONS_MAX: usize = 5;

/// Routes of usage and credits.
pub struct UsageApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new(
        "create_usage",
        &[
            "address_unconfirmed",
            "authentication_required",
            "busy",
            "card_paused",
            "charge_too_large",
            "credits_owed",
            "credits_spent_meanwhile",
            "customer_suspended",
            "insufficient_credits",
            "invalid_metadata",
            "invalid_reference",
            "invalid_units",
            "payment_declined",
            "payment_method_missing",
            "plan_without_unit_price",
            "purchases_waiting",
            "rate_limited",
            "refused_by_stripe",
            "spend_cap_reached",
            "stripe_unavailable",
        ],
    ),
    OperationDoc::new("get_credits", &[]),
    OperationDoc::new("list_transactions", &[]),
];

/// Work that was done.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields, example)]
struct UsageRequest {
    /// Units of work, 1 to 1000000; each costs one credit.
    units: i64,
    /// The caller's own reference, at most 200 characters.
    reference: Option<Text>,
    /// Any JSON object of at most 4 KiB, kept with the transaction.
    metadata: Option<serde_json::Value>,
}

impl Example for UsageRequest {
    fn example() -> Self {
        Self { units: 1, reference: Some("deploy-4711".into()), metadata: None }
    }
}

/// A transaction, and the credits after it.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct TransactionResult {
    /// The line in the ledger.
    pub(super) transaction: Transaction,
    /// All credits afterwards.
    pub(super) credit_balance: i64,
    /// Credits that holds reserve afterwards.
    pub(super) held: i64,
    /// Credits that can be spent afterwards.
    pub(super) available: i64,
    /// Whether this is the answer to an earlier request with the same key, so that nothing was done again.
    pub(super) replayed: bool,
    /// A message for people, if credits run low.
    #[oai(skip_serializing_if_is_none)]
    pub(super) warning: Option<String>,
}

impl Example for TransactionResult {
    fn example() -> Self {
        Self {
            transaction: Transaction::example(),
            credit_balance: 4,
            held: 0,
            available: 4,
            replayed: false,
            warning: None,
        }
    }
}

#[derive(ApiResponse)]
enum UsageResponse {
    /// The credits are spent.
    #[oai(status = 200)]
    Spent(Json<Box<TransactionResult>>),
    /// The credits are being bought, and Stripe has not answered yet. The operation continues.
    #[oai(status = 202)]
    Accepted(Json<Box<AcceptedOperation>>, #[oai(header = "Location")] String),
}

/// A customer's credits.
#[derive(Debug, Object)]
#[oai(example)]
pub(crate) struct CreditsBody {
    /// All credits.
    pub(crate) balance: i64,
    /// The part that holds reserve.
    pub(crate) held: i64,
    /// The part that can be spent. A credit limit is not in it.
    pub(crate) available: i64,
    /// Grants with credits left, in the order in which they will be spent.
    pub(crate) grants: Vec<GrantBody>,
    /// Open holds.
    pub(crate) holds: Vec<OpenHoldBody>,
    /// Price of one unit beyond the credits, in minor units; null if the customer cannot be charged, or its plan has no
    /// unit price. What is charged at once is the plan's `unit_step` times this.
    pub(crate) next_price_minor: Option<i64>,
    /// Currency of the price.
    pub(crate) currency: String,
    /// How many credits more than the available ones may be spent on credit, and are owed then; absent without a credit
    /// limit.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) credit_limit: Option<i64>,
    /// True if support has suspended the customer, which can spend and buy nothing; absent otherwise.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) suspended: Option<bool>,
    /// A message for people, if credits run low or the customer is suspended.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) warning: Option<String>,
}

/// A grant with credits left.
#[derive(Debug, Object)]
pub(crate) struct GrantBody {
    /// The transaction that granted it.
    pub(crate) transaction_id: String,
    /// `promotional`, `adjustment`, `included` or `purchased`.
    pub(crate) kind: String,
    /// Credits left.
    pub(crate) remaining: i64,
    /// When the credits left expire.
    pub(crate) expires_at: Option<String>,
}

/// An open hold.
#[derive(Debug, Object)]
pub(crate) struct OpenHoldBody {
    /// Its identifier.
    pub(crate) id: String,
    /// Credits that it reserves.
    pub(crate) amount: i64,
    /// When it expires and is released.
    pub(crate) expires_at: String,
    /// The operation for which the credits are kept while a charge buys those that are missing; its end closes the
    /// hold.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) operation_id: Option<String>,
}

impl CreditsBody {
    pub(crate) fn new(app: &App, customer: &Customer, account: &Account) -> Self {
        let (config, catalogue) = (&app.config.credits, app.config.catalogue.now());
        Self {
            balance: account.balance.0,
            held: account.held.0,
            available: account.available().0,
            grants: account
                .open
                .grants
                .iter()
                .map(|grant| GrantBody {
                    transaction_id: transaction_id(&customer.id, grant.seq),
                    kind: grant.kind.as_str().to_owned(),
                    remaining: grant.remaining.0,
                    expires_at: grant.expires_at_ms.map(rfc3339),
                })
                .collect(),
            holds: account
                .open
                .holds
                .iter()
                .map(|hold| OpenHoldBody {
                    id: hold.id.to_string(),
                    amount: hold.amount.0,
                    expires_at: rfc3339(hold.expires_at_ms),
                    operation_id: hold.id.operation().map(|id| id.to_string()),
                })
                .collect(),
            next_price_minor: pricing::next_price_minor(customer, &catalogue).map(|price| price.0),
            currency: catalogue.currency.to_string(),
            credit_limit: Some(-account.floor.0).filter(|limit| *limit > 0),
            suspended: account.open.suspended.then_some(true),
            warning: match account.open.suspended {
                true => Some(SUSPENDED.to_owned()),
                false => pricing::warning(customer, Funds::of(account), config, &catalogue),
            },
        }
    }
}

/// Makes the answer of a command from its entry alone, so that a repeated request gets the first answer again. Customer
/// and credit limit are only read if credits run low.
pub(super) async fn transaction_result(
    app: &App,
    customer_id: &CustomerId,
    applied: bursar_actors::Applied,
) -> Result<TransactionResult, ApiError> {
    let (balance, held) = (applied.entry.balance_after, applied.entry.held_after);
    let available = balance - held;
    let warning = if available <= app.config.credits.warn_at {
        let found = customer::customer_find(app.db.read(), customer_id).await?;
        let funds = Funds { available, floor: floor(app, customer_id).await? };
        let catalogue = app.config.catalogue.now();
        found.and_then(|customer| pricing::warning(&customer, funds, &app.config.credits, &catalogue))
    } else {
        None
    };
    Ok(TransactionResult {
        transaction: Transaction::new(customer_id, &applied.entry),
        credit_balance: balance.0,
        held: held.0,
        available: available.0,
        replayed: applied.replayed,
        warning,
    })
}

/// Charges the customer for the units that its credits do not cover. `None` if they cover them by now.
async fn charge_missing(
    app: &App,
    customer_id: &CustomerId,
    units: Credits,
    command: Command,
    refusal: Refusal,
) -> Result<Option<UsageResponse>, ApiError> {
    let db = app.db.read();
    let (key, hash) = (command.idempotency_key.unwrap_or_default(), command.request_hash.unwrap_or_default());
    let usage = UsageCharge { units, reference: command.reference, metadata: command.metadata, charge: None };
    let request = Request::UsageCharge(usage);
    match check_purchase(app, customer_id, &request, &key, &hash).await? {
        Checked::MayCharge => {}
        Checked::Covered => return Ok(None),
        Checked::NoPaymentMethod => return Err(refuse_uncharged(app, customer_id, Error::Refused(refusal)).await),
        Checked::Unconfirmed => return Err(advised(Error::Refused(refusal), pricing::CONFIRM_FIRST)),
    }
    match request_operation(app, customer_id, request, &key, &hash).await? {
        RequestOutcome::Pending(operation) => {
            let (body, address) = accepted(&operation);
            Ok(Some(UsageResponse::Accepted(body, address)))
        }
        RequestOutcome::Succeeded { operation, is_new } => {
            match account::entry_find_by_key(db, customer_id, &key).await? {
                Some(entry) => {
                    // A hold may have used the key during the charge.
                    check_same_request(entry.request_hash.as_deref(), Some(&hash)).map_err(Error::Refused)?;
                    let applied = bursar_actors::Applied { entry, replayed: !is_new };
                    Ok(Some(UsageResponse::Spent(Json(Box::new(transaction_result(app, customer_id, applied).await?)))))
                }
                // The bought credits are in the balance, but the units are not spent.
                None => {
                    let key = operation.stripe_id.as_deref().map(payment_key).unwrap_or_default();
                    let bought = account::entry_find_by_key(db, customer_id, &key).await?;
                    let (code, message) = why_not_spent(bought.as_ref(), floor(app, customer_id).await?);
                    Err(ApiError::with_code(code, message))
                }
            }
        }
    }
}

#[OpenApi]
impl UsageApi {
    /// Spend credits
    ///
    /// Takes one credit for each unit of work. Repeating the request with the same key and body returns
    /// the first answer, marked `replayed`.
    ///
    /// If there are not enough credits, a customer without a payment method gets 402 `insufficient_credits`. A
    /// customer with one is charged for the missing credits at its plan's unit price, once for each key; a plan
    /// without a unit price is refused with 402 `plan_without_unit_price`. The credits that the customer has are
    /// reserved meanwhile, and a customer's charges run one at a time: a request that waits is decided again when its
    /// turn comes. If the bank declines: 402 `payment_declined` with the reason; the same request may be sent again
    /// after adding another card, and with the same card from the time that 402 `card_paused` names. A charge beyond a
    /// spend cap: 402 `spend_cap_reached`. If the bank requires authentication: 402 `authentication_required` with the
    /// data that Stripe.js needs; send the same request again afterwards. With another default payment method, that one
    /// is charged; a new purchase cancels a payment that waits. If there is no result in time: 202 with an operation to
    /// poll; the usage is settled later, once.
    #[oai(path = "/api/v1/usage", method = "post", operation_id = "create_usage", tag = "Tag::Credits")]
    async fn create(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// Makes repeating the request harmless.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<String>,
        body: Json<UsageRequest>,
    ) -> Result<UsageResponse, ApiError> {
        let key = input::idempotency_key(&idempotency_key.0)?;
        let request_hash = Some(input::request_hash("usage", &body.0));
        let Json(UsageRequest { units, reference, metadata }) = body;
        let units = Credits(units);
        let command = Command {
            op: Op::Debit { amount: units },
            source: "usage".to_owned(),
            reference: input::reference(reference)?,
            idempotency_key: Some(key),
            request_hash,
            metadata: input::metadata(metadata)?,
        };
        for _ in 0..DECISIONS_MAX {
            match app.runtime.customers.apply(&auth.0, command.clone()).await {
                Ok(applied) => {
                    return Ok(UsageResponse::Spent(Json(Box::new(transaction_result(&app, &auth.0, applied).await?))));
                }
                Err(Error::Refused(refusal @ Refusal::InsufficientCredits { .. })) => {
                    if let Some(response) = charge_missing(&app, &auth.0, units, command.clone(), refusal).await? {
                        return Ok(response);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Busy("this account").into())
    }

    /// My credits
    ///
    /// With their grants, the open holds, and the price of the next unit beyond them.
    #[oai(path = "/api/v1/credits", method = "get", operation_id = "get_credits", tag = "Tag::Credits")]
    async fn credits(&self, app: Data<&Arc<App>>, auth: CustomerAuth) -> Result<Json<CreditsBody>, ApiError> {
        let found = customer::customer_find(app.db.read(), &auth.0).await?.ok_or(Error::NotFound("customer"))?;
        let account = account::account_find(app.db.read(), &auth.0).await?.ok_or(Error::NotFound("account"))?;
        let account = account.settled(app.clock.now_ms());
        Ok(Json(CreditsBody::new(&app, &found, &account)))
    }

    /// My transactions
    ///
    /// All lines of the ledger, latest first.
    #[oai(
        path = "/api/v1/credits/transactions",
        method = "get",
        operation_id = "list_transactions",
        tag = "Tag::Credits"
    )]
    async fn transactions(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<TransactionPage>, ApiError> {
        transaction_page(&app, &auth.0, cursor.0, limit.0).await
    }
}

/// A page of one customer's transactions.
pub(super) async fn transaction_page(
    app: &App,
    customer: &CustomerId,
    cursor: Option<String>,
    limit: Option<u64>,
) -> Result<Json<TransactionPage>, ApiError> {
    let page = PageQuery::parse_numbered(cursor, limit)?;
    let entries = account::entry_list(app.db.read(), customer, page.cursor, page.rows_to_query()).await?;
    Ok(page.answer(entries, |entry| entry.seq.to_string(), |entry| Transaction::new(customer, &entry)))
}
