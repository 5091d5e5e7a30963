//! A WebSocket client as a browser is one.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Edge, http};

pub(crate) struct Socket(pub(crate) WebSocketStream<TlsStream<TcpStream>>);

impl Socket {
    /// Connects on `/ws` with a token, percent-encoded as a browser does it.
    pub(crate) async fn open(edge: &Edge, token: &str) -> Self {
        let token = token.replace('|', "%7C");
        Self::try_open(edge, &format!("/ws?token={token}"), &[])
            .await
            .unwrap()
    }

    /// A session over a connection that is there, greeted.
    pub(crate) async fn over(stream: TlsStream<TcpStream>, token: &str) -> Self {
        Self::over_with_id(stream, token).await.0
    }

    /// A session over a connection that is there, greeted, and its id.
    pub(crate) async fn over_with_id(stream: TlsStream<TcpStream>, token: &str) -> (Self, Value) {
        let token = token.replace('|', "%7C");
        let request = format!("wss://localhost/ws?token={token}");
        let (socket, _) = client_async(request, stream).await.unwrap();
        let mut socket = Self(socket);
        let mut greeting = socket.next().await;
        assert_eq!(greeting["type"], "connection", "{greeting}");
        let id = greeting["payload"]["session_id"].take();
        (socket, id)
    }

    /// Asks to join a ticket that it may not see.
    pub(crate) async fn expect_join_denied(&mut self, ticket: u64) {
        self.send(json!({ "type": "join_ticket", "payload": { "ticket_id": ticket } }))
            .await;
        while self.next().await["type"] != "error" {}
    }

    /// Connects, and waits until the edge greets.
    pub(crate) async fn greeted(edge: &Edge, token: &str) -> Self {
        let mut socket = Self::open(edge, token).await;
        let greeting = socket.next().await;
        assert_eq!(greeting["type"], "connection", "{greeting}");
        socket
    }

    /// Connects, is greeted and joins a ticket.
    pub(crate) async fn joined(edge: &Edge, token: &str, ticket: u64) -> Self {
        let mut socket = Self::greeted(edge, token).await;
        socket.join(ticket).await;
        socket
    }

    /// Connects to any path with more headers.
    ///
    /// # Errors
    /// Returns the status of a response other than 101.
    pub(crate) async fn try_open(
        edge: &Edge,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, StatusCode> {
        Self::handshake(edge, path, headers)
            .await
            .map(|(socket, _)| socket)
    }

    pub(crate) async fn handshake(
        edge: &Edge,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, HeaderMap), StatusCode> {
        let stream = http::connect(edge, "http/1.1").await.unwrap();
        let mut request = format!("wss://localhost{path}")
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match client_async(request, stream).await {
            Ok((socket, response)) => Ok((Self(socket), response.headers().clone())),
            Err(tungstenite::Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, value: Value) {
        self.send_text(&value.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn join(&mut self, ticket: u64) {
        self.send(json!({ "type": "join_ticket", "payload": { "ticket_id": ticket } }))
            .await;
        let answer = self.until("ticket_joined").await;
        assert_eq!(answer["payload"]["ticket_id"], ticket);
    }

    /// The next event's text.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match self.frame().await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("expected an event, got {other:?}"),
            }
        }
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// The next event of a type; presence and the like in between are passed over.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["type"] == kind {
                return event;
            }
            assert_ne!(event["type"], "error", "{event}");
        }
    }

    /// Says something whose answer tells that all before it was handled.
    pub(crate) async fn settle(&mut self) -> Vec<Value> {
        self.send(json!({ "type": "ping" })).await;
        let mut before = Vec::new();
        loop {
            let event = self.next().await;
            if event["type"] == "pong" {
                return before;
            }
            before.push(event);
        }
    }

    /// The close code and reason; events before it are passed over.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let closing = async {
            loop {
                match self.frame().await {
                    Some(Ok(Message::Close(Some(frame)))) => {
                        return (frame.code.into(), frame.reason.to_string());
                    }
                    Some(Ok(_)) => {}
                    other => panic!("expected a close frame, got {other:?}"),
                }
            }
        };
        // The pings of a session that stays open come for ever.
        let closing = tokio::time::timeout(Duration::from_secs(60), closing).await;
        closing.expect("a close frame within a minute")
    }

    /// Waits until the edge has ended the connection.
    pub(crate) async fn gone(&mut self) {
        while let Some(Ok(_)) = self.frame().await {}
    }

    async fn frame(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        // Not a measure of anything: a test that hangs should say where.
        let frame = tokio::time::timeout(Duration::from_secs(30), self.0.next()).await;
        frame.expect("a frame within half a minute")
    }
}
