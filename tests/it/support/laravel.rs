//! A small Laravel: the routes and answers that the edge depends on, as the real
//! app gives them, and a few that misbehave on purpose.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::browser_sessions::BrowserSessions;
use super::upload_posts::Posts;

mod browser_sessions;
mod responses;
mod routes;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Error>;

/// The app; clones are one. It ends with the test's runtime, or by [`Laravel::stop`].
#[derive(Clone)]
pub(crate) struct Laravel(Arc<State>);

struct State {
    address: Mutex<Option<SocketAddr>>,
    users: Mutex<HashMap<String, u64>>,
    browser_sessions: BrowserSessions,
    /// Pairs of a user and a ticket that the user may see.
    seen_by: Mutex<HashSet<(u64, u64)>>,
    /// Pairs of a user and a channel that the user may join.
    channels: Mutex<HashSet<(u64, String)>>,
    /// The forms of the requests about channels.
    channel_forms: Mutex<Vec<String>>,
    requests: Mutex<Vec<SeenRequest>>,
    connections: AtomicUsize,
    who: Gauge,
    may: Gauge,
    /// The status of all authorization responses, if it is set.
    failing: Mutex<Option<StatusCode>>,
    hold_log_outs: AtomicBool,
    lose_log_outs: AtomicBool,
    cancelled: Notify,
    release: Notify,
    stop: Mutex<CancellationToken>,
    posts: Posts,
}

/// How many are under way, and how many were at the most.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    /// Holds a place for long enough that others come meanwhile.
    async fn pass(&self) {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, SeqCst);
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct SeenRequest {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

impl SeenRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Whether the PWD app would log the request, with all its headers, as an attack:
    /// a `|` and then the name of a shell command, in the order in which `php -S` sees
    /// the headers or in the reverse one that php-fpm sees behind nginx.
    pub(crate) fn looks_like_an_attack(&self) -> bool {
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let mut values: Vec<_> = self.headers.values().map(text).collect();
        let mut found = false;
        for _ in 0..2 {
            let all = values.join("\n");
            let piped = all.split_once('|').map_or("", |(_, rest)| rest);
            found |= ["cat", "ls", "id", "pwd"]
                .iter()
                .any(|it| piped.contains(it));
            values.reverse();
        }
        found
    }
}

impl Laravel {
    /// Ana is user 3 with ticket 1, Ben user 4 with ticket 2, Desk 5 sees both.
    /// Their tokens are `3|ana`, `4|ben`, `5|desk`. Besides, `N|crowdN` is user
    /// N, and every user may see tickets from [`CROWDED`] on.
    fn new() -> Self {
        let users = [("ana", 3), ("ben", 4), ("desk", 5)];
        let seen_by = [(3, 1), (4, 2), (5, 1), (5, 2)];
        Self(Arc::new(State {
            address: Mutex::default(),
            browser_sessions: BrowserSessions::default(),
            users: Mutex::new(users.map(|(token, id)| (token.to_owned(), id)).into()),
            seen_by: Mutex::new(seen_by.into()),
            channels: Mutex::default(),
            channel_forms: Mutex::default(),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            who: Gauge::default(),
            may: Gauge::default(),
            failing: Mutex::default(),
            hold_log_outs: AtomicBool::new(false),
            lose_log_outs: AtomicBool::new(false),
            cancelled: Notify::new(),
            release: Notify::new(),
            stop: Mutex::default(),
            posts: Posts::default(),
        }))
    }

    pub(crate) async fn start() -> Self {
        let this = Self::new();
        this.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        this
    }

    pub(crate) fn start_on(path: &std::path::Path) -> Self {
        let this = Self::new();
        let listener = UnixListener::bind(path).unwrap();
        let app = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                app.serve(stream);
            }
        });
        this
    }

    async fn listen(&self, address: SocketAddr) {
        let listener = TcpListener::bind(address).await.unwrap();
        *self.0.address.lock() = Some(listener.local_addr().unwrap());
        let (app, stop) = (self.clone(), self.0.stop.lock().clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => app.serve(accepted.unwrap().0),
                    () = stop.cancelled() => return,
                }
            }
        });
    }

    /// Closes the port and every connection.
    pub(crate) fn stop(&self) {
        self.0.stop.lock().cancel();
    }

    /// Comes back on the same port.
    pub(crate) async fn restart(&self) {
        *self.0.stop.lock() = CancellationToken::new();
        let address = self.0.address.lock().unwrap();
        self.listen(address).await;
    }

    fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S) {
        let (app, stop) = (self.clone(), self.0.stop.lock().clone());
        // A connection counts with its first request: the edge also connects without one.
        let is_used = AtomicBool::new(false);
        let service = service_fn(move |request| {
            let app = app.clone();
            if !is_used.swap(true, SeqCst) {
                app.0.connections.fetch_add(1, SeqCst);
            }
            async move { Ok::<_, std::convert::Infallible>(app.answer(request).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address.lock().unwrap())
    }

    pub(crate) fn requests(&self) -> Vec<SeenRequest> {
        self.0.requests.lock().clone()
    }

    pub(crate) fn last(&self) -> SeenRequest {
        self.0
            .requests
            .lock()
            .last()
            .expect("a request came")
            .clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.0.connections.load(SeqCst)
    }

    /// The most questions at once: about tokens, about tickets.
    pub(crate) fn max_concurrent_queries(&self) -> (usize, usize) {
        (self.0.who.most.load(SeqCst), self.0.may.most.load(SeqCst))
    }

    /// The messages with attachments that came.
    pub(crate) fn posts(&self) -> &Posts {
        &self.0.posts
    }

    /// From now on `secret` is another token of `user`.
    pub(crate) fn add_token(&self, secret: &str, user: u64) {
        self.0.users.lock().insert(secret.to_owned(), user);
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.0.users.lock().remove(secret(token));
    }

    /// Lets `user` join `channel` from now on.
    pub(crate) fn open_channel(&self, user: u64, channel: &str) {
        let mut channels = self.0.channels.lock();
        channels.insert((user, channel.to_owned()));
    }

    /// Ends what [`open_channel`](Self::open_channel) began.
    pub(crate) fn close_channel(&self, user: u64, channel: &str) {
        let mut channels = self.0.channels.lock();
        channels.remove(&(user, channel.to_owned()));
    }

    /// The forms of all requests about channels so far.
    pub(crate) fn channel_forms(&self) -> Vec<String> {
        self.0.channel_forms.lock().clone()
    }

    pub(crate) fn withdraw(&self, user: u64, ticket: u64) {
        self.0.seen_by.lock().remove(&(user, ticket));
    }

    /// Responds to every authorization request with `status` from now on; `None` ends it.
    pub(crate) fn fail_with(&self, status: Option<StatusCode>) {
        *self.0.failing.lock() = status;
    }

    /// Holds the responses to log-outs from now on, until they are released.
    pub(crate) fn hold_logouts(&self) {
        self.0.hold_log_outs.store(true, SeqCst);
    }

    /// Revokes the token at a log-out from now on, but responds with a failure.
    pub(crate) fn fail_logouts(&self) {
        self.0.lose_log_outs.store(true, SeqCst);
    }

    /// Waits until a request to `/hang` was given up.
    pub(crate) async fn cancelled(&self) {
        self.0.cancelled.notified().await;
    }

    /// Lets one request to `/wait` or `/cut` continue.
    pub(crate) fn release(&self) {
        self.0.release.notify_one();
    }
}

/// Tickets from this one on are open to all.
pub(crate) const CROWDED: u64 = 1000;

/// The bearer token as Laravel 9 reads it: with the scheme in this case, from its last
/// occurrence to a comma, whatever bytes stand around.
fn token(headers: &HeaderMap) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(AUTHORIZATION)?.as_bytes()).into_owned();
    let (_, token) = value.rsplit_once("Bearer ")?;
    token.split(',').next().map(str::to_owned)
}

/// What Sanctum compares of a token.
fn secret(token: &str) -> &str {
    token.split_once('|').map_or(token, |(_, secret)| secret)
}
