//! hyper's builders, set as `[http]` says.

use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use crate::http::Settings;
use crate::http::head_timer::HeadTimer;
use crate::http::keep_alive::ConnActivity;
use crate::http::pipeline::normalize::MAX_HEADERS;
use crate::http::stream_tasks::Streams;

/// Returns a builder for HTTP/1.1 over the stream of `activity`.
pub(super) fn http1(settings: &Settings, activity: &Arc<ConnActivity>) -> http1::Builder {
    let limit = settings.header_timeout.get();
    let head = HEAD_SIZE_FACTOR * settings.max_header_size.get();
    let mut builder = http1::Builder::new();
    builder
        .timer(HeadTimer::new(limit, Arc::clone(activity)))
        .header_read_timeout(limit)
        .max_headers(MAX_HEADERS)
        .max_header_size(head)
        .max_buf_size(head.max(MAX_BUFFER_BYTES));
    builder
}

/// Returns a builder for HTTP/2 that runs requests as tasks of `streams`.
pub(super) fn http2(settings: &Settings, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    let head = HEAD_SIZE_FACTOR * settings.max_header_size.get();
    let head = u32::try_from(head).unwrap_or(u32::MAX);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_concurrent_streams.get())
        .max_header_list_size(head)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES);
    builder
}

/// The limit of hyper and h2 for the size of a head, in `http.max_header_size`. Heads between
/// the two limits get a response of the pipeline, with a page and a log line.
const HEAD_SIZE_FACTOR: usize = 2;
/// Bytes of a response that hyper buffers over HTTP/1.1 before it waits for the client.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes of a response that h2 buffers per stream while the client does not read.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
