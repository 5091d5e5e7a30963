//! The stage that compresses responses with text.
//!
//! If a response contains a secret next to text that an attacker chooses, its compressed
//! length reveals the secret (BREACH). So responses on paths with secrets are never
//! compressed, nor are cross-site requests, with which the attack is carried out.

use std::sync::Arc;

use async_compression::Level;
use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyDataStream, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use tokio::io::{AsyncRead, BufReader};
use tokio_util::io::{ReaderStream, StreamReader};

use super::request_context::RequestContext;
use crate::core::body::{self, Body};
use crate::core::content_coding::{self, ContentCoding};
use crate::core::header_values::has_element;
use crate::core::request_path::{NormalizedPath, UrlPath};
use crate::core::units::{ByteSize, PositiveCount};
use crate::limit::{ConcurrencyLimit, Limits, Permit};

/// The settings of `[compression]` in `config.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Whether responses are compressed.
    pub(crate) enabled: bool,
    /// The minimum size of a response that is compressed.
    pub(crate) min_size: ByteSize,
    /// Paths, with everything below, whose responses contain secrets.
    pub(crate) exclude_paths: Vec<UrlPath>,
}

impl Default for Settings {
    fn default() -> Self {
        let secrets = ["/api/login", "/api/register", "/login", "/register"];
        Self {
            enabled: true,
            min_size: ByteSize::kib(1),
            exclude_paths: secrets.map(UrlPath::new).to_vec(),
        }
    }
}

/// Compresses the responses of one configuration generation.
#[derive(Debug)]
pub(super) struct Compression {
    settings: Settings,
    limits: Arc<Limits>,
    /// The limit of encoders in use; each holds up to a few MiB.
    encoders: ConcurrencyLimit,
}

/// The encoding that a request allows for its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptedEncoding {
    /// The response must not be compressed for any client.
    Never,
    /// The response may be compressed, but this client accepts no supported coding.
    Identity,
    /// The response may be compressed with this coding.
    Coded(ContentCoding),
}

impl Compression {
    /// Creates the stage of `settings`. `limits` has the keys of clients.
    pub(super) fn new(settings: Settings, limits: Arc<Limits>) -> Self {
        Self {
            settings,
            limits,
            encoders: ConcurrencyLimit::new(MAX_ENCODERS),
        }
    }

    /// Returns the encoding for the response to `request`.
    pub(super) fn accepted_encoding<B>(&self, request: &Request<B>) -> AcceptedEncoding {
        let headers = request.headers();
        let is_cross_site = headers
            .get(SEC_FETCH_SITE)
            .is_some_and(|site| site == "cross-site");
        if !self.settings.enabled || is_cross_site {
            return AcceptedEncoding::Never;
        }
        let Ok(path) = NormalizedPath::parse(request.uri().path()) else {
            return AcceptedEncoding::Never;
        };
        let is_excluded = |root: &UrlPath| path.readings().any(|reading| root.is_above(reading));
        if self.settings.exclude_paths.iter().any(is_excluded) {
            AcceptedEncoding::Never
        } else {
            best_coding(headers).map_or(AcceptedEncoding::Identity, AcceptedEncoding::Coded)
        }
    }

    /// Returns `response`, compressed if that makes sense. If too many encoders are in use,
    /// in all or by this client, the response stays as it is.
    ///
    /// The response to `HEAD` has no body and gets the headers of that to `GET` (RFC 9110
    /// §9.3.2).
    pub(super) fn apply(
        &self,
        accepted: AcceptedEncoding,
        context: &RequestContext<'_>,
        response: Response<Body>,
    ) -> Response<Body> {
        let length = if context.is_head {
            declared_length(response.headers())
        } else {
            response.body().size_hint().upper()
        };
        if accepted == AcceptedEncoding::Never || !self.should_compress(&response, length) {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        content_coding::add_vary(&mut parts.headers);
        let AcceptedEncoding::Coded(coding) = accepted else {
            return Response::from_parts(parts, body);
        };
        if context.is_head {
            mark_encoded(&mut parts.headers, coding);
            return Response::from_parts(parts, body);
        }
        let client = self.limits.share_key(context.client());
        let Some(permit) = self.encoders.try_permit(client.into(), ENCODERS_PER_CLIENT) else {
            return Response::from_parts(parts, body);
        };
        mark_encoded(&mut parts.headers, coding);
        Response::from_parts(parts, encode(coding, body, permit))
    }

    /// Returns whether a body of at most `length` bytes with the headers of `response` gets
    /// compressed. An unknown length may be long.
    fn should_compress(&self, response: &Response<Body>, length: Option<u64>) -> bool {
        let headers = response.headers();
        let uncompressed_statuses = [
            StatusCode::SWITCHING_PROTOCOLS,
            StatusCode::NO_CONTENT,
            StatusCode::NOT_MODIFIED,
            StatusCode::PARTIAL_CONTENT,
        ];
        !uncompressed_statuses.contains(&response.status())
            && length.is_none_or(|bytes| bytes >= self.settings.min_size.get() as u64)
            && has_compressible_type(headers)
            && !headers.contains_key(CONTENT_ENCODING)
            && !headers.contains_key(CONTENT_RANGE)
            && !DIGEST_HEADERS.iter().any(|sum| headers.contains_key(sum))
            // RFC 9110 §7.7: a proxy must not transform such content.
            && !has_element(headers, &CACHE_CONTROL, "no-transform")
    }
}

/// Returns the length in `Content-Length`.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Changes the headers to those of content in `coding`.
fn mark_encoded(headers: &mut HeaderMap, coding: ContentCoding) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    weaken_etag(headers);
}

/// Makes a strong `ETag` weak, since the compressed bytes differ and only the meaning is
/// the same (RFC 9110 §8.8.1).
fn weaken_etag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).map(HeaderValue::as_bytes) else {
        return;
    };
    if tag.starts_with(b"\"")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag].concat())
    {
        headers.insert(ETAG, weak);
    }
}

/// Returns whether the media type of the response is compressible.
fn has_compressible_type(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|media_type| media_type.to_str().ok())
        .is_some_and(content_coding::is_compressible)
}

/// Returns the coding that the client weights highest (RFC 9110 §12.5.3). Among equals the
/// one with the best ratio of size to CPU time wins.
fn best_coding(headers: &HeaderMap) -> Option<ContentCoding> {
    let rank = |coding| match coding {
        ContentCoding::Zstd => 2,
        ContentCoding::Brotli => 1,
        ContentCoding::Gzip => 0,
    };
    let offers = ContentCoding::parse_accept_encoding(headers).into_iter();
    let best = offers.max_by_key(|(weight, coding)| (*weight, rank(*coding)));
    best.map(|(_, coding)| coding)
}

/// Encodes `body`. While the encoder waits for more input it flushes, so that a streamed
/// response is not delayed.
fn encode(coding: ContentCoding, body: Body, permit: Permit) -> Body {
    let data = BodyDataStream::new(body).map_err(std::io::Error::other);
    let plain = BufReader::new(StreamReader::new(data));
    match coding {
        ContentCoding::Zstd => {
            stream_body(ZstdEncoder::with_quality(plain, Level::Precise(3)), permit)
        }
        ContentCoding::Brotli => stream_body(
            BrotliEncoder::with_quality(plain, Level::Precise(4)),
            permit,
        ),
        ContentCoding::Gzip => {
            stream_body(GzipEncoder::with_quality(plain, Level::Precise(5)), permit)
        }
    }
}

fn stream_body<R>(encoder: R, permit: Permit) -> Body
where
    R: AsyncRead + Send + 'static,
{
    let frames = ReaderStream::with_capacity(encoder, CHUNK_BYTES).map_ok(move |bytes: Bytes| {
        let _held = &permit;
        Frame::data(bytes)
    });
    body::boxed(StreamBody::new(frames))
}

const MAX_ENCODERS: PositiveCount = PositiveCount::new(64);
/// The maximum per client. An office behind one address uses many, each for a moment; a
/// client that does not read its responses cannot take all of them.
const ENCODERS_PER_CLIENT: PositiveCount = PositiveCount::new(16);
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Digests of the bytes as they are sent (RFC 9530); compression would make them wrong.
const DIGEST_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];
const CHUNK_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use hyper::header::ACCEPT_ENCODING;

    use super::*;
    use crate::limit;

    fn accepted(text: &'static str) -> Option<ContentCoding> {
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(text))]);
        best_coding(&headers)
    }

    #[test]
    fn client_quality_values_come_before_server_preference() {
        assert_eq!(
            accepted("gzip, deflate, br, zstd"),
            Some(ContentCoding::Zstd)
        );
        assert_eq!(accepted("gzip;q=1.0, br;q=0.5"), Some(ContentCoding::Gzip));
        assert_eq!(accepted("br;q=0, GZIP;q=0.1"), Some(ContentCoding::Gzip));
        for none in [
            "",
            "identity",
            "gzip;q=0",
            "deflate",
            "*",
            "identity;q=0, *;q=0",
            "br;q=x",
        ] {
            assert_eq!(accepted(none), None, "{none}");
        }
    }

    #[test]
    fn secret_paths_and_cross_site_requests_are_not_compressed() {
        let limits = Limits::new(limit::Settings::default(), Arc::default(), None);
        let compression = Compression::new(Settings::default(), Arc::new(limits));
        let accepted_encoding = |path: &str, site: &str| {
            let request = Request::get(path)
                .header(ACCEPT_ENCODING, "gzip")
                .header("sec-fetch-site", site);
            compression.accepted_encoding(&request.body(()).unwrap())
        };
        assert_eq!(
            accepted_encoding("/", "same-origin"),
            AcceptedEncoding::Coded(ContentCoding::Gzip)
        );
        assert_eq!(
            accepted_encoding("/", "cross-site"),
            AcceptedEncoding::Never
        );
        for secret in [
            "/api/login",
            "/api//login",
            "/index.php/api/login",
            "/a/../api/login/2",
        ] {
            assert_eq!(
                accepted_encoding(secret, "same-origin"),
                AcceptedEncoding::Never,
                "{secret}"
            );
        }
    }

    #[test]
    fn strong_etag_becomes_weak() {
        let mut headers = HeaderMap::new();
        headers.insert(ETAG, HeaderValue::from_static("\"a\""));
        weaken_etag(&mut headers);
        weaken_etag(&mut headers);
        assert_eq!(headers[ETAG], "W/\"a\"");
    }
}
