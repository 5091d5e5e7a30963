//! The stage of routes that redirect to another origin.

use hyper::header::{HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};

use crate::core::body::{self, Body};
use crate::core::origin::Origin;
use crate::http::{BadRequest, Rejection};

/// Returns a redirect of `request` to the same path and query at `origin`. Its status is
/// 308, which keeps the method and the body (RFC 9110 §15.4.9).
///
/// # Errors
/// Returns `BadRequest` if the target cannot be written in a header.
pub(super) fn respond<B>(
    origin: &Origin,
    request: &Request<B>,
) -> Result<Response<Body>, Rejection> {
    let target = request.uri().path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let location = HeaderValue::try_from(format!("{origin}{target}"))
        .map_err(|_| Rejection::BadRequest(BadRequest::TargetForm))?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}
