//! Unpacking one layer into a directory that overlayfs can use as it is.
//!
//! Owners, modes, times, extended attributes, devices and fifos are kept; whiteouts become
//! overlayfs's own. Invariant: nothing is written outside of the directory, whatever the archive
//! names.

use std::fs;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use sha2::{Digest as _, Sha256};
use tar::{Entry, EntryType};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Aufs's own bookkeeping, of no meaning here.
const AUFS: &[u8] = b".wh..wh.";

/// Reads plain, gzip or zstd data as plain.
pub(super) fn decompressed<'a>(reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut reader = BufReader::with_capacity(128 * 1024, reader);
    let mut magic = [0; 4];
    let mut known = 0;
    while known < magic.len() {
        match reader.read(&mut magic[known..])? {
            0 => break,
            count => known += count,
        }
    }
    let whole = io::Cursor::new(magic[..known].to_vec()).chain(reader);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

/// What came out of a layer.
pub(super) struct Unpacked {
    /// `sha256:...` of the uncompressed archive.
    pub(super) diff_id: String,
    /// Bytes in regular files.
    pub(super) size: u64,
}

/// Unpacks a layer (plain or compressed) into the empty directory `into`.
pub(super) fn unpack(layer: impl Read, into: &Path) -> io::Result<Unpacked> {
    let mut hashed = Hashed { inner: decompressed(layer)?, hash: Sha256::new() };
    let mut archive = tar::Archive::new(&mut hashed);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(true);
    let mut directories = Vec::new();
    let mut size = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if path.components().all(|part| matches!(part, Component::CurDir | Component::RootDir)) {
            set_root(into, &entry)?; // the root directory itself
            continue;
        }
        let described =
            |error: io::Error| io::Error::other(format!("{}: {}", path.display(), base::error::chain(&error)));
        match one(&mut entry, &path, into).map_err(described)? {
            Made::File(bytes) => size += bytes,
            Made::Directory => directories.push((into.join(&path), entry.header().mtime()?)),
            Made::Nothing => {}
        }
    }
    // a directory's time changes with each entry made in it, so theirs come last
    for (directory, mtime) in directories.into_iter().rev() {
        let time = Timespec { tv_sec: i64::try_from(mtime).unwrap_or_default(), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &directory, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    }
    io::copy(&mut hashed, &mut io::sink())?; // the padding belongs to the digest
    Ok(Unpacked { diff_id: format!("sha256:{}", hex::encode(hashed.hash.finalize())), size })
}

enum Made {
    File(u64),
    Directory,
    Nothing,
}

fn one(entry: &mut Entry<'_, impl Read>, path: &Path, into: &Path) -> io::Result<Made> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let parent = path.parent().unwrap_or(Path::new(""));
    if name == OPAQUE {
        let directory = open_parent(into, parent)?;
        rustix::fs::fsetxattr(&directory, "trusted.overlay.opaque", b"y", XattrFlags::empty())?;
        return Ok(Made::Nothing);
    }
    if name.starts_with(AUFS) {
        return Ok(Made::Nothing);
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        make_whiteout(&open_parent(into, parent)?, hidden)?;
        return Ok(Made::Nothing);
    }
    if fs::symlink_metadata(into.join(path)).is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
    {
        fs::remove_file(into.join(path))?; // a whiteout that came before the thing itself
    }
    match entry.header().entry_type() {
        EntryType::Char => make_node(entry, path, into, FileType::CharacterDevice),
        EntryType::Block => make_node(entry, path, into, FileType::BlockDevice),
        EntryType::Fifo => make_node(entry, path, into, FileType::Fifo),
        EntryType::Directory => {
            entry.unpack_in(into)?;
            Ok(Made::Directory)
        }
        _ => {
            entry.unpack_in(into)?;
            Ok(Made::File(entry.header().entry_size().unwrap_or_default()))
        }
    }
}

/// A directory of the layer, made if missing, every symbolic link taken as if `into` were `/`.
fn open_parent(into: &Path, parent: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(into, flags, Mode::empty())?;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut reached = PathBuf::from(".");
    let mut directory = rustix::fs::openat2(&root, ".", flags, Mode::empty(), within)?;
    for part in parent.components() {
        let Component::Normal(part) = part else { continue };
        match rustix::fs::mkdirat(&directory, part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        reached.push(part);
        directory = rustix::fs::openat2(&root, &reached, flags, Mode::empty(), within)?;
    }
    Ok(directory)
}

fn make_whiteout(parent: &OwnedFd, hidden: &[u8]) -> io::Result<()> {
    if hidden.is_empty() || hidden == b"." || hidden == b".." {
        return Err(io::Error::other("a whiteout without a name"));
    }
    match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
        // the layer hides what is below and brings its own
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn make_node(entry: &Entry<'_, impl Read>, path: &Path, into: &Path, kind: FileType) -> io::Result<Made> {
    let header = entry.header();
    let parent = open_parent(into, path.parent().unwrap_or(Path::new("")))?;
    let name = path.file_name().ok_or_else(|| io::Error::other("a device without a name"))?;
    let device = match kind {
        FileType::Fifo => 0, // its header has no numbers
        _ => {
            rustix::fs::makedev(header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default())
        }
    };
    let mode = Mode::from_raw_mode(header.mode()? & 0o7777);
    let (uid, gid) = (to_id(header.uid()?)?, to_id(header.gid()?)?);
    rustix::fs::mknodat(&parent, name, kind, mode, device)?;
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(&parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)?;
    // the umask took some bits away
    rustix::fs::chmodat(&parent, name, mode, rustix::fs::AtFlags::empty())?;
    Ok(Made::Nothing)
}

fn set_root(into: &Path, entry: &Entry<'_, impl Read>) -> io::Result<()> {
    let header = entry.header();
    let (uid, gid) = (to_id(header.uid()?)?, to_id(header.gid()?)?);
    rustix::fs::chown(into, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok(rustix::fs::chmod(into, Mode::from_raw_mode(header.mode()? & 0o7777))?)
}

fn to_id(id: u64) -> io::Result<u32> {
    u32::try_from(id).map_err(io::Error::other)
}

/// Computes the digest of what is read through it.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn header(kind: EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000);
        header
    }

    fn archive(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        build(&mut builder);
        builder.into_inner().unwrap()
    }

    fn add(builder: &mut tar::Builder<Vec<u8>>, kind: EntryType, mode: u32, path: &str, data: &[u8]) {
        let mut header = header(kind, mode, data.len());
        builder.append_data(&mut header, path, data).unwrap();
    }

    #[test]
    fn everything_a_layer_may_hold_is_unpacked() {
        let data = archive(|builder| {
            add(builder, EntryType::Directory, 0o750, "d", b"");
            add(builder, EntryType::Regular, 0o4755, "d/setuid", b"12345");
            let mut link = header(EntryType::Link, 0o644, 0);
            builder.append_link(&mut link, "d/hard", "d/setuid").unwrap();
            let mut link = header(EntryType::Symlink, 0o777, 0);
            builder.append_link(&mut link, "d/soft", "/etc/passwd").unwrap();
            let mut device = header(EntryType::Char, 0o666, 0);
            device.set_device_major(1).unwrap();
            device.set_device_minor(3).unwrap();
            builder.append_data(&mut device, "null", io::empty()).unwrap();
            add(builder, EntryType::Fifo, 0o622, "pipe", b"");
            add(builder, EntryType::Regular, 0, "gone/.wh.file", b"");
            add(builder, EntryType::Regular, 0, "all/.wh..wh..opq", b"");
        });
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let at = |path: &str| fs::symlink_metadata(dir.path().join(path)).unwrap();
        let unpacked = unpack(data.as_slice(), dir.path()).unwrap();
        assert_eq!((unpacked.size, unpacked.diff_id), (5, format!("sha256:{}", hex::encode(Sha256::digest(&data)))));
        let file = at("d/setuid");
        assert_eq!((file.permissions().mode() & 0o7777, file.uid(), file.gid(), file.nlink()), (0o4755, 7, 8, 2));
        assert_eq!((at("d").mtime(), at("d").permissions().mode() & 0o777), (1_000_000, 0o750));
        assert_eq!(fs::read_link(dir.path().join("d/soft")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!((at("null").rdev(), at("null").permissions().mode() & 0o777), (rustix::fs::makedev(1, 3), 0o666));
        assert!(at("pipe").file_type().is_fifo());
        assert!(at("gone/file").file_type().is_char_device() && at("gone/file").rdev() == 0);
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(dir.path().join("all"), "trusted.overlay.opaque", &mut value).unwrap();
        assert_eq!(&value[..length], b"y");
    }

    #[test]
    fn a_file_takes_the_place_of_its_own_whiteout() {
        let data = archive(|builder| {
            add(builder, EntryType::Regular, 0, ".wh.a", b"");
            add(builder, EntryType::Regular, 0o644, "a", b"new");
            add(builder, EntryType::Regular, 0, ".wh.a", b"");
        });
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        unpack(data.as_slice(), dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "new");
    }

    #[test]
    fn nothing_leaves_the_directory() {
        let outside = tempfile::tempdir_in("/var/tmp").unwrap();
        let data = archive(|builder| {
            let mut link = header(EntryType::Symlink, 0o777, 0);
            builder.append_link(&mut link, "out", outside.path()).unwrap();
            add(builder, EntryType::Regular, 0, "out/.wh.victim", b"");
        });
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        // the link is followed inside the layer's own root, where its target does not exist
        assert!(unpack(data.as_slice(), dir.path()).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn compressed_layers_have_the_digest_of_the_plain_one() {
        let data = archive(|builder| add(builder, EntryType::Regular, 0o644, "a", &[b'x'; 5000]));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&data).unwrap();
        let compressed = [data.clone(), gzip.finish().unwrap(), zstd::encode_all(data.as_slice(), 1).unwrap()];
        for layer in compressed {
            let dir = tempfile::tempdir_in("/var/tmp").unwrap();
            let unpacked = unpack(layer.as_slice(), dir.path()).unwrap();
            assert_eq!(unpacked.diff_id, format!("sha256:{}", hex::encode(Sha256::digest(&data))));
        }
    }
}
