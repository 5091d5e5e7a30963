//! One session: a socket, its inbox, the rooms it is in, and one loop.

mod commands;
mod joins;
mod link;
mod opening;
mod pace;
mod recheck;
mod schedule;
mod socket;
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

use self::joins::{Decision, Joins};
use self::link::Link;
pub(super) use self::opening::{Open, Opening, open};
use self::pace::{Paces, Paused};
use self::recheck::{Cause, Confirmation, Finding};
use self::schedule::Schedule;
use self::socket::{FAREWELL, close, in_time};
use self::uploads::Held;
use super::gateway::Services;
use super::wire::Event;
use super::{CloseReason, Settings};
use crate::activity::ActivityTracker;
use crate::auth::{AuthenticatedUser, ClientContext, Epoch, Token, User};
use crate::ids::{RoomName, SessionId};
use crate::limit::{Limit, LimitExceeded};
use crate::rooms::{self, Inbox, Membership, Outbox, SessionEvent};
use crate::wake_gate::WakeGate;

/// A session of a user whom Laravel knows. Generic over the stream, so that
/// tests bring a pipe in memory.
struct Session<S> {
    socket: WebSocketStream<Link<S>>,
    inbox: Inbox,
    outbox: Outbox,
    id: SessionId,
    user: User,
    token: Token,
    client_context: ClientContext,
    services: Arc<Services>,
    settings: Arc<Settings>,
    rooms: HashMap<RoomName, Membership>,
    paces: Paces,
    /// What the client said and may not have said yet. Nothing is read meanwhile.
    paused: Option<Box<Paused>>,
    schedule: Schedule,
    /// Moves with each message, and each ping of ours.
    activity: ActivityTracker,
    /// When Laravel was asked who the user is.
    identified: Epoch,
    joins: Joins,
    uploads: Held,
    confirming: Option<Box<Confirmation>>,
}

/// What wakes a session.
enum Wake {
    Mail(SessionEvent),
    Frame(Option<Result<Message, tungstenite::Error>>),
    Joined(Decision),
    Found(Option<Finding>),
    Uploads,
    Tick,
    Stopping,
}

/// `Err` is the end of the session.
type Going = Result<(), CloseReason>;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(
        socket: WebSocketStream<Link<S>>,
        opening: Opening,
        token: Token,
        identified: AuthenticatedUser,
    ) -> Self
    where
        S: Debug + Send + 'static,
    {
        let settings = opening.settings;
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
            id: opening.id,
            user: identified.user,
            identified: identified.asked,
            token,
            client_context: opening.client_context,
            services: opening.services,
            activity: opening.activity,
            rooms: HashMap::new(),
            paces: Paces::new(&settings, Arc::new(Paces::user_joins(&settings))),
            paused: None,
            schedule: Schedule::new(&settings),
            settings,
            joins: Joins::default(),
            uploads: Held::default(),
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
        if registration.exceeds(most) && self.over(Limit::SessionsPerUser) {
            registration.evict_oldest(most);
        }
        let user_joins = registration.join_rate(|| Paces::user_joins(&self.settings));
        self.paces.share_user_joins(user_joins);
        let invalidations = &self.services.invalidations;
        let doubt = invalidations.latest_after(self.user.id(), secret, self.identified);
        if doubt.is_some() {
            self.recheck(Cause::Doubt, None);
        }
        let greeting = Event::Connection {
            status: "connected",
            user_id: self.user.id(),
            session_id: self.id,
            message: "WebSocket connection established",
        };
        let greeting = self.frame(&greeting);
        let served = match self.write([greeting]).await {
            Ok(()) => self.attend().await,
            ended => ended,
        };
        served.err().unwrap_or(CloseReason::Client)
    }

    /// The loop. Every branch is cancel-safe: what a wake-up brings leaves the
    /// socket or the inbox only when its branch completes.
    async fn attend(&mut self) -> Going {
        let stopping = self.services.drain.token().clone();
        let mut stopping = pin!(stopping.cancelled());
        let mut stopped = false;
        let bell = self.uploads.bell();
        let mut tick = pin!(tokio::time::sleep_until(self.schedule.next()));
        // Mail is what wakes a session most, so it is looked for first; but once
        // there was some, the rest has its turn before there is more. Of the rest
        // the socket is last: it alone can go on and on.
        let aside = WakeGate::new();
        let mut fed = false;
        loop {
            if self.uploads.is_any() {
                // Their bell rings for who listens, and the next round listens anew.
                aside.force_poll();
            }
            let rest = async {
                tokio::select! {
                    biased;
                    () = &mut stopping, if !stopped => Wake::Stopping,
                    () = &mut tick => Wake::Tick,
                    () = bell.notified(), if self.uploads.is_any() => Wake::Uploads,
                    decision = self.joins.next(), if self.joins.len() > 0 => Wake::Joined(decision),
                    Some(finding) = OptionFuture::from(self.confirming.as_mut().map(|round| round.next())) => {
                        Wake::Found(finding)
                    }
                    frame = self.socket.next(), if !self.joins.is_holding() && self.paused.is_none() => {
                        Wake::Frame(frame)
                    }
                }
            };
            let wake = aside.select(rest, |cx| self.inbox.poll_next(cx).map(Wake::Mail), fed);
            let wake = wake.await;
            fed = matches!(wake, Wake::Mail(_));
            if !fed {
                self.inbox.set_busy();
            }
            if !matches!(wake, Wake::Mail(SessionEvent::Batch(_))) {
                // All but an event may change what there is to look after.
                aside.force_poll();
            }
            // In boxes: a session that rests holds no room for what it may do.
            match wake {
                Wake::Mail(event) => self.take(event).await?,
                Wake::Frame(frame) => Box::pin(self.hear(frame)).await?,
                Wake::Joined(decision) => Box::pin(self.joined(decision)).await?,
                Wake::Found(finding) => Box::pin(self.found(finding)).await?,
                Wake::Uploads => Box::pin(self.tell_of_uploads()).await?,
                Wake::Tick => self.tick().await?,
                Wake::Stopping => {
                    stopped = true;
                    self.schedule.stop_within(self.services.close_spread);
                }
            }
            let due = self.due();
            if !fed && tick.deadline() != due {
                tick.as_mut().reset(due);
            }
        }
    }

    /// When the session next has something to do by itself.
    fn due(&self) -> Instant {
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
    async fn take(&mut self, event: SessionEvent) -> Going {
        match event {
            SessionEvent::Evicted(why) => Err(why.into()),
            SessionEvent::Revalidate => {
                // The doubt that caused it says since when; so all who are asked
                // to ask share one question.
                self.recheck(Cause::Doubt, None);
                Ok(())
            }
            SessionEvent::Batch(batch) => {
                self.socket.get_ref().put(batch);
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
    fn over(&self, limit: Limit) -> bool {
        let over = LimitExceeded::new(limit, Duration::ZERO);
        let limits = &self.services.backend.get().limits;
        limits
            .report_exceeded(self.client_context.client, over)
            .is_err()
    }

    /// Does what is due.
    async fn tick(&mut self) -> Going {
        let now = Instant::now();
        if self.is_holding() {
            // Nothing was read meanwhile: that silence is ours.
            self.schedule.heard();
        }
        if self.schedule.must_stop(now) && !self.waits_for_uploads() {
            return Err(CloseReason::Restart);
        }
        if self.schedule.is_silent(now) {
            return Err(CloseReason::Silent);
        }
        if self.schedule.take_recheck(now) {
            let since = self.services.invalidations.next_epoch();
            self.recheck(Cause::Interval, Some(since));
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
            Box::pin(self.resume()).await?;
        }
        if self.schedule.take_ping(now) {
            self.activity.record();
            self.write([Message::Ping(Bytes::new())]).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, event: &Event<'_>) -> Going {
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
    async fn write(&mut self, frames: impl IntoIterator<Item = Message>) -> Going {
        let (socket, limit) = (&mut self.socket, self.settings.write_timeout.get());
        let writing = async {
            loop {
                let sending = poll_fn(|cx| socket.get_ref().poll_send(cx));
                if in_time(limit, sending.map_err(Into::into)).await? {
                    break;
                }
            }
            for frame in frames {
                in_time(limit, socket.feed(frame)).await?;
            }
            in_time(limit, socket.flush()).await
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
            let _ = in_time(FAREWELL, telling).await;
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
