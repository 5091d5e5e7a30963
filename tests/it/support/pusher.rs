//! Clients of the Pusher protocol, and the signatures by which Laravel admits them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Edge, Socket};

/// The key and the secret of the application.
pub(crate) const KEY: &str = "edgekey";
pub(crate) const SECRET: &str = "s3cret";

/// Returns the section `[pusher]` for an edge, with more lines, and the directory that holds
/// the secret.
pub(crate) fn section(more: &str) -> (String, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    write_secret(&file, SECRET);
    let file = file.display();
    let section = format!("[pusher]\nkey = \"{KEY}\"\nsecret_file = \"{file}\"\n{more}");
    (section, directory)
}

pub(crate) fn write_secret(file: &Path, secret: &str) {
    std::fs::write(file, format!("{secret}\n")).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Returns Laravel's `auth` for `text`.
pub(crate) fn sign(secret: &str, text: &str) -> String {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hmac::sign(&secret, text.as_bytes());
    let hex: String = signature
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{KEY}:{hex}")
}

/// A client that is connected, with its socket id.
pub(crate) struct PusherSocket {
    pub(crate) socket: Socket,
    pub(crate) id: String,
}

impl PusherSocket {
    pub(crate) async fn open(edge: &Edge) -> Self {
        let path = format!("/app/{KEY}?protocol=7&client=js&version=8.6.0&flash=false");
        let socket = Socket::try_open(edge, &path, &[]).await.unwrap();
        Self::greeted(socket).await
    }

    pub(crate) async fn greeted(mut socket: Socket) -> Self {
        let greeting = socket.next().await;
        assert_eq!(greeting["event"], "pusher:connection_established");
        let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        let id = data["socket_id"].as_str().unwrap().to_owned();
        Self { socket, id }
    }

    /// Returns Laravel's signature for this socket.
    pub(crate) fn auth(&self, channel: &str, channel_data: Option<&str>) -> String {
        let data = channel_data.map(|data| format!(":{data}"));
        let text = format!("{}:{channel}{}", self.id, data.unwrap_or_default());
        sign(SECRET, &text)
    }

    /// Subscribes as the application allows it, and returns the response.
    pub(crate) async fn subscribe(&mut self, channel: &str) -> Value {
        let auth = self.auth(channel, None);
        self.subscribe_with(json!({ "channel": channel, "auth": auth }))
            .await
    }

    /// Subscribes to a presence channel, and returns the list of its users.
    pub(crate) async fn enter(&mut self, channel: &str, channel_data: &str) -> Value {
        let auth = self.auth(channel, Some(channel_data));
        let subscribe = json!({ "channel": channel, "auth": auth, "channel_data": channel_data });
        let response = self.subscribe_with(subscribe).await;
        assert_eq!(
            response["event"], "pusher_internal:subscription_succeeded",
            "{response}"
        );
        data(&response)["presence"].clone()
    }

    pub(crate) async fn subscribe_with(&mut self, data: Value) -> Value {
        self.send("pusher:subscribe", data).await;
        self.socket.next().await
    }

    pub(crate) async fn send(&mut self, event: &str, data: Value) {
        let message = json!({ "event": event, "data": data });
        self.socket.send(message).await;
    }

    /// Pings, and returns all events before the pong.
    pub(crate) async fn settle(&mut self) -> Vec<Value> {
        self.send("pusher:ping", json!({})).await;
        let mut before = Vec::new();
        loop {
            let event = self.socket.next().await;
            if event["event"] == "pusher:pong" {
                return before;
            }
            before.push(event);
        }
    }
}

/// Returns the JSON in the data of an event.
pub(crate) fn data(event: &Value) -> Value {
    serde_json::from_str(event["data"].as_str().expect("a string")).unwrap()
}
