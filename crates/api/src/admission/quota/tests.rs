//! What quotas refuse, in upstream's words, and what they book.

use serde_json::json;

use super::*;
use crate::{admission::Rounds, identity::User, testing};

fn quota(name: &str, spec: Value, hard: Value, used: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": name, "namespace": "ns" },
        "spec": spec, "status": { "hard": hard, "used": used },
    })
}

fn pod(cpu: &str) -> Value {
    let resources = json!({ "requests": { "cpu": cpu } });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "ns" },
        "spec": { "containers": [{ "name": "a", "resources": resources }] } })
}

async fn ask(core: &Core, object: &mut Value, old: Option<&Value>, sub: &str, dry_run: bool) -> Result<(), String> {
    let catalog = core.catalog();
    let kind = catalog.by_kind("", "v1", text(object, "/kind")).expect("a kind");
    let (user, mut taken) = (User::component("ann", &[]), Vec::new());
    let admit = Admit {
        user: &user,
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        kind,
        subresource: sub,
        namespace: "ns",
        name: "p",
        object: Some(object),
        old,
        dry_run,
        taken: &mut taken,
        call: None,
        rounds: &mut Rounds::default(),
    };
    let plugin = core.admission.iter().find(|plugin| plugin.name() == "ResourceQuota").expect("in the chain");
    plugin.validate(core, &admit).await.map_err(|error| error.message)
}

fn used(core: &Core, name: &str) -> Value {
    testing::get(core, "", "resourcequotas", "ns", name)["status"]["used"].clone()
}

#[tokio::test]
async fn what_fits_is_booked_and_what_does_not_is_refused() {
    let core = testing::core();
    let hard = json!({ "pods": "2", "requests.cpu": "1" });
    testing::put(&core, quota("q", json!({}), hard, json!({ "pods": "0", "requests.cpu": "0" }))).await;
    assert_eq!(ask(&core, &mut pod("600m"), None, "", false).await, Ok(()));
    assert_eq!(used(&core, "q"), json!({ "pods": "1", "requests.cpu": "600m" }));
    let why = "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, \
               limited: requests.cpu=1";
    assert_eq!(ask(&core, &mut pod("500m"), None, "", false).await, Err(why.to_owned()));
    assert_eq!(ask(&core, &mut pod("400m"), None, "", true).await, Ok(()), "a dry run fits");
    assert_eq!(used(&core, "q"), json!({ "pods": "1", "requests.cpu": "600m" }), "and books nothing");
    assert_eq!(ask(&core, &mut pod("400m"), None, "", false).await, Ok(()));
    let why = "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=1m, used: \
               pods=2,requests.cpu=1, limited: pods=2,requests.cpu=1";
    assert_eq!(ask(&core, &mut pod("1m"), None, "", false).await, Err(why.to_owned()));
}

#[tokio::test]
async fn a_quota_that_was_never_counted_lets_nothing_pass() {
    let core = testing::core();
    testing::put(&core, quota("q", json!({}), json!({ "pods": "2" }), json!({}))).await;
    let why = "pods \"p\" is forbidden: status unknown for quota: q, resources: pods";
    assert_eq!(ask(&core, &mut pod("1"), None, "", false).await, Err(why.to_owned()));
    let mut secret = json!({ "kind": "Secret", "metadata": { "name": "p" } });
    assert_eq!(ask(&core, &mut secret, None, "", false).await, Ok(()), "it is about pods");
}

#[tokio::test]
async fn what_is_limited_must_be_said() {
    let core = testing::core();
    let hard = json!({ "limits.memory": "1Gi" });
    testing::put(&core, quota("q", json!({}), hard, json!({ "limits.memory": "0" }))).await;
    let why = "pods \"p\" is forbidden: failed quota: q: must specify limits.memory for: a";
    assert_eq!(ask(&core, &mut pod("1"), None, "", false).await, Err(why.to_owned()));
}

#[tokio::test]
async fn only_the_quotas_in_scope_are_asked_and_an_update_books_the_difference() {
    let core = testing::core();
    let (full, scope) = (json!({ "pods": "0" }), json!({ "scopes": ["Terminating"] }));
    testing::put(&core, quota("ending", scope, full.clone(), full)).await;
    testing::put(&core, quota("cpu", json!({}), json!({ "cpu": "2" }), json!({ "cpu": "1" }))).await;
    let old = pod("1");
    assert_eq!(ask(&core, &mut pod("1500m"), Some(&old), "resize", false).await, Ok(()));
    assert_eq!(used(&core, "cpu"), json!({ "cpu": "1500m" }));
    assert_eq!(ask(&core, &mut pod("500m"), Some(&old), "resize", false).await, Ok(()));
    assert_eq!(used(&core, "cpu"), json!({ "cpu": "1500m" }), "what is given back is for the controller to see");
    let mut ending = pod("1");
    ending["spec"]["activeDeadlineSeconds"] = json!(5);
    let why = "pods \"p\" is forbidden: exceeded quota: ending, requested: pods=1, used: pods=0, limited: pods=0";
    assert_eq!(ask(&core, &mut ending, Some(&old), "", false).await, Err(why.to_owned()));
}

#[tokio::test]
async fn a_status_books_but_is_never_refused() {
    let core = testing::core();
    let hard = json!({ "requests.storage": "1Gi" });
    testing::put(&core, quota("q", json!({}), hard.clone(), hard)).await;
    let claim = |given: &str| {
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "p", "namespace": "ns" },
            "spec": { "resources": { "requests": { "storage": "1Gi" } } },
            "status": { "allocatedResources": { "storage": given } } })
    };
    assert_eq!(ask(&core, &mut claim("2Gi"), Some(&claim("1Gi")), "status", false).await, Ok(()));
    assert_eq!(used(&core, "q"), json!({ "requests.storage": "2Gi" }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_at_the_same_time_never_share_what_is_left() {
    let core = Arc::new(testing::core());
    testing::put(&core, quota("q", json!({}), json!({ "pods": "7" }), json!({ "pods": "0" }))).await;
    let asking = (0..20).map(|_| {
        let core = Arc::clone(&core);
        async move { ask(&core, &mut pod("1"), None, "", false).await.is_ok() }
    });
    let fit = futures::future::join_all(asking).await.into_iter().filter(|fits| *fits).count();
    assert_eq!((fit, used(&core, "q")), (7, json!({ "pods": "7" })));
}
