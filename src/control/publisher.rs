//! Publishes the events of complete requests, each request once.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::decode::{Broadcasts, decode};
use super::failure::Failure;
use super::idempotency::{Key, RequestDigest, ResponseCache};
use crate::core::ids::UserId;
use crate::core::position::Position;
use crate::introspection::Introspection;
use crate::rooms::{Broadcast, Delivered, LogClosed, PastRequest, RequestId};
use crate::runtime::drain::Drain;

/// Publishes the events of complete requests.
#[derive(Debug)]
pub(super) struct Publisher {
    answers: Arc<ResponseCache>,
    /// Runs the publications that are under way.
    drain: Drain,
}

/// The sessions and users that one event reached.
#[derive(Serialize)]
struct DeliveryReport {
    sessions: usize,
    users: Vec<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<Vec<UserId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// Whether the event outlives the process; none without a history.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<bool>,
}

impl From<Delivered> for DeliveryReport {
    fn from(delivered: Delivered) -> Self {
        Self {
            sessions: delivered.sessions,
            users: delivered.users,
            absent: delivered.absent,
            stored: delivered.position.map(|_| delivered.is_stored),
            position: delivered.position.map(|position| position.to_string()),
        }
    }
}

impl DeliveryReport {
    /// Returns the report of an event of an earlier process, which has reached no session of
    /// this one.
    fn past(position: Position) -> Self {
        Self {
            sessions: 0,
            users: Vec::new(),
            absent: None,
            position: Some(position.to_string()),
            stored: Some(true),
        }
    }
}

impl From<LogClosed> for Failure {
    fn from(_: LogClosed) -> Self {
        let message = "the edge stops and takes no more events; send the request again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", message)
    }
}

impl Publisher {
    /// Creates a publisher whose publications are tasks of `drain`. It publishes none of
    /// `past_requests` again.
    pub(super) fn new(past_requests: Vec<PastRequest>, drain: Drain) -> Self {
        let answers = Arc::new(ResponseCache::new());
        answers.restore(past_requests);
        Self { answers, drain }
    }

    /// Publishes the events in `body`; returns the JSON of the response.
    ///
    /// # Errors
    /// Returns the failure of an invalid request: its headers, its body, or a key that was used
    /// for another one.
    pub(super) async fn broadcast(
        &self,
        introspection: &Arc<Introspection>,
        max_events: usize,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let key = idempotency_key(headers)?;
        let broadcasts = decode(&body, max_events)?;
        let rooms = &introspection.rooms;
        let has_backpressure = rooms.is_any_behind(broadcasts.rooms());
        if !has_backpressure && !rooms.has_log() {
            // Completes at once.
            return publish_once(&self.answers, introspection, key, &body, broadcasts).await;
        }
        // A task of its own: hyper drops this future when its client disconnects, and the edge
        // still publishes a body that was complete. It does so at once, because the connection
        // no longer counts towards the limit of connections.
        let (_connected, disconnected) = oneshot::channel::<Infallible>();
        let (answers, introspection) = (Arc::clone(&self.answers), Arc::clone(introspection));
        let publishing = self.drain.spawn(async move {
            if has_backpressure {
                let rooms: Vec<_> = broadcasts.rooms().cloned().collect();
                tokio::select! {
                    () = introspection.rooms.apply_backpressure(&rooms) => {}
                    _ = disconnected => {}
                }
            }
            publish_once(&answers, &introspection, key, &body, broadcasts).await
        });
        match publishing.await {
            Ok(response) => response,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down, which ends this task, too.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Publishes `broadcasts`, unless that was done for the same key; returns the response.
async fn publish_once(
    answers: &ResponseCache,
    introspection: &Introspection,
    key: Option<(Key, RequestDigest)>,
    body: &[u8],
    broadcasts: Broadcasts,
) -> Result<Bytes, Failure> {
    let Some((key, wanted)) = key else {
        return publish(introspection, None, broadcasts).await;
    };
    let digest = Sha256::digest(body).into();
    let id = RequestId {
        key: key.as_str().to_owned(),
        digest,
    };
    let act = async |past: Option<Position>| match past {
        Some(first) => Ok(past_response(first, &broadcasts)),
        None => publish(introspection, Some(id), broadcasts).await,
    };
    answers.get_or_run(key, wanted, digest, act).await
}

async fn publish(
    introspection: &Introspection,
    id: Option<RequestId>,
    broadcasts: Broadcasts,
) -> Result<Bytes, Failure> {
    let is_batch = matches!(broadcasts, Broadcasts::Many(_));
    let events: Vec<Broadcast> = match broadcasts {
        Broadcasts::One(event) => vec![event],
        Broadcasts::Many(events) => events,
    };
    let counter = &introspection.rooms.published().broadcast;
    counter.inc_by(events.len() as u64);
    let delivered = introspection.rooms.publish_all(id, events).await?;
    let reports = delivered.into_iter().map(DeliveryReport::from).collect();
    Ok(response(reports, is_batch))
}

/// Returns the response to the retry of a request that an earlier process has published, with
/// `first` as the position of its first event.
fn past_response(first: Position, broadcasts: &Broadcasts) -> Bytes {
    let position = |number| Position {
        offset: first.offset + number as u64,
        ..first
    };
    let reports =
        (0..broadcasts.rooms().count()).map(|number| DeliveryReport::past(position(number)));
    let is_batch = matches!(broadcasts, Broadcasts::Many(_));
    response(reports.collect(), is_batch)
}

/// Returns the reports in the form of the request: an array, or the only one.
fn response(reports: Vec<DeliveryReport>, is_batch: bool) -> Bytes {
    let text = match &*reports {
        [report] if !is_batch => serde_json::to_vec(report),
        reports => serde_json::to_vec(reports),
    };
    text.expect("these types have text keys only").into()
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
