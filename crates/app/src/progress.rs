//! What a person sees while a cluster starts: a line per stage as it ends, and for a stage that
//! takes long, what it waits for. One owner of the last line, so that log lines do not tear it.
//!
//! The same events go three ways: a terminal (live line, colour only on trouble), plain lines
//! (not a terminal), or JSON lines (`--output json`, and from a detached cluster to its parent).

use std::io::{IsTerminal as _, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A stage that lasts longer than this shows what it waits for.
const PATIENCE: Duration = Duration::from_millis(300);

/// One thing that happened while starting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub(crate) enum Event {
    /// A stage is done.
    Stage { name: String, detail: String, millis: u64 },
    /// A stage still waits for something.
    Waiting { name: String, what: String, millis: u64 },
    /// Everything serves.
    Ready { millis: u64, kubeconfig: String, summary: Vec<(String, String)> },
    /// The start failed; lines as told to a person.
    Failed { lines: Vec<String> },
}

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Terminal,
    Plain,
    Json,
}

/// Shows events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Progress {
    inner: Arc<Inner>,
}

struct Inner {
    style: Style,
    out: Mutex<Out>,
    started: Instant,
}

struct Out {
    to: Box<dyn Write + Send>,
    live: Option<String>,
}

impl Progress {
    /// Progress on standard output, in the style that fits it.
    pub(crate) fn stdout(json: bool) -> Self {
        let style = match (json, std::io::stdout().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Terminal,
            (false, false) => Style::Plain,
        };
        Self::new(style, Box::new(std::io::stdout()))
    }

    pub(crate) fn new(style: Style, to: Box<dyn Write + Send>) -> Self {
        Self { inner: Arc::new(Inner { style, out: Mutex::new(Out { to, live: None }), started: Instant::now() }) }
    }

    /// Milliseconds since the start.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A stage that began at `since` is done.
    pub(crate) fn stage(&self, name: &str, detail: impl Into<String>, since: Instant) {
        let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.show(&Event::Stage { name: name.to_owned(), detail: detail.into(), millis });
    }

    /// Waits for `status` to be ready, telling what it waits for when that takes long.
    pub(crate) async fn wait(&self, mut status: tasks::Status, since: Instant) -> anyhow::Result<()> {
        let name = status.name().to_owned();
        let mut watched = status.clone();
        let ready = status.ready();
        tokio::pin!(ready);
        let mut tick = tokio::time::interval_at(since + PATIENCE, Duration::from_millis(500));
        loop {
            tokio::select! {
                outcome = &mut ready => return outcome,
                state = watched.changed() => if matches!(state, tasks::State::Starting(_)) { continue },
                _ = tick.tick() => {}
            }
            if let tasks::State::Starting(what) = watched.state() {
                let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.show(&Event::Waiting { name: name.clone(), what, millis });
            }
        }
    }

    /// Shows one event.
    pub(crate) fn show(&self, event: &Event) {
        let mut out = self.inner.out.lock();
        let text = match self.inner.style {
            Style::Json => serde_json::to_string(event).expect("invariant: events are plain data"),
            Style::Plain if matches!(event, Event::Waiting { .. }) => return,
            Style::Plain | Style::Terminal => human(event),
        };
        let live = matches!(event, Event::Waiting { .. }) && self.inner.style == Style::Terminal;
        out.print(&text, live);
    }

    /// Writes a log line above the live line.
    pub(crate) fn log(&self, line: &[u8]) {
        let mut out = self.inner.out.lock();
        let live = out.live.clone();
        out.clear();
        if let Err(error) = std::io::stderr().write_all(line) {
            drop(error); // nobody is left to tell
        }
        if let Some(text) = live {
            out.print(&text, true);
        }
    }
}

impl Out {
    fn clear(&mut self) {
        if self.live.take().is_some() {
            self.write(b"\r\x1b[K");
        }
    }

    fn print(&mut self, text: &str, live: bool) {
        self.clear();
        self.write(text.as_bytes());
        if live {
            self.live = Some(text.to_owned());
        } else {
            self.write(b"\n");
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.to.write_all(bytes).and_then(|()| self.to.flush()).is_err() {
            self.to = Box::new(std::io::sink()); // the reader went away; the cluster goes on
        }
    }
}

/// The text of an event, without line end.
pub(crate) fn human(event: &Event) -> String {
    match event {
        Event::Stage { name, detail, millis } => format!("✓ {name:<10} {detail:<42} {:>9}", duration(*millis)),
        Event::Waiting { name, what, millis } if what.is_empty() => {
            format!("· {name:<10} starting, {}", duration(*millis))
        }
        Event::Waiting { name, what, millis } => format!("· {name:<10} waiting for {what}, {}", duration(*millis)),
        Event::Ready { millis, kubeconfig, summary } => {
            let mut text = format!("✓ ready in {:<10} kubeconfig {kubeconfig}", duration(*millis));
            for (name, value) in summary {
                text.push_str(&format!("\n  {name:<10} {value}"));
            }
            text
        }
        Event::Failed { lines } => lines.join("\n"),
    }
}

fn duration(millis: u64) -> String {
    if millis < 1000 { format!("{millis} ms") } else { format!("{}.{:02} s", millis / 1000, millis % 1000 / 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);
    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(style: Style) -> String {
        let screen = Screen::default();
        let progress = Progress::new(style, Box::new(screen.clone()));
        progress.show(&Event::Stage { name: "store".into(), detail: "/var/lib/knarr".into(), millis: 12 });
        progress.show(&Event::Waiting { name: "node".into(), what: "the pod network".into(), millis: 400 });
        progress.show(&Event::Stage { name: "node".into(), detail: "debian12".into(), millis: 1210 });
        String::from_utf8(screen.0.lock().clone()).expect("text")
    }

    #[test]
    fn a_terminal_shows_what_a_stage_waits_for_and_cleans_up_after_it() {
        let screen = shown(Style::Terminal);
        assert!(screen.contains("· node       waiting for the pod network, 400 ms\r\x1b[K✓ node"), "{screen:?}");
    }

    #[test]
    fn without_a_terminal_there_are_no_escape_codes_and_no_waiting_lines() {
        let text = shown(Style::Plain);
        assert!(!text.contains('\x1b'));
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn json_lines_carry_the_same_events() {
        let text = shown(Style::Json);
        let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        assert_eq!(events.len(), 3);
    }
}
