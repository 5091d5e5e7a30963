//! The publisher: sends events over HTTP/1.1 on a kept connection, to the edge's Unix socket
//! or to a port of nchan.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

/// The address to which events go.
#[derive(Clone, Debug)]
pub(crate) enum Entrance {
    /// The edge's socket: `/run/pwd-edge/broadcast.sock`.
    Socket(PathBuf),
    /// nchan's port: `127.0.0.1:18081`.
    Port(String),
}

impl FromStr for Entrance {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text.starts_with('/') {
            Self::Socket(text.into())
        } else {
            Self::Port(text.into())
        })
    }
}

pub(crate) struct Publisher {
    sender: http1::SendRequest<Full<Bytes>>,
    entrance: Entrance,
    /// The task of the connection, which ends with the publisher.
    _connection: JoinSet<hyper::Result<()>>,
}

impl Publisher {
    pub(crate) async fn open(entrance: &Entrance) -> anyhow::Result<Self> {
        match entrance {
            Entrance::Socket(path) => {
                let stream = UnixStream::connect(Path::new(path)).await;
                Self::over(stream.context("the broadcast socket")?, entrance).await
            }
            Entrance::Port(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Self::over(stream, entrance).await
            }
        }
    }

    async fn over<S>(stream: S, entrance: &Entrance) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        Ok(Self {
            sender,
            entrance: entrance.clone(),
            _connection: connections,
        })
    }

    /// Publishes to `room` an event whose payload ends with `rest`, and waits for the
    /// response.
    pub(crate) async fn publish(&mut self, room: u32, rest: &str) -> anyhow::Result<()> {
        let path = match &self.entrance {
            Entrance::Socket(_) => "/broadcast".to_owned(),
            Entrance::Port(_) => format!("/pub/{room}"),
        };
        let event = format!(r#"{{"type":"new_message","payload":{{"ticket_id":{room},{rest}}}}}"#);
        let request = Request::post(path)
            .header("host", "edge")
            .body(Full::from(event))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let said = answer.into_body().collect().await?.to_bytes();
        if status.is_success() {
            Ok(())
        } else {
            bail!("{status}: {}", String::from_utf8_lossy(&said))
        }
    }
}
