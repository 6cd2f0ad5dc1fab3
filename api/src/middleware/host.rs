//! Refuses requests whose `Host` is missing, duplicate or unreadable (RFC 9112, section 3.2). A proxy and this server
//! could disagree about such a request.

use crate::problem::ApiError;
use poem::Request;
use poem::http::uri::Authority;
use poem::http::{HeaderMap, Version, header};

/// Checks the header. HTTP/1.0 does not require it.
///
/// # Errors
/// `bad_request`.
pub fn check(request: &Request) -> Result<(), ApiError> {
    let is_required = request.version() > Version::HTTP_10;
    check_headers(request.headers(), is_required).map_err(|detail| ApiError::bad_request("bad_request", detail))
}

fn check_headers(headers: &HeaderMap, is_required: bool) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if is_required => Err("The header Host is missing."),
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err("The header Host was sent more than once."),
        (Some(host), None) => {
            let authority = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
            let is_host = authority.is_some_and(|authority| !authority.as_str().contains('@'));
            if is_host { Ok(()) } else { Err("The header Host is not a host with an optional port.") }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn is_accepted(hosts: &[&str], is_required: bool) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        check_headers(&headers, is_required).is_ok()
    }

    #[test]
    fn exactly_one_readable_host_is_accepted() {
        for host in ["bursar", "api.example.com", "127.0.0.1:8080", "[::1]:8080"] {
            assert!(is_accepted(&[host], true), "{host}");
        }
        for hosts in [&[][..], &[""], &["a", "b"], &["a", "a"], &["user@host"], &["a/b"], &["a b"], &["http://a"]] {
            assert!(!is_accepted(hosts, true), "{hosts:?}");
        }
        assert!(is_accepted(&[], false) && !is_accepted(&["a", "b"], false));
    }
}
