//! Lets pages of configured origins call the customers' routes. Without an origin, browsers keep all pages out.

use crate::route_table::RouteTable;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};

/// The customers' routes. Staff, webhooks and health are not for pages.
const PATHS: &str = "/api/v1/";
/// Headers that a page may send.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("content-type, idempotency-key, x-api-key, x-request-id");
/// Headers of an answer that a page may read, apart from those that it always may.
const ANSWER_HEADERS: HeaderValue =
    HeaderValue::from_static("location, ratelimit, ratelimit-policy, retry-after, x-request-id");
/// How long a browser may remember a preflight, in seconds.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// What a page's request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// CORS is not configured, or the route is not for pages.
    Nothing,
    /// The answer differs by origin, and this origin is none that is allowed.
    Refused,
    /// An allowed origin.
    Allowed(HeaderValue),
}

/// The allowed origins.
pub struct Cors(Vec<HeaderValue>);

impl Cors {
    /// Allows exactly these.
    pub fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
    }

    /// Looks at the origin of a request.
    pub fn ask(&self, request: &Request) -> Asked {
        if self.0.is_empty() || !request.uri().path().starts_with(PATHS) {
            return Asked::Nothing;
        }
        match request.headers().get(header::ORIGIN) {
            Some(origin) if self.0.contains(origin) => Asked::Allowed(origin.clone()),
            _ => Asked::Refused,
        }
    }
}

/// Answers a browser that asks before it sends a request.
pub fn answer_preflight(request: &Request, asked: &Asked, routes: &RouteTable) -> Option<Response> {
    let is_preflight = *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && matches!(asked, Asked::Allowed(_));
    let methods = is_preflight.then(|| routes.allow(request.uri().path())).flatten()?;
    let mut response = Response::builder().status(StatusCode::NO_CONTENT).finish();
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(&methods) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    Some(response)
}

/// Adds the headers of an answer.
pub fn mark(headers: &mut HeaderMap, asked: Asked) {
    if asked == Asked::Nothing {
        return;
    }
    headers.append(header::VARY, HeaderValue::from_name(HeaderName::from_static("origin")));
    if let Asked::Allowed(origin) = asked {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &'static str, origin: &str) -> Asked {
        let cors = Cors::new(&["https://app.example.com".to_owned()]);
        let uri = poem::http::Uri::from_static(path);
        cors.ask(&Request::builder().uri(uri).header(header::ORIGIN, origin).finish())
    }

    #[test]
    fn only_an_exact_origin_is_allowed_and_only_on_customers_routes() {
        let allowed = Asked::Allowed(HeaderValue::from_static("https://app.example.com"));
        assert_eq!(asked("/api/v1/credits", "https://app.example.com"), allowed);
        for origin in ["https://app.example.com.evil.example", "http://app.example.com", "null", ""] {
            assert_eq!(asked("/api/v1/credits", origin), Asked::Refused, "{origin}");
        }
        for path in ["/admin/v1/customers", "/webhooks/stripe", "/health", "/docs"] {
            assert_eq!(asked(path, "https://app.example.com"), Asked::Nothing, "{path}");
        }
        assert_eq!(Cors::new(&[]).ask(&Request::builder().finish()), Asked::Nothing);
    }
}
