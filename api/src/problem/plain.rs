//! Problem documents as whole HTTP answers, for connections without a readable request.

use super::code;
use super::{Problem, RETRY_AFTER_S};
use bytes::Bytes;
use poem_openapi::types::ToJSON;

/// The whole answer with this code, after which the connection closes.
pub(crate) fn plain(name: &str) -> Bytes {
    let (status, detail) = code::find(name).map_or((400, ""), |code| (code.status, code.detail));
    let problem = Problem::new(status, name, detail);
    let body = problem.to_json_string();
    let retry_after = if status == 429 { format!("retry-after: {RETRY_AFTER_S}\r\n") } else { String::new() };
    let head = format!(
        "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n{retry_after}\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
        title = problem.title,
        length = body.len(),
    );
    Bytes::from(head + &body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_complete() {
        for name in ["bad_request", "head_timeout", "head_too_large", "too_many_connections"] {
            let answer = String::from_utf8(plain(name).to_vec()).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", problem["status"])), "{head}");
            assert_eq!(problem["code"], name);
        }
    }
}
