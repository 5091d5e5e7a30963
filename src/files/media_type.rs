//! What a file's name tells: its type, and how long it may be kept.

use super::SafePath;

/// The media type of the file at `path`, by its extension.
pub(super) fn media_type(path: &str) -> String {
    let extension = path
        .rsplit('/')
        .next()
        .and_then(|name| name.rsplit_once('.'));
    let extension = extension.map(|(_, extension)| extension.to_ascii_lowercase());
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

/// `Cache-Control` of the file at `path`, which is of `media_type`: a page is asked
/// for again each time, since it names the files of the present build; what has the
/// hash of its content in its name never changes. All else is asked for again, too:
/// told nothing, browsers keep it for a tenth of its age (RFC 9111 §4.2.2).
pub(super) fn cache_control(path: &str, media_type: &str) -> &'static str {
    if is_hashed(path) && !media_type.starts_with("text/html") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    }
}

/// Whether a build tool gave the file its name: below a directory `assets` or
/// `static`, and with a hash before its extension.
///
/// Vite and Rollup write `name-` and 8 characters of base64url, webpack `name.` and
/// 8 or more hexadecimal digits. People write names that look like one of these, such
/// as `report-20240101.pdf` or `team-Juni2024.jpg`; a hash is taken for one only if it
/// is no word, number or date. Some hashes look like words: their files are only
/// asked for again.
fn is_hashed(path: &str) -> bool {
    let mut parts: Vec<_> = path.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    let built = parts.iter().any(|part| ["assets", "static"].contains(part));
    let mut pieces = name.split('.');
    let first = pieces.next().unwrap_or_default();
    let inner: Vec<_> = pieces.collect();
    let Some((_extension, inner)) = inner.split_last() else {
        return false;
    };
    let ends = inner
        .iter()
        .all(|piece| ["chunk", "min", "js", "css"].contains(piece));
    built && (ends && is_vite_hashed(first) || inner.iter().any(|piece| is_hex(piece)))
}

/// `name-` and a hash that may hold `-` itself.
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

/// Capitals, small letters and digits, and mixed as nobody mixes them.
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

/// Letters and digits, so neither a word nor a date.
fn is_hex(hash: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let both = hash.bytes().any(|byte| byte.is_ascii_digit())
        && hash.bytes().any(|byte| byte.is_ascii_lowercase());
    (8..=64).contains(&hash.len()) && hash.bytes().all(hex) && both
}

/// Whether who asks for `name` wants a file and nothing else: a page in its place, such
/// as for a script of an older build, would only break things further away.
pub(super) fn is_asset(name: &SafePath) -> bool {
    let extension = name.extension();
    extension.is_some_and(|extension| ASSET_EXTENSIONS.contains(&extension.as_str()))
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
    fn names_with_a_hash_are_kept_for_ever() {
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
    fn names_that_people_give_are_not() {
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
    fn text_says_its_alphabet() {
        assert_eq!(media_type("a/b.HTML"), "text/html; charset=utf-8");
        assert_eq!(media_type("b.js"), "text/javascript; charset=utf-8");
        assert_eq!(media_type("b.woff2"), "font/woff2");
        assert_eq!(media_type("b.svg"), "image/svg+xml");
        assert_eq!(media_type("a.js/b"), "application/octet-stream");
        assert_eq!(media_type("b.unheard-of"), "application/octet-stream");
    }

    #[test]
    fn pages_do_not_stand_in_for_assets() {
        let is_asset = |path: &str| is_asset(&SafePath::parse(path).unwrap());
        assert!(is_asset("/a/index-old.JS") && is_asset("/favicon.ico"));
        assert!(!is_asset("/users/john.doe") && !is_asset("/") && !is_asset("/a.js/b"));
    }
}
