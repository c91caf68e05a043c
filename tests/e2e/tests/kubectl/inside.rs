//! Reaching into pods: run, expose, wait, logs, exec, cp.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, fails, input};

use super::{IMAGE, Lines, namespace};

pub(super) fn inside(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "inside")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "inside"].iter().chain(args));
    cluster.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: two, namespace: inside}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: first
    image: {IMAGE}
    command: [sh, -c, "echo one; echo two; echo three; until [ -e /go ]; do sleep 0.1; done; echo four; exec httpd -f -p 8080 -h /etc"]
  - name: second
    image: {IMAGE}
    command: [sh, -c, "if [ -e /kept/been ]; then echo again; exec sleep 1000; fi; touch /kept/been; echo dying; exit 1"]
    volumeMounts: [{{name: kept, mountPath: /kept}}]
  volumes: [{{name: kept, emptyDir: {{}}}}]
"#
    ))?;
    kubectl(&["wait", "--for=condition=Ready", "pod/two", "--timeout=60s"])?;
    let logs = |rest: &[&str]| kubectl(&["logs", "two"].iter().chain(rest).copied().collect::<Vec<_>>());
    let mut followed = Lines::of(cluster, &["-n", "inside", "logs", "-f", "two", "-c", "first"])?;
    followed.until("three")?;
    ensure!(logs(&["-c", "first"])? == "one\ntwo\nthree\n");
    ensure!(logs(&["-c", "first", "--tail=1"])? == "three\n");
    ensure!(logs(&["-c", "first", "--limit-bytes=3"])? == "one");
    let stamped = logs(&["-c", "first", "--timestamps", "--tail=1"])?;
    let (time, text) = stamped.split_once(' ').context("a time and a line")?;
    ensure!(text == "three\n" && time.ends_with('Z') && time.contains('T'), "{stamped}");
    ensure!(
        logs(&["-c", "first", "--since=1h"])?.starts_with("one")
            && logs(&["-c", "first", "--since-time", time])?.contains("three")
    );
    eventually("the second container runs again", || {
        ensure!(logs(&["-c", "second"])? == "again\n");
        Ok(())
    })?;
    ensure!(logs(&["-c", "second", "--previous"])? == "dying\n");
    ensure!(logs(&["--all-containers", "--prefix"])?.contains("[pod/two/second] again"));
    ensure!(logs(&["-c", "absent"]).is_err());
    kubectl(&["exec", "two", "-c", "first", "--", "touch", "/go"])?;
    followed.until("four").context("a followed log goes on")?;

    ensure!(kubectl(&["exec", "two", "-c", "first", "--", "echo", "a b"])? == "a b\n");
    let mut exec = cluster.command("kubectl");
    let said = fails(
        exec.args(["-n", "inside", "exec", "two", "-c", "first", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]),
        42,
    )?;
    ensure!(said.contains("out") && said.contains("err"), "{said}");
    let mut counting = cluster.command("kubectl");
    counting.args(["-n", "inside", "exec", "-i", "two", "-c", "first", "--", "wc", "-c"]);
    ensure!(input(&mut counting, &"x".repeat(2_000_000))?.trim() == "2000000", "input arrives whole and ends");
    let line = "kubectl -n inside exec -it two -c first -- sh -c 'tty; exit 9'";
    let said = fails(cluster.command("script").args(["-qec", line, "/dev/null"]), 9)?;
    ensure!(said.contains("/dev/pts/"), "{said}");
    let said =
        fails(cluster.command("kubectl").args(["-n", "inside", "exec", "two", "-c", "first", "--", "/absent"]), 127)
            .or_else(|_| {
                fails(
                    cluster.command("kubectl").args(["-n", "inside", "exec", "two", "-c", "first", "--", "/absent"]),
                    1,
                )
            })?;
    ensure!(said.contains("absent"), "{said}");

    let folder = tempfile::tempdir()?;
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    std::fs::write(&there, "copied\n")?;
    let (there, back) = (there.to_str().context("utf-8")?, back.to_str().context("utf-8")?);
    kubectl(&["cp", there, "two:/tmp/file", "-c", "first"])?;
    kubectl(&["cp", "two:/tmp/file", back, "-c", "first"])?;
    ensure!(std::fs::read_to_string(back)? == "copied\n");
    Ok(())
}

pub(super) fn starting(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "starting")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "starting"].iter().chain(args));
    kubectl(&[
        "run",
        "one",
        "--image",
        IMAGE,
        "--port=8080",
        "--labels=app=one",
        "--",
        "httpd",
        "-f",
        "-p",
        "8080",
        "-h",
        "/etc",
    ])?;
    kubectl(&["expose", "pod", "one", "--port=80", "--target-port=8080"])?;
    kubectl(&["wait", "--for=condition=Ready", "pod/one", "--timeout=60s"])?;
    kubectl(&["wait", "--for=jsonpath={.status.phase}=Running", "pod/one", "--timeout=60s"])?;
    let address = kubectl(&["get", "service", "one", "-o", "jsonpath={.spec.clusterIP}"])?;
    eventually("the service answers on the node", || cluster.curl([format!("http://{address}/passwd")]))?;
    // what is said before kubectl has attached is lost, as upstream: so it speaks first
    let mut once = cluster.command("kubectl");
    once.args([
        "-n",
        "starting",
        "run",
        "once",
        "--image",
        IMAGE,
        "--restart=Never",
        "--rm",
        "-i",
        "--quiet",
        "--",
        "cat",
    ]);
    let said = input(&mut once, "said\n")?;
    ensure!(said.contains("said"), "{said}");
    ensure!(kubectl(&["get", "pod", "once"]).is_err(), "--rm leaves nothing");
    kubectl(&["create", "deployment", "made", "--image", IMAGE, "--replicas=0"])?;
    kubectl(&["create", "ingress", "made", "--rule=made.localhost/*=made:80"])?;
    kubectl(&["create", "service", "clusterip", "made", "--tcp=80:8080"])?;
    kubectl(&["create", "quota", "made", "--hard=pods=4"])?;
    Ok(())
}
