//! Records of php-fpm. The first byte is the length of the pieces in which the rest arrives.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pwd_edge::upstream::fastcgi::record::{Malformed, Record, take};

fuzz_target!(|input: &[u8]| {
    let Some((cut, wire)) = input.split_first() else {
        return;
    };
    let whole = read(wire, wire.len());
    assert_eq!(
        read(wire, usize::from(*cut)),
        whole,
        "it depends on the pieces"
    );

    let mut offset = 0;
    for record in &whole.records {
        let header = &wire[offset..][..HEADER];
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let content = &wire[offset + HEADER..][..length];
        if let Record::Stdout(bytes) | Record::Stderr(bytes) = record {
            assert_eq!(bytes, content, "nothing is lost and nothing made up");
        }
        offset += HEADER + length + usize::from(header[6]);
    }
    if whole.malformed.is_none() {
        assert_eq!(whole.left, wire.len() - offset);
    }
});

#[derive(Debug, PartialEq)]
struct Read {
    records: Vec<Record>,
    malformed: Option<Malformed>,
    /// Bytes of an incomplete record.
    left: usize,
}

/// Reads `wire`, which comes in pieces of `cut` bytes.
fn read(wire: &[u8], cut: usize) -> Read {
    let (mut buffer, mut records) = (BytesMut::new(), Vec::new());
    for piece in wire.chunks(cut.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match take(&mut buffer) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(malformed) => {
                    return Read {
                        records,
                        malformed: Some(malformed),
                        left: 0,
                    };
                }
            }
        }
    }
    Read {
        records,
        malformed: None,
        left: buffer.len(),
    }
}

const HEADER: usize = 8;
