//! One WebSocket session: its socket, its inbox, its rooms, and the loop of its task. The
//! task is parked most of its life; a scheduler task of the rooms then delivers for it by
//! its [`SharedStream`].

mod commands;
mod greeting;
pub(super) mod io;
mod pending_joins;
mod predecessor;
mod resume;
mod revalidation;
mod rights;
pub(super) mod schedule;
mod setup;
mod throttle;
mod uploads;

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use futures_util::future::OptionFuture;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use self::io::{CLOSE_TIMEOUT, close, with_timeout};
use self::pending_joins::{JoinDecision, PendingJoins};
use self::predecessor::Resumption;
use self::revalidation::{LostRight, Revalidation, RevalidationCause};
use self::schedule::Schedule;
pub(super) use self::setup::{SessionSetup, set_up};
use self::throttle::{PausedOperation, SessionRates};
use self::uploads::SessionUploads;
use super::protocol::Event;
use super::services::Services;
use super::{CloseReason, Settings};
use crate::auth::{AgentHash, AuthenticatedUser, ClientContext, Credential, Epoch, User};
use crate::core::ids::{RoomName, SessionId};
use crate::limit::{Limit, LimitExceeded};
use crate::rooms::{
    self, Browser, Inbox, Membership, Outbox, Registration, SessionEntry, SessionEvent,
    SharedStream, Since,
};
use crate::runtime::activity::ActivityTracker;
use crate::runtime::wake_gate::WakeGate;

/// A session of an authenticated user. Generic over the stream, so that tests use an
/// in-memory pipe.
struct Session<S> {
    socket: WebSocketStream<SharedStream<S>>,
    inbox: Inbox,
    outbox: Outbox,
    user: User,
    credential: Credential,
    client_context: ClientContext,
    services: Arc<Services>,
    settings: Arc<Settings>,
    rooms: HashMap<RoomName, Membership>,
    rates: SessionRates,
    /// A request of the client that is over its rate. Nothing is read until it is done.
    paused: Option<Box<PausedOperation>>,
    schedule: Schedule,
    /// Records each message of the client, and each ping of the edge.
    activity: ActivityTracker,
    /// The epoch of the request by which Laravel identified the user.
    identity_epoch: Epoch,
    joins: PendingJoins,
    uploads: SessionUploads,
    revalidation: Option<Box<Revalidation>>,
    /// The return of a client that knows no positions.
    resumption: Option<Box<Resumption>>,
}

/// An event that the loop handles.
enum LoopEvent {
    Inbox(SessionEvent),
    Frame(Option<Result<Message, tungstenite::Error>>),
    /// Laravel decided on a join, which may have been a late one.
    JoinDecided(Box<JoinDecision>, bool),
    /// A right was lost, or (none) the round of revalidation is over.
    Revalidated(Option<LostRight>),
    Uploads,
    Tick,
    Stopping,
}

/// The result of a step. `Err` ends the session.
type LoopResult = Result<(), CloseReason>;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(
        socket: WebSocketStream<SharedStream<S>>,
        setup: SessionSetup,
        credential: Credential,
        identified: AuthenticatedUser,
    ) -> Self
    where
        S: Debug + Send + 'static,
    {
        let settings = setup.settings;
        let direct_writer = Some(socket.get_ref().direct_writer());
        let (outbox, inbox) = rooms::channel(
            settings.max_queued_events.size(),
            settings.max_queued_size.get(),
            direct_writer,
        );
        Self {
            socket,
            inbox,
            outbox,
            user: identified.user,
            identity_epoch: identified.epoch,
            credential,
            client_context: setup.client_context,
            services: setup.services,
            activity: setup.activity,
            rooms: HashMap::new(),
            rates: SessionRates::new(&settings, Arc::new(SessionRates::user_joins(&settings))),
            paused: None,
            schedule: Schedule::new(&settings),
            settings,
            joins: PendingJoins::default(),
            uploads: SessionUploads::default(),
            revalidation: None,
            resumption: None,
        }
    }

    fn id(&self) -> SessionId {
        self.client_context.session
    }

    /// Registers the session of a client that its handshake shows as `agent`.
    fn register(&mut self, agent: AgentHash) -> Registration {
        let browser = Browser {
            token: self.credential.hash(),
            agent,
        };
        let entry = SessionEntry {
            client: self.client_context.client,
            since: Instant::now(),
            user: self.user.id().clone(),
            browser,
            outbox: self.outbox.clone(),
            receipts: self.socket.get_ref().receipts().cloned(),
        };
        let registration = self.services.sessions.register(self.id(), entry);
        let max_sessions = self.settings.max_sessions_per_user;
        if registration.exceeds(max_sessions) && self.report_exceeded(Limit::MaxSessionsPerUser) {
            registration.evict_oldest(max_sessions);
        }
        let user_joins = registration.join_rate(|| SessionRates::user_joins(&self.settings));
        self.rates.share_user_joins(user_joins);
        let invalidations = &self.services.invalidations;
        let (user, token) = (self.user.id(), browser.token);
        if invalidations
            .latest_after(user, token, self.identity_epoch)
            .is_some()
        {
            self.start_revalidation(RevalidationCause::Invalidated, None);
        }
        registration
    }

    /// Greets the client and runs the loop; returns why it ended. The session is registered
    /// until then. `since` is the client's last position in the user's own channel, if it
    /// returns.
    async fn serve(&mut self, since: Option<Box<Since>>) -> CloseReason {
        // Boxed: the future of a parked session has no room for its start.
        let served = match Box::pin(self.greet(since)).await {
            Ok(()) => self.run_loop().await,
            ended => ended,
        };
        let reason = served.err().unwrap_or(CloseReason::Client);
        self.park(reason);
        reason
    }

    /// Handles events until one ends the session. Every branch is cancel-safe: an event
    /// leaves the socket or the inbox only when its branch completes.
    async fn run_loop(&mut self) -> LoopResult {
        let drain_token = self.services.drain.token().clone();
        let mut stopping = pin!(drain_token.cancelled());
        let mut is_stopping = false;
        let upload_notify = self.uploads.notify();
        let mut tick = pin!(tokio::time::sleep_until(self.schedule.next()));
        // The inbox wakes a session most often, so it is polled first. After one of its
        // events the others come first once, so that neither starves the other. The socket
        // is the last of the others: a client may keep it readable for ever.
        let wake_gate = WakeGate::new();
        let mut was_inbox = false;
        loop {
            if self.uploads.has_any() {
                // `notified()` is a new future in each round: its waker is not yet registered.
                wake_gate.force_poll();
            }
            let others = async {
                tokio::select! {
                    biased;
                    () = &mut stopping, if !is_stopping => LoopEvent::Stopping,
                    () = &mut tick => LoopEvent::Tick,
                    () = upload_notify.notified(), if self.uploads.has_any() => LoopEvent::Uploads,
                    (decision, is_late) = self.joins.next(), if self.joins.has_any() => {
                        LoopEvent::JoinDecided(decision, is_late)
                    }
                    Some(finding) = OptionFuture::from(self.revalidation.as_mut().map(|round| round.next())) => {
                        LoopEvent::Revalidated(finding)
                    }
                    frame = self.socket.next(), if !self.joins.is_holding() && self.paused.is_none() => {
                        LoopEvent::Frame(frame)
                    }
                }
            };
            let poll_inbox = |cx: &mut Context<'_>| self.inbox.poll_next(cx).map(LoopEvent::Inbox);
            // Pinned here: passed by value, the future would be stored twice.
            let event = wake_gate.select(pin!(others), poll_inbox, was_inbox).await;
            was_inbox = matches!(event, LoopEvent::Inbox(_));
            if !was_inbox {
                // Until here the session may have been parked, and the scheduler may have
                // written for it. The handler's own frames must keep their place.
                self.inbox.resume();
            }
            let is_batch = matches!(event, LoopEvent::Inbox(SessionEvent::Batch(_)));
            if !is_batch {
                // Everything but a batch may change what the others wait for.
                wake_gate.force_poll();
            }
            // Boxed: the future of a parked session has no room for the rarer handlers.
            match event {
                LoopEvent::Inbox(event) => self.on_session_event(event).await?,
                LoopEvent::Frame(frame) => Box::pin(self.on_frame(frame)).await?,
                LoopEvent::JoinDecided(decision, is_late) => {
                    Box::pin(self.finish_join(*decision, is_late)).await?;
                }
                LoopEvent::Revalidated(finding) => Box::pin(self.apply_finding(finding)).await?,
                LoopEvent::Uploads => Box::pin(self.send_upload_events()).await?,
                LoopEvent::Tick => Box::pin(self.run_due()).await?,
                LoopEvent::Stopping => {
                    is_stopping = true;
                    self.schedule.stop_within(self.services.close_spread);
                }
            }
            let due = self.next_due();
            // A batch, the most frequent event, changes no deadline.
            if !is_batch && tick.deadline() != due {
                tick.as_mut().reset(due);
            }
        }
    }

    /// Returns the time at which [`Session::run_due`] next has something to do.
    fn next_due(&self) -> Instant {
        let paused = self.paused.as_ref().map(|paused| paused.until);
        let others = [
            paused,
            self.joins.delayed_until(),
            self.next_round(),
            self.resumption_due(),
        ];
        others
            .into_iter()
            .flatten()
            .fold(self.schedule.next(), Instant::min)
    }

    /// Returns the time of the next round of revalidation, if one is due.
    fn next_round(&self) -> Option<Instant> {
        self.revalidation.as_ref()?.next_round()
    }

    /// Returns whether a request of the client is held back, so that nothing is read.
    fn is_holding(&self) -> bool {
        self.joins.is_holding() || self.paused.is_some()
    }

    /// Handles an event of the inbox.
    async fn on_session_event(&mut self, event: SessionEvent) -> LoopResult {
        match event {
            SessionEvent::Evicted(reason) => Err(reason.into()),
            SessionEvent::Revalidate => {
                // No epoch of its own: the invalidation has one, so all sessions that it
                // concerns share one request to Laravel.
                self.start_revalidation(RevalidationCause::Invalidated, None);
                Ok(())
            }
            SessionEvent::RevalidateEarly => {
                self.schedule.hasten_revalidation();
                Ok(())
            }
            SessionEvent::Ping => Box::pin(self.ping()).await,
            SessionEvent::Batch(batch) => {
                self.socket.get_ref().enqueue(batch);
                self.write([]).await
            }
            SessionEvent::Unsent => self.write([]).await,
        }
    }

    /// Leaves a room for good; returns whether the session was in it. What is queued from the
    /// room is dropped, so that it is not sent after a later join.
    fn leave(&mut self, room: &RoomName) -> bool {
        let Some(membership) = self.rooms.remove(room) else {
            return false;
        };
        membership.leave();
        self.inbox.forget(room);
        self.record_exit(room);
        true
    }

    /// Reports that the session is over a limit; returns whether the limit is enforced, and
    /// not only tried out.
    fn report_exceeded(&self, limit: Limit) -> bool {
        let exceeded = LimitExceeded::new(limit, Duration::ZERO);
        let limits = &self.services.backend.get().limits;
        limits
            .report_exceeded(self.client_context.client, exceeded)
            .is_err()
    }

    /// Runs what is due by the clock.
    async fn run_due(&mut self) -> LoopResult {
        let now = Instant::now();
        if self.is_holding() {
            // The session has not read meanwhile, so it must not take this for silence.
            self.schedule.record_activity(&self.settings);
        }
        if self.schedule.must_stop(now) && !self.waits_for_uploads() {
            return Err(CloseReason::Restart);
        }
        if self.schedule.is_silent(now) {
            return Err(CloseReason::Silent);
        }
        if self.schedule.take_revalidation(now, &self.settings) {
            let since = self.services.invalidations.next_epoch();
            self.start_revalidation(RevalidationCause::Interval, Some(since));
        }
        if self.next_round().is_some_and(|due| due <= now) {
            self.begin_next_round();
        }
        let paused = self.paused.as_ref();
        if paused.is_some_and(|paused| paused.until <= now) {
            Box::pin(self.resume_paused()).await?;
        }
        if self.joins.delayed_until().is_some_and(|due| due <= now) {
            Box::pin(self.continue_joins()).await?;
        }
        if self.resumption_due().is_some_and(|due| due <= now) {
            self.look_for_predecessor(None);
        }
        if self.schedule.take_receipt(now) {
            self.request_receipt().await?;
        }
        if self.schedule.take_ping(now, &self.settings) {
            self.ping().await?;
        }
        Ok(())
    }

    /// Ends the delivery, leaves the rooms and closes the socket.
    async fn end(&mut self, reason: CloseReason) {
        self.inbox.close();
        if reason.is_at_once() {
            self.socket.get_ref().discard_unsent();
        }
        self.leave_uploads(reason).await;
        if reason == CloseReason::Superseded {
            let event = Event::Error {
                message: "Too many sessions of yours are open; this was the oldest",
                code: reason.name(),
                room: None,
                upload_id: None,
            };
            // A failure does no harm: the close frame carries the reason, too.
            let frame = self.frame(&event);
            let _ = with_timeout(CLOSE_TIMEOUT, self.socket.send(frame)).await;
        }
        for (_, membership) in self.rooms.drain() {
            match reason {
                // The user left for good. In all other cases the grace begins.
                CloseReason::Revoked | CloseReason::Disconnected => membership.leave(),
                _ => membership.disconnect(),
            }
        }
        close(&mut self.socket, reason, reason.frame()).await;
    }
}

#[cfg(test)]
mod tests;
