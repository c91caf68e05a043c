//! Claims of devices, from templates to their end.

use serde_json::{Value, json};

use super::*;

fn pod(more: Value) -> Pod {
    let mut object = json!({
        "metadata": { "name": "p", "namespace": "shop", "uid": "pod-p" },
        "spec": { "containers": [], "resourceClaims": [
            { "name": "gpu", "resourceClaimTemplateName": "gpus" }, { "name": "nic", "resourceClaimName": "shared" }] },
        "status": { "phase": "Pending" },
    });
    merge(&mut object, &more);
    serde_json::from_value(object).expect("a pod")
}

fn merge(into: &mut Value, more: &Value) {
    for (key, fields) in more.as_object().expect("an object") {
        for (field, value) in fields.as_object().expect("an object") {
            into[key][field] = value.clone();
        }
    }
}

fn template() -> Arc<ResourceClaimTemplate> {
    let object = json!({ "metadata": { "name": "gpus", "namespace": "shop" },
        "spec": { "metadata": { "labels": { "a": "b" } }, "spec": { "devices": {} } } });
    Arc::new(serde_json::from_value(object).expect("a template"))
}

fn claim(name: &str, more: Value) -> Arc<ResourceClaim> {
    let mut object = json!({ "metadata": { "name": name, "namespace": "shop", "uid": format!("claim-{name}") },
        "spec": { "devices": {} }, "status": {} });
    merge(&mut object, &more);
    Arc::new(serde_json::from_value(object).expect("a claim"))
}

fn used_by(uids: &[&str]) -> Value {
    let reserved: Vec<Value> = uids
        .iter()
        .map(|uid| json!({ "resource": "pods", "name": uid.trim_start_matches("pod-"), "uid": uid }))
        .collect();
    json!({ "allocation": {}, "reservedFor": reserved })
}

#[test]
fn a_pod_gets_a_claim_from_a_template_its_name_and_a_reservation() {
    let (mut pod, mut claims) = (pod(json!({ "spec": { "nodeName": "n1" } })), vec![claim("shared", json!({}))]);
    let (mut steps, templates) = (Vec::new(), [template()]);
    for _ in 0..9 {
        let step = for_pod(&pod, Observed { claims: &claims, templates: &templates });
        match step {
            ForPod::Make(made) => {
                steps.push(format!("make {}", made.metadata.generate_name.clone().unwrap_or_default()));
                let mut made = *made;
                assert_eq!((made.labels()["a"].as_str(), made.annotations()[POD_CLAIM].as_str()), ("b", "gpu"));
                made.metadata.name = Some("p-gpu-1".into());
                made.status.get_or_insert_default().allocation = Some(Default::default());
                claims.push(Arc::new(made));
            }
            ForPod::Name(names) => {
                steps.push(format!("name {names:?}"));
                let statuses: Vec<Value> =
                    names.iter().map(|(name, claim)| json!({ "name": name, "resourceClaimName": claim })).collect();
                pod.status.get_or_insert_default().resource_claim_statuses =
                    serde_json::from_value(json!(statuses)).expect("statuses");
            }
            ForPod::Reserve(next) => {
                steps.push(format!("reserve {}", next.name_any()));
                let old = claims.iter_mut().find(|one| one.name_any() == next.name_any());
                *old.expect("a known claim") = Arc::new(*next);
            }
            ForPod::Fail(why) => panic!("{why}"),
            ForPod::Nothing => break,
        }
    }
    assert_eq!(steps, ["make p-gpu-", "name {\"gpu\": \"p-gpu-1\"}", "reserve p-gpu-1"]);
    assert_eq!(names(&pod), ["p-gpu-1", "shared"]);
}

#[test]
fn long_names_are_cut_in_proportion_and_a_missing_template_is_told() {
    let mut long = pod(json!({}));
    long.metadata.name = Some("p".repeat(100));
    let templates = [template()];
    let ForPod::Make(made) = for_pod(&long, Observed { claims: &[], templates: &templates }) else { panic!("a claim") };
    let base = made.metadata.generate_name.expect("a base");
    assert!(base.len() < 58 && base.ends_with("-g"), "{base}");
    let why = "PodResourceClaim gpu: resource claim template \"gpus\": resourceclaimtemplate.resource.k8s.io \"gpus\" not found";
    assert_eq!(for_pod(&pod(json!({})), Observed { claims: &[], templates: &[] }), ForPod::Fail(why.into()));
    let none = json!({ "status": { "resourceClaimStatuses": [{ "name": "gpu" }] } });
    assert_eq!(for_pod(&pod(none), Observed { claims: &[], templates: &[] }), ForPod::Nothing, "none is needed");
}

fn find(pods: &[Pod], name: &str) -> Option<Arc<Pod>> {
    pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name)).cloned().map(Arc::new)
}

#[test]
fn a_claim_is_free_when_the_last_pod_is_done() {
    let held = json!({ "finalizers": [FINALIZER] });
    let both = claim("c", json!({ "metadata": held, "status": used_by(&["pod-p", "pod-q"]) }));
    let running = [pod(json!({}))];
    let ForClaim::Status { next, frees } = for_claim(&both, |name| find(&running, name)) else { panic!("a status") };
    assert_eq!((consumers(&next).count(), frees), (1, false));
    assert!(next.status.as_ref().expect("a status").allocation.is_some());
    assert_eq!(for_claim(&next, |name| find(&running, name)), ForClaim::Nothing, "planning again must yield nothing");
    let done = [pod(json!({ "status": { "phase": "Succeeded" } }))];
    let ForClaim::Status { next, frees } = for_claim(&next, |name| find(&done, name)) else { panic!("a status") };
    assert_eq!((next.status.as_ref().expect("a status").allocation.is_none(), frees), (true, true));
    assert!(freed(&next).finalizers().is_empty());
    assert_eq!(for_claim(&freed(&next), |_| None), ForClaim::Nothing);
}

#[test]
fn what_the_scheduler_is_working_on_is_left_alone_and_what_is_deleted_is_let_go() {
    let alone = claim("c", json!({ "metadata": { "finalizers": [FINALIZER] } }));
    assert_eq!(for_claim(&alone, |_| None), ForClaim::Nothing);
    let gone = json!({ "finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z" });
    let given = claim("c", json!({ "metadata": gone, "status": { "allocation": {} } }));
    let ForClaim::Status { next, frees: true } = for_claim(&given, |_| None) else { panic!("a status") };
    let ForClaim::Finalizer(next) = for_claim(&next, |_| None) else { panic!("the finalizer") };
    assert_eq!(for_claim(&next, |_| None), ForClaim::Nothing);
    let other = claim(
        "c",
        json!({ "status": { "reservedFor": [{ "apiGroup": "x", "resource": "y", "name": "z", "uid": "1" }] } }),
    );
    assert_eq!(for_claim(&other, |_| None), ForClaim::Nothing, "not ours to judge");
}

#[test]
fn a_claim_made_for_a_pod_goes_when_that_is_done() {
    let owner = json!([{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod-p", "controller": true }]);
    let made = claim("c", json!({ "metadata": { "ownerReferences": owner } }));
    assert_eq!(for_claim(&made, |name| find(&[pod(json!({}))], name)), ForClaim::Nothing);
    let done = [pod(json!({ "status": { "phase": "Failed" } }))];
    assert_eq!(for_claim(&made, |name| find(&done, name)), ForClaim::Delete);
    let other = [pod(json!({ "metadata": { "uid": "another" } }))];
    assert_eq!(for_claim(&made, |name| find(&other, name)), ForClaim::Delete);
    assert_eq!(for_claim(&made, |_| None), ForClaim::Nothing, "the garbage collector sees to it");
}
