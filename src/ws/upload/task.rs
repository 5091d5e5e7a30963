//! The task of one upload: sends the request to Laravel, watches the deadlines, and sets the
//! outcome.

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
use super::registry::{Shared, UploadRejection, Uploads};
use super::response;
use super::state::Upload;
use crate::auth::{self, AuthRequest, ClientContext, Credential, User, retry_while_unavailable};
use crate::core::body::Body;
use crate::core::client_ip::ClientKey;
use crate::core::error_chain::error_chain;
use crate::core::ids::{RoomName, RowId};
use crate::runtime::drain::Drain;
use crate::upstream::{RequestInfo, Upstream};

/// The user of an upload, and the parts of the process that it uses.
#[derive(Clone, Debug)]
pub(in crate::ws) struct UploadContext {
    pub(in crate::ws) user: User,
    pub(in crate::ws) credential: Credential,
    pub(in crate::ws) client_context: ClientContext,
    /// The client that the bytes count for; none if it has no limits.
    pub(in crate::ws) client: Option<ClientKey>,
    /// The configuration in use when the rights are confirmed at the end.
    pub(in crate::ws) backend: CurrentBackend,
    pub(in crate::ws) invalidations: auth::Invalidations,
    pub(in crate::ws) drain: Drain,
}

impl Uploads {
    /// Begins an upload and spawns the task that sends it. It belongs to no session until one
    /// attaches it.
    ///
    /// # Errors
    /// As [`Uploads::register`].
    pub(in crate::ws) fn begin(
        &self,
        id: &str,
        ticket: RowId,
        part: Part,
        context: UploadContext,
    ) -> Result<Arc<Upload>, UploadRejection> {
        let key = (&context.user, &context.credential, id);
        let (entry, chunks) = self.register(key, ticket, part.size)?;
        let upload = Arc::clone(&entry.upload);
        let shared = Arc::clone(&self.0);
        context.drain.clone().spawn(async move {
            // The registry has the upload until the task ends, even by a panic.
            let entry = entry;
            run(shared, Arc::clone(&entry.upload), part, chunks, context).await;
        });
        Ok(upload)
    }
}

/// Sends `upload` and sets its outcome. Then keeps it until the client has got the outcome, the
/// resume timeout has passed, or the process stops and no session has it.
async fn run(
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
        reason = wait_until_abandoned(&upload, idle, resume, &context.drain) => if upload.is_sealed() { Reason::NoResponse.into() } else { reason.into() },
        () = upload.ended.cancelled() => Outcome::from(Reason::Cancelled),
    };
    // Has no effect if there is an outcome already.
    upload.end(outcome);
    log(&upload, &context, start);
    tokio::select! {
        () = upload.outcome_delivered.cancelled() => {}
        () = tokio::time::sleep(resume) => {}
        () = unheld_at_stop(&upload, &context.drain) => {}
    }
}

/// Creates the request, whose body streams the chunks.
fn request(
    shared: &Arc<Shared>,
    upload: &Arc<Upload>,
    part: &Part,
    chunks: mpsc::Receiver<Bytes>,
    context: &UploadContext,
) -> Request<Body> {
    let form = Form::new(part, &shared.settings);
    let mut headers = auth::request_headers(
        &Method::POST,
        &context.credential,
        shared.token_form,
        &context.client_context,
    );
    let content_type =
        HeaderValue::try_from(&form.content_type).expect("a boundary is visible ASCII");
    headers.insert(CONTENT_TYPE, content_type);
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
    *request.uri_mut() = shared.settings.path.path(upload.ticket).into();
    *request.headers_mut() = headers;
    request.extensions_mut().insert(RequestInfo {
        port: None,
        key: context.client,
    });
    request
}

/// Sends the request, once: its body cannot be repeated.
async fn post(
    upstream: &Upstream,
    request: Request<Body>,
    upload: &Upload,
    read_timeout: Duration,
) -> Outcome {
    match upstream.send(Box::new(request)).await {
        Ok(response) => response::read(response, upload.is_sealed(), read_timeout).await,
        Err(error) => {
            let sealed = upload.is_sealed();
            if upload.outcome().is_none() {
                tracing::warn!(
                    name: "upload_request_failed",
                    room = %RoomName::ticket(upload.ticket), sealed, reason = error.code(), error = error_chain(&error),
                    "upload request failed"
                );
            }
            response::failure_reason(&error, sealed).into()
        }
    }
}

/// Asks Laravel once more whether the user may see the ticket. It runs before the end of the
/// form leaves, without which Laravel does not process the form. Ends the upload if not.
fn confirm_rights(upload: Arc<Upload>, context: UploadContext) -> BoxFuture<'static, bool> {
    async move {
        let auth_request = AuthRequest::new(&context.credential, &context.client_context)
            .since(context.invalidations.next_epoch())
            .urgent();
        let room = RoomName::ticket(upload.ticket);
        let ask = |deadline| {
            let backend = context.backend.get();
            let (user, room) = (&context.user, &room);
            let request = auth_request.clone().with_deadline(deadline);
            async move { backend.access.authorize(user, room, request).await }
        };
        let reason = match retry_while_unavailable(context.backend.get().retry_timeout, ask).await {
            Ok(_) => return true,
            Err(auth::Error::Unavailable { .. }) => Reason::Unavailable,
            Err(_) => Reason::AccessWithdrawn,
        };
        upload.abandon(reason);
        false
    }
    .boxed()
}

/// Waits until the upload has made no progress for too long, or the process stops; returns the
/// reason. Cancel-safe.
async fn wait_until_abandoned(
    upload: &Upload,
    idle: Duration,
    resume: Duration,
    drain: &Drain,
) -> Reason {
    let stalled = async {
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
        reason = stalled => reason,
        () = unfinished_at_stop(upload, drain) => Reason::Restart,
    }
}

/// Waits until the process stops and no session has the upload; for ever if the client has sent
/// the whole file, for then Laravel's response is awaited.
async fn unfinished_at_stop(upload: &Upload, drain: &Drain) {
    unheld_at_stop(upload, drain).await;
    if upload.is_fully_sent() {
        std::future::pending::<()>().await;
    }
}

/// Waits until the process stops and no session has the upload: none can resume it then.
async fn unheld_at_stop(upload: &Upload, drain: &Drain) {
    drain.token().cancelled().await;
    while upload.is_held() {
        tokio::time::sleep(STOP_POLL_INTERVAL).await;
    }
}

/// Logs the outcome.
fn log(upload: &Upload, context: &UploadContext, start: Instant) {
    let (result, status) = match upload.outcome().as_deref() {
        Some(Outcome::Done { status, .. }) => ("done", Some(*status)),
        Some(Outcome::Failed(failure)) => (failure.reason.code(), failure.status),
        None => ("none", None),
    };
    let duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        name: "upload_finished",
        room = %RoomName::ticket(upload.ticket), user = %context.user.id(), client.ip = %context.client_context.client,
        bytes = upload.size, result, status, duration_ms, "upload finished"
    );
}

/// The interval at which a stop looks whether a session has the upload.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);
