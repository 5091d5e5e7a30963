//! The uploads of one session: it passes chunks on to them, and reports their progress and
//! their outcome to the client. It never waits for an upload, which has a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::super::protocol::{Event, UploadCommand, UploadId, UploadStart};
use super::super::upload::{
    Failure, Outcome, Part, Reason, Upload, UploadContext, UploadProgress, UploadRejection, frame,
};
use super::throttle::RateLimited;
use super::{CloseReason, LoopResult, Session};
use crate::core::ids::{RoomName, RowId, SessionId};

/// The uploads attached to a session, by their numbers in binary frames. No number is used
/// twice in a session.
#[derive(Default)]
pub(super) struct SessionUploads {
    attached: BTreeMap<u32, AttachedUpload>,
    last: u32,
    /// Wakes the session when there may be something to report.
    notify: Arc<Notify>,
    /// The time until which a stop waits for Laravel's responses.
    end_at: Option<Instant>,
}

/// An upload attached to this session. Dropped, it waits for another session.
struct AttachedUpload {
    upload: Arc<Upload>,
    session: SessionId,
    /// The bytes of the last progress event that the client got.
    reported: u64,
}

impl Drop for AttachedUpload {
    fn drop(&mut self) {
        self.upload.detach(self.session);
    }
}

impl SessionUploads {
    /// Returns the notification that there may be something to report.
    pub(super) fn notify(&self) -> Arc<Notify> {
        Arc::clone(&self.notify)
    }

    /// Returns whether any upload is attached.
    pub(super) fn has_any(&self) -> bool {
        !self.attached.is_empty()
    }

    /// Abandons the uploads to `ticket`, which is no longer open to the user.
    pub(super) fn remove_ticket(&self, ticket: RowId) {
        for attached in self.attached.values() {
            if attached.upload.ticket == ticket {
                attached.upload.abandon(Reason::AccessWithdrawn);
            }
        }
    }

    /// Attaches an upload. Returns its number, the offset of the next chunk, and the bytes
    /// that have left for Laravel.
    fn attach(&mut self, upload: Arc<Upload>, session: SessionId) -> (u32, u64, u64) {
        // The same session may resume an upload although nothing was interrupted.
        self.attached
            .retain(|_, attached| !Arc::ptr_eq(&attached.upload, &upload));
        let (offset, received) = upload.attach(session, &self.notify);
        self.last += 1;
        let attached = AttachedUpload {
            upload,
            session,
            reported: received,
        };
        self.attached.insert(self.last, attached);
        (self.last, offset, received)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Executes a command about an upload.
    pub(super) async fn execute_upload(&mut self, command: UploadCommand) -> LoopResult {
        match command {
            UploadCommand::Start(start) => self.start_upload(*start).await,
            UploadCommand::Resume(id) => self.resume_upload(&id).await,
            UploadCommand::Cancel(id) => self.cancel_upload(&id).await,
        }
    }

    /// Starts an upload and reports that it is ready, or why it is rejected.
    async fn start_upload(&mut self, start: UploadStart) -> LoopResult {
        let id = start.upload_id.clone();
        match self.begin_upload(start) {
            Ok(upload) => self.attach_upload(upload).await,
            Err(UploadRejection::Failed(reason)) => {
                self.send_upload_failed(id.as_str(), &reason.into()).await
            }
            Err(UploadRejection::Duplicate) => {
                let event = Event::Error {
                    message: "There is an upload of this id already",
                    code: "duplicate_upload",
                    room: None,
                    upload_id: Some(id.as_str()),
                };
                self.send_event(&event).await
            }
        }
    }

    /// Checks the request and begins the upload.
    ///
    /// # Errors
    /// `Duplicate` if the id is in use, and `Failed` with the reason otherwise.
    fn begin_upload(&self, start: UploadStart) -> Result<Arc<Upload>, UploadRejection> {
        let backend = self.services.backend.get();
        let (uploads, id) = (&backend.uploads, start.upload_id.as_str());
        if uploads.find(&self.user, &self.credential, id).is_some() {
            return Err(UploadRejection::Duplicate);
        }
        if !self.rooms.contains_key(&RoomName::ticket(start.ticket_id)) {
            return Err(UploadRejection::Failed(Reason::NotInRoom));
        }
        if start.size > uploads.settings().max_size.get() as u64 {
            return Err(UploadRejection::Failed(Reason::TooLarge));
        }
        let part = Part::new(start.name, start.mime, start.message, start.size)
            .map_err(UploadRejection::Failed)?;
        if self.uploads.attached.len() >= uploads.settings().max_per_session.size() {
            return Err(UploadRejection::Failed(Reason::TooManyUploads));
        }
        if self.services.drain.is_stopping() {
            return Err(UploadRejection::Failed(Reason::Restart));
        }
        let context = UploadContext {
            user: self.user.clone(),
            credential: self.credential.clone(),
            client_context: self.client_context.clone(),
            client: backend.limits.key(self.client_context.client),
            backend: self.services.backend.clone(),
            invalidations: self.services.invalidations.clone(),
            drain: self.services.drain.clone(),
        };
        uploads.begin(id, start.ticket_id, part, context)
    }

    /// Resumes an upload. Takes it over from an older session that does not know yet that its
    /// connection is lost.
    async fn resume_upload(&mut self, id: &UploadId) -> LoopResult {
        let uploads = &self.services.backend.get().uploads;
        let found = uploads.find(&self.user, &self.credential, id.as_str());
        let Some(upload) = found else {
            return self
                .send_upload_failed(id.as_str(), &Reason::UnknownUpload.into())
                .await;
        };
        let mut attached = self.uploads.attached.values();
        let is_ours = attached.any(|attached| Arc::ptr_eq(&attached.upload, &upload));
        if !is_ours && self.uploads.attached.len() >= uploads.settings().max_per_session.size() {
            let event = Event::Error {
                message: "Too many uploads at once; wait until one is done",
                code: "too_many_uploads",
                room: None,
                upload_id: Some(id.as_str()),
            };
            return self.send_event(&event).await;
        }
        self.attach_upload(upload).await
    }

    /// Attaches `upload` and sends `upload_ready`.
    async fn attach_upload(&mut self, upload: Arc<Upload>) -> LoopResult {
        let (chunk_size, window) = upload.chunk_and_window();
        let (number, offset, received) = self.uploads.attach(Arc::clone(&upload), self.id());
        let event = Event::UploadReady {
            upload_id: &upload.id,
            upload: number,
            chunk_size,
            window,
            offset,
            received,
        };
        self.send_event(&event).await
    }

    /// Cancels an upload, of this or another session. The outcome, which may be that Laravel
    /// has it all already, is reported to the session that has it.
    async fn cancel_upload(&mut self, id: &UploadId) -> LoopResult {
        let uploads = &self.services.backend.get().uploads;
        match uploads.find(&self.user, &self.credential, id.as_str()) {
            Some(upload) => {
                upload.abandon(Reason::Cancelled);
                let mut attached = self.uploads.attached.values();
                if !attached.any(|attached| Arc::ptr_eq(&attached.upload, &upload)) {
                    self.uploads.attach(upload, self.id());
                }
                Ok(())
            }
            None => {
                let unknown = Reason::UnknownUpload.into();
                self.send_upload_failed(id.as_str(), &unknown).await
            }
        }
    }

    /// Handles a binary frame: a chunk of an upload, or a frame that counts as a message.
    pub(super) async fn on_chunk(&mut self, frame: &Bytes) -> LoopResult {
        if let Ok(chunk) = frame::decode(frame)
            && let Some(attached) = self.uploads.attached.get(&chunk.upload)
        {
            attached.upload.take(self.id(), chunk.offset, chunk.data);
            return Ok(());
        }
        let stray = RateLimited::StrayChunk(Message::Binary(frame.clone()));
        self.run_rate_limited(stray).await
    }

    /// Reports a binary frame that is no chunk of an upload. A chunk of an upload that has
    /// ended is ignored: the client may have sent it before it knew.
    pub(super) async fn reject_chunk(&mut self, frame: &Message) -> LoopResult {
        let Message::Binary(frame) = frame else {
            return Ok(());
        };
        let chunk = match frame::decode(frame) {
            Ok(chunk) => chunk,
            Err(error) => {
                return self
                    .send_error("invalid_chunk", &error.to_string(), None)
                    .await;
            }
        };
        if (1..=self.uploads.last).contains(&chunk.upload) {
            return Ok(());
        }
        let message = "No upload of this session has this number";
        self.send_error("unknown_upload", message, None).await
    }

    /// Reports the progress and the outcomes of the uploads since the last call.
    pub(super) async fn send_upload_events(&mut self) -> LoopResult {
        let numbers: Vec<u32> = self.uploads.attached.keys().copied().collect();
        let session = self.id();
        for number in numbers {
            let Some(attached) = self.uploads.attached.get_mut(&number) else {
                continue;
            };
            let upload = Arc::clone(&attached.upload);
            match upload.progress(session) {
                UploadProgress::TakenOver => drop(self.uploads.attached.remove(&number)),
                UploadProgress::Running(received) if received > attached.reported => {
                    attached.reported = received;
                    let upload_id = &upload.id;
                    let event = Event::UploadProgress {
                        upload_id,
                        received,
                    };
                    self.send_event(&event).await?;
                }
                UploadProgress::Running(_) => {}
                UploadProgress::Ended(outcome) => {
                    self.send_outcome(&upload.id, &outcome).await?;
                    self.uploads.attached.remove(&number);
                    let uploads = &self.services.backend.get().uploads;
                    uploads.forget(&self.user, &self.credential, &upload);
                }
            }
        }
        Ok(())
    }

    /// Sends `upload_done` or `upload_failed`.
    async fn send_outcome(&mut self, upload_id: &str, outcome: &Outcome) -> LoopResult {
        match outcome {
            Outcome::Done { status, response } => {
                let event = Event::UploadDone {
                    upload_id,
                    status: *status,
                    response: response.as_deref(),
                };
                self.send_event(&event).await
            }
            Outcome::Failed(failure) => self.send_upload_failed(upload_id, failure).await,
        }
    }

    /// Sends `upload_failed`.
    async fn send_upload_failed(&mut self, upload_id: &str, failure: &Failure) -> LoopResult {
        let event = Event::UploadFailed {
            upload_id,
            code: failure.reason.code(),
            message: &failure.message,
            status: failure.status,
            errors: failure.errors.as_deref(),
        };
        self.send_event(&event).await
    }

    /// Returns whether a stop that is due is put off, by [`STOP_TIMEOUT`] at most: Laravel has
    /// all of an upload, and the client would never get its response.
    pub(super) fn waits_for_uploads(&mut self) -> bool {
        let mut uploads = self.uploads.attached.values();
        if !uploads.any(|attached| attached.upload.is_fully_sent()) {
            return false;
        }
        let now = Instant::now();
        let waits = *self.uploads.end_at.get_or_insert(now + STOP_TIMEOUT) > now;
        if waits {
            self.schedule.stop_within(STOP_POLL_INTERVAL);
        }
        waits
    }

    /// Detaches the uploads at the end of the session. They wait for the client's next session,
    /// unless there can be none: then they are abandoned.
    pub(super) async fn leave_uploads(&mut self, reason: CloseReason) {
        let abandon_reason = match reason {
            CloseReason::Revoked | CloseReason::Disconnected => Reason::AccessWithdrawn,
            CloseReason::Restart => Reason::Restart,
            _ => {
                self.uploads.attached.clear();
                return;
            }
        };
        for attached in self.uploads.attached.values() {
            attached.upload.abandon(abandon_reason);
        }
        if reason == CloseReason::Restart && self.send_upload_events().await.is_ok() {
            for (_, attached) in std::mem::take(&mut self.uploads.attached) {
                let failure = Reason::NoResponse.into();
                if self
                    .send_upload_failed(&attached.upload.id, &failure)
                    .await
                    .is_err()
                {
                    break;
                }
            }
        }
        self.uploads.attached.clear();
    }
}

/// The time for which a stop waits for Laravel's responses to uploads.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval at which a stop looks for these responses.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(200);
