use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::scheduler::resources::Resources;
use crate::scheduler::tests::{facts, pods};
use crate::world::World as Text;

impl Cache {
    /// What the cache knows, in a form without its own numbers.
    pub(in crate::scheduler) fn picture(&mut self) -> String {
        self.prepare([HOSTNAME, ZONE]);
        let mut lines: Vec<String> = Vec::new();
        for node in &self.nodes {
            let mut names: Vec<&str> = node.pods.iter().map(|pod| pod.key.name.as_str()).collect();
            names.sort_unstable();
            let Some(facts) = &node.facts else {
                if !names.is_empty() {
                    lines.push(format!("unknown {names:?}"));
                }
                continue;
            };
            let domain = |key: &str| self.topology(key).name(self.topology(key).of(node.id));
            lines.push(format!(
                "{} {names:?} {:?} {:?} ports={} images={} host={:?} zone={:?} labels={:?}",
                facts.name,
                node.requested,
                node.usual,
                node.with_ports,
                node.images.len(),
                domain(HOSTNAME),
                domain(ZONE),
                facts.labels,
            ));
        }
        lines.sort();
        let mut shapes: Vec<String> = self
            .placed()
            .map(|placed| {
                let at: BTreeMap<String, Count> = placed
                    .nodes
                    .iter()
                    .map(|(id, count)| {
                        let facts = self.node(*id).facts.as_ref();
                        (facts.map_or_else(String::new, |facts| facts.name.to_string()), *count)
                    })
                    .collect();
                format!("{:?} {:?} {at:?}", placed.shape.labels, placed.shape.requests)
            })
            .collect();
        shapes.sort();
        let mut images: Vec<String> =
            self.images.iter().map(|(name, image)| format!("{name}={}", image.nodes)).collect();
        images.sort();
        let mut order: Vec<&str> = self.order.iter().map(|id| &**self.node(*id).name()).collect();
        order.sort_unstable();
        format!("{lines:#?} {shapes:#?} {images:?} {order:?} {} {}", self.disliked, self.with_terms.len())
    }

    /// The sum over the pods equals what is counted, and no node is over-committed.
    pub(in crate::scheduler) fn is_sound(&self) -> bool {
        self.nodes.iter().all(|node| {
            let mut sum = Resources::default();
            node.pods.iter().for_each(|pod| sum.add(&pod.shape.requests));
            sum.subtract(&Resources::default());
            let fits = node.facts.as_ref().is_none_or(|facts| {
                let has = &facts.allocatable;
                sum.milli_cpu <= has.milli_cpu
                    && sum.memory <= has.memory
                    && i64::try_from(node.pods.len()).is_ok_and(|pods| pods <= has.pods)
                    && sum.scalars.iter().all(|(name, amount)| *amount <= has.of(name))
            });
            sum == node.requested && fits
        })
    }
}

/// One of a few versions of one of a few nodes or pods, or its end.
#[derive(Clone, Debug)]
enum Step {
    Node(usize, Option<usize>),
    Pod(usize, Option<usize>),
}

const NODES: [&str; 4] = [
    "cpu=4 zone=a image=x",
    "cpu=8 zone=b taint=t:PreferNoSchedule",
    "cpu=4 image=y image=x",
    "cpu=4 zone=a labels=k=v",
];
const PODS: [&str; 5] = [
    "node=n0 cpu=1",
    "node=n1 cpu=1 gpu=2 hostport=80",
    "node=n2 far=zone:app=web",
    "node=n0 memory=1Gi labels=app=db deleting",
    "node=n3 near=host:app=db labels=app=db",
];

fn step() -> impl Strategy<Value = Step> {
    let node = (0..4_usize, prop::option::of(0..NODES.len())).prop_map(|(node, version)| Step::Node(node, version));
    let pod = (0..5_usize, prop::option::of(0..PODS.len())).prop_map(|(pod, version)| Step::Pod(pod, version));
    prop_oneof![node, pod]
}

proptest! {
    #[test]
    fn changes_one_by_one_give_what_everything_at_once_gives(steps in prop::collection::vec(step(), 0..60)) {
        let mut cache = Cache::default();
        let mut shapes = crate::scheduler::pod::Shapes::default();
        let (mut nodes, mut placed): (BTreeMap<usize, usize>, BTreeMap<usize, usize>) = Default::default();
        let node = |node: usize, version: usize| Text::parse(&format!("node n{node} {}", NODES[version]));
        let pod = |pod: usize, version: usize| Text::parse(&format!("pod p{pod} {}", PODS[version]));
        for step in steps {
            match step {
                Step::Node(name, Some(version)) => {
                    nodes.insert(name, version);
                    cache.put_node(facts(&node(name, version)).remove(0));
                }
                Step::Node(name, None) => {
                    nodes.remove(&name);
                    cache.remove_node(&format!("n{name}"));
                }
                Step::Pod(name, Some(version)) => {
                    placed.insert(name, version);
                    cache.put_pod(pods(&mut shapes, &pod(name, version)).remove(0));
                }
                Step::Pod(name, None) => {
                    placed.remove(&name);
                    cache.remove_pod(&format!("pod-p{name}"));
                }
            }
            cache.prepare([HOSTNAME, ZONE]);
        }
        let mut fresh = Cache::default();
        for (name, version) in &placed {
            fresh.put_pod(pods(&mut shapes, &pod(*name, *version)).remove(0));
        }
        for (name, version) in &nodes {
            fresh.put_node(facts(&node(*name, *version)).remove(0));
        }
        prop_assert_eq!(cache.picture(), fresh.picture());
    }
}

#[test]
fn nodes_come_from_the_zones_in_turn() {
    let mut cache = Cache::default();
    for facts in
        facts(&Text::parse("node a1 zone=a\nnode a2 zone=a\nnode a3 zone=a\nnode b1 zone=b\nnode x\nnode b2 zone=b"))
    {
        cache.put_node(facts);
    }
    cache.prepare([]);
    let order =
        |cache: &Cache| cache.order().iter().map(|id| cache.node(*id).name().to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(order(&cache), "a1 b1 x a2 b2 a3");
    cache.remove_node("b1");
    cache.prepare([]);
    assert_eq!(order(&cache), "a1 b2 x a2 a3");
}

#[test]
fn what_was_assumed_is_forgotten_only_until_it_is_confirmed() {
    let mut shapes = crate::scheduler::pod::Shapes::default();
    let mut cache = Cache::default();
    let pod = pods(&mut shapes, &Text::parse("pod a node=n1 cpu=1")).remove(0);
    cache.assume(pod.clone());
    assert!(cache.is_assumed("pod-a") && cache.forget("pod-a").is_some());
    cache.assume(pod.clone());
    cache.put_pod(pod);
    assert!(!cache.is_assumed("pod-a") && cache.forget("pod-a").is_none());
    assert!(cache.remove_pod("pod-a").is_some() && cache.remove_pod("pod-a").is_none());
}
