//! What the access log learns of a request before its answer is sent.

use crate::access_log::Pending;
use crate::exchange::Exchange;
use crate::request_id::{Caller, RequestId, TraceId};
use crate::route_table::RouteTable;
use ipnet::IpNet;
use poem::{Request, Response};
use poem_openapi::OperationId;
use std::sync::Arc;

/// A request for the access log. If it is dropped before there is an answer, its client is gone, and it is logged so.
pub struct Logged<'a> {
    pending: Option<Pending>,
    exchange: Option<Arc<Exchange>>,
    routes: &'a RouteTable,
    path: &'a str,
}

impl<'a> Logged<'a> {
    /// Begins with the head of a request for `path`.
    pub fn begin(
        request: &Request,
        (method, path): (&'static str, &'a str),
        ids: (&RequestId, Option<TraceId>),
        trusted: &[IpNet],
        routes: &'a RouteTable,
    ) -> Self {
        let pending = Pending::begin(request, method, ids, trusted);
        let exchange = request.data::<Arc<Exchange>>().filter(|_| pending.is_some()).cloned();
        Self { pending, exchange, routes, path }
    }

    /// Leaves the request to the body of its answer.
    pub fn answer(mut self, response: &Response, caller: Option<Caller>) {
        let Some(mut pending) = self.pending.take() else { return };
        let operation = response.data::<OperationId>().and_then(|id| self.routes.template_of(id.0));
        pending.set_route(operation.unwrap_or_else(|| self.routes.template_at(self.path)));
        pending.set_answer(response, caller);
        if let Some(exchange) = &self.exchange {
            exchange.leave_answered(pending);
        }
    }
}

impl Drop for Logged<'_> {
    fn drop(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.set_route(self.routes.template_at(self.path));
        }
    }
}
