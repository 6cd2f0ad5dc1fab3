//! Links between payments and invoices.

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::handler::Call;
use crate::page;
use serde_json::Value;

/// `GET /v1/invoice_payments`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let wanted = |row: &&Value| {
        form.text("invoice").is_none_or(|id| row.text("invoice") == id)
            && form.text("payment.payment_intent").is_none_or(|id| row.text("_payment_intent") == id)
            && form.text("status").is_none_or(|status| row.text("status") == status)
    };
    page::paginate(
        &account.store,
        account.store.of_kind("invoice_payment").filter(wanted),
        form,
        "/v1/invoice_payments",
    )
}

/// `GET /v1/invoice_payments/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("invoice_payment", call.id())
}
