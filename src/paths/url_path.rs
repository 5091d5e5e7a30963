//! Paths as `config.toml` writes them.

use serde::Deserialize;

/// The path of a URL as routes name it: `/ws`, without a query, and spelled in
/// the one way that needs no decoding.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UrlPath(String);

impl UrlPath {
    /// For defaults.
    pub(crate) fn new(path: &'static str) -> Self {
        Self(path.to_owned())
    }

    /// The path itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` is this path or below it.
    pub fn is_above(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.0.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl TryFrom<String> for UrlPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"?#%\\".contains(c);
        let bare = text.strip_suffix('/').unwrap_or(&text);
        let whole = format!("{bare}/");
        let odd = ["//", "/./", "/../"].iter().any(|odd| whole.contains(odd));
        match text.starts_with('/') && text.chars().all(plain) && !odd {
            true => Ok(Self(text)),
            false => Err(format!("{text:?} is not a path; expected {PATH_WANTED}")),
        }
    }
}

const PATH_WANTED: &str = r#"a path such as "/ws", without % and without // or .."#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_spelled_plainly() {
        let path = |text: &str| UrlPath::try_from(text.to_owned());
        for right in ["/", "/ws", "/a/", "/café", "/a.b/.c"] {
            assert!(path(right).is_ok(), "{right}");
        }
        for wrong in [
            "", "ws", "/a?b", "/%61", "/a//b", "/a/../b", "/a/..", "/./a", "/a b", "//",
        ] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_is_above_whole_parts_only() {
        let path = UrlPath::new("/admin/");
        assert!(path.is_above("/admin") && path.is_above("/admin/x"));
        assert!(!path.is_above("/administrator"));
        assert!(UrlPath::new("/").is_above("/anything"));
    }
}
