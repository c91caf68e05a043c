//! Certificates as users of cert-manager know them: kubectl makes and waits for them, openssl verifies them, the gateway
//! shows them, and what is renewed is shown without a connection lost.

use std::path::Path;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, Part, eventually, run, together};

const AUTHORITY: &str = r#"
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: bootstrap}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: own-root}
spec:
  isCA: true
  commonName: own root
  secretName: own-root
  duration: 87600h
  privateKey: {algorithm: ECDSA, size: 384}
  issuerRef: {name: bootstrap, kind: ClusterIssuer}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: own}
spec: {ca: {secretName: own-root}}
"#;

fn certificate(name: &str, issuer: &str, extra: &str) -> String {
    format!(
        "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {{name: {name}}}\nspec: {{secretName: {name}, dnsNames: [{name}.localhost], issuerRef: {issuer}{extra}}}\n"
    )
}

/// An entry of a Secret, as a file.
fn file(cluster: &Cluster, folder: &Path, secret: &str, entry: &str) -> anyhow::Result<String> {
    use std::process::Command;
    let path = format!("jsonpath={{.data.{}}}", entry.replace('.', "\\."));
    let text = cluster.kubectl(["get", "secret", secret, "-o", &path])?;
    let file = folder.join(format!("{secret}-{entry}"));
    let decoded = knarr_e2e::input(Command::new("base64").arg("-d"), &text)?;
    std::fs::write(&file, decoded)?;
    Ok(file.display().to_string())
}

fn ready(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let waited = cluster.kubectl(["wait", "--for=condition=Ready", &format!("certificate/{name}"), "--timeout=60s"]);
    waited
        .map(drop)
        .with_context(|| cluster.kubectl(["describe", "certificate,certificaterequest,issuer"]).unwrap_or_default())
}

#[test]
fn certificates_are_made_verified_shown_and_renewed() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-certs", &[])?;
    let parts: [Part<'_>; 4] =
        [("a chain", chain), ("an Ingress", ingress), ("what is told", told), ("who may what", permitted)];
    together(&cluster, &parts)
}

fn chain(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    cluster.apply(AUTHORITY)?;
    cluster.kubectl(["wait", "--for=condition=Ready", "issuer/own", "clusterissuer/bootstrap", "--timeout=60s"])?;
    cluster.apply(&certificate("chain", "{name: own}", ""))?;
    ready(cluster, "chain")?;
    let [leaf, root, key] = ["tls.crt", "ca.crt", "tls.key"].map(|entry| file(cluster, folder.path(), "chain", entry));
    let (leaf, root, key) = (leaf?, root?, key?);
    let verified = run(cluster.command("openssl").args([
        "verify",
        "-CAfile",
        &root,
        "-verify_hostname",
        "chain.localhost",
        &leaf,
    ]))?;
    ensure!(verified.contains(": OK"), "{verified}");
    let public = |args: &[&str]| run(cluster.command("openssl").args(args));
    ensure!(public(&["x509", "-in", &leaf, "-noout", "-pubkey"])? == public(&["pkey", "-in", &key, "-pubout"])?);
    ensure!(std::fs::read_to_string(&key)?.contains("BEGIN RSA PRIVATE KEY"), "RSA in PKCS #1 is upstream's default");
    // as `cmctl renew` does it
    let status = cluster.get(["certificate", "chain"])?["status"].clone();
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|one| one["type"] != "Issuing");
    conditions.push(serde_json::json!({
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "Certificate re-issuance manually triggered",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }));
    let patch = serde_json::json!({ "status": { "conditions": conditions } }).to_string();
    cluster.kubectl(["patch", "certificate", "chain", "--subresource=status", "--type=merge", "-p", &patch])?;
    let before = std::fs::read(&leaf)?;
    eventually("the certificate is another", || {
        ensure!(cluster.get(["certificate", "chain"])?["status"]["revision"] == 2);
        ensure!(before != std::fs::read(file(cluster, folder.path(), "chain", "tls.crt")?)?);
        Ok(())
    })
}

fn ingress(cluster: &Cluster) -> anyhow::Result<()> {
    let manifest = |hosts: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: shop, annotations: {{cert-manager.io/cluster-issuer: knarr-ca}}}}\nspec: {{tls: [{{hosts: [{hosts}], secretName: shop-tls}}], rules: [{{host: shop.localhost}}]}}\n"
        )
    };
    cluster.apply(&manifest("shop.localhost"))?;
    eventually("the Ingress has a certificate", || ready(cluster, "shop-tls"))?;
    let owner = cluster.get(["certificate", "shop-tls"])?["metadata"]["ownerReferences"][0]["kind"].clone();
    ensure!(owner == "Ingress", "{owner}");
    let port = cluster.setting("gateway.httpsPort")?;
    let shown = || {
        let line = format!(
            "openssl s_client -connect 127.0.0.1:{port} -servername shop.localhost </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName -fingerprint"
        );
        run(cluster.command("sh").args(["-c", &line]))
    };
    let first = eventually("the gateway shows it", || {
        let shown = shown()?;
        ensure!(shown.contains("shop.localhost"), "{shown}");
        Ok(shown)
    })?;
    cluster.apply(&manifest("shop.localhost, more.localhost"))?;
    eventually("the gateway shows the new one", || {
        let shown = shown()?;
        ensure!(shown != first && shown.contains("more.localhost"), "{shown}");
        Ok(())
    })?;
    cluster.kubectl(["delete", "ingress", "shop"])?;
    eventually("its certificate goes with it", || {
        ensure!(
            cluster.kubectl(["get", "certificate", "-o", "name"])?.lines().all(|name| !name.ends_with("/shop-tls"))
        );
        Ok(())
    })
}

fn told(cluster: &Cluster) -> anyhow::Result<()> {
    let columns = |what: &str| {
        let text = cluster.kubectl(["get", what])?;
        anyhow::Ok(text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "))
    };
    cluster.apply(&certificate("told", "{name: missing}", ""))?;
    eventually("the request waits for its issuer", || {
        let request = cluster.get(["cr", "told-1"])?["status"]["conditions"].to_string();
        ensure!(request.contains("Referenced \\\"Issuer\\\" not found"), "{request}");
        Ok(())
    })?;
    ensure!(columns("certs")? == "NAME READY SECRET AGE", "{}", columns("certs")?);
    ensure!(columns("cr")? == "NAME APPROVED DENIED READY ISSUER REQUESTER AGE", "{}", columns("cr")?);
    ensure!(columns("ciss")? == "NAME READY AGE");
    let events = cluster.kubectl(["get", "events"])?;
    ensure!(events.contains("Issuing certificate as Secret does not exist"), "{events}");
    let wrong = knarr_e2e::input(
        cluster.command("kubectl").args(["create", "-f", "-"]),
        &certificate("wrong", "{name: own}", ", privateKey: {algorithm: DSA}"),
    );
    let wrong = format!("{:#}", wrong.err().context("an unknown algorithm is refused")?);
    ensure!(wrong.contains("spec.privateKey.algorithm: Unsupported value"), "{wrong}");
    ensure!(cluster.kubectl(["explain", "certificate.spec.renewBefore"])?.contains("before its end"));
    Ok(())
}

/// The service does all this with no more than its role.
fn permitted(cluster: &Cluster) -> anyhow::Result<()> {
    let may = |verb: &str, what: &str| {
        let account = "--as=system:serviceaccount:knarr-system:certs";
        run(cluster.command("sh").args(["-c", &format!("kubectl auth can-i {verb} {what} {account} || true")]))
    };
    for (verb, what, answer) in [
        ("create", "certificaterequests.cert-manager.io", "yes"),
        ("delete", "clusterissuers.cert-manager.io", "no"),
        ("get", "configmaps", "no"),
        ("create", "pods", "no"),
        ("delete", "customresourcedefinitions", "no"),
    ] {
        let told = may(verb, what)?;
        ensure!(told.trim().ends_with(answer), "{verb} {what}: {told}");
    }
    Ok(())
}
