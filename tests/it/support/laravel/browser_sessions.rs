//! Cookie sessions as Laravel and Sanctum have them: each cookie is the session's id, encrypted
//! anew, and counts only from the site's own front end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http_body_util::{BodyExt, Empty};
use hyper::header::{COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use hyper::{Response, StatusCode};
use parking_lot::Mutex;

use super::{Body, Laravel};

/// The sessions of browsers that are logged in.
#[derive(Default)]
pub(super) struct BrowserSessions {
    users: Mutex<HashMap<String, u64>>,
    /// The number of cookies so far, in place of the randomness of an encryption.
    cookies: AtomicUsize,
}

impl Laravel {
    /// Logs `user` in, in a new session; returns its cookies.
    pub(crate) fn log_in(&self, session: &str, user: u64) -> String {
        let sessions = &self.0.browser_sessions;
        sessions.users.lock().insert(session.to_owned(), user);
        self.cookies_of(session)
    }

    /// Returns the cookies that a response to the browser of `session` sets. Their values are
    /// new each time.
    pub(crate) fn cookies_of(&self, session: &str) -> String {
        let nonce = self.0.browser_sessions.cookies.fetch_add(1, SeqCst);
        format!("seen=1; desk_session={session}.{nonce}; XSRF-TOKEN=csrf-{session}%3D")
    }

    /// Ends a session in the way of an application that the edge does not see.
    pub(crate) fn end_session(&self, session: &str) {
        self.0.browser_sessions.users.lock().remove(session);
    }

    /// Returns the user of the session cookie of a request from the front end.
    pub(super) fn browser_user(&self, headers: &HeaderMap) -> Option<u64> {
        let origin = headers.get(ORIGIN)?.to_str().unwrap();
        if !STATEFUL_ORIGINS.contains(&origin) {
            return None;
        }
        let users = self.0.browser_sessions.users.lock();
        users.get(&session(headers)?).copied()
    }

    /// Responds to `POST /logout` as Laravel Breeze does, and Inertia.
    pub(super) fn log_out_browser(&self, headers: &HeaderMap) -> Response<Body> {
        let session = session(headers).unwrap_or_default();
        if !has_csrf_token(headers) {
            return empty(StatusCode::from_u16(419).unwrap());
        }
        let mut users = self.0.browser_sessions.users.lock();
        let location = match users.remove(&session) {
            Some(_) => "/",
            None => "/login",
        };
        let is_inertia = headers.contains_key("x-inertia");
        let mut response = empty(if is_inertia {
            StatusCode::CONFLICT
        } else {
            StatusCode::FOUND
        });
        let new = "desk_session=guest.0; path=/; secure; httponly; samesite=lax";
        let headers = response.headers_mut();
        headers.insert(LOCATION, location.parse().unwrap());
        headers.insert(SET_COOKIE, new.parse().unwrap());
        response
    }
}

/// Returns whether a `POST` has the CSRF token of its session.
pub(super) fn has_csrf_token(headers: &HeaderMap) -> bool {
    let token = headers.get("x-xsrf-token");
    let session = session(headers).unwrap_or_default();
    token.is_some_and(|token| *token == format!("csrf-{session}="))
}

/// Returns the id in the session cookie.
fn session(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get(COOKIE)?.to_str().unwrap();
    let mut pairs = cookies.split("; ");
    let cookie = pairs.find_map(|pair| pair.strip_prefix("desk_session="))?;
    cookie
        .split_once('.')
        .map(|(session, _)| session.to_owned())
}

fn empty(status: StatusCode) -> Response<Body> {
    let body = Empty::new().map_err(|never| match never {});
    let response = Response::builder().status(status);
    response.body(body.boxed_unsync()).unwrap()
}

/// The front ends of `SANCTUM_STATEFUL_DOMAINS`.
const STATEFUL_ORIGINS: [&str; 2] = ["https://localhost", "https://app.example"];
