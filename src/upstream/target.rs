//! Where the app listens, as `config.toml` writes it.

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery};
use serde::Deserialize;

/// `http://host:port` or `unix:/path/to.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Target {
    /// A TCP peer by name or address; the port is always there.
    Tcp(Authority),
    /// A Unix socket by absolute path.
    Unix(PathBuf),
}

impl Target {
    /// The URI under which the pool files a request for `uri`'s path and query.
    pub(super) fn absolute(&self, uri: &Uri) -> Uri {
        let authority = match self {
            Self::Tcp(authority) => authority.clone(),
            Self::Unix(_) => Authority::from_static("unix"),
        };
        let path = uri.path_and_query().cloned();
        Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .expect("three valid parts make a valid URI")
    }
}

impl Default for Target {
    fn default() -> Self {
        Self::Tcp(Authority::from_static("127.0.0.1:8000"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(format!("{text:?} has no absolute path; {WANTED}")),
            };
        }
        let Some(rest) = text.strip_prefix("http://") else {
            let hint = match text.starts_with("https://") {
                true => "the edge speaks plain HTTP to an app on this machine",
                false => "no scheme that is known here",
            };
            return Err(format!("{text:?}: {hint}; {WANTED}"));
        };
        match rest.trim_end_matches('/').parse::<Authority>() {
            Ok(authority) if authority.as_str().contains('@') => {
                Err(format!("user name and password are not sent; {WANTED}"))
            }
            Ok(authority) if authority.port_u16().is_none() => {
                Err(format!("{text:?} names no port; {WANTED}"))
            }
            Ok(authority) => Ok(Self::Tcp(authority)),
            Err(_) => Err(format!("{text:?} is more than a host and a port; {WANTED}")),
        }
    }
}

const WANTED: &str = r#"expected "http://127.0.0.1:8000" or "unix:/run/app.sock""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back() {
        for text in [
            "http://127.0.0.1:8000",
            "http://[::1]:80",
            "unix:/run/app.sock",
        ] {
            assert_eq!(Target::try_from(text.to_owned()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "127.0.0.1:8000",
            "https://127.0.0.1",
            "http://127.0.0.1",
            "http://host:80/path",
            "http://u:p@host:80",
            "unix:app.sock",
            "http://host:99999",
        ] {
            assert!(Target::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
