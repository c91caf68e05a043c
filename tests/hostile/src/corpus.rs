//! The inputs kept in the repository: `fuzz/corpus/TARGET/NAME`, short texts that each show one thing.

use std::path::PathBuf;

/// The folder of a target's inputs.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// The inputs of a target, in the order of their names.
///
/// # Panics
/// When there are none: a target without inputs shows nothing.
#[must_use]
pub fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder = folder(target);
    let listed = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("a readable input")).collect()
}
