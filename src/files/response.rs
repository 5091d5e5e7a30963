//! File responses: 200, 206, 304, 412 and 416, with their headers and body.

use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode, Uri};

use super::body::FileBody;
use super::lookup::FoundFile;
use super::media_type;
use super::preconditions::{PreconditionResult, Validators};
use super::range::ByteRange;
use crate::core::body::{self, Body};
use crate::core::content_coding;
use crate::limit::Permit;

/// Returns the response with `found`, or the one that the preconditions and the range of
/// `request` demand.
pub(super) fn file_response<B>(
    request: &Request<B>,
    found: FoundFile,
    permit: Permit,
) -> Response<Body> {
    let validators = found.validators();
    let mut headers = found.cache_headers(&validators);
    match validators.evaluate(request.headers()) {
        PreconditionResult::Failed => {
            empty_response(StatusCode::PRECONDITION_FAILED, HeaderMap::new())
        }
        PreconditionResult::NotModified { weak } => {
            if weak && let Ok(tag) = HeaderValue::try_from(format!("W/{}", validators.tag)) {
                headers.insert(ETAG, tag);
            }
            empty_response(StatusCode::NOT_MODIFIED, headers)
        }
        PreconditionResult::Send => {
            // Ranges are defined for GET only (RFC 9110 §14.2).
            let range = request
                .headers()
                .get(RANGE)
                .filter(|_| request.method() == Method::GET)
                .filter(|_| validators.matches_if_range(request.headers()))
                .and_then(|range| range.to_str().ok())
                .map_or(ByteRange::Whole, |range| {
                    ByteRange::parse(range, found.file.size)
                });
            send_file(request.method(), found, range, headers, permit)
        }
    }
}

/// Returns the response with `range` of the file.
fn send_file(
    method: &Method,
    found: FoundFile,
    range: ByteRange,
    mut headers: HeaderMap,
    permit: Permit,
) -> Response<Body> {
    let size = found.file.size;
    let (status, first, length) = match range {
        ByteRange::Whole => {
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            (StatusCode::OK, 0, size)
        }
        ByteRange::Of(first, last) => {
            let range = HeaderValue::try_from(format!("bytes {first}-{last}/{size}"));
            headers.insert(CONTENT_RANGE, range.expect("numbers are visible ASCII"));
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        ByteRange::OutOfReach => {
            let range = HeaderValue::try_from(format!("bytes */{size}"))
                .expect("numbers are visible ASCII");
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, range)]);
            return empty_response(StatusCode::RANGE_NOT_SATISFIABLE, headers);
        }
    };
    found.add_content_headers(&mut headers);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let body = if method == Method::HEAD || length == 0 {
        body::empty()
    } else {
        Body::new(FileBody::new(found.file.descriptor, permit, first, length))
    };
    response_with(status, headers, body)
}

impl FoundFile {
    fn validators(&self) -> Validators {
        let (modified, size) = (self.file.modified, self.file.size);
        let suffix = self
            .coding
            .map(|coding| format!("-{}", coding.name()))
            .unwrap_or_default();
        Validators {
            tag: format!("\"{modified:x}-{size:x}{suffix}\""),
            modified,
        }
    }

    /// Returns the headers that a 304 response has as well (RFC 9110 §15.4.5).
    fn cache_headers(&self, validators: &Validators) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(modified) = validators.last_modified() {
            headers.insert(LAST_MODIFIED, modified);
        }
        if let Ok(tag) = HeaderValue::try_from(&validators.tag) {
            headers.insert(ETAG, tag);
        }
        let cache_control = media_type::cache_control(&self.path, &self.media_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
        // Another client may get a compressed variant.
        if content_coding::is_compressible(&self.media_type) {
            content_coding::add_vary(&mut headers);
        }
        headers
    }

    /// Adds the headers that describe the content.
    fn add_content_headers(&self, headers: &mut HeaderMap) {
        if let Ok(kind) = HeaderValue::try_from(&self.media_type) {
            headers.insert(CONTENT_TYPE, kind);
        }
        if let Some(coding) = self.coding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    }
}

/// Returns a redirect to `uri` with a trailing slash, since relative links in the index page
/// start from there. `uri` names something below the root, so its path does not begin with
/// two slashes, which would redirect to another site.
pub(super) fn redirect_to_directory(uri: &Uri) -> Response<Body> {
    let query = uri.query().map(|query| format!("?{query}"));
    let location = format!("{}/{}", uri.path(), query.unwrap_or_default());
    let location = HeaderValue::try_from(location).map(|value| (LOCATION, value));
    let headers = HeaderMap::from_iter(location.ok());
    empty_response(StatusCode::MOVED_PERMANENTLY, headers)
}

fn empty_response(status: StatusCode, headers: HeaderMap) -> Response<Body> {
    response_with(status, headers, body::empty())
}

fn response_with(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
