//! Error pages: the built-in one, or the sysadmin's own from `http.error_pages`. Each is
//! short HTML for browsers and screen readers, or JSON for programs, and never reveals
//! anything about the servers behind the edge.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use hyper::StatusCode;

use crate::forwarded::RequestId;

/// The sysadmin's pages by file name: `502.html` for one status, or `5xx.html` for all
/// statuses of a class without a page of their own. `.json` files likewise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorPages(BTreeMap<String, String>);

/// The error of a directory of pages that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory or a page in it cannot be read.
    #[error("cannot read {} (http.error_pages); name a directory of readable files such as 404.html", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file is not a valid page.
    #[error(
        "{} (http.error_pages) is {problem}; expected files of up to 256 KiB \
         such as 404.html, 5xx.html or 5xx.json",
        .path.display()
    )]
    Unfit {
        /// The file in the directory of error pages.
        path: PathBuf,
        /// The reason, as a complement of "the file is".
        problem: &'static str,
    },
}

/// The content of one error page.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorPage<'a> {
    pub(super) status: StatusCode,
    /// Plain text, without characters that need escaping in HTML.
    pub(super) message: &'a str,
    pub(super) request_id: &'a RequestId,
}

impl ErrorPages {
    /// Loads the pages in `directory`; without a directory there are only built-in pages.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// Returns [`Error::Read`] if a page cannot be read, and [`Error::Unfit`] if a file is
    /// not named after a status or is longer than 256 KiB.
    pub(crate) fn load(directory: Option<&Path>) -> Result<Self, Error> {
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
            // Backup and swap files of editors.
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

    /// Returns the media type and the text of `page`, as JSON or HTML.
    pub(super) fn render(&self, page: ErrorPage<'_>, as_json: bool) -> (&'static str, String) {
        let (kind, media_type) = if as_json {
            ("json", "application/json")
        } else {
            ("html", "text/html; charset=utf-8")
        };
        let code = page.status.as_u16();
        let exact = self.0.get(&format!("{code}.{kind}"));
        let template = exact.or_else(|| self.0.get(&format!("{}xx.{kind}", code / 100)));
        let text = match (template, as_json) {
            (Some(template), _) => page.fill(template),
            (None, true) => page.json(),
            (None, false) => page.fill(HTML),
        };
        (media_type, text)
    }
}

/// Returns whether `name` is that of a page, such as `404.html` or `5xx.json`.
fn is_page_name(name: &str) -> bool {
    let (stem, kind) = name.split_once('.').unwrap_or_default();
    let is_error = stem.starts_with(['4', '5']) && stem.len() == 3;
    let digits = stem.get(1..).unwrap_or_default();
    let is_status = digits == "xx" || digits.bytes().all(|b| b.is_ascii_digit());
    is_error && is_status && ["html", "json"].contains(&kind)
}

impl ErrorPage<'_> {
    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    /// Returns `template` with its placeholders replaced.
    fn fill(&self, template: &str) -> String {
        template
            .replace("{{status}}", self.status.as_str())
            .replace("{{title}}", self.title())
            .replace("{{message}}", self.message)
            .replace("{{request_id}}", &self.request_id.to_string())
    }

    /// Returns the page as JSON, in the form of Laravel's own errors.
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
    fn configured_error_page_replaces_the_default() {
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
    fn error_page_name_that_is_no_status_is_rejected() {
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
