//! Figures to look at, not gates: how fast groups of commits go, how fast a store opens.

use std::time::Instant;

use super::*;

const CALLERS: usize = 100;
const EACH: usize = 30;

#[test]
fn speed_of_a_hundred_callers_and_of_opening() {
    let place = Place::disk();
    let store = place.open(options());
    let value = "x".repeat(2000);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (store, value) = (&store, &value);
            scope.spawn(move || {
                for n in 0..EACH {
                    let write = put(&format!("/core/pods/n{caller}/{n}"), value, Expect::Absent);
                    wait(store.commit(vec![write])).unwrap();
                }
            });
        }
    });
    let rate = (CALLERS * EACH) as f64 / start.elapsed().as_secs_f64();
    for batch in 0..110 {
        let writes = (0..100).map(|n| put(&format!("/core/secrets/n{batch}/{n}"), &value, Expect::Absent));
        wait(store.commit(writes.collect())).unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    if let Place::Disk(dir) = &place {
        std::fs::copy(file(dir.path()), file(crashed.path())).unwrap(); // never closed: as a power cut leaves it
    }
    drop(store);
    let opening = |place: &Place| {
        let start = Instant::now();
        (place.open(options()), start.elapsed())
    };
    let (store, opened) = opening(&place);
    let (_, repaired) = opening(&Place::Disk(crashed));
    assert_eq!(store.revision(), 1 + (CALLERS * EACH) as u64 + 110);
    eprintln!(
        "store: {rate:.0} commits/s with {CALLERS} callers; 14,000 objects of 2 KB opened in {opened:.1?}, after a crash {repaired:.1?}"
    );
}
