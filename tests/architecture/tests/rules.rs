//! Layers from `cargo metadata`, and house rules from the source text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The layers, lowest first. A crate uses only crates of lower layers; crates of one layer do not
/// know each other. See ARCHITECTURE.md.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["expressions", "tasks", "pki"],
    &["kinds"],
    &["store", "informer", "identity", "cache"],
    &["api"],
    &["control", "node", "net", "dns", "gateway", "certs", "metrics", "volumes"],
    &["app"],
    &["e2e", "hostile", "bench", "architecture"],
];

/// Crates that talk to a cluster only through its API: what makes them run on any cluster.
const API_ONLY: &[&str] =
    &["informer", "identity", "control", "node", "net", "dns", "gateway", "certs", "metrics", "volumes"];
/// What they must not reach for.
const SERVER_SIDE: &[&str] = &["kinds", "store", "api"];

fn workspace() -> (PathBuf, BTreeMap<String, BTreeSet<String>>) {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let short = |name: &str| name.strip_prefix("knarr-").map(str::to_owned);
    let mut edges = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let Some(user) = short(package["name"].as_str().expect("name")) else { continue };
        let normal = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .filter(|dependency| dependency["kind"].is_null());
        let used = normal.filter_map(|dependency| short(dependency["name"].as_str()?)).collect();
        edges.insert(user, used);
    }
    (PathBuf::from(metadata["workspace_root"].as_str().expect("root")), edges)
}

fn layer(name: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&name))
        .unwrap_or_else(|| panic!("crate {name} is in no layer: add it to LAYERS and to ARCHITECTURE.md"))
}

#[test]
fn a_crate_uses_only_lower_layers() {
    for (user, used) in workspace().1 {
        for used in used {
            assert!(
                layer(&used) < layer(&user),
                "{user} must not use {used}: move the shared part to a layer below both"
            );
        }
    }
}

#[test]
fn what_runs_on_any_cluster_talks_only_to_its_api() {
    let (_, edges) = workspace();
    for user in API_ONLY {
        for banned in SERVER_SIDE {
            assert!(
                !edges[*user].contains(*banned),
                "{user} must not use {banned}: it would no longer run on another cluster"
            );
        }
    }
}

#[test]
fn every_crate_has_the_workspace_lints() {
    let (root, _) = workspace();
    for manifest in files(&root, "Cargo.toml").into_iter().filter(|path| path.parent() != Some(&root)) {
        let text = std::fs::read_to_string(&manifest).expect("readable");
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{} does not inherit the workspace lints",
            manifest.display()
        );
    }
}

/// Text that must not appear, the places that may have it, and why nobody else may.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("tokio::spawn(", &["crates/tasks/"], "a task without an owner dies unseen; use tasks::Children"),
    (
        "libcontainer::",
        &["crates/node/src/shim"],
        "libcontainer clones the calling process; only the single-threaded shim may",
    ),
    // An emptied cgroup v1 group offers nothing to wait on; a bench measures stretches of time.
    ("thread::sleep(", &["crates/node/src/cgroup", "bench/"], "wait for a condition, not for time"),
    ("todo!(", &[], "no stub is called done"),
    ("unimplemented!(", &[], "no stub is called done"),
    ("#[ignore", &[], "a test that does not run shows nothing"),
    ("unbounded_channel", &[], "bound every queue"),
];

#[test]
fn banned_text_does_not_appear() {
    let (root, _) = workspace();
    let own = root.join("tests/architecture");
    for path in files(&root, ".rs").into_iter().filter(|path| !path.starts_with(&own)) {
        let text = std::fs::read_to_string(&path).expect("readable");
        let relative = path.strip_prefix(&root).expect("inside").display().to_string();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for (banned, homes, why) in BANNED {
                let allowed = homes.iter().any(|home| relative.starts_with(home));
                assert!(allowed || !line.contains(banned), "{relative}:{}: {banned} is banned: {why}", number + 1);
            }
        }
    }
}

#[test]
fn every_module_starts_with_its_purpose() {
    let (root, _) = workspace();
    for path in files(&root.join("crates"), ".rs")
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && path.components().any(|part| part.as_os_str() == "src"))
    {
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.starts_with("//!"), "{} does not say what it is for", path.display());
    }
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("entry").path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&entry, ending));
        } else if name.ends_with(ending) {
            found.push(entry);
        }
    }
    found
}
