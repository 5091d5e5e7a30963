//! The client side of a session.

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;

/// A client. It responds to pings whenever it reads.
pub(super) struct Client {
    socket: WebSocketStream<DuplexStream>,
    session: JoinHandle<()>,
}

/// The close code of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed(pub(super) u16);

impl Client {
    pub(super) async fn new(pipe: DuplexStream, session: JoinHandle<()>) -> Self {
        let socket = WebSocketStream::from_raw_socket(pipe, Role::Client, None).await;
        Self { socket, session }
    }

    pub(super) async fn send(&mut self, frame: Message) {
        self.socket.send(frame).await.unwrap();
    }

    pub(super) async fn say(&mut self, kind: &str, payload: Value) {
        let text = json!({"type": kind, "payload": payload}).to_string();
        self.send(Message::text(text)).await;
    }

    pub(super) async fn join(&mut self, ticket: u64) {
        self.say("join_ticket", json!({"ticket_id": ticket})).await;
        let event = self.event().await;
        assert_eq!(event["type"], "ticket_joined", "{event}");
    }

    /// Sends a command that is rejected; returns the code of the error.
    pub(super) async fn refused(&mut self, kind: &str, payload: Value) -> Value {
        self.say(kind, payload).await;
        self.error().await
    }

    /// Reads the next event, which must be an error; returns its code.
    pub(super) async fn error(&mut self) -> Value {
        let event = self.event().await;
        assert_eq!(event["type"], "error", "{event}");
        event["payload"]["code"].clone()
    }

    /// Waits for the next event, for longer than any deadline of a session.
    pub(super) async fn event(&mut self) -> Value {
        tokio::time::timeout(AGE, self.next())
            .await
            .expect("no event came")
            .expect("the session ended")
    }

    /// Waits for the end of the session, and skips the events before it.
    pub(super) async fn closed(&mut self) -> Closed {
        let end = async {
            loop {
                if let Err(closed) = self.next().await {
                    return closed;
                }
            }
        };
        let end = tokio::time::timeout(AGE, end).await;
        end.expect("the session did not end")
    }

    /// Takes the events that have arrived already: of `new_message` the text, of an error the
    /// code, of others the type.
    pub(super) fn arrived(&mut self) -> Vec<String> {
        let mut arrived = Vec::new();
        while let Some(Ok(event)) = self.next().now_or_never() {
            arrived.push(title(&event));
        }
        arrived
    }

    /// Responds to pings for `time`, in which nothing else may come.
    pub(super) async fn assert_quiet_for(&mut self, time: Duration) {
        let next = tokio::time::timeout(time, self.next()).await;
        assert!(next.is_err(), "{next:?}");
    }

    /// Checks that the session responds.
    pub(super) async fn assert_alive(&mut self) {
        self.say("ping", json!({})).await;
        let event = self.event().await;
        assert_eq!(event["type"], "pong", "{event}");
    }

    /// Reads the next frame of any kind.
    pub(super) async fn frame(&mut self) -> Message {
        self.socket.next().await.unwrap().unwrap()
    }

    /// Waits for the end of the session's task.
    pub(super) async fn gone(&mut self) {
        let end = tokio::time::timeout(AGE, &mut self.session).await;
        end.expect("the session did not end").unwrap();
    }

    /// Drops the connection without a close frame.
    pub(super) async fn lose(self) {
        drop(self.socket);
        self.session.await.unwrap();
    }

    /// Waits for the next event, or for the end of the session.
    pub(super) async fn next(&mut self) -> Result<Value, Closed> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(Message::Close(Some(frame)))) => return Err(Closed(frame.code.into())),
                Some(Ok(_)) => {}
                end => panic!("the connection ended without a close frame: {end:?}"),
            }
        }
    }
}

/// Returns the text, the code or the type of an event.
fn title(event: &Value) -> String {
    let (kind, payload) = (event["type"].as_str().unwrap(), &event["payload"]);
    match kind {
        "new_message" => payload["message"].as_str().unwrap().to_owned(),
        "error" => payload["code"].as_str().unwrap().to_owned(),
        _ => kind.to_owned(),
    }
}

const AGE: Duration = Duration::from_secs(1000);
