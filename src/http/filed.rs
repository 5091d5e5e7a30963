//! Requests that a file answers.

use hyper::{Method, Request, Response, StatusCode};

use super::Refusal;
use super::handler::{Exchange, Handler};
use crate::body::Body;
use crate::files::{Error, Files};

impl Handler {
    /// The answer of `files`, if one of them is asked for.
    pub(super) async fn file<B>(
        &self,
        exchange: &Exchange<'_>,
        files: &Files,
        request: &Request<B>,
    ) -> Result<Option<Response<Body>>, Refusal> {
        if !reads(request) {
            return Ok(None);
        }
        let place = self.place(&self.open_files, exchange).await?;
        let answer = files.answer(request, place).await.map_err(|error| {
            let path = request.uri().path();
            tracing::warn!(path, %error, "a file cannot be sent");
            match error {
                Error::Forbidden => Refusal::Route(StatusCode::FORBIDDEN),
                Error::Unreadable(_) | Error::Slow => Refusal::Unreadable,
            }
        })?;
        let wish = self.compression.wish(request);
        let client = self.limits.share_key(exchange.sender.client);
        Ok(answer.map(|answer| self.compression.apply(wish, client, answer)))
    }
}

/// What is said where there are only files, and no such one.
pub(super) fn missing<B>(request: &Request<B>) -> Refusal {
    match reads(request) {
        true => Refusal::Route(StatusCode::NOT_FOUND),
        false => Refusal::ReadOnly,
    }
}

fn reads<B>(request: &Request<B>) -> bool {
    [Method::GET, Method::HEAD].contains(request.method())
}
