//! Tests of sessions as their clients see them: a real WebSocket over an in-memory pipe, a
//! small Laravel behind a Unix socket, and paused time.
//!
//! Time passes only when no task has anything to do. Both ends of every pipe and socket are on
//! the test's one thread, so everything that was sent has arrived by then: no deadline overtakes
//! a response, on however slow a machine.

mod channels;
mod client;
mod commands;
mod doubts;
mod drain;
mod early_revalidation;
mod fairness;
mod laravel;
mod late_joins;
mod liveness;
mod opening;
mod predecessor;
mod pressure;
mod resume;
mod revalidate;
mod rooms;
mod size;
mod uploads;

use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::protocol::Role;

use self::client::{Client, Closed};
use self::laravel::Laravel;
use super::*;
use crate::auth::{AgentHash, AuthClient, Authenticator, Authorizer, Invalidations, Token};
use crate::core::client_ip::ClientIp;
use crate::core::ids::{RowId, SessionIds, UserId};
use crate::core::units::{ConfigDuration, PositiveCount};
use crate::limit::Limits;
use crate::rooms::{Audience, Broadcast, Delivered, HistorySettings, Rooms, Sessions};
use crate::runtime::activity::ActivityTracker;
use crate::runtime::drain::Drain;
use crate::upstream::Upstream;
use crate::ws::upload::Uploads;
use crate::ws::{Backend, CurrentBackend};

/// The parts of the edge that sessions need, and its Laravel.
struct Edge {
    laravel: Laravel,
    services: Services,
    settings: Settings,
}

impl Edge {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self::with_history(settings, HistorySettings::off())
    }

    fn with_history(settings: Settings, history: HistorySettings) -> Self {
        Self::with_auth(
            settings,
            crate::auth::settings::Settings::default(),
            history,
        )
    }

    fn with_auth(
        settings: Settings,
        auth: crate::auth::settings::Settings,
        history: HistorySettings,
    ) -> Self {
        // The random parts of a session's times are the same in every run.
        fastrand::seed(7);
        let laravel = Laravel::start();
        let auth = Arc::new(auth);
        let drain = Drain::new();
        let invalidations = Invalidations::new();
        let backend = backend(&laravel, &auth, &settings, &invalidations, &drain, None);
        let rooms = Arc::new(Rooms::new(
            crate::rooms::Settings::default(),
            history,
            drain.clone(),
        ));
        let services = Services {
            backend: CurrentBackend::new(Arc::new(backend)),
            invalidations,
            session_cookies: Arc::from([]),
            logout_paths: Arc::from([]),
            rooms: Arc::clone(&rooms),
            sessions: Sessions::new(rooms.parked().cloned(), rooms.next_offset()),
            ids: Arc::new(SessionIds::new()),
            drain: drain.clone(),
            metrics: Arc::default(),
            close_spread: CLOSE_SPREAD,
        };
        drop(drain.spawn({
            let rooms = Arc::clone(&rooms);
            async move { rooms.run_timers().await }
        }));
        let stopping = drain.token().clone();
        let turns = async move { rooms.run_scheduler().await };
        drop(drain.spawn(async move { stopping.run_until_cancelled(turns).await }));
        Self {
            laravel,
            services,
            settings,
        }
    }

    /// Connects a client, which has not read anything yet. At most `pipe` bytes are on their way
    /// to it at once.
    async fn knock_with_pipe(&self, token: Option<&str>, pipe: usize) -> Client {
        let (near, far) = tokio::io::duplex(pipe);
        self.enter(far, near, self.setup(token)).await
    }

    async fn enter(&self, far: DuplexStream, near: DuplexStream, setup: SessionSetup) -> Client {
        let session = self.services.drain.spawn(async move {
            if let Some(session) = set_up(near, setup).await {
                session.run().await;
            }
        });
        Client::new(far, session).await
    }

    fn setup(&self, token: Option<&str>) -> SessionSetup {
        SessionSetup {
            credential: token.and_then(Token::new).map(Credential::Token),
            since: None,
            client_context: ClientContext {
                client: ClientIp::new([192, 0, 2, 1].into()),
                host: hyper::header::HeaderValue::from_static("desk.example"),
                session: self.services.ids.issue(),
            },
            services: Arc::new(self.services.clone()),
            settings: Arc::new(self.settings.clone()),
            agent: AgentHash::from_headers(&hyper::HeaderMap::new()),
            activity: ActivityTracker::new(),
        }
    }

    async fn knock(&self, token: Option<&str>) -> Client {
        self.knock_with_pipe(token, PIPE).await
    }

    /// Opens a session of a user and reads its greeting.
    async fn open(&self, user: u64) -> Client {
        self.open_with_pipe(user, PIPE).await
    }

    async fn open_with_pipe(&self, user: u64, pipe: usize) -> Client {
        let token = Laravel::token(user);
        let mut client = self.knock_with_pipe(Some(&token), pipe).await;
        assert_eq!(client.event().await["type"], "connection");
        client
    }

    /// Opens a session of a user from an address and reads its greeting.
    async fn open_from(&self, address: [u8; 4], user: u64) -> Client {
        let (near, far) = tokio::io::duplex(PIPE);
        let mut setup = self.setup(Some(&Laravel::token(user)));
        setup.client_context.client = ClientIp::new(address.into());
        let mut client = self.enter(far, near, setup).await;
        assert_eq!(client.event().await["type"], "connection");
        client
    }

    /// Opens a session of a user and joins a ticket.
    async fn open_in(&self, ticket: u64, user: u64) -> Client {
        let mut client = self.open(user).await;
        client.join(ticket).await;
        client
    }

    /// Publishes as Laravel's broadcasts do.
    fn publish(&self, ticket: u64, text: &str) -> Delivered {
        let text = format!(
            r#"{{"type":"new_message","payload":{{"ticket_id":{ticket},"message":"{text}"}}}}"#
        );
        self.services.rooms.publish(Broadcast {
            room: RoomName::ticket(RowId::new(ticket).unwrap()),
            text,
            audience: Audience::All,
            to: None,
        })
    }

    fn revalidate(&self, user: u64) {
        let user = UserId::Number(user);
        self.services.invalidations.invalidate_user(&user);
        let sessions = self.services.sessions.revalidate_user(&user);
        assert!(sessions > 0, "user {user} has no session");
    }

    fn sessions(&self) -> usize {
        self.services.sessions.count()
    }
}

/// Creates the backend for requests to `laravel`, as a reload does.
fn backend(
    laravel: &Laravel,
    auth: &Arc<crate::auth::settings::Settings>,
    settings: &Settings,
    invalidations: &Invalidations,
    drain: &Drain,
    old: Option<&Backend>,
) -> Backend {
    let upstream = Upstream::new(&laravel.upstream());
    let asker = AuthClient::new(upstream.clone(), auth, Arc::default());
    let (invalidations, drain) = (invalidations.clone(), drain.clone());
    let limits = crate::limit::Settings::default();
    Backend {
        pusher: None,
        identity: Authenticator::new(
            asker.clone(),
            Arc::clone(auth),
            invalidations.clone(),
            drain.clone(),
        ),
        access: Authorizer::new(asker, Arc::clone(auth), invalidations, drain),
        uploads: Uploads::new(
            upstream,
            settings.uploads.clone(),
            auth.token_form,
            old.map(|old| &old.uploads),
        ),
        retry_timeout: auth.retry_timeout.get(),
        limits: Arc::new(Limits::new(limits, Arc::default(), None)),
    }
}

/// Waits until no task has anything to do.
async fn settled() {
    tokio::time::sleep(MS).await;
}

/// The bytes that a pipe holds where that does not matter.
const PIPE: usize = 1024 * 1024;
const CLOSE_SPREAD: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
