//! Upgrades that an app behind the edge answers itself, such as the WebSockets
//! of Vite or Reverb: once both sides have agreed, bytes are passed on unread.

use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::sound;
use crate::body::Body;
use crate::drain::Drain;
use crate::progress::Progress;

/// A client that asked to leave HTTP.
#[derive(Debug)]
pub(super) struct Asked {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Asked {
    /// What `request` asks for, if it asks for one protocol over HTTP/1.1.
    pub(super) fn read<B>(request: &mut Request<B>) -> Option<Self> {
        let headers = request.headers();
        let mut protocols = headers.get_all(UPGRADE).iter();
        let (Some(protocol), None) = (protocols.next(), protocols.next()) else {
            return None;
        };
        if request.version() != Version::HTTP_11 || !sound::wants_upgrade(headers) {
            return None;
        }
        Some(Self {
            protocol: protocol.clone(),
            client: hyper::upgrade::on(request),
        })
    }

    /// Asks on, where hop-by-hop headers have been taken away.
    pub(super) fn write<B>(&self, request: &mut Request<B>) {
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }

    /// Whether `answer` switches to what was asked for (RFC 9110 §7.8).
    pub(super) fn is_granted(&self, answer: &Response<Body>) -> bool {
        let granted = answer.headers().get(UPGRADE);
        granted.is_some_and(|granted| {
            granted
                .as_bytes()
                .eq_ignore_ascii_case(self.protocol.as_bytes())
        })
    }

    /// Connects both ends, once both have switched, until one ends, nothing
    /// moves for `idle`, or the process stops. `held` is kept until then.
    pub(super) fn connect<T>(
        self,
        answer: &mut Response<Body>,
        drain: &Drain,
        idle: Duration,
        held: T,
    ) where
        T: Send + 'static,
    {
        let app = hyper::upgrade::on(answer);
        let stop = drain.token().clone();
        drain.spawn(async move {
            let _held = held;
            match tokio::try_join!(self.client, app) {
                Ok((client, app)) => tokio::select! {
                    () = pass(client, app, idle) => {}
                    () = stop.cancelled() => {}
                },
                Err(error) => tracing::debug!(%error, "tunnel did not begin"),
            }
        });
    }
}

async fn pass(client: Upgraded, app: Upgraded, idle: Duration) {
    let progress = Progress::new();
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_app, to_app) = tokio::io::split(TokioIo::new(app));
    tokio::select! {
        ended = async {
            tokio::try_join!(
                pump(from_client, to_app, &progress),
                pump(from_app, to_client, &progress),
            )
        } => {
            if let Err(error) = ended {
                tracing::debug!(%error, "tunnel broke");
            }
        }
        () = progress.stalled(|_| idle) => tracing::debug!("tunnel stood still, closed"),
    }
}

/// One direction, to its end.
async fn pump<R, W>(mut from: R, mut to: W, progress: &Progress) -> std::io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        progress.tick();
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        progress.tick();
    }
}

const BUFFER: usize = 16 * 1024;
