//! The durable half of the store: a log of rows, one per change, of which some die when history is trimmed.
//!
//! Row format 1, the value of the table entry `(revision, key)`:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | operation: 0 put, 1 delete |
//! | 4 | place of the change within its commit |
//! | 8 | revision in which the object appeared |
//! | 8 | revision of the version this change replaced, 0 if none |
//! | 8 | time of the commit, milliseconds since 1970 |
//! | 4 | checksum of all of these, the revision, the key and the value |
//! | rest | the raw value |
//!
//! Numbers are little-endian. Invariant: up to the floor there is exactly one put per living object; after it there is
//! every change. So the newest revision is the larger of the floor and the last row, and a scan in order rebuilds
//! both the current state and the history. Why no second table from key to revision: the index is in memory anyway,
//! and a change would cost two tree updates. Why a trait: the disk can be replaced by one that fails when told to.

use std::path::PathBuf;

use crate::record::Revision;
use crate::store::SnapshotError;

pub(crate) mod disk;
pub(crate) mod ram;

pub(crate) const FORMAT: u64 = 1;
const HEADER: usize = 33;

/// A row of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) revision: Revision,
    pub(crate) key: &'a str,
    pub(crate) delete: bool,
    pub(crate) place: u32,
    pub(crate) created: Revision,
    pub(crate) prev: Revision,
    pub(crate) time: u64,
    pub(crate) value: &'a [u8],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogError {
    #[error("{0}")]
    Corrupt(String),
    #[error("{0}")]
    Io(String),
}

/// Copies the state of the log at the moment it was made; runs on any thread.
pub(crate) type Copy = Box<dyn FnOnce() -> Result<(), SnapshotError> + Send>;

pub(crate) trait Log: Send {
    /// The revision up to which only living objects have rows.
    fn floor(&self) -> Revision;

    /// Shows every row in the order of revisions.
    fn scan(&self, visit: &mut dyn FnMut(Row<'_>) -> Result<(), LogError>) -> Result<(), LogError>;

    /// Adds all rows or none; durable when it returns. After an error the log is finished.
    fn append(&mut self, rows: &[Row<'_>]) -> Result<(), LogError>;

    /// Raises the floor and removes the rows that are only history below it, both or neither.
    fn trim(&mut self, floor: Revision, dead: &[(Revision, &str)]) -> Result<(), LogError>;

    /// Pins the present state and returns the work of copying it.
    fn copy(&self, to: PathBuf) -> Result<Copy, SnapshotError>;
}

impl<'a> Row<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.value.len());
        bytes.push(u8::from(self.delete));
        bytes.extend_from_slice(&self.place.to_le_bytes());
        bytes.extend_from_slice(&self.created.to_le_bytes());
        bytes.extend_from_slice(&self.prev.to_le_bytes());
        bytes.extend_from_slice(&self.time.to_le_bytes());
        bytes.extend_from_slice(&self.checksum().to_le_bytes());
        bytes.extend_from_slice(self.value);
        bytes
    }

    pub(crate) fn decode(revision: Revision, key: &'a str, bytes: &'a [u8]) -> Result<Self, LogError> {
        let broken = |what: &str| LogError::Corrupt(format!("the row of {key} at revision {revision} {what}"));
        let (header, value) = bytes.split_at_checked(HEADER).ok_or_else(|| broken("is too short"))?;
        let number = |at: usize, width: usize| {
            header[at..at + width].iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let row = Row {
            revision,
            key,
            delete: header[0] == 1,
            place: number(1, 4) as u32,
            created: number(5, 8),
            prev: number(13, 8),
            time: number(21, 8),
            value,
        };
        if header[0] > 1 || number(29, 4) as u32 != row.checksum() {
            return Err(broken("does not match its checksum"));
        }
        Ok(row)
    }

    fn checksum(&self) -> u32 {
        let mut sum = Checksum(0xcbf2_9ce4_8422_2325);
        let fixed = [
            u64::from(self.delete),
            u64::from(self.place),
            self.created,
            self.prev,
            self.time,
            self.revision,
            self.key.len() as u64,
            self.value.len() as u64,
        ];
        fixed.into_iter().for_each(|number| sum.add(number));
        sum.add_bytes(self.key.as_bytes());
        sum.add_bytes(self.value);
        (sum.0 ^ (sum.0 >> 32)) as u32
    }
}

/// FNV-1a over eight bytes at a time with a final fold: against scribbled and swapped bytes, not against an attacker.
struct Checksum(u64);

impl Checksum {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    fn add_bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row<'static> = Row {
        revision: 300,
        key: "/core/pods/default/web",
        delete: true,
        place: 2,
        created: 7,
        prev: 299,
        time: 1_700_000_000_123,
        value: b"{\"kind\":\"Pod\"}",
    };

    #[test]
    fn a_row_survives_its_encoding() {
        assert_eq!(Row::decode(300, ROW.key, &ROW.encode()), Ok(ROW));
    }

    #[test]
    fn any_changed_bit_of_a_row_is_noticed() {
        let good = ROW.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Row::decode(300, ROW.key, &bad).is_err(), "bit {bit}");
        }
        assert!(Row::decode(301, ROW.key, &good).is_err());
        assert!(Row::decode(300, "/core/pods/default/wed", &good).is_err());
        assert!(Row::decode(300, ROW.key, &good[..20]).is_err());
    }

    #[test]
    fn the_encoding_of_format_1_is_pinned() {
        let hex: String = ROW.encode()[..HEADER].iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["010200000007000000000000002b010000000000007b68e5cf8b010000fd7b295a"].assert_eq(&hex);
    }
}
