//! A line of the access log, for programs and for people.

use super::{Record, TARGET};
use crate::logging::Format;
use crate::request_id::{Caller, TraceId};
use bursar_engine::clock::rfc3339;
use serde::Serialize;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

/// A line as JSON, with the same first fields as all other lines of the log.
#[derive(Serialize)]
pub struct Line<'a> {
    timestamp: String,
    level: &'static str,
    message: &'static str,
    method: &'a str,
    route: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    duration_ms: f64,
    bytes: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    target: &'static str,
}

impl<'a> Line<'a> {
    /// The line about a request.
    pub fn new(record: &'a Record) -> Self {
        let (customer, admin) = match &record.caller {
            Some(Caller::Customer(customer)) => (Some(customer.as_str()), None),
            Some(Caller::Admin(actor)) => (None, Some(actor.as_str())),
            None => (None, None),
        };
        Self {
            timestamp: rfc3339(record.ended_at_ms),
            level: if is_monitoring(record.route) { "DEBUG" } else { "INFO" },
            message: "request",
            method: record.method,
            route: record.route,
            status: record.status.map(|status| status.as_u16()),
            duration_ms: milliseconds(record.duration),
            bytes: record.bytes,
            cut: record.is_cut || record.status.is_none(),
            customer,
            admin,
            request_id: record.id.as_str(),
            trace_id: record.trace.as_ref().map(TraceId::as_str),
            peer: record.peer,
            client: record.client,
            target: TARGET,
        }
    }

    /// Appends it, with a line break.
    pub fn write(&self, format: Format, text: &mut String) {
        match format {
            Format::Json => text.push_str(&serde_json::to_string(self).unwrap_or_default()),
            Format::Human => self.write_for_people(text),
        }
        text.push('\n');
    }

    fn write_for_people(&self, text: &mut String) {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{} {:>5} {} {} {status} {} ms {} B",
            self.timestamp, self.level, self.method, self.route, self.duration_ms, self.bytes
        );
        if self.cut {
            text.push_str(" cut");
        }
        let (peer, client) = (self.peer.map(|peer| peer.to_string()), self.client.map(|client| client.to_string()));
        for (name, value) in [
            ("customer", self.customer),
            ("admin", self.admin),
            ("request_id", Some(self.request_id)),
            ("trace_id", self.trace_id),
            ("peer", peer.as_deref()),
            ("client", client.as_deref()),
        ] {
            if let Some(value) = value {
                let _ = write!(text, " {name}={value}");
            }
        }
    }
}

fn is_monitoring(route: &str) -> bool {
    route == "/metrics" || route.starts_with("/health")
}

/// Milliseconds with three decimals.
#[allow(clippy::cast_precision_loss, reason = "microseconds of a request are far below 2^53")]
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::access_log::example;
    use serde_json::{Value, json};

    fn written(record: &Record, format: Format) -> String {
        let mut text = String::new();
        Line::new(record).write(format, &mut text);
        text
    }

    #[test]
    fn a_line_for_programs_is_one_object_with_a_field_for_each_fact() {
        let text = written(&example(), Format::Json);
        let line: Value = serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap();
        let expected = json!({
            "timestamp": "2026-11-30T00:00:00.000Z",
            "level": "INFO",
            "message": "request",
            "method": "POST",
            "route": "/api/v1/usage",
            "status": 201,
            "duration_ms": 1.234,
            "bytes": 345,
            "customer": "cst_00000000000000000000000000",
            "request_id": "abc-1",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "peer": "10.0.0.1",
            "client": "203.0.113.7",
            "target": "bursar::access",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_line_for_people_has_the_same_facts() {
        assert_eq!(
            written(&example(), Format::Human),
            "2026-11-30T00:00:00.000Z  INFO POST /api/v1/usage 201 1.234 ms 345 B \
             customer=cst_00000000000000000000000000 request_id=abc-1 trace_id=4bf92f3577b34da6a3ce929d0e0e4736 \
             peer=10.0.0.1 client=203.0.113.7\n"
        );
    }

    #[test]
    fn an_answer_that_was_not_sent_to_its_end_is_marked() {
        let cut = Record { is_cut: true, ..example() };
        assert!(written(&cut, Format::Json).contains("\"cut\":true"));
        let gone = Record { status: None, caller: None, trace: None, client: None, route: "other", ..example() };
        assert_eq!(
            written(&gone, Format::Human),
            "2026-11-30T00:00:00.000Z  INFO POST other - 1.234 ms 345 B cut request_id=abc-1 peer=10.0.0.1\n"
        );
        assert!(!written(&gone, Format::Json).contains("status"));
    }

    #[test]
    fn staff_are_named_as_in_the_audit_log_and_monitoring_is_debug() {
        let staff = Record { caller: Some(Caller::Admin("admin:ada/adt_1".to_owned())), ..example() };
        assert!(written(&staff, Format::Human).contains(" admin=admin:ada/adt_1 "));
        let health = Record { route: "/health/ready", ..example() };
        assert!(written(&health, Format::Json).contains("\"level\":\"DEBUG\""));
    }
}
