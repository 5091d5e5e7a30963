//! URL paths, normalized as upstream servers read them. Routing and access rules are
//! decided on the normalized path; the edge forwards the path as the client sent it.

mod configured_path;

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

pub(crate) use self::configured_path::{ExactPath, UrlPath, check_literal};

/// A request path in the forms that the software behind the edge may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalizedPath<'a> {
    /// The path as Laravel reads it: decoded once, slashes merged, and a leading
    /// `index.php` removed (`/index.php/admin` is the route `/admin`).
    pub literal: Cow<'a, str>,
    /// The path as file servers and other proxies read it: like `literal`, with `.` and
    /// `..` resolved and `\` read as `/`.
    pub resolved: Cow<'a, str>,
    /// How else a server may read the path; empty for nearly all paths:
    ///
    /// - Without the segment that PHP takes for the script, if it is not the leading
    ///   `index.php`. Symfony's `Request::prepareBaseUrl` reads `/index.phpadmin` as `admin`,
    ///   and in an application at `/app` it reads `/app/index.php/admin` as `/admin`.
    /// - Like `resolved`, but with encoded slashes as a part of their segment: `/a%2Fb/../c`
    ///   is `/c` then.
    pub other_readings: Vec<String>,
}

/// The error for a path with an encoded NUL: no legitimate client sends one, and a C
/// program reads the path only up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its path holds a NUL")]
pub struct NulInPath;

impl<'a> NormalizedPath<'a> {
    /// Normalizes `path`, which begins with a slash.
    ///
    /// # Errors
    /// Returns [`NulInPath`] if the path contains `%00`.
    pub fn parse(path: &'a str) -> Result<Self, NulInPath> {
        if is_normalized(path) {
            return Ok(Self {
                literal: Cow::Borrowed(path),
                resolved: Cow::Borrowed(path),
                other_readings: Vec::new(),
            });
        }
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        if decoded.contains('\0') {
            return Err(NulInPath);
        }
        let with_slashes = decoded.replace('\\', "/");
        let resolved = resolve_dots(&with_slashes);
        let other_readings = [
            without_inner_script(strip_script(&resolved)),
            with_encoded_slashes(path),
        ];
        Ok(Self {
            literal: Cow::Owned(join(strip_script(&segments(&decoded)))),
            resolved: Cow::Owned(join(strip_script(&resolved))),
            other_readings: other_readings.into_iter().flatten().collect(),
        })
    }

    /// Returns all readings of the path. Some may be equal.
    pub(crate) fn readings(&self) -> impl Iterator<Item = &str> {
        let others = self.other_readings.iter().map(String::as_str);
        [&*self.literal, &*self.resolved].into_iter().chain(others)
    }

    /// Returns whether one of the two forms equals `path`; trailing slashes are ignored.
    pub(crate) fn matches(&self, path: &str) -> bool {
        [&*self.literal, &*self.resolved]
            .into_iter()
            .any(|form| is_same(form, path))
    }

    /// Returns whether one of the two forms equals `path`, or an application in some
    /// directory may read the path as `path`.
    pub(crate) fn may_match_suffix(&self, path: &str) -> bool {
        let bare = path.trim_end_matches('/');
        let ends_so = |reading: &String| reading.trim_end_matches('/').ends_with(bare);
        self.matches(path) || self.other_readings.iter().any(ends_so)
    }
}

fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Returns whether both forms are `path` itself. Most paths are, and this check spares
/// them four allocations.
fn is_normalized(path: &str) -> bool {
    let mut before = 0;
    let mut is_simple = |byte: u8| {
        let merges = byte == b'/' && before == b'/';
        before = byte;
        !merges && !matches!(byte, b'%' | b'\\' | b'.')
    };
    if !path.is_empty() && path.bytes().all(&mut is_simple) {
        // The common case. Without a dot the path contains neither `..` nor `index.php`.
        return true;
    }
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    let inner = path.strip_prefix('/').unwrap_or(path).split('/');
    let ends_in_slash = path.ends_with('/');
    let parts = path.matches('/').count();
    let odd_parts = inner.enumerate().any(|(number, part)| {
        // The empty part after a trailing slash is not a doubled slash.
        odd(part) && !(part.is_empty() && ends_in_slash && number + 1 == parts)
    });
    !odd_parts && !path.contains(['%', '\\']) && !path.contains(INDEX_SCRIPT)
}

/// The only PHP file of a Laravel application that a web server runs.
const INDEX_SCRIPT: &str = "index.php";

/// Returns the segments of a decoded path, with slashes merged.
fn segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

/// Returns the segments of a decoded path with `.` and `..` resolved.
fn resolve_dots(path: &str) -> Vec<&str> {
    let mut resolved = Vec::new();
    for part in segments(path) {
        match part {
            "." => {}
            ".." => drop(resolved.pop()),
            _ => resolved.push(part),
        }
    }
    resolved
}

/// Leaves out a leading `index.php`.
fn strip_script<'a, 'b>(parts: &'a [&'b str]) -> &'a [&'b str] {
    match parts {
        [INDEX_SCRIPT, rest @ ..] => rest,
        _ => parts,
    }
}

fn join(parts: &[&str]) -> String {
    format!("/{}", parts.join("/"))
}

/// Returns the path without its first `index.php`, if it has one. What follows it in the same
/// segment becomes a segment.
fn without_inner_script(parts: &[&str]) -> Option<String> {
    let at = parts
        .iter()
        .position(|part| part.starts_with(INDEX_SCRIPT))?;
    let rest = &parts[at][INDEX_SCRIPT.len()..];
    let rest = Some(rest).filter(|rest| !rest.is_empty());
    let kept = parts[..at].iter().copied().chain(rest);
    Some(join(
        &kept
            .chain(parts[at + 1..].iter().copied())
            .collect::<Vec<_>>(),
    ))
}

/// Returns the decoded and resolved path with its encoded slashes, if it has any.
fn with_encoded_slashes(path: &str) -> Option<String> {
    let escapes = path.as_bytes().windows(3);
    if !escapes
        .into_iter()
        .any(|it| it.eq_ignore_ascii_case(b"%2f"))
    {
        return None;
    }
    let decode = |part| {
        percent_decode_str(part)
            .decode_utf8_lossy()
            .replace('/', "%2F")
    };
    let decoded: Vec<_> = path.split('/').map(decode).collect();
    Some(join(strip_script(&resolve_dots(&decoded.join("/")))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(path: &str) -> (String, String) {
        let read = NormalizedPath::parse(path).unwrap();
        (read.literal.into_owned(), read.resolved.into_owned())
    }

    fn one(path: &str) -> String {
        let (literal, resolved) = both(path);
        assert_eq!(literal, resolved, "{path}");
        literal
    }

    #[test]
    fn spellings_of_one_path_normalize_alike() {
        for path in [
            "//admin",
            "/%61dmin",
            "/%2fadmin",
            "/index.php/admin",
            "/index%2Ephp/admin",
            "//index.php//admin",
        ] {
            assert_eq!(one(path), "/admin", "{path}");
        }
        for path in ["/", "/admin", "/admin/", "/a/b.c/.well-known/x"] {
            assert_eq!(one(path), path);
        }
        assert_eq!(one("/index.php"), "/");
        assert_eq!(one("/caf%C3%A9"), "/café");
        // Decoded once, as Laravel does.
        assert_eq!(one("/%2561dmin"), "/%61dmin");
    }

    #[test]
    fn path_with_dots_or_backslashes_has_two_readings() {
        let two = |literal: &str, resolved: &str| (literal.to_owned(), resolved.to_owned());
        assert_eq!(both("/api/../admin"), two("/api/../admin", "/admin"));
        assert_eq!(both("/api/%2e%2e/admin"), two("/api/../admin", "/admin"));
        assert_eq!(both("/./admin"), two("/./admin", "/admin"));
        assert_eq!(both("/a\\..\\admin"), two("/a\\..\\admin", "/admin"));
        assert_eq!(both("/../../admin"), two("/../../admin", "/admin"));
    }

    #[test]
    fn inner_script_adds_a_reading_without_it() {
        let others = |path| NormalizedPath::parse(path).unwrap().other_readings;
        for (path, other) in [
            ("/x/index.php/admin", "/x/admin"),
            ("/x/%69ndex.php", "/x"),
            ("/index.php/index.php/admin", "/admin"),
            ("/index.phpadmin/x", "/admin/x"),
            ("/x/index.php.bak", "/x/.bak"),
        ] {
            assert_eq!(others(path), [other], "{path}");
        }
        for path in [
            "/index.php/admin",
            "/aindex.php",
            "/index.html",
            "/php/index",
        ] {
            assert_eq!(others(path), [""; 0], "{path}");
        }
    }

    #[test]
    fn encoded_slash_adds_a_reading_as_one_segment() {
        let others = |path| NormalizedPath::parse(path).unwrap().other_readings;
        for (path, other) in [
            ("/admin%2fx", "/admin%2Fx"),
            ("/a%2Fb/../admin", "/admin"),
            ("/index.php/a%2Fb", "/a%2Fb"),
        ] {
            assert_eq!(others(path), [other], "{path}");
        }
        assert_eq!(others("/a%252Fb"), [""; 0]);
    }

    #[test]
    fn path_with_a_nul_is_rejected() {
        assert_eq!(NormalizedPath::parse("/a%00.php"), Err(NulInPath));
    }

    #[test]
    fn path_with_a_trailing_slash_matches_the_same() {
        assert!(
            NormalizedPath::parse("/api//logout/")
                .unwrap()
                .matches("/api/logout")
        );
        assert!(
            !NormalizedPath::parse("/api/logouts")
                .unwrap()
                .matches("/api/logout")
        );
    }
}
