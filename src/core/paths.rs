//! Paths as those behind us read them. What is forwarded stays as it came; what
//! is decided about a path is decided on these readings.

mod url_path;

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

pub use self::url_path::{ExactPath, UrlPath, check_literal};

/// The ways in which a path can be understood behind the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalizedPath<'a> {
    /// As Laravel reads it: decoded once, slashes merged, `index.php` as the
    /// root that it is (`/index.php/admin` is the route `/admin`).
    pub literal: Cow<'a, str>,
    /// As file servers and other proxies read it: `.` and `..` resolved as well,
    /// and `\` taken for `/`.
    pub resolved: Cow<'a, str>,
    /// Whether `index.php` stands somewhere inside. An app in a directory of its
    /// own, `/app`, reads `/app/index.php/admin` and even `/x/app/index.php/admin`
    /// as its `/admin` (Symfony's `Request::prepareBaseUrl`).
    pub is_doubtful: bool,
}

/// A NUL, encoded: nobody means it, and C programs end there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its path holds a NUL")]
pub struct NulInPath;

impl<'a> NormalizedPath<'a> {
    /// Reads `path`, which begins with a slash.
    ///
    /// # Errors
    /// It holds `%00`.
    pub fn parse(path: &'a str) -> Result<Self, NulInPath> {
        if is_unambiguous(path) {
            return Ok(Self {
                literal: Cow::Borrowed(path),
                resolved: Cow::Borrowed(path),
                is_doubtful: false,
            });
        }
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        if decoded.contains('\0') {
            return Err(NulInPath);
        }
        let parts = |text: &str| -> Vec<String> {
            let parts = text.split('/').filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
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
            is_doubtful: literal.contains(INDEX_SCRIPT) || resolved.contains(INDEX_SCRIPT),
            literal: Cow::Owned(literal),
            resolved: Cow::Owned(resolved),
        })
    }

    /// Whether either reading is `path`, but for a slash at the end.
    pub fn matches(&self, path: &str) -> bool {
        self.either(path, str::eq)
    }

    /// Whether it spells `path`, or an app behind some `index.php` may read it so.
    pub fn may_match_suffix(&self, path: &str) -> bool {
        self.matches(path) || self.is_doubtful && self.either(path, |it, path| it.ends_with(path))
    }

    fn either(&self, path: &str, fits: impl Fn(&str, &str) -> bool) -> bool {
        let bare = path.trim_end_matches('/');
        let mut readings = [&self.literal, &self.resolved].into_iter();
        readings.any(|reading| fits(reading.trim_end_matches('/'), bare))
    }
}

/// Whether there is only one way to read it.
fn is_unambiguous(path: &str) -> bool {
    let mut before = 0;
    let mut is_simple = |byte: u8| {
        let merges = byte == b'/' && before == b'/';
        before = byte;
        !merges && !matches!(byte, b'%' | b'\\' | b'.')
    };
    if !path.is_empty() && path.bytes().all(&mut is_simple) {
        // As most are: neither `..` nor `index.php` can be in it.
        return true;
    }
    let odd = |part: &str| part.is_empty() || part == "." || part == "..";
    let inner = path.strip_prefix('/').unwrap_or(path).split('/');
    let ends_in_slash = path.ends_with('/');
    let parts = path.matches('/').count();
    let odd_parts = inner.enumerate().any(|(number, part)| {
        // The empty part after a slash at the end is no doubled slash.
        odd(part) && !(part.is_empty() && ends_in_slash && number + 1 == parts)
    });
    !odd_parts && !path.contains(['%', '\\']) && !path.contains(INDEX_SCRIPT)
}

/// The one file of PHP that Laravel has.
const INDEX_SCRIPT: &str = "index.php";

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
    fn other_spellings_read_as_the_same_path() {
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
    fn dots_and_backslashes_can_be_read_in_two_ways() {
        let two = |literal: &str, resolved: &str| (literal.to_owned(), resolved.to_owned());
        assert_eq!(both("/api/../admin"), two("/api/../admin", "/admin"));
        assert_eq!(both("/api/%2e%2e/admin"), two("/api/../admin", "/admin"));
        assert_eq!(both("/./admin"), two("/./admin", "/admin"));
        assert_eq!(both("/a\\..\\admin"), two("/a\\..\\admin", "/admin"));
        assert_eq!(both("/../../admin"), two("/../../admin", "/admin"));
    }

    #[test]
    fn a_path_with_another_index_in_it_is_doubtful() {
        for path in [
            "/x/index.php/admin",
            "/index.php/index.php/admin",
            "/123456789/admin/%69ndex.php",
            "/aindex.php",
        ] {
            assert!(NormalizedPath::parse(path).unwrap().is_doubtful, "{path}");
        }
        for path in ["/index.php/admin", "/index.html", "/php/index"] {
            assert!(!NormalizedPath::parse(path).unwrap().is_doubtful, "{path}");
        }
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(NormalizedPath::parse("/a%00.php"), Err(NulInPath));
    }

    #[test]
    fn a_slash_at_the_end_spells_the_same() {
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
