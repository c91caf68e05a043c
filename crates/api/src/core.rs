//! What every step of the pipeline and every admission plugin may look at: the store through the eyes of the catalog.
//!
//! Reads here are of the newest published state and cost a parse, so they are for the few objects a decision needs.
//! Nothing here authorizes or admits: callers are the pipeline itself and code that runs inside it.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use kinds::{Catalog, Kind};
use serde_json::Value;
use store::{CommitError, Expect, Range, Record, Store, Write};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{self, Access},
    admission::Admission,
    aggregate::Aggregate,
    attributes::Attributes,
    authz::Decision,
    config::Config,
    custom::Customs,
    error::ApiError,
    frames::Frames,
    identity::User,
};

/// Why an API server cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot set up access control")]
    Access(#[from] access::Fault),
    #[error(
        "cannot read runtime-config {entry:?}: write GROUP/VERSION=true or GROUP/VERSION=false, of a version we know"
    )]
    RuntimeConfig { entry: String },
    #[error("cannot use the certificate of the front proxy")]
    FrontProxy(#[from] crate::streaming::kubelet::Fault),
    #[error("cannot use the serving certificate or the client authority")]
    Tls(#[from] crate::tls::Error),
}

pub struct Core {
    pub store: Arc<dyn Store>,
    catalog: ArcSwap<Catalog>,
    pub config: Config,
    pub(crate) admission: Vec<Arc<dyn Admission>>,
    pub(crate) access: Access,
    /// Objects as watchers get them.
    pub(crate) frames: Frames,
    pub(crate) customs: Customs,
    pub(crate) aggregate: Aggregate,
    /// The last write failed by the store's own fault.
    pub(crate) unwritable: AtomicBool,
    /// Cancelled when the server stops: every watch ends.
    pub(crate) closing: CancellationToken,
    /// `--runtime-config`: group/version to on or off.
    switches: HashMap<String, bool>,
}

impl Core {
    pub fn new(config: Config, store: Arc<dyn Store>) -> Result<Self, BuildError> {
        let access = Access::new(&config, &store)?;
        let switches = switches(&config.runtime_config, Catalog::builtin())?;
        let aggregate = Aggregate::new(&config.front_proxy)?;
        let catalog = ArcSwap::from_pointee(Catalog::builtin().clone());
        let admission = crate::admission::chain();
        Ok(Self {
            store,
            catalog,
            config,
            admission,
            access,
            frames: Frames::default(),
            customs: Customs::default(),
            aggregate,
            unwritable: AtomicBool::new(false),
            closing: CancellationToken::new(),
            switches,
        })
    }

    /// The kinds there are now. What is done for one request is done with one catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Commits, and remembers whether the store can be written.
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Record>>, CommitError> {
        let committed = self.store.commit(writes).await;
        match &committed {
            Ok(_) => self.unwritable.store(false, Ordering::Relaxed),
            Err(CommitError::Full { .. } | CommitError::Io { .. }) => self.unwritable.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
        committed
    }

    /// Gives a resource other rows, for everybody who asks from now on.
    pub(crate) fn set_rows(&self, group: &str, plural: &str, rows: &[Arc<Kind>]) {
        self.catalog.rcu(|catalog| catalog.with(group, plural, rows.to_vec()));
    }

    /// Whether a row has paths: stable versions have, unless switched off; others must be switched on.
    pub fn serves(&self, kind: &Kind) -> bool {
        if self.switches.is_empty() || kind.custom.is_some() {
            return kind.served;
        }
        self.switches.get(&kind.api_version()).copied().unwrap_or(kind.served)
    }

    /// A further permission that a request turns out to need.
    pub(crate) fn permits(
        &self,
        user: &User,
        verb: &str,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        let attributes = Attributes::resource(user, verb, &kind.group, &kind.plural, namespace, name);
        match self.access.authorizer.authorize(&attributes) {
            Decision::Allow => Ok(()),
            Decision::NoOpinion(why) => Err(ApiError::forbidden(&attributes, &why)),
        }
    }

    /// The served row of a built-in resource in its preferred version.
    pub fn kind(&self, group: &str, plural: &str) -> Option<&'static Arc<Kind>> {
        let mut rows = Catalog::builtin().resources(group, plural).filter(|kind| self.serves(kind)).peekable();
        let first = rows.peek().copied();
        rows.find(|kind| kind.preferred).or(first)
    }

    /// The newest state, in the version of `kind`. `namespace` is ignored for cluster-scoped kinds.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let record = self.store.get(&key(kind, namespace, name))?;
        Some(Arc::new(self.decode(kind, &record)))
    }

    /// As [`Self::get`], for what nearly every write looks at (its namespace, its service account): the tree is kept with
    /// the version it was made of.
    pub fn kept(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let record = self.store.get(&key(kind, namespace, name))?;
        Some(self.tree(kind, &record))
    }

    fn tree(&self, kind: &Kind, record: &Arc<Record>) -> Arc<Value> {
        struct Kept(Arc<Value>);
        if self.foreign_storage(kind).is_some() {
            return Arc::new(self.decode(kind, record));
        }
        record.memo(|record| Kept(Arc::new(parse(record)))).0.clone()
    }

    /// All objects of a kind, in one namespace or (empty) in all.
    pub fn list(&self, kind: &Kind, namespace: &str) -> Vec<Arc<Value>> {
        self.records(kind, namespace).iter().map(|record| Arc::new(self.decode(kind, record))).collect()
    }

    /// As [`Self::list`], of a kind with few objects that many writes look at; see [`Self::kept`].
    pub fn list_kept(&self, kind: &Kind, namespace: &str) -> Vec<Arc<Value>> {
        self.records(kind, namespace).iter().map(|record| self.tree(kind, record)).collect()
    }

    fn records(&self, kind: &Kind, namespace: &str) -> Vec<Arc<Record>> {
        let prefix = prefix(kind, namespace);
        let range = Range { prefix: &prefix, after: None, limit: 0, at: None };
        match self.store.range(range) {
            Ok(page) => page.records,
            Err(error) => {
                tracing::error!(%error, prefix, "cannot list the newest state");
                Vec::new()
            }
        }
    }

    /// A record's object in the version of `kind`.
    pub fn decode(&self, kind: &Kind, record: &Record) -> Value {
        let mut object = parse(record);
        if let Some(storage) = self.foreign_storage(kind) {
            kinds::convert(&mut object, storage, kind);
        }
        object
    }

    /// The row objects of `kind` are stored in, if that is another one.
    pub(crate) fn foreign_storage(&self, kind: &Kind) -> Option<&'static Arc<Kind>> {
        let (group, version, plural) = &kind.storage;
        if *group == kind.group && *version == kind.version {
            return None;
        }
        Catalog::builtin().resource(group, version, plural)
    }

    /// Replaces an object if it still has the resourceVersion that `object` carries; without admission.
    pub async fn replace(&self, kind: &Kind, object: Value) -> Result<(), ApiError> {
        let name = text(&object, "/metadata/name").to_owned();
        let key = key(kind, text(&object, "/metadata/namespace"), &name);
        let revision =
            text(&object, "/metadata/resourceVersion").parse().map_err(|_| ApiError::modified(kind, &name))?;
        let value = self.stored(kind, &object).await?;
        match self.store.commit(vec![Write::Put { key, value, expect: Expect::Revision(revision) }]).await {
            Ok(_) => Ok(()),
            Err(store::CommitError::Conflict { current: None, .. }) => Err(ApiError::not_found(kind, &name)),
            Err(store::CommitError::Conflict { .. }) => Err(ApiError::modified(kind, &name)),
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    pub(crate) fn to_storage<'o>(&self, kind: &Kind, object: &'o Value) -> Cow<'o, Value> {
        let Some(storage) = self.foreign_storage(kind) else { return Cow::Borrowed(object) };
        let mut object = object.clone();
        kinds::convert(&mut object, kind, storage);
        Cow::Owned(object)
    }
}

/// What entries like `batch/v1beta1=true` and `api/beta=true` say of each version; the closer entry wins, whatever the order.
fn switches(entries: &[String], catalog: &Catalog) -> Result<HashMap<String, bool>, BuildError> {
    let versions: BTreeSet<(String, &str)> =
        catalog.kinds().iter().map(|kind| (kind.api_version(), kind.version.as_str())).collect();
    let mut switches = HashMap::new();
    let mut read = Vec::new();
    for entry in entries {
        let (what, state) = entry.split_once('=').unwrap_or((entry, "true"));
        let covered: fn(&str, &str, &str) -> bool = match what {
            "api/all" => |_, _, _| true,
            "api/ga" => |_, _, version| !version.contains("alpha") && !version.contains("beta"),
            "api/beta" => |_, _, version| version.contains("beta"),
            "api/alpha" => |_, _, version| version.contains("alpha"),
            _ => |what, full, _| what == full,
        };
        let covered: Vec<&String> =
            versions.iter().filter(|(full, version)| covered(what, full, version)).map(|(full, _)| full).collect();
        let state: Option<bool> = state.parse().ok().filter(|_| !covered.is_empty());
        let state = state.ok_or_else(|| BuildError::RuntimeConfig { entry: entry.clone() })?;
        let closeness = [what == "api/all", what.starts_with("api/"), true].iter().position(|is| *is);
        read.push((closeness, covered, state));
    }
    read.sort_by_key(|(closeness, ..)| *closeness);
    for (_, covered, state) in read {
        switches.extend(covered.into_iter().map(|version| (version.clone(), state)));
    }
    Ok(switches)
}

/// The store key of an object.
pub(crate) fn key(kind: &Kind, namespace: &str, name: &str) -> String {
    let mut key = prefix(kind, namespace);
    key.push_str(name);
    key
}

/// The store prefix of a kind's objects, in one namespace or (empty, or cluster-scoped) of all.
pub(crate) fn prefix(kind: &Kind, namespace: &str) -> String {
    let (group, _, plural) = &kind.storage;
    let group = if group.is_empty() { "core" } else { group };
    if kind.namespaced && !namespace.is_empty() {
        format!("/{group}/{plural}/{namespace}/")
    } else {
        format!("/{group}/{plural}/")
    }
}

/// The object of a record, in its storage version.
pub(crate) fn parse(record: &Record) -> Value {
    serde_json::from_slice(&record.value).unwrap_or_else(|error| {
        tracing::error!(%error, key = %record.key, "a stored object is not JSON");
        Value::Object(serde_json::Map::new())
    })
}

/// The string at a JSON pointer, or nothing.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_entry_switches_a_version() {
        let entries = ["batch/v1=true", "api/ga=false", "api/all=true"].map(str::to_owned);
        let switches = switches(&entries, Catalog::builtin()).expect("entries");
        let on = |version: &str| switches.get(version).copied();
        assert_eq!(
            (on("batch/v1"), on("apps/v1"), on("resource.k8s.io/v1beta1")),
            (Some(true), Some(false), Some(true))
        );
        for wrong in ["batch/v9=true", "api/all=maybe", "api/some"] {
            assert!(super::switches(&[wrong.to_owned()], Catalog::builtin()).is_err(), "{wrong}");
        }
    }
}
