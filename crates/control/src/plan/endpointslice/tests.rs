use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::world::World;

/// Applies the actions to the slices, naming new ones in order.
fn apply(slices: &mut Vec<Arc<EndpointSlice>>, actions: Vec<Action>, serial: &mut usize) {
    for action in actions {
        match action {
            Action::Create(mut slice) => {
                *serial += 1;
                slice.metadata.name =
                    Some(format!("{}{serial}", slice.metadata.generate_name.as_deref().unwrap_or("")));
                slices.push(Arc::new(*slice));
            }
            Action::Update(slice) => {
                let name = slice.name_any();
                let position = slices.iter().position(|one| one.name_any() == name).expect("a known slice");
                slices[position] = Arc::new(*slice);
            }
            Action::Delete(slice) => slices.retain(|one| one.name_any() != slice.name_any()),
        }
    }
}

fn describe(slices: &[Arc<EndpointSlice>]) -> String {
    let lines = slices.iter().map(|slice| {
        let ports = slice
            .ports
            .iter()
            .flatten()
            .map(|port| format!("{}:{}", port.name.as_deref().unwrap_or(""), port.port.unwrap_or(0)));
        let ports = ports.collect::<Vec<_>>().join(",");
        let endpoints = slice.endpoints.iter().flatten().map(|endpoint| {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let flag =
                |set: Option<bool>, letter: &str| if set == Some(true) { letter.to_owned() } else { String::new() };
            format!(
                "{}={}{}{}{}",
                endpoint.addresses.join("+"),
                flag(conditions.ready, "R"),
                flag(conditions.serving, "S"),
                flag(conditions.terminating, "T"),
                endpoint.zone.as_ref().map(|zone| format!("@{zone}")).unwrap_or_default(),
            )
        });
        let endpoints = endpoints.collect::<Vec<_>>().join(" ");
        format!("{} {} [{ports}] {endpoints}", slice.name_any(), slice.address_type).trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn settle(world: &World, slices: &mut Vec<Arc<EndpointSlice>>, serial: &mut usize) -> usize {
    let nodes = world.nodes_by_name();
    let actions =
        plan(world.services.first().map(|service| &**service), &Observed { pods: &world.pods, slices, nodes: &nodes });
    let count = actions.len();
    apply(slices, actions, serial);
    count
}

fn check(text: &str, expected: Expect) {
    let world = World::parse(text);
    let (mut slices, mut serial) = (Vec::new(), 0);
    settle(&world, &mut slices, &mut serial);
    assert_eq!(settle(&world, &mut slices, &mut serial), 0, "planning again must yield nothing");
    expected.assert_eq(&describe(&slices));
}

#[test]
fn conditions_follow_readiness_and_termination() {
    check(
        "node n1 zone=a
         service web port=http=80:8080
         pod a ready ip=10.0.0.1 node=n1
         pod b ip=10.0.0.2
         pod c ready deleting ip=10.0.0.3",
        expect!["web-1 IPv4 [http:8080] 10.0.0.1=RS@a 10.0.0.2= 10.0.0.3=ST"],
    );
}

#[test]
fn a_service_without_pods_has_a_placeholder() {
    check("service web port=80:8080", expect!["web-1 IPv4 []"]);
}

#[test]
fn pods_that_resolve_a_port_differently_are_in_different_slices() {
    check(
        "service web port=http=80:web
         pod a ready ip=10.0.0.1 port=web:8080
         pod b ready ip=10.0.0.2 port=web:9090",
        expect![[r#"
            web-1 IPv4 [http:8080] 10.0.0.1=RS
            web-2 IPv4 [http:9090] 10.0.0.2=RS"#]],
    );
}

#[test]
fn a_service_without_selector_is_untouched_and_a_deleted_one_loses_its_slices() {
    check("service web port=80:80 noselector\npod a ready ip=10.0.0.1", expect![""]);
    let world = World::parse("service web port=80:80\npod a ready ip=10.0.0.1");
    let (mut slices, mut serial) = (Vec::new(), 0);
    settle(&world, &mut slices, &mut serial);
    let gone = plan(None, &Observed { pods: &world.pods, slices: &slices, nodes: &HashMap::new() });
    apply(&mut slices, gone, &mut serial);
    assert!(slices.is_empty());
}

#[test]
fn one_change_rewrites_one_slice() {
    let text = |flag: &str| {
        let mut text = String::from("service web port=80:80\n");
        for index in 0..250 {
            let ready = if index == 7 { flag } else { "ready" };
            text += &format!("pod p{index} {ready} ip=10.0.{}.{}\n", index / 200, index % 200 + 1);
        }
        World::parse(&text)
    };
    let (mut slices, mut serial) = (Vec::new(), 0);
    assert_eq!(settle(&text("ready"), &mut slices, &mut serial), 3);
    assert_eq!(settle(&text(""), &mut slices, &mut serial), 1);
}

proptest! {
    #[test]
    fn every_backend_is_in_exactly_one_slice_and_a_second_plan_is_empty(
        rounds in prop::collection::vec(prop::collection::vec(0..4_u8, 0..160), 1..4)
    ) {
        let (mut slices, mut serial) = (Vec::new(), 0);
        for round in rounds {
            let mut text = String::from("service web port=http=80:web\n");
            for (index, state) in round.iter().enumerate() {
                let (port, ready) = (8080 + u16::from(*state % 2), if *state > 1 { "ready" } else { "" });
                text += &format!("pod p{index} {ready} ip=10.0.0.{index} port=web:{port}\n");
            }
            let world = World::parse(&text);
            settle(&world, &mut slices, &mut serial);
            prop_assert_eq!(settle(&world, &mut slices, &mut serial), 0);
            let mut seen: Vec<String> =
                slices.iter().flat_map(|slice| slice.endpoints.iter().flatten()).map(identity).collect();
            seen.sort();
            let count = seen.len();
            seen.dedup();
            prop_assert_eq!((count, seen.len()), (round.len(), round.len()));
            prop_assert!(slices.iter().all(|slice| slice.endpoints.iter().flatten().count() <= MOST));
        }
    }
}

#[test]
fn traffic_that_should_stay_close_is_told_where_an_endpoint_is() {
    let hints = |close: &str| {
        let world = World::parse(&format!(
            "node n1 zone=a
             service web port=http=80:8080 {close}
             pod a ready ip=10.0.0.1 node=n1
             pod b ip=10.0.0.2 node=n1
             pod c ready ip=10.0.0.3"
        ));
        let (mut slices, mut serial) = (Vec::new(), 0);
        settle(&world, &mut slices, &mut serial);
        assert_eq!(settle(&world, &mut slices, &mut serial), 0, "planning again must yield nothing");
        let endpoints = slices.iter().flat_map(|slice| slice.endpoints.clone().unwrap_or_default());
        endpoints
            .map(|one| {
                let hints = one.hints.unwrap_or_default();
                let zones = hints.for_zones.unwrap_or_default().into_iter().map(|one| format!("zone {}", one.name));
                let nodes = hints.for_nodes.unwrap_or_default().into_iter().map(|one| format!("node {}", one.name));
                zones.chain(nodes).collect::<Vec<_>>().join(" ")
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(hints(""), ["", "", ""]);
    assert_eq!(hints("close=PreferClose"), ["zone a", "", ""]);
    assert_eq!(hints("close=PreferSameZone"), ["zone a", "", ""]);
    assert_eq!(hints("close=PreferSameNode"), ["zone a node n1", "", ""]);
}
