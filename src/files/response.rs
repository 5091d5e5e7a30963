//! From a file to the answer.

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

/// Answers `request` with `hit`, or with what its conditions come to.
pub(super) fn file_response<B>(
    request: &Request<B>,
    hit: FoundFile,
    place: Permit,
) -> Response<Body> {
    let validators = hit.validators();
    let mut headers = hit.cache_headers(&validators);
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
            let range = request.headers().get(RANGE);
            // Of other methods no part is defined (RFC 9110 §14.2).
            let range = range.filter(|_| request.method() == Method::GET);
            let range = range.filter(|_| validators.matches_if_range(request.headers()));
            let range = range.and_then(|range| range.to_str().ok());
            let part = range.map_or(ByteRange::Whole, |range| {
                ByteRange::parse(range, hit.file.size)
            });
            send_file(request.method(), hit, part, headers, place)
        }
    }
}

fn send_file(
    method: &Method,
    hit: FoundFile,
    part: ByteRange,
    mut headers: HeaderMap,
    place: Permit,
) -> Response<Body> {
    let size = hit.file.size;
    let (status, first, length) = match part {
        ByteRange::Whole => {
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            (StatusCode::OK, 0, size)
        }
        ByteRange::Of(first, last) => {
            let range = HeaderValue::try_from(format!("bytes {first}-{last}/{size}"));
            headers.insert(CONTENT_RANGE, range.expect("visible ASCII"));
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        ByteRange::OutOfReach => {
            let range = HeaderValue::try_from(format!("bytes */{size}")).expect("visible ASCII");
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, range)]);
            return empty_response(StatusCode::RANGE_NOT_SATISFIABLE, headers);
        }
    };
    hit.add_content_headers(&mut headers);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let body = if method == Method::HEAD || length == 0 {
        body::empty()
    } else {
        Body::new(FileBody::new(hit.file.descriptor, place, first, length))
    };
    response_with(status, headers, body)
}

impl FoundFile {
    fn validators(&self) -> Validators {
        let (modified, size) = (self.file.modified, self.file.size);
        let coding = self.coding.map(|coding| format!("-{}", coding.name()));
        let coding = coding.unwrap_or_default();
        Validators {
            tag: format!("\"{modified:x}-{size:x}{coding}\""),
            modified,
        }
    }

    /// What is said even if the file is not sent (RFC 9110 §15.4.5).
    fn cache_headers(&self, validators: &Validators) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(modified) = validators.last_modified() {
            headers.insert(LAST_MODIFIED, modified);
        }
        if let Ok(tag) = HeaderValue::try_from(&validators.tag) {
            headers.insert(ETAG, tag);
        }
        let kept = media_type::cache_control(&self.path, &self.media_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
        // Others may get it compressed.
        if content_coding::is_compressible(&self.media_type) {
            content_coding::add_vary(&mut headers);
        }
        headers
    }

    /// What is said about bytes that are sent.
    fn add_content_headers(&self, headers: &mut HeaderMap) {
        if let Ok(kind) = HeaderValue::try_from(&self.media_type) {
            headers.insert(CONTENT_TYPE, kind);
        }
        if let Some(coding) = self.coding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        let sniff = HeaderValue::from_static("nosniff");
        headers.insert(X_CONTENT_TYPE_OPTIONS, sniff);
    }
}

/// Sends the client to the directory that it means: relative links in its page count
/// from there. `uri` names something below the root, so its path does not begin with
/// two slashes, which would be another site.
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
