//! Parsing of the head of a script's response (RFC 3875 §6): headers without a status line.

use bytes::BytesMut;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::http::response::Parts;
use hyper::{Response, StatusCode};

/// The head of a response.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) parts: Parts,
    /// The length of the body in bytes, if the script has sent a `Content-Length`.
    pub(super) length: Option<u64>,
}

/// The error of a malformed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the head of the response is invalid: {0}")]
pub(in crate::upstream) struct Malformed(&'static str);

/// Takes the head out of `buffer`; `None` if it is not complete yet.
///
/// # Errors
/// Returns [`Malformed`] if it is not a head, is longer than 64 KiB, or has more than 256
/// headers.
pub(super) fn take(buffer: &mut BytesMut) -> Result<Option<ResponseHead>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let parsed = httparse::parse_headers(buffer, &mut fields).map_err(|error| match error {
        httparse::Error::TooManyHeaders => Malformed("too many headers"),
        _ => Malformed("not a header"),
    })?;
    let (length, fields) = match parsed {
        httparse::Status::Complete(parsed) => parsed,
        httparse::Status::Partial if buffer.len() < MAX_HEAD_BYTES => return Ok(None),
        httparse::Status::Partial => return Err(Malformed("too long")),
    };
    let head = read(fields)?;
    let _ = buffer.split_to(length);
    Ok(Some(head))
}

fn read(fields: &[httparse::Header<'_>]) -> Result<ResponseHead, Malformed> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut status = None;
    for field in fields {
        if field.name.eq_ignore_ascii_case("status") {
            match status.replace(read_status(field.value)?) {
                None => continue,
                Some(_) => return Err(Malformed("it has more than one Status")),
            }
        }
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| Malformed("not a header's name"))?;
        let value =
            HeaderValue::from_bytes(field.value).map_err(|_| Malformed("not a header's value"))?;
        headers.append(name, value);
    }
    if fields.is_empty() {
        return Err(Malformed("it is empty"));
    }
    let length = read_length(&headers)?;
    // RFC 3875 §6.2.3: a redirect needs no `Status`.
    let default_status = if headers.contains_key(LOCATION) {
        StatusCode::FOUND
    } else {
        StatusCode::OK
    };
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status.unwrap_or(default_status);
    parts.headers = headers;
    Ok(ResponseHead { parts, length })
}

/// Parses `404 Not Found`, or the number alone. An interim status (1xx) is an error, since it
/// cannot be final.
fn read_status(value: &[u8]) -> Result<StatusCode, Malformed> {
    let (digits, reason) = value.split_at_checked(3).unwrap_or((b"", b""));
    let status = StatusCode::from_bytes(digits).ok();
    let is_separated = matches!(reason.first(), None | Some(b' '));
    status
        .filter(|status| is_separated && (200..600).contains(&status.as_u16()))
        .ok_or(Malformed("its Status is none"))
}

/// Parses the length, which consists of digits and occurs once (RFC 9110 §8.6).
fn read_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .filter(|_| values.next().is_none())
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .map(Some)
        .ok_or(Malformed("its Content-Length is none"))
}

/// The maximum number of headers, the same as for an HTTP server.
const MAX_HEADERS: usize = 256;
/// The maximum length of the head in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Result<Option<(u16, usize, String)>, Malformed> {
        let mut buffer = BytesMut::from(text);
        let head = take(&mut buffer)?;
        let rest = String::from_utf8(buffer.to_vec()).unwrap();
        Ok(head.map(|head| (head.parts.status.as_u16(), head.parts.headers.len(), rest)))
    }

    #[test]
    fn status_header_is_parsed_and_removed() {
        let well = |status, headers, rest: &str| Ok(Some((status, headers, rest.to_owned())));
        assert_eq!(taken("A: b\r\n\r\nbody"), well(200, 1, "body"));
        assert_eq!(taken("A: b\n\nbody"), well(200, 1, "body"));
        assert_eq!(
            taken("Status: 404 Not Found\r\nA: b\r\n\r\n"),
            well(404, 1, "")
        );
        assert_eq!(taken("status:500\r\n\r\n"), well(500, 0, ""));
        assert_eq!(taken("Location: /x\r\n\r\n"), well(302, 1, ""));
        assert_eq!(
            taken("Status: 201\r\nLocation: /x\r\n\r\n"),
            well(201, 1, "")
        );
        assert_eq!(taken("A: b\r\nC: d\r\n"), Ok(None));
    }

    #[test]
    fn malformed_response_head_is_rejected() {
        for wrong in [
            "\r\n\r\n",
            "<html>\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
            "Status: 99\r\n\r\n",
            "Status: 101 Switching Protocols\r\n\r\n",
            "Status: 2000\r\n\r\n",
            "Status: +20\r\n\r\n",
            "Status: 600\r\n\r\n",
            "Status: \r\n\r\n",
            "Status: 200\r\nStatus: 404\r\n\r\n",
            "A b: c\r\n\r\n",
            "A: b\r\n folded\r\n\r\n",
            "A: b\0c\r\n\r\n",
            "Content-Length: -1\r\n\r\n",
            "Content-Length: 1, 1\r\n\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "Content-Length: 99999999999999999999\r\n\r\n",
        ] {
            assert!(taken(wrong).is_err(), "{wrong:?}: {:?}", taken(wrong));
        }
        assert!(taken(&format!("A: {}", "a".repeat(MAX_HEAD_BYTES))).is_err());
        assert!(taken(&"A: b\r\n".repeat(MAX_HEADERS + 1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn parsing_of_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = take(&mut BytesMut::from(&bytes[..]));
            let line = [b"Status: ", &bytes[..], b"\r\n\r\n"].concat();
            let _ = take(&mut BytesMut::from(&line[..]));
        }
    }
}
