//! What every backend must do, run over each of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use expect_test::{Expect as Golden, expect};

use super::*;
use crate::{CommitError, History, Range, RangeError, SnapshotError};

macro_rules! battery {
    ($($behaviour:ident)*) => {
        mod in_memory { $(#[test] fn $behaviour() { super::$behaviour(&super::Place::ram()); })* }
        mod on_disk { $(#[test] fn $behaviour() { super::$behaviour(&super::Place::disk()); })* }
    };
}

battery! {
    an_empty_store_stands_at_revision_one
    a_commit_is_one_revision_and_visible_when_it_returns
    expectations_hold_against_the_newest_state
    a_commit_with_one_refused_write_changes_nothing
    malformed_and_repeated_keys_are_refused
    a_delete_shows_its_last_state_and_frees_the_key
    pages_follow_each_other_and_count_what_remains
    an_older_revision_reads_as_it_was_until_compacted
    a_watch_tells_every_change_of_its_prefix_in_order
    a_watch_refuses_what_it_cannot_tell
    a_bookmark_moves_on_while_other_topics_change
    readers_resume_after_a_restart
    history_is_bounded_by_count
    history_is_bounded_by_age
    a_busy_topic_does_not_expire_the_readers_of_a_quiet_one
    a_full_store_refuses_growth_and_takes_deletes
    a_closed_store_answers_reads_and_ends_watches
    a_snapshot_is_a_store_with_the_same_state
    superseded_versions_lose_their_memos
    writers_racing_for_a_key_lose_no_update
}

fn all(store: &dyn Store, at: Option<Revision>) -> String {
    show_records(&store.range(Range { prefix: "/", at, ..Range::default() }).unwrap().records)
}

fn check_watch(store: &dyn Store, prefix: &str, after: Revision, golden: &Golden) {
    let mut watch = store.watch(prefix, after).unwrap();
    golden.assert_eq(&show_events(&drain(&mut watch).unwrap()));
    assert_eq!(watch.revision(), store.revision());
}

fn an_empty_store_stands_at_revision_one(place: &Place) {
    let store = place.open(options());
    assert_eq!(store.revision(), 1);
    assert_eq!(all(&store, None), "");
    assert_eq!(wait(store.commit(vec![])).unwrap(), vec![]);
    assert_eq!(store.revision(), 1);
}

fn a_commit_is_one_revision_and_visible_when_it_returns(place: &Place) {
    let store = place.open(options());
    let written =
        wait(store.commit(vec![put("/core/pods/a/x", "1", Expect::Any), put("/core/nodes/n", "2", Expect::Absent)]));
    assert_eq!(show_records(&written.unwrap()), "/core/pods/a/x=1@2 c2 r2\n/core/nodes/n=2@2 c2 r2");
    assert_eq!(store.revision(), 2);
    fill(&store, &[("/core/pods/a/x", "3")]);
    assert_eq!(show_record(&store.get("/core/pods/a/x").unwrap()), "/core/pods/a/x=3@3 c2 r3");
    assert!(store.get("/core/pods/a/xx").is_none() && store.get("/core/pods/a/").is_none());
}

fn expectations_hold_against_the_newest_state(place: &Place) {
    let store = place.open(options());
    let (there, missing) = ("/core/pods/a/there", "/core/pods/a/missing");
    for (expect, on_there, on_missing) in [
        (Expect::Any, true, true),
        (Expect::Absent, false, true),
        (Expect::Present, true, false),
        (Expect::Revision(1), false, false),
    ] {
        for (key, holds) in [(there, on_there), (missing, on_missing)] {
            fill(&store, &[(there, "1")]);
            let before = store.get(key);
            match wait(store.commit(vec![put(key, "2", expect)])) {
                Ok(_) => assert!(holds, "{key} {expect:?}"),
                Err(CommitError::Conflict { index: 0, current }) => {
                    assert_eq!((holds, current), (false, before), "{key} {expect:?}");
                }
                Err(error) => panic!("{error}"),
            }
            if store.get(missing).is_some() {
                wait(store.commit(vec![delete(missing, "", Expect::Present)])).unwrap();
            }
        }
    }
    let revision = store.get(there).unwrap().revision;
    wait(store.commit(vec![put(there, "3", Expect::Revision(revision))])).unwrap();
    let refused = wait(store.commit(vec![delete(missing, "", Expect::Any)]));
    assert!(matches!(refused, Err(CommitError::Conflict { index: 0, current: None })));
}

fn a_commit_with_one_refused_write_changes_nothing(place: &Place) {
    let store = place.open(options());
    let refused =
        wait(store.commit(vec![put("/core/pods/a/x", "1", Expect::Any), put("/core/pods/a/y", "1", Expect::Present)]));
    assert!(matches!(refused, Err(CommitError::Conflict { index: 1, current: None })));
    assert_eq!((store.revision(), all(&store, None)), (1, String::new()));
}

fn malformed_and_repeated_keys_are_refused(place: &Place) {
    let store = place.open(options());
    for key in ["", "/", "pods/a/x", "/core/pods", "/core/pods/", "//pods/x"] {
        let refused = wait(store.commit(vec![put(key, "", Expect::Any)]));
        assert!(matches!(refused, Err(CommitError::Key { index: 0, .. })), "{key}");
    }
    let twice = vec![put("/core/pods/a/x", "1", Expect::Any), delete("/core/pods/a/x", "1", Expect::Any)];
    assert!(matches!(wait(store.commit(twice)), Err(CommitError::Key { index: 1, .. })));
    assert_eq!(store.revision(), 1);
}

fn a_delete_shows_its_last_state_and_frees_the_key(place: &Place) {
    let store = place.open(options());
    fill(&store, &[("/core/pods/a/x", "1")]);
    let gone = wait(store.commit(vec![delete("/core/pods/a/x", "last", Expect::Revision(2))])).unwrap();
    assert_eq!(show_records(&gone), "/core/pods/a/x=last@3 c2 r3");
    assert!(store.get("/core/pods/a/x").is_none());
    fill(&store, &[("/core/pods/a/x", "2")]);
    check_watch(
        &store,
        "/core/pods/",
        1,
        &expect![[r#"
        put /core/pods/a/x=1@2 c2 r2
        delete /core/pods/a/x=last@3 c2 r3 was 1@2
        put /core/pods/a/x=2@4 c4 r4"#]],
    );
}

fn pages_follow_each_other_and_count_what_remains(place: &Place) {
    let store = place.open(options());
    for name in ["b/1", "a/1", "a/3", "a/2", "ab/1", "c"] {
        fill(&store, &[(&format!("/core/pods/{name}"), ""), (&format!("/core/podtemplates/{name}"), "")]);
    }
    let names = |prefix, after, limit, at| {
        let page = store.range(Range { prefix, after, limit, at }).unwrap();
        let names: Vec<_> = page.records.iter().map(|record| record.key["/core/pods/".len()..].to_owned()).collect();
        let more = match page.remaining {
            Some(count) => format!("+{count}"),
            None => "+?".to_owned(),
        };
        assert_eq!(page.more, more != "+0");
        format!("{} {more}", names.join(" "))
    };
    for at in [None, Some(store.revision())] {
        assert_eq!(names("/core/pods/", None, 0, at), "a/1 a/2 a/3 ab/1 b/1 c +0");
        let now = at.is_none_or(|at| at == store.revision());
        assert_eq!(names("/core/pods/", None, 2, at), if now { "a/1 a/2 +4" } else { "a/1 a/2 +?" });
        assert_eq!(names("/core/pods/", Some("/core/pods/a/2"), 2, at), "a/3 ab/1 +?");
        assert_eq!(names("/core/pods/", Some("/core/pods/ab/1"), 2, at), "b/1 c +0");
        assert_eq!(names("/core/pods/", Some("/core/pods/c"), 2, at), " +0");
        assert_eq!(names("/core/pods/a/", None, 2, at), if now { "a/1 a/2 +1" } else { "a/1 a/2 +?" });
        assert_eq!(names("/core/pods/a/", Some("/core/pods/a/2"), 5, at), "a/3 +0");
        assert_eq!(names("/core/pods/x/", None, 5, at), " +0");
        assert_eq!(names("/core/secrets/", None, 5, at), " +0");
        fill(&store, &[("/core/nodes/n", "the same must be read as of before")]);
    }
    let page = store.range(Range { prefix: "/core/", limit: 7, ..Range::default() }).unwrap();
    assert_eq!((page.records.len(), page.more, page.remaining), (7, true, None));
}

fn an_older_revision_reads_as_it_was_until_compacted(place: &Place) {
    let store = place.open(options());
    let mut was = vec![all(&store, None)];
    for write in [
        put("/core/pods/a/x", "1", Expect::Any),
        put("/core/pods/a/z", "1", Expect::Any),
        put("/core/pods/a/x", "2", Expect::Any),
        delete("/core/pods/a/x", "gone", Expect::Any),
        put("/core/pods/a/y", "1", Expect::Any),
        put("/core/pods/a/x", "3", Expect::Any),
    ] {
        wait(store.commit(vec![write])).unwrap();
        was.push(all(&store, None));
    }
    for (index, was) in was.iter().enumerate() {
        assert_eq!(&all(&store, Some(index as u64 + 1)), was, "at {}", index + 1);
    }
    let page = Range { prefix: "/core/pods/", after: Some("/core/pods/a/x"), limit: 1, at: Some(4) };
    let page = store.range(page).unwrap();
    assert_eq!((show_records(&page.records), page.more), ("/core/pods/a/z=1@3 c3 r3".into(), false));
    let future = Range { prefix: "/core/pods/", at: Some(8), ..Range::default() };
    assert_eq!(store.range(future), Err(RangeError::Future { newest: 7 }));

    wait(store.compact(4)).unwrap();
    for prefix in ["/core/pods/", "/core/nodes/", "/"] {
        let old = Range { prefix, at: Some(3), ..Range::default() };
        assert_eq!(store.range(old), Err(RangeError::Compacted { oldest: 4 }), "{prefix}");
    }
    for revision in 4..=7 {
        assert_eq!(all(&store, Some(revision)), was[revision as usize - 1], "at {revision} after compacting");
    }
    wait(store.compact(1000)).unwrap();
    assert_eq!(all(&store, None), was[6]);
}

fn a_watch_tells_every_change_of_its_prefix_in_order(place: &Place) {
    let store = place.open(options());
    let mut pods = store.watch("/core/pods/", 1).unwrap();
    let mut mine = store.watch("/core/pods/a/", 1).unwrap();
    assert_eq!(drain(&mut pods), Ok(vec![]));
    fill(&store, &[("/core/pods/a/x", "1"), ("/core/pods/b/y", "1"), ("/core/nodes/n", "1"), ("/core/pods/a/x", "2")]);
    wait(store.commit(vec![delete("/core/pods/b/y", "z", Expect::Any), put("/core/pods/a/q", "1", Expect::Any)]))
        .unwrap();
    expect![[r#"
        put /core/pods/a/x=1@2 c2 r2
        put /core/pods/b/y=1@3 c3 r3
        put /core/pods/a/x=2@5 c2 r5 was 1@2
        delete /core/pods/b/y=z@6 c3 r6 was 1@3
        put /core/pods/a/q=1@6 c6 r6"#]]
    .assert_eq(&show_events(&drain(&mut pods).unwrap()));
    expect![[r#"
        put /core/pods/a/x=1@2 c2 r2
        put /core/pods/a/x=2@5 c2 r5 was 1@2
        put /core/pods/a/q=1@6 c6 r6"#]]
    .assert_eq(&show_events(&drain(&mut mine).unwrap()));
    assert_eq!(drain(&mut mine), Ok(vec![]));

    // A sleeping watcher is woken.
    std::thread::scope(|scope| {
        let woken = scope.spawn(|| show_events(&wait(mine.next()).unwrap()));
        fill(&store, &[("/core/pods/b/y", "3"), ("/core/pods/a/y", "3")]);
        assert_eq!(woken.join().unwrap(), "put /core/pods/a/y=3@8 c8 r8");
    });
}

fn a_watch_refuses_what_it_cannot_tell(place: &Place) {
    let store = place.open(options());
    fill(&store, &[("/core/pods/a/x", "1"), ("/core/pods/a/x", "2"), ("/core/pods/a/x", "3")]);
    assert_eq!(store.watch("/core/pods/", 5).err(), Some(WatchError::Future { newest: 4 }));
    assert!(matches!(store.watch("/core/", 1).err(), Some(WatchError::Prefix { .. })));
    let mut slow = store.watch("/core/pods/", 2).unwrap();
    wait(store.compact(3)).unwrap();
    assert_eq!(drain(&mut slow), Err(WatchError::Compacted { oldest: 3 }));
    assert_eq!(store.watch("/core/pods/", 2).err(), Some(WatchError::Compacted { oldest: 3 }));
    assert_eq!(store.watch("/core/nodes/", 2).err(), Some(WatchError::Compacted { oldest: 3 }));
    check_watch(&store, "/core/pods/", 3, &expect!["put /core/pods/a/x=3@4 c2 r4 was 2@3"]);
}

fn a_bookmark_moves_on_while_other_topics_change(place: &Place) {
    let store = place.open(options());
    let mut watch = store.watch("/core/pods/", 1).unwrap();
    fill(&store, &[("/core/nodes/n", "1")]);
    assert_eq!(watch.revision(), 2);
    fill(&store, &[("/core/pods/a/x", "1"), ("/core/nodes/n", "1")]);
    assert!(watch.revision() < 3, "an event waits to be read");
    assert_eq!(drain(&mut watch).unwrap().len(), 1);
    assert_eq!(watch.revision(), 4);
    wait(store.compact(4)).unwrap();
    assert_eq!(drain(&mut watch), Ok(vec![]), "a watcher that missed nothing survives a compaction");
}

fn readers_resume_after_a_restart(place: &Place) {
    let store = place.open(options());
    fill(&store, &[("/core/pods/a/x", "1"), ("/core/pods/a/y", "1"), ("/core/pods/a/x", "2"), ("/core/nodes/n", "1")]);
    wait(store.commit(vec![put("/core/pods/b/z", "1", Expect::Any), delete("/core/pods/a/y", "end", Expect::Any)]))
        .unwrap();
    let was: Vec<_> = (1..=6).map(|at| all(&store, Some(at))).collect();
    drop(store);

    let store = place.open(options());
    assert_eq!(store.revision(), 6);
    assert_eq!((1..=6).map(|at| all(&store, Some(at))).collect::<Vec<_>>(), was);
    check_watch(
        &store,
        "/core/pods/",
        2,
        &expect![[r#"
        put /core/pods/a/y=1@3 c3 r3
        put /core/pods/a/x=2@4 c2 r4 was 1@2
        put /core/pods/b/z=1@6 c6 r6
        delete /core/pods/a/y=end@6 c3 r6 was 1@3"#]],
    );
    wait(store.compact(5)).unwrap();
    drop(store);

    let store = place.open(options());
    assert_eq!((store.revision(), all(&store, None)), (6, was[5].clone()));
    assert_eq!(store.watch("/core/pods/", 4).err(), Some(WatchError::Compacted { oldest: 5 }));
    check_watch(
        &store,
        "/core/pods/",
        5,
        &expect![[r#"
        put /core/pods/b/z=1@6 c6 r6
        delete /core/pods/a/y=end@6 c3 r6 was 1@3"#]],
    );
    wait(store.compact(6)).unwrap();
    drop(store);

    let store = place.open(options());
    assert_eq!((store.revision(), all(&store, None)), (6, was[5].clone()), "the revision outlives its last row");
}

fn history_is_bounded_by_count(place: &Place) {
    let bounds = History { events: 20, ..History::default() };
    let store = place.open(Options { history: bounds, ..options() });
    let mut slow = store.watch("/core/pods/", 1).unwrap();
    (0..100).for_each(|_| fill(&store, &[("/core/pods/a/x", "1")]));
    wait(store.compact(1)).unwrap(); // returns after the trimming that was due
    assert!(matches!(drain(&mut slow), Err(WatchError::Compacted { oldest }) if oldest >= 101 - 22));
    let mut watch = store.watch("/core/pods/", 101 - 20).unwrap();
    assert_eq!(drain(&mut watch).unwrap().len(), 20);
}

/// A clock that stands until it is moved.
fn clock() -> (Arc<AtomicU64>, crate::Clock) {
    let seconds = Arc::new(AtomicU64::new(1_000_000));
    let shown = seconds.clone();
    (seconds, Arc::new(move || UNIX_EPOCH + Duration::from_secs(shown.load(Ordering::Relaxed))))
}

fn history_is_bounded_by_age(place: &Place) {
    let (seconds, clock) = clock();
    let bounds = History { age: Duration::from_secs(60), ..History::default() };
    let options = Options { history: bounds, clock, ..options() };
    let store = place.open(options.clone());
    fill(&store, &[("/core/pods/a/x", "1"), ("/core/pods/a/x", "2")]);
    seconds.fetch_add(50, Ordering::Relaxed);
    fill(&store, &[("/core/pods/a/x", "3")]);
    assert!(store.watch("/core/pods/", 1).is_ok());
    drop(store);
    seconds.fetch_add(20, Ordering::Relaxed);
    let store = place.open(options);
    fill(&store, &[("/core/nodes/n", "1"), ("/core/nodes/n", "2")]); // the second is answered after the trimming
    assert_eq!(store.watch("/core/pods/", 1).err(), Some(WatchError::Compacted { oldest: 3 }));
    assert!(store.watch("/core/pods/", 3).is_ok());
}

fn a_busy_topic_does_not_expire_the_readers_of_a_quiet_one(place: &Place) {
    let bounds = History { events: 20, ..History::default() };
    let store = place.open(Options { history: bounds, ..options() });
    fill(&store, &[("/core/nodes/n", "1")]);
    (0..100).for_each(|_| fill(&store, &[("/core/pods/a/x", "1")]));
    assert!(store.watch("/core/pods/", 2).is_err());
    assert_eq!(drain(&mut store.watch("/core/nodes/", 2).unwrap()), Ok(vec![]));
    let nodes = store.range(Range { prefix: "/core/nodes/", at: Some(2), ..Range::default() }).unwrap();
    assert_eq!(nodes.records.len(), 1);
}

fn a_full_store_refuses_growth_and_takes_deletes(place: &Place) {
    let store = place.open(Options { limit: Some(1000), ..options() });
    let big = "x".repeat(400);
    fill(&store, &[("/core/pods/a/x", &big), ("/core/pods/a/y", &big)]);
    let refused = wait(store.commit(vec![put("/core/pods/a/z", &big, Expect::Any)]));
    expect!["the store is full: 832 of 1000 bytes are in use; delete objects or raise the size limit"]
        .assert_eq(&refused.unwrap_err().to_string());
    fill(&store, &[("/core/pods/a/y", &big[2..])]);
    wait(store.commit(vec![delete("/core/pods/a/x", &big, Expect::Any)])).unwrap();
    fill(&store, &[("/core/pods/a/z", &big)]);
    drop(store);
    let store = place.open(Options { limit: Some(1000), ..options() });
    let refused = wait(store.commit(vec![put("/core/pods/a/x", &big, Expect::Any)]));
    assert!(matches!(refused, Err(CommitError::Full { used: 830, limit: 1000 })), "{refused:?}");
}

fn a_closed_store_answers_reads_and_ends_watches(place: &Place) {
    let store = place.open(options());
    let mut watch = store.watch("/core/pods/", 1).unwrap();
    fill(&store, &[("/core/pods/a/x", "1")]);
    store.close();
    store.close();
    assert!(matches!(wait(store.commit(vec![put("/core/pods/a/x", "2", Expect::Any)])), Err(CommitError::Closed)));
    assert!(wait(store.compact(1)).is_err());
    assert!(store.get("/core/pods/a/x").is_some());
    assert_eq!(wait(watch.next()).unwrap().len(), 1, "what was written before is still told");
    assert_eq!(wait(watch.next()), Err(WatchError::Closed));
    assert_eq!(store.watch("/core/pods/", 1).err(), Some(WatchError::Closed));
}

fn a_snapshot_is_a_store_with_the_same_state(place: &Place) {
    let store = place.open(options());
    fill(&store, &[("/core/pods/a/x", "1"), ("/core/pods/a/x", "2"), ("/core/nodes/n", "1")]);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("copy.redb");
    wait(store.snapshot(&to)).unwrap();
    let (was, then) = (all(&store, None), store.revision());
    fill(&store, &[("/core/pods/a/x", "3")]);
    assert!(matches!(wait(store.snapshot(&to)), Err(SnapshotError::Exists { .. })));
    assert!(matches!(wait(store.snapshot(&dir.path().join("no/copy"))), Err(SnapshotError::Io { .. })));

    let copy = open(&to, options()).unwrap();
    assert_eq!((copy.revision(), all(&copy, None)), (then, was));
    check_watch(&copy, "/core/pods/", 2, &expect!["put /core/pods/a/x=2@3 c2 r3 was 1@2"]);
}

fn superseded_versions_lose_their_memos(place: &Place) {
    let (seconds, clock) = clock();
    let store = place.open(Options { clock, ..options() });
    let key = "/core/pods/a/x";
    for value in ["1", "2", "3"] {
        fill(&store, &[(key, value)]);
        store.get(key).unwrap().memo(|record| record.value.len());
    }
    let live = store.get(key).unwrap();
    assert_eq!(store.memory().ring_records_with_memos(), 5);
    seconds.fetch_add(10, Ordering::Relaxed);
    fill(&store, &[("/core/nodes/n", "1"), ("/core/nodes/n", "2")]); // the second is answered after the cooling
    assert_eq!(store.memory().ring_records_with_memos(), 1);
    assert!(Arc::ptr_eq(&live, &store.get(key).unwrap()));
    check_watch(
        &store,
        "/core/pods/",
        1,
        &expect![[r#"
        put /core/pods/a/x=1@2 c2 r2
        put /core/pods/a/x=2@3 c2 r3 was 1@2
        put /core/pods/a/x=3@4 c2 r4 was 2@3"#]],
    );
}

fn writers_racing_for_a_key_lose_no_update(place: &Place) {
    let store = place.open(options());
    let key = "/core/pods/a/counter";
    fill(&store, &[(key, "0")]);
    let count =
        |record: &Record| -> u64 { String::from_utf8_lossy(&record.value).split_once('@').unwrap().0.parse().unwrap() };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut done = 0;
                let mut current = store.get(key).unwrap();
                while done < 25 {
                    let next = put(key, &(count(&current) + 1).to_string(), Expect::Revision(current.revision));
                    match wait(store.commit(vec![next])) {
                        Ok(written) => (current, done) = (written[0].clone(), done + 1),
                        Err(CommitError::Conflict { current: found, .. }) => current = found.unwrap(),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(count(&store.get(key).unwrap()), 200);
    assert_eq!(store.revision(), 202);
}
