//! Container logs in CRI format: choosing lines, and following a file while it grows.
//!
//! Invariant: following is driven by inotify and by the container's end, never by a timer; a slow
//! reader slows only itself, through a bounded channel.

use std::future::Future;
use std::io::{self, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::inotify;
use tokio::fs::File;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use std::convert::Infallible;

const CHUNK: usize = 64 << 10;
const LAST_WORDS: u64 = 2048;
const LAST_LINES: usize = 80;

/// What part of a log is wanted, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail: Option<usize>,
    pub since: Option<Timestamp>,
    pub limit: Option<usize>,
    pub stream: Option<Stream>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Options {
    pub(crate) fn parse(query: &str, now: Timestamp) -> Result<Self, String> {
        let mut options = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = || value.parse::<usize>().map_err(|_| format!("{key}={value} is not a number"));
            let flag = || matches!(&*value, "true" | "1" | "t" | "T" | "TRUE" | "True");
            match &*key {
                "follow" => options.follow = flag(),
                "previous" => options.previous = flag(),
                "timestamps" => options.timestamps = flag(),
                "tailLines" => options.tail = Some(number()?),
                "limitBytes" => options.limit = Some(number()?),
                "sinceSeconds" => {
                    let seconds = i64::try_from(number()?).unwrap_or(i64::MAX);
                    options.since = now.checked_sub(SignedDuration::from_secs(seconds)).ok();
                }
                "sinceTime" => options.since = Some(base::time::parse(&value).map_err(|error| error.to_string())?),
                "stream" => {
                    options.stream = match &*value {
                        "Stdout" => Some(Stream::Stdout),
                        "Stderr" => Some(Stream::Stderr),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// One line of a CRI log.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    time: &'a str,
    stream: Stream,
    partial: bool,
    content: &'a [u8],
}

/// `2026-01-02T03:04:05.000000006Z stdout F text`
fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let tags = parts.next()?;
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Line { time, stream, partial, content: parts.next().unwrap_or_default() })
}

/// Picks lines and puts them into the form asked for.
struct Picker {
    options: Options,
    left: Option<usize>,
    /// The last piece was partial: the next one of the line gets no timestamp of its own.
    inside: bool,
}

impl Picker {
    fn new(options: Options) -> Self {
        Self { left: options.limit, options, inside: false }
    }

    fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    fn take(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(line) = parse(line) else { return };
        if self.options.stream.is_some_and(|wanted| wanted != line.stream) {
            return;
        }
        if let Some(since) = self.options.since
            && line.time.parse::<Timestamp>().is_ok_and(|time| time < since)
        {
            return;
        }
        let begin = out.len();
        if self.options.timestamps && !self.inside {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.content);
        if !line.partial {
            out.push(b'\n');
        }
        self.inside = line.partial;
        if let Some(left) = &mut self.left {
            let taken = (out.len() - begin).min(*left);
            out.truncate(begin + taken);
            *left -= taken;
        }
    }
}

/// The attempts a container has logs of, oldest first.
pub(crate) fn attempts(dir: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<u32> = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    found.sort_unstable();
    found
}

/// The end of a log as a termination message: at most 2 KiB and 80 lines.
pub(crate) fn last_words(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        use std::io::{Read as _, Seek as _};
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS * 4)))?;
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        Ok(data)
    };
    let data = match read() {
        Ok(data) => data,
        Err(error) => {
            tracing::debug!("reading {}: {error}", path.display());
            return String::new();
        }
    };
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let mut picker = Picker::new(Options::default());
    let mut text = Vec::new();
    for line in &lines[lines.len().saturating_sub(LAST_LINES + 1)..] {
        picker.take(line, &mut text);
    }
    let from = text.len().saturating_sub(usize::try_from(LAST_WORDS).unwrap_or(usize::MAX));
    String::from_utf8_lossy(&text[from..]).into_owned()
}

type LogBody = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

/// The log as a response body. With `follow` it ends some time after `ended` has.
pub(crate) async fn stream(
    path: PathBuf,
    options: Options,
    ended: impl Future<Output = ()> + Send + 'static,
) -> io::Result<LogBody> {
    let reader = Reader::open(&path, options, Box::pin(ended)).await?;
    let frames = stream::unfold(reader, |mut reader| async move {
        match reader.next().await {
            Ok(Some(data)) => Some((Ok(Frame::data(data)), reader)),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!("reading a log: {error}");
                None
            }
        }
    });
    Ok(StreamBody::new(frames.boxed()))
}

struct Reader {
    file: File,
    picker: Picker,
    rest: Vec<u8>,
    changes: Option<AsyncFd<OwnedFd>>,
    ended: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
}

impl Reader {
    async fn open(
        path: &Path,
        options: Options,
        ended: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> io::Result<Self> {
        let changes = if options.follow { Some(watch(path)?) } else { None };
        let mut file = File::open(path).await?;
        if let Some(tail) = options.tail {
            let from = tail_offset(&mut file, tail).await?;
            file.seek(SeekFrom::Start(from)).await?;
        }
        let over = !options.follow;
        Ok(Self { file, picker: Picker::new(options), rest: Vec::new(), changes, ended, over })
    }

    /// The next piece of output; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.picker.is_full() {
                return Ok(None);
            }
            let before = self.rest.len();
            self.rest.reserve(CHUNK);
            let read = (&mut self.file).take(CHUNK as u64).read_to_end(&mut self.rest).await?;
            debug_assert_eq!(self.rest.len(), before + read, "invariant: reading appends");
            if read > 0 {
                let out = self.pick();
                if !out.is_empty() {
                    return Ok(Some(Bytes::from(out)));
                }
                continue;
            }
            if self.over {
                return Ok(None);
            }
            self.wait().await?;
        }
    }

    fn pick(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut begin = 0;
        while let Some(end) = self.rest[begin..].iter().position(|byte| *byte == b'\n') {
            self.picker.take(&self.rest[begin..begin + end], &mut out);
            begin += end + 1;
        }
        self.rest.drain(..begin);
        out
    }

    async fn wait(&mut self) -> io::Result<()> {
        let Some(changes) = &self.changes else {
            self.over = true;
            return Ok(());
        };
        tokio::select! {
            ready = changes.readable() => {
                let mut ready = ready?;
                let mut events = [0_u8; 4096];
                match rustix::io::read(ready.get_inner(), &mut events) {
                    Ok(_) => {}
                    Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                    Err(error) => return Err(error.into()),
                }
            }
            () = &mut self.ended => self.over = true,
        }
        Ok(())
    }
}

fn watch(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let notify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&notify, path, inotify::WatchFlags::MODIFY)?;
    // SAFETY: the descriptor is owned and goes into the AsyncFd, which alone keeps it until dropped.
    unsafe { AsyncFd::register(notify) }.map_err(io::Error::from)
}

/// Where the last `lines` lines of the file begin.
async fn tail_offset(file: &mut File, lines: usize) -> io::Result<u64> {
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let (mut end, mut seen) = (length, 0_usize);
    let mut buffer = vec![0_u8; CHUNK];
    while end > 0 {
        let begin = end.saturating_sub(CHUNK as u64);
        let size = usize::try_from(end - begin).unwrap_or(CHUNK);
        file.seek(SeekFrom::Start(begin)).await?;
        file.read_exact(&mut buffer[..size]).await?;
        for at in (0..size).rev() {
            let offset = begin + at as u64;
            if buffer[at] == b'\n' && offset + 1 != length {
                seen += 1;
                if seen == lines {
                    return Ok(offset + 1);
                }
            }
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
