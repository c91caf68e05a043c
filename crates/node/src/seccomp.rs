//! The RuntimeDefault seccomp profile, compiled to BPF by the agent for the shim to load.
//!
//! Invariant: the profile is an allow list; what it does not name fails with EPERM, and what is
//! newer than the list fails with ENOSYS so that programs fall back.
//! Why two filters: seccompiler gives a filter one action for all its matches. `clone3` must fail
//! with ENOSYS (libc then uses `clone`, whose flags a filter can see), so a second, hand-written
//! filter says that; of two filters with equal severity the kernel takes the later one's errno.

mod table;

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use crate::capability::Set;

const AF_VSOCK: u64 = 40;
/// All the `CLONE_NEW*` flags but the time namespace's, which shares its bit with the exit signal.
const NEW_NAMESPACE: u64 = 0x7e02_0000;

/// The compiled profile for a container with `capabilities`: programs in loading order, in the
/// form [`crate::shim`] reads: a count of instructions, then the instructions, little-endian.
pub(crate) fn runtime_default(capabilities: Set) -> Result<Vec<u8>, BackendError> {
    let mut bytes = Vec::new();
    for program in [allow_list(capabilities)?, newer_calls(capabilities)] {
        let count = u32::try_from(program.len()).expect("invariant: a filter has at most 4096 instructions");
        bytes.extend(count.to_le_bytes());
        for instruction in &program {
            bytes.extend(instruction.code.to_le_bytes());
            bytes.extend([instruction.jt, instruction.jf]);
            bytes.extend(instruction.k.to_le_bytes());
        }
    }
    Ok(bytes)
}

fn architecture() -> TargetArch {
    if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 }
}

fn allow_list(capabilities: Set) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in table::ALWAYS {
        rules.insert(*call, Vec::new());
    }
    for (capability, calls) in table::WITH_CAPABILITY {
        if capabilities.has(capability) {
            rules.extend(calls.iter().map(|call| (*call, Vec::new())));
        }
    }
    let when = |op, value| -> Result<SeccompRule, BackendError> {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value)?;
        SeccompRule::new(vec![condition])
    };
    rules.insert(libc::SYS_socket, vec![when(SeccompCmpOp::Ne, AF_VSOCK)?]);
    let personalities = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
    let personalities = personalities.into_iter().map(|value| when(SeccompCmpOp::Eq, value));
    rules.insert(libc::SYS_personality, personalities.collect::<Result<_, _>>()?);
    if !capabilities.has("SYS_ADMIN") {
        rules.insert(libc::SYS_clone, vec![when(SeccompCmpOp::MaskedEq(NEW_NAMESPACE), 0)?]);
    }
    rules.entry(libc::SYS_clone3).or_default();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture())?;
    filter.try_into()
}

/// `clone3` without CAP_SYS_ADMIN, and calls newer than the table: ENOSYS. All else: allowed here.
fn newer_calls(capabilities: Set) -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20; // ld [0]: seccomp_data.nr
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    let no_such_call = 0x0005_0000 | libc::ENOSYS.unsigned_abs();
    let hidden = if capabilities.has("SYS_ADMIN") { u32::MAX } else { number(libc::SYS_clone3) };
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_IF_EQUAL, 2, 0, hidden),
        step(JUMP_IF_GREATER, 1, 0, number(table::NEWEST)),
        step(RETURN, 0, 0, ALLOW),
        step(RETURN, 0, 0, no_such_call),
    ]
}

fn number(call: i64) -> u32 {
    u32::try_from(call).expect("invariant: system call numbers are small and positive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_two_programs_the_kernel_can_hold() {
        let bytes = runtime_default(Set::requested(&[], &[]).unwrap()).unwrap();
        let first = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        assert!((300..4096).contains(&first), "{first}");
        let second = u32::from_le_bytes(bytes[4 + first * 8..][..4].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), 8 + (first + second) * 8);
    }

    #[test]
    fn more_capabilities_allow_more_calls() {
        let few = runtime_default(Set::default()).unwrap();
        let all = runtime_default(Set::ALL).unwrap();
        assert!(all.len() > few.len());
    }

    #[test]
    fn every_capability_of_the_table_exists() {
        for (name, _) in table::WITH_CAPABILITY {
            assert!(Set::named(name).is_ok(), "{name}");
        }
    }
}
