//! What people get wrong and what machines do to them: each fault is told with its thing and its remedy, and damages
//! nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, Namespace, fails, run};
use serde_json::Value;

fn binary() -> PathBuf {
    std::env::var_os("KNARR").expect("KNARR must name the binary; make test sets it").into()
}

fn said(text: &str, parts: &[&str]) -> anyhow::Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    Ok(())
}

#[test]
fn wrong_use_is_told_before_anything_happens() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let up = |args: &[&str], code: i32| {
        let mut command = Command::new(binary());
        fails(command.args(["up", "--name", "e2e-wrong", "--data-dir"]).arg(&data).args(args), code)
    };
    said(&fails(Command::new(binary()).arg("upp"), 2)?, &["upp", "up"])?;
    said(&up(&["--nonsense"], 2)?, &["--nonsense", "--help"])?;
    said(&up(&["--api-port", "many"], 2)?, &["--api-port", "many"])?;
    said(
        &up(&["--pod-cidr", "10.42.0.0/99", "--node-ports", "9-1"], 2)?,
        &["--pod-cidr", "10.42.0.0/99", "--node-ports", "9-1"],
    )
    .context("all faults at once")?;
    said(&fails(Command::new(binary()).args(["up", "--name", "Not/A/Name"]), 2)?, &["Not/A/Name"])?;

    let file = folder.path().join("knarr.yaml");
    let config = file.to_str().context("utf-8")?;
    std::fs::write(&file, "api:\n  prot: 1\n\ngateway:\n  htpPort: 2\n")?;
    let told = up(&["--config", config], 2)?;
    said(
        &told,
        &[
            "knarr.yaml:2",
            "api.prot",
            "did you mean api.port",
            "knarr.yaml:5",
            "gateway.htpPort",
            "did you mean gateway.httpPort",
        ],
    )?;
    std::fs::write(&file, "api:\n  port: many\ngateway:\n  address: here\n")?;
    said(&up(&["--config", config, "--detach"], 2)?, &["knarr.yaml:2", "many", "knarr.yaml:4", "here"])?;
    std::fs::write(&file, "api: [\n")?;
    said(&up(&["--config", config], 2)?, &["knarr.yaml", "not YAML"])?;
    said(&up(&["--config", "/absent.yaml"], 1)?, &["/absent.yaml"])?;
    ensure!(!data.exists(), "nothing was made");

    let mut stranger = Command::new("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(readable(folder.path())?).args([
        "up",
        "--name",
        "e2e-wrong",
        "--data-dir",
    ]);
    said(&fails(stranger.arg(folder.path().join("data")), 1)?, &["root", "sudo"])?;
    ensure!(!data.exists(), "nothing was made");

    said(
        &fails(Command::new(binary()).args(["status", "--name", "e2e-wrong", "--data-dir"]).arg(&data), 4)?,
        &["knarr up"],
    )?;
    said(
        &fails(Command::new(binary()).args(["kubeconfig", "--name", "e2e-wrong", "--data-dir"]).arg(&data), 1)?,
        &["knarr up"],
    )?;
    Ok(())
}

/// The binary where everyone may run it.
fn readable(folder: &Path) -> anyhow::Result<PathBuf> {
    run(Command::new("chmod").arg("755").arg(folder))?;
    let copy = folder.join("knarr");
    if std::fs::hard_link(binary(), &copy).is_err() {
        std::fs::copy(binary(), &copy)?;
    }
    Ok(copy)
}

#[test]
fn what_is_in_the_way_is_told_and_left_alone() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-faults", &[])?;
    cluster.kubectl(["create", "configmap", "kept", "--from-literal=a=b"])?;
    bad_requests(&cluster)?;

    let told = fails(&mut cluster.knarr(["up"]), 1)?;
    said(&told, &["in use by process", &cluster.pid()?, "knarr down"]).context("a data directory has one user")?;
    let taken = cluster.setting("api.port")?;
    let other = tempfile::tempdir()?;
    let mut second = cluster.command(binary());
    second.args(["up", "--name", "e2e-faults-2", "--api-port", &taken, "--data-dir"]).arg(other.path().join("data"));
    said(&fails(&mut second, 1)?, &[&taken, "in use", "--api-port"]).context("a port has one user")?;
    cluster.kubectl(["get", "configmap", "kept"]).context("the running cluster does not mind")?;

    run(&mut cluster.knarr(["down"]))?;
    let store = cluster.data().join("store/knarr.redb");
    let sound = std::fs::read(&store)?;
    ensure!(sound[9] & 2 == 0, "a store that was closed needs no repair"); // a flag in the engine's file header
    let mut broken = sound.clone();
    broken[..64].fill(0xAA);
    for (damage, bytes) in [
        ("its head is overwritten", broken),
        ("it is something else", b"not a store".to_vec()),
        ("it is cut off", sound[..sound.len() / 3 / 4096 * 4096].to_vec()),
    ] {
        std::fs::write(&store, &bytes)?;
        let told = fails(&mut cluster.knarr(["up"]), 1).context(damage)?;
        said(&told, &["store/knarr.redb", "damaged", "restore"]).context(damage)?;
        ensure!(std::fs::read(&store)? == bytes, "{damage}: the file is as it was");
    }
    std::fs::write(&store, &sound)?;
    newer(&store)?;
    let told = fails(&mut cluster.knarr(["up"]), 1).context("a newer release wrote it")?;
    said(&told, &["store/knarr.redb", "format 99", "newer release"])?;
    ensure!(format(&store)? == Some(99), "it is left as it was");
    std::fs::write(&store, &sound)?;
    cluster.up().context("with the sound file all is well")?;
    ensure!(cluster.kubectl(["get", "configmap", "kept", "-o", "jsonpath={.data.a}"])? == "b");
    Ok(())
}

const META: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");

/// Makes the store one that a later release has written.
fn newer(store: &Path) -> anyhow::Result<()> {
    let database = redb::Database::open(store)?;
    let change = database.begin_write()?;
    let before = change.open_table(META)?.insert("format", 99)?.map(|old| old.value());
    ensure!(before == Some(1), "the format's number is where this test thinks: {before:?}");
    Ok(change.commit()?)
}

fn format(store: &Path) -> anyhow::Result<Option<u64>> {
    use redb::ReadableDatabase as _;
    let table = redb::Database::open(store)?.begin_read()?.open_table(META)?;
    Ok(table.get("format")?.map(|number| number.value()))
}

#[test]
fn what_an_interrupted_start_leaves_is_purged() -> anyhow::Result<()> {
    let namespace = Namespace::make("e2e-half")?;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let knarr = |args: &[&str]| {
        let mut command = namespace.command(binary());
        command.args(args).args(["--name", "e2e-half", "--data-dir"]).arg(&data);
        command
    };
    let listener = std::os::unix::net::UnixListener::bind(folder.path().join("no-directory"))?;
    drop(listener);
    let mut wrong = namespace.command(binary());
    wrong.args(["up", "--name", "e2e-half", "--data-dir"]).arg(folder.path().join("no-directory"));
    said(&fails(&mut wrong, 1)?, &["no-directory"])?;
    run(&mut knarr(&["down", "--purge"])).context("purging what never was is no error")?;
    ensure!(!data.exists());
    Ok(())
}

const JSON: &str = "Content-Type: application/json";
const YAML: &str = "Content-Type: application/yaml";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Method, path, header, body; code, reason and a part of the message that answer.
type Case<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, &'a str);

const BAD: &[Case<'_>] = &[
    ("POST", MAPS, JSON, "{bad", "400", "BadRequest", "json parse error"),
    ("POST", MAPS, YAML, "a: [", "400", "BadRequest", "yaml"),
    ("POST", MAPS, JSON, "[]", "400", "BadRequest", "ConfigMap"),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":1}}"#,
        "400",
        "BadRequest",
        "cannot unmarshal number",
    ),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#,
        "400",
        "BadRequest",
        "cannot be handled as a ConfigMap",
    ),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}"#,
        "422",
        "Invalid",
        "name or generateName is required",
    ),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept"}}"#,
        "409",
        "AlreadyExists",
        "configmaps \"kept\" already exists",
    ),
    ("POST", MAPS, "Content-Type: text/csv", "a", "415", "UnsupportedMediaType", "application/json"),
    (
        "PATCH",
        "/api/v1/namespaces/default/configmaps/kept",
        JSON,
        "{}",
        "415",
        "UnsupportedMediaType",
        "application/merge-patch+json",
    ),
    ("GET", "/api/v1/namespaces/default/wonders", JSON, "", "404", "NotFound", "could not find the requested resource"),
    ("GET", "/apis/example.com/v1/wonders", JSON, "", "404", "NotFound", "could not find the requested resource"),
    (
        "GET",
        "/api/v1/namespaces/default/configmaps/absent",
        JSON,
        "",
        "404",
        "NotFound",
        "configmaps \"absent\" not found",
    ),
    ("GET", "/api/v1/pods?limit=many", JSON, "", "400", "BadRequest", "parsing \"many\": invalid syntax"),
    (
        "GET",
        "/api/v1/pods?fieldSelector=no.such=a",
        JSON,
        "",
        "400",
        "BadRequest",
        "field label not supported: no.such",
    ),
    ("GET", "/api/v1/pods?labelSelector=a%20b", JSON, "", "400", "BadRequest", "unable to parse requirement"),
    ("GET", "/api/v1/pods?continue=nonsense", JSON, "", "400", "BadRequest", "continue"),
    (
        "PUT",
        "/api/v1/namespaces/default/configmaps/other",
        JSON,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"kept"}}"#,
        "400",
        "BadRequest",
        "does not match the name on the URL",
    ),
    ("DELETE", "/api/v1/nodes", "Accept: image/png", "", "406", "NotAcceptable", "application/json"),
];

fn bad_requests(cluster: &Cluster) -> anyhow::Result<()> {
    let server = cluster.kubectl(["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
    cluster.kubectl([
        "create",
        "clusterrolebinding",
        "all",
        "--clusterrole=cluster-admin",
        "--serviceaccount=default:default",
    ])?;
    let token = cluster.kubectl(["create", "token", "default"])?;
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let folder = tempfile::tempdir()?;
    let body = folder.path().join("body");
    let ask = |method: &str, path: &str, content: &str, text: &str| -> anyhow::Result<(String, Value)> {
        std::fs::write(&body, text)?;
        let mut command = cluster.command("curl");
        command
            .args([
                "--silent",
                "--http1.1",
                "--show-error",
                "--noproxy",
                "*",
                "--write-out",
                "\n%{http_code}",
                "--cacert",
            ])
            .arg(cluster.ca());
        command.args(["-X", method, "-H", &bearer, "-H", content]).arg(format!("{server}{path}"));
        if !text.is_empty() {
            command.arg("--data-binary").arg(format!("@{}", body.display()));
        }
        let said = run(&mut command)?;
        let (object, code) = said.rsplit_once('\n').context("a code")?;
        Ok((code.to_owned(), serde_json::from_str(object).with_context(|| format!("{method} {path}: {said}"))?))
    };
    let big = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"big"}},"data":{{"a":"{}"}}}}"#,
        "x".repeat(3 * 1024 * 1024)
    );
    let oversize = ("POST", MAPS, JSON, big.as_str(), "413", "RequestEntityTooLarge", "limit is 3145728");
    for (method, path, content, text, code, reason, message) in BAD.iter().copied().chain([oversize]) {
        let what = format!("{method} {path} {:.60}", text);
        let (got, status) = ask(method, path, content, text).with_context(|| what.clone())?;
        let told = status["message"].as_str().unwrap_or_default();
        ensure!(
            got == code && status["kind"] == "Status" && status["reason"] == reason && told.contains(message),
            "{what}: {got} {status}"
        );
    }
    cluster.kubectl(["get", "configmap", "kept", "-o", "name"]).map(drop)
}
