//! The stage that sends the file which an application names in place of its response: with
//! `X-Accel-Redirect`, as behind nginx, or with `X-Sendfile`, as behind Apache. The
//! application checks who may have the file, and its process is free while the file is sent.
//!
//! An application reaches only the directories that its route names in `sendfile`.

use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
    RANGE, TRANSFER_ENCODING, VARY,
};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::request_context::RequestContext;
use super::routes::{Route, SendfileDirectory};
use super::static_files::StaticFiles;
use crate::core::body::Body;
use crate::files::{Files, SafePath};
use crate::http::Rejection;

/// The file that an application names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NamedFile {
    /// A path below the prefix of a directory (`X-Accel-Redirect`), decoded.
    Uri(String),
    /// An absolute path on the disk (`X-Sendfile`).
    Path(String),
}

/// The reason why the named file is not sent. It is a code in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// It is in no directory of `sendfile`.
    NotInDirectory,
    /// Its name is hidden, is one of PHP's, or contains `..` and the like.
    NameNotAllowed,
    /// There is no such file.
    NotFound,
}

/// Returns the part of `request` that decides about a response with a file: method, ranges
/// and conditions. `None` if the route names no directory.
pub(super) fn file_request<B>(route: &Route, request: &Request<B>) -> Option<Box<Request<()>>> {
    if route.sendfile.is_empty() {
        return None;
    }
    let mut kept = Box::new(Request::new(()));
    *kept.uri_mut() = request.uri().clone();
    // The conditions of other methods are about their effect, which is the application's.
    if [Method::GET, Method::HEAD].contains(request.method()) {
        *kept.method_mut() = request.method().clone();
        for name in CONDITIONS {
            let values = request.headers().get_all(&name).iter().cloned();
            let values: Vec<_> = values.map(|value| (name.clone(), value)).collect();
            kept.headers_mut().extend(values);
        }
    }
    Some(kept)
}

/// Removes the headers for a web server from `response`, so that they never reach the client.
/// Returns the file that they name instead of the body of `response`.
pub(super) fn take_file(response: &mut Response<Body>) -> Option<NamedFile> {
    let file = take_name(response.headers_mut());
    file.filter(|_| response.status() == StatusCode::OK)
}

impl NamedFile {
    /// Returns the response with the file. `request` decides about ranges and conditions.
    ///
    /// # Errors
    /// Returns `BadGateway` if the application must not name this file, `FileNotFound` if
    /// there is none, and the errors of [`StaticFiles::send`].
    pub(super) async fn send(
        self,
        static_files: &StaticFiles,
        context: &RequestContext<'_>,
        route: &Route,
        request: &Request<()>,
    ) -> Result<Response<Body>, Rejection> {
        let failure = match self.find(&route.sendfile).await {
            Ok((files, path)) => match static_files.send(context, files, request, path).await? {
                Some(file) => return Ok(file),
                None => Failure::NotFound,
            },
            Err(failure) => failure,
        };
        let (Self::Uri(file) | Self::Path(file)) = self;
        tracing::warn!(
            name: "sendfile_failed",
            path = context.log_entry.path(),
            reason = failure.code(),
            file,
            "named file not sent"
        );
        Err(match failure {
            Failure::NotInDirectory | Failure::NameNotAllowed => Rejection::BadGateway,
            Failure::NotFound => Rejection::FileNotFound,
        })
    }

    /// Returns the directory of the file, and its path there.
    async fn find<'a>(
        &self,
        directories: &'a [SendfileDirectory],
    ) -> Result<(&'a Files, SafePath), Failure> {
        for SendfileDirectory { prefix, files } in directories {
            let rest = match self {
                Self::Uri(uri) => prefix.strip_from(uri),
                Self::Path(path) => files.strip_root(path).await,
            };
            if let Some(rest) = rest {
                let path = SafePath::parse_decoded(rest).ok_or(Failure::NameNotAllowed)?;
                return Ok((files, path));
            }
        }
        Err(Failure::NotInDirectory)
    }
}

impl Failure {
    fn code(self) -> &'static str {
        match self {
            Self::NotInDirectory => "directory_not_listed",
            Self::NameNotAllowed => "name_not_allowed",
            Self::NotFound => "file_not_found",
        }
    }
}

/// Removes the headers for a web server, and returns the file that they name.
fn take_name(headers: &mut HeaderMap) -> Option<NamedFile> {
    let is_internal = |name: &&HeaderName| {
        let prefixes = INTERNAL_PREFIXES.iter();
        prefixes.into_iter().any(|it| name.as_str().starts_with(it))
    };
    let internal: Vec<_> = headers.keys().filter(is_internal).cloned().collect();
    if internal.is_empty() {
        return None;
    }
    let text = |name: &str| {
        let value = headers.get(name).map(HeaderValue::as_bytes)?;
        let text = String::from_utf8_lossy(value).into_owned();
        Some(text).filter(|text| !text.is_empty())
    };
    let uri = text("x-accel-redirect").map(|target| {
        let path = target.split('?').next().unwrap_or_default();
        NamedFile::Uri(percent_decode_str(path).decode_utf8_lossy().into_owned())
    });
    let path = || {
        let path = text("x-sendfile").or_else(|| text("x-lighttpd-send-file"));
        path.map(NamedFile::Path)
    };
    let name = uri.or_else(path);
    for header in internal {
        headers.remove(header);
    }
    name
}

/// Adds the application's headers to the response with the file, except those that describe
/// the body that it replaces.
pub(super) fn with_app_headers(mut file: Response<Body>, mut app: HeaderMap) -> Response<Body> {
    for name in REPLACED {
        app.remove(name);
    }
    // PHP sends `text/html` for a script that names no type.
    let media_type = app.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if media_type.is_none_or(|it| it.is_empty() || it.starts_with(b"text/html")) {
        app.remove(CONTENT_TYPE);
    }
    if ![StatusCode::OK, StatusCode::PARTIAL_CONTENT].contains(&file.status()) {
        for name in [CONTENT_TYPE, CONTENT_DISPOSITION, CONTENT_LANGUAGE] {
            app.remove(name);
        }
    }
    let headers = file.headers_mut();
    // Not everyone may have the file, so no cache may keep it for others.
    let private = HeaderValue::from_static("private, no-cache");
    headers.insert(CACHE_CONTROL, private);
    let varies: Vec<_> = app.get_all(VARY).iter().cloned().collect();
    app.remove(VARY);
    for name in app.keys() {
        headers.remove(name);
    }
    for (name, value) in &app {
        headers.append(name, value.clone());
    }
    for value in varies {
        headers.append(VARY, value);
    }
    file
}

/// Headers for a web server, of nginx, Apache and lighttpd.
const INTERNAL_PREFIXES: [&str; 3] = ["x-accel-", "x-sendfile", "x-lighttpd-"];

/// The headers of a request that decide which part of a file is sent, if any.
const CONDITIONS: [HeaderName; 6] = [
    RANGE,
    IF_RANGE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
];

/// The headers that describe the application's own body, or that the file has as well.
const REPLACED: [HeaderName; 10] = [
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    TRANSFER_ENCODING,
    ACCEPT_RANGES,
    ETAG,
    LAST_MODIFIED,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_file_is_taken_and_every_internal_header_removed() {
        let taken = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let name = take_name(&mut headers);
            assert!(headers.keys().all(|name| name == "x-kept"), "{headers:?}");
            name
        };
        let uri = |text: &str| Some(NamedFile::Uri(text.to_owned()));
        let path = |text: &str| Some(NamedFile::Path(text.to_owned()));
        assert_eq!(taken(&[("x-kept", "1")]), None);
        assert_eq!(taken(&[("x-accel-expires", "1"), ("x-kept", "1")]), None);
        assert_eq!(taken(&[("x-accel-redirect", "")]), None);
        assert_eq!(
            taken(&[("x-accel-redirect", "/a/b%20c?d=e")]),
            uri("/a/b c")
        );
        // Symfony encodes the slashes, too.
        assert_eq!(taken(&[("x-accel-redirect", "%2Fa%2Fb")]), uri("/a/b"));
        assert_eq!(taken(&[("x-sendfile", "/a/b%20c")]), path("/a/b%20c"));
        assert_eq!(taken(&[("x-lighttpd-send-file", "/a")]), path("/a"));
        let both = [("x-sendfile", "/a"), ("x-accel-redirect", "/b")];
        assert_eq!(taken(&both), uri("/b"));
    }

    #[test]
    fn app_headers_are_kept_unless_they_describe_its_body() {
        let mut file = Response::new(crate::core::body::empty());
        for (name, value) in [
            ("content-type", "application/pdf"),
            ("content-length", "7"),
            ("etag", "\"file\""),
            ("cache-control", "public, immutable"),
            ("vary", "accept-encoding"),
        ] {
            file.headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        let app = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            headers
        };
        let php = app(&[
            ("content-type", "text/html; charset=UTF-8"),
            ("content-length", "0"),
            ("etag", "\"app\""),
            ("content-disposition", "attachment"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("vary", "Origin"),
        ]);
        let sent = with_app_headers(file, php);
        let all = |name: &str| -> Vec<_> { sent.headers().get_all(name).iter().collect() };
        assert_eq!(all("content-type"), ["application/pdf"]);
        assert_eq!(all("content-length"), ["7"]);
        assert_eq!(all("etag"), ["\"file\""]);
        assert_eq!(all("content-disposition"), ["attachment"]);
        assert_eq!(all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(all("vary"), ["accept-encoding", "Origin"]);
        assert_eq!(all("cache-control"), ["private, no-cache"]);
    }
}
