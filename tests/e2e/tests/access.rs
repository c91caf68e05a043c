//! Who reaches what: names, services and the API, from pods and from outside.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, run, together};

/// Web pods that serve their own names, a headless service, an alias, and a pod to look out of.
const MANIFEST: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: town}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: town}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: knarr.local/busybox:bookworm
        command: [sh, -c, "hostname >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        ports: [{containerPort: 8080, name: http}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: town}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: each, namespace: town}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: town}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: town}
spec: {type: ExternalName, externalName: web.town.svc.cluster.local}
---
apiVersion: v1
kind: Pod
metadata: {name: named, namespace: town, labels: {app: named}}
spec:
  hostname: host
  subdomain: each-named
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: knarr.local/busybox:bookworm, command: [sleep, "10000"]}]
---
apiVersion: v1
kind: Service
metadata: {name: each-named, namespace: town}
spec: {clusterIP: None, selector: {app: named}, ports: [{name: any, port: 1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: eye, namespace: town}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: knarr.local/python3:bookworm, command: [python3, -c, "import signal; signal.pause()"]}]
"#;

/// What the eye runs: a request with its own token, or none, or a wrong one; prints the status code.
const ASK: &str = r#"
import ssl, sys, urllib.request, urllib.error
folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
path, how = sys.argv[1], sys.argv[2]
token = {"own": lambda: open(folder + "token").read(), "wrong": lambda: "wrong", "none": lambda: None}[how]()
request = urllib.request.Request("https://kubernetes.default.svc" + path)
if token:
    request.add_header("Authorization", "Bearer " + token)
try:
    print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=folder + "ca.crt")).status)
except urllib.error.HTTPError as error:
    print(error.code)
"#;

#[test]
fn pods_and_strangers_reach_what_they_should() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-access", &["busybox", "python3"])?;
    cluster.apply(MANIFEST)?;
    cluster.rolled_out("town", "deployment/web")?;
    cluster.kubectl(["-n", "town", "wait", "--for=condition=Ready", "pod/eye", "pod/named", "--timeout=60s"])?;
    together(
        &cluster,
        &[
            ("names from a pod", names_from_a_pod),
            ("names by dig", names_by_dig),
            ("a ClusterIP balances", balance),
            ("a NodePort answers", node_port),
            ("a pod and the API", own_token),
            ("strangers and the API", strangers),
            ("a certificate for a person", person),
            ("endpoints by hand", by_hand),
        ],
    )
}

/// Runs Python in the eye.
fn python(cluster: &Cluster, code: &str, args: &[&str]) -> anyhow::Result<String> {
    let command = ["-n", "town", "exec", "eye", "--", "python3", "-c", code];
    Ok(cluster.kubectl(command.iter().chain(args))?.trim().to_owned())
}

fn field(cluster: &Cluster, what: &str, path: &str) -> anyhow::Result<String> {
    cluster.kubectl(["-n", "town", "get", what, "-o", &format!("jsonpath={path}")])
}

/// The addresses of the web pods, in order.
fn web_pods(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let text =
        cluster.kubectl(["-n", "town", "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}"])?;
    let mut addresses: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    addresses.sort();
    Ok(addresses)
}

fn names_from_a_pod(cluster: &Cluster) -> anyhow::Result<()> {
    const RESOLVE: &str = "import socket, sys\nprint(' '.join(sorted({a[4][0] for a in socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET)})))";
    let address = field(cluster, "service/web", "{.spec.clusterIP}")?;
    for name in ["web", "web.town", "web.town.svc", "web.town.svc.cluster.local", "alias"] {
        ensure!(python(cluster, RESOLVE, &[name])? == address, "{name} is the service's address");
    }
    ensure!(python(cluster, RESOLVE, &["kubernetes.default"])? == "10.43.0.1");
    let mut each: Vec<String> = python(cluster, RESOLVE, &["each"])?.split(' ').map(str::to_owned).collect();
    each.sort();
    ensure!(each == web_pods(cluster)?, "a headless name is every pod's address: {each:?}");
    ensure!(python(cluster, RESOLVE, &["host.each-named"])? == field(cluster, "pod/named", "{.status.podIP}")?);
    ensure!(python(cluster, RESOLVE, &["absent"]).is_err(), "an unknown name is not found");
    let said = python(cluster, "import socket; print(socket.getfqdn())", &[])?;
    ensure!(said.starts_with("eye"), "{said}");
    let hosts = cluster.kubectl(["-n", "town", "exec", "named", "--", "cat", "/etc/hosts", "/etc/resolv.conf"])?;
    ensure!(
        hosts.contains("host.each-named.town.svc.cluster.local")
            && hosts.contains("search town.svc.cluster.local svc.cluster.local cluster.local")
            && hosts.contains("nameserver 10.43.0.10")
            && hosts.contains("ndots:5"),
        "{hosts}"
    );
    Ok(())
}

fn names_by_dig(cluster: &Cluster) -> anyhow::Result<()> {
    let dig = |args: &[&str]| run(cluster.command("dig").args(["@10.43.0.10", "+time=2", "+tries=1"]).args(args));
    let short = |name: &str, kind: &str| Ok::<_, anyhow::Error>(dig(&["+short", name, kind])?.trim().to_owned());
    let address = field(cluster, "service/web", "{.spec.clusterIP}")?;
    let web = "web.town.svc.cluster.local";
    ensure!(short(web, "A")? == address);
    ensure!(dig(&["+short", "+tcp", web, "A"])?.trim() == address, "over TCP too");
    ensure!(short(&web.to_uppercase(), "A")? == address, "names have no case");
    let service = short("_http._tcp.web.town.svc.cluster.local", "SRV")?;
    ensure!(service.ends_with("80 web.town.svc.cluster.local."), "{service}");
    let each = short("_http._tcp.each.town.svc.cluster.local", "SRV")?;
    ensure!(
        each.lines().count() == 2
            && each.lines().all(|line| line.contains(" 8080 ") && line.ends_with(".each.town.svc.cluster.local.")),
        "{each}"
    );
    let host = each.lines().next().and_then(|line| line.split(' ').nth(3)).context("a host")?;
    ensure!(web_pods(cluster)?.contains(&short(host, "A")?), "the target of a SRV record has an address");
    let reverse: Vec<&str> = address.rsplit('.').collect();
    ensure!(short(&format!("{}.in-addr.arpa", reverse.join(".")), "PTR")? == "web.town.svc.cluster.local.");
    let alias = short("alias.town.svc.cluster.local", "CNAME")?;
    ensure!(alias == "web.town.svc.cluster.local.", "{alias}");
    let pod = web_pods(cluster)?.first().context("a pod")?.replace('.', "-");
    ensure!(short(&format!("{pod}.town.pod.cluster.local"), "A")? == pod.replace('-', "."));
    let version = short("dns-version.cluster.local", "TXT")?;
    ensure!(version == "\"1.1.0\"", "{version}");

    let absent = dig(&["absent.town.svc.cluster.local", "A"])?;
    ensure!(absent.contains("status: NXDOMAIN") && absent.contains("SOA"), "{absent}");
    let empty = dig(&[web, "AAAA"])?;
    ensure!(empty.contains("status: NOERROR") && empty.contains("ANSWER: 0") && empty.contains("SOA"), "{empty}");
    let outside = dig(&["+time=10", "example.com", "A"])?;
    ensure!(
        outside.contains("status: SERVFAIL") || outside.contains("status: REFUSED"),
        "no name server is reachable from here, and DNS says so: {outside}"
    );
    Ok(())
}

/// The names of the web pods that answer at `url` until both have.
fn both_answer(what: &str, mut ask: impl FnMut() -> anyhow::Result<String>) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    eventually(what, || {
        let name = ask()?;
        ensure!(name.starts_with("web-"), "{name}");
        seen.insert(name);
        ensure!(seen.len() == 2, "only {seen:?} answered");
        Ok(())
    })
}

fn balance(cluster: &Cluster) -> anyhow::Result<()> {
    const GET: &str = "import urllib.request\nprint({urllib.request.urlopen('http://web').read().decode().strip() for _ in range(40)})";
    let seen = python(cluster, GET, &[])?;
    ensure!(seen.matches("web-").count() == 2, "both pods answer a pod: {seen}");
    let address = field(cluster, "service/web", "{.spec.clusterIP}")?;
    both_answer("both pods answer the node", || Ok(cluster.curl([format!("http://{address}")])?.trim().to_owned()))?;
    // a pod reaches itself through its own service
    let pod =
        cluster.kubectl(["-n", "town", "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.name}"])?;
    for _ in 0..8 {
        let url = format!("http://{address}");
        cluster.kubectl(["-n", "town", "exec", &pod, "--", "wget", "-q", "-O", "-", &url])?;
    }
    let nobody = field(cluster, "service/nobody", "{.spec.clusterIP}")?;
    let refused = format!(
        "{:#}",
        cluster.curl([format!("http://{nobody}")]).err().context("a service without pods does not answer")?
    );
    ensure!(refused.contains("exit status: 7"), "it refuses at once: {refused}");
    Ok(())
}

fn node_port(cluster: &Cluster) -> anyhow::Result<()> {
    let port = field(cluster, "service/web", "{.spec.ports[0].nodePort}")?;
    let node = cluster.kubectl([
        "get",
        "nodes",
        "-o",
        "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}",
    ])?;
    both_answer("both pods answer at the node's port", || {
        Ok(cluster.curl([format!("http://{node}:{port}")])?.trim().to_owned())
    })?;
    let own = python(
        cluster,
        "import sys, urllib.request\nprint(urllib.request.urlopen(sys.argv[1]).read().decode())",
        &[&format!("http://{node}:{port}")],
    )?;
    ensure!(own.starts_with("web-"), "a pod reaches it too: {own}");
    Ok(())
}

fn own_token(cluster: &Cluster) -> anyhow::Result<()> {
    let ask = |path: &str, how: &str| python(cluster, ASK, &[path, how]);
    ensure!(ask("/api/v1/namespaces/town/pods", "own")? == "403", "a pod may not read pods unless it is allowed to");
    ensure!(ask("/apis", "own")? == "200", "discovery is for every account");
    ensure!(ask("/api/v1/namespaces/town/pods", "none")? == "403");
    ensure!(ask("/api/v1/namespaces/town/pods", "wrong")? == "401");
    cluster.kubectl([
        "-n",
        "town",
        "create",
        "rolebinding",
        "eye",
        "--clusterrole=view",
        "--serviceaccount=town:default",
    ])?;
    ensure!(ask("/api/v1/namespaces/town/pods", "own")? == "200", "a RoleBinding counts at once");
    ensure!(ask("/api/v1/namespaces/town/secrets", "own")? == "403", "view has no secrets");
    ensure!(ask("/api/v1/namespaces/default/pods", "own")? == "403", "and holds in its namespace alone");
    cluster.kubectl(["-n", "town", "delete", "rolebinding", "eye"])?;
    ensure!(ask("/api/v1/namespaces/town/pods", "own")? == "403", "as does its end");
    Ok(())
}

fn strangers(cluster: &Cluster) -> anyhow::Result<()> {
    let server = cluster.kubectl(["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
    let code = |path: &str, args: &[&str]| {
        let mut command = cluster.command("curl");
        command
            .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--noproxy", "*", "--cacert"])
            .arg(cluster.ca());
        run(command.args(args).arg(format!("{server}{path}")))
    };
    for path in ["/version", "/livez", "/readyz", "/healthz"] {
        ensure!(code(path, &[])? == "200", "{path} is for everyone");
    }
    for path in ["/api/v1/pods", "/api/v1/namespaces/default/secrets", "/api", "/apis", "/metrics", "/openapi/v3", "/"]
    {
        ensure!(code(path, &[])? == "403", "{path} is not for strangers: {}", code(path, &[])?);
    }
    ensure!(code("/api/v1/pods", &["-H", "Authorization: Bearer wrong"])? == "401");
    ensure!(code("/api/v1/pods", &["-X", "POST", "-H", "Content-Type: application/json", "-d", "{}"])? == "403");
    ensure!(
        code("/api/v1/pods", &["-H", "X-Remote-User: kubernetes-admin", "-H", "X-Remote-Group: system:masters"])?
            == "403",
        "a header is no identity"
    );
    ensure!(
        code("/api/v1/pods", &["-H", "Impersonate-User: kubernetes-admin"])? == "403",
        "nor may a stranger act for another"
    );
    let mut unknown = cluster.command("curl");
    ensure!(
        run(unknown.args(["--silent", "--fail", "--noproxy", "*", &format!("{server}/version")])).is_err(),
        "its certificate is our authority's alone"
    );
    let status = cluster
        .command("curl")
        .args(["--silent", "--insecure", "--noproxy", "*", &format!("{server}/api/v1/pods")])
        .output()?;
    let said = String::from_utf8_lossy(&status.stdout);
    ensure!(said.contains(r#"pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope"#), "{said}");
    Ok(())
}

/// A request for a certificate is approved by a person, signed, and makes who made it somebody.
fn person(cluster: &Cluster) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (key, csr, crt) = (file("key"), file("csr"), file("crt"));
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    run(openssl.args(["-keyout", &key, "-out", &csr, "-subj", "/O=devs/O=ops/CN=ann"]))?;
    let base64 = |args: &[&str]| run(std::process::Command::new("openssl").args(["base64", "-A"]).args(args));
    let request = base64(&["-in", &csr])?;
    cluster.apply(&format!(
        r#"{{"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {{"name": "ann"}},
        "spec": {{"request": "{request}", "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}}}"#
    ))?;
    cluster.kubectl(["certificate", "approve", "ann"])?;
    let signed = eventually("the request is signed", || {
        let signed = cluster.kubectl(["get", "csr", "ann", "-o", "jsonpath={.status.certificate}"])?;
        ensure!(!signed.is_empty(), "not yet");
        Ok(signed)
    })?;
    std::fs::write(file("b64"), signed)?;
    base64(&["-d", "-in", &file("b64"), "-out", &crt])?;
    let server = format!("--server=https://127.0.0.1:{}", cluster.setting("api.port")?);
    let authority = format!("--certificate-authority={}", cluster.ca().display());
    let mut whoami = cluster.command("kubectl");
    whoami.env("KUBECONFIG", "/dev/null").args([&server, &authority]);
    whoami.arg(format!("--client-certificate={crt}")).arg(format!("--client-key={key}"));
    let told =
        run(whoami.args(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"]))?;
    ensure!(told == r#"ann ["devs","ops","system:authenticated"]"#, "{told}");
    Ok(())
}

/// A Service without a selector leads where its Endpoints say.
fn by_hand(cluster: &Cluster) -> anyhow::Result<()> {
    let address = web_pods(cluster)?.remove(0);
    cluster.apply(&format!(
        r#"{{"apiVersion": "v1", "kind": "List", "items": [
        {{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "hand", "namespace": "town"}},
          "spec": {{"ports": [{{"port": 80, "targetPort": 8080}}]}}}},
        {{"apiVersion": "v1", "kind": "Endpoints", "metadata": {{"name": "hand", "namespace": "town"}},
          "subsets": [{{"addresses": [{{"ip": "{address}"}}], "ports": [{{"port": 8080}}]}}]}}]}}"#
    ))?;
    eventually("the service answers", || {
        let code = "import urllib.request; print(urllib.request.urlopen('http://hand', timeout=5).status)";
        let told = python(cluster, code, &[])?;
        ensure!(told == "200", "{told}");
        Ok(())
    })?;
    let slices = ["-n", "town", "get", "endpointslices", "-l", "kubernetes.io/service-name=hand", "-o", "name"];
    let slices = cluster.kubectl(slices)?;
    ensure!(slices.lines().count() == 1, "{slices}");
    Ok(())
}
