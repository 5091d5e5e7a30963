//! Attachments over the WebSocket: what reaches Laravel is the file, byte for
//! byte and once, or nothing that counts.

use serde_json::{Value, json};

use crate::support::upload_sender::{CHUNK, UploadSender, next_upload_event};
use crate::support::{Edge, Laravel, Socket};

mod abort;
mod memory;
mod rejection;
mod resume;

const MIB: usize = 1024 * 1024;

/// A file in which each place is another.
fn file(size: usize) -> Vec<u8> {
    (0u32..)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .take(size)
        .collect()
}

fn upload_start(id: &str, size: usize) -> Value {
    json!({ "type": "upload_start", "payload": {
        "upload_id": id, "ticket_id": 1, "name": "dot.png", "size": size, "mime": "image/png",
    }})
}

async fn expect_failure(socket: &mut Socket, code: &str) -> Value {
    let event = next_upload_event(socket).await;
    assert_eq!(event["type"], "upload_failed", "{event}");
    assert_eq!(event["payload"]["code"], code, "{event}");
    event
}

async fn join_as_ana() -> (Laravel, Edge, Socket) {
    join_with_config("").await
}

async fn join_with_config(more: &str) -> (Laravel, Edge, Socket) {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), more);
    let socket = Socket::joined(&edge, "3|ana", 1).await;
    (laravel, edge, socket)
}

#[tokio::test]
async fn file_of_any_size_arrives_byte_for_byte() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    for size in [
        0,
        1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        6 * CHUNK,
        6 * CHUNK + 1,
        10 * MIB,
    ] {
        let file = file(size);
        let mut sending = UploadSender::begin(&mut socket, upload_start("a", size)).await;
        sending.until(&mut socket, &file, size).await;
        let done = next_upload_event(&mut socket).await;
        assert_eq!(done["type"], "upload_done", "{size}: {done}");
        assert_eq!(done["payload"]["upload_id"], "a");
        assert_eq!(done["payload"]["status"], 201);
        assert_eq!(done["payload"]["response"]["ticket_message"]["id"], 14);
        let post = laravel.posts().next().await;
        assert!(post.file() == file, "{size}");
    }
}

#[tokio::test]
async fn upload_request_carries_user_message_and_file_name() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    let name = "Liham ng \"Pagpapatunay\"; para kay Ñoño 📎🎉.jpg";
    let payload = json!({
        "upload_id": "0b9c-1", "ticket_id": "1", "name": name, "size": 3,
        "message": "Narito po ang larawan\r\n--x--",
    });
    let start = json!({ "type": "upload_start", "payload": payload });
    let mut sending = UploadSender::begin(&mut socket, start).await;
    sending.until(&mut socket, b"abc", 3).await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    let post = laravel.posts().next().await;
    assert_eq!(post.target, "/api/support-tickets/1/messages");
    let header = |name: &str| post.headers[name].to_str().unwrap();
    assert_eq!(header("authorization"), "Bearer ana");
    assert_eq!(header("accept"), "application/json");
    assert_eq!(header("host"), "localhost");
    assert_eq!(header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(header("x-forwarded-proto"), "https");
    // It is the user's own, so it counts against their throttle.
    assert!(!post.headers.contains_key("x-edge-request"));
    assert!(
        !post
            .headers
            .values()
            .any(|value| value.as_bytes().contains(&b'|'))
    );
    let fields = post.fields();
    assert_eq!(fields.len(), 2);
    assert_eq!(
        fields[0].head,
        "Content-Disposition: form-data; name=\"message\""
    );
    assert_eq!(fields[0].data, b"Narito po ang larawan\r\n--x--");
    let quoted = name.replace('"', "\\\"");
    assert_eq!(
        fields[1].head,
        format!(
            "Content-Disposition: form-data; name=\"attachment\"; filename=\"{quoted}\"\r\n\
             Content-Type: application/octet-stream"
        )
    );
    assert_eq!(fields[1].data, b"abc");
}

#[tokio::test]
async fn file_name_reaches_laravel_without_hidden_characters() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    let mut say = upload_start("a", 1);
    say["payload"]["name"] =
        json!("\u{200e}gnp\u{202e}\u{61c}e\u{200b}xe\u{200f} می\u{200c}خواهم.png");
    let mut sending = UploadSender::begin(&mut socket, say).await;
    sending.until(&mut socket, b"x", 1).await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    let head = laravel.posts().next().await.fields().remove(0).head;
    let name = "filename=\"gnpexe می\u{200c}خواهم.png\"\r\n";
    assert!(head.contains(name), "{head:?}");
}

#[tokio::test]
async fn upload_path_and_fields_are_configurable() {
    let more = "[websocket.uploads]\npath = \"/api/support-tickets/{id}/messages?v=2\"\n\
                file_field = \"file\"\nmessage_field = \"text\"\n";
    let (laravel, _edge, mut socket) = join_with_config(more).await;
    let mut say = upload_start("a", 1);
    say["payload"]["message"] = json!("hello");
    UploadSender::begin(&mut socket, say)
        .await
        .until(&mut socket, b"x", 1)
        .await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    let post = laravel.posts().next().await;
    assert_eq!(post.target, "/api/support-tickets/1/messages?v=2");
    let fields = post.fields();
    assert!(fields[0].head.ends_with("name=\"text\""));
    assert!(fields[1].head.contains("name=\"file\"; "));
}

fn upload_resume(id: &str) -> Value {
    json!({ "type": "upload_resume", "payload": { "upload_id": id } })
}

/// Events reach the client between any two chunks.
#[tokio::test]
async fn room_events_arrive_during_an_upload() {
    let (laravel, edge, mut socket) = join_as_ana().await;
    let file = file(4 * MIB);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    for number in 0..16 {
        let end = (number + 1) * file.len() / 16;
        sending.until(&mut socket, &file, end).await;
        let event =
            json!({ "type": "new_message", "payload": { "ticket_id": 1, "message": number } });
        edge.broadcast(&event.to_string()).await;
        if number < 15 {
            let reported = sending.wait_for_event(&mut socket, "new_message").await;
            assert_eq!(reported["payload"]["message"], number);
        }
    }
    assert_eq!(socket.until("upload_done").await["payload"]["status"], 201);
    assert!(laravel.posts().next().await.file() == file);
}

/// The end of an upload among other errors.
async fn expect_failure_among_errors(socket: &mut Socket, code: &str) {
    loop {
        let event = socket.next().await;
        if event["type"] == "upload_failed" {
            assert_eq!(event["payload"]["code"], code, "{event}");
            return;
        }
    }
}
