//! Request bodies for PHP, kept until they are whole: short ones in memory, others
//! in a file without a name.
//!
//! PHP hands a script what came of a body that broke off, as if that were all. And
//! a client that sends slowly would occupy one of php-fpm's few processes.

use std::io::{self, SeekFrom};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Body as _, Frame};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::ledger::{DiskReservation, Ledger, Purpose};
use super::{Error, RequestInfo};
use crate::core::body::{self, Body};

/// The bodies of one app's requests.
#[derive(Debug)]
pub(super) struct RequestBuffer(Ledger);

impl RequestBuffer {
    pub(super) fn new(disk: Ledger) -> Self {
        Self(disk)
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
        while first.len() <= MAX_MEMORY_BYTES {
            match next(&mut body).await? {
                Some(data) => first.extend_from_slice(&data),
                None => {
                    parts.headers.insert(CONTENT_LENGTH, first.len().into());
                    return Ok(Request::from_parts(parts, body::full(first)));
                }
            }
        }
        let request_info: Option<&RequestInfo> = parts.extensions.get();
        let key = request_info.and_then(|request_info| request_info.key);
        let room = self.0.room(Purpose::Requests, key);
        let file = write(first.freeze(), body, room).await?;
        parts
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(file.length));
        Ok(Request::from_parts(parts, file.into_body()))
    }
}

async fn write(first: Bytes, mut body: Body, room: DiskReservation) -> Result<DiskBody, Error> {
    let file = tokio::task::spawn_blocking(tempfile::tempfile).await;
    let file = file.map_err(io::Error::other).and_then(|file| file);
    let mut kept = DiskBody {
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
        if let Ok(data) = frame.map_err(Error::from_client_body)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A body on disk.
#[derive(Debug)]
struct DiskBody {
    file: File,
    length: u64,
    room: DiskReservation,
}

impl DiskBody {
    async fn put(&mut self, data: &[u8]) -> io::Result<()> {
        let more = data.len() as u64;
        self.room.take(more).map_err(io::Error::other)?;
        self.length += more;
        self.file.write_all(data).await
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.seek(SeekFrom::Start(0)).await.map(drop)
    }

    fn into_body(self) -> Body {
        let Self { file, room, .. } = self;
        let frames = ReaderStream::with_capacity(file, READ_CHUNK_BYTES).map_ok(move |data| {
            let _kept = &room;
            Frame::data(data)
        });
        body::boxed(StreamBody::new(frames))
    }
}

/// Longer bodies go to disk: of many requests at once, none is held in memory.
const MAX_MEMORY_BYTES: usize = 64 * 1024;
/// What is read from disk at once.
const READ_CHUNK_BYTES: usize = 64 * 1024;
