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
    /// Whether either form contains another `index.php`. An application in a directory
    /// of its own, `/app`, reads `/app/index.php/admin` and even
    /// `/x/app/index.php/admin` as its `/admin` (Symfony's `Request::prepareBaseUrl`).
    pub is_ambiguous: bool,
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
                is_ambiguous: false,
            });
        }
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        if decoded.contains('\0') {
            return Err(NulInPath);
        }
        let parts = |text: &str| -> Vec<String> {
            text.split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let literal = parts(&decoded);
        let mut resolved = Vec::new();
        for part in parts(&decoded.replace('\\', "/")) {
            match part.as_str() {
                "." => {}
                ".." => drop(resolved.pop()),
                _ => resolved.push(part),
            }
        }
        let (literal, resolved) = (join_segments(&literal), join_segments(&resolved));
        Ok(Self {
            is_ambiguous: literal.contains(INDEX_SCRIPT) || resolved.contains(INDEX_SCRIPT),
            literal: Cow::Owned(literal),
            resolved: Cow::Owned(resolved),
        })
    }

    /// Returns whether either form equals `path`; trailing slashes are ignored.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.any_form(path, str::eq)
    }

    /// Returns whether either form equals `path`, or an application behind some
    /// `index.php` may read the path as `path`.
    pub(crate) fn may_match_suffix(&self, path: &str) -> bool {
        self.matches(path)
            || self.is_ambiguous && self.any_form(path, |form, path| form.ends_with(path))
    }

    fn any_form(&self, path: &str, matches: impl Fn(&str, &str) -> bool) -> bool {
        let bare = path.trim_end_matches('/');
        let mut forms = [&self.literal, &self.resolved].into_iter();
        forms.any(|form| matches(form.trim_end_matches('/'), bare))
    }
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

/// Joins `parts` into a path and leaves out a leading `index.php`.
fn join_segments(parts: &[String]) -> String {
    let parts = match parts.first().map(String::as_str) {
        Some(INDEX_SCRIPT) => &parts[1..],
        _ => parts,
    };
    format!("/{}", parts.join("/"))
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
    fn path_with_an_inner_index_php_is_ambiguous() {
        for path in [
            "/x/index.php/admin",
            "/index.php/index.php/admin",
            "/123456789/admin/%69ndex.php",
            "/aindex.php",
        ] {
            assert!(NormalizedPath::parse(path).unwrap().is_ambiguous, "{path}");
        }
        for path in ["/index.php/admin", "/index.html", "/php/index"] {
            assert!(!NormalizedPath::parse(path).unwrap().is_ambiguous, "{path}");
        }
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
