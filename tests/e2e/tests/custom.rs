//! Other people's kinds: definitions as large projects ship them are installed, their own samples are taken, and
//! objects that are wrong are refused in the words that people search for.
//!
//! The definitions are in `custom/`: the Gateway API's as its Rust types print them, and others in the shape that
//! cert-manager, the Prometheus operator and Velero have made common.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, Part, input, run};
use serde_json::{Value, json};

const SETS: &[&str] = &["gateway-api.yaml", "certificates.yaml", "monitoring.yaml", "backup.yaml"];
/// For all of them together, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(20);

fn file(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("custom").join(name).display().to_string()
}

#[test]
fn third_party_definitions_install_and_hold_their_objects_to_them() -> anyhow::Result<()> {
    let cluster = Cluster::start_with("e2e-custom", &[], &["--certs", "false", "--gateway-definitions", "false"])?; // for they bring their own
    cluster.kubectl(["create", "namespace", "custom"])?;
    let begun = Instant::now();
    for set in SETS {
        cluster.kubectl(["create", "-f", &file(set)]).with_context(|| format!("installing {set}"))?;
    }
    cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    ensure!(begun.elapsed() < SOON, "22 definitions took {:?}", begun.elapsed());
    let definitions = cluster.get(["crd"])?;
    for definition in definitions["items"].as_array().context("a list")? {
        let conditions = definition["status"]["conditions"].as_array().context("conditions")?;
        let odd = conditions.iter().find(|each| each["type"] == "NonStructuralSchema");
        ensure!(odd.is_none(), "{}: {odd:?}", definition["metadata"]["name"]);
    }
    let steps: [Part<'_>; 6] = [
        ("samples", samples),
        ("what is told of them", told),
        ("defaults and pruning", filled),
        ("what is wrong", refused),
        ("changes", changed),
        ("the end of them", removed),
    ];
    let failed = steps.iter().filter_map(|(name, step)| Some(format!("--- {name}: {:?}", step(&cluster).err()?)));
    let failed: Vec<String> = failed.collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Client-side, again, server-side, again: the second time nothing changes.
fn samples(cluster: &Cluster) -> anyhow::Result<()> {
    let samples = file("samples.yaml");
    let made = cluster.kubectl(["apply", "-f", &samples])?;
    ensure!(made.matches(" created").count() == 18, "{made}");
    let again = cluster.kubectl(["apply", "-f", &samples])?;
    // kubectl compares lists as they are written, and defaults below a list were not
    ensure!(
        again.matches(" unchanged").count() == 17
            && again.contains("servicemonitor.monitoring.coreos.com/web configured")
    );
    cluster.kubectl(["apply", "--server-side", "--force-conflicts", "-f", &samples])?;
    let versions = || {
        cluster.get(["-f", &samples]).map(|list| {
            let items = list["items"].as_array().cloned().unwrap_or_default();
            items.iter().map(|item| item["metadata"]["resourceVersion"].clone()).collect::<Vec<_>>()
        })
    };
    let before = versions()?;
    cluster.kubectl(["apply", "--server-side", "-f", &samples])?;
    ensure!(before.len() == 18 && versions()? == before, "applying the same again writes nothing");
    Ok(())
}

fn told(cluster: &Cluster) -> anyhow::Result<()> {
    let get = |args: &[&str]| cluster.kubectl(["-n", "custom", "get"].iter().chain(args));
    let heads = |text: &str| text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let certs = get(&["cert"])?;
    ensure!(heads(&certs) == "NAME READY SECRET AGE", "{certs}");
    ensure!(heads(&get(&["certs", "-o", "wide"])?) == "NAME READY SECRET ISSUER AGE");
    ensure!(
        get(&["prom", "main", "--no-headers"])?.split_whitespace().collect::<Vec<_>>()[..3] == ["main", "v3.5.0", "1"]
    );
    ensure!(heads(&get(&["schedules"])?) == "NAME STATUS SCHEDULE LASTBACKUP PAUSED");
    let category = get(&["prometheus-operator", "-o", "name"])?;
    ensure!(category.lines().count() == 3, "{category}");
    ensure!(get(&["cert", "--field-selector", "spec.issuerRef.name=letters", "-o", "name"])?.contains("/web"));
    ensure!(get(&["cert", "--field-selector", "spec.issuerRef.name=other", "-o", "name"])?.is_empty());
    let resources = cluster.kubectl(["api-resources", "--api-group=gateway.networking.k8s.io", "-o", "name"])?;
    ensure!(resources.lines().count() == 10, "{resources}");
    let explained = cluster.kubectl(["explain", "certificate.spec.secretName"])?;
    ensure!(explained.contains("The Secret that gets key and certificate."), "{explained}");
    let explained = cluster.kubectl(["explain", "certificate.spec"])?;
    ensure!(explained.contains("secretName\t<string> -required-"), "{explained}");
    let recursive = cluster.kubectl(["explain", "httproute.spec", "--recursive"])?;
    ensure!(
        recursive.contains("requestHeaderModifier\t<Object>") && recursive.contains("sectionName\t<string>"),
        "{recursive}"
    );
    ensure!(cluster.kubectl(["-n", "custom", "scale", "prom/main", "--replicas=3"])?.contains("scaled"));
    ensure!(get(&["prom", "main", "-o", "jsonpath={.spec.shards}"])? == "3");
    let old = run(cluster.command("sh").args([
        "-c",
        "kubectl -n custom get certificates.v1beta1.cert-manager.io web -o jsonpath={.apiVersion} 2>&1",
    ]))?;
    ensure!(
        old.contains("Warning: cert-manager.io/v1beta1 Certificate is deprecated")
            && old.contains("cert-manager.io/v1beta1"),
        "{old}"
    );
    Ok(())
}

fn filled(cluster: &Cluster) -> anyhow::Result<()> {
    let get = |what: &str| cluster.get(["-n", "custom", what]);
    let issuer = cluster.get(["clusterissuer", "letters"])?;
    ensure!(
        issuer["spec"]["acme"]["skipTLSVerify"] == false
            && issuer["spec"]["acme"]["privateKeySecretRef"]["key"] == "tls.key"
    );
    ensure!(issuer["spec"]["acme"]["solvers"][1]["dns01"]["webhook"]["config"]["deep"][0]["anything"] == 1);
    let certificate = get("cert/web")?;
    ensure!(certificate["spec"]["issuerRef"]["group"] == "cert-manager.io");
    ensure!(certificate["spec"]["privateKey"]["rotationPolicy"] == "Always");
    let monitor = get("smon/web")?;
    ensure!(
        monitor["spec"]["endpoints"][0]["path"] == "/metrics" && monitor["spec"]["endpoints"][1]["targetPort"] == 9100
    );
    ensure!(monitor["spec"]["endpoints"][1]["relabelings"][0]["action"] == "replace");
    let prometheus = get("prom/main")?;
    ensure!(prometheus["spec"]["affinity"]["podAntiAffinity"]["anything"][0] == "goes");
    ensure!(prometheus["spec"]["resources"]["limits"]["cpu"] == 2);
    let backup = get("backup/nightly-1")?;
    ensure!(
        backup["spec"].as_object().context("a spec")?.get("snapshotVolumes") == Some(&Value::Null),
        "a null that may be stays"
    );
    Ok(())
}

/// What is wrong, in which object, and what must be said of it.
const WRONG: &[(&str, &str, &[&str])] = &[
    ("Certificate", "{issuerRef: {name: a}, dnsNames: [a]}", &["spec.secretName: Required value"]),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}}",
        &["spec: Invalid value", "at least one of commonName, dnsNames"],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, dnsNames: [a], duration: 5m}",
        &["spec.duration: Invalid value", "a certificate lives an hour or longer, not 5m"],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, dnsNames: [a], renewBefore: 1h, renewBeforePercentage: 5}",
        &["exclude each other"],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, dnsNames: [a], renewBeforePercentage: 100}",
        &[
            "spec.renewBeforePercentage: Invalid value: 100: spec.renewBeforePercentage in body should be less than or equal to 99",
        ],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, dnsNames: [a], privateKey: {algorithm: ECDSA, size: 2048}}",
        &["spec.privateKey.size: Invalid value", "the size of an ECDSA key is 256, 384 or 521"],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, dnsNames: [a], privateKey: {algorithm: DSA}}",
        &[r#"spec.privateKey.algorithm: Unsupported value: "DSA": supported values: "RSA", "ECDSA", "Ed25519""#],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, dnsNames: [a], isCA: maybe}",
        &[r#"spec.isCA: Invalid value: "string": spec.isCA in body must be of type boolean: "string""#],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, commonName: a123456789012345678901234567890123456789012345678901234567890123456789}",
        &["spec.commonName: Too long: may not be more than 64 bytes"],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, dnsNames: [a], usages: [any, any]}",
        &["spec.usages[1]: Duplicate value: \"any\""],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, dnsNames: [a], additionalOutputFormats: [{type: DER}, {type: DER}]}",
        &["spec.additionalOutputFormats[1]: Duplicate value"],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, emailAddresses: [nobody]}",
        &["spec.emailAddresses[0] in body must be of type email"],
    ),
    (
        "Certificate",
        "{secretName: a, issuerRef: {name: a}, dnsNames: [a], colour: red}",
        &["strict decoding error: unknown field \"spec.colour\""],
    ),
    ("ClusterIssuer", "{}", &["an issuer is exactly one of acme, ca, selfSigned and vault"]),
    ("ClusterIssuer", "{selfSigned: {}, ca: {secretName: a}}", &["an issuer is exactly one of"]),
    (
        "ClusterIssuer",
        "{acme: {server: 'ftp://a', privateKeySecretRef: {name: a}}}",
        &[r#"spec.acme.server: Invalid value: "ftp://a": spec.acme.server in body should match '^https?://'"#],
    ),
    (
        "ClusterIssuer",
        "{acme: {server: 'https://a', privateKeySecretRef: {name: a}, solvers: [{http01: {}, dns01: {}}]}}",
        &["spec.acme.solvers[0]", "must validate one and only one schema (oneOf)"],
    ),
    (
        "ClusterIssuer",
        "{vault: {server: 'https://a', path: b, auth: {}}}",
        &["spec.vault.auth in body should have at least 1 properties"],
    ),
    ("ServiceMonitor", "{selector: {}, endpoints: []}", &["spec.endpoints in body should have at least 1 items"]),
    (
        "ServiceMonitor",
        "{selector: {}, endpoints: [{interval: soon}]}",
        &["spec.endpoints[0].interval in body should match"],
    ),
    ("ServiceMonitor", "{selector: {}, endpoints: [{targetPort: true}]}", &["spec.endpoints[0].targetPort"]),
    (
        "PrometheusRule",
        "{groups: [{name: a, rules: [{expr: 1, alert: a, record: b}]}]}",
        &["spec.groups[0].rules[0]: Invalid value", "a rule either alerts or records"],
    ),
    ("PrometheusRule", "{groups: [{name: a}, {name: a}]}", &["spec.groups[1]: Duplicate value"]),
    ("Prometheus", "{resources: {limits: {cpu: many}}}", &["spec.resources.limits.cpu in body should match"]),
    (
        "Prometheus",
        "{storage: {volumeClaimTemplate: {metadata: {name: Bad_Name}}}}",
        &[
            "spec.storage.volumeClaimTemplate.apiVersion: Required value",
            "spec.storage.volumeClaimTemplate.kind: Required value",
        ],
    ),
    ("Restore", "{backupName: a, scheduleName: b}", &["a restore is either of a backup or of a schedule"]),
    ("Schedule", "{schedule: '* * * * *', template: {ttl: forever}}", &["spec.template.ttl in body should match"]),
    (
        "BackupStorageLocation",
        "{provider: aws, objectStorage: {bucket: a, caCert: '???'}}",
        &["spec.objectStorage.caCert in body must be of type byte"],
    ),
    (
        "Backup",
        "{hooks: {resources: [{name: a, pre: [{exec: {command: []}}]}]}}",
        &["spec.hooks.resources[0].pre[0].exec.command in body should have at least 1 items"],
    ),
    (
        "HTTPRoute",
        "{rules: [{matches: [{method: FETCH}]}]}",
        &[r#"spec.rules[0].matches[0].method: Unsupported value: "FETCH""#],
    ),
    ("Gateway", "{gatewayClassName: a}", &["spec.listeners: Required value"]),
];

fn version_of(kind: &str) -> &'static str {
    match kind {
        "Certificate" | "ClusterIssuer" => "cert-manager.io/v1",
        "ServiceMonitor" | "PrometheusRule" | "Prometheus" => "monitoring.coreos.com/v1",
        "HTTPRoute" | "Gateway" => "gateway.networking.k8s.io/v1",
        _ => "velero.io/v1",
    }
}

fn refused(cluster: &Cluster) -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for (kind, spec, words) in WRONG {
        let version = version_of(kind);
        let object = format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: wrong, namespace: custom}}\nspec: {spec}\n"
        );
        let mut apply = cluster.command("kubectl");
        match input(apply.args(["create", "--validate=strict", "-f", "-"]), &object) {
            Ok(_) => failures.push(format!("{kind} {spec} is taken")),
            Err(error) => {
                let told = error.to_string();
                let told = told.split_once("failed").map_or("", |(_, told)| told);
                if let Some(missing) = words.iter().find(|words| !told.contains(**words)) {
                    failures.push(format!("{kind} {spec}: {missing:?} is not said: {told}"));
                }
            }
        }
    }
    ensure!(failures.is_empty(), "{} of {}:\n{}", failures.len(), WRONG.len(), failures.join("\n"));
    Ok(())
}

/// Transition rules, status apart from spec, patches of each type, two managers of one list.
fn changed(cluster: &Cluster) -> anyhow::Result<()> {
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "custom"].iter().chain(args));
    let patch = r#"{"spec":{"isCA":true}}"#;
    let told = kubectl(&["patch", "certificaterequest", "web-1", "--type=merge", "-p", patch]);
    let told = format!("{:#}", told.err().context("a request does not change")?);
    ensure!(told.contains("a request does not change"), "{told}");
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    kubectl(&["patch", "cert", "web", "--type=merge", "--subresource=status", "-p", &ready.to_string()])?;
    ensure!(kubectl(&["get", "cert", "web", "--no-headers"])?.split_whitespace().nth(1) == Some("True"));
    kubectl(&["wait", "--for=condition=Ready", "cert/web", "--timeout=10s"])?;
    kubectl(&[
        "patch",
        "cert",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/spec/dnsNames/-","value":"c.example.com"}]"#,
    ])?;
    let strategic = kubectl(&["patch", "cert", "web", "-p", patch]);
    let told = format!("{:#}", strategic.err().context("a strategic patch needs a built-in type")?);
    ensure!(told.contains("the body of the request was in an unknown format"), "{told}");
    let arguments = |name: &str| {
        format!(
            "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {{name: main, namespace: custom}}\nspec: {{additionalArgs: [{{name: {name}, value: x}}]}}\n"
        )
    };
    for name in ["one", "two"] {
        let mut apply = cluster.command("kubectl");
        let manager = format!("--field-manager={name}");
        input(apply.args(["apply", "--server-side", &manager, "-f", "-"]), &arguments(name))?;
    }
    let names = kubectl(&["get", "prom", "main", "-o", "jsonpath={.spec.additionalArgs[*].name}"])?;
    ensure!(names == "web.enable-lifecycle log.level one two", "{names}");
    let mut apply = cluster.command("kubectl");
    input(apply.args(["apply", "--server-side", "--field-manager=one", "-f", "-"]), &arguments("three"))?;
    let names = kubectl(&["get", "prom", "main", "-o", "jsonpath={.spec.additionalArgs[*].name}"])?;
    ensure!(names == "web.enable-lifecycle log.level two three", "{names}");
    Ok(())
}

fn removed(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(["delete", "crd", "--all", "--timeout=60s"])?;
    ensure!(cluster.kubectl(["get", "crd", "-o", "name"])?.is_empty());
    ensure!(cluster.kubectl(["get", "cert", "-A"]).is_err(), "the kind is gone");
    let again = cluster.kubectl(["create", "-f", &file("certificates.yaml")])?;
    ensure!(again.matches(" created").count() == 3, "{again}");
    cluster.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"])?;
    ensure!(cluster.kubectl(["get", "cert", "-A"])?.is_empty(), "nothing is left of the objects");
    Ok(())
}
