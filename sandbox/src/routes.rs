//! The imitated routes and their handlers.

use crate::handler::Handler;
use crate::objects::{
    balance, charge, checkout, coupon, credit_note, customer, dispute, event, invoice, invoice_item, invoice_payment,
    payment_intent, payment_method, portal, price, refund, schedule, setup_intent, source, subscription, test_clock,
    webhook_endpoint,
};

/// A method, a path with `{}` for ids, and the handler.
type Route = (&'static str, &'static str, Handler);

#[rustfmt::skip]
const ROUTES: &[Route] = &[
    ("GET", "/v1/balance", balance::retrieve),
    ("GET", "/v1/balance_transactions", balance::transactions),
    ("GET", "/v1/balance_transactions/{}", balance::transaction),
    ("POST", "/v1/billing_portal/sessions", portal::create),
    ("POST", "/v1/charges", charge::create),
    ("GET", "/v1/charges", charge::list),
    ("GET", "/v1/charges/{}", charge::retrieve),
    ("POST", "/v1/charges/{}", charge::update),
    ("POST", "/v1/checkout/sessions", checkout::create),
    ("GET", "/v1/checkout/sessions", checkout::list),
    ("GET", "/v1/checkout/sessions/{}", checkout::retrieve),
    ("GET", "/v1/checkout/sessions/{}/line_items", checkout::line_items),
    ("POST", "/v1/checkout/sessions/{}/expire", checkout::expire),
    ("GET", "/v1/payment_pages/{}", checkout::retrieve),
    ("POST", "/v1/payment_pages/{}/confirm", checkout::confirm),
    ("POST", "/v1/coupons", coupon::create),
    ("GET", "/v1/coupons", coupon::list),
    ("GET", "/v1/coupons/{}", coupon::retrieve),
    ("POST", "/v1/credit_notes", credit_note::create),
    ("GET", "/v1/credit_notes", credit_note::list),
    ("GET", "/v1/credit_notes/{}", credit_note::retrieve),
    ("POST", "/v1/credit_notes/{}", credit_note::update),
    ("POST", "/v1/credit_notes/{}/void", credit_note::void),
    ("POST", "/v1/customers", customer::create),
    ("GET", "/v1/customers", customer::list),
    ("GET", "/v1/customers/search", customer::search),
    ("GET", "/v1/customers/{}", customer::retrieve),
    ("POST", "/v1/customers/{}", customer::update),
    ("DELETE", "/v1/customers/{}", customer::delete),
    ("GET", "/v1/customers/{}/payment_methods", customer::payment_methods),
    ("POST", "/v1/customers/{}/sources", source::create),
    ("GET", "/v1/customers/{}/sources", source::list),
    ("POST", "/v1/customers/{}/sources/{}", source::update),
    ("DELETE", "/v1/customers/{}/sources/{}", source::delete),
    ("GET", "/v1/disputes", dispute::list),
    ("GET", "/v1/disputes/{}", dispute::retrieve),
    ("POST", "/v1/disputes/{}", dispute::update),
    ("POST", "/v1/disputes/{}/close", dispute::concede),
    ("GET", "/v1/events", event::list),
    ("GET", "/v1/events/{}", event::retrieve),
    ("GET", "/v2/core/events/{}", event::retrieve_thin),
    ("POST", "/v1/invoiceitems", invoice_item::create),
    ("GET", "/v1/invoiceitems", invoice_item::list),
    ("GET", "/v1/invoiceitems/{}", invoice_item::retrieve),
    ("DELETE", "/v1/invoiceitems/{}", invoice_item::delete),
    ("GET", "/v1/invoice_payments", invoice_payment::list),
    ("GET", "/v1/invoice_payments/{}", invoice_payment::retrieve),
    ("POST", "/v1/invoices", invoice::create),
    ("GET", "/v1/invoices", invoice::list),
    ("POST", "/v1/invoices/create_preview", subscription::create_preview),
    ("GET", "/v1/invoices/{}", invoice::retrieve),
    ("POST", "/v1/invoices/{}", invoice::update),
    ("DELETE", "/v1/invoices/{}", invoice::delete),
    ("GET", "/v1/invoices/{}/lines", invoice::lines),
    ("POST", "/v1/invoices/{}/finalize", invoice::finalize),
    ("POST", "/v1/invoices/{}/pay", invoice::pay),
    ("POST", "/v1/invoices/{}/send", invoice::send),
    ("POST", "/v1/invoices/{}/void", invoice::void),
    ("POST", "/v1/invoices/{}/mark_uncollectible", invoice::mark_uncollectible),
    ("POST", "/v1/payment_intents", payment_intent::create),
    ("GET", "/v1/payment_intents", payment_intent::list),
    ("GET", "/v1/payment_intents/{}", payment_intent::retrieve),
    ("POST", "/v1/payment_intents/{}", payment_intent::update),
    ("POST", "/v1/payment_intents/{}/confirm", payment_intent::confirm),
    ("POST", "/v1/payment_intents/{}/capture", payment_intent::capture),
    ("POST", "/v1/payment_intents/{}/cancel", payment_intent::cancel),
    ("POST", "/v1/payment_methods", payment_method::create),
    ("GET", "/v1/payment_methods", payment_method::list),
    ("GET", "/v1/payment_methods/{}", payment_method::retrieve),
    ("POST", "/v1/payment_methods/{}", payment_method::update),
    ("POST", "/v1/payment_methods/{}/attach", payment_method::attach),
    ("POST", "/v1/payment_methods/{}/detach", payment_method::detach),
    ("POST", "/v1/prices", price::create),
    ("GET", "/v1/prices", price::list),
    ("GET", "/v1/prices/{}", price::retrieve),
    ("POST", "/v1/prices/{}", price::update),
    ("POST", "/v1/products", price::create_product),
    ("GET", "/v1/products", price::list_products),
    ("GET", "/v1/products/{}", price::retrieve_product),
    ("POST", "/v1/products/{}", price::update_product),
    ("DELETE", "/v1/products/{}", price::delete_product),
    ("POST", "/v1/refunds", refund::create),
    ("GET", "/v1/refunds", refund::list),
    ("GET", "/v1/refunds/{}", refund::retrieve),
    ("POST", "/v1/refunds/{}", refund::update),
    ("POST", "/v1/setup_intents", setup_intent::create),
    ("GET", "/v1/setup_intents", setup_intent::list),
    ("GET", "/v1/setup_intents/{}", setup_intent::retrieve),
    ("POST", "/v1/setup_intents/{}/confirm", setup_intent::confirm),
    ("POST", "/v1/setup_intents/{}/cancel", setup_intent::cancel),
    ("POST", "/v1/subscriptions", subscription::create),
    ("GET", "/v1/subscriptions", subscription::list),
    ("GET", "/v1/subscriptions/{}", subscription::retrieve),
    ("POST", "/v1/subscriptions/{}", subscription::update),
    ("DELETE", "/v1/subscriptions/{}", subscription::cancel),
    ("POST", "/v1/subscriptions/{}/resume", subscription::resume),
    ("POST", "/v1/subscription_schedules", schedule::create),
    ("GET", "/v1/subscription_schedules", schedule::list),
    ("GET", "/v1/subscription_schedules/{}", schedule::retrieve),
    ("POST", "/v1/subscription_schedules/{}", schedule::update),
    ("POST", "/v1/subscription_schedules/{}/release", schedule::release),
    ("POST", "/v1/test_helpers/test_clocks", test_clock::create),
    ("GET", "/v1/test_helpers/test_clocks", test_clock::list),
    ("GET", "/v1/test_helpers/test_clocks/{}", test_clock::retrieve),
    ("DELETE", "/v1/test_helpers/test_clocks/{}", test_clock::delete),
    ("POST", "/v1/test_helpers/test_clocks/{}/advance", test_clock::advance),
    ("POST", "/v1/tokens", source::create_token),
    ("POST", "/v1/webhook_endpoints", webhook_endpoint::create),
    ("GET", "/v1/webhook_endpoints", webhook_endpoint::list),
    ("GET", "/v1/webhook_endpoints/{}", webhook_endpoint::retrieve),
    ("POST", "/v1/webhook_endpoints/{}", webhook_endpoint::update),
    ("DELETE", "/v1/webhook_endpoints/{}", webhook_endpoint::delete),
];

/// The handler of a request, its route's path, and the ids in the request's path.
pub(crate) fn find(method: &str, path: &str) -> Option<(Handler, &'static str, Vec<String>)> {
    let path = path.strip_suffix('/').unwrap_or(path);
    ROUTES.iter().find_map(|(wanted, pattern, handler)| {
        let ids = if *wanted == method { match_path(pattern, path) } else { None }?;
        Some((*handler, *pattern, ids))
    })
}

fn match_path(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut ids = Vec::new();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(ids),
            (Some("{}"), Some(id)) if !id.is_empty() => ids.push(id.to_owned()),
            (Some(part), Some(same)) if part == same => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_route_and_ids() {
        assert_eq!(find("POST", "/v1/customers/cus_1/sources/card_1").unwrap().2, ["cus_1", "card_1"]);
        assert!(find("GET", "/v1/customers").unwrap().2.is_empty());
        for (method, path) in [("PUT", "/v1/customers"), ("GET", "/v1/customers//"), ("GET", "/v1/nothing")] {
            assert!(find(method, path).is_none(), "{method} {path}");
        }
    }

    #[test]
    fn routes_are_unique() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert!(ROUTES[at + 1..].iter().all(|other| (other.0, other.1) != (route.0, route.1)), "{}", route.1);
        }
    }
}
