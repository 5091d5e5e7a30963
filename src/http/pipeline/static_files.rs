//! The stage of routes with files: responds with the file that a request names.

use hyper::{Method, Request, Response};

use super::permit_pool::PermitPool;
use super::request_context::RequestContext;
use crate::core::body::Body;
use crate::core::error_chain::error_chain;
use crate::files::{Error, Files, SafePath};
use crate::http::Rejection;

/// Serves static files.
#[derive(Debug)]
pub(super) struct StaticFiles {
    /// The permits of open files.
    permits: PermitPool,
}

impl StaticFiles {
    /// Creates the stage; each open file has a permit.
    pub(super) fn new(permits: PermitPool) -> Self {
        Self { permits }
    }

    /// Returns the response for the file of `files` that `request` names; `None` if there
    /// is no such file, or the method is neither `GET` nor `HEAD`.
    ///
    /// # Errors
    /// Returns `Over` or `Busy` if there is no permit, `FileForbidden` if the file must not be
    /// read, and `Unreadable` if it cannot be read.
    pub(super) async fn respond<B>(
        &self,
        context: &RequestContext<'_>,
        files: &Files,
        request: &Request<B>,
    ) -> Result<Option<Response<Body>>, Rejection> {
        if !is_read_request(request) {
            return Ok(None);
        }
        let permit = self.permits.acquire(context.client()).await?;
        let response = files.respond(request, permit).await;
        response.map_err(|error| unreadable(request.uri().path(), &error))
    }

    /// Returns the response with the file at `path` of `files`, or `None` if there is none.
    /// `request` decides about ranges and conditions.
    ///
    /// # Errors
    /// As [`StaticFiles::respond`].
    pub(super) async fn send<B>(
        &self,
        context: &RequestContext<'_>,
        files: &Files,
        request: &Request<B>,
        path: SafePath,
    ) -> Result<Option<Response<Body>>, Rejection> {
        let permit = self.permits.acquire(context.client()).await?;
        let response = files.send(request, path, permit).await;
        response.map_err(|error| unreadable(request.uri().path(), &error))
    }
}

/// Logs why the file of a request to `path` cannot be read, and returns the rejection.
fn unreadable(path: &str, error: &Error) -> Rejection {
    tracing::warn!(
        name: "file_unreadable",
        path,
        error = error_chain(error),
        "file cannot be read"
    );
    match error {
        Error::Forbidden => Rejection::FileForbidden,
        Error::Unreadable(_) | Error::Slow => Rejection::Unreadable,
    }
}

/// Returns the rejection of a request on a route with files only, when no file matches.
pub(super) fn not_found<B>(request: &Request<B>) -> Rejection {
    if is_read_request(request) {
        Rejection::FileNotFound
    } else {
        Rejection::ReadOnly
    }
}

fn is_read_request<B>(request: &Request<B>) -> bool {
    [Method::GET, Method::HEAD].contains(request.method())
}
