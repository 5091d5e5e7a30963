//! The stage that counts rejections and renders them as responses.

use std::sync::Arc;

use hyper::Response;
use hyper::body::Body as _;
use hyper::header::{CONTENT_LENGTH, HeaderValue};

use super::maintenance::Maintenance;
use super::request_context::RequestContext;
use crate::core::body::{self, Body};
use crate::http::{ErrorPages, Rejection};

/// Counts and renders rejections.
#[derive(Debug)]
pub(super) struct Rejections {
    pages: ErrorPages,
    maintenance: Arc<Maintenance>,
}

impl Rejections {
    /// Creates the stage. It renders rejections with `pages`, and those of maintenance mode
    /// with the page of `maintenance`.
    pub(super) fn new(pages: ErrorPages, maintenance: Arc<Maintenance>) -> Self {
        Self { pages, maintenance }
    }

    /// Returns the response of `result`, and counts a rejection in the metrics of the route.
    ///
    /// A rejection by a limit also counts against the connection, which ends after too many.
    /// The connection of a trusted proxy is exempt: it serves many clients, and the limits of
    /// one must not close it for the others.
    pub(super) fn resolve(
        &self,
        context: &mut RequestContext<'_>,
        result: Result<Response<Body>, Rejection>,
    ) -> Response<Body> {
        if context.is_direct() {
            let is_over = matches!(result, Err(Rejection::Over(_)));
            context.downstream.rejections.record(is_over);
        }
        result.unwrap_or_else(|rejection| {
            context.log_entry.set_rejection(rejection);
            self.render(context, rejection)
        })
    }

    fn render(&self, context: &RequestContext<'_>, rejection: Rejection) -> Response<Body> {
        let as_json = context.prefers_json;
        let response = rejection.response(&self.pages, &context.client_info.request_id, as_json);
        let response = if rejection == Rejection::Maintenance && !as_json {
            self.maintenance.write(response)
        } else {
            response
        };
        if context.is_head {
            without_body(response)
        } else {
            response
        }
    }
}

/// Removes the body of a response to `HEAD` and keeps its `Content-Length` (RFC 9110
/// §9.3.2). Over HTTP/2, hyper would send the body, which clients treat as an error.
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = response.body().size_hint().exact() {
        let length = HeaderValue::from(length);
        response.headers_mut().insert(CONTENT_LENGTH, length);
    }
    response.map(|_| body::empty())
}
