//! The stage that limits log-ins: `POST` requests to one of `limits.login_paths`, and those
//! of them that fail.

use std::sync::Arc;

use hyper::{Method, Request, StatusCode};

use super::request_context::RequestContext;
use crate::core::request_path::NormalizedPath;
use crate::http::Rejection;
use crate::limit::{Limits, LoginAttempt};

/// Limits log-ins.
#[derive(Debug)]
pub(super) struct LoginLimit {
    limits: Arc<Limits>,
}

impl LoginLimit {
    /// Creates the stage of `limits`.
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self { limits }
    }

    /// Counts `request` if it is a log-in of a client with limits, and returns the attempt.
    ///
    /// # Errors
    /// Returns `Over` if the client is over its rate of log-ins, or waits after too many
    /// failed ones.
    pub(super) async fn begin<B>(
        &self,
        context: &RequestContext<'_>,
        request: &Request<B>,
    ) -> Result<Option<LoginAttempt>, Rejection> {
        if !self.is_login(request) {
            return Ok(None);
        }
        // Boxed, so that the future of other requests reserves no room for it.
        let beginning = Box::pin(self.limits.begin_login(context.client()));
        beginning.await.map_err(Rejection::Over)
    }

    fn is_login<B>(&self, request: &Request<B>) -> bool {
        let login_paths = &self.limits.settings().login_paths;
        let parse = || NormalizedPath::parse(request.uri().path()).ok();
        let may_match = |path: NormalizedPath<'_>| {
            login_paths
                .iter()
                .any(|login_path| path.may_match_suffix(login_path.as_str()))
        };
        request.method() == Method::POST && parse().is_some_and(may_match)
    }
}

/// Ends `attempt`. It counts if the application's `status` says that the log-in has failed.
pub(super) fn finish(attempt: LoginAttempt, status: StatusCode) {
    if FAILED_STATUSES.contains(&status.as_u16()) {
        attempt.fail();
    }
}

/// The statuses of Laravel applications for a failed log-in. 422 is Laravel's default; 423
/// stands for a locked account.
const FAILED_STATUSES: [u16; 4] = [401, 403, 422, 423];
