//! The table: a few fixed rules over four maps, and the bytes of their elements.
//!
//! ```text
//! map  fronts   address . protocol . port          -> goto spread-N
//! map  nodes    protocol . port                    -> goto node-spread-N
//! map  targets  address . protocol . port . index  -> address . port      (address 0: node port)
//! set  own      address . address                     a pod that reached itself
//! ```
//! One small chain per distinct number of targets picks an index below it; there are as many as
//! there are different replica counts, however many services. A connection costs two look-ups, and
//! a change of a service is a change of its elements.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::plan::{Change, Element, Front, Target};
use crate::names;
use crate::nft::expr::{self, Base, Meta, Op, register};
use crate::nft::{Attributes, Batch, Error, socket};

/// Types as `nft list` names them: ipv4_addr, inet_proto, inet_service, mark (a plain integer has no length there).
const ADDRESS: u32 = 7;
const PROTOCOL: u32 = 12;
const SERVICE: u32 = 13;
const INDEX: u32 = 19;

const FRONTS: &str = "fronts";
const NODES: &str = "nodes";
const TARGETS: &str = "targets";
const OWN: &str = "own";

/// Connection status bits: destination was rewritten.
const DESTINATION_REWRITTEN: u32 = 1 << 5;
/// `fib` answer for an address of this machine.
const LOCAL: u32 = 2;

/// What the fixed rules need to know.
#[derive(Clone, Debug)]
struct Layout {
    table: String,
    /// All pods: what leaves them for elsewhere is masqueraded.
    pods: (Ipv4Addr, u8),
    /// All services: what is left over after the maps is refused.
    services: (Ipv4Addr, u8),
    /// The bridge: traffic through it stays in the cluster.
    bridge: String,
}

/// The kernel's table and the chains made in it so far.
#[derive(Debug)]
pub struct Table {
    layout: Layout,
    spreads: BTreeSet<(u32, bool, bool)>,
}

fn concat(kinds: &[u32]) -> (u32, u32) {
    let length = u32::try_from(kinds.len() * 4).expect("invariant: keys have a few parts");
    (length, kinds.iter().fold(0, |all, kind| (all << 6) | kind))
}

impl Table {
    /// The table of a cluster with these pod and service ranges, not in the kernel yet.
    ///
    /// # Errors
    /// When a range is not one.
    pub fn for_cluster(cluster: &str, pods: &str, services: &str) -> Result<Self, crate::Error> {
        let (pods, services) = (crate::pods::range(pods)?, crate::pods::range(services)?);
        Ok(Self::new(Layout { table: names::table(cluster), pods, services, bridge: names::bridge(cluster) }))
    }

    fn new(layout: Layout) -> Self {
        Self { layout, spreads: BTreeSet::new() }
    }

    /// Replaces whatever the kernel has with the fixed rules and `elements`, in one step.
    ///
    /// # Errors
    /// When the kernel refuses; it then has what it had.
    pub fn rebuild(&mut self, elements: Vec<Element>) -> Result<(), Error> {
        let mut batch = Batch::new();
        let table = self.layout.table.clone();
        batch.add_table(&table);
        batch.delete_table(&table);
        batch.add_table(&table);
        self.spreads.clear();
        let value = |kinds: &[u32]| {
            let (length, kind) = concat(kinds);
            socket::Data::Value { length, kind }
        };
        let sets = [
            (FRONTS, concat(&[ADDRESS, PROTOCOL, SERVICE]), socket::Data::Verdict),
            (NODES, concat(&[PROTOCOL, SERVICE]), socket::Data::Verdict),
            (TARGETS, concat(&[ADDRESS, PROTOCOL, SERVICE, INDEX]), value(&[ADDRESS, SERVICE])),
            (OWN, concat(&[ADDRESS, ADDRESS]), socket::Data::None),
        ];
        for (name, key, data) in sets {
            batch.add_set(&table, &socket::Set { name, key, data });
        }
        self.fixed_rules(&mut batch);
        self.write(&mut batch, &Change { add: elements, ..Change::default() });
        batch.commit()
    }

    /// Carries out a change, in one step.
    ///
    /// # Errors
    /// When the kernel refuses; it then has what it had.
    pub fn apply(&mut self, change: &Change) -> Result<(), Error> {
        let mut batch = Batch::new();
        self.write(&mut batch, change);
        batch.commit()
    }

    fn fixed_rules(&self, batch: &mut Batch) {
        let table = &self.layout.table;
        let hook = |kind, number, priority| socket::Hook { kind, number, priority };
        let (prerouting, forward, output, postrouting) = (0, 2, 3, 4);
        for (chain, number) in [("prerouting", prerouting), ("output", output)] {
            batch.add_chain(table, chain, Some(&hook("nat", number, -100)));
            batch.add_rule(table, chain, &with_key(&[expr::dispatch(FRONTS, register(0))]));
            let to_this_machine =
                [expr::destination_kind(register(3)), expr::compare(register(3), Op::Equal, &LOCAL.to_ne_bytes())];
            let node_port = to_this_machine.into_iter().chain(with_key(&[expr::dispatch(NODES, register(1))]));
            batch.add_rule(table, chain, &node_port.collect::<Vec<_>>());
        }
        batch.add_chain(table, "postrouting", Some(&hook("nat", postrouting, 100)));
        batch.add_rule(
            table,
            "postrouting",
            &[
                expr::ct_status(register(0)),
                expr::mask(register(0), &DESTINATION_REWRITTEN.to_ne_bytes()),
                expr::compare(register(0), Op::NotEqual, &0_u32.to_ne_bytes()),
                expr::payload(Base::Network, 12, 8, register(0)),
                expr::contained(OWN, register(0)),
                expr::masquerade(),
            ],
        );
        let mut leaving = within(12, self.layout.pods, Op::Equal);
        leaving.extend(within(16, self.layout.pods, Op::NotEqual));
        leaving.push(expr::meta(Meta::OutputName, register(0)));
        leaving.push(expr::compare(register(0), Op::NotEqual, &interface(&self.layout.bridge)));
        leaving.push(expr::masquerade());
        batch.add_rule(table, "postrouting", &leaving);
        for (chain, number) in [("forward", forward), ("refuse", output)] {
            batch.add_chain(table, chain, Some(&hook("filter", number, 0)));
            let mut unknown = within(16, self.layout.services, Op::Equal);
            unknown.push(expr::reject());
            batch.add_rule(table, chain, &unknown);
        }
    }

    fn write(&mut self, batch: &mut Batch, change: &Change) {
        let table = self.layout.table.clone();
        for (map, part) in by_map(&change.remove) {
            batch.delete_elements(&table, map, &part.iter().map(|(key, _)| (key.clone(), None)).collect::<Vec<_>>());
        }
        for element in &change.add {
            if let Element::Front(front, count, sticky) = element {
                self.ensure_spread(batch, *count, *sticky, front.address.is_none());
            }
        }
        for (map, part) in by_map(&change.add) {
            batch.add_elements(&table, map, &part);
        }
    }

    /// The chain that spreads over `count` targets, made when first needed.
    fn ensure_spread(&mut self, batch: &mut Batch, count: u32, sticky: bool, node_port: bool) {
        if !self.spreads.insert((count, sticky, node_port)) {
            return;
        }
        let chain = spread_chain(count, sticky, node_port);
        batch.add_chain(&self.layout.table, &chain, None);
        let mut rule = Vec::new();
        if sticky {
            rule.push(expr::payload(Base::Network, 12, 4, register(4)));
            rule.push(expr::hash(register(4), count, register(3)));
        } else {
            rule.push(expr::random(count, register(3)));
        }
        let tail = [expr::lookup(TARGETS, register(0), register(4)), expr::destination_nat(register(4), register(5))];
        let mut keyed = with_key(&tail);
        if node_port {
            // The key of a node port has no address: any of this machine's will do.
            keyed.insert(1, expr::mask(register(0), &[0; 4]));
        }
        rule.extend(keyed);
        batch.add_rule(&self.layout.table, &chain, &rule);
    }
}

/// Loads destination address, protocol and port into the first three registers, then `tail`.
fn with_key(tail: &[Attributes]) -> Vec<Attributes> {
    let mut expressions = vec![
        expr::payload(Base::Network, 16, 4, register(0)),
        expr::meta(Meta::Protocol, register(1)),
        expr::payload(Base::Transport, 2, 2, register(2)),
    ];
    expressions.extend_from_slice(tail);
    expressions
}

/// True when the address at `offset` of the IP header is (not) in `range`.
fn within(offset: u32, range: (Ipv4Addr, u8), op: Op) -> Vec<Attributes> {
    let mask = u32::MAX << (32 - u32::from(range.1));
    vec![
        expr::payload(Base::Network, offset, 4, register(0)),
        expr::mask(register(0), &mask.to_be_bytes()),
        expr::compare(register(0), op, &range.0.octets()),
    ]
}

/// An interface name as it lies in registers.
fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name.bytes().take(15)).for_each(|(slot, byte)| *slot = byte);
    bytes
}

fn spread_chain(count: u32, sticky: bool, node_port: bool) -> String {
    let (place, way) = (if node_port { "node-" } else { "" }, if sticky { "sticky" } else { "spread" });
    format!("{place}{way}-{count}")
}

type Encoded = (Vec<u8>, Option<Attributes>);

fn by_map(elements: &[Element]) -> Vec<(&'static str, Vec<Encoded>)> {
    let mut maps: [(&'static str, Vec<Encoded>); 4] =
        [(FRONTS, Vec::new()), (NODES, Vec::new()), (TARGETS, Vec::new()), (OWN, Vec::new())];
    for element in elements {
        let (map, encoded) = encode(element);
        if let Some((_, part)) = maps.iter_mut().find(|(name, _)| *name == map) {
            part.push(encoded);
        }
    }
    maps.into_iter().filter(|(_, part)| !part.is_empty()).collect()
}

fn encode(element: &Element) -> (&'static str, Encoded) {
    match element {
        Element::Front(front, count, sticky) => {
            let verdict = expr::goto(&spread_chain(*count, *sticky, front.address.is_none()));
            match front.address {
                Some(address) => (FRONTS, (front_key(address, front), Some(verdict))),
                None => (NODES, (port_key(front), Some(verdict))),
            }
        }
        Element::Target(front, index, target) => {
            let mut key = front_key(front.address.unwrap_or(Ipv4Addr::UNSPECIFIED), front);
            key.extend(index.to_ne_bytes());
            (TARGETS, (key, Some(expr::value(&target_bytes(*target)))))
        }
        Element::Own(address) => (OWN, ([address.octets(), address.octets()].concat(), None)),
    }
}

fn front_key(address: Ipv4Addr, front: &Front) -> Vec<u8> {
    [&address.octets()[..], &port_key(front)].concat()
}

fn port_key(front: &Front) -> Vec<u8> {
    let port = front.port.to_be_bytes();
    vec![front.protocol.0, 0, 0, 0, port[0], port[1], 0, 0]
}

fn target_bytes((address, port): Target) -> Vec<u8> {
    [&address.octets()[..], &port.to_be_bytes(), &[0, 0]].concat()
}
