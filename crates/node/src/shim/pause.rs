//! The first process of a pod whose containers share one process namespace: it only exists.

use std::io;

/// Waits for a signal that ends it; the kernel reaps the orphans it inherits.
pub(super) fn run() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::thread::set_name(c"pause")?;
    // SAFETY: ignoring SIGCHLD makes the kernel reap; as pid 1, SIGTERM and SIGINT would
    // otherwise be ignored
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, end as *const () as libc::sighandler_t);
        libc::signal(libc::SIGINT, end as *const () as libc::sighandler_t);
        loop {
            libc::pause();
        }
    }
}

extern "C" fn end(_signal: libc::c_int) {
    // SAFETY: _exit may be called from a signal handler
    unsafe { libc::_exit(0) }
}
