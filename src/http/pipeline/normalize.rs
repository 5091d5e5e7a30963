//! The stage of normalization: rejects requests that two servers could read differently, or
//! rewrites them into the one form that the upstream gets. hyper has rejected malformed
//! HTTP before (RFC 9112 §2.2, §5).

use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request};

use crate::core::host_port::HostPort;
use crate::forwarded::ClientInfo;
use crate::http::{BadRequest, Rejection};

/// The maximum number of header fields of a request, in either protocol.
pub(in crate::http) const MAX_HEADERS: usize = 100;

/// The maximum length of the target: path and query.
const MAX_TARGET_BYTES: usize = 8 * 1024;

/// Checks `request`, joins its cookies, and makes sure that it has exactly one `Host`: that
/// of the request, or the one that a trusted proxy reports in `client_info`.
///
/// # Errors
/// Returns [`Rejection::HeadTooLarge`] for too many headers, [`Rejection::TargetTooLong`]
/// for a long target, [`Rejection::Method`] for `CONNECT` and `TRACE`, and
/// [`Rejection::BadRequest`] for an ambiguous method, target, `Host`, `Authorization` or
/// `Transfer-Encoding`.
pub fn normalize_request<B>(
    request: &mut Request<B>,
    client_info: &ClientInfo,
) -> Result<(), Rejection> {
    join_cookies(request.headers_mut());
    if [Method::CONNECT, Method::TRACE].contains(request.method()) {
        return Err(Rejection::Method);
    }
    // Methods are case-sensitive (RFC 9110 §9.1), but PHP frameworks read `post` as
    // `POST`: the edge would not recognize such a log-in. nginx rejects it, too.
    let is_lower = |byte: u8| byte.is_ascii_lowercase();
    if request.method().as_str().bytes().any(is_lower) {
        return Err(Rejection::BadRequest(BadRequest::MethodCase));
    }
    check_target(request)?;
    check_transfer_encoding(request.headers())?;
    // RFC 9110 §5.3 allows one; which of two counts depends on the server.
    if request.headers().get_all(AUTHORIZATION).iter().count() > 1 {
        return Err(Rejection::BadRequest(BadRequest::DuplicateAuthorization));
    }
    normalize_host(request)?;
    if let Some(host) = &client_info.host {
        request.headers_mut().insert(HOST, host.clone());
    }
    // hyper limits the number in HTTP/1.1 only. Counted last: `Host` counts, too, if the
    // client sent it as HTTP/2's `:authority`.
    if request.headers().len() > MAX_HEADERS {
        Err(Rejection::HeadTooLarge)
    } else {
        Ok(())
    }
}

/// Checks that the target is in origin form or absolute form, with an http(s) scheme and a
/// path (RFC 9112 §3.2.1, §3.2.2).
fn check_target<B>(request: &Request<B>) -> Result<(), Rejection> {
    let uri = request.uri();
    let is_http = |scheme: &Scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme);
    if !uri.scheme().is_none_or(is_http) {
        return Err(Rejection::BadRequest(BadRequest::TargetScheme));
    }
    if !uri.path().starts_with('/') {
        return Err(Rejection::BadRequest(BadRequest::TargetForm));
    }
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > MAX_TARGET_BYTES {
        Err(Rejection::TargetTooLong)
    } else {
        Ok(())
    }
}

/// Checks that `Transfer-Encoding` is absent or exactly `chunked`. Servers read any other
/// value differently, which allows request smuggling (RFC 9112 §6.1, §11.2).
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Rejection> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if is_chunked(coding) => Ok(()),
        _ => Err(Rejection::BadRequest(BadRequest::TransferEncoding)),
    }
}

/// Joins several `Cookie` fields into one. Browsers split the field over HTTP/2 for better
/// compression; over HTTP/1.1 it must be one field (RFC 9113 §8.2.3), since PHP reads only
/// the first.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(mut cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        cookie.set_sensitive(true);
        headers.insert(COOKIE, cookie);
    }
}

/// Makes sure that there is exactly one valid `Host`. HTTP/2 requests and absolute-form
/// targets carry the host in the URI; a `Host` field must not differ from it (RFC 9112
/// §3.2.2, RFC 9113 §8.3.1).
fn normalize_host<B>(request: &mut Request<B>) -> Result<(), Rejection> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Rejection::BadRequest(BadRequest::DuplicateHost)),
        (host, None) => host.cloned(),
    };
    let authority = request.uri().authority().map(Authority::as_str);
    let has_header = host.is_some();
    let host = match (host, authority) {
        (None, None) => return Err(Rejection::BadRequest(BadRequest::MissingHost)),
        (None, Some(authority)) => HeaderValue::try_from(authority).map_err(|_| INVALID_HOST)?,
        (Some(host), None) => host,
        (Some(host), Some(authority)) => {
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) {
                return Err(Rejection::BadRequest(BadRequest::HostMismatch));
            }
            host
        }
    };
    if !host.to_str().is_ok_and(HostPort::is_valid) {
        return Err(INVALID_HOST);
    }
    if !has_header {
        request.headers_mut().insert(HOST, host);
    }
    Ok(())
}

const INVALID_HOST: Rejection = Rejection::BadRequest(BadRequest::InvalidHost);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use crate::core::client_ip::ClientIp;

    use super::*;

    fn settled(uri: &str, hosts: &[&str]) -> Result<String, Rejection> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let mut request = request.body(()).unwrap();
        normalize_host(&mut request)?;
        Ok(request.headers()[HOST].to_str().unwrap().to_owned())
    }

    #[test]
    fn request_with_one_host_is_normalized() {
        let host = |uri, hosts| settled(uri, hosts).unwrap();
        assert_eq!(host("/", &["desk.example:8443"]), "desk.example:8443");
        assert_eq!(host("https://desk.example/", &[]), "desk.example");
        let both = host("https://desk.example/", &["Desk.example"]);
        assert_eq!(both, "Desk.example");
        assert_eq!(host("/", &["[::1]:80"]), "[::1]:80");
    }

    #[test]
    fn missing_repeated_or_invalid_host_is_rejected() {
        for (uri, hosts) in [
            ("/", &[][..]),
            ("/", &["a", "a"]),
            ("/", &[""]),
            ("/", &["a b"]),
            ("/", &["user@a"]),
            ("/", &["a:0"]),
            ("/", &["a:99999"]),
            ("/", &["a/b"]),
            ("/", &["a..b"]),
            ("https://a/", &["b"]),
        ] {
            assert!(settled(uri, hosts).is_err(), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn host_from_the_target_counts_as_a_header() {
        let normalize = |headers: usize| {
            let mut request = Request::builder().uri("https://desk.example/");
            for number in 0..headers {
                request = request.header(format!("x-{number}"), "1");
            }
            let client = ClientIp::new(Ipv4Addr::LOCALHOST.into());
            let mut request = request.body(()).unwrap();
            normalize_request(&mut request, &ClientInfo::untrusted(client))
        };
        assert_eq!(normalize(MAX_HEADERS - 1), Ok(()));
        assert_eq!(normalize(MAX_HEADERS), Err(Rejection::HeadTooLarge));
    }

    #[test]
    fn request_target_that_is_no_http_path_is_rejected() {
        let check = |uri: String| check_target(&Request::builder().uri(uri).body(()).unwrap());
        assert_eq!(check("/a?b".to_owned()), Ok(()));
        assert_eq!(check("http://a/b".to_owned()), Ok(()));
        for wrong in ["*", "ftp://a/b", "a:80"] {
            assert!(check(wrong.to_owned()).is_err(), "{wrong}");
        }
        assert_eq!(check(format!("/{}", "a".repeat(8191))), Ok(()));
        let long = check(format!("/{}", "a".repeat(8192)));
        assert_eq!(long, Err(Rejection::TargetTooLong));
    }
}
