//! What APIService objects say, and what is known of the servers behind them.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;
use kinds::openapi::Addition;
use serde_json::Value;

use super::Offer;
use crate::core::text;

/// Where a version is served.
#[derive(Clone)]
pub(crate) enum Place {
    /// In this process.
    Here(Offer),
    /// Behind a service of the cluster.
    Service(Reference),
}

/// A service and how its server is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) port: u16,
    /// Base64 of PEM certificates; empty means those that the machine trusts.
    pub(crate) bundle: String,
    pub(crate) insecure: bool,
}

impl Reference {
    /// What the service is called inside the cluster, which its certificate must name.
    pub(crate) fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

/// One version with its server.
pub(crate) struct Server {
    pub(crate) group: String,
    pub(crate) version: String,
    /// Of the group among groups and of the version in its group: the higher comes first.
    pub(crate) priority: (i64, i64),
    pub(crate) place: Place,
    pub(crate) told: ArcSwapOption<Told>,
}

/// What a server said of itself when it was last asked.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    /// Its resources as aggregated discovery shows them.
    pub(crate) resources: Value,
    /// Where its OpenAPI document is, relative to the server.
    pub(crate) openapi: Option<String>,
    /// Its part of the document of version 2.
    pub(crate) swagger: Addition,
    /// False after a question that it did not answer.
    pub(crate) fresh: bool,
}

impl Server {
    /// What the object leads to; none if that is rows of ours, or nothing.
    pub(crate) fn read(object: &Value, offer: impl Fn(&str, &str) -> Option<Offer>) -> Option<Self> {
        let spec = &object["spec"];
        let (group, version) = (text(spec, "/group").to_owned(), text(spec, "/version").to_owned());
        let place = if spec["service"].is_object() {
            let port = spec["service"]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
            Place::Service(Reference {
                namespace: text(spec, "/service/namespace").to_owned(),
                name: text(spec, "/service/name").to_owned(),
                port: port.unwrap_or(443),
                bundle: text(spec, "/caBundle").to_owned(),
                insecure: spec["insecureSkipTLSVerify"] == true,
            })
        } else {
            Place::Here(offer(&group, &version)?)
        };
        let number = |field: &str| spec[field].as_i64().unwrap_or(0);
        let priority = (number("groupPriorityMinimum"), number("versionPriority"));
        Some(Self { group, version, priority, place, told: ArcSwapOption::empty() })
    }
}

/// All servers, by group and version.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<(String, String), Arc<Server>>);

impl Table {
    pub(crate) fn new(servers: impl IntoIterator<Item = Arc<Server>>) -> Self {
        let key = |server: Arc<Server>| ((server.group.clone(), server.version.clone()), server);
        Self(servers.into_iter().map(key).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, group: &str, version: &str) -> Option<&Arc<Server>> {
        self.0.get(&(group.to_owned(), version.to_owned()))
    }

    /// In the order of discovery.
    pub(crate) fn servers(&self) -> Vec<&Arc<Server>> {
        let mut servers: Vec<&Arc<Server>> = self.0.values().collect();
        servers.sort_by(|a, b| {
            let group = b.priority.0.cmp(&a.priority.0).then_with(|| a.group.cmp(&b.group));
            let version = b.priority.1.cmp(&a.priority.1);
            group.then(version).then_with(|| kinds::compare_versions(&a.version, &b.version))
        });
        servers
    }
}
