//! Binary frames of a client on its WebSocket.

#![no_main]

use hyper::body::Bytes;
use libfuzzer_sys::fuzz_target;
use pwd_edge::ws::upload::frame::{HEADER_BYTES, decode};

fuzz_target!(|frame: &[u8]| {
    match decode(&Bytes::copy_from_slice(frame)) {
        Ok(chunk) => {
            let mut again = vec![1];
            again.extend_from_slice(&chunk.upload.to_be_bytes());
            again.extend_from_slice(&chunk.offset.to_be_bytes());
            assert_eq!(again.len(), HEADER_BYTES);
            assert!(!chunk.data.is_empty());
            again.extend_from_slice(&chunk.data);
            assert_eq!(again, frame, "nothing is lost and nothing made up");
        }
        Err(mistake) => {
            assert!(frame.len() <= HEADER_BYTES || frame[0] != 1, "{mistake}");
        }
    }
});
