//! The facts about one request that its stages share.

use hyper::{Method, Request, Version};

use super::access_log::AccessLogEntry;
use super::routes::Route;
use crate::core::client_ip::ClientIp;
use crate::forwarded::ClientInfo;
use crate::http::rejection::prefers_json;
use crate::http::{Downstream, Rejection, RequestBody, UnreadBytes};

/// The context of one request: its connection, its client, and the facts that decide the
/// form of its response.
#[derive(Debug)]
pub(super) struct RequestContext<'a> {
    pub(super) downstream: &'a Downstream,
    /// Address, request id, and the headers of a trusted proxy.
    pub(super) client_info: ClientInfo,
    pub(super) version: Version,
    pub(super) is_head: bool,
    /// The rest of the request's body.
    pub(super) unread_bytes: UnreadBytes,
    /// Whether a rejection is rendered as JSON.
    pub(super) prefers_json: bool,
    /// Method, path, start time, route and outcome, for the log and the metrics. It is
    /// logged when the context is dropped, so also if the request is cancelled.
    pub(super) log_entry: AccessLogEntry,
}

impl<'a> RequestContext<'a> {
    /// Creates the context of `request`.
    pub(super) fn new(
        downstream: &'a Downstream,
        client_info: ClientInfo,
        log_entry: AccessLogEntry,
        request: &Request<RequestBody>,
    ) -> Self {
        Self {
            downstream,
            client_info,
            version: request.version(),
            is_head: request.method() == Method::HEAD,
            unread_bytes: request.body().unread_bytes(),
            prefers_json: prefers_json(request.headers()),
            log_entry,
        }
    }

    /// Returns the address of the client.
    pub(super) fn client(&self) -> ClientIp {
        self.client_info.client
    }

    /// Returns whether the client has connected itself. A trusted proxy shares its
    /// connection among clients.
    pub(super) fn is_direct(&self) -> bool {
        self.client() == self.downstream.peer
    }

    /// Returns the client's source port, or `None` behind a proxy.
    pub(super) fn client_port(&self) -> Option<u16> {
        self.downstream.port.filter(|_| self.is_direct())
    }

    /// Sets the route, in whose metrics the request counts.
    pub(super) fn set_route(&mut self, route: &Route) {
        self.log_entry.set_route(&route.metrics);
    }

    /// Returns the reason why the edge itself responds, once it is known.
    pub(super) fn rejection(&self) -> Option<Rejection> {
        self.log_entry.rejection()
    }
}
