//! Requests that a file answers.

use hyper::{Method, Request, Response};

use super::Rejection;
use super::handler::{Handler, RequestContext};
use crate::core::body::Body;
use crate::core::error_chain::error_chain;
use crate::files::{Error, Files};

impl Handler {
    /// The answer of `files`, if one of them is asked for.
    pub(super) async fn serve_file<B>(
        &self,
        exchange: &RequestContext<'_>,
        files: &Files,
        request: &Request<B>,
    ) -> Result<Option<Response<Body>>, Rejection> {
        if !is_read_request(request) {
            return Ok(None);
        }
        let place = self.acquire_permit(&self.open_files, exchange).await?;
        let answer = files.respond(request, place).await.map_err(|error| {
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
        Ok(answer.map(|answer| self.compression.apply(accepted_encoding, client, answer)))
    }
}

/// What is said where there are only files, and no such one.
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
