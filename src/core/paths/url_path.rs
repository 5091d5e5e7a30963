//! Paths as `config.toml` writes them. A path that requests are compared with must be
//! spelled as [`NormalizedPath`] reads it: no request fits any other, so it guards nothing.

use serde::Deserialize;

use super::{INDEX_SCRIPT, NormalizedPath};

/// The path of a URL and all below it: `/admin`.
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
        check(&text, "a path means it and all below")?;
        Ok(Self(text))
    }
}

/// The path of a URL and nothing below it: `/ws`. A slash at its end makes no
/// difference.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ExactPath(String);

impl ExactPath {
    /// For defaults.
    pub(crate) fn new(path: &'static str) -> Self {
        Self(path.to_owned())
    }

    /// The path itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ExactPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        check(
            &text,
            "a path here means exactly it and nothing below, so list each one",
        )?;
        Ok(Self(text))
    }
}

/// Checks that some request's path is read as `text`; `meaning` says what `text`
/// stands for.
fn check(text: &str, meaning: &str) -> Result<(), String> {
    if let Some(sign) = find_pattern(text) {
        return Err(format!(
            "{text:?} holds a pattern, which is never matched: {meaning}; leave out the \
             {sign:?}"
        ));
    }
    if text.contains(INDEX_SCRIPT) {
        return Err(format!(
            "{text:?} names {INDEX_SCRIPT}, which is no part of the paths that requests are compared \
             by; write \"/admin\" for \"/{INDEX_SCRIPT}/admin\""
        ));
    }
    // Beyond ASCII a path is made of letters and digits. The other signs look like
    // something else, or like nothing: `/admin` and an invisible sign guard nothing.
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
    let is_itself = |read: NormalizedPath<'_>| {
        bare(&read.literal) == bare(text) && bare(&read.resolved) == bare(text)
    };
    let is_spelled_plainly = text.chars().all(is_plain) && !text.ends_with("//");
    let is_read_as_itself = || NormalizedPath::parse(text).is_ok_and(is_itself);
    if text.starts_with('/') && is_spelled_plainly && is_read_as_itself() {
        Ok(())
    } else {
        Err(format!("{text:?} is not a path; expected {EXPECTED_PATH}"))
    }
}

/// Checks that no sign of a pattern is in `text`, a path that the edge asks Laravel
/// for, with a query or without. Only `placeholder` is filled in, if there is one.
///
/// # Errors
/// There is one.
pub fn check_literal(text: &str, placeholder: Option<&str>) -> Result<(), String> {
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    let (path, but) = match placeholder {
        None => (path.to_owned(), String::new()),
        Some(it) => (path.replacen(it, "1", 1), format!(" but for {it}")),
    };
    match find_pattern(&path) {
        None => Ok(()),
        Some(sign) => Err(format!(
            "{text:?} holds a pattern, which is never matched: this path is sent as it is \
             written{but}; leave out the {sign:?}"
        )),
    }
}

/// The first sign in `path` by which globs, regular expressions and routers write
/// patterns. No path of an app needs one of them.
fn find_pattern(path: &str) -> Option<&str> {
    let is_sign = |c: char| "*{}[]()<>^$|".contains(c);
    if let Some((at, sign)) = path.char_indices().find(|(_, c)| is_sign(*c)) {
        return Some(&path[at..at + sign.len_utf8()]);
    }
    // `/x/.+` of regular expressions, `/users/:id` and `/x/...` of routers, and two
    // paths in one text. Alone, these characters are in paths: `/c++`, `/v1/a:b`.
    let part = |part: &&str| *part == "..." || part.len() > 1 && part.starts_with(':');
    let signs = [".+", ",/"];
    let sign = signs.into_iter().find(|sign| path.contains(sign));
    sign.or_else(|| path.split('/').find(part))
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
    fn a_path_in_plain_spelling_is_accepted() {
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
    fn a_path_that_no_request_is_read_as_is_rejected() {
        for wrong in [
            "", "ws", "/a?b", "/a#b", "/%61", "/a%2a", "/a//b", "/a/../b", "/a/..", "/./a",
            "/a/./", "/a b", "//", "/a//", "/a\\b", "/a\u{7f}", "~ ^/a",
        ] {
            let told = path(wrong).unwrap_err();
            assert!(!told.contains("pattern") || wrong == "~ ^/a", "{told}");
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
    fn a_path_with_a_pattern_is_rejected_with_its_meaning() {
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
            let told = path(wrong).unwrap_err();
            let cure = format!("means it and all below; leave out the {sign:?}");
            assert!(told.contains(&cure), "{told}");
            let told = ExactPath::try_from(wrong.to_owned()).unwrap_err();
            assert!(told.contains("exactly it and nothing below"), "{told}");
        }
    }

    #[test]
    fn a_path_that_is_sent_has_patterns_in_its_query_only() {
        assert_eq!(check_literal("/a%2Fb?filter[x]=*", None), Ok(()));
        assert_eq!(check_literal("/a/{id}?x={y}", Some("{id}")), Ok(()));
        for wrong in ["/a/*", "/a/{b}?c", "/a/:b"] {
            let told = check_literal(wrong, None).unwrap_err();
            assert!(told.contains("sent as it is written; leave"), "{told}");
        }
        let told = check_literal("/{team}/{id}", Some("{id}")).unwrap_err();
        assert!(told.contains("written but for {id}; leave"), "{told}");
    }

    #[test]
    fn a_path_is_above_whole_parts_only() {
        let path = UrlPath::new("/admin/");
        assert!(path.is_above("/admin") && path.is_above("/admin/x"));
        assert!(!path.is_above("/administrator"));
        assert!(UrlPath::new("/").is_above("/anything"));
    }
}
