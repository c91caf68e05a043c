//! Which devices a container may use: v1 rules as text, v2 rules as a BPF program.
//!
//! Without this a container that may make device nodes, as every container may by default, could
//! read the host's disks. cgroup2 has no file for it: the kernel asks an attached program.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

/// One permission; `None` means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// `c` or `b`.
    pub kind: char,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Any of `r`, `w`, `m`.
    pub access: String,
}

impl DeviceRule {
    #[must_use]
    pub fn new(kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> Self {
        Self { kind, major, minor, access: access.to_owned() }
    }
}

/// The text of the v1 files.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        write!(f, "{} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}

/// One instruction of the kernel's BPF machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Source register in the high half, destination in the low.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn step(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

// registers: 0 result, 1 context, 2 type, 3 access, 4 major, 5 minor
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const SHIFT_RIGHT: u8 = 0x77;
const AND: u8 = 0x57;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// Allows what a rule allows and nothing else.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        step(LOAD_WORD, 0x12, 0, 0), // access << 16 | type
        step(MOVE, 0x23, 0, 0),
        step(SHIFT_RIGHT, 0x03, 0, 16),
        step(AND, 0x02, 0, 0xffff),
        step(LOAD_WORD, 0x14, 4, 0),
        step(LOAD_WORD, 0x15, 8, 0),
    ];
    for rule in rules {
        let kind = if rule.kind == 'b' { 1 } else { 2 };
        let access = rule.access.chars().fold(0, |bits, access| {
            bits | match access {
                'm' => 1,
                'r' => 2,
                _ => 4,
            }
        });
        let mut checks = vec![
            (2, kind, None),
            // what is wanted beyond the permission must be nothing
            (0, 0, Some([step(MOVE, 0x30, 0, 0), step(AND, 0x00, 0, !access & 7)])),
        ];
        checks.extend(rule.major.map(|major| (4, major.cast_signed(), None)));
        checks.extend(rule.minor.map(|minor| (5, minor.cast_signed(), None)));
        let mut body: Vec<Instruction> = Vec::new();
        for (register, value, before) in checks {
            body.extend(before.into_iter().flatten());
            body.push(step(JUMP_UNLESS_EQUAL, register, 0, value));
        }
        body.extend([step(SET, 0, 0, 1), step(EXIT, 0, 0, 0)]);
        let length = body.len();
        for (index, instruction) in body.iter_mut().enumerate() {
            if instruction.code == JUMP_UNLESS_EQUAL {
                let rest = length - index - 1; // to the next rule
                instruction.offset = i16::try_from(rest).expect("invariant: a rule has few instructions");
            }
        }
        program.extend(body);
    }
    program.extend([step(SET, 0, 0, 0), step(EXIT, 0, 0, 0)]);
    program
}

/// Loads the rules as a program and attaches it to the cgroup2 directory `group`.
pub(super) fn attach(group: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    const PROGRAM_LOAD: i64 = 5;
    const PROGRAM_ATTACH: i64 = 8;
    const CGROUP_DEVICE_PROGRAM: u32 = 15;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u64; 2],
        version_and_flags: u64,
    }
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let program = program(rules);
    let load = Load {
        kind: CGROUP_DEVICE_PROGRAM,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the attribute has the kernel's layout, and what it points to lives through the call
    let loaded = unsafe { libc::syscall(libc::SYS_bpf, PROGRAM_LOAD, &raw const load, size_of::<Load>()) };
    let loaded = i32::try_from(loaded).map_err(io::Error::other)?;
    if loaded < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else knows
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let group = File::open(group)?;
    let attach = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: loaded.as_raw_fd().cast_unsigned(),
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: as above; the cgroup keeps the program after our descriptor is closed
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROGRAM_ATTACH, &raw const attach, size_of::<Attach>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn rules_read_as_v1_wants_them() {
        assert_eq!(DeviceRule::new('c', Some(136), None, "rwm").to_string(), "c 136:* rwm");
    }

    #[test]
    fn an_attached_program_denies_what_no_rule_allows() {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        let group =
            Path::new(mount.expect("the kernel has cgroup2")).join(format!("knarr-devices-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let rules = [DeviceRule::new('c', Some(1), Some(3), "rw"), DeviceRule::new('c', Some(1), Some(5), "r")];
        attach(&group, &rules).unwrap();
        let script = format!(
            "echo $$ >{}/cgroup.procs && head -c0 /dev/zero && echo >/dev/null && \
             ! (echo >/dev/zero) 2>/dev/null && ! head -c1 /dev/urandom 2>/dev/null",
            group.display()
        );
        let allowed = Command::new("sh").args(["-c", &script]).status().unwrap().success();
        std::fs::remove_dir(&group).unwrap();
        assert!(allowed);
    }
}
