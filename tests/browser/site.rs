//! A site behind an edge: one page, the old front end's, and just enough of
//! Laravel to say who its users are.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::Browser;
use super::support::Edge;

pub(crate) struct Site {
    pub(crate) edge: Edge,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// One whose edge has more configuration.
    pub(crate) async fn start_with(more: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let upstream = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener));
        let edge = Edge::configured(&upstream, more);
        Self { edge }
    }

    /// A browser of whoever has this token, in the ticket, with the WebSocket
    /// on the page's own port.
    pub(crate) async fn open_page_as(&self, token: &str) -> Browser {
        let browser = self.browser_with_token(token).await;
        browser
            .run("localStorage.setItem('websocket.url', 'wss://localhost')")
            .await;
        open(&browser).await;
        browser
    }

    /// The same before the page has connected anywhere.
    pub(crate) async fn browser_with_token(&self, token: &str) -> Browser {
        let browser =
            Browser::start_with_hosts(&["localhost:443", "localhost:8080"], self.edge.address)
                .await;
        browser.open(PAGE_URL).await;
        let script = format!("localStorage.setItem('token', {})", json!(token));
        browser.run(&script).await;
        browser
    }

    /// Publishes a message, as Laravel does.
    pub(crate) async fn message(&self, id: u64, text: &str) {
        let message = json!({ "id": id, "message": text });
        let payload = json!({ "ticket_id": 1, "message": message });
        let event = json!({ "type": "new_message", "payload": payload });
        self.edge.broadcast(&event.to_string()).await;
    }
}

/// Opens the page in the tab that is driven, and waits until it is in the ticket.
pub(crate) async fn open(browser: &Browser) {
    browser.open(PAGE_URL).await;
    wait_until_joined(browser).await;
}

/// Waits until the page is in the ticket: that it is told so is new to it.
pub(crate) async fn wait_until_joined(browser: &Browser) {
    browser.wait_for_text("#unhandled", "ticket_joined").await;
}

async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let bearer = request.headers().get(AUTHORIZATION);
    let bearer = bearer.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    // Sanctum finds a token by its secret, with an id before it or without.
    let secret = bearer.map(|token| token.split_once('|').map_or(token, |(_, secret)| secret));
    let user = match secret {
        Some("ana") => Some(json!({ "userID": 3, "username": "ana" })),
        Some("ben") => Some(json!({ "userID": 4, "username": "ben" })),
        Some("desk") => Some(json!({ "userID": 5, "username": "desk" })),
        _ => None,
    };
    let (status, kind, body) = match (request.uri().path(), user) {
        ("/desk", _) => (StatusCode::OK, HTML, PAGE.to_owned()),
        ("/example", _) => (StatusCode::OK, HTML, EXAMPLE_PAGE.to_owned()),
        ("/client.js", _) => (StatusCode::OK, JAVASCRIPT, example_client().to_owned()),
        ("/api/user", Some(user)) => (StatusCode::OK, JSON, user.to_string()),
        ("/api/user", None) => (StatusCode::UNAUTHORIZED, JSON, "{}".to_owned()),
        ("/api/support-tickets/1" | "/api/support-tickets/2", Some(_)) => {
            (StatusCode::OK, JSON, "{}".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, JSON, "{}".to_owned()),
    };
    let response = Response::builder().status(status);
    let response = response.header(CONTENT_TYPE, kind);
    response.body(Full::from(body)).unwrap()
}

/// The complete client in the documentation of the protocol.
fn example_client() -> &'static str {
    let (_, section) = PROTOCOL.split_once("### Complete client").unwrap();
    let (_, code) = section.split_once("```js\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    code
}

const PROTOCOL: &str = include_str!("../../docs/PROTOCOL.md");
const EXAMPLE_PAGE: &str = include_str!("example.html");
const PAGE_URL: &str = "https://localhost/desk";
const PAGE: &str = include_str!("old_client.html");
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
