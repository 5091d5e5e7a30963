//! Request bodies for PHP, kept until they are whole: short ones in memory, others
//! in a file without a name.
//!
//! PHP hands a script what came of a body that broke off, as if that were all. And
//! a client that sends slowly would occupy one of php-fpm's few processes.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Body as _, Frame};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use parking_lot::Mutex;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::{Asker, Error};
use crate::body::{self, Body};
use crate::client::ClientKey;

/// The bodies of one app's requests.
#[derive(Debug)]
pub(super) struct Spool {
    most: u64,
    used: Arc<Mutex<Used>>,
}

/// Bytes on disk.
#[derive(Debug, Default)]
struct Used {
    all: u64,
    /// Of clients that have limits.
    of: HashMap<ClientKey, u64>,
}

impl Spool {
    pub(super) fn new(most: u64) -> Self {
        Self {
            most,
            used: Arc::default(),
        }
    }

    fn room(&self, asker: Option<&Asker>) -> Room {
        Room {
            used: Arc::clone(&self.used),
            most: self.most,
            key: asker.and_then(|asker| asker.key),
            taken: 0,
        }
    }

    /// The request with a body that is all there, and with its length.
    ///
    /// # Errors
    /// The body breaks off, is too long or too slow, or there is no room for it.
    pub(super) async fn gather(&self, request: Request<Body>) -> Result<Request<Body>, Error> {
        let (mut parts, mut body) = request.into_parts();
        if body.is_end_stream() {
            parts.headers.remove(CONTENT_LENGTH);
            return Ok(Request::from_parts(parts, body::empty()));
        }
        let mut first = BytesMut::new();
        while first.len() <= IN_MEMORY {
            match next(&mut body).await? {
                Some(data) => first.extend_from_slice(&data),
                None => {
                    parts.headers.insert(CONTENT_LENGTH, first.len().into());
                    return Ok(Request::from_parts(parts, body::full(first)));
                }
            }
        }
        let room = self.room(parts.extensions.get());
        let file = write(first.freeze(), body, room).await?;
        parts
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(file.length));
        Ok(Request::from_parts(parts, file.into_body()))
    }
}

async fn write(first: Bytes, mut body: Body, room: Room) -> Result<Kept, Error> {
    let file = tokio::task::spawn_blocking(tempfile::tempfile).await;
    let file = file.map_err(io::Error::other).and_then(|file| file);
    let mut kept = Kept {
        file: File::from_std(file.map_err(Error::Spool)?),
        length: 0,
        room,
    };
    let mut data = first;
    loop {
        kept.put(&data).await.map_err(Error::Spool)?;
        match next(&mut body).await? {
            Some(more) => data = more,
            None => break,
        }
    }
    kept.rewind().await.map_err(Error::Spool)?;
    Ok(kept)
}

/// The next bytes; trailers mean nothing to PHP.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Error::in_the_body)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A body on disk.
#[derive(Debug)]
struct Kept {
    file: File,
    length: u64,
    room: Room,
}

/// A share of what may be on disk; given back when dropped.
#[derive(Debug)]
struct Room {
    used: Arc<Mutex<Used>>,
    most: u64,
    key: Option<ClientKey>,
    taken: u64,
}

impl Room {
    /// `more` bytes, unless there would be too many of all or of this client.
    fn take(&mut self, more: u64) -> io::Result<()> {
        let mut used = self.used.lock();
        let all = used.all + more;
        let own = self.key.map_or(0, |key| {
            let own = used.of.get(&key).copied();
            own.unwrap_or(0) + more
        });
        let whose = match (all > self.most, own > self.most / CLIENTS) {
            (true, _) => "all",
            (_, true) => "one client's",
            (false, false) => {
                used.all = all;
                if let Some(key) = self.key {
                    used.of.insert(key, own);
                }
                self.taken += more;
                return Ok(());
            }
        };
        Err(io::Error::other(format!(
            "{whose} bodies that wait are more than it allows"
        )))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut used = self.used.lock();
        used.all -= self.taken;
        if let Some(key) = self.key
            && let Some(own) = used.of.get_mut(&key)
        {
            *own -= self.taken;
            if *own == 0 {
                used.of.remove(&key);
            }
        }
    }
}

impl Kept {
    async fn put(&mut self, data: &[u8]) -> io::Result<()> {
        let more = data.len() as u64;
        self.room.take(more)?;
        self.length += more;
        self.file.write_all(data).await
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.seek(SeekFrom::Start(0)).await.map(drop)
    }

    fn into_body(self) -> Body {
        let Self { file, room, .. } = self;
        let frames = ReaderStream::with_capacity(file, AT_ONCE).map_ok(move |data| {
            let _kept = &room;
            Frame::data(data)
        });
        body::boxed(StreamBody::new(frames))
    }
}

/// How many clients could fill the disk together: nobody alone keeps the others from
/// sending.
const CLIENTS: u64 = 4;
/// Longer bodies go to disk: of many requests at once, none is held in memory.
const IN_MEMORY: usize = 64 * 1024;
/// What is read from disk at once.
const AT_ONCE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientIp;

    #[test]
    fn one_client_has_a_quarter_and_those_without_limits_no_more_than_there_is() {
        let spool = Spool::new(400);
        let of = |last: u8| {
            let key = ClientIp::new([192, 0, 2, last].into()).key(64);
            spool.room(Some(&Asker {
                port: None,
                key: Some(key),
            }))
        };
        let (mut first, mut again, mut other) = (of(1), of(1), of(2));
        first.take(60).unwrap();
        again.take(40).unwrap();
        let told = again.take(1).unwrap_err().to_string();
        assert!(told.contains("one client's"), "{told}");
        other.take(100).unwrap();
        drop(first);
        again.take(60).unwrap();
        let mut unlimited = spool.room(None);
        unlimited.take(200).unwrap();
        let told = unlimited.take(1).unwrap_err().to_string();
        assert!(told.contains("all bodies"), "{told}");
        drop((again, other, unlimited));
        let used = spool.used.lock();
        assert_eq!((used.all, used.of.len()), (0, 0));
    }
}
