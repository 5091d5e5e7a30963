//! The stage that rejects clients without a certificate on routes that require one.

use super::request_context::RequestContext;
use super::routes::Route;
use crate::http::Rejection;

/// Checks that the client has shown a valid certificate, if `route` requires one.
///
/// # Errors
/// Returns `NoCertificate` otherwise.
pub(super) fn check(context: &RequestContext<'_>, route: &Route) -> Result<(), Rejection> {
    if route.require_client_certificate && context.downstream.subject.is_none() {
        Err(Rejection::NoCertificate)
    } else {
        Ok(())
    }
}
