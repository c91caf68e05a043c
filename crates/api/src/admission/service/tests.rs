//! Services as clients send them and as they are stored.

use serde_json::{Value, json};

use super::*;
use crate::testing;

struct World {
    core: Core,
}

impl World {
    fn new() -> Self {
        Self { core: testing::core() }
    }

    fn take<'a>(&'a self, name: &str, taken: &'a mut Vec<Number>) -> Take<'a> {
        Take { services: &self.core.access.services, owner: format!("/core/services/ns/{name}").into(), taken }
    }

    /// Fills in, stores and settles, as a write does.
    async fn write(&self, name: &str, spec: Value, old: Option<&Value>) -> Result<Value, String> {
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "ns"}, "spec": spec,
        });
        let mut taken = Vec::new();
        let filled = fill(&mut self.take(name, &mut taken), &mut service, old);
        if filled.is_ok() {
            testing::put(&self.core, service.clone()).await;
        }
        self.core.access.services.settle(&taken, filled.is_ok());
        filled.map(|()| service).map_err(|refusal| match refusal {
            Refusal::Invalid(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Refusal::Internal(why) => why,
        })
    }

    async fn delete(&self, name: &str) {
        let key = format!("/core/services/ns/{name}");
        let write = store::Write::Delete { key, expect: store::Expect::Any, last: "{}".into() };
        self.core.store.commit(vec![write]).await.unwrap();
    }
}

#[tokio::test]
async fn a_service_gets_an_address_from_the_upper_band_and_its_family() {
    let world = World::new();
    let service = world.write("a", json!({"type": "ClusterIP", "selector": {"a": "b"}}), None).await.unwrap();
    let spec = &service["spec"];
    assert_eq!(spec["clusterIP"], "10.43.1.1", "the lowest 256 addresses are for those who ask");
    assert_eq!(spec["clusterIPs"], json!(["10.43.1.1"]));
    assert_eq!((&spec["ipFamilies"], &spec["ipFamilyPolicy"]), (&json!(["IPv4"]), &json!("SingleStack")));
}

#[tokio::test]
async fn an_address_that_is_asked_for_is_given_once() {
    let world = World::new();
    let spec = json!({"type": "ClusterIP", "selector": {"a": "b"}, "clusterIP": "10.43.0.10"});
    world.write("dns", spec.clone(), None).await.unwrap();
    assert_eq!(
        world.write("other", spec.clone(), None).await.unwrap_err(),
        r#"spec.clusterIPs: Invalid value: ["10.43.0.10"]: failed to allocate IP 10.43.0.10: provided IP is already allocated"#
    );
    let far = json!({"type": "ClusterIP", "clusterIP": "10.99.0.1"});
    assert!(
        world
            .write("far", far, None)
            .await
            .unwrap_err()
            .ends_with("failed to allocate IP 10.99.0.1: the provided network does not match the current range")
    );
    world.delete("dns").await;
    world.write("other", spec, None).await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_sent_back_without_its_numbers_keeps_them() {
    let world = World::new();
    let spec = json!({"type": "NodePort", "selector": {"a": "b"}, "ports": [{"name": "web", "port": 80}]});
    let before = world.write("a", spec.clone(), None).await.unwrap();
    assert!(before["spec"]["ports"][0]["nodePort"].as_u64().is_some_and(|port| (30086..=32767).contains(&port)));
    let after = world.write("a", spec, Some(&before)).await.unwrap();
    assert_eq!(before, after);
}

#[tokio::test]
async fn the_primary_address_is_for_life() {
    let world = World::new();
    let before = world.write("a", json!({"type": "ClusterIP", "selector": {"a": "b"}}), None).await.unwrap();
    let mut spec = before["spec"].clone();
    spec["clusterIP"] = json!("10.43.0.77");
    assert_eq!(
        world.write("a", spec, Some(&before)).await.unwrap_err(),
        r#"spec.clusterIPs[0]: Invalid value: ["10.43.0.77"]: may not change once set"#
    );
}

#[tokio::test]
async fn headless_and_external_services_have_no_address() {
    let world = World::new();
    let headless = json!({"type": "ClusterIP", "clusterIP": "None", "selector": {"a": "b"}});
    let headless = world.write("h", headless, None).await.unwrap();
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4"]));
    let open = world.write("o", json!({"type": "ClusterIP", "clusterIP": "None"}), None).await.unwrap();
    assert_eq!(open["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]), "without a selector both families may come");
    let name = world.write("e", json!({"type": "ExternalName", "externalName": "example.com"}), None).await.unwrap();
    assert!(name["spec"].get("clusterIP").is_none() && name["spec"].get("ipFamilies").is_none());
    assert_eq!(world.core.access.services.taken(), 0);
}

#[tokio::test]
async fn a_change_of_type_drops_and_allocates() {
    let world = World::new();
    let spec = json!({"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]});
    let before = world.write("a", spec, None).await.unwrap();
    let mut spec = before["spec"].clone();
    spec["type"] = json!("ClusterIP");
    let plain = world.write("a", spec, Some(&before)).await.unwrap();
    assert!(plain["spec"]["ports"][0].get("nodePort").is_none());
    let mut spec = plain["spec"].clone();
    spec["type"] = json!("ExternalName");
    spec["externalName"] = json!("example.com");
    let named = world.write("a", spec, Some(&plain)).await.unwrap();
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert!(named["spec"].get(field).is_none(), "{field}");
    }
    let back = json!({"type": "ClusterIP", "selector": {"a": "b"}, "ports": [{"port": 80}]});
    let back = world.write("a", back, Some(&named)).await.unwrap();
    assert!(back["spec"]["clusterIP"].is_string());
}

#[tokio::test]
async fn tcp_and_udp_of_one_port_share_the_node_port() {
    let world = World::new();
    let ports = json!([{"name": "t", "protocol": "TCP", "port": 53}, {"name": "u", "protocol": "UDP", "port": 53}]);
    let service = world.write("dns", json!({"type": "NodePort", "selector": {"a": "b"}, "ports": ports}), None).await;
    let service = service.unwrap();
    assert_eq!(service["spec"]["ports"][0]["nodePort"], service["spec"]["ports"][1]["nodePort"]);
    let ports = json!([{"port": 80, "nodePort": service["spec"]["ports"][0]["nodePort"]}]);
    let refused = world.write("b", json!({"type": "NodePort", "ports": ports}), None).await.unwrap_err();
    assert!(refused.starts_with("spec.ports[0].nodePort: Invalid value: ") && refused.ends_with("already allocated"));
    let outside = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]});
    assert_eq!(
        world.write("c", outside, None).await.unwrap_err(),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. \
         The range of valid ports is 30000-32767"
    );
}

#[tokio::test]
async fn a_local_load_balancer_gets_a_health_check_port() {
    let world = World::new();
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": false,
        "selector": {"a": "b"}, "ports": [{"port": 80}],
    });
    let service = world.write("a", spec, None).await.unwrap();
    assert!(service["spec"]["healthCheckNodePort"].is_u64());
    assert!(service["spec"]["ports"][0].get("nodePort").is_none());
}

#[tokio::test]
async fn numbers_come_back_when_the_write_fails_and_are_found_again_after_a_restart() {
    let world = World::new();
    let spec = json!({"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]});
    let first = world.write("a", spec.clone(), None).await.unwrap();
    assert_eq!(world.core.access.services.taken(), 2);
    let mut taken = Vec::new();
    let mut lost = json!({"metadata": {"name": "b"}, "spec": spec});
    fill(&mut world.take("b", &mut taken), &mut lost, None).unwrap();
    assert_eq!(world.core.access.services.taken(), 4);
    world.core.access.services.settle(&taken, false);
    assert_eq!(world.core.access.services.taken(), 2);

    let again = Services::new("10.43.0.0/16", 30000..=32767, Arc::clone(&world.core.store)).unwrap();
    again.load().unwrap();
    assert_eq!(again.taken(), 2);
    let address = first["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    assert_eq!(again.take_address(address, &"/core/services/ns/x".into()), Err(allocate::Error::AddressTaken));
}

#[tokio::test]
async fn a_deleted_service_gives_its_numbers_back() {
    let world = World::new();
    let spec = json!({"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]});
    world.write("a", spec, None).await.unwrap();
    let from = world.core.store.revision();
    let mut watch = world.core.store.watch("/core/services/", from).unwrap();
    let services = &world.core.access.services;
    let gone = async {
        world.delete("a").await;
        watch.next().await.unwrap();
        while services.taken() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        result = services.follow(from) => panic!("the follower ended: {result:?}"),
        () = gone => {}
    }
}
