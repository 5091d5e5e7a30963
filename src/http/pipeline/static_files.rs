//! Static files as responses: permits, compression, and the rejections of a route that
//! serves files.

use hyper::{Method, Request, Response};

use super::{Handler, RequestContext};
use crate::core::body::Body;
use crate::core::error_chain::error_chain;
use crate::files::{Error, Files};
use crate::http::Rejection;

impl Handler {
    /// Returns the response for the file of `files` that `request` names; `None` if there
    /// is no such file, or the method is neither `GET` nor `HEAD`.
    ///
    /// # Errors
    /// Returns `Over` or `Busy` if there is no permit, `FileForbidden` if the file must not be
    /// read, and `Unreadable` if it cannot be read.
    pub(super) async fn serve_file<B>(
        &self,
        exchange: &RequestContext<'_>,
        files: &Files,
        request: &Request<B>,
    ) -> Result<Option<Response<Body>>, Rejection> {
        if !is_read_request(request) {
            return Ok(None);
        }
        let permit = self.acquire_permit(&self.open_files, exchange).await?;
        let response = files.respond(request, permit).await.map_err(|error| {
            let path = request.uri().path();
            tracing::warn!(
                name: "file_unreadable",
                path,
                error = error_chain(&error),
                "file cannot be read"
            );
            match error {
                Error::Forbidden => Rejection::FileForbidden,
                Error::Unreadable(_) | Error::Slow => Rejection::Unreadable,
            }
        })?;
        let accepted_encoding = self.compression.accepted_encoding(request);
        let client = self.limits.share_key(exchange.client_info.client);
        Ok(response.map(|response| self.compression.apply(accepted_encoding, client, response)))
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
