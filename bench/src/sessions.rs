//! Idle sessions: opens many wss sessions, each with its own user, lets each
//! join a ticket's room, and reads what the server's memory grew by.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use hyper::Uri;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::client::Dialer;
use crate::server::{Server, TICKS_PER_SECOND};

pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// How many sessions, in how many rooms, of which server.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    /// For example `wss://127.0.0.1:8443/ws`; the address must be a literal one
    #[arg(long)]
    url: Uri,
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    rooms: u32,
    /// The server's process; repeat for a server of several
    #[arg(long = "pid", required = true)]
    pids: Vec<u32>,
    /// How many sessions may be opening at a time
    #[arg(long, default_value_t = 64)]
    opening: usize,
    /// How many addresses, from 127.0.0.1 up, the sessions come from
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=250))]
    sources: u8,
}

pub(crate) async fn measure(plan: Plan) -> anyhow::Result<()> {
    let server = Server::new(plan.pids.clone());
    drop(open_all(&plan, plan.count.min(WARM_UP)).await?);

    let memory_before = server.settled_memory().await?;
    let ticks_before = server.cpu_ticks()?;
    let mut sessions = open_all(&plan, plan.count).await?;
    let ticks = server.cpu_ticks()? - ticks_before;
    let memory = server.settled_memory().await?;
    if let Some(ended) = sessions.try_join_next() {
        return Err(failure(ended).context("a session did not last"));
    }
    drop(sessions);
    let memory_after = server.settled_memory().await?;

    let count = f64::from(plan.count);
    let growth = |now: u64, before: u64| (now as f64 - before as f64) / count;
    let rss = growth(memory.rss, memory_before.rss);
    let pss = growth(memory.pss, memory_before.pss);
    let kept = growth(memory_after.rss, memory_before.rss);
    let cpu = ticks as f64 / TICKS_PER_SECOND / count * 1_000.0;
    println!("memory per session (Rss), bytes\t{rss:.0}");
    println!("memory per session (Pss), bytes\t{pss:.0}");
    println!("kept per session after all left (Rss), bytes\t{kept:.0}");
    println!("server CPU to open 1 000 sessions, s\t{cpu:.3}");
    Ok(())
}

/// Opens `count` sessions and returns when every one is in its room. Dropping
/// the set hangs all of them up.
async fn open_all(plan: &Plan, count: u32) -> anyhow::Result<JoinSet<anyhow::Error>> {
    let opener = Arc::new(Opener::new(plan)?);
    let (joined, mut arrivals) = mpsc::channel(1);
    let mut sessions = JoinSet::new();
    for id in 1..=count {
        let (opener, joined) = (opener.clone(), joined.clone());
        sessions.spawn(async move {
            let Err(error) = live(&opener, id, joined).await;
            error.context(format!("session {id} of {count}"))
        });
    }
    for _ in 0..count {
        // Both branches are cancel-safe.
        tokio::select! {
            _ = arrivals.recv() => {}
            Some(ended) = sessions.join_next() => return Err(failure(ended)),
        }
    }
    Ok(sessions)
}

fn failure(ended: Result<anyhow::Error, JoinError>) -> anyhow::Error {
    ended.unwrap_or_else(anyhow::Error::from)
}

/// One session from its first packet on; ends only by an error.
async fn live(opener: &Opener, id: u32, joined: mpsc::Sender<()>) -> anyhow::Result<Infallible> {
    let slot = opener.slots.acquire().await?;
    let mut socket = time::timeout(OPEN_WITHIN, opener.open(id))
        .await
        .with_context(|| format!("not in its room within {OPEN_WITHIN:?}"))??;
    drop(slot);
    joined.send(()).await?;
    drop(joined);
    loop {
        // Reading also answers the server's pings.
        next_text(&mut socket).await?;
    }
}

/// What all sessions share while they open.
struct Opener {
    dialer: Dialer,
    plan: Plan,
    slots: Semaphore,
}

impl Opener {
    fn new(plan: &Plan) -> anyhow::Result<Self> {
        let authority = plan.url.authority().context("the url names no server")?;
        let server: SocketAddr = authority
            .as_str()
            .parse()
            .context("the url must hold an address and a port")?;
        Ok(Self {
            dialer: Dialer::new(server)?,
            plan: plan.clone(),
            slots: Semaphore::new(plan.opening),
        })
    }

    async fn open(&self, id: u32) -> anyhow::Result<Socket> {
        let source = Ipv4Addr::new(127, 0, 0, 1 + (id % u32::from(self.plan.sources)) as u8);
        let stream = self.dialer.dial(source).await?;
        let request = format!("{}?token={id}%7Cx", self.plan.url);
        // The default read buffer is 128 KiB for each session.
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let (mut socket, _) = client_async_with_config(request, stream, Some(config)).await?;

        expect(&mut socket, "connection").await?;
        let join =
            json!({"type": "join_ticket", "payload": {"ticket_id": 1 + id % self.plan.rooms}});
        socket.send(Message::text(join.to_string())).await?;
        expect(&mut socket, "ticket_joined").await?;
        Ok(socket)
    }
}

/// Reads to the event of this type; others may come before it, but no error.
pub(crate) async fn expect(socket: &mut Socket, wanted: &str) -> anyhow::Result<()> {
    loop {
        let text = next_text(socket).await?;
        let event: Value = serde_json::from_str(&text).context("the server sent no JSON")?;
        match event["type"].as_str() {
            Some(kind) if kind == wanted => return Ok(()),
            Some("error") => bail!("waiting for {wanted}, the server said {text}"),
            _ => {}
        }
    }
}

pub(crate) async fn next_text(socket: &mut Socket) -> anyhow::Result<Utf8Bytes> {
    loop {
        match socket.next().await.transpose()? {
            Some(Message::Text(text)) => return Ok(text),
            Some(Message::Close(frame)) => bail!("the server closed: {frame:?}"),
            Some(_) => {}
            None => bail!("the server hung up"),
        }
    }
}

/// Opened and hung up before the first reading, so that what a server sets up
/// once, at its first clients, is not counted as memory of a session.
const WARM_UP: u32 = 50;
const OPEN_WITHIN: Duration = Duration::from_secs(30);
