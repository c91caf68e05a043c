//! The container's log file, in the format of the Container Runtime Interface.
//!
//! `2026-01-02T03:04:05.000000000Z stdout F line`, one record per line; a line longer than 16 KiB
//! becomes records marked P (partial) and a last one marked F.
//! Invariant: a full disk loses log lines but never blocks the container.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Longest piece of a line in one record, as containerd has it.
const LONGEST: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

pub(super) struct Log {
    path: PathBuf,
    file: File,
    /// The unfinished line of each stream.
    pending: [Vec<u8>; 2],
    records: Vec<u8>,
}

impl Log {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Ok(Self { path: path.to_owned(), file, pending: [Vec::new(), Vec::new()], records: Vec::new() })
    }

    /// Continues in a new file, after the old one was renamed.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }

    /// Adds output; complete lines are written.
    pub(super) fn add(&mut self, stream: Stream, data: &[u8], now: Timestamp) {
        let records = &mut self.records;
        let pending = &mut self.pending[stream as usize];
        format_records(records, pending, stream, data, now);
        self.write();
    }

    /// The stream ended: what is left of an unfinished line is a partial record.
    pub(super) fn finish(&mut self, stream: Stream, now: Timestamp) {
        let pending = std::mem::take(&mut self.pending[stream as usize]);
        if !pending.is_empty() {
            record(&mut self.records, stream, 'P', &pending, now);
            self.write();
        }
    }

    fn write(&mut self) {
        if let Err(error) = self.file.write_all(&self.records) {
            eprintln!("knarr shim: cannot write {}: {error}", self.path.display());
        }
        self.records.clear();
        self.records.shrink_to(2 * LONGEST);
    }
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().append(true).create(true).mode(0o640).open(path)
}

fn format_records(records: &mut Vec<u8>, pending: &mut Vec<u8>, stream: Stream, data: &[u8], now: Timestamp) {
    for piece in data.split_inclusive(|byte| *byte == b'\n') {
        let (mut text, ends) = match piece.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (piece, false),
        };
        while pending.len() + text.len() > LONGEST {
            let (head, tail) = text.split_at(LONGEST - pending.len());
            pending.extend(head);
            record(records, stream, 'P', pending, now);
            pending.clear();
            text = tail;
        }
        pending.extend(text);
        if ends {
            record(records, stream, 'F', pending, now);
            pending.clear();
        }
    }
}

fn record(records: &mut Vec<u8>, stream: Stream, tag: char, line: &[u8], now: Timestamp) {
    records.extend(format!("{now:.9} {} {tag} ", stream.name()).into_bytes());
    records.extend(line);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: &str = "2026-01-02T03:04:05Z";

    fn formatted(pieces: &[&[u8]]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = Log::open(&path).unwrap();
        for piece in pieces {
            log.add(Stream::Stdout, piece, AT.parse().unwrap());
        }
        log.finish(Stream::Stdout, AT.parse().unwrap());
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_becomes_one_record() {
        assert_eq!(formatted(&[b"a", b"b\n"]), "2026-01-02T03:04:05.000000000Z stdout F ab\n");
    }

    #[test]
    fn a_last_line_without_end_is_partial() {
        assert_eq!(formatted(&[b"x\n\ny"]).lines().map(|l| &l[38..]).collect::<Vec<_>>(), ["F x", "F ", "P y"]);
    }

    #[test]
    fn after_a_rename_the_log_goes_on_in_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("0.log"), dir.path().join("0.log.old"));
        let mut log = Log::open(&path).unwrap();
        log.add(Stream::Stderr, b"one\n", AT.parse().unwrap());
        std::fs::rename(&path, &old).unwrap();
        log.reopen().unwrap();
        log.add(Stream::Stderr, b"two\n", AT.parse().unwrap());
        assert!(std::fs::read_to_string(old).unwrap().ends_with("stderr F one\n"));
        assert!(std::fs::read_to_string(path).unwrap().ends_with("stderr F two\n"));
    }

    proptest! {
        #[test]
        fn joining_the_records_gives_the_output_back(
            output in proptest::collection::vec(prop_oneof![9 => Just(b'x'), 1 => Just(b'\n')], 0..200),
            repeat in 1usize..400,
            cut in 1usize..5000,
        ) {
            let output: Vec<u8> = output.repeat(repeat);
            let pieces: Vec<&[u8]> = output.chunks(cut).collect();
            let mut joined = String::new();
            for line in formatted(&pieces).lines() {
                let (tag, text) = (&line[38..39], &line[40..]);
                prop_assert!(text.len() <= LONGEST);
                joined.push_str(text);
                if tag == "F" { joined.push('\n'); }
            }
            prop_assert_eq!(joined.into_bytes(), output);
        }
    }
}
