//! Sessions of a server with rooms: the edge, nginx with nchan, or node.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
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

use crate::client::{Dialer, Tickets};
use crate::server::Server;

pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// The server, and how to open its sessions.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// Such as `wss://127.0.0.1:18443/ws`, or `wss://127.0.0.1:18446/sub` of
    /// nchan; the address must be a literal one
    #[arg(long)]
    pub(crate) url: Uri,
    #[arg(long, value_enum, default_value_t = Kind::Edge)]
    pub(crate) kind: Kind,
    /// The server's process; repeat for a server of several
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// Rooms that the sessions spread over
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rooms: u32,
    /// Sessions that open at a time
    #[arg(long, default_value_t = 64)]
    pub(crate) opening: usize,
    /// Addresses, from 127.0.0.1 up, that the sessions come from
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=250))]
    sources: u8,
    /// Users that the sessions belong to [default: one for each session]
    #[arg(long)]
    users: Option<u32>,
    /// Seconds within which a session must be in its room
    #[arg(long, default_value_t = 30)]
    within: u64,
}

/// The way in which a session joins a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Edge,
    /// The room is in the path.
    Path,
}

impl Target {
    pub(crate) fn server(&self) -> anyhow::Result<Server> {
        ensure!(!self.pids.is_empty(), "no --pid names the server's process");
        Ok(Server::new(self.pids.clone()))
    }

    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let authority = self.url.authority().context("the url names no server")?;
        let address = authority.as_str().parse();
        address.context("the url must hold an address and a port")
    }
}

/// The state that all sessions share while they open.
pub(crate) struct Opener {
    dialer: Dialer,
    target: Target,
    slots: Semaphore,
}

impl Opener {
    pub(crate) fn new(target: &Target, tickets: Tickets) -> anyhow::Result<Self> {
        Ok(Self {
            dialer: Dialer::new(target.address()?, tickets)?,
            slots: Semaphore::new(target.opening),
            target: target.clone(),
        })
    }

    /// Opens session `id` and joins its room, when a place is free.
    pub(crate) async fn open(&self, id: u32) -> anyhow::Result<Socket> {
        Ok(self.open_since(id, None).await?.0)
    }

    /// Opens session `id` with the last position of an earlier one. Also returns the payload of
    /// `ticket_joined`, if the server is an edge.
    pub(crate) async fn open_since(
        &self,
        id: u32,
        since: Option<&str>,
    ) -> anyhow::Result<(Socket, Value)> {
        let _slot = self.slots.acquire().await?;
        let within = Duration::from_secs(self.target.within);
        time::timeout(within, self.join(id, since))
            .await
            .with_context(|| format!("not in its room within {within:?}"))?
            .with_context(|| format!("session {id}"))
    }

    async fn join(&self, id: u32, since: Option<&str>) -> anyhow::Result<(Socket, Value)> {
        let target = &self.target;
        let source = Ipv4Addr::new(127, 0, 0, 1 + (id % u32::from(target.sources)) as u8);
        let stream = self.dialer.dial(source).await?;
        let room = 1 + id % target.rooms;
        let user = 1 + id % target.users.unwrap_or(u32::MAX);
        let request = match target.kind {
            Kind::Edge => format!("{}?token={user}%7Cu{user}", target.url),
            Kind::Path => format!("{}/{room}", target.url),
        };
        // The default read buffer is 128 KiB for each session.
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let (mut socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        let mut joined = Value::Null;
        if target.kind == Kind::Edge {
            expect(&mut socket, "connection").await?;
            let payload = json!({"ticket_id": room, "since": since});
            let join = json!({"type": "join_ticket", "payload": payload});
            socket.send(Message::text(join.to_string())).await?;
            joined = expect(&mut socket, "ticket_joined").await?["payload"].take();
        }
        Ok((socket, joined))
    }
}

/// Opens `count` sessions and returns once every one is in its room; each then runs `live`.
/// Dropping the set closes all of them.
pub(crate) async fn open_all<L, F>(
    opener: &Arc<Opener>,
    count: u32,
    live: L,
) -> anyhow::Result<JoinSet<anyhow::Error>>
where
    L: Fn(Socket) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = anyhow::Error> + Send,
{
    let (joined, mut arrivals) = mpsc::channel(1);
    let mut sessions = JoinSet::new();
    for id in 1..=count {
        let (opener, live, joined) = (Arc::clone(opener), live.clone(), joined.clone());
        sessions.spawn(async move {
            let socket = match opener.open(id).await {
                Ok(socket) => socket,
                Err(error) => return error,
            };
            // The receiver is gone if another session has failed.
            let _ = joined.send(()).await;
            drop((opener, joined));
            live(socket).await
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

pub(crate) fn failure(ended: Result<anyhow::Error, JoinError>) -> anyhow::Error {
    ended.unwrap_or_else(anyhow::Error::from)
}

/// Reads and discards, which also responds to the server's pings.
pub(crate) async fn rest(mut socket: Socket) -> anyhow::Error {
    loop {
        if let Err(error) = next_text(&mut socket).await {
            return error;
        }
    }
}

/// Reads until the event of this type and returns it; others may come before it, but no error.
pub(crate) async fn expect(socket: &mut Socket, wanted: &str) -> anyhow::Result<Value> {
    loop {
        let text = next_text(socket).await?;
        let event: Value = serde_json::from_str(&text).context("the server sent no JSON")?;
        match event["type"].as_str() {
            Some(kind) if kind == wanted => return Ok(event),
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
