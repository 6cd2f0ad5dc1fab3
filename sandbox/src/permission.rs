//! What restricted keys may do. Source: Stripe, "Restricted API keys": for each resource a key may do nothing, read, or
//! write, which includes reading. Reading is `GET`, everything else is writing.

/// Resources by the first part of a path below `/v1`. Their names are those in Stripe's messages, which keep old ones:
/// a price is a `plan`. Refunds belong to charges, and items and payments of invoices to invoices.
const RESOURCES: &[(&str, &str)] = &[
    ("balance", "balance"),
    ("balance_transactions", "balance_transaction_source"),
    ("billing_portal", "customer_portal"),
    ("charges", "charge"),
    ("checkout", "checkout_session"),
    ("coupons", "coupon"),
    ("credit_notes", "credit_note"),
    ("customers", "customer"),
    ("disputes", "dispute"),
    ("events", "event"),
    ("invoice_payments", "invoice"),
    ("invoiceitems", "invoice"),
    ("invoices", "invoice"),
    ("payment_intents", "payment_intent"),
    ("payment_methods", "payment_method"),
    ("prices", "plan"),
    ("products", "product"),
    ("refunds", "charge"),
    ("setup_intents", "setup_intent"),
    ("subscription_schedules", "subscription"),
    ("subscriptions", "subscription"),
    ("webhook_endpoints", "webhook"),
];

/// The permission that a call needs, such as `rak_charge_read`; `None` if the sandbox knows none for it.
fn needed(method: &str, path: &str) -> Option<String> {
    let first = path.strip_prefix("/v1/")?.split('/').next()?;
    let (_, resource) = RESOURCES.iter().find(|(part, _)| *part == first)?;
    Some(format!("rak_{resource}_{}", if method == "GET" { "read" } else { "write" }))
}

/// The permission that a call needs and a key with these permissions lacks.
pub(crate) fn missing(granted: &[String], method: &str, path: &str) -> Option<String> {
    let needed = needed(method, path)?;
    let has = |name: &str| granted.iter().any(|own| own == name);
    let is_granted = has(&needed) || needed.strip_suffix("_read").is_some_and(|of| has(&format!("{of}_write")));
    (!is_granted).then_some(needed)
}

/// Whether there is a permission of this name.
pub(crate) fn is_known(name: &str) -> bool {
    let resource =
        name.strip_prefix("rak_").and_then(|rest| rest.strip_suffix("_read").or(rest.strip_suffix("_write")));
    resource.is_some_and(|resource| RESOURCES.iter().any(|(_, own)| *own == resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write_may_read_and_who_may_read_may_not_write() {
        let granted = ["rak_charge_write".to_owned(), "rak_plan_read".to_owned()];
        let missing = |method: &str, path: &str| missing(&granted, method, path);
        for (method, path) in [("GET", "/v1/charges"), ("POST", "/v1/refunds"), ("GET", "/v1/prices/price_1")] {
            assert_eq!(missing(method, path), None, "{method} {path}");
        }
        assert_eq!(missing("POST", "/v1/prices").as_deref(), Some("rak_plan_write"));
        assert_eq!(missing("GET", "/v1/invoiceitems").as_deref(), Some("rak_invoice_read"));
        assert_eq!(missing("DELETE", "/v1/subscriptions/sub_1").as_deref(), Some("rak_subscription_write"));
    }

    #[test]
    fn a_misspelt_permission_is_not_known() {
        assert!(is_known("rak_charge_read") && is_known("rak_webhook_write"));
        assert!(!is_known("charge_read") && !is_known("rak_price_read") && !is_known("rak_charge"));
    }
}
