//! Packs `definitions/*.yaml` into one blob, which is only unpacked when a cluster lacks a definition.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=definitions");
    let files = std::fs::read_dir("definitions").expect("definitions is readable");
    let mut paths: Vec<_> = files.map(|file| file.expect("definitions is readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let texts: Vec<String> =
        paths.iter().map(|path| std::fs::read_to_string(path).expect("a definition is text")).collect();
    let packed = zstd::encode_all(texts.join("\n---\n").as_bytes(), 19).expect("compressing memory cannot fail");
    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(Path::new(&out).join("definitions.zst"), packed).expect("OUT_DIR is writable");
}
