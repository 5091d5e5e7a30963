//! The records in bytes.

use proptest::prelude::*;

use super::*;

/// A room, a text, a session that is excepted, and its user.
type Fields = (String, String, Option<(u64, Option<String>)>);

fn fields() -> impl Strategy<Value = Fields> {
    let except = (any::<u64>(), prop::option::of(".{0,20}"));
    (".{0,9}", ".{0,20}", prop::option::of(except))
}

proptest! {
    #[test]
    fn record_survives_its_bytes(first_offset in 1..1_000_u64, events in prop::collection::vec(fields(), 0..4)) {
        let events = events.into_iter().map(|(room, text, except)| StoredEvent {
            room,
            text,
            except: except.map(|(session, user)| Except { session, user }),
        });
        let stored = StoredRecord {
            events: events.collect(),
            ..stored(first_offset, &[])
        };
        let events = stored.events.iter().map(|event| Event {
            room: &event.room,
            text: &event.text,
            except: event.except.as_ref().map(Except::borrowed),
        });
        let events: Vec<_> = events.collect();
        let mut bytes = Vec::new();
        record::encode_record(&record(first_offset, &events), &mut bytes).unwrap();
        let entry = record::decode(&bytes[record::FRAME_HEADER_BYTES..]);
        prop_assert_eq!(entry, Some(record::Entry::Record(stored)));
    }
}
