//! The tours of client libraries: what people's programs do, against one cluster, all at once.
//!
//! The ones in other languages are programs below `tests/e2e/clients`; `make tools` installs what they use.

mod rust;

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, input, run};

const IMAGE: &str = "knarr.local/busybox:bookworm";
/// Bytes of one ConfigMap, and how often it is written: more than the history that the server keeps.
const HEAVY: usize = 1_000_000;
const WRITES: usize = 45;

#[test]
fn programs_do_all_they_do_elsewhere() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-clients", &["busybox"])?;
    let old = forgotten(&cluster).context("a forgotten past")?;
    let tours: [(&str, &(dyn Fn() -> anyhow::Result<()> + Sync)); 3] = [
        ("kube-rs", &|| rust::visit(&cluster, &old)),
        ("Python", &|| program(&cluster, &old, "python", "tour.py")),
        ("JavaScript", &|| program(&cluster, &old, "node", "node/tour.mjs")),
    ];
    let failures: Vec<String> = std::thread::scope(|scope| {
        let running = tours.map(|(name, tour)| (name, scope.spawn(tour)));
        let ended = running.into_iter().map(|(name, tour)| (name, tour.join()));
        ended
            .filter_map(|(name, outcome)| match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("--- {name}: {error:?}")),
                Err(_) => Some(format!("--- {name}: panicked")),
            })
            .collect()
    });
    ensure!(failures.is_empty(), "{} of 3 tours failed:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// A resourceVersion of ConfigMaps so old that a watch from it is refused.
fn forgotten(cluster: &Cluster) -> anyhow::Result<String> {
    cluster.kubectl(["create", "configmap", "heavy"])?;
    let old = cluster.kubectl(["get", "configmap", "heavy", "-o", "jsonpath={.metadata.resourceVersion}"])?;
    let mut writes = String::new();
    for number in 0..WRITES {
        let text = format!("{number:02}").repeat(HEAVY / 2);
        writes +=
            &format!("---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: heavy}}, data: {{text: {text:?}}}}}\n");
    }
    input(cluster.command("kubectl").args(["replace", "-f", "-"]), &writes)?;
    cluster.kubectl(["delete", "configmap", "heavy"])?;
    Ok(old)
}

/// Runs the tour in `file` with an installed interpreter.
fn program(cluster: &Cluster, old: &str, interpreter: &str, file: &str) -> anyhow::Result<()> {
    let installed = PathBuf::from(std::env::var_os("CLIENTS").context("CLIENTS must name the installed clients")?);
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients");
    // a module finds its packages beside itself
    let place = installed.join(file);
    std::fs::copy(sources.join(file), &place).with_context(|| format!("no {}; run make tools", place.display()))?;
    let mut tour = cluster.command("timeout");
    tour.arg("240").arg(installed.join("bin").join(interpreter)).arg(&place);
    tour.env("IMAGE", IMAGE).env("OLD_VERSION", old).env("BOATS", sources.join("boats.json"));
    run(tour.stderr(Stdio::piped())).map(drop)
}
