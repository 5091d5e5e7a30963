//! A client's side of an upload.

use futures_util::SinkExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::Socket;

/// What the edge says by default.
pub(crate) const CHUNK: usize = 32 * 1024;

pub(crate) fn frame(upload: u64, offset: usize, data: &[u8]) -> Message {
    let mut frame = vec![1];
    frame.extend_from_slice(&u32::try_from(upload).unwrap().to_be_bytes());
    frame.extend_from_slice(&(offset as u64).to_be_bytes());
    frame.extend_from_slice(data);
    Message::binary(frame)
}

/// A client's side of an upload.
pub(crate) struct UploadSender {
    pub(crate) upload: u64,
    pub(crate) offset: usize,
    limit: usize,
    window: usize,
}

impl UploadSender {
    pub(crate) fn ready(event: &Value) -> Self {
        assert_eq!(event["type"], "upload_ready", "{event}");
        let number = |key: &str| event["payload"][key].as_u64().unwrap();
        let size = |key: &str| usize::try_from(number(key)).unwrap();
        assert_eq!(size("chunk_size"), CHUNK);
        Self {
            upload: number("upload"),
            offset: size("offset"),
            limit: size("received") + size("window"),
            window: size("window"),
        }
    }

    pub(crate) async fn begin(socket: &mut Socket, start: Value) -> Self {
        socket.send(start).await;
        Self::ready(&next_upload_event(socket).await)
    }

    /// Sends the next chunk.
    pub(crate) async fn chunk(&mut self, socket: &mut Socket, file: &[u8]) {
        let end = file.len().min(self.offset + CHUNK);
        let frame = frame(self.upload, self.offset, &file[self.offset..end]);
        socket.0.send(frame).await.unwrap();
        self.offset = end;
    }

    /// Sends until `end`, as fast as it may; events but progress are passed over.
    pub(crate) async fn until(&mut self, socket: &mut Socket, file: &[u8], end: usize) {
        while self.offset < end {
            if file.len().min(self.offset + CHUNK) <= self.limit {
                self.chunk(socket, file).await;
                continue;
            }
            self.wait_for_event(socket, "upload_progress").await;
        }
    }

    /// Reads to the next event of this type, and heeds the progress on the way.
    pub(crate) async fn wait_for_event(&mut self, socket: &mut Socket, wanted: &str) -> Value {
        loop {
            let event = socket.next().await;
            assert_ne!(event["type"], "upload_failed", "{event}");
            if event["type"] == "upload_progress" {
                let received = event["payload"]["received"].as_u64().unwrap();
                self.limit = usize::try_from(received).unwrap() + self.window;
            }
            if event["type"] == wanted {
                return event;
            }
        }
    }
}

/// The end of an upload; progress is passed over.
pub(crate) async fn next_upload_event(socket: &mut Socket) -> Value {
    loop {
        let event = socket.next().await;
        if event["type"] != "upload_progress" && event["type"] != "new_message" {
            return event;
        }
    }
}
