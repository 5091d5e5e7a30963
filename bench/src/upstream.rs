//! The application behind the servers under test: HTTP/1.1 keep-alive on
//! loopback, so fast that the bench measures the server in front of it.
//!
//! Identities and tickets have the JSON shapes of the real application; every
//! `<row>|u<id>` token is user `<id>`, and every user may see every ticket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1 as client;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time;

type Answer = Response<Full<Bytes>>;

/// The questions about tokens and about tickets.
static USERS: Counter = Counter::new();
static TICKETS: Counter = Counter::new();

/// Counts the questions of one kind.
struct Counter {
    total: AtomicU64,
    now: AtomicU64,
    most: AtomicU64,
}

/// A question that is being answered.
struct Question(&'static Counter);

impl Counter {
    const fn new() -> Self {
        Self {
            total: AtomicU64::new(0),
            now: AtomicU64::new(0),
            most: AtomicU64::new(0),
        }
    }

    /// Counts a question, and takes `delay` for it.
    async fn ask(&'static self, delay: Duration) -> Question {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(now, Relaxed);
        self.total.fetch_add(1, Relaxed);
        let question = Question(self);
        if !delay.is_zero() {
            time::sleep(delay).await;
        }
        question
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

/// Returns the numbers of questions since the last call, and of the most at once.
fn take_questions() -> Value {
    json!({
        "total": USERS.total.swap(0, Relaxed) + TICKETS.total.swap(0, Relaxed),
        "most_users": USERS.most.swap(0, Relaxed),
        "most_tickets": TICKETS.most.swap(0, Relaxed),
    })
}

/// Reads the numbers of questions of the upstream at `address` since the last call.
pub(crate) async fn questions(address: SocketAddr) -> anyhow::Result<Value> {
    let stream = TcpStream::connect(address).await.context("the upstream")?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/questions").header("host", "upstream");
    let asking = async {
        let answer = sender
            .send_request(request.body(Empty::<Bytes>::new())?)
            .await?;
        anyhow::Ok(answer.into_body().collect().await?.to_bytes())
    };
    // The connection's future sends and receives.
    tokio::select! {
        body = asking => Ok(serde_json::from_slice(&body?)?),
        ended = connection => {
            ended?;
            anyhow::bail!("the upstream hung up")
        }
    }
}

/// Serves on `listen`. A response about a token or a ticket takes `delay`.
pub(crate) async fn serve(listen: SocketAddr, delay: Duration) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let mut connections = JoinSet::new();
    loop {
        // Both branches are cancel-safe.
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.context("cannot accept")?;
                connections.spawn(converse(stream, delay));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, delay: Duration) {
    if let Err(error) = stream.set_nodelay(true) {
        eprintln!("upstream: {error}");
        return;
    }
    let service = service_fn(|request| answer(request, delay));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A peer that disconnects early needs no report: the generator counts failures.
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, delay: Duration) -> Result<Answer, Infallible> {
    if request.method() == Method::POST {
        return Ok(swallow(request.into_body()).await);
    }
    let path = request.uri().path();
    Ok(if let Some(count) = path.strip_prefix("/bytes/") {
        bytes(count)
    } else if path == "/api/user" {
        let _question = USERS.ask(delay).await;
        user(request.headers())
    } else if let Some(id) = path.strip_prefix("/api/support-tickets/") {
        let _question = TICKETS.ask(delay).await;
        ticket(id)
    } else if path == "/questions" {
        reply(StatusCode::OK, &take_questions())
    } else {
        refuse(StatusCode::NOT_FOUND, "Not found")
    })
}

fn bytes(count: &str) -> Answer {
    match count.parse::<usize>() {
        Ok(count) if count <= FILLER_SIZE => Response::new(Full::new(FILLER.slice(..count))),
        _ => refuse(StatusCode::BAD_REQUEST, "Count out of range"),
    }
}

fn user(headers: &HeaderMap) -> Answer {
    let Some(id) = bearer_id(headers) else {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthenticated.");
    };
    let user = json!({
        "userID": id,
        "username": format!("u{id}"),
        "email": format!("u{id}@example.test"),
        "role": "PWDMember",
        "status": "active",
        "password_change_required": false,
        "failed_login_attempts": 0,
        "last_failed_login": null,
        "account_locked_until": null,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:00.000000Z",
    });
    reply(StatusCode::OK, &user)
}

/// Returns the user's id in the secret of `Authorization: Bearer <row>|u<id>`, which may come
/// without its row.
fn bearer_id(headers: &HeaderMap) -> Option<u64> {
    let token = headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")?;
    let secret = token.split_once('|').map_or(token, |(_, secret)| secret);
    secret.strip_prefix('u')?.parse().ok()
}

fn ticket(id: &str) -> Answer {
    match id.parse::<u64>() {
        Ok(id) => reply(
            StatusCode::OK,
            &json!({"id": id, "ticket_number": format!("SUP-{id:03}"), "status": "open", "messages": []}),
        ),
        Err(_) => refuse(StatusCode::NOT_FOUND, "Ticket not found"),
    }
}

async fn swallow(mut body: impl Body<Data = Bytes, Error = hyper::Error> + Unpin) -> Answer {
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => received += frame.data_ref().map_or(0, Bytes::len),
            Err(_) => return refuse(StatusCode::BAD_REQUEST, "Body cut short"),
        }
    }
    reply(StatusCode::OK, &json!({"received": received}))
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    reply(status, &json!({"message": message}))
}

fn reply(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// The bytes of all `/bytes/N` responses. They are shared, so that a response copies nothing.
pub(crate) static FILLER: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![b'x'; FILLER_SIZE]));

const FILLER_SIZE: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn with_authorization(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            hyper::header::HeaderValue::from_static(value),
        );
        headers
    }

    #[test]
    fn the_number_in_the_secret_is_the_user() {
        assert_eq!(bearer_id(&with_authorization("Bearer 9|u3")), Some(3));
        assert_eq!(bearer_id(&with_authorization("Bearer u3")), Some(3));
        assert_eq!(bearer_id(&with_authorization("bearer u3")), None);
        assert_eq!(bearer_id(&with_authorization("Bearer x")), None);
        assert_eq!(user(&HeaderMap::new()).status(), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn bytes_are_counted_and_bounded() {
        assert_eq!(bytes("1024").body().size_hint().exact(), Some(1024));
        assert_eq!(bytes("99999999999").status(), StatusCode::BAD_REQUEST);
        assert_eq!(bytes("-1").status(), StatusCode::BAD_REQUEST);
    }
}
