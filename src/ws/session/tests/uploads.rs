//! Tests of uploads: how long they wait, for whom, and what they cost their session.

use serde_json::{Value, json};

use super::*;

const CHUNK: usize = 32 * 1024;

fn start(chunks: usize) -> Value {
    json!({"upload_id": "a", "ticket_id": 7, "name": "a.png", "size": chunks * CHUNK})
}

fn chunk(upload: u8, number: usize) -> Message {
    let mut frame = vec![1, 0, 0, 0, upload];
    frame.extend_from_slice(&((number * CHUNK) as u64).to_be_bytes());
    frame.extend_from_slice(&[7; CHUNK]);
    Message::binary(frame)
}

/// Reads the next event about an upload, but for its progress.
async fn told(client: &mut Client) -> (Value, Value) {
    loop {
        let event = client.event().await;
        let about = event["type"].as_str().unwrap();
        if about != "upload_progress" && !about.starts_with("user_") {
            let detail = match event["type"].as_str() {
                Some("upload_failed") => &event["payload"]["code"],
                Some("upload_ready") => &event["payload"]["offset"],
                _ => &event["payload"]["status"],
            };
            return (event["type"].clone(), detail.clone());
        }
    }
}

async fn begin(client: &mut Client, chunks: usize) {
    client.say("upload_start", start(chunks)).await;
    assert_eq!(told(client).await, (json!("upload_ready"), json!(0)));
}

async fn resume(client: &mut Client) -> (Value, Value) {
    client.say("upload_resume", json!({"upload_id": "a"})).await;
    told(client).await
}

fn posts(edge: &Edge) -> Vec<String> {
    let mut asked = edge.laravel.take_asked();
    asked.retain(|asked| asked.starts_with("POST"));
    asked
}

/// The wait is longer than Laravel may take, but it is the client that is slow.
#[tokio::test(start_paused = true)]
async fn upload_resumes_after_a_pause_of_88_seconds() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    begin(&mut ana, 2).await;
    ana.send(chunk(1, 0)).await;
    settled().await;
    tokio::time::sleep(29 * SECOND).await;
    ana.lose().await;
    tokio::time::sleep(59 * SECOND).await;
    assert_eq!(posts(&edge), [""; 0]);
    let mut ana = edge.open(3).await;
    assert_eq!(
        resume(&mut ana).await,
        (json!("upload_ready"), json!(CHUNK))
    );
    ana.send(chunk(1, 1)).await;
    assert_eq!(told(&mut ana).await, (json!("upload_done"), json!(200)));
    assert_eq!(posts(&edge), ["POST /api/support-tickets/7/messages whole"]);
}

#[tokio::test(start_paused = true)]
async fn upload_without_its_client_expires_after_a_minute() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    begin(&mut ana, 2).await;
    ana.send(chunk(1, 0)).await;
    settled().await;
    ana.lose().await;
    tokio::time::sleep(60 * SECOND - 2 * MS).await;
    assert_eq!(posts(&edge), [""; 0]);
    tokio::time::sleep(4 * MS).await;
    assert_eq!(
        posts(&edge),
        ["POST /api/support-tickets/7/messages broken"]
    );
    let mut ana = edge.open(3).await;
    assert_eq!(resume(&mut ana).await.0, "upload_ready");
    assert_eq!(
        told(&mut ana).await,
        (json!("upload_failed"), json!("expired"))
    );
    let unknown = (json!("upload_failed"), json!("unknown_upload"));
    assert_eq!(resume(&mut ana).await, unknown);
}

#[tokio::test(start_paused = true)]
async fn upload_outcome_not_collected_expires_after_a_minute() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.delay = SECOND);
    begin(&mut ana, 1).await;
    ana.send(chunk(1, 0)).await;
    settled().await;
    ana.lose().await;
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(posts(&edge), ["POST /api/support-tickets/7/messages whole"]);
    tokio::time::sleep(60 * SECOND).await;
    let mut ana = edge.open(3).await;
    let unknown = (json!("upload_failed"), json!("unknown_upload"));
    assert_eq!(resume(&mut ana).await, unknown);
}

#[tokio::test(start_paused = true)]
async fn idle_upload_fails_after_30_seconds_and_session_stays() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    begin(&mut ana, 2).await;
    let began = Instant::now();
    assert_eq!(
        told(&mut ana).await,
        (json!("upload_failed"), json!("idle"))
    );
    assert_eq!(began.elapsed().as_secs(), 30);
    settled().await;
    assert_eq!(
        posts(&edge),
        ["POST /api/support-tickets/7/messages broken"]
    );
    ana.assert_alive().await;
}

/// Chunks are no messages: twenty a second would be too few of them.
#[tokio::test(start_paused = true)]
async fn upload_chunks_count_no_messages_and_delay_no_events() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    begin(&mut ana, 200).await;
    let began = Instant::now();
    for number in 0..200 {
        ana.send(chunk(1, number)).await;
        edge.publish(7, "said meanwhile");
        // The chunk has left for Laravel, so there is room in the window.
        loop {
            let event = ana.event().await;
            let received = event["payload"]["received"].as_u64();
            if received == Some(((number + 1) * CHUNK) as u64) || event["type"] == "upload_done" {
                break;
            }
        }
    }
    assert_eq!(began.elapsed().as_secs(), 0);
}

/// The right to the ticket is confirmed at the end, by a request of its own.
#[tokio::test(start_paused = true)]
async fn ticket_access_is_checked_again_before_the_upload_ends() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    begin(&mut ana, 1).await;
    edge.laravel.take_asked();
    ana.send(chunk(1, 0)).await;
    assert_eq!(told(&mut ana).await, (json!("upload_done"), json!(200)));
    let asked = edge.laravel.take_asked();
    let expected = [
        "HEAD /api/support-tickets/7 3",
        "POST /api/support-tickets/7/messages whole",
    ];
    assert_eq!(asked, expected);
}

#[tokio::test(start_paused = true)]
async fn uploads_are_aborted_at_shutdown() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    begin(&mut ana, 2).await;
    ana.lose().await;
    let mut ben = edge.open_in(7, 4).await;
    begin(&mut ben, 2).await;
    edge.services.drain.token().cancel();
    assert_eq!(
        told(&mut ben).await,
        (json!("upload_failed"), json!("restart"))
    );
    assert_eq!(ben.closed().await, Closed(1012));
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(posts(&edge).len(), 2);
    // Only the task of the rooms' timers is left.
    assert_eq!(edge.services.drain.tasks(), 1);
}
