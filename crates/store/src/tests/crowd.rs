//! Many writers and many watchers at once: every watcher is told every change of its prefix once and in order.

use super::*;

const WRITERS: usize = 8;
const COMMITS: usize = 150;

#[test]
fn every_watcher_sees_every_change_once_and_in_order() {
    for place in [Place::ram(), Place::disk()] {
        let store = place.open(options());
        let prefixes = ["/core/pods/", "/core/pods/n1/", "/core/pods/n2/", "/core/nodes/"];
        std::thread::scope(|scope| {
            let mut watchers = Vec::new();
            for late in [false, true] {
                for prefix in prefixes {
                    let store = &store;
                    watchers.push(scope.spawn(move || {
                        if late {
                            let mut early = store.watch("/core/pods/", 1).unwrap();
                            wait(early.next()).unwrap();
                        }
                        follow(store, prefix, if late { store.revision() } else { 1 })
                    }));
                }
            }
            for writer in 0..WRITERS {
                let store = &store;
                scope.spawn(move || write(store, writer));
            }
            for (index, watcher) in watchers.into_iter().enumerate() {
                let (after, seen) = watcher.join().unwrap();
                let mut truth = store.watch(prefixes[index % prefixes.len()], after).unwrap();
                assert_eq!(seen, drain(&mut truth).unwrap(), "watcher {index}");
            }
        });
    }
}

/// Every commit touches a pod of one of four namespaces and, every third time, a node.
fn write(store: &Embedded, writer: usize) {
    for n in 0..COMMITS {
        let key = format!("/core/pods/n{}/w{writer}", n % 4);
        let pod = match store.get(&key) {
            Some(_) if n % 5 == 4 => delete(&key, "end", Expect::Present),
            _ => put(&key, &n.to_string(), Expect::Any),
        };
        let node = put(&format!("/core/nodes/w{writer}"), &n.to_string(), Expect::Any);
        wait(store.commit(if n % 3 == 0 { vec![pod, node] } else { vec![pod] })).unwrap();
    }
}

/// Follows a prefix until everything has been written; ends with what it saw.
fn follow(store: &Embedded, prefix: &str, after: Revision) -> (Revision, Vec<Arc<Event>>) {
    let last = 1 + (WRITERS * COMMITS) as Revision;
    let mut watch = store.watch(prefix, after).unwrap();
    let mut other = store.watch("/core/pods/", after).unwrap();
    let mut seen = Vec::new();
    // The last commit is a pod's, so whoever follows pods knows the end; the prefix itself may have none left.
    while other.revision() < last {
        wait(other.next()).unwrap();
        seen.extend(drain(&mut watch).unwrap());
    }
    seen.extend(drain(&mut watch).unwrap());
    assert_eq!(watch.revision(), last);
    (after, seen)
}
