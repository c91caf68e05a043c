//! The corpus and mutations of it, through every target: what `make fuzz` once found stays found.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use knarr_hostile::{TARGETS, corpus, mutate::Dice, run};

/// Mutations per target.
const ROUNDS: usize = 20_000;
/// Targets that go through the whole pipeline take longer for each.
const SLOW: &[&str] = &["protobuf", "apply", "crd", "continue", "request"];
/// One input takes milliseconds; this says that none runs away, on a machine that has other work too.
const LONGEST: Duration = Duration::from_secs(20);

fn check(target: &str, bytes: &[u8]) {
    let begun = Instant::now();
    let outcome = catch_unwind(|| run(target, bytes));
    let took = begun.elapsed();
    assert!(
        outcome.is_ok() && took < LONGEST,
        "{target} fails after {took:?} for {:?}",
        String::from_utf8_lossy(bytes)
    );
}

fn replay(target: &str) {
    let inputs = corpus::inputs(target);
    for input in &inputs {
        check(target, input);
    }
    let mut dice = Dice::new(target);
    for _ in 0..if SLOW.contains(&target) { ROUNDS / 5 } else { ROUNDS } {
        check(target, &dice.change(&inputs));
    }
}

macro_rules! replays {
    ($($name:ident: $target:literal,)*) => {
        $(#[test] fn $name() { replay($target); })*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$($target),*];
            let all: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(all, replayed);
        }
    };
}

replays! {
    json_bodies_never_break_the_reader: "json",
    objects_never_break_the_schema: "object",
    protobuf_bodies_never_break_the_reader: "protobuf",
    json_patches_never_break: "jsonpatch",
    merge_patches_never_break: "mergepatch",
    strategic_patches_never_break: "strategic",
    applied_configurations_never_break: "apply",
    label_selectors_never_break: "labels",
    field_selectors_never_break: "fields",
    expressions_never_break: "cel",
    custom_resource_definitions_never_break: "crd",
    custom_resources_never_break: "custom",
    continue_tokens_never_break: "continue",
    requests_never_break_the_pipeline: "request",
    proxy_headers_never_break_the_reader: "proxyprotocol",
    hellos_of_tls_clients_never_break_the_reader: "clienthello",
    paths_have_one_reading: "path",
}

#[test]
fn every_fuzz_target_has_a_program() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");
    let manifest = std::fs::read_to_string(format!("{folder}/Cargo.toml")).expect("a manifest");
    for (name, _) in TARGETS {
        let program = std::fs::read_to_string(format!("{folder}/fuzz_targets/{name}.rs")).expect("a program");
        assert!(program.contains(&format!("\"{name}\"")) && manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
