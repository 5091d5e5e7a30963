//! What a path of a URL names below a directory, in the one way that leaves no
//! doubt. Whatever could be meant otherwise names nothing.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// A file's or a directory's name below the root: parts without `.` and `..`, none
/// of them hidden, none a program of PHP's. It cannot lead upwards.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SafePath {
    /// Without a slash at either end; empty for the root.
    path: String,
    is_directory: bool,
}

impl SafePath {
    /// What `path`, as it stands in a URL, names; none if it is spelled in any way
    /// but the plain one, or names what nobody is to see.
    ///
    /// A name that exists is read as the same path by [`crate::core::paths::NormalizedPath`], so
    /// the route that was found is the route of this file.
    pub fn parse(path: &str) -> Option<Self> {
        let inner = path.strip_prefix('/')?;
        let bare = inner.strip_suffix('/').unwrap_or(inner);
        let is_directory = bare.len() < inner.len() || inner.is_empty();
        if bare.is_empty() {
            // "//" is not the root.
            return inner.is_empty().then_some(Self::root());
        }
        let mut decoded = String::with_capacity(bare.len());
        for (number, part) in bare.split('/').enumerate() {
            if number > 0 {
                decoded.push('/');
            }
            decoded.push_str(&decode_segment(part, number == 0)?);
        }
        Some(Self {
            path: decoded,
            is_directory,
        })
    }

    const fn root() -> Self {
        Self {
            path: String::new(),
            is_directory: true,
        }
    }

    /// Relative to the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it ends in a slash, or is the root.
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// What its last part ends in after a dot, in lower case.
    pub(super) fn extension(&self) -> Option<String> {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        let (_, extension) = last.rsplit_once('.')?;
        Some(extension.to_ascii_lowercase())
    }
}

impl TryFrom<String> for SafePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = !text.contains('%') && !text.starts_with('/');
        let name = Self::parse(&format!("/{text}")).filter(|name| plain && !name.is_directory);
        name.ok_or_else(|| {
            format!("{text:?} is not a file's name below the directory; expected \"index.html\"")
        })
    }
}

/// One part, decoded once.
fn decode_segment(part: &str, is_first: bool) -> Option<String> {
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        if byte == b'%' && !(hex(rest.next()) && hex(rest.next())) {
            return None;
        }
    }
    let part = percent_decode_str(part).decode_utf8().ok()?.into_owned();
    let odd = |c: char| c.is_control() || c == '/' || c == '\\';
    let hidden = part.starts_with('.') && !(is_first && part == ".well-known");
    if part.is_empty() || part.contains(odd) || hidden || is_script(&part) {
        None
    } else {
        Some(part)
    }
}

/// What PHP might run, in any spelling: its text is nobody's business.
fn is_script(part: &str) -> bool {
    let mut extensions = part.split('.').skip(1);
    extensions.any(|extension| {
        let extension = extension.to_ascii_lowercase();
        let mut programs = ["php", "pht", "phar"].iter();
        programs.any(|program| extension.starts_with(program))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::paths::NormalizedPath;

    #[test]
    fn plain_paths_name_files() {
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
    fn whatever_could_be_meant_otherwise_names_nothing() {
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
    fn the_sysadmin_names_a_file() {
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
        fn the_route_is_found_for_the_file_that_is_named(path in "/([a-c./\\\\%;é]|%2[eEfF5]|%5c|index.php|/){0,12}") {
            if let Some(name) = SafePath::parse(&path) {
                let read = NormalizedPath::parse(&path).unwrap();
                let bare = |text: &str| text.trim_matches('/').to_owned();
                prop_assert!(!read.is_ambiguous);
                prop_assert_eq!(&bare(&read.literal), name.path());
                prop_assert_eq!(&bare(&read.resolved), name.path());
            }
        }
    }
}
