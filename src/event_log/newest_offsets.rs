//! The newest offset of each room. It shows that a client of a quiet room has missed nothing,
//! although the room's events are no longer kept.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// The newest of the offsets that were noted for each room. It knows the rooms with the newest
/// offsets; of all others it knows only a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestOffsets<K: Eq + Hash> {
    /// The offsets of rooms that are not in `by_room` are not higher.
    floor: u64,
    /// Offsets above the floor.
    by_room: HashMap<K, u64>,
}

impl<K: Eq + Hash> NewestOffsets<K> {
    /// Creates a table that knows no room, and only that no offset is higher than `floor`.
    pub fn new(floor: u64) -> Self {
        Self {
            floor,
            by_room: HashMap::new(),
        }
    }

    /// Returns an upper bound of the offsets that were noted for `room`.
    pub fn get<Q>(&self, room: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.by_room.get(room).copied().unwrap_or(self.floor)
    }

    /// Notes `offset` for `room`.
    pub fn note<Q>(&mut self, room: &Q, offset: u64)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned: Into<K>> + ?Sized,
    {
        if let Some(newest) = self.by_room.get_mut(room) {
            *newest = (*newest).max(offset);
        } else if self.floor < offset {
            self.by_room.insert(room.to_owned().into(), offset);
            if self.by_room.len() > MAX_ROOMS {
                self.evict_half();
            }
        }
    }

    /// Forgets the half of the rooms with the lowest offsets.
    pub fn evict_half(&mut self) {
        let mut offsets: Vec<_> = self.by_room.values().copied().collect();
        if offsets.is_empty() {
            return;
        }
        let middle = offsets.len() / 2;
        let (_, floor, _) = offsets.select_nth_unstable(middle);
        self.floor = self.floor.max(*floor);
        let floor = self.floor;
        self.by_room.retain(|_, newest| *newest > floor);
    }

    /// Returns the bound of the rooms that are not known.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Returns the known rooms with their newest offsets.
    pub fn rooms(&self) -> impl ExactSizeIterator<Item = (&K, u64)> {
        self.by_room.iter().map(|(room, newest)| (room, *newest))
    }
}

/// The maximum number of rooms that are known.
const MAX_ROOMS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_never_understated() {
        let mut table = NewestOffsets::<Box<str>>::new(10);
        assert_eq!(table.get("a"), 10);
        table.note("a", 5);
        assert_eq!(table.get("a"), 10);
        table.note("a", 20);
        table.note("a", 15);
        assert_eq!((table.get("a"), table.get("b")), (20, 10));
        let rooms = 3 * MAX_ROOMS as u64;
        for number in 0..rooms {
            table.note(number.to_string().as_str(), 100 + number);
            assert!(table.rooms().len() <= MAX_ROOMS);
        }
        assert!(table.get("a") >= 20);
        for number in 0..rooms {
            assert!(table.get(number.to_string().as_str()) >= 100 + number);
        }
        // The newest rooms are known exactly.
        let newest = rooms - MAX_ROOMS as u64 / 2 + 1;
        for number in newest..rooms {
            assert_eq!(table.get(number.to_string().as_str()), 100 + number);
        }
        assert_eq!(table.get("never seen"), table.floor());
        assert!(table.floor() < 100 + newest);
    }
}
