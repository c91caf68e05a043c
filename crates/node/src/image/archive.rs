//! Image archives: OCI layout tars, and what `docker save` writes.
//!
//! A tar's members come in any order and the description often last, so the (decompressed) archive
//! is read twice: once for where each member lies, then member by member.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Component, Path};
use std::sync::Arc;

use serde::Deserialize;

use super::reference::{Reference, is_digest};
use super::store::{Addition, Batch, Inner, digest_of};
use super::{ConfigFile, Error, Image, layer};

/// Largest description read into memory.
const DESCRIPTION: u64 = 16 * 1024 * 1024;

/// Where the members of an archive lie.
struct Archive<'a> {
    name: &'a str,
    file: File,
    members: BTreeMap<String, (u64, u64)>,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct ImageIndex {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// One image of docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn load(store: &Arc<Inner>, name: &str, mut file: File) -> Result<Vec<Image>, Error> {
    let failed = || Error::io(format!("read {name}"));
    let mut magic = [0; 4];
    let length = file.read(&mut magic).map_err(failed())?;
    file.rewind().map_err(failed())?;
    let compressed = length == 4 && (magic[..2] == [0x1f, 0x8b] || magic == [0x28, 0xb5, 0x2f, 0xfd]);
    if compressed {
        return load_stream(store, name, file);
    }
    add_all(store, &Archive::open(name, file)?)
}

/// A stream (or a compressed file) is written out plain first.
pub(super) fn load_stream(store: &Arc<Inner>, name: &str, reader: impl Read) -> Result<Vec<Image>, Error> {
    let path = store.aside();
    let failed = || Error::io(format!("unpack {name}"));
    let spool = || -> io::Result<File> {
        let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?; // it lives as long as it is open
        io::copy(&mut layer::decompressed(reader)?, &mut file)?;
        file.rewind()?;
        Ok(file)
    };
    let file = spool().map_err(failed())?;
    add_all(store, &Archive::open(name, file)?)
}

fn add_all(store: &Arc<Inner>, archive: &Archive<'_>) -> Result<Vec<Image>, Error> {
    let mut batch = store.batch()?;
    let mut additions = Vec::new();
    let saved: Vec<Saved> = archive.description("manifest.json")?.unwrap_or_default();
    match archive.description::<ImageIndex>("index.json")? {
        Some(index) => {
            for descriptor in &index.manifests {
                additions.push(add_oci(&mut batch, archive, descriptor, &saved)?);
            }
        }
        None => {
            for image in &saved {
                additions.push(add_saved(&mut batch, archive, image)?);
            }
        }
    }
    if additions.is_empty() {
        return Err(archive.error("it has neither index.json nor manifest.json"));
    }
    batch.finish(additions)
}

fn add_oci(
    batch: &mut Batch,
    archive: &Archive<'_>,
    descriptor: &Descriptor,
    saved: &[Saved],
) -> Result<Addition, Error> {
    let mut digest = descriptor.digest.clone();
    let mut bytes = archive.blob(&digest)?;
    if is_index(&descriptor.media_type) {
        let index: ImageIndex = archive.parse(&digest, &bytes)?;
        let fits = |one: &&Descriptor| one.platform.as_ref().is_none_or(Platform::is_ours);
        let chosen = index.manifests.iter().find(fits);
        let chosen = chosen.ok_or_else(|| archive.error("it has no image for this machine's platform"))?;
        digest.clone_from(&chosen.digest);
        bytes = archive.blob(&digest)?;
    }
    let manifest: Manifest = archive.parse(&digest, &bytes)?;
    let config = archive.blob(&manifest.config.digest)?;
    let layers: Vec<String> = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
    add_layers(batch, archive, &config, &layers)?;
    let annotations = descriptor.annotations.as_ref();
    let annotated = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
        .iter()
        .find_map(|key| annotations?.get(*key).filter(|name| !name.is_empty()));
    let tags = saved.iter().filter(|image| image.config.ends_with(hex_of(&manifest.config.digest)));
    let tags = tags.flat_map(|image| image.repo_tags.iter().flatten());
    let mut references = Vec::new();
    for name in annotated.into_iter().chain(tags) {
        let reference: Reference = name.parse()?;
        references.extend([reference.key(), reference.with_digest(&digest)]);
    }
    Ok(Addition { config, digest: Some(digest), references, pulled: false })
}

fn add_saved(batch: &mut Batch, archive: &Archive<'_>, image: &Saved) -> Result<Addition, Error> {
    let config = archive.read(&image.config)?;
    add_layers(batch, archive, &config, &image.layers)?;
    let tags = image.repo_tags.iter().flatten().map(|tag| tag.parse().map(|tag: Reference| tag.key()));
    Ok(Addition { config, digest: None, references: tags.collect::<Result<_, _>>()?, pulled: false })
}

fn add_layers(batch: &mut Batch, archive: &Archive<'_>, config: &[u8], layers: &[String]) -> Result<(), Error> {
    let id = digest_of(config);
    let parsed: ConfigFile = archive.parse(&id, config)?;
    if parsed.rootfs.diff_ids.len() != layers.len() {
        return Err(Error::Damaged(id, "its configuration and its manifest name different layers".into()));
    }
    for (diff_id, member) in parsed.rootfs.diff_ids.iter().zip(layers) {
        if !is_digest(diff_id) {
            return Err(Error::Damaged(id, format!("layer {diff_id:?} is not named by a sha256 digest")));
        }
        if batch.needs(diff_id) {
            batch.unpack(&id, diff_id, archive.member(member)?)?;
        }
    }
    Ok(())
}

impl Platform {
    fn is_ours(&self) -> bool {
        let ours = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        self.os == "linux" && self.architecture == ours
    }
}

fn is_index(media_type: &str) -> bool {
    media_type.ends_with("image.index.v1+json") || media_type.ends_with("manifest.list.v2+json")
}

fn hex_of(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

impl<'a> Archive<'a> {
    fn open(name: &'a str, file: File) -> Result<Self, Error> {
        let mut members = BTreeMap::new();
        let mut links = Vec::new();
        let mut scan = || -> io::Result<()> {
            let mut tar = tar::Archive::new(&file);
            for entry in tar.entries_with_seek()? {
                let entry = entry?;
                let path = plain(&entry.path()?);
                if let Some(target) = entry.link_name()? {
                    // docker names a layer that occurs twice by a link, relative to the linking member
                    let base = Path::new(&path).parent().unwrap_or(Path::new("")).join(&target);
                    links.push((path, plain(&base), plain(&target)));
                } else {
                    members.insert(path, (entry.raw_file_position(), entry.size()));
                }
            }
            Ok(())
        };
        scan().map_err(|error| Error::Archive { archive: name.to_owned(), why: error.to_string() })?;
        for (path, relative, absolute) in links {
            if let Some(found) = members.get(&relative).or_else(|| members.get(&absolute)).copied() {
                members.insert(path, found);
            }
        }
        Ok(Self { name, file, members })
    }

    fn error(&self, why: impl Into<String>) -> Error {
        Error::Archive { archive: self.name.to_owned(), why: why.into() }
    }

    /// One member, from its start.
    fn member(&self, path: &str) -> Result<impl Read + '_, Error> {
        let (position, size) = self
            .members
            .get(&plain(Path::new(path)))
            .copied()
            .ok_or_else(|| self.error(format!("it has no {path}")))?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(position)).map_err(Error::io(format!("read {}", self.name)))?;
        Ok(file.take(size))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        let mut data = Vec::new();
        let member = self.member(path)?;
        member.take(DESCRIPTION).read_to_end(&mut data).map_err(Error::io(format!("read {}", self.name)))?;
        Ok(data)
    }

    /// A blob of an OCI layout, checked.
    fn blob(&self, digest: &str) -> Result<Vec<u8>, Error> {
        let data = self.read(&blob_path(digest))?;
        if digest_of(&data) != digest {
            return Err(self.error(format!("blob {digest} has other contents")));
        }
        Ok(data)
    }

    fn description<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<Option<T>, Error> {
        if !self.members.contains_key(path) {
            return Ok(None);
        }
        self.parse(path, &self.read(path)?).map(Some)
    }

    fn parse<T: for<'de> Deserialize<'de>>(&self, what: &str, data: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(data).map_err(|error| self.error(format!("{what} cannot be read: {error}")))
    }
}

/// A member's path without `./` and `..`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.join("/")
}
