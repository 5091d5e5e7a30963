//! The HTTP API on the broadcast socket: publishing, session control, and reports.

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::oneshot;

use super::decode::{Broadcast, Broadcasts, decode};
use super::failure::Failure;
use super::idempotency::{Key, RequestDigest, ResponseCache};
use super::request_body;
use super::settings::Settings;
use crate::core::body::{self, Body};
use crate::core::ids::{NotARowId, RoomName, RowId, UserId};
use crate::introspection::{Introspection, TextFormat};
use crate::rooms::{Delivered, Sessions};
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

/// The sessions and users that one event reached.
#[derive(Serialize)]
struct DeliveryReport {
    sessions: usize,
    users: Vec<UserId>,
}

impl From<Delivered> for DeliveryReport {
    fn from(delivered: Delivered) -> Self {
        Self {
            sessions: delivered.sessions,
            users: delivered.users,
        }
    }
}

impl Api {
    /// Creates the handler for the process state `introspection` with the limits of `settings`.
    /// Publications are tasks of `drain`.
    pub(crate) fn new(introspection: Arc<Introspection>, settings: Settings, drain: Drain) -> Self {
        Self {
            connections: settings.max_connections.size(),
            shown: ArcSwap::from_pointee((introspection, settings)),
            publisher: Publisher {
                answers: Arc::new(ResponseCache::new()),
                drain,
            },
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
                let publisher = &self.publisher;
                let (headers, body) = (&head.headers, body?);
                publisher
                    .broadcast(introspection, settings, headers, body)
                    .await
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
            (&Method::GET, ["rooms", "ticket", id]) => {
                let occupants = introspection.occupants(RoomName::ticket(ticket(id)?));
                Ok(json(StatusCode::OK, &occupants))
            }
            (&Method::GET, ["users", id, "ticket", number]) => {
                let room = RoomName::ticket(ticket(number)?);
                Ok(json(
                    StatusCode::OK,
                    &introspection.explain(&user(id)?, room),
                ))
            }
            (_, ["broadcast"] | ["users", _, "disconnect" | "revalidate"]) => {
                Err(wrong_method("POST"))
            }
            (
                _,
                ["status" | "metrics" | "rooms"]
                | ["rooms", "ticket", _]
                | ["users", _, "ticket", _],
            ) => Err(wrong_method("GET")),
            _ => Err(Failure::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "expected POST /broadcast, /users/{id}/disconnect or /users/{id}/revalidate, \
                 or GET /status, /metrics, /rooms, /rooms/ticket/{id} or /users/{id}/ticket/{id}",
            )),
        }
    }
}

/// Publishes the events of complete requests.
#[derive(Debug)]
struct Publisher {
    answers: Arc<ResponseCache>,
    /// Runs the publications that are under way.
    drain: Drain,
}

impl Publisher {
    async fn broadcast(
        &self,
        introspection: &Arc<Introspection>,
        settings: &Settings,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, Failure> {
        let key = idempotency_key(headers)?;
        let broadcasts = decode(&body, settings.max_events.size())?;
        let waiting_for = introspection
            .rooms
            .is_any_behind(broadcasts.rooms())
            .then(|| broadcasts.rooms().collect::<Vec<_>>());
        let (answers, introspection) = (Arc::clone(&self.answers), Arc::clone(introspection));
        let publish = {
            let introspection = Arc::clone(&introspection);
            move || {
                let publish = || publish_all(&introspection, broadcasts);
                match key {
                    Some((key, wanted)) => answers.get_or_run(key, wanted, &body, publish),
                    None => Ok(publish()),
                }
            }
        };
        let Some(rooms) = waiting_for else {
            return Ok(json_bytes(StatusCode::OK, publish()?));
        };
        // A task of its own: hyper drops this future when its client disconnects, and the edge
        // still publishes a body that was complete. It does so at once, because the connection
        // no longer counts towards the limit of connections.
        let (_connected, disconnected) = oneshot::channel::<Infallible>();
        let publishing = self.drain.spawn(async move {
            tokio::select! {
                () = introspection.rooms.apply_backpressure(&rooms) => {}
                _ = disconnected => {}
            }
            publish()
        });
        match publishing.await {
            Ok(answer) => Ok(json_bytes(StatusCode::OK, answer?)),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, which ends this task, too.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

fn publish_all(introspection: &Introspection, broadcasts: Broadcasts) -> Bytes {
    match broadcasts {
        Broadcasts::One(event) => to_json(&publish(introspection, event)),
        Broadcasts::Many(events) => {
            let reached = events
                .into_iter()
                .map(|event| publish(introspection, event));
            to_json(&reached.collect::<Vec<_>>())
        }
    }
}

fn publish(introspection: &Introspection, event: Broadcast) -> DeliveryReport {
    introspection.rooms.published().broadcast.inc();
    introspection.rooms.publish(event.into_publication()).into()
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

fn ticket(id: &str) -> Result<RowId, Failure> {
    id.parse().map_err(|error: NotARowId| {
        Failure::new(StatusCode::BAD_REQUEST, "invalid_room", error.to_string())
    })
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

fn idempotency_key(headers: &HeaderMap) -> Result<Option<(Key, RequestDigest)>, Failure> {
    let invalid = |message| Failure::new(StatusCode::BAD_REQUEST, "invalid_key", message);
    let wanted = match headers.get("idempotency-match").map(HeaderValue::as_bytes) {
        None => RequestDigest::Body,
        Some(b"key") => RequestDigest::Key,
        Some(_) => return Err(invalid("expected an Idempotency-Match of \"key\", or none")),
    };
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let expected = "expected an Idempotency-Key of 1 to 200 visible ASCII characters";
    let key = Key::new(value.as_bytes()).ok_or_else(|| invalid(expected))?;
    Ok(Some((key, wanted)))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    json_bytes(status, to_json(value))
}

fn to_json(value: &impl Serialize) -> Bytes {
    let text = serde_json::to_vec(value);
    text.expect("these types have text keys only").into()
}

fn json_bytes(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
