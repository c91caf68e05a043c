//! The shim's loop while its container runs: output to the log and to whoever is attached, input
//! and requests from the shim socket, children reaped, the end noticed.
//!
//! Invariant: nothing here waits but the one poll. A client that does not read loses its
//! connection, not the container its output.

mod client;

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, WaitOptions, WaitStatus};

use self::client::Client;
use super::console;
use super::container::Stdio;
use super::exec::exit_code;
use super::log::{Log, Stream};
use super::wire::{Plan, frame};
use crate::cgroup::oom_kills;
use crate::runtime::Exit;

/// Most input kept for a container that does not read it.
const INPUT: usize = 64 * 1024;

/// Our side of the container's descriptors.
pub(super) struct Streams {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: bool,
}

impl Streams {
    pub(super) fn terminal(terminal: OwnedFd) -> Self {
        let input = terminal.try_clone().ok();
        Self { stdin: input, stdout: Some(terminal), stderr: None, terminal: true }
    }

    /// Pipes that belong to the container's user, who may open them again by `/dev/stdout`.
    pub(super) fn pipes(stdin: bool, uid: u32) -> io::Result<(Stdio, Self)> {
        let pipe = || -> io::Result<(OwnedFd, OwnedFd)> {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            rustix::fs::fchown(&read, Some(rustix::fs::Uid::from_raw(uid)), None)?;
            Ok((read, write))
        };
        let (stdout, their_stdout) = pipe()?;
        let (stderr, their_stderr) = pipe()?;
        let (their_stdin, stdin) =
            if stdin { pipe().map(|(read, write)| (Some(read), Some(write)))? } else { (None, None) };
        let theirs = Stdio { stdin: their_stdin, stdout: Some(their_stdout), stderr: Some(their_stderr) };
        Ok((theirs, Self { stdin, stdout: Some(stdout), stderr: Some(stderr), terminal: false }))
    }
}

pub(super) struct Monitor {
    pid: Pid,
    plan: Plan,
    streams: Streams,
    /// Input the container has not taken yet, and whether its end follows.
    input: Vec<u8>,
    input_ends: bool,
    log: Log,
    listener: UnixListener,
    clients: Vec<Client>,
    children: OwnedFd,
    ended: Option<WaitStatus>,
}

impl Monitor {
    pub(super) fn new(pid: i32, streams: Streams, log: Log, listener: UnixListener, plan: Plan) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("the container has no process"))?;
        for stream in [&streams.stdin, &streams.stdout, &streams.stderr].into_iter().flatten() {
            let flags = rustix::fs::fcntl_getfl(stream)?;
            rustix::fs::fcntl_setfl(stream, flags | rustix::fs::OFlags::NONBLOCK)?;
        }
        listener.set_nonblocking(true)?;
        // only now: the container would have inherited the blocked signal
        let children = child_signals()?;
        Ok(Self {
            pid,
            plan,
            streams,
            input: Vec::new(),
            input_ends: false,
            log,
            listener,
            clients: Vec::new(),
            children,
            ended: None,
        })
    }

    /// Until the container has ended and its output is in the log.
    pub(super) fn run(mut self) -> io::Result<Exit> {
        self.reap()?; // it may have ended before we listened
        while self.ended.is_none() {
            self.turn()?;
        }
        self.drain(Stream::Stdout);
        self.drain(Stream::Stderr);
        for client in &mut self.clients {
            client.finish();
        }
        let status = self.ended.ok_or_else(|| io::Error::other("no exit status"))?;
        let code = exit_code(status);
        let killed = self.plan.oom_file.as_deref().is_some_and(|file| oom_kills(file) > 0);
        let finished = Timestamp::now();
        Ok(Exit { code, signal: status.terminating_signal(), oom: killed && code != 0, finished, lost: false })
    }

    /// Waits for something to happen and does what it asks for.
    fn turn(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(5 + self.clients.len());
        let room = self.input.len() < INPUT;
        events.push(PollFd::new(&self.children, PollFlags::IN));
        events.push(PollFd::new(&self.listener, PollFlags::IN));
        let stdin = self.streams.stdin.as_ref().filter(|_| !self.input.is_empty());
        let watched = [
            (stdin, PollFlags::OUT),
            (self.streams.stdout.as_ref(), PollFlags::IN),
            (self.streams.stderr.as_ref(), PollFlags::IN),
        ];
        let mut indexes = [None; 3];
        for (index, (stream, flags)) in watched.into_iter().enumerate() {
            if let Some(stream) = stream {
                indexes[index] = Some(events.len());
                events.push(PollFd::new(stream, flags));
            }
        }
        let first_client = events.len();
        events.extend(self.clients.iter().map(|client| PollFd::new(client, client.interest(room))));
        match rustix::event::poll(&mut events, None) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            other => other?,
        };
        let happened: Vec<bool> = events.iter().map(|event| !event.revents().is_empty()).collect();
        drop(events);
        let at = |index: Option<usize>| index.is_some_and(|index| happened[index]);
        if at(indexes[1]) {
            self.read(Stream::Stdout);
        }
        if at(indexes[2]) {
            self.read(Stream::Stderr);
        }
        if at(indexes[0]) {
            self.write_input();
        }
        self.serve(&happened[first_client..]);
        if happened[1] {
            self.accept();
        }
        if happened[0] {
            self.reap()?;
        }
        Ok(())
    }

    fn source(&mut self, stream: Stream) -> &mut Option<OwnedFd> {
        match stream {
            Stream::Stdout => &mut self.streams.stdout,
            Stream::Stderr => &mut self.streams.stderr,
        }
    }

    /// Takes what is there now; false when there was nothing.
    fn read(&mut self, stream: Stream) -> bool {
        let mut buffer = [0; frame::PIECE];
        let source = self.source(stream);
        let Some(open) = source else { return false };
        match rustix::io::read(&*open, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO) => {
                *source = None; // a terminal ends with an error
                self.log.finish(stream, Timestamp::now());
                false
            }
            Ok(count) => {
                self.log.add(stream, &buffer[..count], Timestamp::now());
                let kind = if stream == Stream::Stdout { frame::STDOUT } else { frame::STDERR };
                self.clients.iter_mut().for_each(|client| client.output(kind, &buffer[..count]));
                true
            }
            Err(_) => false,
        }
    }

    /// After the end: what is still in the pipe. Bounded, as a process outside of the container's
    /// process namespace may go on writing.
    fn drain(&mut self, stream: Stream) {
        let mut rounds = 1024;
        while rounds > 0 && self.read(stream) {
            rounds -= 1;
        }
        self.log.finish(stream, Timestamp::now());
    }

    fn write_input(&mut self) {
        let Some(stdin) = &self.streams.stdin else {
            self.input.clear();
            return;
        };
        match rustix::io::write(stdin, &self.input) {
            Ok(count) => drop(self.input.drain(..count)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => {
                self.input.clear(); // the container closed its input
                self.streams.stdin = None;
            }
        }
        if self.input.is_empty() {
            self.input.shrink_to(0);
            if self.input_ends && !self.streams.terminal {
                self.streams.stdin = None;
            }
        }
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => self.clients.push(Client::new(stream)),
            Ok(_) => {}
            Err(error) => eprintln!("knarr shim: cannot accept: {error}"),
        }
    }

    fn serve(&mut self, happened: &[bool]) {
        let mut clients = std::mem::take(&mut self.clients);
        for (client, happened) in clients.iter_mut().zip(happened) {
            if *happened {
                client.receive();
                while let Some((kind, data)) = client.next_request() {
                    self.answer(client, kind, &data);
                }
                client.flush();
            }
        }
        let attached = clients.iter().any(|client| client.attached && client.gone);
        clients.retain(|client| !client.gone);
        if attached && self.plan.stdin_once {
            self.end_input();
        }
        self.clients = clients;
    }

    fn end_input(&mut self) {
        self.input_ends = true;
        self.write_input();
    }

    fn answer(&mut self, client: &mut Client, kind: u8, data: &[u8]) {
        let outcome = match (kind, data) {
            (frame::STDIN, []) if self.plan.stdin_once => {
                self.end_input();
                return;
            }
            (frame::STDIN, data) => {
                if self.streams.stdin.is_some() && !self.input_ends {
                    self.input.extend(data);
                    self.write_input();
                }
                return;
            }
            (frame::KILL, &[a, b, c, d]) => self.kill(i32::from_le_bytes([a, b, c, d])),
            (frame::RESIZE, &[a, b, c, d]) => self.resize(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
            (frame::REOPEN_LOG, []) => self.log.reopen(),
            (frame::ATTACH, []) => {
                client.attached = true;
                Ok(())
            }
            _ => Err(io::Error::other("unknown request")),
        };
        match outcome {
            Ok(()) => client.send(frame::OK, &[]),
            Err(error) => client.send(frame::REFUSED, error.to_string().as_bytes()),
        }
    }

    fn kill(&self, signal: i32) -> io::Result<()> {
        // SAFETY: plain system call; the process is our unreaped child, so the number is its own
        let result = unsafe { libc::kill(self.pid.as_raw_nonzero().get(), signal) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        match &self.streams.stdout {
            Some(terminal) if self.streams.terminal => console::resize(terminal, columns, rows),
            _ => Ok(()),
        }
    }

    /// Collects every ended child; the container's own status is kept.
    fn reap(&mut self) -> io::Result<()> {
        let mut signals = [0; 1024];
        // what the signals say does not matter; they merge anyway
        while rustix::io::read(&self.children, &mut signals).is_ok_and(|count| count > 0) {}
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid == self.pid {
                        self.ended = Some(status);
                    }
                }
                Ok(None) => return Ok(()),
                Err(rustix::io::Errno::CHILD) if self.ended.is_some() => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A descriptor that is readable when a child ended.
fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before use; signalfd returns a new descriptor or -1
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}
