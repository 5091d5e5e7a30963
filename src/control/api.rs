//! The HTTP API on the broadcast socket: publishing, session control, and reports.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::failure::Failure;
use super::publisher::Publisher;
use super::settings::Settings;
use super::{receipts, request_body};
use crate::core::body::{self, Body};
use crate::core::ids::{NotAChannelName, NotARowId, RoomName, UserId};
use crate::introspection::{Introspection, TextFormat};
use crate::rooms::{PastRequest, Sessions};
use crate::runtime::drain::Drain;

/// The request handler of the broadcast socket. It outlives reloads.
#[derive(Debug)]
pub(crate) struct Api {
    /// The state and settings of the current configuration.
    shown: ArcSwap<(Arc<Introspection>, Settings)>,
    /// The maximum number of open connections, fixed at the start.
    connections: usize,
    publisher: Publisher,
}

impl Api {
    /// Creates the handler for the process state `introspection` with the limits of `settings`.
    /// Publications are tasks of `drain`; `past_requests` are not published again.
    pub(crate) fn new(
        introspection: Arc<Introspection>,
        settings: Settings,
        past_requests: Vec<PastRequest>,
        drain: Drain,
    ) -> Self {
        Self {
            connections: settings.max_connections.size(),
            shown: ArcSwap::from_pointee((introspection, settings)),
            publisher: Publisher::new(past_requests, drain),
        }
    }

    /// Switches to a reloaded configuration. Requests in progress keep the previous one, and the
    /// maximum number of connections does not change.
    pub(crate) fn replace(&self, introspection: Arc<Introspection>, settings: Settings) {
        self.shown.store(Arc::new((introspection, settings)));
    }

    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    /// Returns the response to `request` from the Unix user ID `peer`, and logs a rejection.
    ///
    /// Cancel safety: if the future is dropped before the body is complete, nothing happens. If
    /// it is dropped later, the edge still publishes the events.
    pub(super) async fn respond(&self, peer: u32, request: Request<Incoming>) -> Response<Body> {
        let shown = self.shown.load_full();
        let (introspection, settings) = &*shown;
        // Read before every response, also a rejection: a client that still writes its body
        // while the edge closes the connection fails, and does not see the response.
        let (head, body) = request.into_parts();
        let body = request_body::read(&head, body, settings.max_body_size.get()).await;
        match self.route(peer, &head, body, introspection, settings).await {
            Ok(answer) => answer,
            Err(failure) => {
                tracing::warn!(
                    name: "broadcast_request_rejected",
                    uid = peer, method = %head.method, path = head.uri.path(), status = failure.status.as_u16(),
                    reason = failure.code, detail = failure.message,
                    "broadcast request rejected"
                );
                json(failure.status, &failure)
            }
        }
    }

    async fn route(
        &self,
        peer: u32,
        head: &Parts,
        body: Result<Bytes, Failure>,
        introspection: &Arc<Introspection>,
        settings: &Settings,
    ) -> Result<Response<Body>, Failure> {
        let allowed = &settings.allowed_uids;
        if !allowed.is_empty() && !allowed.contains(&peer) {
            let message = format!("user id {peer} is not in broadcast.allowed_uids");
            return Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
        let segments: Vec<_> = head.uri.path().split('/').skip(1).collect();
        match (&head.method, &*segments) {
            (&Method::POST, ["broadcast"]) => {
                let (max_events, headers) = (settings.max_events.size(), &head.headers);
                let publishing =
                    self.publisher
                        .broadcast(introspection, max_events, headers, body?);
                Ok(json_bytes(StatusCode::OK, publishing.await?))
            }
            (&Method::POST, ["users", id, "disconnect"]) => {
                to_sessions(introspection, id, Sessions::disconnect_user)
            }
            (&Method::POST, ["users", id, "revalidate"]) => {
                to_sessions(introspection, id, Sessions::revalidate_user)
            }
            (&Method::GET, ["status"]) => Ok(json(StatusCode::OK, &introspection.status())),
            (&Method::GET, ["metrics"]) => Ok(metrics(introspection, &head.headers)),
            (&Method::GET, ["rooms"]) => Ok(json(StatusCode::OK, &introspection.rooms())),
            (&Method::GET, ["rooms", kind @ ("ticket" | "channel"), name]) => {
                let occupants = introspection.occupants(&room(kind, name)?);
                Ok(json(StatusCode::OK, &occupants))
            }
            (&Method::GET, ["users", id, kind @ ("ticket" | "channel"), name]) => {
                let explanation = introspection.explain(&user(id)?, &room(kind, name)?);
                Ok(json(StatusCode::OK, &explanation))
            }
            (&Method::GET, ["positions", position, "receipts"]) => {
                let report = receipts::report(introspection, position)?;
                Ok(json(StatusCode::OK, &report))
            }
            (_, ["broadcast"] | ["users", _, "disconnect" | "revalidate"]) => {
                Err(wrong_method("POST"))
            }
            (
                _,
                ["status" | "metrics" | "rooms"]
                | ["rooms", "ticket" | "channel", _]
                | ["positions", _, "receipts"]
                | ["users", _, "ticket" | "channel", _],
            ) => Err(wrong_method("GET")),
            _ => Err(Failure::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "expected POST /broadcast, /users/{id}/disconnect or /users/{id}/revalidate, \
                 or GET /status, /metrics, /rooms, /rooms/ticket/{id}, /rooms/channel/{name}, \
                 /users/{id}/ticket/{id}, /users/{id}/channel/{name} or \
                 /positions/{position}/receipts",
            )),
        }
    }
}

fn to_sessions(
    introspection: &Introspection,
    id: &str,
    act: impl Fn(&Sessions, &UserId) -> usize,
) -> Result<Response<Body>, Failure> {
    #[derive(Serialize)]
    struct Count {
        sessions: usize,
    }
    let user = user(id)?;
    // The invalidation comes first, so that a session that is about to join cannot rely on an
    // older decision.
    introspection.invalidations.invalidate_user(&user);
    let sessions = act(&introspection.sessions, &user);
    Ok(json(StatusCode::OK, &Count { sessions }))
}

fn user(id: &str) -> Result<UserId, Failure> {
    let id = percent_encoding::percent_decode_str(id).decode_utf8().ok();
    let user = id.and_then(|id| UserId::from_text(&id));
    user.ok_or_else(|| {
        let message = "expected a user's id";
        Failure::new(StatusCode::BAD_REQUEST, "invalid_user", message)
    })
}

/// Returns the room of a ticket or a channel.
fn room(kind: &str, name: &str) -> Result<RoomName, Failure> {
    let room = if kind == "ticket" {
        let id = name.parse().map(RoomName::Ticket);
        id.map_err(|error: NotARowId| error.to_string())
    } else {
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let name = name.parse().map(RoomName::Channel);
        name.map_err(|error: NotAChannelName| error.to_string())
    };
    room.map_err(|message| Failure::new(StatusCode::BAD_REQUEST, "invalid_room", message))
}

fn metrics(introspection: &Introspection, headers: &HeaderMap) -> Response<Body> {
    let format = TextFormat::negotiate(headers);
    let text = format.encode(&introspection.metrics);
    let mut response = Response::new(body::full(text));
    let kind = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn wrong_method(expected: &'static str) -> Failure {
    let message = format!("expected {expected}");
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value);
    json_bytes(
        status,
        text.expect("these types have text keys only").into(),
    )
}

fn json_bytes(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
