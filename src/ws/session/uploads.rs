//! What a session does with its uploads: it takes the chunks and tells of the
//! progress. It never waits for one; the uploads' own tasks do that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::super::upload::{Begin, Failure, Look, Outcome, Part, Reason, Refusal, Upload, frame};
use super::super::wire::{Event, Start, UploadCommand, UploadId};
use super::pace::Costly;
use super::{CloseReason, Going, Session};
use crate::ids::{RoomName, SessionId};

/// The uploads that a session has, by the number that stands for each in
/// binary frames. Numbers are not used twice.
#[derive(Default)]
pub(super) struct Held {
    held: BTreeMap<u32, Attached>,
    last: u32,
    /// Rings when there may be something to tell.
    bell: Arc<Notify>,
    /// Until when the end of the session may be put off for Laravel's answers.
    end_at: Option<Instant>,
}

/// An upload that this session has; dropped, it waits for another.
struct Attached {
    upload: Arc<Upload>,
    session: SessionId,
    /// What the client knows of its progress.
    told: u64,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.upload.detach(self.session);
    }
}

impl Held {
    pub(super) fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.bell)
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// The room is no longer open to the user.
    pub(super) fn lose(&self, room: RoomName) {
        for attached in self.held.values() {
            if attached.upload.room == room {
                attached.upload.give_up(Reason::AccessWithdrawn);
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
        let attached = Attached {
            upload,
            session,
            told: received,
        };
        self.held.insert(self.last, attached);
        (self.last, offset, received)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) async fn upload(&mut self, command: UploadCommand) -> Going {
        match command {
            UploadCommand::Start(start) => self.start_upload(*start).await,
            UploadCommand::Resume(id) => self.resume_upload(&id).await,
            UploadCommand::Cancel(id) => self.cancel_upload(&id).await,
        }
    }

    async fn start_upload(&mut self, start: Start) -> Going {
        let id = start.upload_id.clone();
        match self.begin(start) {
            Ok(upload) => self.ready(upload).await,
            Err(Refusal::Failed(reason)) => self.upload_failed(id.as_str(), &reason.into()).await,
            Err(Refusal::Duplicate) => {
                let event = Event::Error {
                    message: "There is an upload of this id already",
                    code: "duplicate_upload",
                    ticket_id: None,
                    upload_id: Some(id.as_str()),
                };
                self.tell(&event).await
            }
        }
    }

    /// Begins what there is no reason against.
    fn begin(&self, start: Start) -> Result<Arc<Upload>, Refusal> {
        let backend = self.services.backend.get();
        let (uploads, id) = (&backend.uploads, start.upload_id.as_str());
        let room = RoomName::ticket(start.ticket_id);
        if uploads.find(&self.user, &self.token, id).is_some() {
            return Err(Refusal::Duplicate);
        }
        if !self.rooms.contains_key(&room) {
            return Err(Refusal::Failed(Reason::NotInRoom));
        }
        if start.size > uploads.settings().max_size.get() as u64 {
            return Err(Refusal::Failed(Reason::TooLarge));
        }
        let part = Part::new(start.name, start.mime, start.message, start.size);
        let part = part.map_err(Refusal::Failed)?;
        if self.uploads.held.len() >= uploads.settings().per_session.size() {
            return Err(Refusal::Failed(Reason::TooManyUploads));
        }
        if self.services.drain.is_stopping() {
            return Err(Refusal::Failed(Reason::Restart));
        }
        let errand = Begin {
            user: self.user.clone(),
            token: self.token.clone(),
            client_context: self.client_context.clone(),
            client: backend.limits.key(self.client_context.client),
            backend: self.services.backend.clone(),
            invalidations: self.services.invalidations.clone(),
            drain: self.services.drain.clone(),
        };
        uploads.begin(id, room, part, errand)
    }

    /// Goes on with an upload, also with one that a session has which does not
    /// know yet that its connection is gone.
    async fn resume_upload(&mut self, id: &UploadId) -> Going {
        let uploads = &self.services.backend.get().uploads;
        let found = uploads.find(&self.user, &self.token, id.as_str());
        let Some(upload) = found else {
            return self
                .upload_failed(id.as_str(), &Reason::UnknownUpload.into())
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
            return self.tell(&event).await;
        }
        self.ready(upload).await
    }

    async fn ready(&mut self, upload: Arc<Upload>) -> Going {
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
        self.tell(&event).await
    }

    async fn cancel_upload(&mut self, id: &UploadId) -> Going {
        let uploads = &self.services.backend.get().uploads;
        match uploads.find(&self.user, &self.token, id.as_str()) {
            // What comes of it is told to whoever has it.
            Some(upload) => {
                upload.give_up(Reason::Cancelled);
                let mut held = self.uploads.held.values();
                if !held.any(|attached| Arc::ptr_eq(&attached.upload, &upload)) {
                    self.uploads.attach(upload, self.id);
                }
                Ok(())
            }
            None => {
                let unknown = Reason::UnknownUpload.into();
                self.upload_failed(id.as_str(), &unknown).await
            }
        }
    }

    /// Takes a binary frame. A chunk of an upload that has ended was sent before
    /// the client could know: it is passed over.
    pub(super) async fn chunk(&mut self, frame: &Bytes) -> Going {
        if let Ok(chunk) = frame::decode(frame)
            && let Some(attached) = self.uploads.held.get(&chunk.upload)
        {
            attached.upload.take(self.id, chunk.offset, chunk.data);
            return Ok(());
        }
        let frame = Message::Binary(frame.clone());
        self.spend(Costly::StrayChunk(frame)).await
    }

    /// Says what is wrong with a binary frame that is no chunk of an upload.
    pub(super) async fn refuse_chunk(&mut self, frame: &Message) -> Going {
        let Message::Binary(frame) = frame else {
            return Ok(());
        };
        let chunk = match frame::decode(frame) {
            Ok(chunk) => chunk,
            Err(mistake) => {
                return self
                    .refuse("invalid_chunk", &mistake.to_string(), None)
                    .await;
            }
        };
        if (1..=self.uploads.last).contains(&chunk.upload) {
            return Ok(());
        }
        let message = "No upload of this session has this number";
        self.refuse("unknown_upload", message, None).await
    }

    /// Tells what has become of the uploads since the last time.
    pub(super) async fn tell_of_uploads(&mut self) -> Going {
        let numbers: Vec<u32> = self.uploads.held.keys().copied().collect();
        for number in numbers {
            let Some(attached) = self.uploads.held.get_mut(&number) else {
                continue;
            };
            let upload = Arc::clone(&attached.upload);
            match upload.look(self.id) {
                Look::Taken => drop(self.uploads.held.remove(&number)),
                Look::Going(received) if received > attached.told => {
                    attached.told = received;
                    let upload_id = &upload.id;
                    let event = Event::UploadProgress {
                        upload_id,
                        received,
                    };
                    self.tell(&event).await?;
                }
                Look::Going(_) => {}
                Look::Ended(outcome) => {
                    self.tell_outcome(&upload.id, &outcome).await?;
                    self.uploads.held.remove(&number);
                    let uploads = &self.services.backend.get().uploads;
                    uploads.forget(&self.user, &self.token, &upload);
                }
            }
        }
        Ok(())
    }

    async fn tell_outcome(&mut self, upload_id: &str, outcome: &Outcome) -> Going {
        match outcome {
            Outcome::Done { status, response } => {
                let event = Event::UploadDone {
                    upload_id,
                    status: *status,
                    response: response.as_deref(),
                };
                self.tell(&event).await
            }
            Outcome::Failed(failure) => self.upload_failed(upload_id, failure).await,
        }
    }

    async fn upload_failed(&mut self, upload_id: &str, failure: &Failure) -> Going {
        let event = Event::UploadFailed {
            upload_id,
            code: failure.reason.code(),
            message: &failure.message,
            status: failure.status,
            errors: failure.errors.as_deref(),
        };
        self.tell(&event).await
    }

    /// Whether the end of the session, which is due, is put off: Laravel has all
    /// of an upload, and its client would never hear what it said.
    pub(super) fn waits_for_uploads(&mut self) -> bool {
        let mut held = self.uploads.held.values();
        if !held.any(|attached| attached.upload.is_all_there()) {
            return false;
        }
        let now = Instant::now();
        let waits = *self.uploads.end_at.get_or_insert(now + PATIENCE) > now;
        if waits {
            self.schedule.stop_within(AGAIN);
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
            attached.upload.give_up(why);
        }
        if reason == CloseReason::Restart && self.tell_of_uploads().await.is_ok() {
            for (_, attached) in std::mem::take(&mut self.uploads.held) {
                let lost = Reason::NoAnswer.into();
                if self
                    .upload_failed(&attached.upload.id, &lost)
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
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);
