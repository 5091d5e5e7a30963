//! Paths in `config.toml`. A path that requests are compared with must be written in the
//! form that [`NormalizedPath`] produces: any other form would match no request, and the
//! rule would protect nothing.

use serde::Deserialize;

use super::{INDEX_SCRIPT, NormalizedPath};

/// A URL path and everything below it, such as `/admin`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UrlPath(String);

impl UrlPath {
    /// Returns `path` unchecked, for default values.
    pub(crate) fn new(path: &'static str) -> Self {
        Self(path.to_owned())
    }

    /// Returns the path as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether `path` is this path or below it. Only whole segments count:
    /// `/admin` is not above `/administrator`.
    pub(crate) fn is_above(&self, path: &str) -> bool {
        self.strip_from(path).is_some()
    }

    /// Returns the rest of `path` below this path: empty, or with a slash at its beginning.
    pub(crate) fn strip_from<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.0.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

impl TryFrom<String> for UrlPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        check_path(&text, "a path matches itself and everything below it")?;
        Ok(Self(text))
    }
}

/// A URL path and nothing below it, such as `/ws`. A trailing slash makes no difference.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ExactPath(String);

impl ExactPath {
    /// Returns `path` unchecked, for default values.
    pub(crate) fn new(path: &'static str) -> Self {
        Self(path.to_owned())
    }

    /// Returns the path as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ExactPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        check_path(
            &text,
            "a path here means exactly it and nothing below, so list each one",
        )?;
        Ok(Self(text))
    }
}

/// Checks that the normalized path of some request can be `text`. The error text says
/// `meaning`: which requests such a path matches.
fn check_path(text: &str, meaning: &str) -> Result<(), String> {
    if let Some(sign) = find_pattern(text) {
        return Err(format!(
            "{text:?} contains a pattern character, but paths have no patterns: {meaning}; leave \
             out the {sign:?}"
        ));
    }
    if text.contains(INDEX_SCRIPT) {
        return Err(format!(
            "{text:?} names {INDEX_SCRIPT}, which is no part of the paths that requests are compared \
             by; write \"/admin\" for \"/{INDEX_SCRIPT}/admin\""
        ));
    }
    // Beyond ASCII, only letters and digits are accepted. Other characters look like an
    // ASCII one or are invisible: `/admin` with an invisible character protects nothing.
    if let Some(sign) = text.chars().find(|c| !c.is_ascii() && !c.is_alphanumeric()) {
        return Err(format!(
            "{text:?} holds the sign {}, which is no letter and no digit; write the path anew \
             without it",
            sign.escape_unicode()
        ));
    }
    if let Some(at) = text.find('\\') {
        return Err(format!(
            "{text:?} holds a {:?}, which is no part of a path; {meaning}",
            &text[at..=at]
        ));
    }
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"?#".contains(c);
    let bare = |path: &str| path.trim_end_matches('/').to_owned();
    let is_unchanged = |normalized: NormalizedPath<'_>| {
        bare(&normalized.literal) == bare(text) && bare(&normalized.resolved) == bare(text)
    };
    let is_plain_text = text.chars().all(is_plain) && !text.ends_with("//");
    let is_normalized = || NormalizedPath::parse(text).is_ok_and(is_unchanged);
    if text.starts_with('/') && is_plain_text && is_normalized() {
        Ok(())
    } else {
        Err(format!("{text:?} is not a path; expected {EXPECTED_PATH}"))
    }
}

/// Checks that `text` contains no pattern. `text` is a path, with or without a query, that
/// the edge itself requests from Laravel; only `placeholder` is replaced in it.
///
/// # Errors
/// Returns a message for the sysadmin if the path contains a character of a pattern.
pub(crate) fn check_literal(text: &str, placeholder: Option<&str>) -> Result<(), String> {
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    let (path, exception) = match placeholder {
        None => (path.to_owned(), String::new()),
        Some(name) => (path.replacen(name, "1", 1), format!(" but for {name}")),
    };
    match find_pattern(&path) {
        None => Ok(()),
        Some(sign) => Err(format!(
            "{text:?} contains a pattern character, but paths have no patterns: this path is sent as it is \
             written{exception}; leave out the {sign:?}"
        )),
    }
}

/// Returns the first character or word in `path` with which globs, regular expressions or
/// routers write patterns. No path of an application needs one of them.
fn find_pattern(path: &str) -> Option<&str> {
    let is_sign = |c: char| "*{}[]()<>^$|".contains(c);
    if let Some((at, sign)) = path.char_indices().find(|(_, c)| is_sign(*c)) {
        return Some(&path[at..at + sign.len_utf8()]);
    }
    // `/x/.+` of regular expressions, `/users/:id` and `/x/...` of routers, and two paths
    // in one string. The single characters are allowed, as in `/c++` and `/v1/a:b`.
    let is_pattern = |part: &&str| *part == "..." || part.len() > 1 && part.starts_with(':');
    let sign = [".+", ",/"].into_iter().find(|sign| path.contains(sign));
    sign.or_else(|| path.split('/').find(is_pattern))
}

const EXPECTED_PATH: &str = r#"a path such as "/ws", decoded and without a query, // or .."#;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<UrlPath, String> {
        let exact = ExactPath::try_from(text.to_owned());
        let path = UrlPath::try_from(text.to_owned());
        assert_eq!(exact.is_ok(), path.is_ok(), "{text}");
        path
    }

    #[test]
    fn path_in_plain_spelling_is_accepted() {
        for right in [
            "/",
            "/ws",
            "/a/",
            "/café",
            "/チケット/१२",
            "/a.b/.c",
            "/c++",
            "/~ana",
            "/@vite/client",
            "/v1/a:b",
            "/a,b;c=d",
            "/index.html",
        ] {
            assert!(path(right).is_ok(), "{right}");
        }
    }

    #[test]
    fn path_that_no_request_can_match_is_rejected() {
        for wrong in [
            "", "ws", "/a?b", "/a#b", "/%61", "/a%2a", "/a//b", "/a/../b", "/a/..", "/./a",
            "/a/./", "/a b", "//", "/a//", "/a\\b", "/a\u{7f}", "~ ^/a",
        ] {
            let error = path(wrong).unwrap_err();
            assert!(!error.contains("pattern") || wrong == "~ ^/a", "{error}");
        }
        for wrong in [
            "/admin\u{200b}",
            "/admin\u{202e}",
            "/x/\u{ff0a}",
            "/\u{ad}x",
        ] {
            assert!(path(wrong).unwrap_err().contains("no letter"), "{wrong:?}");
        }
        assert!(path("/x/\\d+").unwrap_err().contains("holds a"));
        for wrong in ["/index.php", "/index.php/admin", "/x/index.php"] {
            assert!(path(wrong).unwrap_err().contains("names index.php"));
        }
    }

    #[test]
    fn path_with_a_pattern_is_rejected_with_its_meaning() {
        for (wrong, sign) in [
            ("/x/*", "*"),
            ("/x/**", "*"),
            ("/x*", "*"),
            ("/x/{any}", "{"),
            ("/{x,y}", "{"),
            ("/^x", "^"),
            ("^/x", "^"),
            ("/x$", "$"),
            ("/x/.*", "*"),
            ("/x/.+", ".+"),
            ("/(x|y)", "("),
            ("/x|/y", "|"),
            ("/x,/y", ",/"),
            ("/[xy]", "["),
            ("/x/<id>", "<"),
            ("/x/:id", ":id"),
            ("/x/...", "..."),
        ] {
            let error = path(wrong).unwrap_err();
            let cure = format!("matches itself and everything below it; leave out the {sign:?}");
            assert!(error.contains(&cure), "{error}");
            let error = ExactPath::try_from(wrong.to_owned()).unwrap_err();
            assert!(error.contains("exactly it and nothing below"), "{error}");
        }
    }

    #[test]
    fn sent_path_with_a_pattern_outside_its_query_is_rejected() {
        assert_eq!(check_literal("/a%2Fb?filter[x]=*", None), Ok(()));
        assert_eq!(check_literal("/a/{id}?x={y}", Some("{id}")), Ok(()));
        for wrong in ["/a/*", "/a/{b}?c", "/a/:b"] {
            let error = check_literal(wrong, None).unwrap_err();
            assert!(error.contains("sent as it is written; leave"), "{error}");
        }
        let error = check_literal("/{team}/{id}", Some("{id}")).unwrap_err();
        assert!(error.contains("written but for {id}; leave"), "{error}");
    }

    #[test]
    fn path_is_above_whole_segments_only() {
        let path = UrlPath::new("/admin/");
        assert!(path.is_above("/admin") && path.is_above("/admin/x"));
        assert!(!path.is_above("/administrator"));
        assert!(UrlPath::new("/").is_above("/anything"));
    }
}
