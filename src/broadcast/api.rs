//! What Laravel can ask of the edge.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::decode::{Broadcast, Broadcasts, Mistake, decode};
use super::idempotency::{Answers, Key, KeyReused};
use super::settings::Settings;
use super::view::View;
use crate::body::{self, Body};
use crate::ids::{NotARowId, RoomName, UserId};
use crate::rooms::{Delivered, Sessions};

/// Answers requests on the broadcast socket.
#[derive(Debug)]
pub struct Api {
    view: View,
    settings: Settings,
    answers: Answers,
}

/// Whom one event reached.
#[derive(Serialize)]
struct Reached {
    sessions: usize,
    users: Vec<UserId>,
}

impl From<Delivered> for Reached {
    fn from(delivered: Delivered) -> Self {
        Self {
            sessions: delivered.sessions,
            users: delivered.users,
        }
    }
}

/// Why a request was not done.
#[derive(Debug, Serialize)]
struct Failure {
    #[serde(skip)]
    status: StatusCode,
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'static str>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            index: None,
            pointer: None,
        }
    }
}

impl From<Mistake> for Failure {
    fn from(mistake: Mistake) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: mistake.code,
            message: mistake.message,
            index: mistake.index,
            pointer: mistake.pointer,
        }
    }
}

impl From<KeyReused> for Failure {
    fn from(_: KeyReused) -> Self {
        let message = "this Idempotency-Key came before, with another body; take a new key";
        Self::new(StatusCode::CONFLICT, "key_reused", message)
    }
}

impl Api {
    /// Serves what `view` shows, as `settings` say.
    pub fn new(view: View, settings: Settings) -> Self {
        Self {
            view,
            settings,
            answers: Answers::new(),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers one request of the user `peer`.
    pub(super) async fn answer(&self, peer: u32, request: Request<Incoming>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match self.route(peer, request).await {
            Ok(answer) => answer,
            Err(failure) => {
                tracing::warn!(
                    uid = peer, %method, path, status = failure.status.as_u16(),
                    code = failure.code, cause = failure.message,
                    "request on the broadcast socket refused"
                );
                json(failure.status, &failure)
            }
        }
    }

    async fn route(
        &self,
        peer: u32,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Failure> {
        let allowed = &self.settings.allowed_uids;
        if !allowed.is_empty() && !allowed.contains(&peer) {
            let message = format!("user {peer} is not in broadcast.allowed_uids");
            return Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
        let path = request.uri().path().to_owned();
        let segments: Vec<_> = path.split('/').skip(1).collect();
        match (request.method(), &*segments) {
            (&Method::POST, ["broadcast"]) => self.broadcast(request).await,
            (&Method::POST, ["users", id, "disconnect"]) => {
                self.to_sessions(id, Sessions::disconnect_user)
            }
            (&Method::POST, ["users", id, "recheck"]) => {
                self.to_sessions(id, Sessions::recheck_user)
            }
            (&Method::GET, ["status"]) => Ok(json(StatusCode::OK, &self.view.status())),
            (&Method::GET, ["rooms", "ticket", id]) => self.room(id),
            (_, ["broadcast"] | ["users", _, "disconnect" | "recheck"]) => {
                Err(wrong_method("POST"))
            }
            (_, ["status"] | ["rooms", "ticket", _]) => Err(wrong_method("GET")),
            _ => Err(Failure::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "expected POST /broadcast, /users/{id}/disconnect or /users/{id}/recheck, \
                 or GET /status or /rooms/ticket/{id}",
            )),
        }
    }

    async fn broadcast(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let key = idempotency_key(&request)?;
        let body = self.read(request).await?;
        let broadcasts = decode(&body, self.settings.max_events.size())?;
        let publish = || self.publish_all(broadcasts);
        let answer = match key {
            Some(key) => self.answers.once(key, &body, publish)?,
            None => publish(),
        };
        Ok(json_bytes(StatusCode::OK, answer))
    }

    fn publish_all(&self, broadcasts: Broadcasts) -> Bytes {
        match broadcasts {
            Broadcasts::One(event) => to_json(&self.publish(event)),
            Broadcasts::Many(events) => {
                let reached = events.into_iter().map(|event| self.publish(event));
                to_json(&reached.collect::<Vec<_>>())
            }
        }
    }

    fn publish(&self, event: Broadcast) -> Reached {
        self.view.rooms.publish(event.into_publication()).into()
    }

    fn room(&self, id: &str) -> Result<Response<Body>, Failure> {
        let id = id.parse().map_err(|error: NotARowId| {
            Failure::new(StatusCode::BAD_REQUEST, "invalid_room", error.to_string())
        })?;
        let occupants = self.view.occupants(RoomName::ticket(id));
        Ok(json(StatusCode::OK, &occupants))
    }

    async fn read(&self, request: Request<Incoming>) -> Result<Bytes, Failure> {
        let limit = self.settings.max_body.get();
        let body = Limited::new(request.into_body(), limit).collect();
        match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("the body is over broadcast.max_body, {limit} bytes"),
            )),
            Ok(Err(_)) => Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "incomplete",
                "the body broke off",
            )),
            Err(_) => Err(Failure::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the body did not come in time",
            )),
        }
    }

    fn to_sessions(
        &self,
        id: &str,
        act: impl Fn(&Sessions, &UserId) -> usize,
    ) -> Result<Response<Body>, Failure> {
        #[derive(Serialize)]
        struct Count {
            sessions: usize,
        }
        let id = percent_encoding::percent_decode_str(id).decode_utf8().ok();
        let user = id.and_then(|id| UserId::from_text(&id)).ok_or_else(|| {
            Failure::new(
                StatusCode::BAD_REQUEST,
                "invalid_user",
                "expected a user's id",
            )
        })?;
        // First the doubt: who is about to enter is asked about again too.
        self.view.doubts.raise(&user);
        let sessions = act(&self.view.sessions, &user);
        Ok(json(StatusCode::OK, &Count { sessions }))
    }
}

fn wrong_method(expected: &'static str) -> Failure {
    let message = format!("expected {expected}");
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}

fn idempotency_key(request: &Request<Incoming>) -> Result<Option<Key>, Failure> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = Key::new(value.as_bytes()).ok_or_else(|| {
        let message = "expected an Idempotency-Key of 1 to 200 visible ASCII characters";
        Failure::new(StatusCode::BAD_REQUEST, "invalid_key", message)
    })?;
    Ok(Some(key))
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

/// A local writer needs no longer for a megabyte.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
