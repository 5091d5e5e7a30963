//! From a file to the answer.

use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode, Uri};

use super::body::FileBody;
use super::conditions::{Validators, Verdict};
use super::find::Hit;
use super::kind;
use super::range::Part;
use crate::body::{self, Body};
use crate::content_coding;
use crate::limit::Permit;

/// Answers `request` with `hit`, or with what its conditions come to.
pub(super) fn file<B>(request: &Request<B>, hit: Hit, place: Permit) -> Response<Body> {
    let validators = hit.validators();
    let mut headers = hit.lasting(&validators);
    match validators.judge(request.headers()) {
        Verdict::Failed => bare(StatusCode::PRECONDITION_FAILED, HeaderMap::new()),
        Verdict::NotModified { weak } => {
            if weak && let Ok(tag) = HeaderValue::try_from(format!("W/{}", validators.tag)) {
                headers.insert(ETAG, tag);
            }
            bare(StatusCode::NOT_MODIFIED, headers)
        }
        Verdict::Send => {
            let range = request.headers().get(RANGE);
            // Of other methods no part is defined (RFC 9110 §14.2).
            let range = range.filter(|_| request.method() == Method::GET);
            let range = range.filter(|_| validators.fits_the_rest(request.headers()));
            let range = range.and_then(|range| range.to_str().ok());
            let part = range.map_or(Part::Whole, |range| Part::of(range, hit.file.size));
            send(request.method(), hit, part, headers, place)
        }
    }
}

fn send(
    method: &Method,
    hit: Hit,
    part: Part,
    mut headers: HeaderMap,
    place: Permit,
) -> Response<Body> {
    let size = hit.file.size;
    let (status, first, length) = match part {
        Part::Whole => {
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            (StatusCode::OK, 0, size)
        }
        Part::Of(first, last) => {
            let range = HeaderValue::try_from(format!("bytes {first}-{last}/{size}"));
            headers.insert(CONTENT_RANGE, range.expect("visible ASCII"));
            (StatusCode::PARTIAL_CONTENT, first, last - first + 1)
        }
        Part::OutOfReach => {
            let range = HeaderValue::try_from(format!("bytes */{size}")).expect("visible ASCII");
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, range)]);
            return bare(StatusCode::RANGE_NOT_SATISFIABLE, headers);
        }
    };
    hit.describe(&mut headers);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let body = match method == Method::HEAD || length == 0 {
        true => body::empty(),
        false => Body::new(FileBody::new(hit.file.descriptor, place, first, length)),
    };
    with(status, headers, body)
}

impl Hit {
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
    fn lasting(&self, validators: &Validators) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(modified) = validators.last_modified() {
            headers.insert(LAST_MODIFIED, modified);
        }
        if let Ok(tag) = HeaderValue::try_from(&validators.tag) {
            headers.insert(ETAG, tag);
        }
        let kept = kind::cache_control(&self.path, &self.media_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
        // Others may get it compressed.
        if content_coding::is_compressible(&self.media_type) {
            content_coding::add_vary(&mut headers);
        }
        headers
    }

    /// What is said about bytes that are sent.
    fn describe(&self, headers: &mut HeaderMap) {
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
pub(super) fn slash(uri: &Uri) -> Response<Body> {
    let query = uri.query().map(|query| format!("?{query}"));
    let location = format!("{}/{}", uri.path(), query.unwrap_or_default());
    let location = HeaderValue::try_from(location).map(|value| (LOCATION, value));
    let headers = HeaderMap::from_iter(location.ok());
    bare(StatusCode::MOVED_PERMANENTLY, headers)
}

fn bare(status: StatusCode, headers: HeaderMap) -> Response<Body> {
    with(status, headers, body::empty())
}

fn with(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
