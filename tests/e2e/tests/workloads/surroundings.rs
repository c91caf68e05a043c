//! What a container finds around it: environment, limits, privileges, volumes.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually};

use super::{ended, logs, namespace, pod, ready, until};

pub(super) fn environment(cluster: &Cluster) -> anyhow::Result<()> {
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
    super::pod(cluster, "environment", "missing", missing)?;
    let waits = until(cluster, "environment", "missing", "the pod tells what it lacks", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    })?;
    ensure!(waits["status"].to_string().contains("secret \\\"late\\\" not found"), "{}", waits["status"]);
    kubectl(&["create", "secret", "generic", "late", "--from-literal=a=b"])?;
    ready(cluster, "environment", "missing").context("it starts when the secret is there")
}

pub(super) fn limits(cluster: &Cluster) -> anyhow::Result<()> {
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

pub(super) fn security(cluster: &Cluster) -> anyhow::Result<()> {
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

pub(super) fn volumes(cluster: &Cluster) -> anyhow::Result<()> {
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

pub(super) fn changing_volumes(cluster: &Cluster) -> anyhow::Result<()> {
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
