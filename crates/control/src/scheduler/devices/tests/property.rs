//! What the search finds in worlds by chance, against trying everything.

use proptest::prelude::*;

use super::*;

/// Claim, request, and the device that is given.
type Slot = (usize, usize, usize);
/// A device of the world: numa node, model, whether somebody has it, and how much of the counter it takes.
type Made = (u8, u8, bool, u8);
/// A request: how many, and of which model, if that matters.
type Asked = (usize, Option<u8>);

fn text(devices: &[Made], claims: &[(Vec<Asked>, u8)], counter: u8) -> String {
    let mut text = format!("slice counters node=n1 of=2 counters=set:c:{counter}\nslice s node=n1 of=2\n");
    for (index, (numa, model, _, uses)) in devices.iter().enumerate() {
        text += &format!("device x{index} attr=numa:{numa} attr=model:{model} uses=set:c:{uses}\n");
    }
    for (index, _) in devices.iter().enumerate().filter(|(_, device)| device.2) {
        text += &format!("used d/p/x{index}\n");
    }
    for (index, (requests, constraint)) in claims.iter().enumerate() {
        text += &format!("claim c{index}\n");
        for (place, (count, model)) in requests.iter().enumerate() {
            text += &format!("request r{place} count={count}");
            if let Some(model) = model {
                text += &format!(" where device.attributes[\"d\"].model == {model}");
            }
            text += "\n";
        }
        text += ["", "match d/numa\n", "distinct d/numa\n"][*constraint as usize];
    }
    text
}

/// Whether these devices (by claim, request and place) are a solution.
fn is_good(devices: &[Made], claims: &[(Vec<Asked>, u8)], counter: u8, given: &[Slot]) -> bool {
    let mut taken = std::collections::BTreeSet::new();
    let mut left = i32::from(counter);
    left -= devices.iter().filter(|device| device.2).map(|device| i32::from(device.3)).sum::<i32>();
    for (claim, request, device) in given {
        let made = devices[*device];
        let model = claims[*claim].0[*request].1;
        if made.2 || !taken.insert(*device) || model.is_some_and(|model| model != made.1) {
            return false;
        }
        left -= i32::from(made.3);
    }
    let constraints = claims.iter().enumerate().all(|(index, (_, constraint))| {
        let own: Vec<u8> = given.iter().filter(|one| one.0 == index).map(|one| devices[one.2].0).collect();
        let different: std::collections::BTreeSet<u8> = own.iter().copied().collect();
        match constraint {
            1 => different.len() <= 1,
            2 => different.len() == own.len(),
            _ => true,
        }
    });
    constraints && left >= 0
}

/// Tries every device for every slot.
fn fill(slots: &[(usize, usize)], given: &mut Vec<Slot>, many: usize, good: &dyn Fn(&[Slot]) -> bool) -> bool {
    let Some(((claim, request), rest)) = slots.split_first() else { return good(given) };
    (0..many).any(|device| {
        given.push((*claim, *request, device));
        let found = fill(rest, given, many, good);
        given.pop();
        found
    })
}

fn exists(devices: &[Made], claims: &[(Vec<Asked>, u8)], counter: u8) -> bool {
    let slots: Vec<(usize, usize)> = claims
        .iter()
        .enumerate()
        .flat_map(|(claim, (requests, _))| {
            let each = requests.iter().enumerate();
            each.flat_map(move |(request, (count, _))| std::iter::repeat_n((claim, request), *count))
        })
        .collect();
    fill(&slots, &mut Vec::new(), devices.len(), &|given| is_good(devices, claims, counter, given))
}

proptest! {
    #[test]
    fn devices_are_found_if_there_are_any_and_what_is_found_is_right(
        devices in prop::collection::vec((0..2_u8, 0..2_u8, prop::bool::weighted(0.2), 0..3_u8), 0..6),
        claims in prop::collection::vec(
            (prop::collection::vec((1..3_usize, prop::option::of(0..2_u8)), 1..3), 0..3_u8), 1..3),
        counter in 0..10_u8,
    ) {
        let found = world(&text(&devices, &claims, counter)).allocate().expect("an answer");
        prop_assert_eq!(found.is_some(), exists(&devices, &claims, counter));
        let Some(found) = found else { return Ok(()) };
        let mut given = Vec::new();
        for (claim, allocation) in found.iter().enumerate() {
            for one in allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten()) {
                let number = |text: &str| text[1..].parse::<usize>().expect("a number");
                given.push((claim, number(&one.request), number(&one.device)));
            }
        }
        let wanted: usize = claims.iter().flat_map(|(requests, _)| requests).map(|(count, _)| count).sum();
        prop_assert_eq!(given.len(), wanted);
        prop_assert!(is_good(&devices, &claims, counter, &given));
    }

    #[test]
    fn no_device_is_given_twice(
        devices in prop::collection::vec((0..2_u8, 0..2_u8, any::<bool>(), 0..3_u8), 0..8),
        asked in prop::collection::vec((1..4_usize, any::<bool>()), 1..12),
    ) {
        let mut world = world(&text(&devices, &[], 200));
        let mut held: Vec<(String, Arc<AllocationResult>)> = Vec::new();
        for (index, (count, leaves)) in asked.iter().enumerate() {
            let claim = Claim { uid: format!("u{index}"), namespace: "shop".into(), name: format!("c{index}"), ..Claim::default() };
            let spec = json!({ "requests": [{ "name": "r", "exactly": { "deviceClassName": "any", "count": count } }] });
            let spec = Arc::new(serde_json::from_value(spec).expect("a spec"));
            let want = world.devices.want(&claim, &spec).expect("a want");
            if let Some(found) = world.devices.allocate(&[want], &world.node, &|| false).expect("an answer") {
                let plan = Plan { claims: vec![(Arc::new(claim), Some(found[0].clone()))], ..Plan::default() };
                world.devices.assume(&plan);
                held.push((format!("u{index}"), found[0].clone()));
            }
            let names: Vec<String> = held.iter().flat_map(|(_, one)| results(one)).collect();
            let different: std::collections::BTreeSet<&String> = names.iter().collect();
            prop_assert_eq!(different.len(), names.len());
            let taken = |name: &String| devices[name["r=d/p/x".len()..].parse::<usize>().expect("a number")].2;
            prop_assert!(!names.iter().any(taken));
            if *leaves && !held.is_empty() {
                let (uid, _) = held.remove(index % held.len());
                prop_assert!(world.devices.release(&uid));
            }
        }
    }
}
