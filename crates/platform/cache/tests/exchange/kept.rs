//! The disk tier behind the proxy: what outlives a process, and what does not.

use std::fs;
use std::path::{Path, PathBuf};

use knarr_cache::{Cache, DiskSettings, Purge, Settings, What};

use crate::house::{Act, House, says};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");

async fn house(dir: &Path) -> House {
    let disk = DiskSettings { dir: dir.to_path_buf(), bytes: 64 << 20 };
    let cache = Cache::open(&Settings { memory: 1 << 20, disk: Some(disk) }).expect("as in this test");
    House::with(cache, serde_json::json!({})).await
}

/// The files as a process that is killed leaves them, for one that starts.
fn left_by_the_dead(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("as in this test");
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(&at).expect("as in this test").map(Result::unwrap) {
            let to = copy.path().join(entry.path().strip_prefix(dir).expect("as in this test"));
            if entry.file_type().expect("as in this test").is_dir() {
                fs::create_dir_all(&to).expect("as in this test");
                dirs.push(entry.path());
            } else {
                fs::create_dir_all(to.parent().expect("as in this test")).expect("as in this test");
                fs::copy(entry.path(), to).expect("as in this test");
            }
        }
    }
    copy
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let dirs =
        fs::read_dir(dir.join("objects")).expect("as in this test").map(|entry| entry.expect("as in this test").path());
    let all = dirs.flat_map(|dir| {
        fs::read_dir(dir)
            .expect("as in this test")
            .map(|entry| entry.expect("as in this test").path())
            .collect::<Vec<_>>()
    });
    all.filter(|path| path.to_str().expect("as in this test").ends_with(ending)).collect()
}

fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|at| (at % 251) as u8).collect()
}

async fn filled(dir: &Path) -> House {
    let house = house(dir).await;
    house.script(|heard, _| {
        if heard.line.contains("/large") {
            let body = large();
            let head = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            return vec![Act::Send(head.into_bytes()), Act::Send(body)];
        }
        says(200, &[FRESH, ("Cache-Tag", "t")], "small")
    });
    assert_eq!(house.get("/small", &[]).await.text(), "small");
    assert_eq!(house.get("/large", &[]).await.body, large());
    house.until(|stats| stats.disk_objects == 2).await;
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_is_served_by_the_next_process() {
    let dir = tempfile::tempdir().expect("as in this test");
    let first = filled(dir.path()).await;
    assert_eq!(first.get("/large", &[]).await.cache(), "HIT", "from a file, too large for memory");
    assert!(
        Cache::open(&Settings { memory: 0, disk: Some(DiskSettings { dir: dir.path().to_path_buf(), bytes: 0 }) })
            .is_err()
    );
    let left = left_by_the_dead(dir.path());
    let second = house(left.path()).await;
    let small = second.get("/small", &[]).await;
    assert_eq!((small.cache(), small.text(), small.field("cache-tag")), ("HIT", "small", None));
    let large_again = second.get("/large", &[]).await;
    assert_eq!((large_again.cache(), large_again.body == large()), ("HIT", true));
    let part = second.get("/large", &[("Range", "bytes=65530-65545")]).await;
    assert_eq!((part.status, part.body), (206, large()[65530..=65545].to_vec()));
    assert_eq!(second.asked(), 0);
    second.until(|stats| stats.disk_known).await;
    assert_eq!((second.cache.stats().disk_objects, second.cache.stats().corrupt), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_stays_purged() {
    let dir = tempfile::tempdir().expect("as in this test");
    let first = filled(dir.path()).await;
    assert_eq!(first.cache.purge(&Purge { what: What::Tag("t".to_owned()), soft: false }).await, Ok(1));
    let soft = Purge { what: What::Url("http://site.test/large".to_owned()), soft: true };
    assert_eq!(first.cache.purge(&soft).await, Ok(1));
    let left = left_by_the_dead(dir.path());
    let second = house(left.path()).await;
    second.script(|_, _| says(200, &[FRESH], "new"));
    assert_eq!(second.get("/small", &[]).await.text(), "new");
    assert_eq!(second.get("/large", &[]).await.text(), "new", "stale, and without a validator");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_were_cut_or_changed_are_misses_and_removed() {
    let dir = tempfile::tempdir().expect("as in this test");
    drop(filled(dir.path()).await);
    for (ending, damage) in [(".o", "cut"), (".o", "changed"), (".o", "emptied"), (".b", "cut"), (".b", "gone")] {
        let left = left_by_the_dead(dir.path());
        for path in files(left.path(), ending) {
            let mut bytes = fs::read(&path).expect("as in this test");
            match damage {
                "cut" => bytes.truncate(bytes.len() - 1),
                "changed" => bytes[60] ^= 1,
                "emptied" => bytes.clear(),
                _ => {
                    fs::remove_file(&path).expect("as in this test");
                    continue;
                }
            }
            fs::write(&path, bytes).expect("as in this test");
        }
        let house = house(left.path()).await;
        house.script(|_, _| says(200, &[FRESH], "new"));
        assert_eq!(house.get("/large", &[]).await.text(), "new", "{damage} {ending}");
        let small = house.get("/small", &[]).await;
        assert_eq!(small.text(), if ending == ".b" { "small" } else { "new" }, "{damage} {ending}");
        house.until(|stats| stats.disk_known && stats.disk_objects == 2).await;
        assert!(house.cache.stats().corrupt > 0);
        assert!(files(left.path(), ".b").is_empty(), "no body without a record is left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_changed_is_never_served() {
    let dir = tempfile::tempdir().expect("as in this test");
    drop(filled(dir.path()).await);
    let left = left_by_the_dead(dir.path());
    let path = files(left.path(), ".b").pop().expect("as in this test");
    let mut bytes = fs::read(&path).expect("as in this test");
    bytes[2_000_000] ^= 1;
    fs::write(&path, bytes).expect("as in this test");
    let house = house(left.path()).await;
    house.script(|_, _| says(200, &[FRESH], "new"));
    let part = house.get("/large", &[("Range", "bytes=0-99")]).await;
    assert_eq!((part.status, part.body), (206, large()[..100].to_vec()), "the other blocks are as they were");
    let answer = house.get("/large", &[]).await;
    assert!(!answer.whole && large().starts_with(&answer.body), "what was sent is right, and known to be cut");
    house.until(|stats| stats.corrupt == 1).await;
    house.until(|stats| stats.disk_objects == 1).await;
    assert_eq!(house.get("/large", &[]).await.text(), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_is_kept_too() {
    let dir = tempfile::tempdir().expect("as in this test");
    let first = house(dir.path()).await;
    first.script(|_, count| match count {
        1 => says(200, &[FRESH, ("Age", "1000"), ("ETag", "\"a\"")], "one"),
        _ => says(304, &[FRESH, ("ETag", "\"a\""), ("X-New", "yes")], ""),
    });
    first.get("/", &[]).await;
    first.until(|stats| stats.disk_objects == 1).await;
    assert_eq!(first.get("/", &[]).await.cache(), "REVALIDATED");
    let left = left_by_the_dead(dir.path());
    let second = house(left.path()).await;
    let answer = second.get("/", &[]).await;
    assert_eq!((answer.cache(), answer.text(), answer.field("x-new")), ("HIT", "one", Some("yes")));
}
