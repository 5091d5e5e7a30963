//! Requests of the generator, parsed only as far as needed.

use tokio::io::{self, AsyncRead, AsyncReadExt};

/// A stream of requests, and the bytes read beyond the last one.
pub(super) struct Requests<S> {
    pub(super) stream: S,
    input: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) path: String,
    /// The length of the body, which follows.
    pub(super) length: usize,
    pub(super) websocket_key: Option<String>,
}

impl<S: AsyncRead + Unpin> Requests<S> {
    pub(super) fn of(stream: S) -> Self {
        let input = Vec::with_capacity(1024);
        Self { stream, input }
    }

    /// Returns the next request; `None` once the client has disconnected.
    pub(super) async fn next(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                let request = parse(&self.input[..end]);
                self.input.drain(..end + 4);
                return match request {
                    Some(request) => Ok(Some(request)),
                    None => Err(io::ErrorKind::InvalidData.into()),
                };
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(super) async fn body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.input.len() < length {
            self.more().await?;
        }
        let rest = self.input.split_off(length);
        Ok(std::mem::replace(&mut self.input, rest))
    }

    /// Reads a body and discards it.
    pub(super) async fn swallow(&mut self, mut length: usize) -> io::Result<()> {
        while self.input.len() < length {
            length -= self.input.len();
            self.input.clear();
            self.input.reserve(16 * 1024);
            self.more().await?;
        }
        self.input.drain(..length);
        Ok(())
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn parse(head: &[u8]) -> Option<Request> {
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let (mut length, mut websocket_key) = (0, None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        } else if name.eq_ignore_ascii_case("sec-websocket-key") {
            websocket_key = Some(value.to_owned());
        }
    }
    Some(Request {
        path,
        length,
        websocket_key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_follow_each_other() {
        let sent = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /b HTTP/1.1\r\n\r\n";
        let mut requests = Requests::of(&sent[..]);
        let first = requests.next().await.unwrap().unwrap();
        assert_eq!((first.path.as_str(), first.length), ("/a", 2));
        assert_eq!(requests.body(2).await.unwrap(), b"xy");
        assert_eq!(requests.next().await.unwrap().unwrap().path, "/b");
        assert_eq!(requests.next().await.unwrap(), None);
    }
}
