//! What is served, told to clients: the documents of `kinds::discovery` for what this server serves.

use bytes::Bytes;
use kinds::discovery::{self, Form};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{aggregate::documents, core::Core};

/// Group and version pairs that have a served row, in the order of discovery.
pub(crate) fn served_versions(core: &Core) -> Vec<(String, String)> {
    let catalog = core.catalog();
    let served = |kind: &kinds::Kind| core.serves(kind);
    let versions = discovery::versions(&catalog, &served);
    versions.map(|(group, version)| (group.to_owned(), version.to_owned())).collect()
}

/// As [`served_versions`], with those of the servers behind us.
pub(crate) fn all_versions(core: &Core) -> Vec<(String, String)> {
    let mut versions = served_versions(core);
    versions.extend(documents::versions(core));
    versions
}

pub(crate) fn legacy_versions(core: &Core) -> Value {
    let address = std::net::SocketAddr::new(core.config.advertise, core.config.port);
    discovery::core_versions(&core.catalog(), &|kind| core.serves(kind), &address.to_string())
}

pub(crate) fn groups(core: &Core) -> Value {
    let mut document = discovery::groups(&core.catalog(), &|kind| core.serves(kind));
    documents::add_groups(core, &mut document);
    document
}

pub(crate) fn group(core: &Core, name: &str) -> Option<Value> {
    let ours = discovery::group(&core.catalog(), &|kind| core.serves(kind), name);
    documents::with_group(core, name, ours)
}

/// The resources of one group version; none if it is not served.
pub(crate) fn resources(core: &Core, group: &str, version: &str) -> Option<Value> {
    discovery::resources(&core.catalog(), &|kind| core.serves(kind), group, version)
}

/// The aggregated documents, made when first asked for and again after the catalog changed.
#[derive(Default)]
pub(crate) struct Documents {
    made: Mutex<[Option<Made>; 4]>,
}

#[derive(Clone)]
struct Made {
    /// Of the catalog, and of the servers behind us.
    revision: (u64, u64),
    bytes: Bytes,
    hash: String,
}

impl Documents {
    pub(crate) fn document(&self, core: &Core, legacy: bool, version: &str) -> (Bytes, String) {
        let form = Form::parse(version).unwrap_or(Form::V2Beta1);
        let slot = usize::from(legacy) + 2 * usize::from(form == Form::V2);
        let catalog = core.catalog();
        let mut made = self.made.lock();
        let revision = (catalog.revision(), core.aggregate.revision());
        let held = made[slot].take().filter(|made| made.revision == revision);
        let Made { bytes, hash, .. } = made[slot].insert(held.unwrap_or_else(|| {
            let tell = if legacy { discovery::aggregated_core } else { discovery::aggregated_groups };
            let mut document = tell(&catalog, &|kind| core.serves(kind), form);
            if !legacy {
                documents::add_aggregated(core, &mut document);
            }
            let bytes = Bytes::from(document.to_string());
            let hash = hex::encode_upper(Sha256::digest(&bytes));
            Made { revision, bytes, hash }
        }));
        (bytes.clone(), hash.clone())
    }
}
