//! Uploads that continue after their connection was lost, or time out.

use super::{
    MIB, expect_failure, file, join_as_ana, join_with_config, upload_resume, upload_start,
};
use crate::support::Socket;
use crate::support::upload_sender::{CHUNK, UploadSender, next_upload_event};

#[tokio::test]
async fn upload_resumes_after_a_lost_connection() {
    let (laravel, edge, mut socket) = join_as_ana().await;
    let file = file(MIB + 7);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    sending.until(&mut socket, &file, 10 * CHUNK).await;
    // Without a close frame, as a phone that loses its network.
    drop(socket);
    // No other user can resume it.
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    desk.send(upload_resume("a")).await;
    expect_failure(&mut desk, "unknown_upload").await;
    // Even before the room was joined again.
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(upload_resume("a")).await;
    let mut sending = UploadSender::ready(&socket.next().await);
    assert!(sending.offset <= 10 * CHUNK && sending.offset.is_multiple_of(CHUNK));
    sending.until(&mut socket, &file, file.len()).await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    assert!(laravel.posts().next().await.file() == file);
    assert_eq!(laravel.posts().begun(), 1);
}

/// A phone is back before the edge knows that it was gone.
#[tokio::test]
async fn upload_moves_to_the_session_that_resumes_it() {
    let (laravel, edge, mut old) = join_as_ana().await;
    let file = file(3 * CHUNK);
    let mut before = UploadSender::begin(&mut old, upload_start("a", file.len())).await;
    before.chunk(&mut old, &file).await;
    old.settle().await;
    let mut new = Socket::greeted(&edge, "3|ana").await;
    new.send(upload_resume("a")).await;
    let mut sending = UploadSender::ready(&new.next().await);
    assert_eq!(sending.offset, CHUNK);
    // What the old one says counts no more.
    before.chunk(&mut old, &file).await;
    old.settle().await;
    sending.until(&mut new, &file, file.len()).await;
    assert_eq!(next_upload_event(&mut new).await["type"], "upload_done");
    assert!(laravel.posts().next().await.file() == file);
}

#[tokio::test]
async fn upload_outcome_waits_for_a_lost_client() {
    let (laravel, edge, mut socket) = join_as_ana().await;
    laravel.posts().hold_responses();
    UploadSender::begin(&mut socket, upload_start("a", 1))
        .await
        .until(&mut socket, b"x", 1)
        .await;
    assert_eq!(laravel.posts().next().await.file(), b"x");
    drop(socket);
    laravel.posts().release();
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(upload_resume("a")).await;
    assert_eq!(UploadSender::ready(&socket.next().await).offset, 1);
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    socket.send(upload_resume("a")).await;
    expect_failure(&mut socket, "unknown_upload").await;
}

#[tokio::test]
async fn upload_times_out_when_idle_or_not_resumed() {
    let more = "[websocket.uploads]\nidle_timeout = \"200ms\"\nresume_timeout = \"200ms\"\n";
    let (laravel, edge, mut socket) = join_with_config(more).await;
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", 2 * CHUNK)).await;
    sending.chunk(&mut socket, &file(2 * CHUNK)).await;
    expect_failure(&mut socket, "idle").await;
    assert!(!laravel.posts().next().await.whole);
    UploadSender::begin(&mut socket, upload_start("b", 1)).await;
    drop(socket);
    assert!(!laravel.posts().next().await.whole);
    // What became of it is known for a while, then nothing.
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    loop {
        socket.send(upload_resume("b")).await;
        let event = next_upload_event(&mut socket).await;
        if event["payload"]["code"] == "unknown_upload" {
            break;
        }
    }
}
