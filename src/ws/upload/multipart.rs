//! The multipart form around an uploaded file (RFC 7578). Its length is known before the first
//! byte of the file arrives, so the request has a `Content-Length`.

use std::fmt::Write as _;

use bytes::Bytes;

use super::outcome::Reason;
use super::settings::Settings;
use crate::core::invisible_chars;
use crate::core::random::RandomSource;

/// The client's description of its file. It is validated when it is created, so it can be
/// written into a form safely.
#[derive(Debug)]
pub(in crate::ws) struct Part {
    name: String,
    mime: String,
    message: Option<String>,
    /// The length of the file in bytes.
    pub(super) size: u64,
}

impl Part {
    /// Validates the description. Hidden characters are removed from the name; an unknown type
    /// becomes `application/octet-stream`. `size` is in bytes.
    ///
    /// # Errors
    /// [`Reason::BadName`] or [`Reason::BadType`].
    pub(in crate::ws) fn new(
        name: String,
        mime: Option<String>,
        message: Option<String>,
        size: u64,
    ) -> Result<Self, Reason> {
        let name = without_hidden(name);
        if !is_file_name(&name) {
            return Err(Reason::BadName);
        }
        // Browsers send "" for a type that they do not know.
        let mime = mime
            .filter(|mime| !mime.is_empty())
            .unwrap_or_else(|| "application/octet-stream".to_owned());
        if !is_media_type(&mime) {
            return Err(Reason::BadType);
        }
        Ok(Self {
            name,
            mime,
            message: message.filter(|message| !message.is_empty()),
            size,
        })
    }
}

/// The form without the file: the parts before and after it.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) content_type: String,
    pub(super) head: Bytes,
    pub(super) tail: Bytes,
    /// The length of head, file and tail together, in bytes.
    pub(super) length: u64,
}

impl Form {
    /// Creates the form for `part`, with a random boundary.
    pub(super) fn new(part: &Part, settings: &Settings) -> Self {
        Self::with_boundary(part, settings, &boundary())
    }

    fn with_boundary(part: &Part, settings: &Settings, boundary: &str) -> Self {
        let mut head = String::new();
        if let Some(message) = &part.message {
            let field = settings.message_field.as_str();
            let _ = write!(
                head,
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{message}\r\n"
            );
        }
        let field = settings.file_field.as_str();
        let (name, mime) = (quoted(&part.name), &part.mime);
        let _ = write!(
            head,
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
             Content-Type: {mime}\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Self {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            length: head.len() as u64 + part.size + tail.len() as u64,
            head: head.into(),
            tail: tail.into(),
        }
    }
}

/// Escapes a name for a quoted string. It stays UTF-8, as browsers send it (RFC 7578 §5.1), and
/// of the characters to escape only the quote can be in a valid name. PHP reads `\"` as `"`,
/// but leaves the `%22` of browsers as it is.
fn quoted(name: &str) -> String {
    name.replace('"', "\\\"")
}

/// Removes bidi controls and invisible characters, so that a name reads as it is written. They
/// are no mistake of the user: phones and messengers put them into the names of files.
fn without_hidden(mut name: String) -> String {
    name.retain(|c| !invisible_chars::is_bidi_control(c) && !invisible_chars::is_invisible(c));
    name
}

/// Returns whether `name` is visible, no path, free of control characters, and short enough for
/// a file system.
fn is_file_name(name: &str) -> bool {
    let is_forbidden = |c: char| c.is_control() || matches!(c, '/' | '\\');
    let is_blank = |c: char| c.is_whitespace() || matches!(c, '\u{200c}' | '\u{200d}');
    !matches!(name.trim(), "." | "..")
        && name.len() <= MAX_NAME_BYTES
        && !name.chars().all(is_blank)
        && !name.contains(is_forbidden)
}

/// Returns whether `text` is `type/subtype`, each a restricted name (RFC 6838 §4.2), without
/// parameters.
fn is_media_type(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    let is_restricted =
        |name: &str| !name.is_empty() && name.len() <= 127 && name.bytes().all(is_allowed);
    text.split_once('/')
        .is_some_and(|(kind, subtype)| is_restricted(kind) && is_restricted(subtype))
}

/// Returns a random boundary that no client can guess. A file with the boundary in it, made for
/// another user to upload, could end early and add fields of its own.
fn boundary() -> String {
    let random = RandomSource::new().bytes::<24>();
    random.iter().fold("edge-".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The maximum length of a file name, as in most file systems.
const MAX_NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, mime: &str) -> Result<Part, Reason> {
        Part::new(name.to_owned(), Some(mime.to_owned()), None, 3)
    }

    #[test]
    fn form_follows_the_rfc_and_states_its_length() {
        let mut part = part("si \"Ñoño\" 🎉.png", "image/png").unwrap();
        part.message = Some("kumusta".to_owned());
        let form = Form::with_boundary(&part, &Settings::default(), "b");
        let expected = "--b\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nkumusta\r\n\
            --b\r\nContent-Disposition: form-data; name=\"attachment\"; \
            filename=\"si \\\"Ñoño\\\" 🎉.png\"\r\nContent-Type: image/png\r\n\r\n";
        assert_eq!(form.head, expected);
        assert_eq!(form.tail, "\r\n--b--\r\n");
        assert_eq!(form.length, (expected.len() + 3 + 9) as u64);
        assert_eq!(form.content_type, "multipart/form-data; boundary=b");
    }

    #[test]
    fn unsafe_file_name_is_rejected() {
        for right in [
            "a",
            "liham ng pagtatapat 📄.pdf",
            "a;b='c'.txt",
            "…",
            &"x".repeat(255),
        ] {
            assert!(part(right, "").is_ok(), "{right}");
        }
        for wrong in [
            "",
            " ",
            ".",
            "..",
            "a/b",
            "..\\b",
            "a\r\nContent-Type: text/html",
            "a\0b",
            "a\u{7f}",
            "a\u{85}",
            "\u{200e}",
            "\u{202e}..\u{202c}",
            ".\u{200b}.",
            " \u{200d}\u{feff}",
            &"x".repeat(300),
            &"ñ".repeat(128),
        ] {
            assert_eq!(part(wrong, "").unwrap_err(), Reason::BadName, "{wrong:?}");
        }
    }

    #[test]
    fn invisible_characters_in_a_file_name_are_removed() {
        for (given, passed) in [
            ("gnp\u{202e}exe.png", "gnpexe.png"),
            ("\u{200e}WhatsApp Chat.txt", "WhatsApp Chat.txt"),
            ("\u{61c}a\u{200f}b\u{2066}c\u{2069}.pdf", "abc.pdf"),
            ("re\u{ad}sibo\u{200b}\u{feff}.jpg", "resibo.jpg"),
            ("نامه\u{200c}ها.pdf", "نامه\u{200c}ها.pdf"),
            ("क्\u{200d}ष 👩\u{200d}👧.png", "क्\u{200d}ष 👩\u{200d}👧.png"),
        ] {
            assert_eq!(part(given, "").unwrap().name, passed, "{given:?}");
        }
    }

    #[test]
    fn malformed_media_type_is_rejected() {
        for right in ["", "image/svg+xml", "application/vnd.ms-excel"] {
            assert!(part("a", right).is_ok(), "{right}");
        }
        for wrong in [
            "image",
            "/",
            "a/",
            "a/b/c",
            "a/b; c=d",
            "a/b\r\nX: y",
            "á/b",
        ] {
            assert_eq!(part("a", wrong).unwrap_err(), Reason::BadType, "{wrong:?}");
        }
    }

    #[test]
    fn boundary_is_unique() {
        assert_ne!(boundary(), boundary());
        assert_eq!(boundary().len(), 5 + 48);
    }
}
