//! The binary frame: a header of 13 bytes, then bytes of a file.
//! `docs/PROTOCOL.md` tells it byte by byte.

use tokio_tungstenite::tungstenite::Bytes;

/// Some bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which of the session's uploads.
    pub upload: u32,
    /// Where in the file they belong.
    pub offset: u64,
    /// At least one byte.
    pub data: Bytes,
}

/// Not a frame of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header and one byte.
    #[error(
        "a binary frame needs a header of {HEADER_BYTES} bytes and at least one byte of the file"
    )]
    Short,
    /// Another kind of frame than there is.
    #[error("the first byte of a binary frame must be 1")]
    Kind,
}

/// Reads one binary frame; the data is shared, not copied.
///
/// # Errors
/// See [`FrameError`].
pub fn decode(frame: &Bytes) -> Result<Chunk, FrameError> {
    let Some((&[kind, u0, u1, u2, u3, o0, o1, o2, o3, o4, o5, o6, o7], data)) =
        frame.split_first_chunk::<HEADER_BYTES>()
    else {
        return Err(FrameError::Short);
    };
    if kind != CHUNK_KIND {
        return Err(FrameError::Kind);
    }
    if data.is_empty() {
        return Err(FrameError::Short);
    }
    Ok(Chunk {
        upload: u32::from_be_bytes([u0, u1, u2, u3]),
        offset: u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
        data: frame.slice(HEADER_BYTES..),
    })
}

/// The length of the header.
pub const HEADER_BYTES: usize = 13;
/// The kind of frame that there is.
const CHUNK_KIND: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_as_the_protocol_says() {
        let frame = b"\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x01\x00\x00GIF";
        let chunk = decode(&Bytes::from_static(frame)).unwrap();
        assert_eq!((chunk.upload, chunk.offset), (2, 65_536));
        assert_eq!(&*chunk.data, b"GIF");
    }

    #[test]
    fn what_is_no_frame_is_told() {
        let decode = |frame: &'static [u8]| decode(&Bytes::from_static(frame));
        assert_eq!(decode(b""), Err(FrameError::Short));
        assert_eq!(decode(&[1; 12]), Err(FrameError::Short));
        assert_eq!(decode(&[1; 13]), Err(FrameError::Short));
        assert_eq!(decode(&[2; 20]), Err(FrameError::Kind));
        assert_eq!(decode(b"{\"type\":\"ping\"}"), Err(FrameError::Kind));
    }
}
