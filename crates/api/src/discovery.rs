//! What is served, told to clients: the documents of `kinds::discovery` for what this server serves.

use std::sync::OnceLock;

use bytes::Bytes;
use kinds::discovery::{self, Form};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::core::Core;

/// Group and version pairs that have a served row, in the order of discovery.
pub(crate) fn served_versions(core: &Core) -> Vec<(&'static str, &'static str)> {
    discovery::versions(core.catalog, &|kind| core.serves(kind)).collect()
}

pub(crate) fn legacy_versions(core: &Core) -> Value {
    let address = std::net::SocketAddr::new(core.config.advertise, core.config.port);
    discovery::core_versions(core.catalog, &|kind| core.serves(kind), &address.to_string())
}

pub(crate) fn groups(core: &Core) -> Value {
    discovery::groups(core.catalog, &|kind| core.serves(kind))
}

pub(crate) fn group(core: &Core, name: &str) -> Option<Value> {
    discovery::group(core.catalog, &|kind| core.serves(kind), name)
}

/// The resources of one group version; none if it is not served.
pub(crate) fn resources(core: &Core, group: &str, version: &str) -> Option<Value> {
    discovery::resources(core.catalog, &|kind| core.serves(kind), group, version)
}

/// The aggregated documents, made when first asked for.
#[derive(Default)]
pub(crate) struct Documents {
    made: [OnceLock<(Bytes, String)>; 4],
}

impl Documents {
    pub(crate) fn document(&self, core: &Core, legacy: bool, version: &str) -> (Bytes, String) {
        let form = Form::parse(version).unwrap_or(Form::V2Beta1);
        let slot = usize::from(legacy) + 2 * usize::from(form == Form::V2);
        let made = self.made[slot].get_or_init(|| {
            let tell = if legacy { discovery::aggregated_core } else { discovery::aggregated_groups };
            let bytes = Bytes::from(tell(core.catalog, &|kind| core.serves(kind), form).to_string());
            let hash = hex::encode_upper(Sha256::digest(&bytes));
            (bytes, hash)
        });
        made.clone()
    }
}
