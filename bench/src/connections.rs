//! The cost of connections without sessions: their handshakes, and the memory of those that
//! are idle after a request.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::HandshakeKind;

use crate::client::{Dialer, Tickets};
use crate::server::{Server, TICKS_PER_SECOND};

/// The server and the number of connections.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    #[arg(long)]
    server: SocketAddr,
    /// The server's process; repeat for a server of several
    #[arg(long = "pid", required = true)]
    pids: Vec<u32>,
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// The path that each requests once
    #[arg(long, default_value = "/bytes/1024")]
    path: String,
    /// Connections that open at a time
    #[arg(long, default_value_t = 16)]
    opening: usize,
}

/// Measures handshakes with one request each, full and resumed.
pub(crate) async fn handshakes(mut plan: Plan) -> anyhow::Result<()> {
    // rustls keeps eight tickets, and each is good for one connection.
    plan.opening = plan.opening.min(4);
    let server = Server::new(plan.pids.clone());
    for (name, tickets, kind) in [
        ("full", Tickets::Never, HandshakeKind::Full),
        ("resumed", Tickets::Kept, HandshakeKind::Resumed),
    ] {
        let dialer = Dialer::new(plan.server, tickets)?;
        // Each gets tickets for the next ones.
        drop(open_all(&plan, &dialer, plan.count.min(WARM_UP)).await?);
        let (before, start) = (server.cpu_ticks()?, Instant::now());
        // In portions, so that not all are open at once.
        let mut left = plan.count;
        while left > 0 {
            let some = left.min(PORTION);
            for stream in open_all(&plan, &dialer, some).await? {
                let was = stream.get_ref().1.handshake_kind();
                if was != Some(kind) {
                    bail!("a handshake was {was:?} and not {kind:?}");
                }
            }
            left -= some;
        }
        let took = start.elapsed().as_secs_f64();
        let ticks = server.cpu_ticks()? - before;
        let each = ticks as f64 / TICKS_PER_SECOND / f64::from(plan.count) * 1e3;
        println!("CPU per {name} handshake and request, ms\t{each:.3}");
        println!("{name} handshakes/s\t{:.0}", f64::from(plan.count) / took);
    }
    Ok(())
}

/// Measures connections that are idle after one request and still usable.
pub(crate) async fn idle(plan: Plan) -> anyhow::Result<()> {
    let server = Server::new(plan.pids.clone());
    let dialer = Dialer::new(plan.server, Tickets::Never)?;
    drop(open_all(&plan, &dialer, plan.count.min(WARM_UP)).await?);
    let before = server.settled_memory().await?;
    let mut open = open_all(&plan, &dialer, plan.count).await?;
    let after = server.settled_memory().await?;
    // They must still respond.
    ask(&mut open[0], &plan.path).await?;
    let each = (after.rss as f64 - before.rss as f64) / f64::from(plan.count);
    println!("memory per connection (Rss), bytes\t{each:.0}");
    Ok(())
}

async fn open_all(
    plan: &Plan,
    dialer: &Dialer,
    count: u32,
) -> anyhow::Result<Vec<TlsStream<TcpStream>>> {
    let slots = Arc::new(Semaphore::new(plan.opening));
    let mut opening = JoinSet::new();
    for number in 0..count {
        let (slots, dialer, path) = (Arc::clone(&slots), dialer.clone(), plan.path.clone());
        opening.spawn(async move {
            let _slot = slots.acquire().await?;
            let source = Ipv4Addr::new(127, 0, 0, 1 + (number % 4) as u8);
            let mut stream = dialer.dial(source).await?;
            ask(&mut stream, &path).await?;
            anyhow::Ok(stream)
        });
    }
    let mut open = Vec::new();
    while let Some(opened) = opening.join_next().await {
        open.push(opened??);
    }
    Ok(open)
}

/// Requests `path` and reads the response, which must have a `Content-Length`.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> anyhow::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the server hung up");
        }
        if let Some(whole) = length(&answer)?
            && answer.len() >= whole
        {
            return Ok(());
        }
    }
}

/// Returns the length of the whole response, once its head has arrived.
fn length(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200 ") {
        bail!("the response was {:?}", head.lines().next());
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length
        .context("a response without a length")?
        .trim()
        .parse()?;
    Ok(Some(end + 4 + length))
}

/// Connections that are opened before the first reading, so that one-time setup does not
/// count.
const WARM_UP: u32 = 50;
const PORTION: u32 = 250;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_head_and_body_are_there() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(length(head).ok(), Some(Some(head.len() + 3)));
        assert_eq!(length(b"HTTP/1.1 200 OK\r\n").ok(), Some(None));
        assert!(length(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").is_err());
    }
}
