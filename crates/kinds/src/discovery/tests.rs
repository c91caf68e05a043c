use super::*;
use expect_test::{Expect, expect};

fn check(document: &Value, expected: Expect) {
    expected.assert_eq(&document.to_string());
}

fn served(kind: &Kind) -> bool {
    kind.served
}

fn catalog() -> &'static Catalog {
    Catalog::builtin()
}

#[test]
fn the_core_group_names_its_versions_and_the_server() {
    check(
        &core_versions(catalog(), &served, "192.0.2.1:6443"),
        expect![[
            r#"{"kind":"APIVersions","serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"192.0.2.1:6443"}],"versions":["v1"]}"#
        ]],
    );
}

#[test]
fn a_group_prefers_its_first_served_version() {
    check(
        &group(catalog(), &served, "autoscaling").unwrap(),
        expect![[
            r#"{"apiVersion":"v1","kind":"APIGroup","name":"autoscaling","preferredVersion":{"groupVersion":"autoscaling/v2","version":"v2"},"versions":[{"groupVersion":"autoscaling/v2","version":"v2"},{"groupVersion":"autoscaling/v1","version":"v1"}]}"#
        ]],
    );
    check(
        &group(catalog(), &served, "resource.k8s.io").unwrap(),
        expect![[
            r#"{"apiVersion":"v1","kind":"APIGroup","name":"resource.k8s.io","preferredVersion":{"groupVersion":"resource.k8s.io/v1","version":"v1"},"versions":[{"groupVersion":"resource.k8s.io/v1","version":"v1"}]}"#
        ]],
    );
}

#[test]
fn groups_without_a_served_version_do_not_exist() {
    assert_eq!(group(catalog(), &served, "internal.apiserver.k8s.io"), None);
    assert_eq!(group(catalog(), &served, ""), None);
    assert_eq!(resources(catalog(), &served, "resource.k8s.io", "v1beta1"), None);
    let listed = groups(catalog(), &served);
    let names: Vec<&str> =
        listed["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"apps") && !names.contains(&"internal.apiserver.k8s.io"), "{names:?}");
}

#[test]
fn resources_list_subresources_after_their_parent() {
    let list = resources(catalog(), &served, "apps", "v1").unwrap();
    assert_eq!(list["groupVersion"], "apps/v1");
    let deployments: Vec<&Value> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|resource| resource["name"].as_str().unwrap().starts_with("deployments"))
        .collect();
    check(
        deployments[0],
        expect![[
            r#"{"categories":["all"],"kind":"Deployment","name":"deployments","namespaced":true,"shortNames":["deploy"],"singularName":"deployment","storageVersionHash":"8aSe+NMegvE=","verbs":["create","delete","deletecollection","get","list","patch","update","watch"]}"#
        ]],
    );
    check(
        deployments[1],
        expect![[
            r#"{"group":"autoscaling","kind":"Scale","name":"deployments/scale","namespaced":true,"singularName":"","verbs":["get","patch","update"],"version":"v1"}"#
        ]],
    );
    check(
        deployments[2],
        expect![[
            r#"{"kind":"Deployment","name":"deployments/status","namespaced":true,"singularName":"","verbs":["get","patch","update"]}"#
        ]],
    );
}

#[test]
fn bodies_of_the_same_group_and_version_name_only_their_kind() {
    let list = resources(catalog(), &served, "", "v1").unwrap();
    let named = |name: &str| {
        let resources = list["resources"].as_array().unwrap();
        resources.iter().find(|resource| resource["name"] == name).cloned().unwrap()
    };
    check(
        &named("pods/exec"),
        expect![[
            r#"{"kind":"PodExecOptions","name":"pods/exec","namespaced":true,"singularName":"","verbs":["create","get"]}"#
        ]],
    );
    check(
        &named("pods/eviction"),
        expect![[
            r#"{"group":"policy","kind":"Eviction","name":"pods/eviction","namespaced":true,"singularName":"","verbs":["create"],"version":"v1"}"#
        ]],
    );
    assert_eq!(named("pods")["storageVersionHash"], "xPOwRZ+Yhw8=");
    assert_eq!(named("bindings").get("storageVersionHash"), None);
}

#[test]
fn the_aggregated_form_carries_everything_at_once() {
    let document = aggregated_groups(catalog(), &served, Form::V2);
    assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2");
    let batch = document["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "batch").unwrap();
    check(
        &batch["versions"][0]["resources"][0],
        expect![[
            r#"{"categories":["all"],"resource":"cronjobs","responseKind":{"group":"","kind":"CronJob","version":""},"scope":"Namespaced","shortNames":["cj"],"singularResource":"cronjob","subresources":[{"responseKind":{"group":"","kind":"CronJob","version":""},"subresource":"status","verbs":["get","patch","update"]}],"verbs":["create","delete","deletecollection","get","list","patch","update","watch"]}"#
        ]],
    );
    let core = aggregated_core(catalog(), &served, Form::V2Beta1);
    assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    check(&core["items"][0]["metadata"], expect![[r#"{"creationTimestamp":null}"#]]);
    assert_eq!(core["items"][0]["versions"][0]["version"], "v1");
}

#[test]
fn every_served_kind_is_discovered_in_both_forms() {
    for kind in catalog().kinds().iter().filter(|kind| kind.served) {
        let list = resources(catalog(), &served, &kind.group, &kind.version).unwrap();
        let found = list["resources"].as_array().unwrap().iter().any(|resource| resource["name"] == *kind.plural);
        assert!(found, "{kind:?}");
    }
}

#[test]
fn a_version_that_is_switched_on_is_discovered() {
    let on = |kind: &Kind| kind.served || kind.version == "v1beta1";
    assert!(resources(catalog(), &on, "resource.k8s.io", "v1beta1").is_some());
    let found: Vec<_> = versions(catalog(), &on).filter(|(group, _)| *group == "resource.k8s.io").collect();
    assert_eq!(found, [("resource.k8s.io", "v1"), ("resource.k8s.io", "v1beta1")]);
}
