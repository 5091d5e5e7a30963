//! One session: a socket, its inbox, the rooms it is in, and one loop.

mod commands;
mod io;
mod pending_joins;
mod revalidate;
mod schedule;
mod setup;
mod shared_stream;
mod throttle;
mod uploads;

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use futures_util::{SinkExt, StreamExt, TryFutureExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

use self::io::{CLOSE_TIMEOUT, close, with_timeout};
use self::pending_joins::{JoinDecision, PendingJoins};
use self::revalidate::{LostRight, Revalidation, RevalidationCause};
use self::schedule::Schedule;
pub(super) use self::setup::{EstablishedSession, SessionSetup, set_up};
use self::shared_stream::SharedStream;
use self::throttle::{PausedOperation, SessionRates};
use self::uploads::SessionUploads;
use super::gateway::Services;
use super::protocol::Event;
use super::{CloseReason, Settings};
use crate::auth::{AuthenticatedUser, ClientContext, Epoch, Token, User};
use crate::core::ids::{RoomName, SessionId};
use crate::limit::{Limit, LimitExceeded};
use crate::rooms::{self, Inbox, Membership, Outbox, SessionEvent};
use crate::runtime::activity::ActivityTracker;
use crate::runtime::wake_gate::WakeGate;

/// A session of a user whom Laravel knows. Generic over the stream, so that
/// tests bring a pipe in memory.
struct Session<S> {
    socket: WebSocketStream<SharedStream<S>>,
    inbox: Inbox,
    outbox: Outbox,
    id: SessionId,
    user: User,
    token: Token,
    client_context: ClientContext,
    services: Arc<Services>,
    settings: Arc<Settings>,
    rooms: HashMap<RoomName, Membership>,
    paces: SessionRates,
    /// What the client said and may not have said yet. Nothing is read meanwhile.
    paused: Option<Box<PausedOperation>>,
    schedule: Schedule,
    /// Moves with each message, and each ping of ours.
    activity: ActivityTracker,
    /// When Laravel was asked who the user is.
    identified: Epoch,
    joins: PendingJoins,
    uploads: SessionUploads,
    confirming: Option<Box<Revalidation>>,
}

/// What wakes a session.
enum LoopEvent {
    Mail(SessionEvent),
    Frame(Option<Result<Message, tungstenite::Error>>),
    Joined(JoinDecision),
    Found(Option<LostRight>),
    Uploads,
    Tick,
    Stopping,
}

/// `Err` is the end of the session.
type LoopResult = Result<(), CloseReason>;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(
        socket: WebSocketStream<SharedStream<S>>,
        setup: SessionSetup,
        token: Token,
        identified: AuthenticatedUser,
    ) -> Self
    where
        S: Debug + Send + 'static,
    {
        let settings = setup.settings;
        let direct_writer = Some(socket.get_ref().direct_writer());
        let (outbox, inbox) = rooms::channel(
            settings.queue_events.size(),
            settings.queue_bytes.get(),
            direct_writer,
        );
        Self {
            socket,
            inbox,
            outbox,
            id: setup.id,
            user: identified.user,
            identified: identified.asked,
            token,
            client_context: setup.client_context,
            services: setup.services,
            activity: setup.activity,
            rooms: HashMap::new(),
            paces: SessionRates::new(&settings, Arc::new(SessionRates::user_joins(&settings))),
            paused: None,
            schedule: Schedule::new(&settings),
            settings,
            joins: PendingJoins::default(),
            uploads: SessionUploads::default(),
            confirming: None,
        }
    }

    /// Greets and serves until something ends it.
    async fn serve(&mut self) -> CloseReason {
        let secret = self.token.hash();
        let registration = self.services.sessions.register(
            self.id,
            self.client_context.client,
            self.user.id().clone(),
            secret,
            self.outbox.clone(),
        );
        let most = self.settings.sessions_per_user;
        if registration.exceeds(most) && self.report_exceeded(Limit::SessionsPerUser) {
            registration.evict_oldest(most);
        }
        let user_joins = registration.join_rate(|| SessionRates::user_joins(&self.settings));
        self.paces.share_user_joins(user_joins);
        let invalidations = &self.services.invalidations;
        let doubt = invalidations.latest_after(self.user.id(), secret, self.identified);
        if doubt.is_some() {
            self.start_revalidation(RevalidationCause::Invalidated, None);
        }
        let greeting = Event::Connection {
            status: "connected",
            user_id: self.user.id(),
            session_id: self.id,
            message: "WebSocket connection established",
        };
        let greeting = self.frame(&greeting);
        let served = match self.write([greeting]).await {
            Ok(()) => self.run_loop().await,
            ended => ended,
        };
        served.err().unwrap_or(CloseReason::Client)
    }

    /// The loop. Every branch is cancel-safe: what a wake-up brings leaves the
    /// socket or the inbox only when its branch completes.
    async fn run_loop(&mut self) -> LoopResult {
        let stopping = self.services.drain.token().clone();
        let mut stopping = pin!(stopping.cancelled());
        let mut stopped = false;
        let bell = self.uploads.notify();
        let mut tick = pin!(tokio::time::sleep_until(self.schedule.next()));
        // Mail is what wakes a session most, so it is looked for first; but once
        // there was some, the rest has its turn before there is more. Of the rest
        // the socket is last: it alone can go on and on.
        let aside = WakeGate::new();
        let mut fed = false;
        loop {
            if self.uploads.has_any() {
                // Their bell rings for who listens, and the next round listens anew.
                aside.force_poll();
            }
            let rest = async {
                tokio::select! {
                    biased;
                    () = &mut stopping, if !stopped => LoopEvent::Stopping,
                    () = &mut tick => LoopEvent::Tick,
                    () = bell.notified(), if self.uploads.has_any() => LoopEvent::Uploads,
                    decision = self.joins.next(), if self.joins.len() > 0 => LoopEvent::Joined(decision),
                    Some(finding) = OptionFuture::from(self.confirming.as_mut().map(|round| round.next())) => {
                        LoopEvent::Found(finding)
                    }
                    frame = self.socket.next(), if !self.joins.is_holding() && self.paused.is_none() => {
                        LoopEvent::Frame(frame)
                    }
                }
            };
            let wake = aside.select(
                rest,
                |cx| self.inbox.poll_next(cx).map(LoopEvent::Mail),
                fed,
            );
            let wake = wake.await;
            fed = matches!(wake, LoopEvent::Mail(_));
            if !fed {
                self.inbox.set_busy();
            }
            if !matches!(wake, LoopEvent::Mail(SessionEvent::Batch(_))) {
                // All but an event may change what there is to look after.
                aside.force_poll();
            }
            // In boxes: a session that rests holds no room for what it may do.
            match wake {
                LoopEvent::Mail(event) => self.on_session_event(event).await?,
                LoopEvent::Frame(frame) => Box::pin(self.on_frame(frame)).await?,
                LoopEvent::Joined(decision) => Box::pin(self.finish_join(decision)).await?,
                LoopEvent::Found(finding) => Box::pin(self.apply_finding(finding)).await?,
                LoopEvent::Uploads => Box::pin(self.send_upload_events()).await?,
                LoopEvent::Tick => self.run_due().await?,
                LoopEvent::Stopping => {
                    stopped = true;
                    self.schedule.stop_within(self.services.close_spread);
                }
            }
            let due = self.next_due();
            if !fed && tick.deadline() != due {
                tick.as_mut().reset(due);
            }
        }
    }

    /// When the session next has something to do by itself.
    fn next_due(&self) -> Instant {
        let paused = self.paused.as_ref().map(|paused| paused.until);
        let round = self
            .confirming
            .as_ref()
            .and_then(|round| round.next_round());
        let others = paused.into_iter().chain(round);
        others.fold(self.schedule.next(), Instant::min)
    }

    /// Whether something that the client said waits, so that no more is read.
    fn is_holding(&self) -> bool {
        self.joins.is_holding() || self.paused.is_some()
    }

    /// Does what the inbox brings.
    async fn on_session_event(&mut self, event: SessionEvent) -> LoopResult {
        match event {
            SessionEvent::Evicted(why) => Err(why.into()),
            SessionEvent::Revalidate => {
                // The doubt that caused it says since when; so all who are asked
                // to ask share one question.
                self.start_revalidation(RevalidationCause::Invalidated, None);
                Ok(())
            }
            SessionEvent::Batch(batch) => {
                self.socket.get_ref().enqueue(batch);
                self.write([]).await
            }
            SessionEvent::Unsent => self.write([]).await,
        }
    }

    /// Leaves a room for good, if the session is in it. What still waits from
    /// there is not sent, not even after a return: it is older than that.
    fn leave(&mut self, room: RoomName) -> bool {
        let Some(membership) = self.rooms.remove(&room) else {
            return false;
        };
        membership.leave();
        self.inbox.forget(room);
        true
    }

    /// Notes that the session is over a limit; whether that has consequences, or
    /// is only tried out.
    fn report_exceeded(&self, limit: Limit) -> bool {
        let over = LimitExceeded::new(limit, Duration::ZERO);
        let limits = &self.services.backend.get().limits;
        limits
            .report_exceeded(self.client_context.client, over)
            .is_err()
    }

    /// Does what is due.
    async fn run_due(&mut self) -> LoopResult {
        let now = Instant::now();
        if self.is_holding() {
            // Nothing was read meanwhile: that silence is ours.
            self.schedule.record_activity();
        }
        if self.schedule.must_stop(now) && !self.waits_for_uploads() {
            return Err(CloseReason::Restart);
        }
        if self.schedule.is_silent(now) {
            return Err(CloseReason::Silent);
        }
        if self.schedule.take_revalidation(now) {
            let since = self.services.invalidations.next_epoch();
            self.start_revalidation(RevalidationCause::Interval, Some(since));
        }
        let next_round = self
            .confirming
            .as_ref()
            .and_then(|round| round.next_round());
        if next_round.is_some_and(|due| due <= now) {
            self.recheck_again();
        }
        if self
            .paused
            .as_ref()
            .is_some_and(|paused| paused.until <= now)
        {
            Box::pin(self.resume_paused()).await?;
        }
        if self.schedule.take_ping(now) {
            self.activity.record();
            self.write([Message::Ping(Bytes::new())]).await?;
        }
        Ok(())
    }

    async fn send_event(&mut self, event: &Event<'_>) -> LoopResult {
        let frame = self.frame(event);
        self.write([frame]).await
    }

    /// The frame that carries `event`, which counts as sent: if it cannot be, that
    /// is the end of the session.
    fn frame(&self, event: &Event<'_>) -> Message {
        self.services.metrics.events.add(event.name());
        Message::Text(event.text())
    }

    /// Sends `frames` in one flush. Gives up when nothing has moved for the write
    /// timeout, or at once when the session is asked to end: a client that does
    /// not read must not hold it.
    async fn write(&mut self, frames: impl IntoIterator<Item = Message>) -> LoopResult {
        let (socket, limit) = (&mut self.socket, self.settings.write_timeout.get());
        let writing = async {
            loop {
                let sending = poll_fn(|cx| socket.get_ref().poll_send(cx));
                if with_timeout(limit, sending.map_err(Into::into)).await? {
                    break;
                }
            }
            for frame in frames {
                with_timeout(limit, socket.feed(frame)).await?;
            }
            with_timeout(limit, socket.flush()).await
        };
        tokio::select! {
            // Most is written at once: the inbox is asked only if it is not.
            biased;
            written = writing => written,
            why = self.inbox.evicted() => Err(why.into()),
        }
    }

    /// Leaves the rooms and says good-bye.
    async fn end(&mut self, reason: CloseReason) {
        if reason.is_at_once() {
            self.socket.get_ref().forget();
        }
        self.leave_uploads(reason).await;
        if reason == CloseReason::Superseded {
            let event = Event::Error {
                message: "Too many sessions of yours are open; this was the oldest",
                code: reason.name(),
                ticket_id: None,
                upload_id: None,
            };
            // If it cannot be told any more, the close frame says it too.
            let frame = self.frame(&event);
            let telling = self.socket.send(frame);
            let _ = with_timeout(CLOSE_TIMEOUT, telling).await;
        }
        for (_, membership) in self.rooms.drain() {
            match reason {
                // They are gone for good; for all others the grace begins.
                CloseReason::Revoked | CloseReason::Disconnected => membership.leave(),
                _ => drop(membership),
            }
        }
        close(&mut self.socket, reason).await;
    }
}

#[cfg(test)]
mod tests;
