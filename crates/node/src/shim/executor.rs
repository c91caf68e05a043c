//! The last steps before the container's program: filter, capabilities, signals, execve.
//!
//! libcontainer without libseccomp ignores `linux.seccomp` and has dropped the capabilities when
//! this runs. So the OCI configuration keeps CAP_SYS_ADMIN and CAP_SETPCAP for us: the filter is
//! loaded while we still may (without forcing no-new-privileges, which would break setuid
//! programs), then everything beyond the wanted set is given up.
//! Invariant: if any step fails the program is not run, and the reason goes to the report pipe,
//! which is closed by a successful execve: end of file there means the program runs.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};

use super::console;
use super::container::Limits;
use super::wire::{Cause, Failure};

#[derive(Clone)]
pub(super) struct Confined {
    filters: Rc<[Vec<libc::sock_filter>]>,
    capabilities: u64,
    /// What the terminal gets before the program can ask: columns and rows.
    size: Option<(u16, u16)>,
    /// Write side of the report pipe; owned by the shim, which outlives every use.
    report: RawFd,
}

impl Confined {
    pub(super) fn new(limits: &Limits<'_>, report: RawFd) -> Option<Self> {
        let filters = parse(limits.filters)?.into();
        Some(Self { filters, capabilities: limits.capabilities, size: limits.size, report })
    }

    fn refuse(&self, failure: &Failure) {
        let mut message = vec![match failure.kind {
            Cause::NotFound => b'n',
            Cause::PermissionDenied => b'p',
            Cause::Exec | Cause::Create => b'e',
        }];
        message.extend(failure.message.as_bytes());
        // SAFETY: the shim keeps the pipe open across the clone that made this process
        let report = unsafe { BorrowedFd::borrow_raw(self.report) };
        if rustix::io::write(report, &message).is_err() {
            eprintln!("{}", failure.message);
        }
    }

    fn program(spec: &Spec) -> Result<(CString, Vec<CString>), Failure> {
        let process = spec.process().as_ref();
        let args = process.and_then(|process| process.args().as_ref()).filter(|args| !args.is_empty());
        let args = args.ok_or_else(|| failure(Cause::Exec, "no command specified"))?;
        let env = process.and_then(|process| process.env().as_deref()).unwrap_or_default();
        let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
        let program = find(&args[0], path)?;
        let c_string = |text: &str| CString::new(text).map_err(|_| failure(Cause::Exec, "argument with a zero byte"));
        Ok((c_string(&program)?, args.iter().map(|arg| c_string(arg)).collect::<Result<_, _>>()?))
    }

    fn replace_process(&self, spec: &Spec) -> Result<(), Failure> {
        let (program, args) = Self::program(spec)?;
        let mut pointers: Vec<*const libc::c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
        pointers.push(std::ptr::null());
        reset_signals();
        if let Some((columns, rows)) = self.size {
            console::resize(std::io::stdin(), columns, rows)
                .map_err(|error| failure(Cause::Exec, &format!("cannot size the terminal: {error}")))?;
        }
        for filter in self.filters.iter() {
            load(filter).map_err(|error| failure(Cause::Exec, &format!("cannot load the seccomp filter: {error}")))?;
        }
        give_up_capabilities(self.capabilities)
            .map_err(|error| failure(Cause::Exec, &format!("cannot set capabilities: {error}")))?;
        // SAFETY: program and arguments are zero-terminated and alive, the list ends with null
        unsafe { libc::execv(program.as_ptr(), pointers.as_ptr()) };
        let error = std::io::Error::last_os_error();
        Err(exec_failure(&args[0], &error))
    }
}

impl Executor for Confined {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        match self.replace_process(spec) {
            Ok(()) => Ok(()),
            Err(failure) => {
                self.refuse(&failure);
                // SAFETY: ends this clone without running anything that belongs to the shim
                unsafe { libc::_exit(128) }
            }
        }
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        Self::program(spec).map(drop).map_err(|failure| {
            self.refuse(&failure);
            ExecutorValidationError::ArgValidationError(failure.message)
        })
    }
}

/// Reads back what [`Confined::refuse`] wrote.
pub(super) fn failure_from(report: &[u8]) -> Option<Failure> {
    let (kind, message) = report.split_first()?;
    let kind = match kind {
        b'n' => Cause::NotFound,
        b'p' => Cause::PermissionDenied,
        _ => Cause::Exec,
    };
    Some(Failure { kind, message: String::from_utf8_lossy(message).into_owned() })
}

fn failure(kind: Cause, message: &str) -> Failure {
    Failure { kind, message: message.to_owned() }
}

fn exec_failure(program: &CStr, error: &std::io::Error) -> Failure {
    let program = program.to_string_lossy();
    match error.raw_os_error() {
        Some(libc::ENOENT) => failure(Cause::NotFound, &format!("exec {program}: no such file or directory")),
        Some(libc::EACCES) => failure(Cause::PermissionDenied, &format!("exec {program}: permission denied")),
        Some(libc::ENOEXEC) => failure(Cause::Exec, &format!("exec {program}: exec format error")),
        _ => failure(Cause::Exec, &format!("exec {program}: {error}")),
    }
}

/// Where `program` is, inside the container. The messages are as upstream's runtime words them.
fn find(program: &str, path: &str) -> Result<String, Failure> {
    let quoted = format!("exec: {program:?}");
    if program.contains('/') {
        return match executable(Path::new(program)) {
            Ok(()) => Ok(program.to_owned()),
            Err(libc::ENOENT | libc::ENOTDIR) => {
                Err(failure(Cause::NotFound, &format!("{quoted}: stat {program}: no such file or directory")))
            }
            Err(libc::EISDIR) => Err(failure(Cause::PermissionDenied, &format!("{quoted}: is a directory"))),
            Err(_) => Err(failure(Cause::PermissionDenied, &format!("{quoted}: permission denied"))),
        };
    }
    let mut denied = false;
    for directory in path.split(':') {
        let candidate = if directory.is_empty() { format!("./{program}") } else { format!("{directory}/{program}") };
        match executable(Path::new(&candidate)) {
            Ok(()) => return Ok(candidate),
            Err(libc::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        return Err(failure(Cause::PermissionDenied, &format!("{quoted}: permission denied")));
    }
    Err(failure(Cause::NotFound, &format!("{quoted}: executable file not found in $PATH")))
}

/// Whether this process, with its present user, may execute the file; the errno if not.
fn executable(path: &Path) -> Result<(), i32> {
    let errno = |error: std::io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    if !std::fs::metadata(path).map_err(errno)?.is_file() {
        return Err(libc::EISDIR);
    }
    let access = rustix::fs::Access::EXEC_OK;
    rustix::fs::accessat(rustix::fs::CWD, path, access, rustix::fs::AtFlags::EACCESS)
        .map_err(|error| error.raw_os_error())
}

/// The shim ignores SIGPIPE, as every Rust program does; the container's program must not. By
/// system call, as libc hides two signals it uses itself.
fn reset_signals() {
    /// The kernel's `sigaction`: handler (default is 0), flags, restorer, mask.
    const DEFAULT: [u64; 4] = [0; 4];
    const SET_SIZE: usize = 8;
    for signal in 1..=64u64 {
        // SAFETY: the action is as large as the kernel reads; SIGKILL and SIGSTOP are refused
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), std::ptr::null::<u64>(), SET_SIZE);
        }
    }
    let none = 0u64;
    // SAFETY: the set is as large as the kernel reads
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, std::ptr::null::<u64>(), SET_SIZE);
    }
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Vec<libc::sock_filter>>> {
    let mut filters = Vec::new();
    while !bytes.is_empty() {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(8)?;
        let (instructions, rest) = rest.split_at_checked(length)?;
        let instruction = |b: &[u8]| libc::sock_filter {
            code: u16::from_le_bytes([b[0], b[1]]),
            jt: b[2],
            jf: b[3],
            k: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
        };
        filters.push(instructions.chunks_exact(8).map(instruction).collect());
        bytes = rest;
    }
    Some(filters)
}

fn load(filter: &[libc::sock_filter]) -> std::io::Result<()> {
    let len = u16::try_from(filter.len()).map_err(std::io::Error::other)?;
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program during the call
    let refused =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) } != 0;
    if refused { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Reduces every capability set to `wanted`; inheritable and ambient become empty.
fn give_up_capabilities(wanted: u64) -> std::io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let check = |result: i64| if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: plain prctl calls; numbers the kernel does not know are refused with EINVAL
    unsafe {
        for number in 0..64u64 {
            let held = libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) == 1;
            if held && wanted & (1 << number) == 0 {
                check(libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0).into())?;
            }
        }
        check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0).into())?;
    }
    let header = Header { version: VERSION_3, pid: 0 };
    let mut held = [Data { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: header and data have the layout capget and capset of version 3 expect
    unsafe {
        check(libc::syscall(libc::SYS_capget, &raw const header, held.as_mut_ptr()))?;
        for (half, data) in held.iter_mut().enumerate() {
            let wanted = u32::try_from((wanted >> (32 * half)) & 0xffff_ffff).unwrap_or_default();
            data.permitted &= wanted;
            data.effective &= wanted;
            data.inheritable = 0;
        }
        check(libc::syscall(libc::SYS_capset, &raw const header, held.as_ptr()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_from_a_forbidden_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        std::fs::write(dir.path().join("plain"), "").unwrap();
        assert_eq!(find("sh", "/usr/bin:/bin").unwrap(), "/usr/bin/sh");
        let missing = find("nope", path).unwrap_err();
        assert_eq!(missing.message, "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(missing.kind, Cause::NotFound);
        assert_eq!(find("plain", path).unwrap_err().kind, Cause::PermissionDenied);
        assert_eq!(find("/tmp", "").unwrap_err().message, "exec: \"/tmp\": is a directory");
        let absolute = find("/nope", "").unwrap_err();
        assert_eq!(absolute.message, "exec: \"/nope\": stat /nope: no such file or directory");
    }

    #[test]
    fn a_compiled_profile_is_read_back() {
        let set = crate::capability::Set::requested(&[], &[]).unwrap();
        let filters = parse(&crate::seccomp::runtime_default(set).unwrap()).unwrap();
        assert_eq!(filters.len(), 2);
        assert!(parse(&[1, 0, 0, 0, 9]).is_none());
    }

    #[test]
    fn a_report_names_its_kind() {
        assert_eq!(failure_from(b"pno").unwrap().kind, Cause::PermissionDenied);
        assert!(failure_from(b"").is_none());
    }
}
