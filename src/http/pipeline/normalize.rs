//! The stage of normalization: rejects requests that two servers could read differently, or
//! rewrites them into the one form that the upstream gets. hyper has rejected malformed
//! HTTP before (RFC 9112 §2.2, §5).

use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Version};

use crate::core::header_values::unify_content_length;
use crate::core::host_port::{DEFAULT_HOST, HostPort, without_empty_port};
use crate::forwarded::ClientInfo;
use crate::http::{BadRequest, Rejection};

/// The maximum number of header fields of a request, in either protocol.
pub(in crate::http) const MAX_HEADERS: usize = 100;

/// Checks `request`, joins its cookies, and makes sure that it has exactly one `Host`: that
/// of the request, or the one that a trusted proxy reports in `client_info`. Path and query
/// together may have `max_target_size` bytes.
///
/// # Errors
/// Returns [`Rejection::HeadTooLarge`] for too many headers, [`Rejection::TargetTooLong`]
/// for a long target, [`Rejection::Method`] for `CONNECT` and `TRACE`, and
/// [`Rejection::BadRequest`] for an ambiguous method, target, `Host`, `Authorization`,
/// `Content-Length` or `Transfer-Encoding`.
pub fn normalize_request<B>(
    request: &mut Request<B>,
    client_info: &ClientInfo,
    max_target_size: usize,
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
    check_target(request, max_target_size)?;
    check_transfer_encoding(request.headers())?;
    // hyper has checked it over HTTP/1.1 only.
    unify_content_length(request.headers_mut())
        .map_err(|_| Rejection::BadRequest(BadRequest::ContentLength))?;
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
fn check_target<B>(request: &Request<B>, max_size: usize) -> Result<(), Rejection> {
    let uri = request.uri();
    let is_http = |scheme: &Scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme);
    if !uri.scheme().is_none_or(is_http) {
        return Err(Rejection::BadRequest(BadRequest::TargetScheme));
    }
    if !uri.path().starts_with('/') {
        return Err(Rejection::BadRequest(BadRequest::TargetForm));
    }
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > max_size {
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
/// §3.2.2, RFC 9113 §8.3.1). Only HTTP/1.0 may name no host.
fn normalize_host<B>(request: &mut Request<B>) -> Result<(), Rejection> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let field = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Rejection::BadRequest(BadRequest::DuplicateHost)),
        (None, None) => None,
        (Some(host), None) => Some(host.to_str().map_err(|_| INVALID_HOST)?),
    };
    let uri = request.uri();
    let host = match (field, uri.authority().map(Authority::as_str)) {
        (None, None) if request.version() < Version::HTTP_11 => DEFAULT_HOST,
        (None, None) => return Err(Rejection::BadRequest(BadRequest::MissingHost)),
        (None, Some(authority)) => authority,
        (Some(host), None) => host,
        (Some(host), Some(authority)) => {
            if !is_same_host(host, authority, uri.scheme()) {
                return Err(Rejection::BadRequest(BadRequest::HostMismatch));
            }
            host
        }
    };
    if !HostPort::is_valid(host) {
        return Err(INVALID_HOST);
    }
    let normalized = without_empty_port(host);
    if field != Some(normalized) {
        let host = HeaderValue::from_str(normalized).map_err(|_| INVALID_HOST)?;
        request.headers_mut().insert(HOST, host);
    }
    Ok(())
}

/// Returns whether both name the same host and port. A missing port is that of the scheme.
fn is_same_host(one: &str, other: &str, scheme: Option<&Scheme>) -> bool {
    let default_port = if scheme == Some(&Scheme::HTTP) {
        80
    } else {
        443
    };
    let parse = |text| {
        let parsed = HostPort::parse(text)?;
        Some((parsed.host, parsed.port.unwrap_or(default_port)))
    };
    one.eq_ignore_ascii_case(other) || parse(one).is_some() && parse(one) == parse(other)
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
        assert_eq!(host("/", &["desk.example:"]), "desk.example");
        assert_eq!(host("https://desk:/", &["desk"]), "desk");
        assert_eq!(host("https://desk:443/", &["desk"]), "desk");
        assert_eq!(host("https://desk/", &["Desk:443"]), "Desk:443");
        assert_eq!(host("http://desk:80/", &["desk"]), "desk");
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
            ("https://a:80/", &["a"]),
            ("http://a:443/", &["a"]),
            ("https://a:8443/", &["a:443"]),
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
            normalize_request(&mut request, &ClientInfo::untrusted(client), 8192)
        };
        assert_eq!(normalize(MAX_HEADERS - 1), Ok(()));
        assert_eq!(normalize(MAX_HEADERS), Err(Rejection::HeadTooLarge));
    }

    #[test]
    fn http10_request_without_host_gets_the_default() {
        let request = || Request::builder().uri("/").version(Version::HTTP_10);
        let mut without = request().body(()).unwrap();
        assert_eq!(normalize_host(&mut without), Ok(()));
        assert_eq!(without.headers()[HOST], DEFAULT_HOST);
        let mut with = request().header(HOST, "a").body(()).unwrap();
        assert_eq!(normalize_host(&mut with), Ok(()));
        assert_eq!(with.headers()[HOST], "a");
    }

    #[test]
    fn request_target_that_is_no_http_path_is_rejected() {
        let check = |uri: String| {
            let request = Request::builder().uri(uri).body(()).unwrap();
            check_target(&request, 8192)
        };
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
