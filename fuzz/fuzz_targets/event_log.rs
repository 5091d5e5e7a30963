//! Segments of the event log. If the first byte is even, the rest is the file of a segment.
//! Otherwise it is the payload of one entry, in a frame with the right checksums, which no
//! fuzzer guesses.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pwd_edge::core::position::Epoch;
use pwd_edge::event_log::reader::{ReadError, SegmentReader};
use pwd_edge::event_log::record::{
    Entry, Event, Except, Record, RequestKey, StoredRecord, encode_record, frame_header,
};
use pwd_edge::event_log::segment::{BootId, HEAD_BYTES, Head};

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    if kind % 2 == 0 {
        check(bytes);
        return;
    }
    let Ok(length) = u32::try_from(bytes.len()) else {
        return;
    };
    let head = Head {
        epoch: Epoch::from_bytes(*b"kQzVbTfa").expect("these are letters"),
        boot: BootId([1; 16]),
        base_offset: 1,
    };
    let header = frame_header(length, bytes);
    let segment = [&head.encode()[..], &header, bytes].concat();
    check(&segment);
});

/// Reads `segment` to its end.
fn check(segment: &[u8]) {
    let mut reader = match SegmentReader::new(segment, segment.len() as u64) {
        Ok(reader) => reader,
        Err(ReadError::Torn) => {
            assert!(segment.len() < HEAD_BYTES);
            return;
        }
        Err(ReadError::Defect(_)) => return,
    };
    let mut start = HEAD_BYTES;
    while let Ok(Some(entry)) = reader.next_entry() {
        let end = usize::try_from(reader.offset()).expect("it is within the segment");
        if let Entry::Record(record) = entry {
            let written = &segment[start..end];
            assert_eq!(
                encode(&record),
                written,
                "nothing is lost and nothing made up"
            );
        } else if let Entry::Mark(mark) = entry {
            let (mut bytes, written) = (Vec::new(), &segment[start..end]);
            mark.encode(&mut bytes).expect("it was read");
            assert_eq!(bytes, written, "nothing is lost and nothing made up");
        }
        start = end;
    }
}

fn encode(record: &StoredRecord) -> Vec<u8> {
    let events = record.events.iter().map(|event| Event {
        room: &event.room,
        text: &event.text,
        except: event.except.as_ref().map(Except::borrowed),
    });
    let events: Vec<_> = events.collect();
    let key = record.key.as_ref().map(|key| RequestKey {
        key: &key.key,
        digest: key.digest,
    });
    let record = Record {
        first_offset: record.first_offset,
        time: record.time,
        key,
        events: &events,
    };
    let mut bytes = Vec::new();
    encode_record(&record, &mut bytes).expect("it was read");
    bytes
}
