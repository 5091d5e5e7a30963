//! Decodes the binary frames of uploads: a header of 13 bytes, then bytes of a file.
//! `docs/PROTOCOL.md` describes them byte by byte.

use tokio_tungstenite::tungstenite::Bytes;

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The number of the upload in its session.
    pub upload: u32,
    /// The offset of the data in the file.
    pub offset: u64,
    /// The bytes, at least one.
    pub data: Bytes,
}

/// The reason why a binary frame is no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is shorter than a header and one byte.
    #[error(
        "a binary frame needs a header of {HEADER_BYTES} bytes and at least one byte of the file"
    )]
    Short,
    /// The first byte is not that of a chunk.
    #[error("the first byte of a binary frame must be 1")]
    Kind,
}

/// Decodes one binary frame. The data is shared, not copied.
///
/// # Errors
/// `Short` or `Kind`.
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

/// The length of the header: kind, number of the upload, offset.
pub const HEADER_BYTES: usize = 13;
/// The first byte of a chunk.
const CHUNK_KIND: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_decoded_as_documented() {
        let frame = b"\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x01\x00\x00GIF";
        let chunk = decode(&Bytes::from_static(frame)).unwrap();
        assert_eq!((chunk.upload, chunk.offset), (2, 65_536));
        assert_eq!(&*chunk.data, b"GIF");
    }

    #[test]
    fn malformed_frame_is_rejected() {
        let decode = |frame: &'static [u8]| decode(&Bytes::from_static(frame));
        assert_eq!(decode(b""), Err(FrameError::Short));
        assert_eq!(decode(&[1; 12]), Err(FrameError::Short));
        assert_eq!(decode(&[1; 13]), Err(FrameError::Short));
        assert_eq!(decode(&[2; 20]), Err(FrameError::Kind));
        assert_eq!(decode(b"{\"type\":\"ping\"}"), Err(FrameError::Kind));
    }
}
