//! Headers that every answer has.

use crate::route_table::RouteTable;
use poem::Response;
use poem::http::{HeaderName, HeaderValue, StatusCode, header};

/// Answers hold keys and ledgers, so nobody stores them. Documents say otherwise themselves.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Nothing of an answer is to be shown as a page, and no page may show it in a frame. Pages have a policy of their own.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
/// What every answer has unless it says otherwise.
const ALWAYS: [(HeaderName, HeaderValue); 5] = [
    (header::CACHE_CONTROL, NO_STORE),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];
/// How a customer authenticates. The scheme is not registered: an API key in a header has none.
const CUSTOMER: HeaderValue = HeaderValue::from_static("ApiKey realm=\"bursar\", header=\"x-api-key\"");
/// How staff authenticate (RFC 6750).
const STAFF: HeaderValue = HeaderValue::from_static("Bearer realm=\"bursar\"");
/// The same after a token that was refused.
const STAFF_AGAIN: HeaderValue = HeaderValue::from_static("Bearer realm=\"bursar\", error=\"invalid_token\"");

/// Completes the headers of the answer to a request for `path`, which had `Authorization` if `has_token`.
pub fn complete(response: &mut Response, path: &str, has_token: bool, routes: &RouteTable) {
    let status = response.status();
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(value);
    }
    if status == StatusCode::UNAUTHORIZED {
        let way = match (path.starts_with("/admin/"), has_token) {
            (true, true) => STAFF_AGAIN,
            (true, false) => STAFF,
            (false, _) => CUSTOMER,
        };
        headers.entry(header::WWW_AUTHENTICATE).or_insert(way);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Some(methods) = routes.allow(path).and_then(|methods| HeaderValue::from_str(&methods).ok())
    {
        headers.insert(header::ALLOW, methods);
    }
}
