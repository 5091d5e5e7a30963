//! The stage that limits the size of a request's head. hyper and h2 have a limit as well, but
//! they respond without a page, a log line or an id, and h2 resets the stream along with the
//! response. So their limit is higher, and most heads that are too large end here.

use hyper::Request;

use crate::http::{Rejection, Settings};

/// Limits the size of heads.
#[derive(Debug)]
pub(super) struct HeadSize {
    max_bytes: usize,
}

impl HeadSize {
    /// Creates the stage.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            max_bytes: settings.max_header_size.get(),
        }
    }

    /// Checks the head of `request`, by the bytes that it has over HTTP/1.1.
    ///
    /// # Errors
    /// Returns [`Rejection::HeadTooLarge`] if it is too large.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Rejection> {
        let headers = request.headers().iter();
        // Two for the colon and the space, and two for the end of the line.
        let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 4);
        let target = request.uri().path_and_query();
        let target = target.map_or(0, |target| target.as_str().len());
        if target + headers.sum::<usize>() > self.max_bytes {
            Err(Rejection::HeadTooLarge)
        } else {
            Ok(())
        }
    }
}
