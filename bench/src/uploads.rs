//! Room events during uploads: their latency from the Unix socket to a session, while the
//! session is idle and while it uploads without a pause.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use hyper::Uri;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{self, Instant};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Dialer, Tickets};
use crate::publisher::{Entrance, Publisher};
use crate::target::{Socket, expect};

/// The server and the number of events.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    /// For example `wss://127.0.0.1:8443/ws`; the address must be a literal one
    #[arg(long)]
    url: Uri,
    /// The server's broadcast socket
    #[arg(long)]
    socket: Entrance,
    #[arg(long, default_value_t = 1_000)]
    events: u32,
}

pub(crate) async fn measure(plan: Plan) -> anyhow::Result<()> {
    for uploading in [false, true] {
        let mut took = run(&plan, uploading).await?;
        took.sort_unstable();
        let micros = |part: usize| took[(took.len() - 1) * part / 100].as_micros();
        let when = if uploading {
            "while it uploads"
        } else {
            "at rest"
        };
        println!("event to a session {when}, median, µs\t{}", micros(50));
        println!("event to a session {when}, 99 %, µs\t{}", micros(99));
    }
    Ok(())
}

/// A message about an upload.
enum News {
    Ready(u64),
    Received(usize),
    Done,
}

/// Opens a session and joins the room.
async fn join(plan: &Plan) -> anyhow::Result<Socket> {
    let authority = plan.url.authority().context("the url names no server")?;
    let server: SocketAddr = authority.as_str().parse()?;
    let stream = Dialer::new(server, Tickets::Never)?
        .dial(Ipv4Addr::LOCALHOST)
        .await?;
    let (mut socket, _) = client_async(format!("{}?token=1%7Cu1", plan.url), stream).await?;
    expect(&mut socket, "connection").await?;
    let join = json!({"type": "join_ticket", "payload": {"ticket_id": 1}});
    socket.send(Message::text(join.to_string())).await?;
    expect(&mut socket, "ticket_joined").await?;
    Ok(socket)
}

async fn run(plan: &Plan, uploading: bool) -> anyhow::Result<Vec<Duration>> {
    let (sink, mut stream) = join(plan).await?.split();
    let (news, told) = mpsc::unbounded_channel();
    let (arrived, mut arrivals) = watch::channel((0, Instant::now()));
    let reading = async {
        while let Some(message) = stream.next().await {
            let Message::Text(text) = message? else {
                continue;
            };
            let event: Value = serde_json::from_str(&text)?;
            let number = |key: &str| event["payload"][key].as_u64().unwrap_or(0);
            let told = match event["type"].as_str() {
                Some("new_message") => {
                    arrived.send_replace((number("number"), Instant::now()));
                    continue;
                }
                Some("upload_ready") => News::Ready(number("upload")),
                Some("upload_progress") => News::Received(number("received") as usize),
                Some("upload_done") => News::Done,
                Some("upload_failed" | "error") => bail!("the server said {text}"),
                _ => continue,
            };
            if news.send(told).is_err() {
                break;
            }
        }
        bail!("the server hung up")
    };
    let uploads = async {
        if uploading {
            upload_for_ever(sink, told).await
        } else {
            std::future::pending().await
        }
    };
    let events = async {
        let mut publisher = Publisher::open(&plan.socket).await?;
        let mut took = Vec::new();
        for number in 1..=u64::from(plan.events) {
            let start = Instant::now();
            publisher
                .publish(1, &format!(r#""number":{number}"#))
                .await?;
            let (_, came) = *arrivals.wait_for(|(last, _)| *last >= number).await?;
            took.push(came.duration_since(start));
            time::sleep(PAUSE).await;
        }
        Ok(took)
    };
    tokio::select! {
        took = events => took,
        ended = reading => ended,
        ended = uploads => ended,
    }
}

/// Sends one file after another, as fast as the server allows.
async fn upload_for_ever(
    mut sink: SplitSink<Socket, Message>,
    mut told: mpsc::UnboundedReceiver<News>,
) -> anyhow::Result<Vec<Duration>> {
    let piece = vec![7; CHUNK];
    for file in 0.. {
        let start = json!({"type": "upload_start", "payload": {
            "upload_id": format!("file-{}-{file}", std::process::id()), "ticket_id": 1, "name": "scan.png",
            "size": FILE, "mime": "image/png",
        }});
        sink.send(Message::text(start.to_string())).await?;
        let (mut upload, mut offset, mut received) = (None, 0, 0);
        loop {
            while let Some(upload) =
                upload.filter(|_| offset < FILE && offset + CHUNK <= received + WINDOW)
            {
                let end = FILE.min(offset + CHUNK);
                sink.send(frame(upload, offset, &piece[..end - offset]))
                    .await?;
                offset = end;
            }
            match told.recv().await.context("nothing is read any more")? {
                News::Ready(number) => upload = Some(number),
                News::Received(bytes) => received = bytes,
                News::Done => break,
            }
        }
    }
    Ok(Vec::new())
}

/// Returns a chunk by `docs/PROTOCOL.md`, "Binary frames".
fn frame(upload: u64, offset: usize, data: &[u8]) -> Message {
    let mut frame = vec![1];
    frame.extend_from_slice(&(upload as u32).to_be_bytes());
    frame.extend_from_slice(&(offset as u64).to_be_bytes());
    frame.extend_from_slice(data);
    Message::binary(frame)
}

const FILE: usize = 10 * 1024 * 1024;
const CHUNK: usize = 32 * 1024;
const WINDOW: usize = 192 * 1024;
const PAUSE: Duration = Duration::from_millis(2);
