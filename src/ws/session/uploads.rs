//! What a session does with its uploads: it takes the chunks and tells of the
//! progress. It never waits for one; the uploads' own tasks do that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::super::protocol::{Event, UploadCommand, UploadId, UploadStart};
use super::super::upload::{
    Begin, Failure, Outcome, Part, Reason, Upload, UploadProgress, UploadRejection, frame,
};
use super::throttle::RateLimited;
use super::{CloseReason, LoopResult, Session};
use crate::core::ids::{RoomName, SessionId};

/// The uploads that a session has, by the number that stands for each in
/// binary frames. Numbers are not used twice.
#[derive(Default)]
pub(super) struct SessionUploads {
    held: BTreeMap<u32, AttachedUpload>,
    last: u32,
    /// Rings when there may be something to tell.
    bell: Arc<Notify>,
    /// Until when the end of the session may be put off for Laravel's answers.
    end_at: Option<Instant>,
}

/// An upload that this session has; dropped, it waits for another.
struct AttachedUpload {
    upload: Arc<Upload>,
    session: SessionId,
    /// What the client knows of its progress.
    told: u64,
}

impl Drop for AttachedUpload {
    fn drop(&mut self) {
        self.upload.detach(self.session);
    }
}

impl SessionUploads {
    pub(super) fn notify(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }

    /// Whether there is any.
    pub(super) fn has_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// The room is no longer open to the user.
    pub(super) fn remove_room(&self, room: RoomName) {
        for attached in self.held.values() {
            if attached.upload.room == room {
                attached.upload.abandon(Reason::AccessWithdrawn);
            }
        }
    }

    /// Takes an upload in; returns its number, and where it is.
    fn attach(&mut self, upload: Arc<Upload>, session: SessionId) -> (u32, u64, u64) {
        // The same session may ask to go on although nothing broke.
        self.held
            .retain(|_, attached| !Arc::ptr_eq(&attached.upload, &upload));
        let (offset, received) = upload.attach(session, &self.bell);
        self.last += 1;
        let attached = AttachedUpload {
            upload,
            session,
            told: received,
        };
        self.held.insert(self.last, attached);
        (self.last, offset, received)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) async fn upload(&mut self, command: UploadCommand) -> LoopResult {
        match command {
            UploadCommand::Start(start) => self.start_upload(*start).await,
            UploadCommand::Resume(id) => self.resume_upload(&id).await,
            UploadCommand::Cancel(id) => self.cancel_upload(&id).await,
        }
    }

    async fn start_upload(&mut self, start: UploadStart) -> LoopResult {
        let id = start.upload_id.clone();
        match self.begin(start) {
            Ok(upload) => self.ready(upload).await,
            Err(UploadRejection::Failed(reason)) => {
                self.send_upload_failed(id.as_str(), &reason.into()).await
            }
            Err(UploadRejection::Duplicate) => {
                let event = Event::Error {
                    message: "There is an upload of this id already",
                    code: "duplicate_upload",
                    ticket_id: None,
                    upload_id: Some(id.as_str()),
                };
                self.send_event(&event).await
            }
        }
    }

    /// Begins what there is no reason against.
    fn begin(&self, start: UploadStart) -> Result<Arc<Upload>, UploadRejection> {
        let backend = self.services.backend.get();
        let (uploads, id) = (&backend.uploads, start.upload_id.as_str());
        let room = RoomName::ticket(start.ticket_id);
        if uploads.find(&self.user, &self.token, id).is_some() {
            return Err(UploadRejection::Duplicate);
        }
        if !self.rooms.contains_key(&room) {
            return Err(UploadRejection::Failed(Reason::NotInRoom));
        }
        if start.size > uploads.settings().max_size.get() as u64 {
            return Err(UploadRejection::Failed(Reason::TooLarge));
        }
        let part = Part::new(start.name, start.mime, start.message, start.size);
        let part = part.map_err(UploadRejection::Failed)?;
        if self.uploads.held.len() >= uploads.settings().per_session.size() {
            return Err(UploadRejection::Failed(Reason::TooManyUploads));
        }
        if self.services.drain.is_stopping() {
            return Err(UploadRejection::Failed(Reason::Restart));
        }
        let context = Begin {
            user: self.user.clone(),
            token: self.token.clone(),
            client_context: self.client_context.clone(),
            client: backend.limits.key(self.client_context.client),
            backend: self.services.backend.clone(),
            invalidations: self.services.invalidations.clone(),
            drain: self.services.drain.clone(),
        };
        uploads.begin(id, room, part, context)
    }

    /// Goes on with an upload, also with one that a session has which does not
    /// know yet that its connection is gone.
    async fn resume_upload(&mut self, id: &UploadId) -> LoopResult {
        let uploads = &self.services.backend.get().uploads;
        let found = uploads.find(&self.user, &self.token, id.as_str());
        let Some(upload) = found else {
            return self
                .send_upload_failed(id.as_str(), &Reason::UnknownUpload.into())
                .await;
        };
        let mut held = self.uploads.held.values();
        let ours = held.any(|attached| Arc::ptr_eq(&attached.upload, &upload));
        if !ours && self.uploads.held.len() >= uploads.settings().per_session.size() {
            let event = Event::Error {
                message: "Too many uploads at once; wait until one is done",
                code: "too_many_uploads",
                ticket_id: None,
                upload_id: Some(id.as_str()),
            };
            return self.send_event(&event).await;
        }
        self.ready(upload).await
    }

    async fn ready(&mut self, upload: Arc<Upload>) -> LoopResult {
        let (chunk_size, window) = upload.chunk_and_window();
        let (number, offset, received) = self.uploads.attach(Arc::clone(&upload), self.id);
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

    async fn cancel_upload(&mut self, id: &UploadId) -> LoopResult {
        let uploads = &self.services.backend.get().uploads;
        match uploads.find(&self.user, &self.token, id.as_str()) {
            // What comes of it is told to whoever has it.
            Some(upload) => {
                upload.abandon(Reason::Cancelled);
                let mut held = self.uploads.held.values();
                if !held.any(|attached| Arc::ptr_eq(&attached.upload, &upload)) {
                    self.uploads.attach(upload, self.id);
                }
                Ok(())
            }
            None => {
                let unknown = Reason::UnknownUpload.into();
                self.send_upload_failed(id.as_str(), &unknown).await
            }
        }
    }

    /// Takes a binary frame. A chunk of an upload that has ended was sent before
    /// the client could know: it is passed over.
    pub(super) async fn chunk(&mut self, frame: &Bytes) -> LoopResult {
        if let Ok(chunk) = frame::decode(frame)
            && let Some(attached) = self.uploads.held.get(&chunk.upload)
        {
            attached.upload.take(self.id, chunk.offset, chunk.data);
            return Ok(());
        }
        let frame = Message::Binary(frame.clone());
        self.run_rate_limited(RateLimited::StrayChunk(frame)).await
    }

    /// Says what is wrong with a binary frame that is no chunk of an upload.
    pub(super) async fn reject_chunk(&mut self, frame: &Message) -> LoopResult {
        let Message::Binary(frame) = frame else {
            return Ok(());
        };
        let chunk = match frame::decode(frame) {
            Ok(chunk) => chunk,
            Err(mistake) => {
                return self
                    .send_error("invalid_chunk", &mistake.to_string(), None)
                    .await;
            }
        };
        if (1..=self.uploads.last).contains(&chunk.upload) {
            return Ok(());
        }
        let message = "No upload of this session has this number";
        self.send_error("unknown_upload", message, None).await
    }

    /// Tells what has become of the uploads since the last time.
    pub(super) async fn send_upload_events(&mut self) -> LoopResult {
        let numbers: Vec<u32> = self.uploads.held.keys().copied().collect();
        for number in numbers {
            let Some(attached) = self.uploads.held.get_mut(&number) else {
                continue;
            };
            let upload = Arc::clone(&attached.upload);
            match upload.progress(self.id) {
                UploadProgress::TakenOver => drop(self.uploads.held.remove(&number)),
                UploadProgress::Running(received) if received > attached.told => {
                    attached.told = received;
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
                    self.uploads.held.remove(&number);
                    let uploads = &self.services.backend.get().uploads;
                    uploads.forget(&self.user, &self.token, &upload);
                }
            }
        }
        Ok(())
    }

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

    /// Whether the end of the session, which is due, is put off: Laravel has all
    /// of an upload, and its client would never hear what it said.
    pub(super) fn waits_for_uploads(&mut self) -> bool {
        let mut held = self.uploads.held.values();
        if !held.any(|attached| attached.upload.is_fully_sent()) {
            return false;
        }
        let now = Instant::now();
        let waits = *self.uploads.end_at.get_or_insert(now + STOP_TIMEOUT) > now;
        if waits {
            self.schedule.stop_within(STOP_POLL_INTERVAL);
        }
        waits
    }

    /// The session ends. Its uploads wait for the next one of the same client,
    /// unless there will be none.
    pub(super) async fn leave_uploads(&mut self, reason: CloseReason) {
        let why = match reason {
            CloseReason::Revoked | CloseReason::Disconnected => Reason::AccessWithdrawn,
            CloseReason::Restart => Reason::Restart,
            _ => {
                self.uploads.held.clear();
                return;
            }
        };
        for attached in self.uploads.held.values() {
            attached.upload.abandon(why);
        }
        if reason == CloseReason::Restart && self.send_upload_events().await.is_ok() {
            for (_, attached) in std::mem::take(&mut self.uploads.held) {
                let lost = Reason::NoAnswer.into();
                if self
                    .send_upload_failed(&attached.upload.id, &lost)
                    .await
                    .is_err()
                {
                    break;
                }
            }
        }
        self.uploads.held.clear();
    }
}

/// How long a stop waits for Laravel's answers, and how often it looks.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(200);
