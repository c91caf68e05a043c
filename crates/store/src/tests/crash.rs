//! Power cuts: the disk fails at every write it is asked for in turn, and keeps any part of what was not synced.
//!
//! Invariant under test: what was acknowledged is there after reopening, and of an unacknowledged commit all or
//! nothing. Why a simulated disk: a killed process loses nothing that reached the kernel, a power cut does.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::log::disk::Disk;
use crate::log::{Log, Row};
use crate::{CommitError, History, Range};

/// What a disk holds for sure, and what it was told since the last sync.
#[derive(Debug, Default)]
struct Platter {
    durable: Vec<u8>,
    visible: Vec<u8>,
    pending: Vec<Change>,
    /// Changes until the power fails.
    left: Option<u64>,
    done: u64,
}

#[derive(Debug)]
enum Change {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Change {
    /// Applies the sectors that `kept` names.
    fn apply(&self, image: &mut Vec<u8>, kept: &mut dyn FnMut() -> bool) {
        match self {
            Change::Length(length) => {
                if kept() {
                    image.resize(*length, 0);
                }
            }
            Change::Write(at, data) => {
                for (index, sector) in data.chunks(512).enumerate() {
                    let from = at + index * 512;
                    if kept() {
                        image.resize(image.len().max(from + sector.len()), 0);
                        image[from..from + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Drive(Arc<Mutex<Platter>>);

impl Drive {
    fn new(image: Vec<u8>, left: Option<u64>) -> Self {
        let platter = Platter { durable: image.clone(), visible: image, left, ..Platter::default() };
        Self(Arc::new(Mutex::new(platter)))
    }

    /// What is found after the power came back: of each pending sector, by chance, the old or the new.
    fn after_power_cut(&self, mut seed: u64) -> Vec<u8> {
        let platter = self.0.lock();
        let mut image = platter.durable.clone();
        let mut chance = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % 4 > 1
        };
        for change in &platter.pending {
            change.apply(&mut image, &mut chance);
        }
        image
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.spend()?;
        change.apply(&mut platter.visible, &mut || true);
        platter.pending.push(change);
        Ok(())
    }
}

impl Platter {
    fn spend(&mut self) -> io::Result<()> {
        self.done += 1;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the power failed"))?;
        }
        Ok(())
    }
}

impl redb::StorageBackend for Drive {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().visible.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock();
        let from = offset as usize;
        let found = platter.visible.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.spend()?;
        platter.durable = platter.visible.clone();
        platter.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset as usize, data.to_owned()))
    }
}

fn start(drive: &Drive) -> Embedded {
    let history = History { events: 6, ..History::default() };
    on_log(Box::new(Disk::on_backend(drive.clone()).unwrap()), Options { history, ..options() }).unwrap()
}

fn shown(store: &Embedded) -> String {
    show_records(&store.range(Range { prefix: "/", ..Range::default() }).unwrap().records)
}

/// The n-th commit of the story: several keys at once, some of them deleted again later.
fn writes(store: &Embedded, n: u64) -> Vec<Write> {
    let big = format!("{n}-{}", "x".repeat(1500));
    let mut writes = vec![
        put(&format!("/core/pods/a/p{}", n % 5), &big, Expect::Any),
        put("/core/nodes/n", &n.to_string(), Expect::Any),
    ];
    let leaver = format!("/core/pods/b/p{}", n % 3);
    if store.get(&leaver).is_some() {
        writes.push(delete(&leaver, "gone", Expect::Any));
    } else {
        writes.push(put(&leaver, &big, Expect::Any));
    }
    writes
}

/// Runs the story until the disk fails; returns the state after each acknowledged commit, by revision.
fn tell(store: &Embedded, story: u64) -> (Vec<String>, bool) {
    let mut states = vec![String::new(), shown(store)];
    for n in 0..story {
        match wait(store.commit(writes(store, n))) {
            Ok(_) => states.push(shown(store)),
            Err(CommitError::Io { .. }) => {
                assert_eq!(states.last(), Some(&shown(store)), "a failed commit must not be seen");
                let next = wait(store.commit(writes(store, n)));
                assert!(matches!(next, Err(CommitError::Io { .. })), "a store whose disk failed must say so");
                return (states, true);
            }
            Err(error) => panic!("{error}"),
        }
    }
    (states, false)
}

#[test]
fn a_power_cut_at_any_write_loses_nothing_acknowledged_and_shows_no_half_commit() {
    const STORY: u64 = 14;
    let fresh = Drive::new(Vec::new(), None);
    drop(start(&fresh));
    let image = fresh.0.lock().visible.clone();

    let whole = Drive::new(image.clone(), None);
    let store = start(&whole);
    let (expected, _) = tell(&store, STORY);
    drop(store);
    let steps = whole.0.lock().done;
    let mut cuts = 0;
    for left in 0..steps {
        let drive = Drive::new(image.clone(), Some(left));
        let Ok(disk) = Disk::on_backend(drive.clone()) else { continue }; // cut while opening, before any write
        let history = History { events: 6, ..History::default() };
        let store = on_log(Box::new(disk), Options { history, ..options() }).unwrap();
        let (states, cut) = tell(&store, STORY);
        assert_eq!(states, expected[..states.len()]);
        drop(store);
        cuts += u64::from(cut);
        for seed in [1, 0x9e37_79b9_7f4a_7c15 ^ left] {
            let found = Drive::new(drive.after_power_cut(seed), None);
            let store = start(&found);
            let revision = store.revision() as usize;
            assert!(
                revision + 1 == states.len() || cut && revision == states.len(),
                "cut at {left}: {} commits acknowledged, found revision {revision}",
                states.len() - 2
            );
            assert_eq!(shown(&store), expected[revision], "cut at {left}, revision {revision}");
            wait(store.commit(writes(&store, revision as u64 - 1))).unwrap();
            let now = shown(&store);
            drop(store);
            assert_eq!(shown(&start(&found)), now);
        }
    }
    assert!(cuts > 50, "the story has too few writes to cut: {cuts} of {steps}");
}

#[test]
fn a_power_cut_while_a_store_is_made_leaves_an_empty_store_or_an_error_never_a_wrong_one() {
    let whole = Drive::new(Vec::new(), None);
    drop(Disk::on_backend(whole.clone()).unwrap());
    let steps = whole.0.lock().done;
    for left in 0..steps {
        let drive = Drive::new(Vec::new(), Some(left));
        drop(Disk::on_backend(drive.clone()));
        if let Ok(disk) = Disk::on_backend(Drive::new(drive.after_power_cut(left + 1), None)) {
            assert_eq!(disk.floor(), 1);
            disk.scan(&mut |row: Row<'_>| panic!("{row:?}")).unwrap();
        }
    }
}

#[test]
fn a_disk_that_fills_up_is_reported_and_reads_go_on() {
    let ram = Ram::new();
    let store = on_log(Box::new(ram.clone()), options()).unwrap();
    fill(&store, &[("/core/pods/a/x", "1")]);
    ram.fail_after(Some(0));
    let failed = wait(store.commit(vec![put("/core/pods/a/x", "2", Expect::Any)])).unwrap_err();
    expect_test::expect!["cannot write to the store; it takes no more writes until a restart, check the disk first: no space left on the device"]
        .assert_eq(&failed.to_string());
    assert!(wait(store.compact(2)).is_err());
    assert_eq!(shown(&store), "/core/pods/a/x=1@2 c2 r2");
    ram.fail_after(None);
    assert!(wait(store.commit(vec![put("/core/pods/a/x", "2", Expect::Any)])).is_err(), "only a restart helps");
    drop(store);
    let store = on_log(Box::new(ram), options()).unwrap();
    fill(&store, &[("/core/pods/a/x", "3")]);
    assert_eq!(shown(&store), "/core/pods/a/x=3@3 c2 r3");
}
