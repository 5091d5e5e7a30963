//! A minimal Laravel: it identifies the users of tokens and decides about tickets and channels.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::num::NonZeroU64;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::core::body::{self, Body};
use crate::upstream;

/// The app. User 3 has the token `3|secret3`, and sees every ticket.
pub(super) struct Laravel {
    app: Arc<Mutex<App>>,
    /// Ends the app's connections when it is dropped.
    drain: Drain,
    socket: tempfile::TempDir,
}

/// The behaviour of the app. Each response is determined when the request arrives.
#[derive(Default)]
pub(super) struct App {
    /// Responds to everything with 503.
    pub(super) down: bool,
    /// Responds to these users with 429 and this `Retry-After` in seconds.
    pub(super) throttled: HashMap<u64, u64>,
    /// Users whose requests alone fail, with 500.
    pub(super) failing: HashSet<u64>,
    /// Tickets whose requests alone fail.
    pub(super) failing_tickets: HashSet<u64>,
    /// Tickets whose requests get 401.
    pub(super) unauthorized_tickets: HashSet<u64>,
    /// Users who have another id now.
    pub(super) renamed: HashMap<u64, u64>,
    /// Tokens that may see no ticket, by their secret.
    pub(super) weak: HashSet<String>,
    /// The `Retry-After` in seconds while it is down.
    pub(super) retry_after: Option<u64>,
    /// The time that a response about a ticket takes.
    pub(super) delay: Duration,
    /// Tickets about which a response takes three seconds.
    pub(super) slow_tickets: HashSet<u64>,
    /// Users whose tokens are no longer valid.
    pub(super) revoked: HashSet<u64>,
    /// Users and the tickets that they may not see.
    pub(super) withdrawn: HashSet<(u64, u64)>,
    /// Users who may join no channel.
    pub(super) without_channels: HashSet<u64>,
    /// The requests, as method, path and user.
    pub(super) asked: Vec<String>,
}

impl Laravel {
    pub(super) fn start() -> Self {
        let socket = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket.path().join(SOCKET)).unwrap();
        let laravel = Self {
            app: Arc::default(),
            drain: Drain::new(),
            socket,
        };
        let (app, drain) = (Arc::clone(&laravel.app), laravel.drain.clone());
        drop(laravel.drain.spawn(async move {
            let stop = drain.token();
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                let serving = serve(stream, Arc::clone(&app));
                let stop = stop.clone();
                drop(drain.spawn(async move { stop.run_until_cancelled(serving).await }));
            }
        }));
        laravel
    }

    pub(super) fn token(user: u64) -> String {
        format!("{user}|secret{user}")
    }

    pub(super) fn upstream(&self) -> upstream::Settings {
        let path = self.socket.path().join(SOCKET);
        upstream::Settings {
            url: upstream::Target::unix(path).into(),
            ..upstream::Settings::default()
        }
    }

    /// Replaces the app by another.
    pub(super) fn change(&self, change: impl FnOnce(&mut App)) {
        change(&mut self.app.lock());
    }

    pub(super) fn withdraw(&self, user: u64, ticket: u64) {
        self.change(|app| app.withdrawn.extend([(user, ticket)]));
    }

    /// Takes the requests since the last call.
    pub(super) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.app.lock().asked)
    }
}

impl Drop for Laravel {
    fn drop(&mut self) {
        self.drain.token().cancel();
    }
}

async fn serve(stream: UnixStream, app: Arc<Mutex<App>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let app = Arc::clone(&app);
        async move {
            if request.method() == Method::POST && request.uri().path() != CHANNEL_PATH {
                return Ok(take(request, &app).await);
            }
            let (answer, delay) = app.lock().answer(&request);
            tokio::time::sleep(delay).await;
            Ok::<_, Infallible>(answer)
        }
    });
    // The edge may close its connections at any time.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Reads a message with its attachment, or records that it was cut off.
async fn take(request: Request<Incoming>, app: &Mutex<App>) -> Response<Body> {
    let length = request.headers()[CONTENT_LENGTH].to_str().unwrap();
    let length: usize = length.parse().unwrap();
    let path = request.uri().path().to_owned();
    let (whole, answer) = match request.into_body().collect().await {
        Ok(body) => (body.to_bytes().len() == length, body::full(r#"{"id":1}"#)),
        Err(_) => (false, body::empty()),
    };
    let outcome = if whole { "whole" } else { "broken" };
    app.lock().asked.push(format!("POST {path} {outcome}"));
    Response::new(answer)
}

impl App {
    fn answer(&mut self, request: &Request<Incoming>) -> (Response<Body>, Duration) {
        let headers = request.headers();
        let credential = headers.get(AUTHORIZATION).or_else(|| headers.get(COOKIE));
        let bearer = credential.unwrap().to_str().unwrap();
        let secret = bearer.strip_prefix("Bearer ");
        let user = secret
            .or_else(|| bearer.strip_prefix("s="))
            .and_then(|token| {
                let user = token.trim_start_matches(|c: char| c.is_ascii_alphabetic());
                user.parse::<NonZeroU64>().ok()
            });
        let user = user.map_or(0, NonZeroU64::get);
        let path = request.uri().path();
        self.asked
            .push(format!("{} {path} {user}", request.method()));
        let known = user != 0 && !self.revoked.contains(&user);
        if self.down {
            let away = status(StatusCode::SERVICE_UNAVAILABLE);
            return (retry_after(away, self.retry_after), Duration::ZERO);
        }
        if !known {
            return (status(StatusCode::UNAUTHORIZED), Duration::ZERO);
        }
        if let Some(seconds) = self.throttled.get(&user) {
            let throttled = status(StatusCode::TOO_MANY_REQUESTS);
            return (retry_after(throttled, Some(*seconds)), Duration::ZERO);
        }
        if self.failing.contains(&user) {
            return (status(StatusCode::INTERNAL_SERVER_ERROR), Duration::ZERO);
        }
        if path == CHANNEL_PATH {
            let response = if self.without_channels.contains(&user) {
                status(StatusCode::FORBIDDEN)
            } else {
                Response::new(body::full(r#"{"authorized":true}"#))
            };
            return (response, self.delay);
        }
        let Some(ticket) = path.strip_prefix("/api/support-tickets/") else {
            let id = self.renamed.get(&user).unwrap_or(&user);
            let text = format!(r#"{{"userID":{id},"username":"User {user}"}}"#);
            return (Response::new(body::full(text)), Duration::ZERO);
        };
        let ticket = ticket.parse().unwrap();
        if self.failing_tickets.contains(&ticket) {
            return (status(StatusCode::INTERNAL_SERVER_ERROR), Duration::ZERO);
        }
        if self.unauthorized_tickets.contains(&ticket) {
            return (status(StatusCode::UNAUTHORIZED), Duration::ZERO);
        }
        let is_weak = self.weak.contains(bearer.trim_start_matches("Bearer "));
        let response = if is_weak || self.withdrawn.contains(&(user, ticket)) {
            status(StatusCode::FORBIDDEN)
        } else {
            status(StatusCode::OK)
        };
        let is_slow = self.slow_tickets.contains(&ticket);
        (response, if is_slow { 3 * SECOND } else { self.delay })
    }
}

/// The path on which it decides about channels.
pub(super) const CHANNEL_PATH: &str = "/broadcasting/auth";

fn retry_after(mut response: Response<Body>, seconds: Option<u64>) -> Response<Body> {
    if let Some(seconds) = seconds {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    response
}

const SOCKET: &str = "app.sock";
