//! Error pages: ours, or the sysadmin's in their place. Short, for people and
//! screen readers, or JSON for programs, and never a word about what is behind
//! the edge.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hyper::StatusCode;

use crate::forwarded::RequestId;

/// The sysadmin's pages: `502.html`, or `5xx.html` for all that have none of
/// their own; `.json` likewise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages(BTreeMap<String, String>);

/// Why the pages cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory or a page in it.
    #[error("cannot read the error page {} (http.error_pages in config.toml)", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no page.
    #[error(
        "{} (http.error_pages in config.toml) is {problem}; expected files of up to 256 KiB \
         such as 404.html, 5xx.html or 5xx.json",
        .path.display()
    )]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What a page tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorPage<'a> {
    pub(super) status: StatusCode,
    /// Plain text without anything that HTML or JSON would escape.
    pub(super) message: &'a str,
    pub(super) request_id: &'a RequestId,
}

impl ErrorPages {
    /// Reads the pages in `directory`; none if there is no directory.
    ///
    /// # Errors
    /// A page cannot be read, or a file is none.
    pub fn load(directory: Option<&Path>) -> Result<Self, Error> {
        let Some(directory) = directory else {
            return Ok(Self::default());
        };
        let read = |path: &Path, source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let mut pages = BTreeMap::new();
        for entry in std::fs::read_dir(directory).map_err(|error| read(directory, error))? {
            let path = entry.map_err(|error| read(directory, error))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.unwrap_or_default().to_owned();
            // An editor's leavings.
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            let unfit = |problem| Error::Unfit {
                path: path.clone(),
                problem,
            };
            if !is_page_name(&name) {
                return Err(unfit("not named after a status"));
            }
            let size = std::fs::metadata(&path).map_err(|error| read(&path, error))?;
            if size.len() > MAX_PAGE_BYTES {
                return Err(unfit("too long"));
            }
            let text = std::fs::read_to_string(&path).map_err(|error| read(&path, error))?;
            pages.insert(name, text);
        }
        Ok(Self(pages))
    }

    /// The page in the wanted form, and its media type.
    pub(super) fn render(&self, page: ErrorPage<'_>, as_json: bool) -> (&'static str, String) {
        let (kind, media_type) = if as_json {
            ("json", "application/json")
        } else {
            ("html", "text/html; charset=utf-8")
        };
        let code = page.status.as_u16();
        let exact = self.0.get(&format!("{code}.{kind}"));
        let text = exact.or_else(|| self.0.get(&format!("{}xx.{kind}", code / 100)));
        let text = match (text, as_json) {
            (Some(text), _) => page.fill(text),
            (None, true) => page.json(),
            (None, false) => page.fill(HTML),
        };
        (media_type, text)
    }
}

/// `404.html`, `5xx.json`: of statuses that are errors.
fn is_page_name(name: &str) -> bool {
    let (stem, kind) = name.split_once('.').unwrap_or_default();
    let class = stem.starts_with(['4', '5']) && stem.len() == 3;
    let rest = stem.get(1..).unwrap_or_default();
    let rest = rest == "xx" || rest.bytes().all(|b| b.is_ascii_digit());
    class && rest && ["html", "json"].contains(&kind)
}

impl ErrorPage<'_> {
    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{{status}}", self.status.as_str())
            .replace("{{title}}", self.title())
            .replace("{{message}}", self.message)
            .replace("{{request_id}}", &self.request_id.to_string())
    }

    /// In the shape of Laravel's own errors.
    fn json(&self) -> String {
        serde_json::json!({
            "message": self.message,
            "error": self.title(),
            "request_id": self.request_id.to_string(),
        })
        .to_string()
    }
}

const MAX_PAGE_BYTES: u64 = 256 * 1024;

const HTML: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}}</title>
<style>
:root { color-scheme: light dark; }
body { font: 1.125rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem; }
small { overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
<h1>{{title}}</h1>
<p>{{message}}</p>
<p><small>If you tell somebody about it, name this request: <code>{{request_id}}</code></small></p>
</main>
</body>
</html>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(pages: &ErrorPages, status: u16, as_json: bool) -> String {
        let page = ErrorPage {
            status: StatusCode::from_u16(status).unwrap(),
            message: "Nobody answers.",
            request_id: &RequestId::new(),
        };
        pages.render(page, as_json).1
    }

    #[test]
    fn the_sysadmins_page_stands_in_for_ours() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("5xx.html", "<p>{{status}} {{message}}");
        write("503.html", "back soon");
        write("502.html~", "old");
        let pages = ErrorPages::load(Some(directory.path())).unwrap();
        assert_eq!(rendered(&pages, 502, false), "<p>502 Nobody answers.");
        assert_eq!(rendered(&pages, 503, false), "back soon");
        assert!(rendered(&pages, 503, true).starts_with('{'));
        assert!(rendered(&pages, 404, false).contains("Nobody answers."));

        write("error.html", "");
        let error = ErrorPages::load(Some(directory.path()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("error.html"), "{error}");
    }

    #[test]
    fn names_are_statuses() {
        for right in ["404.html", "5xx.json", "499.html"] {
            assert!(is_page_name(right), "{right}");
        }
        for wrong in [
            "200.html",
            "4x.html",
            "404.htm",
            "404",
            "é04.html",
            "4é.html",
            ".html",
        ] {
            assert!(!is_page_name(wrong), "{wrong}");
        }
    }
}
