//! Attachments: Laravel stores them unchanged, or rejects them.

use serde_json::{Value, json};

use super::super::support::Socket;
use super::super::support::upload_sender::{UploadSender, next_upload_event};
use super::{App, PNG, Php};

/// Sends `file` as ana to ticket 1; returns how that ended.
async fn upload(socket: &mut Socket, name: &str, file: &[u8]) -> Value {
    let payload = json!({
        "upload_id": "a", "ticket_id": 1, "name": name, "size": file.len(), "message": "Narito po",
    });
    let start = json!({ "type": "upload_start", "payload": payload });
    let mut sending = UploadSender::begin(socket, start).await;
    sending.until(socket, file, file.len()).await;
    loop {
        let event = next_upload_event(socket).await;
        if event["type"].as_str().unwrap().starts_with("upload_") {
            return event;
        }
    }
}

#[tokio::test]
#[ignore = "needs php"]
async fn uploaded_file_is_stored_unchanged_by_laravel() {
    for php in [Php::BuiltIn, Php::Fpm] {
        assert_upload_is_stored(&App::configured(php, "").await).await;
    }
}

async fn assert_upload_is_stored(app: &App) {
    let mut ana = app.joined("ana", 1).await;
    let mut png = PNG.to_vec();
    for size in [PNG.len(), 32 * 1024, 32 * 1024 + 1, 10 * 1024 * 1024] {
        png.resize(size, 7);
        let name = "Liham \"Ñoño\"; ni 'ana' 📎🎉.png";
        let event = upload(&mut ana, name, &png).await;
        assert_eq!(event["type"], "upload_done", "{event}");
        let message = &event["payload"]["response"]["ticket_message"];
        assert_eq!(message["attachment_name"], name);
        assert_eq!(message["attachment_size"], size);
        assert_eq!(message["message"], "Narito po");
        let stored = app.stored();
        assert!(stored.iter().any(|(_, bytes)| *bytes == png), "{size}");
    }
}

#[tokio::test]
#[ignore = "needs php"]
async fn upload_rejected_by_laravel_is_reported_and_not_stored() {
    for php in [Php::BuiltIn, Php::Fpm] {
        assert_rejection_is_reported(&App::configured(php, "").await).await;
    }
}

async fn assert_rejection_is_reported(app: &App) {
    let mut ana = app.joined("ana", 1).await;
    for file in [&b"MZ\x90\0\x03\0\0\0"[..], b""] {
        let event = upload(&mut ana, "picture.png", file).await;
        assert_eq!(event["type"], "upload_failed", "{event}");
        assert_eq!(event["payload"]["code"], "invalid");
        assert_eq!(event["payload"]["status"], 422);
        let errors = &event["payload"]["errors"]["attachment"];
        assert!(errors[0].is_string(), "{event}");
    }
    assert!(app.stored().is_empty());
    ana.settle().await;
}
