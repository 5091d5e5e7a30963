//! Encoding and decoding of the FastCGI 1.0 records that a web server needs
//! (<https://fastcgi-archives.github.io/FastCGI_Specification.html> §3.3, §5). Section
//! numbers below refer to that specification.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A record from the application.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    /// A part of the response. An empty one ends the stream, but only `End` ends the
    /// response.
    Stdout(Bytes),
    /// A part of the script's standard error.
    Stderr(Bytes),
    /// The end of the request.
    End(Outcome),
    /// A management record, which needs no reaction.
    Other,
}

/// The protocol status of a request that has ended (§5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request has completed.
    Complete,
    /// The application rejected the request, because it has too many.
    Overloaded,
    /// The application rejected the request for another reason.
    Refused,
}

/// The error of data that is not FastCGI, or not a valid record for a web server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what came is not FastCGI: {0}")]
pub struct Malformed(&'static str);

/// Takes the first record out of `buffer`; `None` if it is not complete yet.
///
/// # Errors
/// Returns [`Malformed`] if the record has another version, is of a type that only a web
/// server sends, or belongs to another request.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Record>, Malformed> {
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [version, kind, id @ .., _, _, padding, _] = *header;
    let id = u16::from_be_bytes([id[0], id[1]]);
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if version != VERSION {
        return Err(Malformed("a record of another version"));
    }
    if buffer.len() < HEADER_BYTES + length + usize::from(padding) {
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    let content = buffer.split_to(length).freeze();
    buffer.advance(usize::from(padding));
    match (kind, id) {
        // A management record, which belongs to the connection and to no request (§4).
        (_, 0) => Ok(Some(Record::Other)),
        (STDOUT, ID) => Ok(Some(Record::Stdout(content))),
        (STDERR, ID) => Ok(Some(Record::Stderr(content))),
        (END_REQUEST, ID) => match content.get(4) {
            Some(0) => Ok(Some(Record::End(Outcome::Complete))),
            Some(2) => Ok(Some(Record::End(Outcome::Overloaded))),
            Some(_) => Ok(Some(Record::End(Outcome::Refused))),
            None => Err(Malformed("an end without a status")),
        },
        (_, ID) => Err(Malformed("a record that only a web server sends")),
        _ => Err(Malformed("a record of another request")),
    }
}

/// Writes the beginning of a request with the parameters `params`. The application closes
/// the connection after the request.
pub(super) fn begin(out: &mut BytesMut, params: &[u8]) {
    header(out, BEGIN_REQUEST, 8);
    out.put_u16(RESPONDER);
    out.put_bytes(0, 6);
    let mut rest = params;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(whole_params_length(rest));
        header(out, PARAMS, piece.len());
        out.put_slice(piece);
        rest = after;
    }
    header(out, PARAMS, 0);
}

/// Returns how many bytes of `params` go into one record. A parameter is never split: php-fpm
/// closes the connection if one spans two records (`fcgi_get_params` in `main/fastcgi.c`).
fn whole_params_length(params: &[u8]) -> usize {
    let mut end = 0;
    while let Some(next) =
        first_param(&params[end..]).filter(|next| end + next <= MAX_CONTENT_BYTES)
    {
        end += next;
    }
    match end {
        // A single parameter is longer than a record: php-fpm will reject it.
        0 => params.len().min(MAX_CONTENT_BYTES),
        _ => end,
    }
}

/// Returns the encoded length of the first parameter, lengths included.
fn first_param(params: &[u8]) -> Option<usize> {
    let (name, after_name) = param_length(params)?;
    let (value, after_value) = param_length(after_name)?;
    Some(params.len() - after_value.len() + name + value)
}

/// Decodes the length of a name or value (§3.4), and returns it with the bytes after it.
fn param_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes.split_first()? {
        (short, rest) if *short < 0x80 => Some((usize::from(*short), rest)),
        _ => {
            let (four, rest) = bytes.split_first_chunk()?;
            Some(((u32::from_be_bytes(*four) & !(1 << 31)) as usize, rest))
        }
    }
}

/// Writes a part of the request body.
pub(super) fn stdin(out: &mut BytesMut, content: &[u8]) {
    for piece in content.chunks(MAX_CONTENT_BYTES) {
        header(out, STDIN, piece.len());
        out.put_slice(piece);
    }
}

/// Writes the end of the request body.
pub(super) fn end_of_stdin(out: &mut BytesMut) {
    header(out, STDIN, 0);
}

/// Writes a parameter (§3.4).
pub(super) fn param(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    for length in [name.len(), value.len()] {
        match u8::try_from(length) {
            Ok(short) if short < 0x80 => out.put_u8(short),
            // Requests with a head of 2 GiB are rejected long before.
            _ => out.put_u32(u32::try_from(length).unwrap_or(u32::MAX) | 1 << 31),
        }
    }
    out.put_slice(name);
    out.put_slice(value);
}

fn header(out: &mut BytesMut, kind: u8, length: usize) {
    out.put_slice(&[VERSION, kind]);
    out.put_u16(ID);
    out.put_u16(u16::try_from(length).unwrap_or(u16::MAX));
    // No padding: it is optional, and only serves receivers that need aligned data.
    out.put_u16(0);
}

const HEADER_BYTES: usize = 8;
const VERSION: u8 = 1;
/// The request id. php-fpm handles one request at a time on a connection.
const ID: u16 = 1;
/// The maximum length of a record's content.
const MAX_CONTENT_BYTES: usize = u16::MAX as usize;
const RESPONDER: u16 = 1;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u8, id: u16, content: &[u8], padding: u8) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_slice(&[VERSION, kind]);
        out.put_u16(id);
        out.put_u16(content.len() as u16);
        out.put_slice(&[padding, 0]);
        out.put_slice(content);
        out.put_bytes(0xff, usize::from(padding));
        out
    }

    #[test]
    fn record_of_another_request_is_malformed() {
        let end = |status: u8| record(END_REQUEST, ID, &[0, 0, 0, 0, status, 0, 0, 0], 0);
        let taken = |mut record: BytesMut| take(&mut record);
        assert_eq!(taken(end(0)), Ok(Some(Record::End(Outcome::Complete))));
        assert_eq!(taken(end(2)), Ok(Some(Record::End(Outcome::Overloaded))));
        assert_eq!(taken(end(1)), Ok(Some(Record::End(Outcome::Refused))));
        assert_eq!(taken(record(11, 0, b"x", 3)), Ok(Some(Record::Other)));
        assert!(taken(record(END_REQUEST, ID, b"", 0)).is_err());
        assert!(taken(record(STDOUT, 2, b"x", 0)).is_err());
        assert!(taken(record(STDIN, ID, b"x", 0)).is_err());
        assert!(taken(BytesMut::from(&b"HTTP/1.1 200 OK\r\n"[..])).is_err());
    }

    proptest! {
        #[test]
        fn records_split_anywhere_are_decoded_unchanged(
            pieces in vec((vec(any::<u8>(), 0..300), any::<u8>(), any::<bool>()), 0..8),
            cut in 1_usize..50,
        ) {
            let mut wire = BytesMut::new();
            for (content, padding, complains) in &pieces {
                let kind = if *complains { STDERR } else { STDOUT };
                wire.extend_from_slice(&record(kind, ID, content, *padding));
            }
            let (mut buffer, mut taken) = (BytesMut::new(), Vec::new());
            for bytes in wire.chunks(cut) {
                buffer.extend_from_slice(bytes);
                while let Some(record) = take(&mut buffer).unwrap() {
                    taken.push(record);
                }
            }
            let expected: Vec<_> = pieces.into_iter().map(|(content, _, complains)| {
                let content = Bytes::from(content);
                if complains { Record::Stderr(content) } else { Record::Stdout(content) }
            }).collect();
            prop_assert_eq!(taken, expected);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn decoding_of_arbitrary_bytes_never_panics(bytes in vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut buffer) {}
        }

        #[test]
        fn long_stdin_is_split_into_records(length in 0_usize..200_000) {
            let mut out = BytesMut::new();
            stdin(&mut out, &vec![b'a'; length]);
            end_of_stdin(&mut out);
            let mut total = 0;
            loop {
                let size = usize::from(u16::from_be_bytes([out[4], out[5]]));
                prop_assert_eq!(out[1], STDIN);
                out.advance(HEADER_BYTES + size);
                total += size;
                if size == 0 { break; }
            }
            prop_assert!(out.is_empty());
            prop_assert_eq!(total, length);
        }
    }
}
