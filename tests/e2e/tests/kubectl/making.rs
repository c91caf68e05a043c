//! Every `create`, every `set`, replace, edit, the last-applied commands, kustomize, debug.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, fails, input, run};

use super::{IMAGE, deployment, namespace};

pub(super) fn creating(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "making")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "making"].iter().chain(args));
    let made: &[&[&str]] = &[
        &["configmap", "made", "--from-literal=a=b"],
        &["secret", "generic", "made", "--from-literal=a=b", "--type=example.com/kind"],
        &[
            "secret",
            "docker-registry",
            "registry",
            "--docker-server=r.example.com",
            "--docker-username=u",
            "--docker-password=p",
        ],
        &["deployment", "made", "--image", IMAGE, "--replicas=0", "--port=80"],
        &["job", "made", "--image", IMAGE, "--", "true"],
        &["cronjob", "made", "--image", IMAGE, "--schedule=0 0 1 1 *", "--", "true"],
        &["job", "from", "--from=cronjob/made"],
        &["service", "clusterip", "made", "--tcp=80:8080"],
        &["service", "clusterip", "headless", "--clusterip=None"],
        &["service", "nodeport", "port", "--tcp=80:8080"],
        &["service", "loadbalancer", "balanced", "--tcp=80:8080"],
        &["service", "externalname", "outside", "--external-name=example.com"],
        &["ingress", "made", "--rule=made.example.com/path*=made:80,tls=made", "--class=knarr"],
        &["poddisruptionbudget", "made", "--selector=app=made", "--min-available=50%"],
        &["quota", "made", "--hard=pods=40,requests.cpu=4", "--scopes=NotTerminating"],
        &["role", "made", "--verb=get,list", "--resource=pods,pods/log,deployments.apps"],
        &["rolebinding", "made", "--role=made", "--user=someone", "--group=all", "--serviceaccount=making:made"],
        &["serviceaccount", "made"],
        &["clusterrole", "e2e-making", "--verb=get", "--non-resource-url=/metrics"],
        &["clusterrole", "e2e-making-sum", "--aggregation-rule=a=b"],
        &["clusterrolebinding", "e2e-making", "--clusterrole=e2e-making", "--user=someone"],
        &["priorityclass", "e2e-making", "--value=1000", "--preemption-policy=Never", "--description=a"],
    ];
    for args in made {
        let created = kubectl(&[&["create"], *args].concat()).with_context(|| format!("create {args:?}"))?;
        ensure!(created.contains(" created"), "{created}");
        let again = [&["create"], *args].concat();
        let told = format!("{:#}", kubectl(&again).err().with_context(|| format!("{args:?} twice"))?);
        ensure!(told.contains("already exists"), "{told}");
    }
    // each says the same without the server, and with it but without a trace
    for how in ["client", "server"] {
        let dry = kubectl(&["create", "configmap", "dry", &format!("--dry-run={how}"), "-o", "yaml"])?;
        ensure!(dry.contains("name: dry") && kubectl(&["get", "configmap", "dry"]).is_err(), "{dry}");
    }
    let field = |what: &str, path: &str| kubectl(&["get", what, "-o", &format!("jsonpath={path}")]);
    ensure!(field("secret/registry", "{.type}")? == "kubernetes.io/dockerconfigjson");
    ensure!(field("service/headless", "{.spec.clusterIP}")? == "None");
    ensure!(field("service/port", "{.spec.ports[0].nodePort}")?.parse::<u16>()? >= 30000);
    ensure!(field("service/outside", "{.spec.externalName} {.spec.clusterIP}")? == "example.com ");
    ensure!(field("pdb/made", "{.spec.minAvailable}")? == "50%");
    ensure!(field("job/from", "{.metadata.ownerReferences[0].name} {.metadata.annotations}")?.starts_with("made "));
    ensure!(field("role/made", "{.rules[*].resources}")? == r#"["pods","pods/log"] ["deployments"]"#);
    ensure!(kubectl(&["create", "token", "made"])?.split('.').count() == 3);
    let told = cluster.kubectl(["create", "namespace", "making"]);
    ensure!(format!("{:#}", told.err().context("it is there")?).contains(r#"namespaces "making" already exists"#));
    cluster.kubectl([
        "delete",
        "clusterrole/e2e-making",
        "clusterrole/e2e-making-sum",
        "clusterrolebinding/e2e-making",
        "priorityclass/e2e-making",
    ])?;
    Ok(())
}

pub(super) fn setting(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "setting")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "setting"].iter().chain(args));
    cluster.apply(&deployment("setting", "web", 0))?;
    kubectl(&["create", "serviceaccount", "robot"])?;
    kubectl(&["create", "configmap", "vars", "--from-literal=FROM=map"])?;
    kubectl(&["create", "service", "clusterip", "web", "--tcp=80"])?;
    kubectl(&["create", "role", "r", "--verb=get", "--resource=pods"])?;
    kubectl(&["create", "rolebinding", "r", "--role=r", "--user=a"])?;
    let set: &[&[&str]] = &[
        &["image", "deployment/web", "web=knarr.local/other:1"],
        &["env", "deployment/web", "A=1", "B=2"],
        &["env", "deployment/web", "--from=configmap/vars"],
        &["env", "deployment/web", "A-"],
        &["resources", "deployment/web", "--limits=cpu=200m,memory=64Mi", "--requests=cpu=100m"],
        &["serviceaccount", "deployment", "web", "robot"],
        &["selector", "service", "web", "app=web,tier=x"],
        &["subject", "rolebinding", "r", "--user=b", "--serviceaccount=setting:robot"],
    ];
    for args in set {
        kubectl(&[&["set"], *args].concat()).with_context(|| format!("set {args:?}"))?;
    }
    let field = |what: &str, path: &str| kubectl(&["get", what, "-o", &format!("jsonpath={path}")]);
    let pod = "{.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].env[*].name} {.spec.template.spec.serviceAccountName} {.spec.template.spec.containers[0].resources.limits.memory}";
    let told = field("deployment/web", pod)?;
    ensure!(told == "knarr.local/other:1 B FROM robot 64Mi", "{told}");
    ensure!(kubectl(&["set", "env", "deployment/web", "--list"])?.contains("B=2"));
    ensure!(field("service/web", "{.spec.selector}")? == r#"{"app":"web","tier":"x"}"#);
    ensure!(field("rolebinding/r", "{.subjects[*].name}")? == "a b robot");

    kubectl(&["autoscale", "deployment", "web", "--min=2", "--max=5", "--cpu-percent=70"])?;
    let scaler = kubectl(&["get", "hpa", "web", "--no-headers"])?;
    ensure!(scaler.contains("Deployment/web") && scaler.contains("70%"), "{scaler}");
    kubectl(&["label", "deployment,service", "--all", "part=set"])?;
    ensure!(kubectl(&["label", "deployment", "web", "--list"])?.contains("part=set"));
    ensure!(kubectl(&["get", "deployment,service", "-l", "part=set", "-o", "name"])?.lines().count() == 2);
    kubectl(&["annotate", "service", "web", "a=b", "--resource-version=1"]).err().context("it is newer")?;
    kubectl(&["annotate", "service", "web", "a=b"])?;
    kubectl(&["annotate", "service", "web", "a-"])?;
    ensure!(field("service/web", "{.metadata.annotations.a}")?.is_empty());
    let status = r#"{"status":{"observedGeneration":77}}"#;
    kubectl(&["patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", status])?;
    kubectl(&[
        "patch",
        "deployment",
        "web",
        "--subresource=scale",
        "--type=merge",
        "-p",
        r#"{"spec":{"replicas":0}}"#,
    ])?;
    ensure!(kubectl(&["get", "deployment", "web", "--subresource=scale", "-o", "jsonpath={.kind}"])? == "Scale");
    let failed = kubectl(&[
        "patch",
        "service",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"test","path":"/spec/type","value":"NodePort"}]"#,
    ]);
    let failed = format!("{:#}", failed.err().context("the test fails")?);
    ensure!(
        failed.contains("the server rejected our request due to an error in our request")
            || failed.contains("testing value /spec/type failed"),
        "{failed}"
    );
    Ok(())
}

pub(super) fn replacing(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "replacing")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "replacing"].iter().chain(args));
    let map = |text: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: replacing}}\ndata: {{text: {text}}}\n"
        )
    };
    let with = |args: &[&str], text: &str| input(cluster.command("kubectl").args(args), &map(text));
    let field = |path: &str| kubectl(&["get", "configmap", "a", "-o", &format!("jsonpath={path}")]);
    ensure!(with(&["replace", "-f", "-"], "one").is_err(), "there is nothing to replace");
    with(&["create", "--save-config", "-f", "-"], "one")?;
    let first = field("{.metadata.uid}")?;
    with(&["replace", "-f", "-"], "two")?;
    ensure!(field("{.data.text} {.metadata.uid}")? == format!("two {first}"));
    let forced = with(&["replace", "--force", "-f", "-"], "three")?;
    ensure!(forced.contains("deleted") && forced.contains("replaced"), "{forced}");
    ensure!(field("{.data.text}")? == "three" && field("{.metadata.uid}")? != first, "force makes another object");

    with(&["apply", "-f", "-"], "four")?;
    ensure!(kubectl(&["apply", "view-last-applied", "configmap/a"])?.contains("text: four"));
    with(&["apply", "set-last-applied", "-f", "-"], "five")?;
    ensure!(kubectl(&["apply", "view-last-applied", "configmap", "a", "-o", "json"])?.contains("\"five\""));
    let mut diff = cluster.command("kubectl");
    let other = tempfile::NamedTempFile::new()?;
    std::fs::write(other.path(), map("six"))?;
    let told = fails(diff.args(["diff", "-f"]).arg(other.path()), 1)?;
    ensure!(told.contains("-  text: four") && told.contains("+  text: six"), "{told}");

    let edit = |editor: &str| -> anyhow::Result<String> {
        let mut edit = cluster.command("kubectl");
        let output = edit.env("KUBE_EDITOR", editor).args(["-n", "replacing", "edit", "configmap/a"]).output()?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    let edited = edit("sed -i s/text:.four/text:\\ seven/")?;
    ensure!(edited.contains("configmap/a edited") && field("{.data.text}")? == "seven", "{edited}");
    let same = edit("true")?;
    ensure!(same.contains("no changes made"), "{same}");
    // what is written first is refused, so that the editor opens again; the second is taken
    let folder = tempfile::tempdir()?;
    let (editor, mark) = (folder.path().join("editor"), folder.path().join("been"));
    let script = r#"#!/bin/sh
if [ -e MARK ]; then
  sed -i '/labels: {bad/d; s/text: .*/text: edited/' "$1"
else
  touch MARK
  sed -i 's/^  name: a$/  name: a\n  labels: {bad: "?"}/' "$1"
fi
"#;
    std::fs::write(&editor, script.replace("MARK", &mark.display().to_string()))?;
    run(std::process::Command::new("chmod").arg("+x").arg(&editor))?;
    let twice = edit(&editor.display().to_string())?;
    ensure!(mark.exists() && field("{.data.text}")? == "edited", "{twice}");

    std::fs::write(
        folder.path().join("kustomization.yaml"),
        "namespace: replacing\nnamePrefix: k-\nconfigMapGenerator:\n- name: made\n  literals: [a=b]\n",
    )?;
    let applied = kubectl(&["apply", "-k", &folder.path().display().to_string()])?;
    ensure!(applied.contains("configmap/k-made-") && applied.contains("created"), "{applied}");
    let pruned = kubectl(&["delete", "-k", &folder.path().display().to_string()])?;
    ensure!(pruned.contains("deleted"), "{pruned}");
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r, namespace: replacing}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n";
    ensure!(input(cluster.command("kubectl").args(["auth", "reconcile", "-f", "-"]), role)?.contains("reconciled"));
    Ok(())
}

pub(super) fn debugging(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "debugging")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "debugging"].iter().chain(args));
    kubectl(&["run", "one", "--image", IMAGE, "--labels=app=one", "--", "sleep", "1000"])?;
    kubectl(&["wait", "--for=condition=Ready", "pod/one", "--timeout=60s"])?;
    kubectl(&[
        "debug",
        "one",
        "--image",
        IMAGE,
        "--copy-to=copy",
        "--container=one",
        "--attach=false",
        "--",
        "sh",
        "-c",
        "echo copied; sleep 1000",
    ])?;
    kubectl(&["wait", "--for=condition=Ready", "pod/copy", "--timeout=60s"])?;
    ensure!(kubectl(&["logs", "copy"])?.contains("copied"));
    kubectl(&[
        "debug",
        "one",
        "--image",
        IMAGE,
        "--container=probe",
        "--target=one",
        "--attach=false",
        "--profile=general",
        "--",
        "true",
    ])?;
    let probe = kubectl(&[
        "get",
        "pod",
        "one",
        "-o",
        "jsonpath={.spec.ephemeralContainers[0].name} {.spec.ephemeralContainers[0].targetContainerName}",
    ])?;
    ensure!(probe == "probe one", "{probe}");
    let told = kubectl(&["patch", "pod", "one", "--type=merge", "-p", r#"{"spec":{"containers":[]}}"#]);
    ensure!(format!("{:#}", told.err().context("a pod keeps its containers")?).contains("is invalid"));
    kubectl(&["delete", "pods", "--all", "--now"])?;
    Ok(())
}
