//! Publishes the events of complete requests, each request once.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::decode::{Broadcasts, Target, decode};
use super::delivery_report::DeliveryReport;
use super::failure::Failure;
use super::idempotency::{Key, RequestDigest, ResponseCache};
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
    let Broadcasts {
        list,
        targets,
        is_array,
    } = broadcasts;
    let resolve = |broadcast: Broadcast| Broadcast {
        audience: introspection.sessions.resolve(broadcast.audience),
        ..broadcast
    };
    let list: Vec<_> = list.into_iter().map(resolve).collect();
    let counter = &introspection.rooms.published().broadcast;
    counter.inc_by(list.len() as u64);
    let delivered = introspection.rooms.publish_all(id, list).await?;
    Ok(response(&targets, delivered, is_array))
}

/// Returns the response to the retry of a request that an earlier process has published, with
/// `first` as the position of its first event.
fn past_response(first: Position, broadcasts: &Broadcasts) -> Bytes {
    // An event of an earlier process has reached no session of this one.
    let past = |number| Delivered {
        position: Some(Position {
            offset: first.offset + number as u64,
            ..first
        }),
        is_stored: true,
        ..Delivered::default()
    };
    let delivered = (0..broadcasts.list.len()).map(past).collect();
    response(&broadcasts.targets, delivered, broadcasts.is_array)
}

/// Returns the reports of the events with these `targets`, in the form of the request: an array,
/// or the only one.
fn response(targets: &[Target], delivered: Vec<Delivered>, is_array: bool) -> Bytes {
    let mut delivered = delivered.into_iter();
    let reports: Vec<_> = targets
        .iter()
        .map(|target| DeliveryReport::new(target, delivered.by_ref().take(target.count())))
        .collect();
    let text = match &*reports {
        [report] if !is_array => serde_json::to_vec(report),
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
