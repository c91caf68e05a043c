//! What a write costs in the engine; printed, not judged (run with `--release -- --nocapture cost`).

use serde_json::json;

use crate::{Catalog, coerce, decode, default, prune, validate_create};

#[test]
fn the_cost_of_the_first_look_is_printed() {
    let clock = std::time::Instant::now();
    let definitions = crate::schema::schema().definitions().len();
    let graph = clock.elapsed();
    let kinds = Catalog::builtin().kinds().len();
    println!("{definitions} types in {graph:?}, {kinds} kinds in {:?}", clock.elapsed() - graph);
}

#[test]
fn the_cost_of_a_pod_is_printed() {
    let kind = Catalog::builtin().resource("", "v1", "pods").unwrap();
    let container = |name: &str| {
        json!({
            "name": name, "image": "knarr.local/python3:bookworm", "command": ["python3", "/app/main.py"],
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [
                {"name": "REDIS", "value": "redis.default.svc"},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}},
            ],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2},
            "volumeMounts": [{"name": "code", "mountPath": "/app"}],
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"app": "guestbook", "tier": "web"}},
        "spec": {
            "containers": [container("web"), container("side")],
            "volumes": [{"name": "code", "configMap": {"name": "guestbook-code"}}],
            "serviceAccountName": "default",
        },
    });
    let bytes = serde_json::to_vec(&pod).unwrap();
    let mut rounds: Vec<[f64; 5]> = Vec::new();
    for _ in 0..2000 {
        let mut times = [0.0; 5];
        let mut clock = std::time::Instant::now();
        let mut lap = |place: usize| {
            times[place] = clock.elapsed().as_secs_f64() * 1e6;
            clock = std::time::Instant::now();
        };
        let (mut value, _) = decode::json(&bytes, 100).unwrap();
        lap(0);
        coerce(kind, &value).unwrap();
        lap(1);
        assert!(prune(kind, &mut value).is_empty());
        lap(2);
        default(kind, &mut value);
        lap(3);
        assert_eq!(validate_create(kind, &value), []);
        lap(4);
        rounds.push(times);
    }
    // The median, because other work on the machine must not count.
    let median = |place: usize| {
        let mut times: Vec<f64> = rounds.iter().map(|times| times[place]).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let steps = [0, 1, 2, 3, 4].map(median);
    println!(
        "pod of {} bytes: decode {:.1} coerce {:.1} prune {:.1} default {:.1} validate {:.1} = {:.1} us",
        bytes.len(),
        steps[0],
        steps[1],
        steps[2],
        steps[3],
        steps[4],
        steps.iter().sum::<f64>()
    );
}

#[test]
fn the_cost_of_ownership_is_printed() {
    use crate::managed::{Application, Scope, apply, detach, update};
    let now = "2026-01-02T03:04:05Z";
    let container = json!({
        "name": "web", "image": "nginx:1", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}],
        "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "50m"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}}, "volumeMounts": [{"name": "a", "mountPath": "/a"}],
    });
    let template = json!({
        "metadata": {"labels": {"app": "web", "tier": "front"}},
        "spec": {"containers": [container], "volumes": [{"name": "a", "configMap": {"name": "a"}}]},
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    });
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-", "labels": {"app": "web"}}});
    pod["spec"] = deployment["spec"]["template"]["spec"].clone();
    let catalog = Catalog::builtin();
    let kind = catalog.by_api_version("v1", "Pod").unwrap();
    default(kind, &mut pod);
    let created = median(1000, || {
        let mut new = pod.clone();
        let clock = std::time::Instant::now();
        let given = detach(&mut new);
        update(&Scope::new(catalog, kind, "v1", ""), &json!(null), &mut new, given, "kubectl", now);
        clock.elapsed()
    });
    let kind = catalog.by_api_version("apps/v1", "Deployment").unwrap();
    let scope = Scope::new(catalog, kind, "apps/v1", "");
    let application = Application { config: &deployment, manager: "app", force: false, now };
    let mut live = apply(&scope, &json!({"apiVersion": "apps/v1", "kind": "Deployment"}), &application).unwrap();
    default(kind, &mut live);
    live["metadata"]["uid"] = json!("1");
    let mut status = live.clone();
    status["status"] = json!({"replicas": 3, "conditions": [{"type": "Available", "status": "True"}]});
    let given = detach(&mut status);
    let part = Scope::new(catalog, kind, "apps/v1", "status");
    update(&part, &live, &mut status, given, "kube-controller-manager", now);
    let live = status;
    let again = median(1000, || {
        let clock = std::time::Instant::now();
        let new = apply(&scope, &live, &application).unwrap();
        let taken = clock.elapsed();
        assert_eq!(new, live);
        taken
    });
    let changed = median(1000, || {
        let mut new = live.clone();
        new["status"]["replicas"] = json!(4);
        let clock = std::time::Instant::now();
        let given = detach(&mut new);
        update(&part, &live, &mut new, given, "kube-controller-manager", now);
        clock.elapsed()
    });
    println!(
        "owners of a created pod {created:.1}, of a status written {changed:.1}, an apply of what is there {again:.1} us"
    );
}

/// In microseconds.
fn median(rounds: usize, mut round: impl FnMut() -> std::time::Duration) -> f64 {
    let mut times: Vec<f64> = (0..rounds).map(|_| round().as_secs_f64() * 1e6).collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}
