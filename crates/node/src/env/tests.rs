//! The environment as a table of cases, and expansion as a property.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn pod(container: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "w", "note": "a\"b\nc"}},
        "spec": {"serviceAccountName": "clerk", "containers": [container]},
    }))
    .unwrap()
}

fn evaluate_with(container: serde_json::Value, objects: &Objects) -> Result<BTreeMap<String, String>, ConfigError> {
    let pod = pod(container);
    let facts = Facts {
        node_name: "n1".into(),
        pod_ips: vec!["10.42.0.7".parse().unwrap()],
        host_ips: vec!["192.0.2.1".parse().unwrap()],
        allocatable_milli_cpu: 2000,
        allocatable_memory: 1 << 30,
        allocatable_storage: 0,
    };
    let services = BTreeMap::from([("DB_SERVICE_HOST".to_owned(), "10.43.0.9".to_owned())]);
    let container = &pod.spec.as_ref().unwrap().containers[0];
    evaluate(&Inputs { pod: &pod, container, facts: &facts, objects, services: &services })
}

fn objects() -> Objects {
    let data = BTreeMap::from([("mode".to_owned(), b"fast".to_vec())]);
    Objects::from([
        (Reference::ConfigMap("settings".into()), Some(data.clone())),
        (Reference::Secret("keys".into()), Some(BTreeMap::from([("token".to_owned(), b"s3".to_vec())]))),
        (Reference::Secret("absent".into()), None),
    ])
}

#[test]
fn values_expand_with_earlier_variables_and_services() {
    let env = evaluate_with(
        json!({"name": "c", "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(DB_SERVICE_HOST)-$(NOPE)-$$(A)-$(LATER)"},
            {"name": "LATER", "value": "x"},
        ]}),
        &objects(),
    )
    .unwrap();
    assert_eq!(env["B"], "1-10.43.0.9-$(NOPE)-$(A)-$(LATER)");
}

#[test]
fn env_overrides_env_from_and_both_override_service_variables() {
    let env = evaluate_with(
        json!({"name": "c",
            "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "K_", "secretRef": {"name": "keys"}}],
            "env": [{"name": "mode", "value": "slow"}, {"name": "DB_SERVICE_HOST", "value": "mine"}]}),
        &objects(),
    )
    .unwrap();
    assert_eq!((&env["mode"][..], &env["K_token"][..], &env["DB_SERVICE_HOST"][..]), ("slow", "s3", "mine"));
}

#[test]
fn a_missing_secret_is_an_error_unless_it_is_optional() {
    let with = |optional| {
        json!({"name": "c", "env": [{"name": "T",
            "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k", "optional": optional}}}]})
    };
    assert_eq!(evaluate_with(with(false), &objects()).unwrap_err().to_string(), "secret \"absent\" not found");
    assert!(!evaluate_with(with(true), &objects()).unwrap().contains_key("T"));
}

#[test]
fn a_missing_key_names_the_object_it_was_looked_for_in() {
    let wanted = json!({"name": "c", "env": [{"name": "T",
        "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}}]});
    let error = evaluate_with(wanted, &objects()).unwrap_err();
    assert_eq!(error.to_string(), "couldn't find key colour in ConfigMap shop/settings");
}

#[test]
fn field_and_resource_references_read_the_pod() {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let limit = |name: &str, resource: &str, divisor: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}});
    let env = evaluate_with(
        json!({"name": "c", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}, "env": [
            field("IP", "status.podIP"), field("SA", "spec.serviceAccountName"),
            field("APP", "metadata.labels['app']"), field("ALL", "metadata.labels"),
            limit("CPU", "limits.cpu", "0"), limit("MILLI", "limits.cpu", "1m"),
            limit("MEM", "requests.memory", "1Mi"), limit("ROOM", "limits.memory", "1Mi"),
        ]}),
        &objects(),
    )
    .unwrap();
    let seen: Vec<&str> =
        ["IP", "SA", "APP", "ALL", "CPU", "MILLI", "MEM", "ROOM"].iter().map(|name| env[*name].as_str()).collect();
    assert_eq!(seen, ["10.42.0.7", "clerk", "w", "app=\"w\"\nnote=\"a\\\"b\\nc\"", "2", "1500", "64", "1024"]);
}

#[test]
fn services_become_docker_link_variables() {
    let services: Vec<Service> = serde_json::from_value(json!([
        {"metadata": {"name": "kubernetes", "namespace": "default"},
         "spec": {"clusterIP": "10.43.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]}},
        {"metadata": {"name": "my-db", "namespace": "shop"}, "spec": {"clusterIP": "10.43.0.9", "ports": [{"port": 5432}]}},
        {"metadata": {"name": "headless", "namespace": "shop"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}},
        {"metadata": {"name": "other", "namespace": "elsewhere"}, "spec": {"clusterIP": "10.43.0.8", "ports": [{"port": 1}]}},
    ]))
    .unwrap();
    let env = services::variables(services.iter(), "shop", true);
    assert_eq!(env["MY_DB_SERVICE_HOST"], "10.43.0.9");
    assert_eq!(env["MY_DB_PORT_5432_TCP"], "tcp://10.43.0.9:5432");
    assert_eq!(env["KUBERNETES_SERVICE_PORT_HTTPS"], "443");
    assert!(!env.keys().any(|name| name.starts_with("HEADLESS") || name.starts_with("OTHER")));
    let few = services::variables(services.iter(), "shop", false);
    assert!(few.keys().all(|name| name.starts_with("KUBERNETES")));
}

proptest! {
    #[test]
    fn text_without_dollars_expands_to_itself(text in "[^$]*") {
        prop_assert_eq!(expand::expand(&text, |_| Some("x".into())), text);
    }

    #[test]
    fn escaping_every_dollar_gives_the_text_back(text in ".*") {
        prop_assert_eq!(expand::expand(&text.replace('$', "$$"), |_| Some("x".into())), text);
    }
}
