//! Responses without an upstream: to `/bytes/N`, to uploads, and to `/sub/N`, which begins
//! a session in room N.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::io::{self, AsyncWriteExt};

use super::request::{Request, Requests};
use super::rooms::{Guest, Rooms, welcome};
use super::{Plan, Stream};
use crate::upstream::FILLER;

pub(crate) async fn serve(plan: Plan) -> anyhow::Result<()> {
    let rooms = Arc::new(Rooms::new(plan.coalesce));
    let published = Arc::clone(&rooms).take_publications(&plan.publish);
    let live = move |stream| {
        let rooms = Arc::clone(&rooms);
        async move {
            // A peer that disconnects early needs no report: the generator counts failures.
            if let Ok(Some(guest)) = Box::pin(converse(stream)).await {
                let _ = rooms.live(guest).await;
            }
        }
    };
    tokio::select! {
        ended = plan.door.serve(&[b"http/1.1"], live) => ended,
        ended = published => ended,
    }
}

/// Responds until the client disconnects or begins a session.
async fn converse(stream: Stream) -> io::Result<Option<Guest>> {
    let mut requests = Requests::of(stream);
    while let Some(request) = requests.next().await? {
        if let Some(key) = &request.websocket_key {
            return Ok(Some(Guest {
                room: number(&request, "/sub/")?,
                welcome: welcome(key),
                stream: requests.stream,
            }));
        }
        requests.swallow(request.length).await?;
        let body = match request.length {
            0 => FILLER.slice(..number(&request, "/bytes/")?.min(FILLER.len())),
            _ => Bytes::from_static(b"{}"),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut answer = Bytes::from(head).chain(body);
        requests.stream.write_all_buf(&mut answer).await?;
        requests.stream.flush().await?;
    }
    Ok(None)
}

/// Returns the number that follows `prefix` in the request's path.
fn number(request: &Request, prefix: &str) -> io::Result<usize> {
    let digits = request.path.strip_prefix(prefix).unwrap_or_default();
    digits.parse().map_err(io::Error::other)
}
