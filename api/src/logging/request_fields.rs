//! Adds the identifiers of the request that the task answers to the end of a line. Nothing is prepared for requests
//! that log nothing, which are nearly all.

use crate::request_id;
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// A format that ends with the request's identifiers.
pub(super) struct WithRequest<F> {
    inner: F,
    is_json: bool,
}

impl<F> WithRequest<F> {
    /// Completes a format of text.
    pub(super) fn human(inner: F) -> Self {
        Self { inner, is_json: false }
    }

    /// Completes a format of one JSON object a line.
    pub(super) fn json(inner: F) -> Self {
        Self { inner, is_json: true }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(fields) = request_id::with_current(|id, trace| fields(self.is_json, id, trace)) else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let end = if self.is_json { "}\n" } else { "\n" };
        match line.strip_suffix(end) {
            Some(start) => write!(writer, "{start}{fields}{end}"),
            None => writer.write_str(&line),
        }
    }
}

/// The identifiers need no escapes.
fn fields(is_json: bool, id: &str, trace: Option<&str>) -> String {
    match (is_json, trace) {
        (true, Some(trace)) => format!(r#","request_id":"{id}","trace_id":"{trace}""#),
        (true, None) => format!(r#","request_id":"{id}""#),
        (false, Some(trace)) => format!(" request_id={id} trace_id={trace}"),
        (false, None) => format!(" request_id={id}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::logging::Output;
    use crate::request_id::{REQUEST_ID, RequestId, TraceId, answering};
    use poem::http::{HeaderMap, HeaderName, HeaderValue};
    use std::sync::Mutex;
    use tracing::instrument::WithSubscriber;
    use tracing_subscriber::fmt::format;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    static JSON: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    static HUMAN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    /// Logs a line outside of a request, and one while a request is answered.
    async fn log_twice() {
        tracing::warn!("before");
        let traceparent = HeaderValue::try_from(format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
        let headers = HeaderMap::from_iter([
            (REQUEST_ID, HeaderValue::from_static("abc-1")),
            (HeaderName::from_static("traceparent"), traceparent),
        ]);
        let answer = async { tracing::error!(error = "no \"disk\"", "a request failed") };
        answering(RequestId::of(&headers), TraceId::of(&headers), answer).await;
    }

    fn lines(log: &Mutex<Vec<u8>>) -> Vec<String> {
        String::from_utf8(log.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_line_of_a_request_has_its_identifiers_as_json() {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(|| Output(|line| JSON.lock().unwrap().extend_from_slice(line)))
            .fmt_fields(format::JsonFields::new())
            .event_format(WithRequest::json(format::format().json().flatten_event(true)))
            .finish();
        log_twice().with_subscriber(subscriber).await;
        let lines = lines(&JSON);
        let [before, during] = &lines[..] else { panic!("{lines:?}") };
        assert!(!before.contains("request_id"), "{before}");
        let during: serde_json::Value = serde_json::from_str(during).unwrap();
        let found = ["message", "error", "request_id", "trace_id"].map(|field| during[field].as_str());
        assert_eq!(found, ["a request failed", "no \"disk\"", "abc-1", TRACE].map(Some), "{during}");
    }

    #[tokio::test]
    async fn a_line_of_a_request_has_its_identifiers_as_text() {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(|| Output(|line| HUMAN.lock().unwrap().extend_from_slice(line)))
            .event_format(WithRequest::human(format::format().with_ansi(false)))
            .finish();
        log_twice().with_subscriber(subscriber).await;
        let lines = lines(&HUMAN);
        let [before, during] = &lines[..] else { panic!("{lines:?}") };
        assert!(before.ends_with("before"), "{before}");
        assert!(during.ends_with(&format!(" request_id=abc-1 trace_id={TRACE}")), "{during}");
    }
}
