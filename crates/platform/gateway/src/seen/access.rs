//! A line of JSON per request, to a file or to standard output.
//!
//! Invariants: a request never waits for the disk: what the writer does not keep up with is lost,
//! and counted; texts of clients are quoted, so that a line is always a line.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

/// Lines that wait for the writer.
const WAITING: usize = 4096;
/// Lines are written at the latest when this many bytes wait.
const TOGETHER: usize = 64 << 10;

/// Where lines about requests go.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: mpsc::Sender<Vec<u8>>,
    lost: Arc<AtomicU64>,
    /// Of all requests this part is written, 0 to 1.
    sample: f64,
}

/// One request.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When it came, RFC 3339.
    pub time: String,
    /// From where.
    pub client: Option<std::net::SocketAddr>,
    /// Its method.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Its host, as written.
    pub host: &'a str,
    /// Its path, without the query, which may hold secrets.
    pub path: &'a str,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// The status of the answer; 0 when the client was gone.
    pub status: u16,
    /// Bytes of its body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// How long it took, seconds.
    pub seconds: f64,
    /// The object whose rule it was for.
    pub route: Option<String>,
    /// The service that answered.
    pub backend: Option<String>,
    /// The pod that answered.
    pub endpoint: Option<std::net::SocketAddr>,
    /// Who it was, as guards say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<&'a str>,
    /// Tries at backends.
    pub tries: u32,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<&'a str>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The trace it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What the client says it is.
    pub agent: Option<&'a str>,
}

impl AccessLog {
    /// Appends to the file at `path` (standard output for `-`) by a task of `ctx`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &str, sample: f64, ctx: &tasks::Context) -> anyhow::Result<Self> {
        let (lines, waiting) = mpsc::channel(WAITING);
        let file = if path == "-" {
            std::io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from)
        } else {
            std::fs::OpenOptions::new().create(true).append(true).open(path)
        };
        let file = file.with_context(|| format!("cannot append to the access log {path}"))?;
        ctx.children.spawn("access log", write(tokio::fs::File::from_std(file), waiting));
        Ok(Self { lines, lost: Arc::default(), sample })
    }

    /// True when the next request is to be written.
    #[must_use]
    pub fn takes(&self) -> bool {
        self.sample >= 1.0 || fastrand::f64() < self.sample
    }

    /// Writes a line, soon.
    pub fn write(&self, line: &Line<'_>) {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        if self.lines.try_send(text).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

async fn write(mut file: tokio::fs::File, mut waiting: mpsc::Receiver<Vec<u8>>) {
    let mut together = Vec::with_capacity(TOGETHER);
    while let Some(line) = waiting.recv().await {
        together.extend_from_slice(&line);
        while together.len() < TOGETHER
            && let Ok(line) = waiting.try_recv()
        {
            together.extend_from_slice(&line);
        }
        let written = async {
            file.write_all(&together).await?;
            file.flush().await
        };
        if let Err(error) = written.await {
            tracing::warn!("cannot write the access log: {error}");
        }
        together.clear();
    }
}
