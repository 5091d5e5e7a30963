//! Random histories of a log: no offset is used twice, and nothing is missing silently.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<u8>),
    FailedAppend,
    Retention,
    /// The process is killed, perhaps within a write.
    Kill {
        torn_bytes: u8,
    },
    /// The machine loses power, and the newest segment its end.
    PowerLoss {
        lost_bytes: Index,
    },
    FlippedBit {
        byte: Index,
        bit: u8,
    },
    Close {
        is_restarted: bool,
    },
    /// Someone copies the log.
    Copy,
    /// The process is killed, and someone puts the copy in place of the log.
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => vec(0..4_u8, 1..4).prop_map(Step::Append),
        1 => Just(Step::FailedAppend),
        1 => Just(Step::Retention),
        2 => (0..20_u8).prop_map(|torn_bytes| Step::Kill { torn_bytes }),
        1 => any::<Index>().prop_map(|lost_bytes| Step::PowerLoss { lost_bytes }),
        1 => (any::<Index>(), 0..8_u8).prop_map(|(byte, bit)| Step::FlippedBit { byte, bit }),
        1 => any::<bool>().prop_map(|is_restarted| Step::Close { is_restarted }),
        1 => Just(Step::Copy),
        1 => Just(Step::Restore),
    ]
}

struct Model {
    directory: tempfile::TempDir,
    boot: u8,
    log: Option<EventLog>,
    next_offset: u64,
    /// The text of each event by epoch and offset; `None` if it was not stored.
    events: BTreeMap<([u8; 8], u64), Option<String>>,
    /// The room of each event.
    rooms: BTreeMap<([u8; 8], u64), String>,
    /// The segments of the copy.
    copy: Vec<(PathBuf, Vec<u8>)>,
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            directory: tempfile::tempdir().unwrap(),
            boot: 0,
            log: None,
            next_offset: 0,
            events: BTreeMap::new(),
            rooms: BTreeMap::new(),
            copy: Vec::new(),
        };
        model.reopen();
        model
    }

    /// Opens the log, and compares what it has with what was written.
    fn reopen(&mut self) {
        let bounds = Limits {
            segment_bytes: 400,
            max_bytes: 3000,
            max_memory: 2000,
            ..limits()
        };
        let boot = BootId([self.boot; 16]);
        let (log, recovered) = open_with(self.directory.path(), boot, bounds);
        let epoch = *recovered.epoch.as_bytes();
        for record in &recovered.records {
            for (offset, event) in (record.first_offset..).zip(&record.events) {
                let written = &self.events[&(epoch, offset)];
                assert_eq!(written.as_ref(), Some(&event.text));
            }
        }
        for ((_, offset), room) in self.rooms.range((epoch, 0)..=(epoch, recovered.horizon)) {
            assert!(recovered.dropped.get(room.as_str()) >= *offset);
        }
        let all: Vec<_> = (recovered.horizon + 1..recovered.next_offset).collect();
        assert_eq!(replayable(&recovered), all);
        let mut later = self.events.range((epoch, recovered.next_offset)..);
        assert!(later.next().is_none_or(|((other, _), _)| *other != epoch));
        self.next_offset = recovered.next_offset;
        self.log = Some(log);
    }

    fn apply(&mut self, step: &Step) {
        let log = self.log.as_mut().unwrap();
        let epoch = *log.epoch().as_bytes();
        match step {
            Step::Append(counts) => self.append(counts),
            Step::FailedAppend => {
                let too_long = "x".repeat(70_000);
                let events = [event(&too_long, "text")];
                let record = record(self.next_offset, &events);
                log.append(&[record]).unwrap_err();
                self.events.insert((epoch, self.next_offset), None);
                self.next_offset += 1;
            }
            Step::Retention => log.enforce_retention(now()),
            Step::Kill { torn_bytes } => {
                let active = log.active.as_mut().unwrap();
                let torn = &record::frame_header(50, b"torn").repeat(2)[..(*torn_bytes).into()];
                active.append(torn).unwrap();
                self.log = None;
                self.reopen();
            }
            Step::PowerLoss { lost_bytes } => {
                self.log = None;
                let newest = files(self.directory.path()).pop().unwrap();
                let file = File::options().write(true).open(newest).unwrap();
                let length = file.metadata().unwrap().len();
                let lost = lost_bytes.index(usize::try_from(length).unwrap() + 1);
                file.set_len(length - lost as u64).unwrap();
                self.restart_machine();
                self.reopen();
            }
            Step::FlippedBit { byte, bit } => {
                self.log = None;
                self.flip(byte, *bit);
                self.reopen();
            }
            Step::Close { is_restarted } => {
                self.log.take().unwrap().close().unwrap();
                if *is_restarted {
                    self.restart_machine();
                }
                self.reopen();
            }
            Step::Copy => {
                let contents = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
                let files = files(self.directory.path()).into_iter();
                self.copy = files.map(contents).collect();
            }
            Step::Restore => {
                self.log = None;
                for path in files(self.directory.path()) {
                    std::fs::remove_file(path).unwrap();
                }
                for (path, contents) in &self.copy {
                    std::fs::write(path, contents).unwrap();
                }
                self.reopen();
            }
        }
    }

    /// Flips a bit of the files, taken as one.
    fn flip(&self, byte: &Index, bit: u8) {
        let files = files(self.directory.path());
        let mut contents: Vec<_> = files.iter().map(|f| std::fs::read(f).unwrap()).collect();
        let mut bytes: Vec<_> = contents.iter_mut().flatten().collect();
        let at = byte.index(bytes.len());
        *bytes[at] ^= 1 << bit;
        for (file, content) in files.iter().zip(contents) {
            std::fs::write(file, content).unwrap();
        }
    }

    /// The watermark ends with the boot.
    fn restart_machine(&mut self) {
        self.boot += 1;
        std::fs::remove_file(self.directory.path().join("watermark")).unwrap();
    }

    /// Appends a batch of records with these numbers of events.
    fn append(&mut self, counts: &[u8]) {
        let log = self.log.as_mut().unwrap();
        let epoch = *log.epoch().as_bytes();
        let first = self.next_offset;
        let end = first + counts.iter().copied().map(u64::from).sum::<u64>();
        let texts: Vec<_> = (first..end)
            .map(|offset| format!("{epoch:?} {offset}"))
            .collect();
        let rooms: Vec<_> = (first..end)
            .map(|offset| format!("r{}", offset % 7))
            .collect();
        let events = rooms.iter().zip(&texts);
        let events: Vec<_> = events.map(|(room, text)| event(room, text)).collect();
        let (mut records, mut rest) = (Vec::new(), events.as_slice());
        for count in counts {
            let (part, others) = rest.split_at((*count).into());
            records.push(record(end - rest.len() as u64, part));
            rest = others;
        }
        log.append(&records).unwrap();
        for (offset, room) in (first..end).zip(&rooms) {
            self.rooms.insert((epoch, offset), room.clone());
        }
        for (offset, text) in (first..end).zip(&texts) {
            let before = self.events.insert((epoch, offset), Some(text.clone()));
            assert_eq!(before, None, "the offset {offset} was used before");
        }
        self.next_offset = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn epoch_never_has_an_offset_twice_or_a_silent_gap(steps in vec(step(), 1..30)) {
        let mut model = Model::new();
        for step in &steps {
            model.apply(step);
        }
    }
}

#[test]
fn epoch_continues_after_a_kill_or_a_close() {
    let mut model = Model::new();
    let ends = [
        Step::Close { is_restarted: true },
        Step::Kill { torn_bytes: 15 },
        Step::Close {
            is_restarted: false,
        },
        Step::Kill { torn_bytes: 0 },
    ];
    for end in ends {
        let epoch = model.log.as_ref().unwrap().epoch();
        model.apply(&Step::Append(vec![2, 1]));
        let next_offset = model.next_offset;
        model.apply(&end);
        assert_eq!(model.log.as_ref().unwrap().epoch(), epoch, "{end:?}");
        assert_eq!(model.next_offset, next_offset, "{end:?}");
    }
}
