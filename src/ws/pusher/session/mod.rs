//! One session of a Pusher client: its socket, its inbox, its channels, and the loop of its
//! task. Laravel has signed what the client may join, so the session asks it nothing.

mod client_events;
mod subscriptions;
mod throttle;

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

use self::throttle::{PausedOperation, RateLimited, SessionRates};
use super::settings::Settings as PusherSettings;
use super::wire::{self, Command, Event};
use crate::core::client_ip::ClientIp;
use crate::core::ids::{ChannelName, SessionId, UserId};
use crate::limit::{Limit, LimitExceeded, SessionRate};
use crate::rooms::{
    self, Inbox, Membership, Outbox, PublicationEncoder, Registration, SessionEvent, SharedStream,
    Wire,
};
use crate::runtime::activity::ActivityTracker;
use crate::ws::services::Services;
use crate::ws::session::io::{self, CLOSE_TIMEOUT, close_reason, websocket_config};
use crate::ws::session::schedule::Schedule;
use crate::ws::{CloseReason, Metrics, Settings, protocol};

/// The parts of a session that its handshake gives.
#[derive(Debug)]
pub(in crate::ws) struct SessionSetup {
    pub(in crate::ws) id: SessionId,
    pub(in crate::ws) client: ClientIp,
    /// Whether the client named this application and a version of the protocol that the edge
    /// speaks.
    pub(in crate::ws) checked: Result<(), CloseReason>,
    pub(in crate::ws) services: Arc<Services>,
    pub(in crate::ws) settings: Arc<Settings>,
    pub(in crate::ws) pusher: Arc<PusherSettings>,
    /// Records each message. Too many bytes of other frames are a control flood.
    pub(in crate::ws) activity: ActivityTracker,
}

/// A session of a client whose users, if any, its channels name. Generic over the stream, so
/// that tests use an in-memory pipe.
pub(in crate::ws) struct Session<S> {
    socket: WebSocketStream<SharedStream<S>>,
    inbox: Inbox,
    outbox: Outbox,
    id: SessionId,
    client: ClientIp,
    start: Instant,
    /// The first user whom a signature of Laravel has named.
    user: Option<UserId>,
    services: Arc<Services>,
    settings: Arc<Settings>,
    pusher: Arc<PusherSettings>,
    registration: Registration,
    channels: HashMap<ChannelName, Subscription>,
    /// The rate of the client's own events, once it has published one.
    client_events: Option<Box<SessionRate>>,
    rates: SessionRates,
    /// An operation of the client that is over its rate. Nothing is read until it has run.
    paused: Option<Box<PausedOperation>>,
    schedule: Schedule,
    activity: ActivityTracker,
}

/// The session's place in a channel.
struct Subscription {
    membership: Membership,
    /// The JSON of the user's id, in a presence channel.
    user_id: Option<Arc<RawValue>>,
}

/// An event that the loop handles.
enum LoopEvent {
    Inbox(SessionEvent),
    Frame(Option<Result<Message, tungstenite::Error>>),
    Tick,
    Stopping,
}

/// The result of a step. `Err` ends the session.
type LoopResult = Result<(), CloseReason>;

/// Returns the session of a client; none if it is not served, after it was told why. Logs
/// either outcome.
pub(in crate::ws) async fn set_up<S>(stream: S, setup: SessionSetup) -> Option<Box<Session<S>>>
where
    S: AsyncRead + AsyncWrite + Debug + Send + Unpin + 'static,
{
    let metrics = &setup.services.metrics;
    let shared_stream = SharedStream::new(stream, &ENCODER, metrics.delivery(), None);
    let config = Some(websocket_config(&setup.settings));
    let mut socket = WebSocketStream::from_raw_socket(shared_stream, Role::Server, config).await;
    let (id, client) = (setup.id, setup.client);
    if let Err(reason) = setup.checked {
        tracing::info!(
            name: "session_rejected",
            session = %id, client.ip = %client, reason = reason.name(),
            error = reason.hint().unwrap_or_default(),
            "session rejected"
        );
        metrics.count_close(reason);
        reject(&mut socket, reason, metrics).await;
        return None;
    }
    // A channel may name it later.
    let user = None::<&str>;
    tracing::info!(
        name: "session_opened",
        session = %id, client.ip = %client, user, "session opened"
    );
    Some(Box::new(Session::new(socket, setup)))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(socket: WebSocketStream<SharedStream<S>>, setup: SessionSetup) -> Self
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
        let sessions = &setup.services.sessions;
        Self {
            registration: sessions.register_guest(setup.id, setup.client, outbox.clone()),
            socket,
            inbox,
            outbox,
            id: setup.id,
            client: setup.client,
            start: Instant::now(),
            user: None,
            services: setup.services,
            pusher: setup.pusher,
            channels: HashMap::new(),
            client_events: None,
            rates: SessionRates::new(&settings),
            paused: None,
            schedule: Schedule::without_revalidation(&settings),
            activity: setup.activity,
            settings,
        }
    }

    /// Serves the client until the session ends, and logs why it ended.
    pub(in crate::ws) async fn run(mut self: Box<Self>) {
        let reason = self.serve().await;
        self.services.metrics.count_close(reason);
        Box::pin(self.end(reason)).await;
        let hint = reason.hint();
        let (reason, duration_seconds) = (reason.name(), self.start.elapsed().as_secs());
        let user = self.user.as_ref().map(tracing::field::display);
        tracing::info!(
            name: "session_closed",
            session = %self.id, client.ip = %self.client, user, reason, duration_seconds, hint,
            "session closed"
        );
    }

    /// Greets the client and runs the loop; returns why it ended.
    async fn serve(&mut self) -> CloseReason {
        let greeting = Event::ConnectionEstablished {
            socket: self.id,
            activity_timeout: self.pusher.activity_timeout.get().as_secs().max(1),
        };
        let served = match self.send_event(&greeting).await {
            Ok(()) => self.run_loop().await,
            ended => ended,
        };
        served.err().unwrap_or(CloseReason::Client)
    }

    /// Handles events until one ends the session. Every branch is cancel-safe: an event
    /// leaves the socket or the inbox only when its branch completes.
    async fn run_loop(&mut self) -> LoopResult {
        let drain_token = self.services.drain.token().clone();
        let mut stopping = pin!(drain_token.cancelled());
        let mut is_stopping = false;
        let mut tick = pin!(tokio::time::sleep_until(self.next_due()));
        loop {
            // In random order: neither the client nor the rooms can starve the other.
            let event = tokio::select! {
                () = &mut stopping, if !is_stopping => LoopEvent::Stopping,
                () = &mut tick => LoopEvent::Tick,
                frame = self.socket.next(), if self.paused.is_none() => LoopEvent::Frame(frame),
                event = poll_fn(|cx| self.inbox.poll_next(cx)) => LoopEvent::Inbox(event),
            };
            if !matches!(event, LoopEvent::Inbox(_)) {
                // Until here the session may have been parked, and the scheduler may have
                // written for it. The handler's own frames must keep their place.
                self.inbox.resume();
            }
            // Boxed: the future of a parked session has no room for the rarer handlers.
            match event {
                LoopEvent::Inbox(event) => self.on_session_event(event).await?,
                LoopEvent::Frame(frame) => Box::pin(self.on_frame(frame)).await?,
                LoopEvent::Tick => Box::pin(self.run_due()).await?,
                LoopEvent::Stopping => {
                    is_stopping = true;
                    self.schedule.stop_within(self.services.close_spread);
                }
            }
            let due = self.next_due();
            if tick.deadline() != due {
                tick.as_mut().reset(due);
            }
        }
    }

    /// Returns the time at which [`Session::run_due`] next has something to do.
    fn next_due(&self) -> Instant {
        let paused = self.paused.as_ref().map(|paused| paused.until);
        paused.into_iter().fold(self.schedule.next(), Instant::min)
    }

    /// Handles an event of the inbox.
    async fn on_session_event(&mut self, event: SessionEvent) -> LoopResult {
        match event {
            SessionEvent::Evicted(reason) => Err(reason.into()),
            // The edge cannot repeat what Laravel has signed. A client that comes back asks
            // Laravel for each of its channels.
            SessionEvent::Revalidate => Err(CloseReason::Reauthorize),
            // No cookie opens such a session.
            SessionEvent::RevalidateEarly => Ok(()),
            SessionEvent::Batch(batch) => {
                self.socket.get_ref().enqueue(batch);
                self.write([]).await
            }
            SessionEvent::Unsent => self.write([]).await,
            SessionEvent::Ping => self.write([Message::Ping(Bytes::new())]).await,
        }
    }

    /// Handles a frame of the client. Any frame is a sign of life. All but pongs count against
    /// the message rate. A pong is no activity, so a flood of them ends the session as a
    /// control flood.
    async fn on_frame(&mut self, frame: Option<Result<Message, tungstenite::Error>>) -> LoopResult {
        let frame = match frame {
            None => return Err(CloseReason::Lost),
            Some(Err(error)) => return Err(close_reason(&error)),
            Some(Ok(frame)) => frame,
        };
        self.schedule.record_activity(&self.settings);
        if frame.is_pong() {
            return Ok(());
        }
        self.activity.record();
        self.run_rate_limited(RateLimited::Message(frame)).await
    }

    /// Executes a frame that has passed the rates.
    async fn execute_frame(&mut self, frame: Message) -> LoopResult {
        match frame {
            Message::Text(text) => match wire::decode(&text) {
                Ok(command) => {
                    self.services.metrics.count_message(command.name());
                    self.execute(command).await
                }
                Err(error) => {
                    self.services.metrics.count_message(error.name());
                    self.report_mistake(&error.to_string()).await
                }
            },
            Message::Binary(_) => {
                self.services.metrics.count_message("binary");
                self.report_mistake("this protocol has no binary messages")
                    .await
            }
            Message::Close(_) => Err(CloseReason::Client),
            // tungstenite has queued the pong, which leaves with the next flush.
            Message::Ping(_) => self.write([]).await,
            Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn execute(&mut self, command: Command) -> LoopResult {
        match command {
            Command::Ping => self.send_event(&Event::Pong).await,
            Command::Pong => Ok(()),
            Command::Subscribe(request) => {
                self.run_rate_limited(RateLimited::Subscribe(request)).await
            }
            Command::Unsubscribe(channel) => {
                self.unsubscribe(&channel);
                Ok(())
            }
            Command::Client(event) => self.publish_client_event(event).await,
        }
    }

    /// Runs what is due by the clock.
    async fn run_due(&mut self) -> LoopResult {
        let now = Instant::now();
        if self.paused.is_some() {
            // The session has not read meanwhile, so it must not take this for silence.
            self.schedule.record_activity(&self.settings);
        }
        if self.schedule.must_stop(now) {
            return Err(CloseReason::Restart);
        }
        if self.schedule.is_silent(now) {
            return Err(CloseReason::Silent);
        }
        let paused = self.paused.as_ref();
        if paused.is_some_and(|paused| paused.until <= now) {
            self.resume_paused().await?;
        }
        if self.schedule.take_ping(now, &self.settings) {
            self.activity.record();
            self.write([Message::Ping(Bytes::new())]).await?;
        }
        Ok(())
    }

    /// Reports that the session is over a limit; returns whether the limit is enforced, and
    /// not only tried out.
    fn report_exceeded(&self, limit: Limit) -> bool {
        let exceeded = LimitExceeded::new(limit, Duration::ZERO);
        let limits = &self.services.backend.get().limits;
        limits.report_exceeded(self.client, exceeded).is_err()
    }

    /// Reports a message that is not accepted. pusher-js hands it to the page and continues.
    async fn report_mistake(&mut self, message: &str) -> LoopResult {
        let code = None;
        self.send_event(&Event::Error { code, message }).await
    }

    /// Sends `event` to the client, and counts it as sent: if it cannot be sent, the session
    /// ends.
    async fn send_event(&mut self, event: &Event<'_>) -> LoopResult {
        self.services.metrics.count_event(event.name());
        self.write([Message::Text(event.text())]).await
    }

    /// Writes what is queued in the shared stream, then `frames`; see [`io::write`].
    async fn write(&mut self, frames: impl IntoIterator<Item = Message>) -> LoopResult {
        let timeout = self.settings.write_timeout.get();
        io::write(&mut self.socket, &self.inbox, timeout, frames).await
    }

    /// Ends the delivery, leaves the channels and closes the socket.
    async fn end(&mut self, reason: CloseReason) {
        self.inbox.close();
        if reason.is_at_once() {
            self.socket.get_ref().discard_unsent();
        }
        for (_, Subscription { membership, .. }) in self.channels.drain() {
            match reason {
                // The user left for good. In all other cases the grace begins.
                CloseReason::Disconnected => membership.leave(),
                _ => membership.disconnect(),
            }
        }
        io::close(&mut self.socket, reason, reason.pusher_frame()).await;
    }
}

/// Tells the client why it is not served, by an error that pusher-js shows to the page and by
/// the close code.
async fn reject<S>(socket: &mut WebSocketStream<S>, reason: CloseReason, metrics: &Metrics)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = reason.pusher_frame();
    let (code, message) =
        frame.map_or_else(|| (None, reason.name()), |(code, text)| (Some(code), text));
    let event = Event::Error { code, message };
    metrics.count_event(event.name());
    let sending = socket.send(Message::Text(event.text()));
    if let Ok(Ok(())) = tokio::time::timeout(CLOSE_TIMEOUT, sending).await {
        io::close(socket, reason, frame).await;
    }
}

/// The way in which publications reach the client.
static ENCODER: PublicationEncoder = PublicationEncoder {
    wire: Wire::Pusher,
    frame: wire::frame,
    ping: protocol::ping,
};
