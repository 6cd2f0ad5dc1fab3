//! Errors of client commands.

use reqwest::StatusCode;
use serde_json::{Value, json};
use std::fmt;

/// Maximum number of characters quoted from an answer that is not a problem document.
const ANSWER_LEN_MAX: usize = 200;

/// An error of a client command. `Display` is the whole message.
#[derive(Debug)]
pub enum Error {
    /// No server listens at the URL.
    NoServer {
        /// The server's URL.
        url: String,
    },
    /// The request was not sent, or its answer did not arrive.
    Transport {
        /// The server's URL.
        url: String,
        /// The failure with its causes.
        reason: String,
        /// Whether the request may have reached the server.
        sent: bool,
    },
    /// The server answered with an error.
    Problem {
        /// The HTTP status.
        status: StatusCode,
        /// A description for people.
        detail: String,
        /// The stable code, or the status.
        code: String,
    },
    /// The answer is not one of a Bursar server.
    Unreadable {
        /// The server's URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Classifies a failure of the HTTP client.
    pub fn from_transport(url: &str, timeout_s: u64, error: &reqwest::Error) -> Self {
        let url = url.to_owned();
        if error.is_connect() && is_refused(error) {
            return Self::NoServer { url };
        }
        let reason = match (error.is_timeout(), error.is_connect()) {
            (true, true) => "no connection in time".to_owned(),
            (true, false) => format!("no answer within {timeout_s} s"),
            (false, _) => causes(error),
        };
        Self::Transport { url, reason, sent: !error.is_connect() && !error.is_builder() }
    }

    /// Reads an error answer: an RFC 9457 problem document, or any text of a proxy.
    pub fn from_answer(status: StatusCode, body: &str) -> Self {
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        let field = |name: &str| problem[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let detail = field("detail").or_else(|| field("title")).unwrap_or_else(|| {
            let start: String = body.trim().chars().take(ANSWER_LEN_MAX).collect();
            if start.is_empty() { format!("the server answered {status}") } else { format!("{status}: {start}") }
        });
        Self::Problem { status, detail, code: field("code").unwrap_or_else(|| status.as_str().to_owned()) }
    }

    /// Whether the same request may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoServer { .. } | Self::Transport { .. } => true,
            Self::Problem { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Unreadable { .. } => false,
        }
    }

    /// Whether the server may have done what was asked, in spite of the failure.
    pub fn may_have_committed(&self) -> bool {
        match self {
            Self::NoServer { .. } => false,
            Self::Transport { sent, .. } => *sent,
            Self::Problem { status, .. } => status.is_server_error(),
            Self::Unreadable { .. } => true,
        }
    }
}

/// What is known of a failed command, as `--json` prints it: `code` and `detail`, like a problem document of the
/// server, and its `status` if the server answered.
pub fn to_json(error: &anyhow::Error) -> Value {
    let detail = format!("{error:#}");
    if error.downcast_ref::<clap::Error>().is_some() {
        return json!({ "code": "usage", "detail": detail.trim_end() });
    }
    match (error.downcast_ref::<Error>(), error.downcast_ref::<bursar_engine::Error>()) {
        (Some(Error::Problem { status, detail, code }), _) => {
            json!({ "code": code, "detail": detail, "status": status.as_u16() })
        }
        (Some(Error::NoServer { url }), _) => json!({ "code": "no_server", "detail": detail, "url": url }),
        (Some(Error::Transport { url, .. }), _) => json!({ "code": "no_answer", "detail": detail, "url": url }),
        (Some(Error::Unreadable { url, .. }), _) => {
            json!({ "code": "unreadable_answer", "detail": detail, "url": url })
        }
        (None, Some(bursar_engine::Error::Config(problems))) => {
            json!({ "code": "invalid_configuration", "detail": detail, "problems": problems })
        }
        (None, _) => json!({ "code": "failed", "detail": detail }),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer { url } => write!(
                f,
                "no server answers at {url}\nStart one with `bursar serve`, or name another with --url or BURSAR_URL."
            ),
            Self::Transport { url, reason, .. } => write!(f, "{url}: {reason}"),
            Self::Problem { status, detail, code } => {
                write!(f, "{detail} ({code})")?;
                if *status == StatusCode::UNAUTHORIZED {
                    write!(
                        f,
                        "\nThe admin token comes from --token, BURSAR_ADMIN_TOKEN, the configuration or the data folder."
                    )?;
                }
                Ok(())
            }
            Self::Unreadable { url, reason } => write!(f, "is {url} a Bursar server? {reason}"),
        }
    }
}

impl std::error::Error for Error {}

fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The causes in one line, without the outermost two: they repeat the URL and name a layer of the
/// HTTP client.
fn causes(error: &reqwest::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        let is_new = texts.last().is_none_or(|last| !last.ends_with(&text));
        if is_new && !text.starts_with("client error (") {
            texts.push(text);
        }
        cause = error.source();
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_with_its_code() {
        let body = r#"{"type":"about:blank","title":"Conflict","status":409,"code":"replay_state","detail":"it runs"}"#;
        assert_eq!(Error::from_answer(StatusCode::CONFLICT, body).to_string(), "it runs (replay_state)");
    }

    #[test]
    fn every_error_has_a_code_and_a_detail_in_json() {
        let body = r#"{"status":409,"code":"replay_state","detail":"it runs"}"#;
        let refused = Error::from_answer(StatusCode::CONFLICT, body).into();
        assert_eq!(to_json(&refused), json!({ "code": "replay_state", "detail": "it runs", "status": 409 }));
        let url = || "http://h:1".to_owned();
        let nobody = to_json(&Error::NoServer { url: url() }.into());
        assert_eq!((&nobody["code"], &nobody["url"]), (&json!("no_server"), &json!("http://h:1")));
        let silent = to_json(&Error::Transport { url: url(), reason: "reset".to_owned(), sent: true }.into());
        assert_eq!((&silent["code"], &silent["detail"]), (&json!("no_answer"), &json!("http://h:1: reset")));
        let wrong = to_json(&bursar_engine::Error::Config(vec!["a".to_owned(), "b".to_owned()]).into());
        assert_eq!((&wrong["code"], &wrong["problems"]), (&json!("invalid_configuration"), &json!(["a", "b"])));
        assert_eq!(to_json(&crate::cli::usage("no such day"))["code"], "usage");
        assert_eq!(to_json(&anyhow::anyhow!("it broke")), json!({ "code": "failed", "detail": "it broke" }));
    }

    #[test]
    fn the_answer_of_a_proxy_is_quoted_and_truncated() {
        let error = Error::from_answer(StatusCode::BAD_GATEWAY, &"x".repeat(10_000));
        assert!(error.to_string().len() < 300);
        assert!(error.is_retryable() && error.may_have_committed());
        let empty = Error::from_answer(StatusCode::BAD_GATEWAY, "");
        assert_eq!(empty.to_string(), "the server answered 502 Bad Gateway (502)");
    }
}
