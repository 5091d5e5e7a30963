//! Properties of a file that follow from its path: media type and `Cache-Control`.

use super::SafePath;

/// Returns the media type of the file at `path`, by its extension.
pub(super) fn media_type(path: &str) -> String {
    let extension = path
        .rsplit('/')
        .next()
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, extension)| extension.to_ascii_lowercase());
    let guessed = match extension.as_deref() {
        Some("webmanifest") => "application/manifest+json",
        Some("mjs") => "text/javascript",
        Some(extension) => mime_guess::from_ext(extension)
            .first_raw()
            .unwrap_or(DEFAULT_MEDIA_TYPE),
        None => DEFAULT_MEDIA_TYPE,
    };
    if guessed.starts_with("text/") {
        format!("{guessed}; charset=utf-8")
    } else {
        guessed.to_owned()
    }
}

/// Returns the `Cache-Control` of the file at `path`. A file with a content hash in its name
/// never changes, so it may be cached for a year. Browsers must revalidate everything else:
/// a page names the files of the current build, and without the header they would cache a
/// file for a tenth of its age (RFC 9111 §4.2.2).
pub(super) fn cache_control(path: &str, media_type: &str) -> &'static str {
    if is_hashed(path) && !media_type.starts_with("text/html") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    }
}

/// Returns whether a build tool has named the file: it is below a directory `assets` or
/// `static`, and has a hash before its extension.
///
/// Vite and Rollup write `name-` and 8 characters of base64url; webpack writes `name.` and
/// 8 or more hexadecimal digits. Users choose similar names, such as `report-20240101.pdf`
/// or `team-Juni2024.jpg`, so a hash counts only if it is no word, number or date. Some
/// real hashes look like a word; their files are revalidated, which is only slower.
fn is_hashed(path: &str) -> bool {
    let mut directories: Vec<_> = path.split('/').collect();
    let name = directories.pop().unwrap_or_default();
    let is_built = directories
        .iter()
        .any(|directory| ["assets", "static"].contains(directory));
    let mut pieces = name.split('.');
    let stem = pieces.next().unwrap_or_default();
    let suffixes: Vec<_> = pieces.collect();
    let Some((_extension, inner)) = suffixes.split_last() else {
        return false;
    };
    let has_common_suffixes = inner
        .iter()
        .all(|piece| ["chunk", "min", "js", "css"].contains(piece));
    let is_vite = has_common_suffixes && is_vite_hashed(stem);
    is_built && (is_vite || inner.iter().any(|piece| is_hex(piece)))
}

/// Returns whether `stem` is `name-` and a hash, which may contain `-` itself.
fn is_vite_hashed(stem: &str) -> bool {
    let Some((name, hash)) = stem
        .len()
        .checked_sub(8)
        .and_then(|at| stem.split_at_checked(at))
    else {
        return false;
    };
    name.len() > 1 && name.ends_with('-') && is_base64(hash)
}

/// Returns whether `hash` has capitals, small letters and digits, mixed as in no word.
fn is_base64(hash: &str) -> bool {
    let kind = |byte: u8| match byte {
        b'A'..=b'Z' => Some('A'),
        b'a'..=b'z' => Some('a'),
        b'0'..=b'9' => Some('0'),
        b'-' | b'_' => Some('-'),
        _ => None,
    };
    let Some(kinds) = hash.bytes().map(kind).collect::<Option<Vec<_>>>() else {
        return false;
    };
    let changes = kinds.windows(2).filter(|two| two[0] != two[1]).count();
    ['A', 'a', '0'].iter().all(|one| kinds.contains(one)) && changes >= 4
}

/// Returns whether `hash` consists of hexadecimal digits, with both letters and numbers, so
/// that it is neither a word nor a date.
fn is_hex(hash: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_mixed = hash.bytes().any(|byte| byte.is_ascii_digit())
        && hash.bytes().any(|byte| byte.is_ascii_lowercase());
    (8..=64).contains(&hash.len()) && hash.bytes().all(is_digit) && is_mixed
}

/// Returns whether `path` has the extension of an asset, for which the fallback page is no
/// substitute. A page in place of a script of an older build, for example, would only cause
/// a confusing error in the browser.
pub(super) fn is_asset(path: &SafePath) -> bool {
    path.extension()
        .is_some_and(|extension| ASSET_EXTENSIONS.contains(&extension.as_str()))
}

const DEFAULT_MEDIA_TYPE: &str = "application/octet-stream";

const ASSET_EXTENSIONS: [&str; 42] = [
    "js",
    "mjs",
    "cjs",
    "css",
    "map",
    "json",
    "txt",
    "xml",
    "wasm",
    "webmanifest",
    "ico",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "avif",
    "apng",
    "bmp",
    "woff",
    "woff2",
    "ttf",
    "otf",
    "eot",
    "mp3",
    "mp4",
    "m4a",
    "ogg",
    "oga",
    "ogv",
    "opus",
    "wav",
    "webm",
    "mov",
    "pdf",
    "zip",
    "gz",
    "br",
    "zst",
    "csv",
    "vtt",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_asset_name_is_recognized() {
        for hashed in [
            "assets/index-BfS2k_9a.js",
            "assets/index-DiwrgT4a.css",
            "build/assets/app-C4x-9Zq1.js",
            "assets/index-BfS2k_9a.js.map",
            "static/js/main.3f2a9c1b.js",
            "static/js/787.3f2a9c1b.chunk.js",
            "static/js/main.3f2a9c1b.js.map",
            "static/media/logo.6ce24c58023cc2f8fd88.svg",
        ] {
            assert!(is_hashed(hashed), "{hashed}");
        }
    }

    #[test]
    fn ordinary_file_name_is_not_taken_for_hashed() {
        for plain in [
            "index-BfS2k_9a.js",
            "main.3f2a9c1b.js",
            "assets/app.js",
            "assets/jquery-3.6.0.min.js",
            "assets/my-document.pdf",
            "assets/My-Document.pdf",
            "assets/report-20240101.pdf",
            "assets/scan-IMG_2024.jpg",
            "assets/team-Juni2024.jpg",
            "assets/my-iPhone15.png",
            "assets/font-awesome.css",
            "assets/-BfS2k_9a.js",
            "assets/é-Bf2k_9é.js",
            "assets/index-BfS2k_9a",
            "assets/backup.20240101.zip",
            "assets/facade.deadbeef.js",
            "assets/lib.v1.2.3.js",
            "assets/3f2a9c1b.js",
            "assets",
            "",
        ] {
            assert!(!is_hashed(plain), "{plain}");
        }
    }

    #[test]
    fn media_type_of_text_carries_a_charset() {
        assert_eq!(media_type("a/b.HTML"), "text/html; charset=utf-8");
        assert_eq!(media_type("b.js"), "text/javascript; charset=utf-8");
        assert_eq!(media_type("b.woff2"), "font/woff2");
        assert_eq!(media_type("b.svg"), "image/svg+xml");
        assert_eq!(media_type("a.js/b"), "application/octet-stream");
        assert_eq!(media_type("b.unheard-of"), "application/octet-stream");
    }

    #[test]
    fn asset_path_is_distinguished_from_a_page_path() {
        let is_asset = |path: &str| is_asset(&SafePath::parse(path).unwrap());
        assert!(is_asset("/a/index-old.JS") && is_asset("/favicon.ico"));
        assert!(!is_asset("/users/john.doe") && !is_asset("/") && !is_asset("/a.js/b"));
    }
}
