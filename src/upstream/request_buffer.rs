//! Request buffering for PHP: reads a request body completely before php-fpm gets the request.
//! Short bodies stay in memory, longer ones go to an unlinked temporary file.
//!
//! If a body ends early, PHP passes the part that it has to the script, as if it were
//! complete. And a slow upload would occupy one of php-fpm's few processes.

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

use super::byte_quota::{Ledger, NoRoom, Purpose, Reservation};
use super::{Error, RequestInfo};
use crate::core::body::{self, Body};
use crate::core::error_chain::error_chain;

/// The buffer for the request bodies of one app, with its disk budget.
#[derive(Debug)]
pub(super) struct RequestBuffer(Ledger);

impl RequestBuffer {
    /// Creates a buffer whose bodies reserve their bytes from `disk`.
    pub(super) fn new(disk: Ledger) -> Self {
        Self(disk)
    }

    /// Reads the whole body and returns the request with it and its `Content-Length`.
    /// Trailers are dropped, since PHP does not get them.
    ///
    /// Dropping the future discards the body.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the body ends early, [`Error::TooLarge`] or
    /// [`Error::TooSlow`] if it is over a limit, and [`Error::Spool`] if the disk budget is
    /// exhausted or the disk fails.
    pub(super) async fn gather(&self, request: Request<Body>) -> Result<Request<Body>, Error> {
        let (mut parts, mut body) = request.into_parts();
        if body.is_end_stream() {
            parts.headers.remove(CONTENT_LENGTH);
            return Ok(Request::from_parts(parts, body::empty()));
        }
        let mut start = BytesMut::new();
        while start.len() <= MAX_MEMORY_BYTES {
            match next_data(&mut body).await? {
                Some(data) => start.extend_from_slice(&data),
                None => {
                    parts.headers.insert(CONTENT_LENGTH, start.len().into());
                    return Ok(Request::from_parts(parts, body::full(start)));
                }
            }
        }
        let request_info: Option<&RequestInfo> = parts.extensions.get();
        let key = request_info.and_then(|request_info| request_info.key);
        let reservation = self.0.reservation(Purpose::Requests, key);
        let file = write(start.freeze(), body, reservation)
            .await
            .inspect_err(|error| self.report(error))?;
        parts
            .headers
            .insert(CONTENT_LENGTH, HeaderValue::from(file.length));
        Ok(Request::from_parts(parts, file.into_body()))
    }

    /// Records a failure for `status`, unless it is the share of one client that is full.
    fn report(&self, error: &Error) {
        let Error::Spool(source) = error else { return };
        let no_room = source.get_ref().and_then(|cause| cause.downcast_ref());
        if no_room != Some(&NoRoom::Client) {
            self.0.record_failure(error_chain(error));
        }
    }
}

/// Writes `start` and then the rest of `body` to a temporary file.
async fn write(start: Bytes, mut body: Body, reservation: Reservation) -> Result<DiskBody, Error> {
    let file = tokio::task::spawn_blocking(tempfile::tempfile)
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(Error::Spool)?;
    let mut on_disk = DiskBody {
        file: File::from_std(file),
        length: 0,
        reservation,
    };
    let mut data = start;
    loop {
        on_disk.append(&data).await.map_err(Error::Spool)?;
        match next_data(&mut body).await? {
            Some(more) => data = more,
            None => break,
        }
    }
    on_disk.rewind().await.map_err(Error::Spool)?;
    Ok(on_disk)
}

/// Returns the next bytes, or `None` at the end. Skips trailers.
async fn next_data(body: &mut Body) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Error::from_client_body)?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A body in a temporary file, with the disk space that it has reserved.
#[derive(Debug)]
struct DiskBody {
    file: File,
    length: u64,
    reservation: Reservation,
}

impl DiskBody {
    async fn append(&mut self, data: &[u8]) -> io::Result<()> {
        let more = data.len() as u64;
        self.reservation.grow(more).map_err(io::Error::other)?;
        self.length += more;
        self.file.write_all(data).await
    }

    async fn rewind(&mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.seek(SeekFrom::Start(0)).await.map(drop)
    }

    fn into_body(self) -> Body {
        let Self {
            file, reservation, ..
        } = self;
        let frames = ReaderStream::with_capacity(file, READ_CHUNK_BYTES).map_ok(move |data| {
            // The closure owns the reservation, so that it lives as long as the file.
            let _owned = &reservation;
            Frame::data(data)
        });
        body::boxed(StreamBody::new(frames))
    }
}

/// Longer bodies go to disk, so that many uploads at once do not fill the memory.
const MAX_MEMORY_BYTES: usize = 64 * 1024;
/// The number of bytes that one read from disk asks for.
const READ_CHUNK_BYTES: usize = 64 * 1024;
