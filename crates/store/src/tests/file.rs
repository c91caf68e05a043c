//! The file itself: who may open it, what is refused and how, what an old one still says.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use expect_test::expect;

use super::*;
use crate::log::disk::create;
use crate::{OpenError, Range, Store};

fn refusal(path: &Path) -> String {
    let error = match open(path, options()) {
        Ok(_) => return "opened".into(),
        Err(error) => error,
    };
    let dir = path.parent().unwrap().display().to_string();
    error.to_string().replace(&dir, "DIR").replace(&std::process::id().to_string(), "PID")
}

#[test]
fn a_directory_in_use_is_refused_with_the_pid_of_its_user() {
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path());
    let store = open(&path, options()).unwrap();
    expect!["the data directory DIR is in use by another process (pid PID); stop it or choose another directory"]
        .assert_eq(&refusal(&path));
    drop(store);
    assert_eq!(refusal(&path), "opened");
}

#[test]
fn only_the_owner_may_read_the_file() {
    let place = tempfile::tempdir().unwrap();
    let path = file(&place.path().join("new/dir"));
    drop(open(&path, options()).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_of_a_newer_format_is_refused_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path());
    create(&path, 2, 1, None).unwrap();
    let before = fs::read(&path).unwrap();
    expect!["the store DIR/store.redb has format 2, this program knows formats up to 1; run the newer release that wrote it, or move the file away to start empty"]
        .assert_eq(&refusal(&path));
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path());
    for content in [&b""[..], b"redb", b"SQLite format 3\0", &[0; 9000]] {
        fs::write(&path, content).unwrap();
        let said = refusal(&path);
        assert!(said.contains("is damaged") && said.contains("restore a snapshot"), "{said}");
        assert!(fs::read(&path).unwrap() == content);
    }
}

fn filled(path: &Path) {
    let store = open(path, options()).unwrap();
    for n in 0..300 {
        fill(&store, &[(&format!("/core/pods/a/{}", n % 200), &"x".repeat(n))]);
    }
}

#[test]
fn a_damaged_file_never_opens_as_something_else() {
    let place = tempfile::tempdir().unwrap();
    let (good, path) = (file(place.path()), place.path().join("bad.redb"));
    filled(&good);
    let bytes = fs::read(&good).unwrap();
    let truth = content(&open(&good, options()).unwrap());
    let (mut refused, mut seed) = (0, 7_u64);
    for round in 0..120_u32 {
        let mut bad = bytes.clone();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (seed >> 16) as usize % bad.len();
        match round % 3 {
            0 => bad[at] ^= 1 << (seed % 8),
            1 => bad.truncate(at),
            _ => {
                let end = (at + 4096).min(bad.len());
                bad[at..end].fill(seed as u8);
            }
        }
        fs::write(&path, &bad).unwrap();
        match open(&path, options()) {
            Ok(store) => assert_eq!(content(&store), truth, "round {round}, damaged at {at}"),
            Err(OpenError::Corrupt { .. }) => refused += 1,
            Err(error) => panic!("round {round}, damaged at {at}: {error}"),
        }
    }
    assert!(refused > 30, "{refused}");
}

fn content(store: &Embedded) -> String {
    show_records(&store.range(Range { prefix: "/", ..Range::default() }).unwrap().records)
}

/// `tests/data/v1.redb` is a snapshot taken by the first release after exactly these writes, its clock set far ahead so
/// that the history never grows too old.
fn write_stored_content(store: &Embedded) {
    fill(store, &[("/core/pods/a/x", "1"), ("/core/pods/a/y", "1"), ("/core/nodes/n", "1"), ("/core/pods/a/x", "2")]);
    wait(store.compact(4)).unwrap();
    let last = vec![delete("/core/pods/a/y", "end", Expect::Any), put("/core/pods/b/z", "ä", Expect::Absent)];
    wait(store.commit(last)).unwrap();
}

#[test]
fn a_file_of_format_1_still_opens() {
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1.redb");
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path());
    fs::copy(&stored, &path).unwrap();
    let store = open(&path, options()).unwrap();
    let mut watch = store.watch("/core/pods/", 4).unwrap();
    let said = format!("{}\n--\n{}", content(&store), show_events(&drain(&mut watch).unwrap()));
    expect![[r#"
        /core/nodes/n=1@4 c4 r4
        /core/pods/a/x=2@5 c2 r5
        /core/pods/b/z=ä@6 c6 r6
        --
        put /core/pods/a/x=2@5 c2 r5 was 1@2
        delete /core/pods/a/y=end@6 c3 r6 was 1@3
        put /core/pods/b/z=ä@6 c6 r6"#]]
    .assert_eq(&said);
    drop(store);

    let fresh = Place::ram().open(options());
    write_stored_content(&fresh);
    let mut watch = fresh.watch("/core/pods/", 4).unwrap();
    assert_eq!(said, format!("{}\n--\n{}", content(&fresh), show_events(&drain(&mut watch).unwrap())));
}
