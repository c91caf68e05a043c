//! The image store: archives of both kinds, a registry, two processes at once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "images/made.rs"]
mod made;
#[path = "images/registry.rs"]
mod registry;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use knarr_node::image::{Auth, Progress, PullError, PullOptions, Store};
use made::{Made, archive, digest};
use parking_lot::Mutex;
use registry::{Asks, Registry};
use serde_json::json;

type Any = Result<(), Box<dyn std::error::Error>>;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    (dir, store)
}

fn options(username: &str) -> PullOptions {
    let auth = Auth::Basic { username: username.into(), password: "secret".into() };
    PullOptions { auth, ..PullOptions::default() }
}

#[test]
fn a_docker_archive_is_loaded_under_all_its_tags() -> Any {
    let (_dir, store) = store();
    let made = Made::two_layers();
    let images = store.load_reader("test", made.docker_archive(&["app:1", "other/app"]).as_slice())?;
    assert_eq!(images.len(), 1);
    let image = store.resolve("docker.io/other/app:latest")?.unwrap();
    assert_eq!(image, images[0]);
    assert_eq!(image.id, made.id());
    assert_eq!(image.repo_tags, ["docker.io/library/app:1", "docker.io/other/app:latest"]);
    assert_eq!((image.size, image.digest.as_str(), image.repo_digests.len()), (5, "", 0));
    assert_eq!(image.config.entrypoint, ["/bin/app"]);
    assert_eq!(image.config.exposed_ports, ["8080/tcp"]);
    assert_eq!(std::fs::read_to_string(image.layers[0].join("bin/app"))?, "one");
    assert_eq!(std::fs::read_to_string(image.layers[1].join("etc/new"))?, "y");
    assert_eq!(store.resolve(&image.id)?, Some(image));
    Ok(())
}

#[test]
fn an_oci_archive_is_loaded_plain_and_compressed() -> Any {
    let made = Made::two_layers();
    let plain = made.oci_archive(&json!({
        "io.containerd.image.name": "knarr.local/app:v1", "org.opencontainers.image.ref.name": "v1",
    }));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain)?;
    for archive in [plain.clone(), gzip.finish()?, zstd::encode_all(plain.as_slice(), 1)?] {
        let (dir, store) = store();
        let path = dir.path().join("archive.tar");
        std::fs::write(&path, archive)?;
        store.load_archive(&path)?;
        let image = store.resolve("knarr.local/app:v1")?.unwrap();
        assert_eq!((image.id.clone(), image.digest.clone()), (made.id(), digest(&made.manifest())));
        let by_digest = format!("knarr.local/app@{}", image.digest);
        assert_eq!(image.repo_digests.join(" "), by_digest);
        assert_eq!(store.resolve(&by_digest)?, Some(image));
        assert_eq!(std::fs::read_dir(dir.path().join("images/aside"))?.count(), 0);
    }
    Ok(())
}

#[test]
fn what_is_no_archive_is_refused_with_the_reason() {
    let (_dir, store) = store();
    let text = |data: &[u8]| store.load_reader("x.tar", data).unwrap_err().to_string();
    assert!(text(&archive(&[("a".into(), vec![1])])).contains("neither index.json nor manifest.json"));
    let mut made = Made::two_layers();
    made.layers[0] = made::layer(&[("bin/app", "forged")]);
    let forged = made.docker_archive(&["a"]);
    let error = text(&forged);
    assert!(error.contains("is damaged") && error.contains("has digest"), "{error}");
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn another_process_sees_a_loaded_image_at_once() -> Any {
    let (dir, store) = store();
    let other = Store::open(&dir.path().join("images"))?;
    assert_eq!(store.resolve("app")?, None);
    for tag in ["app", "b", "c"] {
        other.load_reader("test", Made::two_layers().docker_archive(&[tag]).as_slice())?;
        assert!(store.resolve(tag)?.is_some());
    }
    assert_eq!(store.list()?.len(), 1);
    Ok(())
}

#[test]
fn loading_at_the_same_time_loses_nothing() -> Any {
    let (dir, store) = store();
    let dir = dir.path().join("images");
    std::thread::scope(|scope| {
        for index in 0..8 {
            let dir = &dir;
            scope.spawn(move || {
                let own = format!("own{index}");
                let made = Made::new(vec![made::layer(&[("shared", "s")]), made::layer(&[("own", &own)])]);
                let store = Store::open(dir).unwrap();
                store.load_reader("test", made.docker_archive(&[&own]).as_slice()).unwrap();
            });
        }
    });
    assert_eq!(store.list()?.len(), 8);
    assert_eq!(std::fs::read_dir(dir.join("layers"))?.count(), 9);
    Ok(())
}

#[test]
fn garbage_is_what_nobody_names_or_uses() -> Any {
    let (dir, store) = store();
    let (one, two) = (Made::two_layers(), Made::new(vec![made::layer(&[("bin/app", "one"), ("etc/old", "x")])]));
    store.load_reader("one", one.docker_archive(&["one"]).as_slice())?;
    store.load_reader("two", two.docker_archive(&["two"]).as_slice())?;
    assert!(store.remove("one")? && !store.remove("one")?);
    let used = BTreeSet::from([one.id()]);
    assert_eq!((store.collect_garbage(&used)?, store.list()?.len()), (0, 2));
    assert_eq!((store.collect_garbage(&BTreeSet::new())?, store.list()?.len()), (1, 1));
    let layers: Vec<String> = std::fs::read_dir(dir.path().join("images/layers"))?
        .map(|entry| entry.map(|entry| format!("sha256:{}", entry.file_name().to_string_lossy())))
        .collect::<Result<_, _>>()?;
    assert_eq!(layers, [digest(&two.layers[0])], "the layer that both had stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_once_and_layers_are_shared() -> Any {
    let (context, _status) = tasks::context_for_tests();
    let (_dir, store) = store();
    let made = Made::two_layers();
    let registry = Registry::serve(&made, Asks::Nothing, &context).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let image = store.pull(&registry.image(), &PullOptions::default(), move |p: Progress| noted.lock().push(p)).await?;
    assert_eq!((image.id.clone(), image.digest.clone()), (made.id(), digest(&made.manifest())));
    assert_eq!(store.resolve(&registry.image())?, Some(image.clone()));
    assert_eq!(seen.lock().last().map(|p| (p.layers, p.layers_done, p.bytes == p.bytes_done)), Some((2, 2, true)));
    let fetched = registry.blobs_fetched();
    let by_digest = format!("{}/team/app@{}", registry.address, image.digest);
    assert_eq!(store.pull(&by_digest, &PullOptions::default(), |_| {}).await?.id, image.id);
    assert_eq!(registry.blobs_fetched(), fetched + 1, "only the configuration is fetched again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_given_to_registries_that_ask() -> Any {
    let (context, _status) = tasks::context_for_tests();
    let made = Made::two_layers();
    for asks in [Asks::Password, Asks::Token] {
        let (_dir, store) = store();
        let registry = Registry::serve(&made, asks, &context).await;
        assert_eq!(store.pull(&registry.image(), &options("me"), |_| {}).await?.id, made.id());
        for stranger in [options("you"), PullOptions::default()] {
            let error = store.pull(&registry.image(), &stranger, |_| {}).await.unwrap_err();
            assert!(matches!(error, PullError::Denied { .. }), "{error:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_told_from_a_missing_registry() -> Any {
    let (context, _status) = tasks::context_for_tests();
    let (_dir, store) = store();
    let registry = Registry::serve(&Made::two_layers(), Asks::Nothing, &context).await;
    let missing = format!("{}/team/other:v1", registry.address);
    let error = store.pull(&missing, &PullOptions::default(), |_| {}).await.unwrap_err();
    assert!(matches!(&error, PullError::NotFound { .. }) && error.to_string().ends_with(": not found"), "{error:?}");
    let nowhere = store.pull("127.0.0.1:1/team/app", &PullOptions::default(), |_| {}).await.unwrap_err();
    assert!(matches!(nowhere, PullError::Registry { .. }), "{nowhere:?}");
    Ok(())
}
