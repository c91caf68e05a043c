//! The expressions rules are made of. Registers are the 32-bit ones; a key of several parts lies in
//! neighbouring registers, each part padded to four bytes.

use super::Attributes;

/// A 32-bit register by number, from 0.
pub(crate) const fn register(number: u32) -> u32 {
    8 + number
}
/// Where a verdict goes.
const VERDICT: u32 = 0;

/// Goto and accept, as the kernel numbers verdicts.
const GOTO: i32 = -4;

/// Bases of packet bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Base {
    Network = 1,
    Transport = 2,
}

/// Facts about a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meta {
    OutputName = 7,
    Protocol = 16,
}

/// Comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Equal = 0,
    NotEqual = 1,
}

fn expression(name: &str, data: &Attributes) -> Attributes {
    Attributes::new().text(1, name).nest(2, data)
}

/// A value as the kernel wants it in maps and comparisons.
pub(crate) fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().put(1, bytes)
}

/// The verdict "go on in `chain`, do not come back", as map data.
pub(crate) fn goto(chain: &str) -> Attributes {
    let verdict = Attributes::new().put(1, &GOTO.to_be_bytes()).text(2, chain);
    Attributes::new().nest(2, &verdict)
}

/// Loads packet bytes.
pub(crate) fn payload(base: Base, offset: u32, length: u32, to: u32) -> Attributes {
    expression("payload", &Attributes::new().number(1, to).number(2, base as u32).number(3, offset).number(4, length))
}

/// Loads a fact.
pub(crate) fn meta(fact: Meta, to: u32) -> Attributes {
    expression("meta", &Attributes::new().number(1, to).number(2, fact as u32))
}

/// Loads the status bits of the connection.
pub(crate) fn ct_status(to: u32) -> Attributes {
    expression("ct", &Attributes::new().number(1, to).number(2, 2))
}

/// Loads the kind of the destination address (2: this machine's).
pub(crate) fn destination_kind(to: u32) -> Attributes {
    expression("fib", &Attributes::new().number(1, to).number(2, 3).number(3, 2))
}

/// Ends the rule unless the comparison holds.
pub(crate) fn compare(register: u32, op: Op, bytes: &[u8]) -> Attributes {
    expression("cmp", &Attributes::new().number(1, register).number(2, op as u32).nest(3, &value(bytes)))
}

/// Masks a register.
pub(crate) fn mask(register: u32, mask: &[u8]) -> Attributes {
    let length = u32::try_from(mask.len()).expect("invariant: masks are a few bytes");
    let none = vec![0; mask.len()];
    expression(
        "bitwise",
        &Attributes::new()
            .number(1, register)
            .number(2, register)
            .number(3, length)
            .nest(4, &value(mask))
            .nest(5, &value(&none)),
    )
}

/// Ends the rule unless the key at `from` is in `set`.
pub(crate) fn contained(set: &str, from: u32) -> Attributes {
    expression("lookup", &Attributes::new().text(1, set).number(2, from))
}

/// Loads what `map` has for the key at `from`; ends the rule when it has nothing.
pub(crate) fn lookup(map: &str, from: u32, to: u32) -> Attributes {
    expression("lookup", &Attributes::new().text(1, map).number(2, from).number(3, to))
}

/// Goes where verdict map `map` says for the key at `from`; ends the rule when it says nothing.
pub(crate) fn dispatch(map: &str, from: u32) -> Attributes {
    lookup(map, from, VERDICT)
}

/// A random number below `modulus`.
pub(crate) fn random(modulus: u32, to: u32) -> Attributes {
    expression("numgen", &Attributes::new().number(1, to).number(2, modulus).number(3, 1))
}

/// A number below `modulus` that depends only on the four bytes at `from`.
pub(crate) fn hash(from: u32, modulus: u32, to: u32) -> Attributes {
    expression(
        "hash",
        &Attributes::new().number(1, from).number(2, to).number(3, 4).number(4, modulus).number(5, 0x6b6e_6172),
    )
}

/// Rewrites the destination to the address and port in two registers.
pub(crate) fn destination_nat(address: u32, port: u32) -> Attributes {
    expression("nat", &Attributes::new().number(1, 1).number(2, 2).number(3, address).number(5, port))
}

/// Rewrites the source to the address of the outgoing interface.
pub(crate) fn masquerade() -> Attributes {
    expression("masq", &Attributes::new())
}

/// Answers with ICMP "port unreachable".
pub(crate) fn reject() -> Attributes {
    expression("reject", &Attributes::new().number(1, 0).put(2, &[3]))
}
