//! Which pod has which address: one small file per address in the run directory.
//!
//! A file is made with `create_new`, so that two pods never get the same address, and lives in
//! the run directory, so that a reboot (which ends all pods) frees all of them. Addresses are
//! handed out in order and not reused at once, since peers may still remember the last owner.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The addresses of this node.
#[derive(Debug)]
pub(crate) struct Ipam {
    dir: PathBuf,
    first: u32,
    last: u32,
    held: BTreeMap<u32, String>,
    next: u32,
}

impl Ipam {
    /// Addresses of `network/bits` but the network's own, the gateway's (the first) and the
    /// broadcast address; those handed out before are read from `dir`.
    pub(crate) fn open(dir: PathBuf, network: Ipv4Addr, bits: u8) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let size = 1_u32 << (32 - u32::from(bits.clamp(8, 30)));
        let base = u32::from(network);
        let (first, last) = (base + 2, base + size - 2);
        let mut held = BTreeMap::new();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if let Some(address) = entry.file_name().to_str().and_then(|name| name.parse::<Ipv4Addr>().ok()) {
                held.insert(u32::from(address), fs::read_to_string(entry.path())?);
            }
        }
        let next = held.keys().next_back().map_or(first, |last| last + 1);
        Ok(Self { dir, first, last, held, next })
    }

    /// The address of pod `uid`: the one it has, or a free one; `None` when all are taken.
    pub(crate) fn assign(&mut self, uid: &str) -> io::Result<Option<Ipv4Addr>> {
        if let Some(address) = self.of(uid) {
            return Ok(Some(address));
        }
        let next = if (self.first..=self.last).contains(&self.next) { self.next } else { self.first };
        let Some(free) = (next..=self.last).chain(self.first..next).find(|address| !self.held.contains_key(address))
        else {
            return Ok(None);
        };
        let address = Ipv4Addr::from(free);
        let mut file = OpenOptions::new().write(true).create_new(true).open(self.dir.join(address.to_string()))?;
        file.write_all(uid.as_bytes())?;
        self.held.insert(free, uid.to_owned());
        self.next = free + 1;
        Ok(Some(address))
    }

    /// The address pod `uid` has.
    pub(crate) fn of(&self, uid: &str) -> Option<Ipv4Addr> {
        self.held.iter().find(|(_, holder)| *holder == uid).map(|(address, _)| Ipv4Addr::from(*address))
    }

    /// Frees the address of pod `uid`, if it has one.
    pub(crate) fn release(&mut self, uid: &str) -> io::Result<()> {
        let Some(address) = self.of(uid) else { return Ok(()) };
        match fs::remove_file(self.dir.join(address.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.held.remove(&u32::from(address));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn open(dir: &std::path::Path) -> Ipam {
        Ipam::open(dir.to_owned(), Ipv4Addr::new(10, 42, 0, 0), 28).expect("opens")
    }

    #[test]
    fn addresses_are_not_reused_at_once_and_survive_a_restart() {
        let dir = tempfile::tempdir().expect("dir");
        let mut ipam = open(dir.path());
        assert_eq!(ipam.assign("a").expect("io"), Some(Ipv4Addr::new(10, 42, 0, 2)));
        ipam.release("a").expect("io");
        assert_eq!(ipam.assign("b").expect("io"), Some(Ipv4Addr::new(10, 42, 0, 3)));
        let mut again = open(dir.path());
        assert_eq!(again.assign("b").expect("io"), Some(Ipv4Addr::new(10, 42, 0, 3)));
    }

    proptest! {
        #[test]
        fn no_two_pods_share_an_address_and_none_is_lost(steps in prop::collection::vec((any::<bool>(), 0_u8..20), 1..80)) {
            let dir = tempfile::tempdir().expect("dir");
            let mut ipam = open(dir.path());
            let mut model: HashMap<String, Ipv4Addr> = HashMap::new();
            for (assign, pod) in steps {
                let uid = pod.to_string();
                if assign {
                    match ipam.assign(&uid).expect("io") {
                        Some(address) => {
                            prop_assert!(model.iter().all(|(other, held)| other == &uid || *held != address));
                            model.insert(uid, address);
                        }
                        None => prop_assert_eq!(model.len(), 13, "only a full range refuses"),
                    }
                } else {
                    ipam.release(&uid).expect("io");
                    model.remove(&uid);
                }
            }
        }
    }
}
