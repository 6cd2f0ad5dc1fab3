//! Pages for people. Each says that this is a sandbox, and escapes foreign text.

use crate::account::StripeAccount;
use crate::app::App;
use crate::control::state;
use crate::field::Fields;
use serde_json::Value;

/// Rows of a table on the overview page.
const ROWS_MAX: usize = 25;

const STYLE: &str = "body{font:15px system-ui,sans-serif;margin:2rem;max-width:70rem}\
    .banner{background:#b91c1c;color:#fff;padding:.6rem 1rem;font-weight:700}\
    table{border-collapse:collapse;margin:1rem 0}td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left}";

/// The page at an address, if there is one.
pub(crate) fn page(app: &App, method: &str, path: &str) -> Option<String> {
    if method != "GET" && method != "HEAD" {
        return None;
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] => Some(app.read(overview)),
        ["sandbox", "invoices", id] | ["sandbox", "invoices", id, "pdf"] => {
            app.read(|account| document(account, "invoice", id))
        }
        ["sandbox", "receipts", id] => app.read(|account| document(account, "charge", id)),
        ["sandbox", "checkout", id] => app.read(|account| document(account, "checkout.session", id)),
        ["sandbox", "portal", id] => app.read(|account| document(account, "billing_portal.session", id)),
        ["sandbox", "authenticate", id] => app.read(|account| document(account, "payment_intent", id)),
        _ => None,
    }
}

fn overview(account: &StripeAccount) -> String {
    let state = state(account);
    let mut body = format!("<p>The sandbox's time is {}.</p>", escape(&time(account.now_s)));
    body.push_str("<h2>Money by customer</h2>");
    let money = state["money"].as_object().into_iter().flatten().take(ROWS_MAX);
    let rows = money.map(|(customer, money)| {
        let cells = ["captured", "refunded", "disputed"].map(|name| amount(money.int(name), ""));
        std::iter::once(customer.clone()).chain(cells).collect::<Vec<_>>()
    });
    body.push_str(&table(&["customer", "captured", "refunded", "disputed"], rows));
    body.push_str("<h2>Objects</h2>");
    let counts = state["counts"].as_object().into_iter().flatten();
    body.push_str(&table(&["kind", "count"], counts.map(|(kind, count)| vec![kind.clone(), count.to_string()])));
    body.push_str("<h2>Latest events</h2>");
    let events = account.store.of_kind("event").rev().take(ROWS_MAX);
    let rows = events.map(|event| {
        vec![
            time(event.int("created")),
            event.text("type").to_owned(),
            event["data"]["object"].id().to_owned(),
            event.int("pending_webhooks").to_string(),
        ]
    });
    body.push_str(&table(&["time", "type", "object", "pending deliveries"], rows));
    body.push_str("<p>The control API is under <code>/sandbox/v1/</code>; the sandbox's README lists it.</p>");
    frame("Stripe stand-in", &body)
}

fn document(account: &StripeAccount, kind: &str, id: &str) -> Option<String> {
    let object = account.get(id).filter(|object| object.text("object") == kind)?;
    let fields = [
        "number",
        "status",
        "amount",
        "amount_due",
        "amount_paid",
        "amount_refunded",
        "amount_total",
        "currency",
        "customer",
        "customer_email",
        "description",
    ];
    let currency = object.text("currency");
    let rows = fields.iter().filter(|name| !object[**name].is_null()).map(|name| {
        let value = match &object[*name] {
            Value::String(text) => text.clone(),
            Value::Number(number) => amount(number.as_i64().unwrap_or_default(), currency),
            other => other.to_string(),
        };
        vec![(*name).to_owned(), value]
    });
    let body = table(&["field", "value"], rows);
    Some(frame(&format!("{kind} {id}"), &body))
}

fn frame(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>SANDBOX: {title}</title>\
         <style>{STYLE}</style></head><body><div class=\"banner\">SANDBOX - no real money moves</div>\
         <h1>{title}</h1>{body}</body></html>"
    )
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, cells: &[String]| -> String {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect();
        format!("<tr>{cells}</tr>")
    };
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: String = rows.map(|row| cells("td", &row)).collect();
    format!("<table>{}{rows}</table>", cells("th", &heads))
}

fn amount(minor: i64, currency: &str) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let minor = minor.unsigned_abs();
    format!("{sign}{}.{:02} {} (SANDBOX)", minor / 100, minor % 100, currency.to_uppercase())
}

fn time(at_s: i64) -> String {
    chrono::DateTime::from_timestamp(at_s, 0).unwrap_or_default().to_rfc3339()
}

/// Escapes text for element contents and quoted attributes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_never_becomes_markup() {
        let row = vec!["<script>alert('x')</script>".to_owned()];
        let page = frame("<b>", &table(&["a"], std::iter::once(row)));
        assert!(!page.contains("<script>") && !page.contains("<b>"));
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    }
}
