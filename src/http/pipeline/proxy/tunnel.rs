//! Tunnels for upgrades that an application behind the edge accepts itself, such as the
//! WebSockets of Vite or Reverb. The edge checks the handshake of both sides, then relays
//! bytes unread until one side closes or a timeout ends the tunnel.

use std::io;
use std::time::Duration;

use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::core::body::Body;
use crate::core::error_chain::error_chain;
use crate::core::header_values::{list_elements, single_text, wants_upgrade};
use crate::http::UpgradeProtocol;
use crate::runtime::activity::ActivityTracker;
use crate::runtime::drain::Drain;
use crate::ws::{Challenge, HandshakeRejection};

/// The timeouts of a tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) struct TunnelTimeouts {
    /// The time without bytes in both directions after which the tunnel is closed.
    pub(super) idle: Duration,
    /// The time for which one side may leave bytes unread.
    pub(super) stall: Duration,
}

/// An upgrade to a protocol that the route tunnels.
#[derive(Debug)]
pub(super) struct UpgradeRequest {
    protocol: UpgradeProtocol,
    /// The challenge of a WebSocket handshake; `None` for other protocols.
    challenge: Option<Challenge>,
    client: OnUpgrade,
}

impl UpgradeRequest {
    /// Returns the upgrade that `request` offers, if it is one of `protocols`. Any other
    /// upgrade is ignored, as RFC 9110 §7.8 allows: another protocol, another version than
    /// HTTP/1.1, or a request with a body, whose bytes could be mistaken for tunnel bytes.
    ///
    /// # Errors
    /// Returns the [`HandshakeRejection`] of a WebSocket upgrade that is not a valid
    /// opening handshake.
    pub(super) fn parse<B: hyper::body::Body>(
        request: &mut Request<B>,
        protocols: &[UpgradeProtocol],
    ) -> Result<Option<Self>, HandshakeRejection> {
        let headers = request.headers();
        if protocols.is_empty() || request.version() != Version::HTTP_11 || !wants_upgrade(headers)
        {
            return Ok(None);
        }
        let offered = list_elements(headers, &UPGRADE)
            .find_map(|offer| protocols.iter().find(|protocol| protocol.matches(offer)));
        let Some(protocol) = offered else {
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

    /// Adds the headers of the upgrade to the upstream request. Its hop-by-hop headers
    /// have been removed, so only this one protocol is offered.
    pub(super) fn add_headers<B>(&self, request: &mut Request<B>) {
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, self.protocol.header());
        if let Some(challenge) = &self.challenge {
            headers.insert(SEC_WEBSOCKET_KEY, challenge.key.clone());
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
    }

    /// Checks the headers of a 101 response: they must name the offered protocol and, for
    /// WebSocket, the right `Sec-WebSocket-Accept` (RFC 9110 §7.8, RFC 6455 §4.1).
    ///
    /// # Errors
    /// Returns the reason why the response does not complete the upgrade.
    pub(super) fn check_response(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if !wants_upgrade(headers) {
            return Err("connection_header_invalid");
        }
        if !single_text(headers, &UPGRADE).is_some_and(|one| self.protocol.matches(one)) {
            return Err("upgrade_header_mismatch");
        }
        let accept = single_text(headers, &SEC_WEBSOCKET_ACCEPT);
        if let Some(challenge) = &self.challenge
            && accept != Some(challenge.accept.as_str())
        {
            return Err("websocket_accept_invalid");
        }
        Ok(())
    }

    /// Spawns the task that relays bytes once both sides have switched. It ends when one
    /// side closes, a timeout is over, or the process stops, and drops `permits` then.
    pub(super) fn connect<T>(
        self,
        response: &mut Response<Body>,
        drain: &Drain,
        timeouts: TunnelTimeouts,
        permits: T,
    ) where
        T: Send + 'static,
    {
        let app = hyper::upgrade::on(response);
        let stop = drain.token().clone();
        drain.spawn(async move {
            let _permits = permits;
            match tokio::try_join!(self.client, app) {
                Ok((client, app)) => tokio::select! {
                    () = relay_both_ways(client, app, timeouts) => {}
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

async fn relay_both_ways(client: Upgraded, app: Upgraded, timeouts: TunnelTimeouts) {
    let activity = ActivityTracker::new();
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_app, to_app) = tokio::io::split(TokioIo::new(app));
    tokio::select! {
        ended = async {
            tokio::try_join!(
                copy_one_way(from_client, to_app, &activity, timeouts.stall),
                copy_one_way(from_app, to_client, &activity, timeouts.stall),
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
        () = activity.idle_for(|_| timeouts.idle) => tracing::debug!(name: "tunnel_idle_timeout", "tunnel idle timeout"),
    }
}

/// Copies one direction to its end. Fails with a timeout if `to` accepts no bytes for
/// `stall`, whatever moves in the other direction.
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
    async fn tunnel_direction_with_a_stalled_receiver_times_out() {
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
