//! Operations: requests of a customer that only Stripe can carry out (charge, add a card, subscribe). They can be
//! polled while they are in progress.

use super::Tag;
use super::bodies::Transaction;
use super::page::{PageQuery, page};
use super::path_id::PathId;
use crate::app::App;
use crate::auth::CustomerAuth;
use crate::document::OperationDoc;
use crate::problem::{ApiError, advised};
use crate::sample;
use crate::write_limit::{OPERATION_COST, WriteCost, metadata_cost};
use bursar_engine::Error;
use bursar_engine::amount::Credits;
use bursar_engine::clock::rfc3339;
use bursar_engine::domain::charge::{Decided, NotCharged, decide};
use bursar_engine::domain::idempotency::check_same_request;
use bursar_engine::domain::ledger::Entry;
use bursar_engine::domain::operation::{Operation, Problem, Request, State, payment_key};
use bursar_engine::domain::pricing;
use bursar_engine::error::Refusal;
use bursar_engine::ids::{CustomerId, OperationId};
use bursar_engine::infra::store::{account, customer, operation};
use bursar_engine::infra::stripe::StripeError;
use bursar_engine::usecase::charge;
use bursar_engine::usecase::operation::request::{self, RequestedOperation};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Wait before an operation is first polled; grows by half with each poll.
const POLL_FIRST: Duration = Duration::from_millis(15);
/// The longest wait between two polls.
const POLL_MAX: Duration = Duration::from_millis(400);

/// The problem of a purchase whose units were not debited although its credits are there.
pub(super) const CREDITS_SPENT: (&str, &str) = (
    "credits_spent_meanwhile",
    "Another request spent the remaining credits. The credits that were charged are in the balance: send the request \
     again with a new Idempotency-Key.",
);

/// Returns code and message for a usage charge that was paid but whose units could not be debited: credits were clawed
/// back meanwhile, or another request spent the remaining credits. `bought` is the grant of the bought credits, and
/// `floor` that of the account.
pub(super) fn why_not_spent(bought: Option<&Entry>, floor: Credits) -> (&'static str, String) {
    let available = bought.map_or(Credits::ZERO, |entry| entry.balance_after - entry.held_after);
    if available < floor {
        return ("credits_owed", pricing::credits_owed(available));
    }
    (CREDITS_SPENT.0, CREDITS_SPENT.1.to_owned())
}

/// The refusal of work for which a customer without a payment method lacks credits, with what would help it.
pub(super) async fn refuse_uncharged(app: &App, customer_id: &CustomerId, refusal: Error) -> ApiError {
    match customer::customer_find(app.db.read(), customer_id).await {
        Ok(Some(found)) => {
            let (config, catalogue) = (&app.config.credits, app.config.catalogue.now());
            advised(refusal, &pricing::how_to_continue(&found.plan, config, &catalogue))
        }
        Ok(None) => refusal.into(),
        Err(error) => error.into(),
    }
}

/// What the available credits of a customer may go down to now.
pub(super) async fn floor(app: &App, customer_id: &CustomerId) -> Result<Credits, Error> {
    let account = account::account_find(app.db.read(), customer_id).await?;
    Ok(account.map_or(Credits::ZERO, |account| account.floor))
}

/// Lists a customer's operations and shows one of them.
pub struct OperationApi;

pub(super) const OPERATION_DOCS: &[OperationDoc] = &[
    OperationDoc::new("list_operations", &[]),
    OperationDoc::new("get_operation", &["not_found"]),
    OperationDoc::new("cancel_operation", &["not_found", "operation_not_waiting"]),
];

/// A request of a customer that only Stripe can carry out.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct OperationBody {
    /// Its identifier.
    pub(super) id: String,
    /// `usage_charge`, `hold_charge`, `pack_purchase`, `debt_payment`, `auto_top_up`, `duplicate_payment` (a second
    /// payment of an operation, to be given back), `payment_method_attach`, `subscription_create`, `payment_refund` (by
    /// support) …
    kind: String,
    /// `processing`, `requires_action`, `succeeded` or `failed`.
    state: String,
    /// Why it failed, or what it waits for.
    #[oai(skip_serializing_if_is_none)]
    problem: Option<OperationProblem>,
    /// The debit of a usage charge, the hold of a hold charge, or else the grant of a purchase, that succeeded.
    #[oai(skip_serializing_if_is_none)]
    transaction: Option<Transaction>,
    /// When it was requested.
    created_at: String,
    /// When it last changed.
    updated_at: String,
}

impl Example for OperationBody {
    fn example() -> Self {
        Self {
            id: sample::OPERATION.to_owned(),
            kind: "usage_charge".to_owned(),
            state: "processing".to_owned(),
            problem: None,
            transaction: None,
            created_at: sample::AT.to_owned(),
            updated_at: sample::AT.to_owned(),
        }
    }
}

/// Why an operation failed, or what it waits for.
#[derive(Debug, Object)]
struct OperationProblem {
    /// `card_declined`, `authentication_required` …
    code: String,
    /// A description for people.
    detail: String,
    /// The issuer's reason.
    decline_code: Option<String>,
    /// The card network's advice.
    advice_code: Option<String>,
    /// The PaymentIntent of a payment that requires authentication.
    payment_intent: Option<String>,
    /// The client secret with which Stripe.js authenticates that payment.
    client_secret: Option<String>,
    /// From when the same request may succeed.
    #[oai(skip_serializing_if_is_none)]
    retry_at: Option<String>,
}

/// An operation that is still in progress.
#[derive(Debug, Object)]
#[oai(example)]
pub(super) struct AcceptedOperation {
    /// The operation, to be polled at its `Location`.
    pub(super) operation: OperationBody,
}

impl Example for AcceptedOperation {
    fn example() -> Self {
        Self { operation: OperationBody::example() }
    }
}

page! {
    /// A page of operations, latest first.
    OperationPage of OperationBody
}

impl OperationBody {
    pub(super) fn new(operation: &Operation, transaction: Option<Transaction>) -> Self {
        let problem = operation.problem.as_ref().map(|problem| OperationProblem {
            code: problem.code.clone(),
            detail: problem.message.clone(),
            decline_code: problem.decline_code.clone(),
            advice_code: problem.advice_code.clone(),
            payment_intent: problem.payment_intent_id.clone(),
            client_secret: problem.client_secret.clone(),
            retry_at: problem.retry_at_ms.map(rfc3339),
        });
        Self {
            id: operation.id.to_string(),
            kind: operation.request.kind().to_owned(),
            state: operation.state.as_str().to_owned(),
            problem,
            transaction,
            created_at: rfc3339(operation.created_at_ms),
            updated_at: rfc3339(operation.updated_at_ms),
        }
    }
}

/// Converts operations to bodies, in order. A usage charge includes its debit.
async fn bodies(
    app: &App,
    customer_id: &CustomerId,
    operations: Vec<Operation>,
) -> Result<Vec<OperationBody>, ApiError> {
    let charges = operations.iter().filter(|row| row.request.is_purchase());
    let keys = charges.flat_map(|row| [Some(row.idempotency_key.clone()), row.stripe_id.as_deref().map(payment_key)]);
    let keys: Vec<String> = keys.flatten().collect();
    let pairs: Vec<(&CustomerId, &str)> = keys.iter().map(|key| (customer_id, key.as_str())).collect();
    let found = if pairs.is_empty() { Vec::new() } else { account::entry_find_by_keys(app.db.read(), &pairs).await? };
    let entries: Vec<Entry> = found.into_iter().map(|(_, entry)| entry).collect();
    let floor = if pairs.is_empty() { Credits::ZERO } else { floor(app, customer_id).await? };
    Ok(operations.iter().map(|row| body(customer_id, row, &entries, floor)).collect())
}

/// Converts one operation. A purchase includes what it spent or, if it spends nothing, its grant. `entries` contains
/// the ledger's entries under its key and its payment's. A charge whose units are spent has succeeded, even if its
/// payment is still being processed.
fn body(customer_id: &CustomerId, operation: &Operation, entries: &[Entry], floor: Credits) -> OperationBody {
    let under = |key: &str| entries.iter().find(|entry| entry.idempotency_key.as_deref() == Some(key));
    if operation.request.wanted_units().is_none() {
        let bought = operation.stripe_id.as_deref().filter(|_| operation.request.is_purchase());
        let grant = bought.and_then(|id| under(&payment_key(id)));
        return OperationBody::new(operation, grant.map(|grant| Transaction::new(customer_id, grant)));
    }
    let is_own = |entry: &&Entry| entry.request_hash.as_deref() == Some(operation.request_hash.as_str());
    if let Some(debit) = under(&operation.idempotency_key).filter(is_own) {
        let succeeded = operation.succeeded(None, operation.updated_at_ms);
        return OperationBody::new(&succeeded, Some(Transaction::new(customer_id, debit)));
    }
    if operation.state != State::Succeeded {
        return OperationBody::new(operation, None);
    }
    let bought = operation.stripe_id.as_deref().and_then(|id| under(&payment_key(id)));
    let (code, message) = why_not_spent(bought, floor);
    let problem = Problem { code: code.to_owned(), message, ..Problem::default() };
    OperationBody::new(&operation.failed(problem, operation.updated_at_ms), None)
}

/// The state of an operation when the response is sent.
pub(super) enum RequestOutcome {
    /// It succeeded. `is_new` is false if it had succeeded before this request.
    Succeeded { operation: Operation, is_new: bool },
    /// It is still in progress.
    Pending(Operation),
}

/// Makes the answer for an operation in progress, and its `Location`.
pub(super) fn accepted(operation: &Operation) -> (Json<Box<AcceptedOperation>>, String) {
    let address = format!("/api/v1/operations/{}", operation.id);
    (Json(Box::new(AcceptedOperation { operation: OperationBody::new(operation, None) })), address)
}

/// Requests an operation and waits for its end, up to `stripe.wait_ms`.
///
/// # Errors
/// The operation failed or requires an action.
pub(super) async fn request_operation(
    app: &App,
    customer_id: &CustomerId,
    request: Request,
    key: &str,
    hash: &str,
) -> Result<RequestOutcome, ApiError> {
    if !app.config.has_stripe() {
        return Err(StripeError::NotConfigured.into());
    }
    let customer = customer::customer_find(app.db.read(), customer_id).await?.ok_or(Error::NotFound("customer"))?;
    check_active(app, customer_id, &request, key, hash).await?;
    let cost = take_write_cost(app, customer_id, &request, key, hash).await?;
    let asked = request::ask(&app.db, &customer, request, key, hash, app.clock.now_ms()).await;
    let RequestedOperation { operation, wakes } = match asked {
        Ok(asked) => asked,
        Err(error) => {
            cost.settle(&error);
            return Err(error.into());
        }
    };
    app.runtime.dispatcher.announce(wakes);
    let was_done = operation.state == State::Succeeded;
    let waited_for = operation.state;
    let end = Instant::now() + Duration::from_millis(app.config.stripe.wait_ms);
    let mut operation = wait_until(app, operation, waited_for, end).await?;
    if waited_for == State::RequiresAction {
        // With another payment method it has begun anew.
        operation = wait_until(app, operation, State::Processing, end).await?;
    }
    match operation.state {
        State::Succeeded => {
            if operation.request.is_purchase() {
                // A paid charge does not count against the write limit.
                cost.give_back();
            }
            Ok(RequestOutcome::Succeeded { operation, is_new: !was_done })
        }
        State::Processing => Ok(RequestOutcome::Pending(operation)),
        State::RequiresAction | State::Failed => Err(ApiError::from(&operation)),
    }
}

/// Refuses what may cost money if the customer is suspended. A repeated request is answered as before.
async fn check_active(
    app: &App,
    customer_id: &CustomerId,
    request: &Request,
    key: &str,
    hash: &str,
) -> Result<(), ApiError> {
    let is_free = matches!(
        request,
        Request::PaymentMethodAttach { .. }
            | Request::PaymentMethodDetach { .. }
            | Request::PaymentMethodDefault { .. }
            | Request::SubscriptionCancel { .. }
    );
    let account = if is_free { None } else { account::account_find(app.db.read(), customer_id).await? };
    if account.is_some_and(|account| account.open.suspended)
        && find_earlier(app, customer_id, key, hash).await?.is_none()
    {
        return Err(Error::Refused(Refusal::Suspended).into());
    }
    Ok(())
}

/// What a purchase comes to, by what is known before it is stored.
pub(super) enum Checked {
    /// Its charge may be made, or it was requested before: the operation has the answer.
    MayCharge,
    /// The customer's credits suffice.
    Covered,
    /// Nothing can be charged.
    NoPaymentMethod,
    /// Nothing is charged before the customer confirms its address.
    Unconfirmed,
}

/// Checks a purchase before it is stored, so that a refusal leaves nothing behind. It is decided again when its turn
/// comes. One that was requested before and has not failed is not checked: its charge may count against a cap already.
///
/// # Errors
/// `idempotency_key_reused`; why the customer is not charged; `rate_limited` if that was said too often already.
pub(super) async fn check_purchase(
    app: &App,
    customer_id: &CustomerId,
    request: &Request,
    key: &str,
    hash: &str,
) -> Result<Checked, ApiError> {
    let refusal = app.write_limits.refusals.take(customer_id, 1).await?;
    let checked = check_purchase_now(app, customer_id, request, key, hash).await;
    if matches!(checked, Ok(Checked::MayCharge | Checked::Covered)) {
        refusal.give_back();
    }
    checked
}

async fn check_purchase_now(
    app: &App,
    customer_id: &CustomerId,
    request: &Request,
    key: &str,
    hash: &str,
) -> Result<Checked, ApiError> {
    let known = find_earlier(app, customer_id, key, hash).await?;
    if known.is_some_and(|known| known.state != State::Failed) {
        return Ok(Checked::MayCharge);
    }
    let (config, catalogue, now_ms) = (&app.config.credits, app.config.catalogue.now(), app.clock.now_ms());
    let standing = charge::read_standing(app.db.read(), customer_id, request, &catalogue, now_ms).await?;
    match decide(request, &standing, config, &catalogue, now_ms) {
        Ok(Decided::Covered) => Ok(Checked::Covered),
        Ok(Decided::Charge(..)) => Ok(Checked::MayCharge),
        // Another purchase that waits for the customer gives way first. It keeps credits, and counts against the caps.
        Err(_) if !operation::operation_list_awaiting(app.db.read(), customer_id).await?.is_empty() => {
            Ok(Checked::MayCharge)
        }
        Err(NotCharged::NoPaymentMethod) => Ok(Checked::NoPaymentMethod),
        Err(NotCharged::Unconfirmed) => Ok(Checked::Unconfirmed),
        Err(refused) => Err(ApiError::not_charged(&refused.problem(&standing.customer, config, &catalogue))),
    }
}

/// Counts the operation against the customer's write limit. A repeated request is not counted, unless the earlier
/// operation failed.
async fn take_write_cost(
    app: &App,
    customer_id: &CustomerId,
    request: &Request,
    key: &str,
    hash: &str,
) -> Result<WriteCost, ApiError> {
    let metadata = metadata_cost(request.metadata());
    match find_earlier(app, customer_id, key, hash).await? {
        Some(known) if known.state != State::Failed => Ok(WriteCost::none()),
        _ => Ok(app.write_limits.writes.take(customer_id, OPERATION_COST + metadata).await?),
    }
}

/// Finds the customer's earlier operation with this key. A repeated request is answered from it, whatever has changed
/// since.
///
/// # Errors
/// `idempotency_key_reused` if the request was another one.
pub(super) async fn find_earlier(
    app: &App,
    customer_id: &CustomerId,
    key: &str,
    hash: &str,
) -> Result<Option<Operation>, ApiError> {
    let known = operation::operation_find_by_key(app.db.read(), customer_id, key).await?;
    if let Some(operation) = &known {
        check_same_request(Some(&operation.request_hash), Some(hash)).map_err(Error::Refused)?;
    }
    Ok(known)
}

/// Waits until an operation leaves this state, at most `stripe.wait_ms`. A shutdown ends the wait early, because it
/// would close the connection before the answer.
pub(super) async fn wait_for_end(app: &App, operation: Operation, from: State) -> Result<Operation, ApiError> {
    let end = Instant::now() + Duration::from_millis(app.config.stripe.wait_ms);
    wait_until(app, operation, from, end).await
}

async fn wait_until(app: &App, mut operation: Operation, from: State, end: Instant) -> Result<Operation, ApiError> {
    let mut pause = POLL_FIRST;
    // An operation that requires an action changes soon only if the customer has just acted.
    let end = if from == State::RequiresAction { end.min(Instant::now() + POLL_MAX * 5) } else { end };
    let left = || end.saturating_duration_since(Instant::now());
    while operation.state == from && from != State::Succeeded && !app.is_stopping() && !left().is_zero() {
        tokio::time::sleep(pause.min(left())).await;
        pause = (pause * 3 / 2).min(POLL_MAX);
        let found = operation::operation_find(app.db.read(), &operation.id).await?;
        operation = found.ok_or(Error::NotFound("operation"))?;
    }
    Ok(operation)
}

#[OpenApi]
impl OperationApi {
    /// My operations
    ///
    /// Charges, and changes of payment methods and of the subscription, latest first.
    #[oai(path = "/api/v1/operations", method = "get", operation_id = "list_operations", tag = "Tag::Billing")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Rows of the page, 1 to 100.
        limit: Query<Option<u64>>,
    ) -> Result<Json<OperationPage>, ApiError> {
        let page = PageQuery::parse(cursor.0, limit.0)?;
        let before = page.cursor.as_deref();
        let mut rows = operation::operation_list(app.db.read(), &auth.0, before, page.rows_to_query()).await?;
        let next_cursor = page.next_cursor(&mut rows, |row| row.id.to_string());
        Ok(Json(OperationPage { data: bodies(&app, &auth.0, rows).await?, next_cursor }))
    }

    /// Get an operation
    ///
    /// Poll this after an answer with status 202, until the state is `succeeded`, `failed` or `requires_action`. A
    /// usage charge has succeeded once its units are spent. If another request spent the remaining credits
    /// meanwhile, it is `failed` with the problem `credits_spent_meanwhile`; if credits were clawed back, with
    /// `credits_owed`. In both cases the bought credits are in the balance.
    #[oai(path = "/api/v1/operations/:id", method = "get", operation_id = "get_operation", tag = "Tag::Billing")]
    async fn get(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The operation.
        id: Path<PathId<OperationId>>,
    ) -> Result<Json<OperationBody>, ApiError> {
        let operation = find_own(&app, &auth.0, &id.0.parsed()?).await?;
        let mut bodies = bodies(&app, &auth.0, vec![operation]).await?;
        Ok(Json(bodies.remove(0)))
    }

    /// Cancel a purchase
    ///
    /// Cancels the payment of a purchase that requires authentication (`requires_action`), and returns the credits that
    /// are reserved for it. It then is `failed` with the problem `payment_canceled`, and the same request may be sent
    /// again. If the payment has succeeded meanwhile, the purchase is `succeeded`; while the bank or Stripe takes its
    /// time, it stays `requires_action`: poll it. One that has failed is returned as it is, and any other is refused
    /// with 409 `operation_not_waiting`. Another purchase cancels one that waits by itself. A subscription that waits
    /// for its first payment is cancelled by `DELETE /api/v1/subscription?at_once=true`.
    #[oai(
        path = "/api/v1/operations/:id/cancel",
        method = "post",
        operation_id = "cancel_operation",
        tag = "Tag::Billing"
    )]
    async fn cancel(
        &self,
        app: Data<&Arc<App>>,
        auth: CustomerAuth,
        /// The operation.
        id: Path<PathId<OperationId>>,
    ) -> Result<Json<OperationBody>, ApiError> {
        let operation = find_own(&app, &auth.0, &id.0.parsed()?).await?;
        app.runtime.dispatcher.announce(request::cancel(&app.db, &operation, app.clock.now_ms()).await?);
        let operation = wait_for_end(&app, operation, State::RequiresAction).await?;
        let mut bodies = bodies(&app, &auth.0, vec![operation]).await?;
        Ok(Json(bodies.remove(0)))
    }
}

/// Finds an operation of this customer.
async fn find_own(app: &App, customer_id: &CustomerId, id: &OperationId) -> Result<Operation, ApiError> {
    let found = operation::operation_find(app.db.read(), id).await?;
    Ok(found.filter(|row| row.customer_id == *customer_id).ok_or(Error::NotFound("operation"))?)
}
