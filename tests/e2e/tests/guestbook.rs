//! The promise of the first page: an unmodified application, over HTTPS, that survives its pods,
//! the death of Knarr, and a reboot.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, run};

const MANIFEST: &str = include_str!("../../../examples/guestbook/guestbook.yaml");

fn url(cluster: &Cluster, path: &str) -> anyhow::Result<String> {
    Ok(format!("https://guestbook.localhost:{}{path}", cluster.setting("gateway.httpsPort")?))
}

/// The pods of the guestbook namespace: name, uid, address and the containers' ids.
fn pods(cluster: &Cluster, selector: &str) -> anyhow::Result<Vec<(String, String, String)>> {
    let list = cluster.get(["pods", "-n", "guestbook", "-l", selector])?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().context("a list")?;
    Ok(items
        .iter()
        .map(|pod| {
            (
                text(&pod["metadata"]["name"]),
                text(&pod["status"]["podIP"]),
                text(&pod["status"]["containerStatuses"][0]["containerID"]),
            )
        })
        .collect())
}

fn python_processes() -> anyhow::Result<String> {
    run(std::process::Command::new("pgrep").args(["-f", "^python3 -u /app/guestbook.py"]))
}

#[test]
fn the_guestbook_answers_over_https_and_keeps_its_entries() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-guestbook", &["python3", "redis"])?;
    cluster.apply(MANIFEST)?;
    cluster.rolled_out("guestbook", "deployment/redis")?;
    cluster.rolled_out("guestbook", "deployment/guestbook")?;
    let entries = url(&cluster, "/entries")?;
    eventually("the gateway serves the guestbook", || cluster.curl([entries.as_str()]))?;
    cluster.curl(["-d", "entry=written before", entries.as_str()])?;

    let before = pods(&cluster, "app=guestbook")?;
    cluster.kubectl(["-n", "guestbook", "delete", "pods", "-l", "app=guestbook"])?;
    cluster.rolled_out("guestbook", "deployment/guestbook")?;
    let after = pods(&cluster, "app=guestbook")?;
    ensure!(
        after.len() == 2 && after.iter().all(|pod| !before.contains(pod)),
        "both web pods are new: {before:?} {after:?}"
    );
    let answer = eventually("the new pods answer", || cluster.curl([entries.as_str()]))?;
    ensure!(answer.contains("written before"), "the entry is read back: {answer}");

    killed_and_adopted(&cluster, &entries)?;
    everything_gone_and_back(&cluster, &entries)
}

/// kill -9: containers keep their processes, pods keep answering, `knarr up` adopts them.
fn killed_and_adopted(cluster: &Cluster, entries: &str) -> anyhow::Result<()> {
    let (known, processes) = (pods(cluster, "app=guestbook")?, python_processes()?);
    cluster.kubectl(["-n", "guestbook", "create", "configmap", "acknowledged"])?;
    cluster.kill()?;
    for (name, address, _) in &known {
        let answer = cluster
            .curl([format!("http://{address}:8080/entries")])
            .with_context(|| format!("pod {name} answers without Knarr"))?;
        ensure!(answer.contains("written before"));
    }
    cluster.up()?;
    cluster.get(["configmap", "-n", "guestbook", "acknowledged"]).context("an acknowledged write is there")?;
    eventually("the gateway serves again", || cluster.curl([entries]))?;
    cluster.rolled_out("guestbook", "deployment/guestbook")?;
    ensure!(pods(cluster, "app=guestbook")? == known, "the same pods and containers");
    ensure!(python_processes()? == processes, "the same processes");
    Ok(())
}

/// As after a reboot: every process and the run directory are gone; the same cluster comes back.
fn everything_gone_and_back(cluster: &Cluster, entries: &str) -> anyhow::Result<()> {
    run(&mut cluster.knarr(["down"]))?;
    ensure!(python_processes().is_err(), "no process of a pod is left");
    ensure!(!cluster.run_dir().exists(), "the run directory is gone");
    cluster.up()?;
    cluster.rolled_out("guestbook", "deployment/redis")?;
    cluster.rolled_out("guestbook", "deployment/guestbook")?;
    let answer = eventually("the guestbook answers", || cluster.curl([entries]))?;
    ensure!(answer.contains("written before"), "what Redis kept on its volume is there: {answer}");
    Ok(())
}
