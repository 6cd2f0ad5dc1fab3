//! Which scope each admin route needs. This is the one table: authorisation, the OpenAPI document and the table in
//! docs/admin-tokens.md come from it.
//!
//! A route that is not in it is open to `admin` only, and fails a test.

use crate::routes::openapi_document;
use bursar_engine::domain::admin_token::Scope::{self, Adjust, Admin, Read, Refund, Replay};
use poem::http::Method;
use poem::{PathPattern, Request};
use serde_json::Value;
use std::sync::LazyLock;

/// How the paths of admin routes begin.
pub const ADMIN_PATH: &str = "/admin/";

/// The scope of each operation, by scope.
#[rustfmt::skip]
pub const SCOPES: &[(&str, Scope)] = &[
    ("admin_customer_timeline", Read),
    ("admin_export_audit", Read),
    ("admin_export_transactions", Read),
    ("admin_get_audit_head", Read),
    ("admin_get_auto_top_up", Read),
    ("admin_get_balance", Read),
    ("admin_get_catalogue", Read),
    ("admin_get_catalogue_version", Read),
    ("admin_get_customer", Read),
    ("admin_get_event", Read),
    ("admin_get_job", Read),
    ("admin_get_log_filter", Read),
    ("admin_get_mail", Read),
    ("admin_get_marketplace_account", Read),
    ("admin_get_payment", Read),
    ("admin_get_price", Read),
    ("admin_get_reconciliation", Read),
    ("admin_get_replay", Read),
    ("admin_get_spend_caps", Read),
    ("admin_get_stream", Read),
    ("admin_list_api_keys", Read),
    ("admin_list_audit", Read),
    ("admin_list_catalogue_versions", Read),
    ("admin_list_customer_emails", Read),
    ("admin_list_customers", Read),
    ("admin_list_events", Read),
    ("admin_list_failures", Read),
    ("admin_list_invoices", Read),
    ("admin_list_jobs", Read),
    ("admin_list_mails", Read),
    ("admin_list_marketplace_accounts", Read),
    ("admin_list_operations", Read),
    ("admin_list_payments", Read),
    ("admin_list_prices", Read),
    ("admin_list_reconciliation_findings", Read),
    ("admin_list_reconciliations", Read),
    ("admin_list_replay_items", Read),
    ("admin_list_replays", Read),
    ("admin_list_streams", Read),
    ("admin_list_transactions", Read),
    // It says what a catalogue would change, and changes nothing.
    ("admin_plan_catalogue", Read),
    ("admin_usage_summary", Read),

    ("admin_cancel_job", Replay),
    ("admin_cancel_replay", Replay),
    ("admin_create_reconciliation", Replay),
    ("admin_create_replay", Replay),
    ("admin_pause_replay", Replay),
    ("admin_pause_stream", Replay),
    ("admin_replay_event", Replay),
    ("admin_replay_job", Replay),
    ("admin_resend_mail", Replay),
    ("admin_resume_replay", Replay),
    ("admin_resume_stream", Replay),
    ("admin_run_canary", Replay),
    ("admin_skip_stream", Replay),
    ("admin_start_replay", Replay),

    ("admin_adjust_credits", Adjust),
    ("admin_confirm_customer", Adjust),
    ("admin_correct_customer_email", Adjust),
    ("admin_correct_marketplace_account", Adjust),
    ("admin_create_api_key", Adjust),
    ("admin_create_customer", Adjust),
    ("admin_create_marketplace_link_token", Adjust),
    ("admin_link_marketplace_account", Adjust),
    ("admin_link_stripe_customer", Adjust),
    ("admin_resume_customer", Adjust),
    ("admin_revoke_api_key", Adjust),
    ("admin_send_confirmation", Adjust),
    ("admin_set_credit_limit", Adjust),
    ("admin_set_spend_caps", Adjust),
    ("admin_suspend_customer", Adjust),
    ("admin_unlink_stripe_customer", Adjust),
    ("admin_write_off", Adjust),

    ("admin_refund_payment", Refund),

    ("admin_apply_catalogue", Admin),
    ("admin_create_token", Admin),
    ("admin_decide_price", Admin),
    ("admin_list_tokens", Admin),
    ("admin_revoke_token", Admin),
    ("admin_set_log_filter", Admin),
];

/// The scope that an operation needs; `None` if it is not in the table.
pub fn scope_of(operation: &str) -> Option<Scope> {
    SCOPES.iter().find(|(name, _)| *name == operation).map(|(_, scope)| *scope)
}

/// The scope that a request for an admin route needs: that of the operation to which the router has sent it, or before
/// that, to which it will.
pub fn needed_by(request: &Request) -> Scope {
    let path = request.data::<PathPattern>().map_or_else(|| request.uri().path(), |pattern| &*pattern.0);
    operation_at(request.method(), path).and_then(scope_of).unwrap_or(Admin)
}

/// The operation of a method at a path, or at a router's pattern such as `/admin/v1/customers/:id`. A path without
/// parameters precedes one with parameters, as in the router.
fn operation_at(method: &Method, path: &str) -> Option<&'static str> {
    // The router answers HEAD as GET.
    let method = if *method == Method::HEAD { Method::GET } else { method.clone() };
    let fitting = operations().iter().filter(|route| route.method == method && route.fits(path));
    fitting.min_by_key(|route| route.path.matches('{').count()).map(|route| route.operation.as_str())
}

/// An admin route as the OpenAPI document has it.
struct AdminRoute {
    method: Method,
    path: String,
    operation: String,
}

impl AdminRoute {
    fn fits(&self, path: &str) -> bool {
        let (mut parts, mut given) = (self.path.split('/'), path.split('/'));
        loop {
            match (parts.next(), given.next()) {
                (None, None) => return true,
                (Some(part), Some(text)) if part == text || (part.starts_with('{') && !text.is_empty()) => {}
                _ => return false,
            }
        }
    }
}

fn operations() -> &'static [AdminRoute] {
    static OPERATIONS: LazyLock<Vec<AdminRoute>> = LazyLock::new(|| {
        let document: Value = serde_json::from_str(&openapi_document()).unwrap_or_default();
        let paths =
            document["paths"].as_object().into_iter().flatten().filter(|(path, _)| path.starts_with(ADMIN_PATH));
        let each = paths.flat_map(|(path, methods)| {
            methods.as_object().into_iter().flatten().filter_map(move |(method, operation)| {
                let operation = operation["operationId"].as_str()?.to_owned();
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).ok()?;
                Some(AdminRoute { method, path: path.clone(), operation })
            })
        });
        each.collect()
    });
    &OPERATIONS
}

/// The table of docs/admin-tokens.md.
pub fn to_markdown() -> String {
    let rows = SCOPES.iter().filter_map(|(operation, scope)| {
        let AdminRoute { method, path, .. } = operations().iter().find(|route| route.operation == *operation)?;
        Some(format!("| `{scope}` | `{method} {path}` | `{operation}` |\n"))
    });
    format!("| scope | route | operation |\n|---|---|---|\n{}", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_admin_route_has_one_row_and_every_row_a_route() {
        let routes: BTreeSet<&str> = operations().iter().map(|route| route.operation.as_str()).collect();
        let rows: BTreeSet<&str> = SCOPES.iter().map(|(operation, _)| *operation).collect();
        assert_eq!(rows, routes);
        assert_eq!(SCOPES.len(), rows.len(), "each operation has one row");
    }

    #[test]
    fn the_table_is_sorted_by_scope_and_name() {
        assert!(SCOPES.is_sorted_by_key(|(operation, scope)| (*scope, *operation)));
    }

    #[test]
    fn a_route_is_found_by_its_path_and_by_the_routers_pattern() {
        let found = operation_at;
        for path in ["/admin/v1/customers/:id", "/admin/v1/customers/cst_1", "/admin/v1/customers/audit"] {
            assert_eq!(found(&Method::GET, path), Some("admin_get_customer"), "{path}");
            assert_eq!(found(&Method::HEAD, path), Some("admin_get_customer"), "{path}");
            assert_eq!(found(&Method::DELETE, path), None, "{path}");
        }
        assert_eq!(found(&Method::GET, "/admin/v1/customers"), Some("admin_list_customers"));
        assert_eq!(found(&Method::POST, "/admin/v1/payments/:id/refund"), Some("admin_refund_payment"));
        assert_eq!(found(&Method::GET, "/admin/v1/catalogue/versions"), Some("admin_list_catalogue_versions"));
        for path in ["/api/v1/customer", "/admin/v1/customers/", "/admin/v1/customers//", "/admin/v1", "", "/"] {
            assert_eq!(found(&Method::GET, path), None, "{path}");
        }
    }

    #[test]
    fn the_documents_table_is_this_one() {
        let document = include_str!("../../docs/admin-tokens.md");
        assert!(document.contains(&to_markdown()), "docs/admin-tokens.md is to have this table:\n{}", to_markdown());
    }

    #[test]
    fn a_read_needs_at_most_read_unless_it_is_about_tokens() {
        for route in operations().iter().filter(|route| route.method == Method::GET) {
            let is_about_tokens = route.path.starts_with("/admin/v1/tokens");
            let expected = if is_about_tokens { Admin } else { Read };
            assert_eq!(scope_of(&route.operation), Some(expected), "{}", route.path);
        }
    }
}
