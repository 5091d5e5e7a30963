//! Safe relative paths from URLs: only the plain spelling of a path names a file. Ambiguous
//! spellings, hidden files and PHP programs name nothing.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// The path of a file or directory below the root. Its segments are neither `.` nor `..`,
/// not hidden, and not PHP programs, so it cannot lead out of the root.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SafePath {
    /// The decoded path, without a slash at either end; empty for the root.
    path: String,
    is_directory: bool,
}

impl SafePath {
    /// Parses the path of a URL. Returns `None` if it is not in its plain spelling, or names
    /// something that must not be served.
    ///
    /// [`NormalizedPath`](crate::core::request_path::NormalizedPath) reads an accepted path as the
    /// same path, so the route of the request is the route of this file.
    pub fn parse(path: &str) -> Option<Self> {
        let relative = path.strip_prefix('/')?;
        let bare = relative.strip_suffix('/').unwrap_or(relative);
        let is_directory = bare.len() < relative.len() || relative.is_empty();
        if bare.is_empty() {
            // "//" is not the root.
            return relative.is_empty().then_some(Self::root());
        }
        let mut decoded = String::with_capacity(bare.len());
        for (number, segment) in bare.split('/').enumerate() {
            if number > 0 {
                decoded.push('/');
            }
            decoded.push_str(&decode_segment(segment, number == 0)?);
        }
        Some(Self {
            path: decoded,
            is_directory,
        })
    }

    /// Parses a path that is not percent-encoded and names a file. Returns `None` if it names
    /// something that must not be served.
    pub(crate) fn parse_decoded(path: &str) -> Option<Self> {
        let relative = path.strip_prefix('/')?;
        let mut segments = relative.split('/').enumerate();
        let is_allowed = segments.all(|(number, segment)| is_allowed(segment, number == 0));
        is_allowed.then(|| Self {
            path: relative.to_owned(),
            is_directory: false,
        })
    }

    const fn root() -> Self {
        Self {
            path: String::new(),
            is_directory: true,
        }
    }

    /// Returns the decoded path relative to the root, without slashes at its ends.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns whether the path has a trailing slash or is the root.
    pub(crate) fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// Returns the extension of the last segment in lower case, without the dot.
    pub(super) fn extension(&self) -> Option<String> {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        let (_, extension) = last.rsplit_once('.')?;
        Some(extension.to_ascii_lowercase())
    }
}

impl TryFrom<String> for SafePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_plain = !text.contains('%') && !text.starts_with('/');
        let path = Self::parse(&format!("/{text}")).filter(|path| is_plain && !path.is_directory);
        path.ok_or_else(|| {
            format!("{text:?} is not a file's name below the directory; expected \"index.html\"")
        })
    }
}

/// Decodes one segment once. Returns `None` if its encoding is invalid or the segment is not
/// allowed.
fn decode_segment(segment: &str, is_first: bool) -> Option<String> {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let is_hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        if byte == b'%' && !(is_hex(bytes.next()) && is_hex(bytes.next())) {
            return None;
        }
    }
    let decoded = percent_decode_str(segment).decode_utf8().ok()?.into_owned();
    is_allowed(&decoded, is_first).then_some(decoded)
}

/// Returns whether a decoded segment may be a part of a path.
fn is_allowed(segment: &str, is_first: bool) -> bool {
    let is_forbidden = |c: char| c.is_control() || c == '/' || c == '\\';
    let is_hidden = segment.starts_with('.') && !(is_first && segment == ".well-known");
    !segment.is_empty() && !segment.contains(is_forbidden) && !is_hidden && !is_script(segment)
}

/// Returns whether PHP might run a file of this name, in any case and with any suffix. Its
/// source code must not be served.
fn is_script(segment: &str) -> bool {
    let mut extensions = segment.split('.').skip(1).map(str::to_ascii_lowercase);
    extensions.any(|extension| {
        ["php", "pht", "phar"]
            .iter()
            .any(|prefix| extension.starts_with(prefix))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::request_path::NormalizedPath;

    #[test]
    fn plain_path_names_a_file() {
        let path = |text: &str| SafePath::parse(text).map(|name| (name.path, name.is_directory));
        let file = |text: &str| Some((text.to_owned(), false));
        assert_eq!(path("/"), Some((String::new(), true)));
        assert_eq!(path("/a/b.js"), file("a/b.js"));
        assert_eq!(path("/a/"), Some(("a".to_owned(), true)));
        assert_eq!(path("/caf%C3%A9%20x"), file("café x"));
        assert_eq!(path("/100%25"), file("100%"));
        assert_eq!(path("/%252e%252e"), file("%2e%2e"));
        assert_eq!(path("/.well-known/x"), file(".well-known/x"));
        assert_eq!(path("/a..b/c."), file("a..b/c."));
        assert_eq!(path("/php/graphp.txt"), file("php/graphp.txt"));
    }

    #[test]
    fn ambiguous_path_names_no_file() {
        for path in [
            "",
            "a",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/a/../b",
            "/%2e%2e/a",
            "/.%2e/a",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0a",
            "/a%7f",
            "/%c0%ae%c0%ae/a",
            "/%ff",
            "/a%",
            "/a%2",
            "/a%zz",
            "/.env",
            "/a/.git/config",
            "/%2eenv",
            "/x/.well-known/y",
            "/...",
            "/.well-known/.env",
            "/index.php",
            "/index.PHP",
            "/index.%70hp",
            "/a.php/b",
            "/a.php7",
            "/a.phtml",
            "/index.phpx",
            "/a.phar",
            "/a.php.",
            "/a.php ",
            "/a.php%20",
            "/a.php~",
            "/a.php.bak",
            "/%C2%85",
        ] {
            assert_eq!(SafePath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn decoded_path_keeps_its_percent_signs() {
        let path = |text: &str| SafePath::parse_decoded(text).map(|name| name.path);
        assert_eq!(path("/a/50%25 b.pdf").as_deref(), Some("a/50%25 b.pdf"));
        for wrong in [
            "", "a", "/", "/a/", "//a", "/../a", "/a/./b", "/.env", "/a.php", "/a\\b",
        ] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn configured_file_name_with_unsafe_parts_is_rejected() {
        let name = |text: &str| SafePath::try_from(text.to_owned());
        assert_eq!(name("a/index.html").unwrap().path(), "a/index.html");
        for wrong in [
            "",
            "/index.html",
            "../index.html",
            "a/",
            ".x",
            "a%20b",
            "index.php",
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn file_path_equals_the_path_that_routes_match(path in "/([a-c./\\\\%;é]|%2[eEfF5]|%5c|index.php|/){0,12}") {
            if let Some(name) = SafePath::parse(&path) {
                let read = NormalizedPath::parse(&path).unwrap();
                let bare = |text: &str| text.trim_matches('/').to_owned();
                prop_assert_eq!(&read.other_readings, &[""; 0]);
                prop_assert_eq!(&bare(&read.literal), name.path());
                prop_assert_eq!(&bare(&read.resolved), name.path());
            }
        }
    }
}
