//! Who has the credits that a payment bought. Support may have linked the Stripe customer to another customer since:
//! money that comes back then still takes the credits of whoever got them.

use crate::domain::customer::Customer;
use crate::domain::webhook::fields::{self, ChargeFields, OPERATION_METADATA_KEY};
use crate::ids::OperationId;
use crate::infra::store::{customer, operation, payment};
use crate::usecase::handler::{Deps, Failure};

/// What a charge paid.
pub(super) enum PaidFor {
    /// Credits, by the operation with this id.
    Operation(String),
    /// This invoice, wholly or in part.
    Invoice(String),
    /// Nothing that brings credits.
    Other,
}

/// What a charge paid: the invoice that it names or that Stripe finds by its PaymentIntent, else the operation that its
/// metadata names.
pub(super) async fn paid_for(deps: &Deps, charge: &ChargeFields) -> Result<PaidFor, Failure> {
    if let Some(id) = &charge.invoice_id {
        return Ok(PaidFor::Invoice(id.clone()));
    }
    if let Some(id) = charge.metadata.get(OPERATION_METADATA_KEY) {
        return Ok(PaidFor::Operation(id.clone()));
    }
    let Some(intent) = &charge.payment_intent_id else { return Ok(PaidFor::Other) };
    let payments = deps.stripe.invoice_payment_list(intent).await?;
    let invoice = fields::rows(&payments).iter().find_map(|row| fields::id(&row["invoice"]));
    Ok(invoice.map_or(PaidFor::Other, PaidFor::Invoice))
}

impl PaidFor {
    /// The customer whose operation it is, or for whom the invoice was stored as paid; `None` if neither is known here.
    pub(super) async fn holder(&self, deps: &Deps) -> Result<Option<Customer>, Failure> {
        match self {
            Self::Operation(id) => holder_of_operation(deps, id).await,
            Self::Invoice(id) => holder_of_invoice(deps, id).await,
            Self::Other => Ok(None),
        }
    }
}

async fn holder_of_operation(deps: &Deps, id: &str) -> Result<Option<Customer>, Failure> {
    let Ok(id) = OperationId::parse(id) else { return Ok(None) };
    let Some(operation) = operation::operation_find(deps.db.read(), &id).await? else { return Ok(None) };
    Ok(customer::customer_find(deps.db.read(), &operation.customer_id).await?)
}

/// The customer for whom an invoice was stored as paid.
pub(super) async fn holder_of_invoice(deps: &Deps, id: &str) -> Result<Option<Customer>, Failure> {
    let payers = payment::invoice_payer_find_many(deps.db.read(), &[id.to_owned()]).await?;
    match payers.get(id) {
        Some(payer) => Ok(customer::customer_find(deps.db.read(), payer).await?),
        None => Ok(None),
    }
}
