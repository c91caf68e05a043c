//! Real processes, really killed: a child writes and says what was acknowledged, dies by SIGKILL at a random moment,
//! and the store is opened and compared.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;
use crate::{History, Range};

const CHILD: &str = "KNARR_STORE_TEST_CHILD";
const WRITERS: u64 = 6;

/// The n-th change of a writer: five keys in turn, each put, put again, deleted.
fn change(writer: u64, n: u64) -> Write {
    let key = format!("/core/pods/w{writer}/k{}", n % 5);
    if n / 5 % 3 == 2 { delete(&key, "gone", Expect::Present) } else { put(&key, &n.to_string(), Expect::Any) }
}

/// What a writer's keys hold after `n` changes.
fn held(writer: u64, n: u64) -> Vec<String> {
    let mut keys = std::collections::BTreeMap::new();
    for n in 0..n {
        match change(writer, n) {
            Write::Put { key, value, .. } => keys.insert(key, String::from_utf8(value.to_vec()).unwrap()),
            Write::Delete { key, .. } => keys.remove(&key),
        };
    }
    keys.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn found(store: &Embedded, writer: u64) -> Vec<String> {
    let prefix = format!("/core/pods/w{writer}/");
    let page = store.range(Range { prefix: &prefix, ..Range::default() }).unwrap();
    let show = |record: &Arc<Record>| {
        format!("{}={}", record.key, String::from_utf8_lossy(&record.value).split_once('@').unwrap().0)
    };
    page.records.iter().map(show).collect()
}

/// The child's part; does nothing unless this process was started as one.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let history = History { events: 40, ..History::default() };
    let store = open(&file(Path::new(&dir)), Options { history, ..options() }).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for n in 0.. {
                    wait(store.commit(vec![change(writer, n)])).unwrap();
                    writeln!(std::io::stdout(), "ack {writer} {n}").unwrap();
                }
            });
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let mut seed = std::process::id().into();
    for round in 0..10 {
        seed = 6_364_136_223_846_793_005_u64.wrapping_mul(seed).wrapping_add(round);
        let acks = (seed >> 33) % 600;
        let place = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::kill::child_that_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut done = [0; WRITERS as usize];
        let mut count = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((writer, n)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' ')) else { continue };
            if let (Ok(writer), Ok(n)) = (writer.parse::<usize>(), n.parse::<u64>()) {
                done[writer] = n + 1;
            }
            count += 1;
            if count == acks + 1 {
                child.kill().unwrap(); // and read on: what it said before it died was promised
            }
        }
        assert!(!child.wait().unwrap().success());
        assert!(count > acks, "the child ended by itself");

        let store = open(&file(place.path()), options()).unwrap();
        for writer in 0..WRITERS {
            let (found, done) = (found(&store, writer), done[writer as usize]);
            let one_more = held(writer, done + 1);
            assert!(found == held(writer, done) || found == one_more, "writer {writer} after {done}: {found:?}");
        }
        fill(&store, &[("/core/pods/w0/k0", "the store goes on")]);
    }
}
