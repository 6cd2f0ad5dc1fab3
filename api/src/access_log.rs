//! The access log: one line for each request, once its answer is sent or given up.
//!
//! A request only hands a record to a bounded queue. A thread of its own makes the lines and writes them, so that no
//! request waits for the standard error. If the queue is full, the line is dropped and counted
//! (`bursar_access_log_lost_lines_total`).
//!
//! A line never has what a path or a query may hide: it names the route's template instead. The log filter decides
//! which lines there are: the target is [`TARGET`], the level `INFO`, and `DEBUG` for health and metrics.

mod line;
mod writer;

pub use writer::{AccessLog, FLUSH_MAX};

use crate::client_ip::client_of;
use crate::request_id::{Caller, RequestId, TraceId};
use bursar_engine::clock::{Clock, TimeMs};
use ipnet::IpNet;
use poem::http::StatusCode;
use poem::web::RemoteAddr;
use poem::{Addr, Request, Response};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::Instant;

/// The target of its lines in the log filter.
pub const TARGET: &str = "bursar::access";

/// The log of this process, if [`logging`](crate::logging) has started it.
static LOG: OnceLock<AccessLog> = OnceLock::new();

/// Sets the log of this process. A second one is ignored.
pub(crate) fn set(log: AccessLog) {
    let _ = LOG.set(log);
}

/// Waits until the lines so far are written, at most [`FLUSH_MAX`].
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.flush();
    }
}

/// What is known of a request and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When it ended.
    pub ended_at_ms: TimeMs,
    /// Its method; `other` if it is none that Bursar knows.
    pub method: &'static str,
    /// The template of its route, such as `/api/v1/holds/{id}`; `other` if there is none.
    pub route: &'static str,
    /// The status of the answer; `None` if the client was gone before there was one.
    pub status: Option<StatusCode>,
    /// From its head to the end of the answer.
    pub duration: Duration,
    /// Bytes of the answer's body that were handed to the connection.
    pub bytes: u64,
    /// Whether the answer ended before all of it was handed over.
    pub is_cut: bool,
    /// Who sent it.
    pub caller: Option<Caller>,
    /// Its identifier.
    pub id: RequestId,
    /// The trace that it belongs to.
    pub trace: Option<TraceId>,
    /// The peer of the connection.
    pub peer: Option<IpAddr>,
    /// The client that a trusted proxy names, if it is another.
    pub client: Option<IpAddr>,
}

/// A request that is under way. When it is dropped, it is logged as it stands.
pub struct Pending {
    record: Option<Record>,
    started: Instant,
    log: &'static AccessLog,
}

impl Pending {
    /// Begins with the head of a request; `None` if there is to be no line.
    pub fn begin(
        request: &Request,
        method: &'static str,
        (id, trace): (&RequestId, Option<TraceId>),
        trusted: &[IpNet],
    ) -> Option<Self> {
        let log = LOG.get().filter(|_| is_wanted(request.uri().path()))?;
        let peer = match request.remote_addr() {
            RemoteAddr(Addr::SocketAddr(peer)) => Some(peer.ip().to_canonical()),
            _ => None,
        };
        let record = Record {
            ended_at_ms: 0,
            method,
            route: "other",
            status: None,
            duration: Duration::ZERO,
            bytes: 0,
            is_cut: false,
            caller: None,
            id: id.clone(),
            trace,
            peer,
            client: client_of(request, trusted).filter(|client| Some(*client) != peer),
        };
        Some(Self { record: Some(record), started: Instant::now(), log })
    }

    /// Notes the route.
    pub fn set_route(&mut self, route: &'static str) {
        if let Some(record) = &mut self.record {
            record.route = route;
        }
    }

    /// Notes the head of the answer.
    pub fn set_answer(&mut self, response: &Response, caller: Option<Caller>) {
        if let Some(record) = &mut self.record {
            record.status = Some(response.status());
            record.caller = caller;
        }
    }

    /// Notes that so many bytes of the body were handed over.
    pub fn add_bytes(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.bytes += bytes as u64;
        }
    }

    /// Notes that the rest of the body will not be handed over.
    pub fn cut(&mut self) {
        if let Some(record) = &mut self.record {
            record.is_cut = true;
        }
    }
}

/// Whether the log filter lets lines about this path pass.
fn is_wanted(path: &str) -> bool {
    if path == "/metrics" || path.split('/').nth(1) == Some("health") {
        tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
    } else {
        tracing::enabled!(target: TARGET, tracing::Level::INFO)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.duration = self.started.elapsed();
            record.ended_at_ms = Clock::System.now_ms();
            self.log.push(record);
        }
    }
}

#[cfg(test)]
impl Pending {
    /// A request for tests, which has sent nothing yet.
    pub(crate) fn example(log: &'static AccessLog) -> Self {
        Self { record: Some(Record { bytes: 0, ..example() }), started: Instant::now(), log }
    }
}

/// A record for tests.
#[cfg(test)]
pub(crate) fn example() -> Record {
    use poem::http::{HeaderMap, HeaderValue};
    let headers = HeaderMap::from_iter([
        (crate::request_id::REQUEST_ID, HeaderValue::from_static("abc-1")),
        (
            poem::http::HeaderName::from_static("traceparent"),
            HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ),
    ]);
    Record {
        ended_at_ms: 1_795_996_800_000,
        method: "POST",
        route: "/api/v1/usage",
        status: Some(StatusCode::CREATED),
        duration: Duration::from_micros(1_234),
        bytes: 345,
        is_cut: false,
        caller: Some(Caller::Customer(bursar_engine::ids::CustomerId::trusted(
            "cst_00000000000000000000000000".to_owned(),
        ))),
        id: RequestId::of(&headers),
        trace: TraceId::of(&headers),
        peer: Some(IpAddr::from([10, 0, 0, 1])),
        client: Some(IpAddr::from([203, 0, 113, 7])),
    }
}
