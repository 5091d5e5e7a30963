//! The check of what a Pusher client names in its URL: `/app/KEY?protocol=7&client=js&…`.

use hyper::Uri;

use super::settings::Settings;
use crate::core::request_path::{NormalizedPath, UrlPath};
use crate::ws::CloseReason;

/// Returns the key that a client names in the path of its URL; none if the protocol is off, or
/// if the path is not below one of `pusher.paths`.
pub(in crate::ws) fn find_key<'a>(
    path: &'a NormalizedPath<'_>,
    settings: &Settings,
) -> Option<&'a str> {
    settings.key.as_ref()?;
    let below = |configured: &UrlPath| configured.strip_from(&path.literal);
    let rest = settings.paths.iter().find_map(below)?;
    Some(rest.trim_matches('/')).filter(|key| !key.is_empty())
}

/// Checks the URL of a client; none if it is no client of this protocol. A client learns from
/// a close code why it is not served: a browser hides the status of a rejected upgrade.
///
/// # Errors
/// `UnknownKey`, `NoProtocol`, `InvalidProtocol` or `UnsupportedProtocol`.
pub(in crate::ws) fn check(uri: &Uri, settings: &Settings) -> Option<Result<(), CloseReason>> {
    let expected_key = settings.key.as_ref()?.as_str();
    let path = NormalizedPath::parse(uri.path()).ok()?;
    let key = find_key(&path, settings)?;
    let query = uri.query().unwrap_or_default();
    Some(check_client(key, query, expected_key))
}

/// Checks the key of a client, and the version of the protocol in its query.
fn check_client(key: &str, query: &str, expected_key: &str) -> Result<(), CloseReason> {
    if key != expected_key {
        return Err(CloseReason::UnknownKey);
    }
    let mut pairs = query.split('&');
    let version = pairs
        .find_map(|pair| pair.strip_prefix("protocol="))
        .filter(|version| !version.is_empty())
        .ok_or(CloseReason::NoProtocol)?;
    // Rust's own parser accepts a plus sign.
    let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
    let version: Option<u32> = version.parse().ok().filter(|_| is_number);
    let version = version.ok_or(CloseReason::InvalidProtocol)?;
    if SPOKEN_VERSIONS.contains(&version) {
        Ok(())
    } else {
        Err(CloseReason::UnsupportedProtocol)
    }
}

/// pusher-js speaks 7. The Java client, that of Android, names version 5, whose messages are
/// the same.
const SPOKEN_VERSIONS: std::ops::RangeInclusive<u32> = 5..=7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_that_is_not_served_learns_why() {
        let pusher_js = "protocol=7&client=js&version=8.6.0&flash=false";
        for (key, query, expected) in [
            ("key", pusher_js, Ok(())),
            ("key", "client=java-client&protocol=5&version=2.4.4", Ok(())),
            ("other", pusher_js, Err(CloseReason::UnknownKey)),
            ("", pusher_js, Err(CloseReason::UnknownKey)),
            ("key", "", Err(CloseReason::NoProtocol)),
            ("key", "protocol=", Err(CloseReason::NoProtocol)),
            ("key", "protocol=seven", Err(CloseReason::InvalidProtocol)),
            ("key", "protocol=+7", Err(CloseReason::InvalidProtocol)),
            ("key", "protocol=4", Err(CloseReason::UnsupportedProtocol)),
            ("key", "protocol=8", Err(CloseReason::UnsupportedProtocol)),
        ] {
            assert_eq!(check_client(key, query, "key"), expected, "{key} {query}");
        }
    }
}
