//! One stored response: its head, what it is called, how long it lives, and its body.

use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::AGE;
use pingora_cache::CacheMeta;
use pingora_cache::key::HashBinary;
use pingora_http::ResponseHeader;

/// A key as it is kept: a hash of what tells the object apart, with its variant.
pub(crate) type Key = HashBinary;

/// What an object is called, for those who purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) url: Arc<str>,
    pub(crate) tags: Arc<[Arc<str>]>,
}

/// How long an object lives, and what pingora must get back as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) fresh_until: SystemTime,
    /// Since then it ages.
    pub(crate) born: SystemTime,
    /// Since when its family of variants is valid.
    pub(crate) provenance: SystemTime,
    pub(crate) stale_while_revalidate: u32,
    pub(crate) stale_if_error: u32,
    pub(crate) variance: Option<HashBinary>,
}

/// All of an object but its body.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) key: Key,
    pub(crate) label: Arc<Label>,
    pub(crate) life: Life,
    pub(crate) header: ResponseHeader,
}

/// Where the body is. Clones share it.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Memory(Bytes),
    File(FileBody),
}

/// A body in a file of its own, which never changes; each block has a checksum.
#[derive(Clone, Debug)]
pub(crate) struct FileBody {
    pub(crate) file: Arc<File>,
    pub(crate) generation: u64,
    pub(crate) length: u64,
    pub(crate) sums: Arc<[u32]>,
}

/// A stored response.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) head: Head,
    pub(crate) body: Body,
}

impl Life {
    /// The life that pingora's meta tells of.
    pub(crate) fn of(meta: &CacheMeta) -> Self {
        Self {
            fresh_until: meta.fresh_until(),
            born: meta.epoch(),
            provenance: meta.provenance(),
            stale_while_revalidate: meta.stale_while_revalidate_sec(),
            stale_if_error: meta.stale_if_error_sec(),
            variance: meta.variance(),
        }
    }

    /// The same, stale since `now` at the latest.
    pub(crate) fn expired(mut self, now: SystemTime) -> Self {
        self.fresh_until = self.fresh_until.min(now);
        self
    }
}

impl Head {
    /// What pingora gets to see.
    pub(crate) fn meta(&self) -> CacheMeta {
        let Life { fresh_until, provenance, stale_while_revalidate, stale_if_error, born, variance } = self.life;
        // What pingora calls "created" it only compares with the provenance of the family.
        let mut meta =
            CacheMeta::new(fresh_until, provenance, stale_while_revalidate, stale_if_error, self.header.clone());
        meta.set_epoch_override(born);
        if let Some(variance) = variance {
            meta.set_variance(variance);
        }
        meta
    }

    /// What it costs to keep the head, about.
    pub(crate) fn weight(&self) -> u64 {
        let fields: usize =
            self.header.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        let tags: usize = self.label.tags.iter().map(|tag| tag.len() + 64).sum();
        (fields + tags + self.label.url.len() + 512) as u64
    }
}

impl Body {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file) => file.length,
        }
    }
}

impl Object {
    /// What it costs to keep it in memory, about.
    pub(crate) fn weight(&self) -> u64 {
        let body = match &self.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::File(file) => file.sums.len() as u64 * 4,
        };
        self.head.weight() + body
    }
}

/// A header as it is kept: an object's age is computed, not stored.
pub(crate) fn kept(header: &ResponseHeader) -> ResponseHeader {
    let mut header = header.clone();
    header.remove_header(&AGE);
    header
}
