//! Invoices that Stripe has and that are not stored: only what was paid, or failed to be, is a payment.

use crate::amount::MoneyMinor;
use crate::domain::catalogue::currency::money;
use crate::domain::webhook::fields::id;
use crate::ids::CustomerId;
use serde_json::Value;

/// The longest address of an invoice's page that is shown, in bytes.
const URL_LEN_MAX: usize = 2_000;

/// Where a customer's invoice stands at Stripe that is not stored here, and what helps; `None` if it has no status that
/// is known.
///
/// Source: Stripe, "The Invoice object", `status`.
pub fn describe_unstored(invoice: &Value, customer: &CustomerId) -> Option<String> {
    let id = id(&invoice["id"])?;
    let due = invoice["amount_remaining"].as_i64().zip(invoice["currency"].as_str());
    let due = due.map_or_else(|| "its amount".to_owned(), |(due, currency)| money(MoneyMinor(due), currency));
    let page = invoice["hosted_invoice_url"].as_str().filter(|url| url.len() <= URL_LEN_MAX);
    let page = page.map(|url| format!(" The customer pays it on Stripe's page: {url}")).unwrap_or_default();
    let stands = match invoice["status"].as_str()? {
        "draft" => {
            "is a draft at Stripe: nothing of it is due before Stripe finalizes it, within an hour or so.".to_owned()
        }
        "open" => {
            format!("is open at Stripe: {due} is due. It is no payment before it is paid or a payment fails.{page}")
        }
        "uncollectible" => format!("is marked at Stripe as uncollectible: {due} is still due.{page}"),
        "void" => "was voided at Stripe before anything of it was paid: nothing of it is due.".to_owned(),
        "paid" => format!(
            "is paid at Stripe. It sells nothing of the catalogue, or its event was lost or has failed: look with \
             bursar customers timeline {customer}, and compare with bursar stripe reconcile --customer {customer}."
        ),
        _ => return None,
    };
    Some(format!("The invoice {id} of {customer} {stands}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_invoice_that_is_not_stored_is_described_by_where_it_stands() {
        let customer = CustomerId::new();
        let describe = |status: &str| {
            let page = "https://invoice.stripe.com/i/1";
            let object = json!({ "id": "in_1", "status": status, "amount_remaining": 59_900, "currency": "usd",
                "hosted_invoice_url": page });
            describe_unstored(&object, &customer)
        };
        let open = describe("open").expect("words");
        assert!(
            open.starts_with(&format!("The invoice in_1 of {customer} is open at Stripe: $599.00 is due.")),
            "{open}"
        );
        assert!(open.ends_with("https://invoice.stripe.com/i/1"), "{open}");
        for (status, words) in [
            ("draft", "is a draft"),
            ("void", "nothing of it is due"),
            ("uncollectible", "$599.00 is still due"),
            ("paid", "bursar stripe reconcile --customer"),
        ] {
            let said = describe(status).expect("words");
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(describe("another"), None);
        assert_eq!(describe_unstored(&json!({ "status": "open" }), &customer), None);
    }
}
