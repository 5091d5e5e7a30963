//! The task of one upload: its request to Laravel, its deadlines, its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::backend::CurrentBackend;
use super::body::{self, UploadSource};
use super::multipart::{Form, Part};
use super::outcome::{Outcome, Reason};
use super::registry::Shared;
use super::response;
use super::state::Upload;
use crate::auth::{self, AuthRequest, ClientContext, Token, User, retry_while_unavailable};
use crate::core::body::Body;
use crate::core::client::ClientKey;
use crate::core::error_chain::error_chain;
use crate::runtime::drain::Drain;
use crate::upstream::{RequestInfo, Upstream};

/// What an upload needs of the process and of its user.
#[derive(Clone, Debug)]
pub(in crate::ws) struct UploadContext {
    pub(in crate::ws) user: User,
    pub(in crate::ws) token: Token,
    pub(in crate::ws) client_context: ClientContext,
    /// Whose bytes they are; nobody's if the client has no limits.
    pub(in crate::ws) client: Option<ClientKey>,
    /// Whom the last request asks, whatever the configuration was at first.
    pub(in crate::ws) backend: CurrentBackend,
    pub(in crate::ws) invalidations: auth::Invalidations,
    pub(in crate::ws) drain: Drain,
}

/// Drives `upload` to its end, and keeps that until it was told or nobody asks
/// for it any more.
pub(super) async fn run(
    shared: Arc<Shared>,
    upload: Arc<Upload>,
    part: Part,
    chunks: mpsc::Receiver<Bytes>,
    context: UploadContext,
) {
    let start = Instant::now();
    let (idle, resume) = (
        shared.settings.idle_timeout.get(),
        shared.settings.resume_timeout.get(),
    );
    let request = request(&shared, &upload, &part, chunks, &context);
    let outcome = tokio::select! {
        outcome = post(&shared.upstream, request, &upload, idle) => outcome,
        reason = wait_until_abandoned(&upload, idle, resume, &context.drain) => if upload.is_sealed() { Reason::NoAnswer.into() } else { reason.into() },
        () = upload.ended.cancelled() => Outcome::from(Reason::Cancelled),
    };
    // Counts only where there is none yet.
    upload.end(outcome);
    log(&upload, &context, start);
    tokio::select! {
        () = upload.told.cancelled() => {}
        () = tokio::time::sleep(resume) => {}
        () = unheld_at_stop(&upload, &context.drain) => {}
    }
}

fn request(
    shared: &Arc<Shared>,
    upload: &Arc<Upload>,
    part: &Part,
    chunks: mpsc::Receiver<Bytes>,
    context: &UploadContext,
) -> Request<Body> {
    let form = Form::new(part, &shared.settings);
    let mut headers =
        auth::request_headers(&context.token, shared.token_form, &context.client_context);
    let kind = HeaderValue::try_from(&form.content_type).expect("a boundary is visible ASCII");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(form.length));
    let mut request = Request::new(body::new(UploadSource {
        upload: Arc::clone(upload),
        form,
        chunks,
        rate: Arc::clone(&shared.rate),
        client: context.client,
        may_end: confirm_rights(Arc::clone(upload), context.clone()),
    }));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = shared.settings.path.path(upload.room.ticket_id()).into();
    *request.headers_mut() = headers;
    request.extensions_mut().insert(RequestInfo {
        port: None,
        key: context.client,
    });
    request
}

/// Sends the request once, and never again.
async fn post(
    upstream: &Upstream,
    request: Request<Body>,
    upload: &Upload,
    patience: Duration,
) -> Outcome {
    match upstream.send(Box::new(request)).await {
        Ok(answer) => response::read(answer, upload.is_sealed(), patience).await,
        Err(error) => {
            let sealed = upload.is_sealed();
            if upload.outcome().is_none() {
                tracing::warn!(
                    name: "upload_request_failed",
                    room = %upload.room, sealed, reason = error.code(), error = error_chain(&error),
                    "upload request failed"
                );
            }
            response::failure_reason(&error, sealed).into()
        }
    }
}

/// Before the form is ended, without which it counts for nothing, Laravel is
/// asked once more whether the user may still see the ticket.
fn confirm_rights(upload: Arc<Upload>, context: UploadContext) -> BoxFuture<'static, bool> {
    async move {
        let auth_request = AuthRequest::new(&context.token, &context.client_context);
        let auth_request = auth_request
            .since(context.invalidations.next_epoch())
            .urgent();
        let ask = |patience| {
            let backend = context.backend.get();
            let (user, room) = (&context.user, upload.room);
            let auth_request = auth_request.clone().with_deadline(patience);
            async move { backend.access.authorize(user, room, auth_request).await }
        };
        let reason = match retry_while_unavailable(context.backend.get().patience, ask).await {
            Ok(_) => return true,
            Err(auth::Error::Unavailable { .. }) => Reason::Unavailable,
            Err(_) => Reason::AccessWithdrawn,
        };
        upload.abandon(reason);
        false
    }
    .boxed()
}

/// When nothing has moved for too long, or nobody can come back for it.
async fn wait_until_abandoned(
    upload: &Upload,
    idle: Duration,
    resume: Duration,
    drain: &Drain,
) -> Reason {
    let standing_still = async {
        loop {
            let due = upload.due(idle, resume);
            match due {
                Some((at, reason)) if at <= Instant::now() => return reason,
                _ => {}
            }
            let at = due.map_or_else(|| Instant::now() + idle, |(at, _)| at);
            let _ = tokio::time::timeout_at(at, upload.changed.notified()).await;
        }
    };
    tokio::select! {
        reason = standing_still => reason,
        () = unfinished_at_stop(upload, drain) => Reason::Restart,
    }
}

async fn unfinished_at_stop(upload: &Upload, drain: &Drain) {
    unheld_at_stop(upload, drain).await;
    if upload.is_fully_sent() {
        std::future::pending::<()>().await;
    }
}

/// When the process stops, and no session has the upload: its session ends with
/// the process, so nobody can ask for it again.
async fn unheld_at_stop(upload: &Upload, drain: &Drain) {
    drain.token().cancelled().await;
    while upload.is_held() {
        tokio::time::sleep(STOP_POLL_INTERVAL).await;
    }
}

fn log(upload: &Upload, context: &UploadContext, start: Instant) {
    let (result, status) = match upload.outcome().as_deref() {
        Some(Outcome::Done { status, .. }) => ("done", Some(*status)),
        Some(Outcome::Failed(failure)) => (failure.reason.code(), failure.status),
        None => ("none", None),
    };
    let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        name: "upload_finished",
        room = %upload.room, user = %context.user.id(), client.ip = %context.client_context.client,
        bytes = upload.size, result, status, duration_ms, "upload finished"
    );
}

const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);
