//! The parameters of a FastCGI request, which PHP shows in `$_SERVER`: the variables of
//! CGI/1.1 (RFC 3875 §4.1) and those that PHP applications expect from nginx and Apache.

use bytes::BytesMut;
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::record::param;
use super::script::ScriptPaths;
use crate::core::host_port::HostPort;
use crate::upstream::RequestInfo;

impl ScriptPaths {
    /// Returns the encoded parameters of a request. They take the client from the
    /// `X-Forwarded-*` headers, which [`crate::forwarded`] has written.
    pub(super) fn params(&self, request: &Parts) -> BytesMut {
        let headers = &request.headers;
        let mut out = BytesMut::with_capacity(2048);
        let mut put = |name: &str, value: &[u8]| param(&mut out, name.as_bytes(), value);
        let (path, query) = (request.uri.path(), request.uri.query().unwrap_or_default());
        let header = |name: &'static str| headers.get(name).map(HeaderValue::as_bytes);
        let is_http = header("x-forwarded-proto") == Some(b"http");
        let host = headers
            .get(HOST)
            .and_then(|value| value.to_str().ok())
            .and_then(HostPort::parse)
            .map(|parsed| parsed.host);
        let request_info = request.extensions.get::<RequestInfo>();
        let port = request_info
            .and_then(|request_info| request_info.port)
            .unwrap_or(0)
            .to_string();
        put("GATEWAY_INTERFACE", b"CGI/1.1");
        put("SERVER_SOFTWARE", SOFTWARE);
        // php-cgi runs nothing without it (`cgi.force_redirect`).
        put("REDIRECT_STATUS", b"200");
        put("SERVER_PROTOCOL", b"HTTP/1.1");
        put("SERVER_NAME", host.unwrap_or_default().as_bytes());
        let default_port: &[u8] = if is_http { b"80" } else { b"443" };
        put(
            "SERVER_PORT",
            header("x-forwarded-port").unwrap_or(default_port),
        );
        put(
            "REMOTE_ADDR",
            header("x-forwarded-for").unwrap_or(b"127.0.0.1"),
        );
        put("REMOTE_PORT", port.as_bytes());
        put("REQUEST_METHOD", request.method.as_str().as_bytes());
        let target = request.uri.path_and_query().map_or("/", |it| it.as_str());
        put("REQUEST_URI", target.as_bytes());
        put("QUERY_STRING", query.as_bytes());
        put("REQUEST_SCHEME", if is_http { b"http" } else { b"https" });
        if !is_http {
            put("HTTPS", b"on");
        }
        put("DOCUMENT_ROOT", &self.root);
        put("SCRIPT_FILENAME", &self.file);
        put("SCRIPT_NAME", INDEX.as_bytes());
        put("DOCUMENT_URI", INDEX.as_bytes());
        if let Some(rest) = path
            .strip_prefix(INDEX)
            .filter(|rest| rest.starts_with('/'))
        {
            put("PATH_INFO", &percent_decode_str(rest).collect::<Vec<_>>());
        }
        let value = |name: HeaderName| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
        put("CONTENT_TYPE", value(CONTENT_TYPE));
        put("CONTENT_LENGTH", value(CONTENT_LENGTH));
        write_headers(&mut out, headers);
        out
    }
}

/// Writes every other header as `HTTP_…` (RFC 3875 §4.1.18), the last one first: php-fpm
/// reverses the order, so applications see the headers as the client sent them.
fn write_headers(out: &mut BytesMut, headers: &HeaderMap) {
    let names: Vec<_> = headers.keys().filter(|name| is_forwarded(name)).collect();
    for name in names.into_iter().rev() {
        let variable = name.as_str().to_ascii_uppercase().replace('-', "_");
        let separator: &[u8] = if name == COOKIE { b"; " } else { b", " };
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        param(
            out,
            format!("HTTP_{variable}").as_bytes(),
            &values.join(separator),
        );
    }
}

/// Returns whether PHP gets a header. A name with anything but letters, digits and `-` could
/// become the variable of another header, and `Proxy` the environment's `HTTP_PROXY`
/// (<https://httpoxy.org>). Headers of the connection are not forwarded either.
fn is_forwarded(name: &HeaderName) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    name.as_str().bytes().all(is_safe) && !HIDDEN_HEADERS.contains(&name.as_str())
}

const HIDDEN_HEADERS: [&str; 7] = [
    "content-type",
    "content-length",
    "connection",
    "transfer-encoding",
    "te",
    "upgrade",
    "proxy",
];
const INDEX: &str = "/index.php";
const SOFTWARE: &[u8] = concat!("pwd-edge/", env!("CARGO_PKG_VERSION")).as_bytes();

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use bytes::Buf;
    use hyper::Request;

    use super::*;

    fn read(mut params: &[u8]) -> Vec<(String, String)> {
        let length = |params: &mut &[u8]| {
            if params[0] < 0x80 {
                usize::from(params.get_u8())
            } else {
                (params.get_u32() & !(1 << 31)) as usize
            }
        };
        let mut all = Vec::new();
        while !params.is_empty() {
            let (name, value) = (length(&mut params), length(&mut params));
            let mut text = |length| String::from_utf8(params.copy_to_bytes(length).into()).unwrap();
            let name = text(name);
            all.push((name, text(value)));
        }
        all
    }

    fn server(request: hyper::http::request::Builder) -> BTreeMap<String, String> {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let params = ScriptPaths::below(Path::new("/var/www/pwd/public")).params(&parts);
        let params = read(&params);
        let count = params.len();
        let server = BTreeMap::from_iter(params);
        assert_eq!(server.len(), count, "a variable is there twice");
        server
    }

    #[test]
    fn params_describe_request_client_and_script() {
        let server = server(
            Request::post("/api/tickets?page=2&q=a%20b")
                .header("host", "pwd.example:8443")
                .header("x-forwarded-for", "192.0.2.7")
                .header("x-forwarded-proto", "https")
                .header("x-forwarded-port", "8443")
                .header("content-type", "application/json")
                .header("content-length", "7")
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .header("accept", "text/html")
                .header("accept", "*/*")
                .extension(RequestInfo {
                    port: Some(50_001),
                    key: None,
                }),
        );
        for (name, value) in [
            ("SCRIPT_FILENAME", "/var/www/pwd/public/index.php"),
            ("DOCUMENT_ROOT", "/var/www/pwd/public"),
            ("SCRIPT_NAME", "/index.php"),
            ("REQUEST_URI", "/api/tickets?page=2&q=a%20b"),
            ("QUERY_STRING", "page=2&q=a%20b"),
            ("REQUEST_METHOD", "POST"),
            ("HTTPS", "on"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("REMOTE_PORT", "50001"),
            ("SERVER_NAME", "pwd.example"),
            ("SERVER_PORT", "8443"),
            ("HTTP_HOST", "pwd.example:8443"),
            ("CONTENT_TYPE", "application/json"),
            ("CONTENT_LENGTH", "7"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_ACCEPT", "text/html, */*"),
        ] {
            assert_eq!(server.get(name).map(String::as_str), Some(value), "{name}");
        }
        for name in ["PATH_INFO", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"] {
            assert!(!server.contains_key(name), "{name}");
        }
    }

    #[test]
    fn params_exclude_ambiguous_header_names() {
        let server = server(
            Request::get("/")
                .header("proxy", "http://evil.example")
                .header("x!forwarded!for", "10.0.0.1")
                .header("x+forwarded+for", "10.0.0.1")
                .header("upgrade", "websocket")
                .header("x-forwarded-proto", "http"),
        );
        let http: Vec<_> = server
            .keys()
            .filter(|name| name.starts_with("HTTP"))
            .collect();
        assert_eq!(http, ["HTTP_X_FORWARDED_PROTO"]);
        assert_eq!(server["SERVER_PORT"], "80");
    }

    #[test]
    fn path_info_is_set_for_index_php_only() {
        let path_info = |path: &str| server(Request::get(path)).remove("PATH_INFO");
        assert_eq!(
            path_info("/index.php/caf%C3%A9?x").as_deref(),
            Some("/café")
        );
        assert_eq!(path_info("/index.php"), None);
        assert_eq!(path_info("/index.phpx/a"), None);
        assert_eq!(path_info("/test.php/a"), None);
    }

    #[test]
    fn headers_are_written_in_reverse_order() {
        let request = Request::get("/")
            .header("accept", "a")
            .header("authorization", "b");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let names = read(&ScriptPaths::below(Path::new("/p")).params(&parts)).into_iter();
        let http: Vec<_> = names
            .map(|(name, _)| name)
            .filter(|it| it.starts_with("HTTP_"))
            .collect();
        assert_eq!(http, ["HTTP_AUTHORIZATION", "HTTP_ACCEPT"]);
    }
}
