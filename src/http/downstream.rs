//! The facts about a downstream connection that its requests share.

use std::sync::Arc;

use super::RejectionCounter;
use crate::core::client_ip::ClientIp;
use crate::limit::Permit;
use crate::runtime::activity::ActivityTracker;
use crate::tls::{Alpn, ClientSubject};

/// The facts about a downstream connection that its requests share.
#[derive(Debug)]
pub(crate) struct Downstream {
    /// The address of the client, or of the proxy in front of it.
    pub(crate) peer: ClientIp,
    /// Whether the PROXY header names no client. `peer` is the proxy then, but the proxy
    /// passes the bytes on unread, so the HTTP headers are the client's.
    pub(crate) is_unnamed: bool,
    /// The HTTP version that ALPN has negotiated.
    pub(crate) alpn: Alpn,
    /// The client's source port; `None` if a proxy connects for it.
    pub(crate) port: Option<u16>,
    /// The subject of the client's certificate, if it was requested and valid.
    pub(crate) subject: Option<ClientSubject>,
    /// The permit of the connection. A WebSocket session shares it and keeps it.
    pub(crate) permit: Arc<Permit>,
    /// The activity of the connection.
    pub(crate) activity: ActivityTracker,
    /// The requests that limits have rejected on this connection.
    pub(crate) rejections: Arc<RejectionCounter>,
}
