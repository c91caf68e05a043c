//! Daily work with kubectl as people install it: each part does one kind of work in a namespace of its own.
//!
//! Parts run at once, as several people at one cluster would; the one that empties the node comes last.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, fails, input, run, together};
use serde_json::Value;

const IMAGE: &str = "knarr.local/busybox:bookworm";

#[test]
fn kubectl_does_its_daily_work() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-kubectl", &["busybox"])?;
    together(
        &cluster,
        &[
            ("get and its outputs", reading),
            ("get -w", watching),
            ("apply, diff, edit, patch, label, annotate", changing),
            ("rollout, scale, set image", rolling),
            ("logs, exec, cp", inside),
            ("delete", deleting),
            ("delete with cascade", cascading),
            ("explain, api-resources, raw", asking),
            ("create, auth can-i, tokens", permitting),
            ("run, expose, wait", starting),
            ("what must not be done", refused),
        ],
    )?;
    draining(&cluster)
}

/// A namespace called `name`, with what its pods need to start.
fn namespace(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    cluster.kubectl(["create", "namespace", name])?;
    eventually("the namespace has its service account", || {
        cluster.kubectl(["-n", name, "get", "serviceaccount", "default"])
    })?;
    Ok(())
}

/// A Deployment of pods that serve their own name at port 8080.
fn deployment(namespace: &str, name: &str, replicas: u32) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {IMAGE}
        command: [sh, -c, "echo started; hostname >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        ports: [{{containerPort: 8080, name: http}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
"#
    )
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

fn reading(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "reading")?;
    cluster.apply(&deployment("reading", "web", 2))?;
    cluster.rolled_out("reading", "deployment/web")?;
    let get = |args: &[&str]| cluster.kubectl(["-n", "reading", "get"].iter().chain(args));

    let wide = get(&["deployment", "web", "-o", "wide"])?;
    ensure!(
        lines(&wide)[0].split_whitespace().eq([
            "NAME",
            "READY",
            "UP-TO-DATE",
            "AVAILABLE",
            "AGE",
            "CONTAINERS",
            "IMAGES",
            "SELECTOR"
        ]),
        "{wide}"
    );
    ensure!(wide.contains("2/2") && wide.contains(IMAGE), "{wide}");
    let pods = get(&["pods"])?;
    ensure!(lines(&pods)[0].split_whitespace().eq(["NAME", "READY", "STATUS", "RESTARTS", "AGE"]), "{pods}");
    ensure!(pods.matches("Running").count() == 2 && pods.matches("1/1").count() == 2, "{pods}");
    ensure!(get(&["deployment", "web", "-o", "yaml"])?.contains("progressDeadlineSeconds: 600"));
    ensure!(get(&["deployment/web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"])? == IMAGE);
    ensure!(get(&["deployment", "web", "-o", "name"])?.trim() == "deployment.apps/web");
    let columns = get(&["pods", "-o", "custom-columns=NAME:.metadata.name,PHASE:.status.phase", "--no-headers"])?;
    ensure!(lines(&columns).len() == 2 && columns.matches("Running").count() == 2, "{columns}");
    let template = get(&["pods", "-o", "go-template={{len .items}}"])?;
    ensure!(template == "2", "{template}");

    ensure!(lines(&get(&["pods", "-l", "app=web", "-o", "name"])?).len() == 2);
    ensure!(get(&["pods", "-l", "app in (other),!gone", "-o", "name"])?.is_empty());
    ensure!(lines(&get(&["pods", "--field-selector", "status.phase=Running", "-o", "name"])?).len() == 2);
    ensure!(get(&["pods", "--field-selector", "spec.nodeName=elsewhere", "-o", "name"])?.is_empty());
    ensure!(get(&["pods", "-A", "--sort-by=.metadata.name", "-o", "name"])?.contains("pod/web-"));
    ensure!(lines(&get(&["pods", "--chunk-size=1", "-o", "name"])?).len() == 2, "a list in chunks is whole");
    let all = get(&["all", "--show-labels"])?;
    ensure!(
        all.contains("deployment.apps/web") && all.contains("replicaset.apps/web-") && all.contains("app=web"),
        "{all}"
    );

    let described = cluster.kubectl(["-n", "reading", "describe", "deployment/web"])?;
    ensure!(
        described.contains("2 desired | 2 updated | 2 total | 2 available") && described.contains("ScalingReplicaSet"),
        "{described}"
    );
    let described = cluster.kubectl(["-n", "reading", "describe", "pods", "-l", "app=web"])?;
    ensure!(described.contains("Successfully assigned reading/web-") && described.contains("Started"), "{described}");
    let described = cluster.kubectl(["describe", "nodes"])?;
    ensure!(described.contains("reading") && described.contains("KubeletReady"), "{described}");
    let events = get(&["events", "--field-selector", "reason=Scheduled"])?;
    ensure!(events.matches("default-scheduler").count() + events.matches("Scheduled").count() >= 2, "{events}");
    ensure!(cluster.kubectl(["-n", "reading", "events", "--for", "deployment/web"])?.contains("ScalingReplicaSet"));
    Ok(())
}

/// A running kubectl whose lines can be waited for; killed in the end.
struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Lines {
    fn of(cluster: &Cluster, args: &[&str]) -> anyhow::Result<Self> {
        let mut child = cluster.command("timeout").args(["60", "kubectl"]).args(args).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { child, lines })
    }

    /// The next line that contains `text`.
    fn until(&mut self, text: &str) -> anyhow::Result<String> {
        for line in self.lines.by_ref() {
            let line = line?;
            if line.contains(text) {
                return Ok(line);
            }
        }
        anyhow::bail!("it ended before it told {text}")
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // a SIGTERM, which timeout hands on: SIGKILL would leave kubectl behind
        let stopped = run(std::process::Command::new("kill").arg(self.child.id().to_string()));
        if let (Err(error), Ok(None)) = (stopped, self.child.try_wait()) {
            eprintln!("cannot stop kubectl: {error:#}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("cannot wait for kubectl: {error:#}");
        }
    }
}

fn watching(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "watching")?;
    let mut seen = Lines::of(cluster, &["-n", "watching", "get", "configmaps", "-w", "--output-watch-events"])?;
    seen.until("kube-root-ca.crt")?;
    let configmap =
        |verb: &str, rest: &[&str]| cluster.kubectl(["-n", "watching", verb, "configmap", "seen"].iter().chain(rest));
    configmap("create", &["--from-literal=a=1"])?;
    ensure!(seen.until("seen")?.starts_with("ADDED"));
    configmap("patch", &["-p", r#"{"data":{"b":"2"}}"#])?;
    let line = seen.until("seen")?;
    ensure!(line.starts_with("MODIFIED") && line.split_whitespace().nth(2) == Some("2"), "{line}");
    configmap("delete", &[])?;
    ensure!(seen.until("seen")?.starts_with("DELETED"));
    Ok(())
}

fn changing(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "changing")?;
    let manifest = deployment("changing", "web", 1)
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: changing}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}\n";
    cluster.apply(&manifest)?;
    cluster.rolled_out("changing", "deployment/web")?;
    let versions = || {
        cluster.kubectl([
            "-n",
            "changing",
            "get",
            "deployment/web",
            "service/web",
            "-o",
            "jsonpath={.items[*].metadata.resourceVersion}",
        ])
    };
    let before = versions()?;
    let again = cluster.apply(&manifest)?;
    ensure!(again.matches("unchanged").count() == 2, "{again}");
    ensure!(versions()? == before, "applying the same again writes nothing");
    input(cluster.command("kubectl").args(["diff", "-f", "-"]), &manifest).context("there is no difference")?;
    let other = manifest.replace("replicas: 1", "replicas: 2");
    ensure!(input(cluster.command("kubectl").args(["diff", "-f", "-"]), &other).is_err(), "diff tells a difference");
    let dry = input(cluster.command("kubectl").args(["apply", "--dry-run=server", "-f", "-"]), &other)?;
    ensure!(dry.contains("deployment.apps/web configured (server dry run)"), "{dry}");
    ensure!(versions()? == before, "a dry run writes nothing");

    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "changing"].iter().chain(args));
    let field = |path: &str| kubectl(&["get", "deployment", "web", "-o", &format!("jsonpath={path}")]);
    let mut edit = cluster.command("kubectl");
    edit.env("KUBE_EDITOR", "sed -i s/progressDeadlineSeconds:.600/progressDeadlineSeconds:\\ 500/");
    run(edit.args(["-n", "changing", "edit", "deployment", "web"]))?;
    ensure!(field("{.spec.progressDeadlineSeconds}")? == "500");
    kubectl(&[
        "patch",
        "deployment",
        "web",
        "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}"#,
    ])?;
    ensure!(
        field("{.spec.template.spec.containers[*].image} {.spec.template.spec.containers[0].env[0].name}")?
            == format!("{IMAGE} A"),
        "a strategic patch merges containers by name"
    );
    kubectl(&[
        "patch",
        "deployment",
        "web",
        "--type=merge",
        "-p",
        r#"{"metadata":{"labels":{"tier":"front","app":null}}}"#,
    ])?;
    ensure!(field("{.metadata.labels}")? == r#"{"tier":"front"}"#);
    kubectl(&[
        "patch",
        "deployment",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"test","path":"/spec/revisionHistoryLimit","value":10},{"op":"replace","path":"/spec/revisionHistoryLimit","value":3}]"#,
    ])?;
    ensure!(field("{.spec.revisionHistoryLimit}")? == "3");
    kubectl(&["label", "deployment", "web", "color=blue"])?;
    ensure!(kubectl(&["label", "deployment", "web", "color=red"]).is_err(), "a label is not overwritten unasked");
    kubectl(&["label", "deployment", "web", "color=red", "--overwrite"])?;
    kubectl(&["annotate", "deployment", "web", "note=kept"])?;
    ensure!(field("{.metadata.labels.color} {.metadata.annotations.note}")? == "red kept");
    kubectl(&["label", "deployment", "web", "color-"])?;
    ensure!(field("{.metadata.labels.color}")?.is_empty());
    let applied = cluster.apply(&manifest.replace("revisionHistoryLimit", "x"))?;
    ensure!(applied.contains("service/web unchanged"), "{applied}");
    ensure!(field("{.metadata.annotations.note}")? == "kept", "apply leaves what it does not own");
    let replaced = input(cluster.command("kubectl").args(["replace", "-f", "-"]), &manifest)?;
    ensure!(replaced.contains("deployment.apps/web replaced"), "{replaced}");
    Ok(())
}

fn rolling(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "rolling")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "rolling"].iter().chain(args));
    cluster.apply(&deployment("rolling", "web", 1))?;
    cluster.rolled_out("rolling", "deployment/web")?;
    kubectl(&["scale", "deployment/web", "--replicas=3"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    ensure!(kubectl(&["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"])? == "3");
    ensure!(
        kubectl(&["scale", "deployment/web", "--current-replicas=7", "--replicas=1"]).is_err(),
        "a precondition holds"
    );
    kubectl(&["scale", "deployment/web", "--replicas=1"])?;

    kubectl(&["set", "env", "deployment/web", "STEP=two"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    kubectl(&["set", "image", "deployment/web", "web=knarr.local/absent:1"])?;
    let history = kubectl(&["rollout", "history", "deployment/web"])?;
    eventually("the third revision is in the history", || {
        let history = kubectl(&["rollout", "history", "deployment/web"])?;
        ensure!(lines(&history).len() == 5, "{history}");
        Ok(())
    })
    .context(history)?;
    ensure!(kubectl(&["rollout", "history", "deployment/web", "--revision=2"])?.contains("STEP:\ttwo"));
    ensure!(
        kubectl(&["rollout", "status", "deployment/web", "--timeout=1s"]).is_err(),
        "an image that is not there holds the rollout"
    );
    ensure!(
        kubectl(&["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"])? == "1",
        "the old pod serves on"
    );
    kubectl(&["rollout", "undo", "deployment/web"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    ensure!(
        kubectl(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"])? == IMAGE
    );
    kubectl(&["rollout", "undo", "deployment/web", "--to-revision=1"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    ensure!(
        kubectl(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}"])?.is_empty()
    );

    let pod = |args: &[&str]| {
        kubectl(
            &["get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", "name"]
                .iter()
                .chain(args)
                .copied()
                .collect::<Vec<_>>(),
        )
    };
    let before = pod(&[])?;
    kubectl(&["rollout", "pause", "deployment/web"])?;
    kubectl(&["rollout", "resume", "deployment/web"])?;
    kubectl(&["rollout", "restart", "deployment/web"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    eventually("only new pods run", || {
        let after = pod(&[])?;
        ensure!(lines(&after).len() == 1 && after != before, "{before} {after}");
        Ok(())
    })
}

fn inside(cluster: &Cluster) -> anyhow::Result<()> {
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

fn deleting(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "deleting")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "deleting"].iter().chain(args));
    cluster.apply(&deployment("deleting", "web", 2))?;
    kubectl(&["create", "configmap", "a", "--from-literal=x=y"])?;
    kubectl(&[
        "run",
        "slow",
        "--image",
        IMAGE,
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 1; done",
    ])?;
    kubectl(&["wait", "--for=condition=Ready", "pod/slow", "--timeout=60s"])?;
    kubectl(&["delete", "pod", "slow", "--force", "--grace-period=0"])?;
    ensure!(kubectl(&["get", "pod", "slow"]).is_err(), "a forced deletion is immediate");
    kubectl(&["delete", "configmap", "a"])?;
    ensure!(kubectl(&["delete", "configmap", "a"]).is_err());
    kubectl(&["delete", "configmap", "a", "--ignore-not-found"])?;

    kubectl(&["create", "configmap", "held", "--from-literal=x=y"])?;
    kubectl(&[
        "patch",
        "configmap",
        "held",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":["example.com/hold"]}}"#,
    ])?;
    kubectl(&["delete", "configmap", "held", "--wait=false"])?;
    ensure!(!kubectl(&["get", "configmap", "held", "-o", "jsonpath={.metadata.deletionTimestamp}"])?.is_empty());
    cluster.kubectl(["delete", "namespace", "deleting", "--wait=false"])?;
    eventually("the namespace tells what it waits for", || {
        let namespace = cluster.get(["namespace", "deleting"])?;
        let conditions = namespace["status"]["conditions"].to_string();
        ensure!(conditions.contains("example.com/hold"), "{conditions}");
        Ok(())
    })?;
    ensure!(kubectl(&["create", "configmap", "late"]).is_err(), "nothing is made in a namespace that ends");
    kubectl(&["patch", "configmap", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#])?;
    cluster.kubectl(["wait", "--for=delete", "namespace/deleting", "--timeout=60s"])?;
    Ok(())
}

fn cascading(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "cascading")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "cascading"].iter().chain(args));
    for name in ["kept", "gone"] {
        cluster.apply(&deployment("cascading", name, 1))?;
        cluster.rolled_out("cascading", &format!("deployment/{name}"))?;
    }
    kubectl(&["delete", "deployment", "kept", "--cascade=orphan"])?;
    let owners =
        kubectl(&["get", "replicasets", "-l", "app=kept", "-o", "jsonpath={.items[*].metadata.ownerReferences}"])?;
    ensure!(owners.is_empty(), "an orphan has no owner: {owners}");
    ensure!(kubectl(&["get", "pods", "-l", "app=kept"])?.contains("Running"));
    kubectl(&["delete", "deployment", "gone", "--cascade=foreground"])?;
    ensure!(
        kubectl(&["get", "replicasets,pods", "-l", "app=gone", "-o", "name"])?.is_empty(),
        "in the foreground the owner goes last"
    );
    kubectl(&["delete", "replicasets", "-l", "app=kept"])?;
    kubectl(&["wait", "--for=delete", "pods", "-l", "app=kept", "--timeout=60s"])?;
    Ok(())
}

fn asking(cluster: &Cluster) -> anyhow::Result<()> {
    let explained = cluster.kubectl(["explain", "deployment.spec.strategy.rollingUpdate"])?;
    ensure!(explained.contains("maxSurge") && explained.contains("RollingUpdateDeployment"), "{explained}");
    let recursive = cluster.kubectl(["explain", "pod.spec", "--recursive"])?;
    ensure!(
        recursive.contains("terminationGracePeriodSeconds\t<integer>") && recursive.contains("readinessProbe"),
        "{recursive}"
    );
    ensure!(cluster.kubectl(["explain", "ingress", "--api-version=networking.k8s.io/v1"])?.contains("VERSION:    v1"));
    let resources = cluster.kubectl(["api-resources"])?;
    for line in ["pods", "deployments", "ingresses", "roles", "leases"] {
        ensure!(resources.lines().any(|row| row.starts_with(&format!("{line} "))), "{line} is listed: {resources}");
    }
    ensure!(lines(&cluster.kubectl(["api-resources", "--namespaced=false", "-o", "name"])?).contains(&"nodes"));
    ensure!(lines(&cluster.kubectl(["api-versions"])?).contains(&"apps/v1"));
    ensure!(cluster.kubectl(["get", "--raw", "/readyz?verbose"])?.contains("readyz check passed"));
    ensure!(cluster.kubectl(["version"])?.contains("Server Version: v1.36"));
    ensure!(cluster.kubectl(["cluster-info"])?.contains("control plane"));
    Ok(())
}

fn permitting(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "permitting")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "permitting"].iter().chain(args));
    kubectl(&["create", "secret", "generic", "door", "--from-literal=key=open"])?;
    let secret = cluster.get(["-n", "permitting", "secret", "door"])?;
    ensure!(secret["data"]["key"] == "b3Blbg==" && secret["type"] == "Opaque", "{secret}");
    kubectl(&["create", "configmap", "files", "--from-file=/etc/hostname", "--from-literal=a=b"])?;
    kubectl(&["create", "serviceaccount", "robot"])?;
    kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=secrets"])?;
    let who = "system:serviceaccount:permitting:robot";
    ensure!(kubectl(&["auth", "can-i", "get", "secrets", "--as", who]).is_err(), "no is exit code 1");
    kubectl(&["create", "rolebinding", "robot", "--role=reader", "--serviceaccount=permitting:robot"])?;
    ensure!(kubectl(&["auth", "can-i", "get", "secrets", "--as", who])?.trim() == "yes");
    ensure!(kubectl(&["auth", "can-i", "get", "secrets", "--as", who, "-n", "default"]).is_err());
    ensure!(kubectl(&["auth", "can-i", "--list", "--as", who])?.contains("secrets"));
    ensure!(cluster.kubectl(["auth", "whoami"])?.contains("kubernetes-admin"));
    let token = kubectl(&["create", "token", "robot", "--duration=10m"])?;
    let as_robot = |args: &[&str]| {
        let server = cluster.kubectl(["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
        let ca = cluster.ca();
        let mut command = cluster.command("kubectl");
        command
            .env("KUBECONFIG", "/dev/null")
            .args(["--server", &server, "--token", token.trim(), "--certificate-authority"])
            .arg(ca);
        run(command.args(["-n", "permitting"]).args(args))
    };
    ensure!(as_robot(&["get", "secret", "door", "-o", "name"])?.trim() == "secret/door");
    let refused = format!("{:#}", as_robot(&["delete", "secret", "door"]).err().context("the robot may not delete")?);
    ensure!(
        refused.contains(r#"User "system:serviceaccount:permitting:robot" cannot delete resource "secrets""#),
        "{refused}"
    );
    Ok(())
}

fn starting(cluster: &Cluster) -> anyhow::Result<()> {
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
    let said =
        kubectl(&["run", "once", "--image", IMAGE, "--restart=Never", "--rm", "-i", "--quiet", "--", "echo", "said"])?;
    ensure!(said.contains("said"), "{said}");
    ensure!(kubectl(&["get", "pod", "once"]).is_err(), "--rm leaves nothing");
    kubectl(&["create", "deployment", "made", "--image", IMAGE, "--replicas=0"])?;
    kubectl(&["create", "ingress", "made", "--rule=made.localhost/*=made:80"])?;
    kubectl(&["create", "service", "clusterip", "made", "--tcp=80:8080"])?;
    kubectl(&["create", "quota", "made", "--hard=pods=4"])?;
    Ok(())
}

fn refused(cluster: &Cluster) -> anyhow::Result<()> {
    let kubectl = |args: &[&str]| cluster.kubectl(args.iter());
    let wrong = |manifest: &str| {
        input(cluster.command("kubectl").args(["apply", "-f", "-"]), manifest)
            .err()
            .map(|error| format!("{error:#}"))
            .context("it is refused")
    };
    let told = wrong("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Wrong_Name}\n")?;
    ensure!(told.contains("metadata.name: Invalid value: \"Wrong_Name\""), "{told}");
    let told = wrong("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatum: {}\n")?;
    ensure!(told.contains("unknown field \"datum\""), "{told}");
    let told = wrong("apiVersion: v9\nkind: Wonder\nmetadata: {name: a}\n")?;
    ensure!(told.contains("no matches for kind \"Wonder\""), "{told}");
    let told = wrong("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n")?;
    ensure!(told.contains("spec.containers: Required value"), "{told}");
    let told = wrong("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: absent}\n")?;
    ensure!(told.contains("namespaces \"absent\" not found"), "{told}");
    for args in [
        &["get", "wonders"][..],
        &["get", "pod", "absent"],
        &["delete", "namespace", "kube-system"],
        &["logs", "absent"],
        &["exec", "absent", "--", "true"],
    ] {
        ensure!(kubectl(args).is_err(), "{args:?} fails");
    }
    Ok(())
}

/// Last: an emptied node has no room for the others.
fn draining(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "draining")?;
    cluster.apply(&deployment("draining", "web", 1))?;
    cluster.rolled_out("draining", "deployment/web")?;
    let node = cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    cluster.kubectl(["cordon", &node])?;
    ensure!(cluster.kubectl(["get", "nodes"])?.contains("Ready,SchedulingDisabled"));
    cluster.kubectl([
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--pod-selector=app=web",
        "--timeout=60s",
    ])?;
    eventually("the new pod waits for a node", || {
        let pods = cluster.get(["-n", "draining", "pods"])?;
        let items = pods["items"].as_array().context("a list")?;
        let waits = |pod: &Value| {
            pod["status"]["phase"] == "Pending" && pod["status"]["conditions"].to_string().contains("unschedulable")
        };
        ensure!(items.len() == 1 && waits(&items[0]), "{pods}");
        Ok(())
    })?;
    cluster.kubectl(["uncordon", &node])?;
    cluster.rolled_out("draining", "deployment/web")
}
