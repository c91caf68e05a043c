//! Where log lines go: standard error, above the live progress line.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::progress::Progress;

/// Noise of libraries that says nothing to the owner of a cluster.
const QUIET: &str = "hyper=warn,h2=warn,rustls=warn,tower=warn,kube=warn,kube_client=warn,kube_runtime=error,pingora=warn,pingora_core=warn,pingora_proxy=error,hickory_server=error,hickory_proto=error,hickory_resolver=error,netlink_packet_route=error,oci_client=warn,reqwest=warn";

/// Starts logging what `filter` names.
pub(crate) fn start(filter: &str, progress: &Progress) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))?;
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Lines(progress.clone()))
        .try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

struct Lines(Progress);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line { progress: self.0.clone(), text: Vec::new() }
    }
}

/// Collects one line and hands it over whole.
struct Line {
    progress: Progress,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.progress.log(&self.text);
    }
}
