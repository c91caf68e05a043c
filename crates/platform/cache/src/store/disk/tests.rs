use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::store::record::tests::head;

#[derive(Clone, Debug)]
enum Step {
    Write(u8, usize, u8),
    Spill(u8, usize, u8),
    Read(u8),
    Expire(u8),
    Remove(u8),
    Purge(u8),
    /// The process dies, and another reads what is left.
    Die,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0_u8..12;
    let step = prop_oneof![
        4 => (key.clone(), 0_usize..200_000, 0_u8..4).prop_map(|(key, size, tag)| Step::Write(key, size, tag)),
        2 => (key.clone(), 0_usize..700_000, 0_u8..4).prop_map(|(key, size, tag)| Step::Spill(key, size, tag)),
        4 => key.clone().prop_map(Step::Read),
        1 => key.clone().prop_map(Step::Expire),
        1 => key.prop_map(Step::Remove),
        1 => (0_u8..4).prop_map(Step::Purge),
        1 => Just(Step::Die),
    ];
    prop::collection::vec(step, 1..40)
}

fn open(dir: &Path) -> Disk {
    let disk = Disk::open(dir, LEAST, Arc::default(), Arc::default()).unwrap();
    disk.scan(&std::sync::atomic::AtomicBool::new(false));
    disk
}

fn bytes_of(body: &Body) -> Vec<u8> {
    match body {
        Body::Memory(bytes) => bytes.to_vec(),
        Body::File(body) => {
            let mut bytes = vec![0; usize::try_from(body.length).unwrap()];
            body.file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        }
    }
}

fn on_disk(dir: &Path) -> u64 {
    let dirs = fs::read_dir(dir.join("objects")).unwrap().map(|entry| entry.unwrap().path());
    dirs.flat_map(|dir| {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect::<Vec<_>>()
    })
    .sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_is_what_was_written_last_or_nothing_and_never_more_than_fits(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = open(dir.path());
        let mut model: HashMap<u8, (usize, u8, bool)> = HashMap::new();
        for step in steps {
            let now = disk.log.now();
            match step {
                Step::Write(key, size, tag) => {
                    let body = Staged::Bytes(vec![tag; size].into());
                    disk.write(head([key; 16], &format!("http://a/{key}"), &[&tag.to_string()]), body, now).unwrap();
                    model.insert(key, (size, tag, false));
                }
                Step::Spill(key, size, tag) => {
                    let mut spill = disk.spill().unwrap();
                    spill.write(&vec![tag; size]).unwrap();
                    disk.write(head([key; 16], &format!("http://a/{key}"), &[&tag.to_string()]), Staged::File(spill), now).unwrap();
                    model.insert(key, (size, tag, false));
                }
                Step::Read(key) => {
                    if let Some((object, _)) = disk.read(&[key; 16], now) {
                        let read = (bytes_of(&object.body), object.head.life.fresh_until == SystemTime::UNIX_EPOCH);
                        let known = model.get(&key).map(|(size, tag, stale)| (vec![*tag; *size], *stale));
                        prop_assert!(known.is_some_and(|known| known == read), "{key} is not what was written");
                    } else if disk.tier.bytes() < LEAST / 4 {
                        prop_assert!(!model.contains_key(&key), "there was room for {key}");
                    }
                }
                Step::Expire(key) => {
                    let expire = |mut head: Head| {
                        head.life = head.life.expired(SystemTime::UNIX_EPOCH);
                        head
                    };
                    if disk.update(&[key; 16], expire, now).unwrap() {
                        model.entry(key).and_modify(|entry| entry.2 = true);
                    }
                }
                Step::Remove(key) => {
                    disk.remove(&[key; 16]);
                    model.remove(&key);
                }
                Step::Purge(tag) => {
                    disk.purge(&Scope::Tag(tag.to_string()), None);
                    model.retain(|_, (_, known, _)| *known != tag);
                }
                Step::Die => {
                    fs::write(dir.path().join("new").join("leftover"), "x").unwrap();
                    drop(disk);
                    disk = open(dir.path());
                    prop_assert_eq!(disk.counters.stats().corrupt, 0);
                }
            }
            prop_assert!(on_disk(dir.path()) <= disk.tier.bytes() && disk.tier.bytes() <= disk.tier.capacity());
            prop_assert!(disk.tier.capacity() < LEAST);
        }
        prop_assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 0, "nothing half-written is left");
    }
}

#[test]
fn only_the_owner_may_look() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cache");
    let disk = open(&root);
    disk.write(head([1; 16], "http://a/", &[]), Staged::Bytes(vec![1; 10].into()), disk.log.now()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&disk.record_path(&[1; 16])), 0o600);
}

#[test]
fn what_is_being_written_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let disk: &'static Disk = Box::leak(Box::new(open(dir.path())));
    let mut room = Room::none(disk);
    assert!(room.take(disk.most_being_written));
    assert!(!Room::none(disk).take(1));
    drop(room);
    assert!(Room::none(disk).take(1));
}
