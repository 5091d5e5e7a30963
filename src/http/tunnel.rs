//! Upgrades that an app behind the edge answers itself, such as the WebSockets
//! of Vite or Reverb: once both sides have agreed, bytes are passed on unread.

use std::io;
use std::time::Duration;

use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::normalize;
use super::routes::UpgradeProtocol;
use crate::core::body::Body;
use crate::core::error_chain::error_chain;
use crate::runtime::activity::ActivityTracker;
use crate::runtime::drain::Drain;
use crate::ws::{Challenge, HandshakeRejection};

/// How long a tunnel may stand still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// In both directions, with nothing to pass on.
    pub(super) idle: Duration,
    /// In one direction, while there is something that the other end does not take.
    pub(super) stall: Duration,
}

/// A client that asked to leave HTTP for a protocol that its route passes on.
#[derive(Debug)]
pub(super) struct UpgradeRequest {
    protocol: UpgradeProtocol,
    /// If it asks for a WebSocket.
    challenge: Option<Challenge>,
    client: OnUpgrade,
}

impl UpgradeRequest {
    /// What `request` asks for, if that is one of `protocols`. Any other upgrade is
    /// ignored, as RFC 9110 §7.8 allows: what is no such protocol, not over HTTP/1.1, or
    /// has a body, which none of the bytes behind it may be taken for.
    ///
    /// # Errors
    /// It asks for a WebSocket by what is no opening handshake.
    pub(super) fn parse<B: hyper::body::Body>(
        request: &mut Request<B>,
        protocols: &[UpgradeProtocol],
    ) -> Result<Option<Self>, HandshakeRejection> {
        let headers = request.headers();
        if protocols.is_empty()
            || request.version() != Version::HTTP_11
            || !normalize::wants_upgrade(headers)
        {
            return Ok(None);
        }
        let offers = headers.get_all(UPGRADE).iter();
        let offers = offers.filter_map(|value| value.to_str().ok());
        let mut offers = offers.flat_map(|value| value.split(',')).map(str::trim);
        let known = |offer| protocols.iter().find(|known| known.matches(offer));
        let Some(protocol) = offers.find_map(known) else {
            return Ok(None);
        };
        let challenge = if protocol.is_websocket() {
            Some(Challenge::read(request)?)
        } else if request.body().is_end_stream() {
            None
        } else {
            return Ok(None);
        };
        Ok(Some(Self {
            protocol: protocol.clone(),
            challenge,
            client: hyper::upgrade::on(request),
        }))
    }

    /// Asks on for that one protocol, where hop-by-hop headers have been taken away,
    /// and with them whatever the client's `Connection` named.
    pub(super) fn add_headers<B>(&self, request: &mut Request<B>) {
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, self.protocol.header());
        if let Some(challenge) = &self.challenge {
            headers.insert(SEC_WEBSOCKET_KEY, challenge.key.clone());
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
    }

    /// Checks the headers of a 101: that the app leaves HTTP for what was asked for and,
    /// if that is a WebSocket, has read the handshake (RFC 9110 §7.8, RFC 6455 §4.1).
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn check_response(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if !normalize::wants_upgrade(headers) {
            return Err("connection_header_invalid");
        }
        if !single_value(headers, &UPGRADE).is_some_and(|one| self.protocol.matches(one)) {
            return Err("upgrade_header_mismatch");
        }
        let accept = single_value(headers, &SEC_WEBSOCKET_ACCEPT);
        if let Some(challenge) = &self.challenge
            && accept != Some(challenge.accept.as_str())
        {
            return Err("websocket_accept_invalid");
        }
        Ok(())
    }

    /// Connects both ends, once both have switched, until one ends or `patience` does,
    /// or the process stops. `held` is kept until then.
    pub(super) fn connect<T>(
        self,
        answer: &mut Response<Body>,
        drain: &Drain,
        patience: Patience,
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
                    () = relay_both_ways(client, app, patience) => {}
                    () = stop.cancelled() => {}
                },
                Err(error) => tracing::debug!(
                    name: "tunnel_setup_failed",
                    error = error_chain(&error),
                    "tunnel setup failed"
                ),
            }
        });
    }
}

/// The value of a header that is there once.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

async fn relay_both_ways(client: Upgraded, app: Upgraded, patience: Patience) {
    let activity = ActivityTracker::new();
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_app, to_app) = tokio::io::split(TokioIo::new(app));
    tokio::select! {
        ended = async {
            tokio::try_join!(
                copy_one_way(from_client, to_app, &activity, patience.stall),
                copy_one_way(from_app, to_client, &activity, patience.stall),
            )
        } => {
            if let Err(error) = ended {
                tracing::debug!(
                    name: "tunnel_aborted",
                    error = error_chain(&error),
                    "tunnel aborted"
                );
            }
        }
        () = activity.idle_for(|_| patience.idle) => tracing::debug!(name: "tunnel_idle_timeout", "tunnel idle timeout"),
    }
}

/// One direction, to its end. An end that takes nothing for `stall` breaks it,
/// whatever moves the other way.
async fn copy_one_way<R, W>(
    mut from: R,
    mut to: W,
    activity: &ActivityTracker,
    stall: Duration,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        activity.record();
        if read == 0 {
            return to.shutdown().await;
        }
        let mut left = &buffer[..read];
        while !left.is_empty() {
            let written = timeout(stall, to.write(left)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            left = &left[written..];
            activity.record();
        }
        timeout(stall, to.flush()).await??;
    }
}

const BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_takes_nothing_breaks_its_direction() {
        let (mut app, from_app) = tokio::io::duplex(1024);
        // The client's end: 10 bytes of what it is sent, and no more.
        let (to_client, mut client) = tokio::io::duplex(10);
        let (activity, stall) = (ActivityTracker::new(), Duration::from_secs(75));
        app.write_all(&[b'x'; 100]).await.unwrap();
        let start = Instant::now();
        let slow = async {
            // A client that takes some now and then is not cut.
            for _ in 0..5 {
                sleep(Duration::from_secs(60)).await;
                client.read_exact(&mut [0; 10]).await.unwrap();
            }
        };
        let (ended, ()) = tokio::join!(copy_one_way(from_app, to_client, &activity, stall), slow);
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 5 * 60 + 75);
    }
}
