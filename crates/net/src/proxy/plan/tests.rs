use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

fn service(kind: &str, node_port: Option<i32>) -> Service {
    let port = ServicePort { name: Some("http".into()), port: 80, node_port, ..ServicePort::default() };
    let spec = ServiceSpec {
        type_: Some(kind.into()),
        cluster_ip: Some("10.43.0.7".into()),
        ports: Some(vec![port]),
        ..ServiceSpec::default()
    };
    Service { spec: Some(spec), ..Service::default() }
}

/// Endpoints as `address:state`, state one of ready, draining, gone.
fn slice(endpoints: &[&str]) -> std::sync::Arc<EndpointSlice> {
    let endpoint = |text: &&str| {
        let (address, state) = text.split_once(':').expect("address:state");
        let conditions = EndpointConditions {
            ready: Some(state == "ready"),
            serving: Some(state != "gone"),
            terminating: Some(state != "ready"),
        };
        Endpoint {
            addresses: vec![address.into()],
            conditions: Some(conditions),
            node_name: Some("here".into()),
            ..Endpoint::default()
        }
    };
    EndpointSlice {
        address_type: "IPv4".into(),
        endpoints: Some(endpoints.iter().map(endpoint).collect()),
        ports: Some(vec![EndpointPort { name: Some("http".into()), port: Some(8080), ..EndpointPort::default() }]),
        ..EndpointSlice::default()
    }
    .into()
}

fn check(service: &Service, endpoints: &[&str], expected: &[&str]) {
    let told: Vec<String> = rules(service, &[slice(endpoints)], "here")
        .iter()
        .map(|(front, spread)| {
            let at = front.address.map_or("node".to_owned(), |address| address.to_string());
            let targets: Vec<String> =
                spread.targets.iter().map(|(address, port)| format!("{address}:{port}")).collect();
            format!("{at}:{} -> {}", front.port, targets.join(" "))
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn a_cluster_address_leads_to_the_ready_endpoints() {
    check(&service("ClusterIP", None), &["10.42.0.5:ready", "10.42.0.6:draining"], &["10.43.0.7:80 -> 10.42.0.5:8080"]);
}

#[test]
fn endpoints_that_drain_are_used_when_none_is_ready() {
    check(&service("ClusterIP", None), &["10.42.0.5:gone", "10.42.0.6:draining"], &["10.43.0.7:80 -> 10.42.0.6:8080"]);
}

#[test]
fn a_node_port_leads_where_its_service_does() {
    check(
        &service("NodePort", Some(30080)),
        &["10.42.0.5:ready"],
        &["node:30080 -> 10.42.0.5:8080", "10.43.0.7:80 -> 10.42.0.5:8080"],
    );
}

#[test]
fn a_service_without_endpoints_has_no_elements() {
    check(&service("ClusterIP", None), &[], &[]);
}

#[test]
fn local_traffic_stays_on_the_node() {
    let mut local = service("ClusterIP", None);
    if let Some(spec) = local.spec.as_mut() {
        spec.internal_traffic_policy = Some("Local".into());
    }
    assert!(rules(&local, &[slice(&["10.42.0.5:ready"])], "elsewhere").is_empty());
    assert_eq!(rules(&local, &[slice(&["10.42.0.5:ready"])], "here").len(), 1);
}

#[test]
fn a_udp_target_that_went_away_is_to_be_forgotten() {
    let front = Front { address: Some(Ipv4Addr::new(10, 43, 0, 10)), protocol: UDP, port: 53 };
    let target = (Ipv4Addr::new(10, 42, 0, 1), 53);
    let mut held = Held::default();
    held.replace(
        "dns",
        Rules::from([(front, Spread { targets: vec![target], sticky: false })]),
        &mut Change::default(),
    );
    let mut change = Change::default();
    held.replace("dns", Rules::new(), &mut change);
    assert_eq!(change.stale, [(front, target)]);
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let target = (0_u8..6, 1_u16..3).prop_map(|(host, port)| (Ipv4Addr::new(10, 42, 0, host), port));
    let spread = (prop::collection::btree_set(target, 1..4), any::<bool>())
        .prop_map(|(targets, sticky)| Spread { targets: targets.into_iter().collect(), sticky });
    prop::collection::btree_map(0_u16..4, spread, 0..3).prop_map(|fronts| {
        fronts.into_iter().map(|(port, spread)| (Front { address: None, protocol: UDP, port }, spread)).collect()
    })
}

proptest! {
    /// Carrying out every change on empty maps gives exactly what all services add up to, no
    /// element is added twice or removed when absent, and planning again gives nothing.
    #[test]
    fn changes_add_up_to_the_rules(steps in prop::collection::vec((0_u16..3, some_rules()), 1..12)) {
        let mut held = Held::default();
        let mut kernel: HashSet<Element> = HashSet::new();
        for (service, mut rules) in steps {
            rules = rules.into_iter().map(|(front, spread)| (Front { port: front.port + 10 * service, ..front }, spread)).collect();
            let mut change = Change::default();
            held.replace(&service.to_string(), rules.clone(), &mut change);
            for element in &change.remove { prop_assert!(kernel.remove(element), "{element:?} was not there"); }
            for element in &change.add {
                prop_assert!(kernel.iter().all(|known| known.key() != element.key()), "{element:?} is there already");
                kernel.insert(*element);
            }
            prop_assert_eq!(&kernel, &held.all().into_iter().collect::<HashSet<_>>());
            let mut again = Change::default();
            held.replace(&service.to_string(), rules, &mut again);
            prop_assert!(again.is_empty());
        }
    }
}
