//! What a pod can ask of its node, seen from inside the pod and through the API.
//!
//! Parts run at once: most of their time is a back-off or a grace period.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, together};
use serde_json::Value;

const IMAGE: &str = "knarr.local/busybox:bookworm";

#[test]
fn pods_get_what_they_ask_for() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-workloads", &["busybox"])?;
    together(
        &cluster,
        &[
            ("a rolling update loses no request", rolling_update),
            ("init containers and restart policies", running_to_the_end),
            ("environment", environment),
            ("probes", probes),
            ("back-offs", back_offs),
            ("limits", limits),
            ("security context", security),
            ("graceful termination", termination),
            ("volumes", volumes),
            ("changing volumes", changing_volumes),
        ],
    )
}

/// A namespace called `name`, with what its pods need to start.
fn namespace(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    cluster.kubectl(["create", "namespace", name])?;
    eventually("the namespace has its service account", || {
        cluster.kubectl(["-n", name, "get", "serviceaccount", "default"])
    })?;
    Ok(())
}

/// Applies a pod made of `spec`, whose `IMAGE` stands for the image.
fn pod(cluster: &Cluster, namespace: &str, name: &str, spec: &str) -> anyhow::Result<()> {
    let spec: String = spec.replace("IMAGE", IMAGE).lines().map(|line| format!("  {line}\n")).collect();
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}, annotations: {{note: written}}}}\nspec:\n{spec}"
    ))?;
    Ok(())
}

/// Waits until the pod fulfils `check`; its state is told if it does not.
fn until(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    what: &str,
    check: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    eventually(what, || {
        let pod = cluster.get(["-n", namespace, "pod", name])?;
        ensure!(check(&pod["status"]), "pod {name}: {}", pod["status"]);
        Ok(pod)
    })
}

fn ended(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Value> {
    until(cluster, namespace, name, "the pod ends", |status| {
        status["phase"] == "Succeeded" || status["phase"] == "Failed"
    })
}

fn ready(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<()> {
    cluster.kubectl(["-n", namespace, "wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"])?;
    Ok(())
}

fn logs(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<String> {
    cluster.kubectl(["-n", namespace, "logs", name])
}

fn rolling_update(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "rolling")?;
    let manifest = |version: &str| {
        format!(
            r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: rolling}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: {IMAGE}
        command: [sh, -c, "echo {version} >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
        lifecycle: {{preStop: {{sleep: {{seconds: 2}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: rolling}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
"#
        )
    };
    cluster.apply(&manifest("one"))?;
    cluster.rolled_out("rolling", "deployment/web")?;
    let address = cluster.kubectl(["-n", "rolling", "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"])?;
    let url = format!("http://{address}/");
    ensure!(eventually("the service answers", || cluster.curl([&url]))?.trim() == "one");
    cluster.apply(&manifest("two"))?;
    let (mut old, mut new) = (0, 0);
    while new < 40 {
        match cluster.curl([&url]).context("a request while the pods are replaced")?.trim() {
            "one" => old += 1,
            _ => new += 1,
        }
        ensure!(old < 20_000, "the old pods never went");
    }
    cluster.rolled_out("rolling", "deployment/web")?;
    eventually("only the new version answers", || {
        let pods = cluster.get(["-n", "rolling", "pods"])?;
        ensure!(pods["items"].as_array().is_some_and(|items| items.len() == 2), "{pods}");
        ensure!(cluster.curl([&url])?.trim() == "two");
        Ok(())
    })
}

fn running_to_the_end(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "ending")?;
    pod(
        cluster,
        "ending",
        "again",
        r#"
restartPolicy: OnFailure
initContainers:
- {name: first, image: IMAGE, command: [sh, -c, "echo first >>/d/order"], volumeMounts: [{name: d, mountPath: /d}]}
- {name: second, image: IMAGE, command: [sh, -c, "echo second >>/d/order"], volumeMounts: [{name: d, mountPath: /d}]}
containers:
- name: c
  image: IMAGE
  command: [sh, -c, "cat /d/order; [ -e /d/failed ] && exit 0; touch /d/failed; exit 3"]
  volumeMounts: [{name: d, mountPath: /d}]
volumes: [{name: d, emptyDir: {}}]
"#,
    )?;
    let never = "restartPolicy: Never\ncontainers:\n- {name: c, image: IMAGE, command: [sh, -c, \"echo why >/dev/termination-log; exit 5\"]}\n";
    pod(cluster, "ending", "never", never)?;
    let said = never
        .replace("echo why >/dev/termination-log", "echo only said")
        .replace("name: c,", "name: c, terminationMessagePolicy: FallbackToLogsOnError,");
    pod(cluster, "ending", "said", &said)?;

    let again = ended(cluster, "ending", "again")?;
    ensure!(
        again["status"]["phase"] == "Succeeded" && again["status"]["containerStatuses"][0]["restartCount"] == 1,
        "{}",
        again["status"]
    );
    ensure!(again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3, "{}", again["status"]);
    ensure!(logs(cluster, "ending", "again")? == "first\nsecond\n", "init containers ran in order");
    let never = ended(cluster, "ending", "never")?;
    let state = &never["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(
        never["status"]["phase"] == "Failed" && state["exitCode"] == 5 && state["reason"] == "Error",
        "{}",
        never["status"]
    );
    ensure!(state["message"] == "why\n", "{state}");
    let said = ended(cluster, "ending", "said")?;
    ensure!(
        said["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "only said\n",
        "{}",
        said["status"]
    );
    Ok(())
}

fn environment(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "environment")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "environment"].iter().chain(args));
    kubectl(&["create", "configmap", "settings", "--from-literal=COLOR=blue", "--from-literal=SIZE=9"])?;
    kubectl(&["create", "secret", "generic", "door", "--from-literal=key=open sesame"])?;
    pod(
        cluster,
        "environment",
        "env",
        r#"
restartPolicy: Never
containers:
- name: c
  image: IMAGE
  command: [sh, -c, "env | sort; echo args: $0 $1", "$(COLOR)"]
  args: ["$(PLAIN)-$$(PLAIN)-$(ABSENT)"]
  resources: {requests: {cpu: 250m}, limits: {memory: 64Mi}}
  envFrom: [{configMapRef: {name: settings}, prefix: P_}, {configMapRef: {name: absent, optional: true}}]
  env:
  - {name: PLAIN, value: plain}
  - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: COLOR}}}
  - {name: KEY, valueFrom: {secretKeyRef: {name: door, key: key}}}
  - {name: NONE, valueFrom: {secretKeyRef: {name: door, key: absent, optional: true}}}
  - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
  - {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
  - {name: CPU, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
  - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  - {name: JOINED, value: "$(POD) is $(COLOR)"}
"#,
    )?;
    let pod = ended(cluster, "environment", "env")?;
    let said = logs(cluster, "environment", "env")?;
    let node = pod["spec"]["nodeName"].as_str().context("a node")?;
    let address = pod["status"]["podIP"].as_str().context("an address")?;
    let (node, address) = (format!("NODE={node}"), format!("ADDRESS={address}"));
    let wanted = [
        "P_COLOR=blue",
        "P_SIZE=9",
        "PLAIN=plain",
        "COLOR=blue",
        "KEY=open sesame",
        "POD=env",
        "NOTE=written",
        &node,
        &address,
        "CPU=250",
        "MEMORY=64",
        "JOINED=env is blue",
        "HOSTNAME=env",
        "KUBERNETES_SERVICE_HOST=10.43.0.1",
        "args: blue plain-$(PLAIN)-$(ABSENT)",
    ];
    for line in wanted {
        ensure!(said.lines().any(|other| other == line), "{line} in:\n{said}");
    }
    ensure!(!said.contains("NONE="), "{said}");

    let missing =
        "containers:\n- {name: c, image: IMAGE, command: [sleep, \"1000\"], envFrom: [{secretRef: {name: late}}]}\n";
    self::pod(cluster, "environment", "missing", missing)?;
    let waits = until(cluster, "environment", "missing", "the pod tells what it lacks", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    })?;
    ensure!(waits["status"].to_string().contains("secret \\\"late\\\" not found"), "{}", waits["status"]);
    kubectl(&["create", "secret", "generic", "late", "--from-literal=a=b"])?;
    ready(cluster, "environment", "missing").context("it starts when the secret is there")
}

fn probes(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "probes")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "probes"].iter().chain(args));
    pod(
        cluster,
        "probes",
        "gated",
        r#"
terminationGracePeriodSeconds: 0
containers:
- name: web
  image: IMAGE
  command: [httpd, -f, -p, "8080", -h, /etc]
  startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
  readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1, failureThreshold: 1}
  livenessProbe: {httpGet: {path: /passwd, port: 8080}, periodSeconds: 1}
"#,
    )?;
    pod(
        cluster,
        "probes",
        "sick",
        r#"
terminationGracePeriodSeconds: 0
containers:
- name: web
  image: IMAGE
  command: [httpd, -f, -p, "8080", -h, /etc]
  livenessProbe: {httpGet: {path: /absent, port: 8080}, periodSeconds: 1, failureThreshold: 2}
"#,
    )?;
    kubectl(&["expose", "pod", "gated", "--port=80", "--target-port=8080"])?;
    until(cluster, "probes", "gated", "it runs", |status| status["containerStatuses"][0]["started"] == true)?;
    let addresses = || kubectl(&["get", "endpoints", "gated", "-o", "jsonpath={.subsets[*].addresses[*].ip}"]);
    ensure!(addresses()?.is_empty(), "a pod that is not ready gets no traffic");
    kubectl(&["exec", "gated", "--", "touch", "/tmp/ready"])?;
    eventually("the ready pod is an endpoint", || {
        ensure!(!addresses()?.is_empty());
        Ok(())
    })?;
    let slice = kubectl(&[
        "get",
        "endpointslices",
        "-l",
        "kubernetes.io/service-name=gated",
        "-o",
        "jsonpath={.items[0].endpoints[0].conditions.ready}",
    ])?;
    ensure!(slice == "true", "{slice}");
    kubectl(&["exec", "gated", "--", "rm", "/tmp/ready"])?;
    eventually("the unready pod is no endpoint", || {
        ensure!(addresses()?.is_empty());
        Ok(())
    })?;
    let sick = until(cluster, "probes", "sick", "a sick container is started anew", |status| {
        status["containerStatuses"][0]["restartCount"].as_i64() > Some(0)
    })?;
    ensure!(sick["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137, "{}", sick["status"]);
    eventually("an event tells why", || {
        let events = kubectl(&["get", "events", "--field-selector", "involvedObject.name=sick"])?;
        ensure!(
            events.contains("Liveness probe failed: HTTP probe failed with statuscode: 404")
                && events.contains("Killing"),
            "{events}"
        );
        Ok(())
    })?;
    let gated = cluster.get(["-n", "probes", "pod", "gated"])?;
    ensure!(gated["status"]["containerStatuses"][0]["restartCount"] == 0, "readiness restarts nothing");
    Ok(())
}

fn back_offs(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "back-offs")?;
    pod(cluster, "back-offs", "crash", "containers:\n- {name: c, image: IMAGE, command: [sh, -c, \"exit 7\"]}\n")?;
    pod(cluster, "back-offs", "absent", "containers:\n- {name: c, image: \"127.0.0.1:1/absent:1\"}\n")?;
    pod(
        cluster,
        "back-offs",
        "never-pulled",
        "containers:\n- {name: c, image: \"knarr.local/absent:1\", imagePullPolicy: Never}\n",
    )?;
    pod(cluster, "back-offs", "wrong-command", "containers:\n- {name: c, image: IMAGE, command: [/absent]}\n")?;
    let waiting = |name: &str, reasons: &[&str], says: &str| {
        until(cluster, "back-offs", name, "the pod tells what it waits for", |status| {
            let waiting = &status["containerStatuses"][0]["state"]["waiting"];
            reasons.iter().any(|reason| waiting["reason"] == *reason)
                && waiting["message"].as_str().is_some_and(|message| message.contains(says))
        })
    };
    let crash = waiting("crash", &["CrashLoopBackOff"], "back-off")?;
    ensure!(crash["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 7, "{}", crash["status"]);
    ensure!(cluster.kubectl(["-n", "back-offs", "get", "pod", "crash"])?.contains("CrashLoopBackOff"));
    waiting("absent", &["ImagePullBackOff"], "127.0.0.1:1/absent:1")?;
    waiting("absent", &["ImagePullBackOff", "ErrImagePull"], "refused").context("the reason is in the message")?;
    waiting("never-pulled", &["ErrImageNeverPull"], "knarr.local/absent:1")?;
    let wrong = until(cluster, "back-offs", "wrong-command", "the pod tells what is wrong", |status| {
        status.to_string().contains("/absent")
    })?;
    ensure!(wrong["status"]["phase"] != "Failed", "it is tried again: {}", wrong["status"]);
    Ok(())
}

fn limits(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "limits")?;
    let hungry = "restartPolicy: Never\ncontainers:\n- {name: c, image: IMAGE, command: [sh, -c, \"tail /dev/zero\"], resources: {limits: {memory: 16Mi}}}\n";
    pod(cluster, "limits", "hungry", hungry)?;
    pod(cluster, "limits", "huge", &hungry.replace("limits: {memory: 16Mi}", "requests: {cpu: \"1000\"}"))?;
    let deadline = "activeDeadlineSeconds: 2\nterminationGracePeriodSeconds: 0\ncontainers:\n- {name: c, image: IMAGE, command: [sleep, \"1000\"]}\n";
    pod(cluster, "limits", "late", deadline)?;
    let hungry = ended(cluster, "limits", "hungry")?;
    let state = &hungry["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(state["reason"] == "OOMKilled" && state["exitCode"] == 137, "{state}");
    ensure!(hungry["status"]["qosClass"] == "Burstable", "{}", hungry["status"]);
    let huge = until(cluster, "limits", "huge", "the scheduler tells why not", |status| {
        status["conditions"].to_string().contains("Insufficient cpu")
    })?;
    ensure!(huge["status"]["phase"] == "Pending");
    let late = ended(cluster, "limits", "late")?;
    ensure!(late["status"]["reason"] == "DeadlineExceeded", "{}", late["status"]);
    Ok(())
}

fn security(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "security")?;
    pod(
        cluster,
        "security",
        "narrow",
        r#"
restartPolicy: Never
securityContext: {runAsUser: 1234, runAsGroup: 1235, fsGroup: 1236, supplementalGroups: [1237], seccompProfile: {type: RuntimeDefault}, sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]}
containers:
- name: c
  image: IMAGE
  command: [sh, -c, "id -u; id -g; id -G; grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status; touch /x; touch /data/x && stat -c %g /data/x; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"]
  securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}
  volumeMounts: [{name: data, mountPath: /data}]
volumes: [{name: data, emptyDir: {}}]
"#,
    )?;
    pod(
        cluster,
        "security",
        "wide",
        "restartPolicy: Never\ncontainers:\n- {name: c, image: IMAGE, securityContext: {privileged: true}, command: [sh, -c, \"grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; id -u\"]}\n",
    )?;
    pod(
        cluster,
        "security",
        "root",
        "securityContext: {runAsNonRoot: true}\ncontainers:\n- {name: c, image: IMAGE, command: [sleep, \"1000\"]}\n",
    )?;
    ended(cluster, "security", "narrow")?;
    let said = logs(cluster, "security", "narrow")?;
    for line in [
        "1234",
        "1235",
        "1235 1236 1237",
        "CapBnd:\t0000000000000400",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "1236",
        "0",
    ] {
        ensure!(said.lines().any(|other| other == line), "{line:?} in:\n{said}");
    }
    ensure!(said.contains("Read-only file system"), "{said}");
    ended(cluster, "security", "wide")?;
    ensure!(logs(cluster, "security", "wide")? == "NoNewPrivs:\t0\nSeccomp:\t0\n0\n");
    until(cluster, "security", "root", "an image of root is refused", |status| {
        let waiting = &status["containerStatuses"][0]["state"]["waiting"];
        waiting["reason"] == "CreateContainerConfigError"
            && waiting["message"].as_str().is_some_and(|message| message.contains("runAsNonRoot"))
    })?;
    Ok(())
}

fn termination(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "termination")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().display();
    let spec = format!(
        r#"
terminationGracePeriodSeconds: 30
containers:
- name: c
  image: IMAGE
  command: [sh, -c, "trap 'echo term >>/out/order; exit 0' TERM; while :; do sleep 0.1; done"]
  lifecycle:
    postStart: {{exec: {{command: [sh, -c, "echo start >>/out/order"]}}}}
    preStop: {{exec: {{command: [sh, -c, "echo stop >>/out/order"]}}}}
  volumeMounts: [{{name: out, mountPath: /out}}]
volumes: [{{name: out, hostPath: {{path: {path}, type: Directory}}}}]
"#
    );
    pod(cluster, "termination", "polite", &spec)?;
    let deaf = "terminationGracePeriodSeconds: 1\ncontainers:\n- {name: c, image: IMAGE, command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"]}\n";
    pod(cluster, "termination", "deaf", deaf)?;
    ready(cluster, "termination", "polite")?;
    ready(cluster, "termination", "deaf")?;
    cluster
        .kubectl(["-n", "termination", "delete", "pod", "deaf", "--timeout=20s"])
        .context("SIGKILL ends who hears no SIGTERM")?;
    cluster
        .kubectl(["-n", "termination", "delete", "pod", "polite", "--timeout=20s"])
        .context("who heeds SIGTERM is not waited for")?;
    let order = std::fs::read_to_string(folder.path().join("order"))?;
    ensure!(order == "start\nstop\nterm\n", "{order}");
    Ok(())
}

fn volumes(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "volumes")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "volumes"].iter().chain(args));
    kubectl(&["create", "secret", "generic", "door", "--from-literal=key=open", "--from-literal=other=x"])?;
    kubectl(&["create", "configmap", "page", "--from-literal=index.html=hello"])?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("file"), "from the host\n")?;
    let path = folder.path().display();
    pod(
        cluster,
        "volumes",
        "all",
        &format!(
            r#"
restartPolicy: Never
containers:
- name: c
  image: IMAGE
  resources: {{limits: {{memory: 64Mi}}}}
  command:
  - sh
  - -c
  - |
    stat -Lc %a /door/inner/key; cat /door/inner/key; echo; ls /door
    cat /page.html; echo
    cat /host/file; touch /host/x 2>/dev/null || echo read-only
    mount | grep -q 'tmpfs on /memory' && echo memory
    cat /about/labels; echo; cat /about/memory; echo
    cut -d. -f2 /token/token | head -c 4; echo; ls /var/run/secrets/kubernetes.io/serviceaccount
    cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo
    echo kept >/data/sub/file; cat /whole/part/file
  volumeMounts:
  - {{name: door, mountPath: /door, readOnly: true}}
  - {{name: page, mountPath: /page.html, subPath: index.html}}
  - {{name: host, mountPath: /host, readOnly: true}}
  - {{name: memory, mountPath: /memory}}
  - {{name: about, mountPath: /about}}
  - {{name: token, mountPath: /token}}
  - {{name: data, mountPath: /data/sub, subPath: part}}
  - {{name: data, mountPath: /whole}}
volumes:
- {{name: door, secret: {{secretName: door, items: [{{key: key, path: inner/key, mode: 256}}]}}}}
- {{name: page, configMap: {{name: page}}}}
- {{name: host, hostPath: {{path: {path}}}}}
- {{name: memory, emptyDir: {{medium: Memory}}}}
- {{name: data, emptyDir: {{}}}}
- name: about
  downwardAPI:
    items:
    - {{path: labels, fieldRef: {{fieldPath: metadata.labels}}}}
    - {{path: memory, resourceFieldRef: {{containerName: c, resource: limits.memory, divisor: 1Mi}}}}
- name: token
  projected: {{sources: [{{serviceAccountToken: {{path: token, audience: elsewhere, expirationSeconds: 600}}}}]}}
"#
        ),
    )?;
    ended(cluster, "volumes", "all")?;
    let said = logs(cluster, "volumes", "all")?;
    let wanted = "400\nopen\ninner\nhello\nfrom the host\nread-only\nmemory\napp=\"all\"\n64\neyJh\nca.crt\nnamespace\ntoken\nvolumes\nkept\n";
    ensure!(said == wanted, "wanted:\n{wanted}\ngot:\n{said}");
    Ok(())
}

fn changing_volumes(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "changing")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "changing"].iter().chain(args));
    kubectl(&["create", "configmap", "page", "--from-literal=text=before"])?;
    pod(
        cluster,
        "changing",
        "reader",
        r#"
terminationGracePeriodSeconds: 0
containers:
- {name: c, image: IMAGE, command: [sleep, "1000"], volumeMounts: [{name: page, mountPath: /page}, {name: about, mountPath: /about}]}
volumes:
- {name: page, configMap: {name: page}}
- {name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
"#,
    )?;
    ready(cluster, "changing", "reader")?;
    ensure!(kubectl(&["exec", "reader", "--", "cat", "/page/text"])? == "before");
    kubectl(&["patch", "configmap", "page", "-p", r#"{"data":{"text":"after"}}"#])?;
    kubectl(&["label", "pod", "reader", "tier=front"])?;
    eventually("the pod sees the new text and label", || {
        let said = kubectl(&["exec", "reader", "--", "cat", "/page/text", "/about/labels"])?;
        ensure!(said.starts_with("after") && said.contains("tier=\"front\""), "{said}");
        Ok(())
    })
}
