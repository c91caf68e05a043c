//! Every kind as a row: names, scope, verbs, subresources, storage and schema.
//!
//! Invariant: routes, discovery, OpenAPI, tables, RBAC and tests read these rows; nothing else lists kinds. The built-in
//! rows come from facts/resources.tsv. Why owned strings and `Arc`: a custom resource is a row made at run time. A catalog
//! never changes: a new definition makes a new catalog that shares everything else with the old one (see `layer`).

mod layer;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::rules::Rules;
use crate::schema::{self, TypeId};
use crate::structural::Custom;
use layer::Layer;

/// A kind in one version.
#[derive(Clone)]
pub struct Kind {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub subresources: Vec<Subresource>,
    /// False for kinds that exist only as a request (reviews, bindings).
    pub persisted: bool,
    /// Served without being asked for: stable versions.
    pub served: bool,
    /// The preferred version of its group.
    pub preferred: bool,
    /// Group, version and plural under which objects are stored.
    pub storage: (String, String, String),
    /// The type in the built-in schema; for a custom resource that of its metadata alone.
    pub schema: TypeId,
    /// What a custom resource has instead of a built-in type.
    pub custom: Option<Arc<Custom>>,
    pub(crate) rules: &'static Rules,
}

/// A path below an object, such as `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    pub name: String,
    pub verbs: Vec<String>,
    /// Group, version and kind of its body where that is not the kind itself.
    pub gvk: Option<(String, String, String)>,
}

impl Kind {
    /// `v1` or `apps/v1`
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.list_kind.clone(),
            None => format!("{}List", self.kind),
        }
    }

    pub fn gvk(&self) -> (String, String, String) {
        (self.group.clone(), self.version.clone(), self.kind.clone())
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresource(name).is_some()
    }

    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|allowed| allowed == verb)
    }

    /// Whether this row is the kind of that group, in whatever version.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.kind == kind && self.group == group
    }

    /// `pods`, `deployments.apps`: the name in messages and permissions.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.api_version(), self.kind)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (&self.group, &self.version, &self.kind) == (&other.group, &other.version, &other.kind)
    }
}

impl Eq for Kind {}

/// `v1` or `apps/v1`
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Splits `apps/v1` into group and version; the core group is empty.
pub fn split_api_version(text: &str) -> (&str, &str) {
    text.split_once('/').unwrap_or(("", text))
}

/// An API group with its versions, the preferred one first.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub versions: Vec<Version>,
}

/// A version of a group with its kinds by plural.
#[derive(Clone, Debug)]
pub struct Version {
    pub name: String,
    pub kinds: Vec<Arc<Kind>>,
}

impl Version {
    /// Whether any of its kinds is served without being asked for.
    pub fn served(&self) -> bool {
        self.kinds.iter().any(|kind| kind.served)
    }
}

/// All kinds that exist at one moment.
#[derive(Clone, Debug)]
pub struct Catalog {
    builtin: &'static Tables,
    custom: Layer,
    /// Made when first asked for, because most catalogs are replaced before anybody lists their groups.
    groups: OnceLock<Vec<Group>>,
    revision: u64,
}

/// The rows of Kubernetes itself.
#[derive(Debug)]
struct Tables {
    kinds: Vec<Arc<Kind>>,
    by_resource: HashMap<String, Vec<Arc<Kind>>>,
    by_kind: HashMap<String, Vec<Arc<Kind>>>,
}

impl Tables {
    fn new(kinds: Vec<Arc<Kind>>) -> Self {
        let mut by_resource: HashMap<String, Vec<Arc<Kind>>> = HashMap::new();
        let mut by_kind: HashMap<String, Vec<Arc<Kind>>> = HashMap::new();
        for kind in &kinds {
            by_resource.entry(kind.plural.clone()).or_default().push(kind.clone());
            by_kind.entry(kind.kind.clone()).or_default().push(kind.clone());
        }
        Self { kinds, by_resource, by_kind }
    }
}

impl Catalog {
    /// The kinds of Kubernetes itself.
    pub fn builtin() -> &'static Catalog {
        static TABLES: OnceLock<Tables> = OnceLock::new();
        static CATALOG: OnceLock<Catalog> = OnceLock::new();
        CATALOG.get_or_init(|| {
            let rows = || include_str!("../facts/resources.tsv").lines().filter_map(row).collect();
            Catalog {
                builtin: TABLES.get_or_init(|| Tables::new(rows())),
                custom: Layer::default(),
                groups: OnceLock::new(),
                revision: 0,
            }
        })
    }

    /// The same catalog, where a resource has these rows and no others; with no rows it does not exist any more. Built-in
    /// rows stay, and are found first.
    pub fn with(&self, group: &str, plural: &str, rows: Vec<Arc<Kind>>) -> Catalog {
        Catalog {
            builtin: self.builtin,
            custom: self.custom.with(group, plural, rows),
            groups: OnceLock::new(),
            revision: self.revision + 1,
        }
    }

    /// Grows with each change, for whoever keeps something that was made of a catalog.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The built-in rows.
    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.builtin.kinds
    }

    /// The rows that definitions of custom resources made, in no order.
    pub fn customs(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.custom.rows()
    }

    /// Groups in upstream's order of discovery; within a group the preferred version first.
    pub fn groups(&self) -> &[Group] {
        self.groups.get_or_init(|| groups(self.builtin.kinds.iter().chain(self.custom.rows())))
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups().iter().find(|group| group.name == name)
    }

    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.resources(group, plural).find(|kind| kind.version == version)
    }

    /// The rows of a resource in all its versions.
    pub fn resources(&self, group: &str, plural: &str) -> impl Iterator<Item = &Arc<Kind>> {
        let builtin = self.builtin.by_resource.get(plural).into_iter().flatten();
        builtin.filter(move |kind| kind.group == group).chain(self.custom.resource(group, plural))
    }

    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let builtin = self.builtin.by_kind.get(kind).into_iter().flatten();
        let mut rows = builtin.filter(|row| row.group == group).chain(self.custom.kind(group, kind));
        rows.find(|row| row.version == version)
    }

    /// The row for `apiVersion` and `kind` as they stand in an object.
    pub fn by_api_version(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let (group, version) = split_api_version(api_version);
        self.by_kind(group, version, kind)
    }

    /// The row whose form is stored for objects of this kind.
    pub fn stored(&self, kind: &Kind) -> Option<&Arc<Kind>> {
        self.resource(&kind.storage.0, &kind.storage.1, &kind.storage.2)
    }
}

// The priorities of upstream's aggregator, highest first; groups that are not listed follow by name.
const GROUP_ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

fn groups<'k>(kinds: impl Iterator<Item = &'k Arc<Kind>>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<&'k str, usize> = HashMap::new();
    for kind in kinds {
        let index = *places.entry(&kind.group).or_insert_with(|| {
            groups.push(Group { name: kind.group.clone(), versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[index].versions;
        match versions.iter_mut().find(|version| version.name == kind.version) {
            Some(version) => version.kinds.push(kind.clone()),
            None => versions.push(Version { name: kind.version.clone(), kinds: vec![kind.clone()] }),
        }
    }
    let place = |name: &str| GROUP_ORDER.iter().position(|group| *group == name).unwrap_or(GROUP_ORDER.len());
    groups.sort_by(|a, b| place(&a.name).cmp(&place(&b.name)).then_with(|| a.name.cmp(&b.name)));
    for group in &mut groups {
        group.versions.sort_by(|a, b| {
            let preferred = |version: &Version| version.kinds.iter().any(|kind| kind.preferred);
            preferred(b).cmp(&preferred(a)).then_with(|| compare_versions(&a.name, &b.name))
        });
        for version in &mut group.versions {
            version.kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
        }
    }
    groups
}

/// Orders versions as upstream, the most stable first: stable before beta before alpha, then the higher number; names of
/// another form follow in alphabetical order.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (maturity(a), maturity(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stage, major and minor of `v1`, `v2beta3`.
fn maturity(version: &str) -> Option<(u32, u64, u64)> {
    fn number(text: &str) -> Option<(u64, &str)> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        let number = digits.parse().ok().filter(|_| !digits.starts_with('0'))?;
        Some((number, rest))
    }
    let (major, rest) = number(version.strip_prefix('v')?)?;
    if rest.is_empty() {
        return Some((2, major, 0));
    }
    let (stage, rest) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (0, rest),
        _ => return None,
    };
    number(rest).filter(|(_, rest)| rest.is_empty()).map(|(minor, _)| (stage, major, minor))
}

/// Reads a line of facts/resources.tsv.
fn row(line: &str) -> Option<Arc<Kind>> {
    let columns: Vec<&str> = line.split('\t').collect();
    if line.starts_with('#') {
        return None;
    }
    let &[group, version, plural, kind, singular, short, categories, namespaced, verbs, below, storage, preferred] =
        columns.as_slice()
    else {
        return None;
    };
    let list = |text: &str| text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (storage_group, storage_version) = if storage == "-" { (group, version) } else { split_api_version(storage) };
    let definition = definition_name(group, version, kind);
    Some(Arc::new(Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        singular: singular.to_owned(),
        short_names: list(short),
        categories: list(categories),
        namespaced: namespaced == "true",
        verbs: list(verbs),
        subresources: below.split(';').filter_map(subresource).collect(),
        persisted: storage != "-",
        served: !version.contains("alpha") && !version.contains("beta"),
        preferred: preferred == "1",
        storage: (storage_group.to_owned(), storage_version.to_owned(), plural.to_owned()),
        schema: schema::find(&definition).expect("invariant: every row of resources.tsv has a type in types.json"),
        custom: None,
        rules: crate::rules::of(group, kind),
    }))
}

/// Reads `name[verb,verb]=group/version/kind`; the group is left out for the core group.
fn subresource(text: &str) -> Option<Subresource> {
    let (name, rest) = text.split_once('[')?;
    let (verbs, rest) = rest.split_once(']')?;
    let gvk = rest.strip_prefix('=').and_then(|gvk| {
        let parts: Vec<&str> = gvk.split('/').collect();
        match parts.as_slice() {
            [version, kind] => Some((String::new(), (*version).to_owned(), (*kind).to_owned())),
            [group, version, kind] => Some(((*group).to_owned(), (*version).to_owned(), (*kind).to_owned())),
            _ => None,
        }
    });
    let verbs = verbs.split(',').map(str::to_owned).collect();
    Some(Subresource { name: name.to_owned(), verbs, gvk })
}

/// The name of a built-in kind's type in the schema.
fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let package = match group {
        "" => "api.core",
        "apiextensions.k8s.io" => "apiextensions-apiserver.pkg.apis.apiextensions",
        "apiregistration.k8s.io" => "kube-aggregator.pkg.apis.apiregistration",
        "internal.apiserver.k8s.io" => "api.apiserverinternal",
        "flowcontrol.apiserver.k8s.io" => "api.flowcontrol",
        "rbac.authorization.k8s.io" => "api.rbac",
        other => return format!("api.{}.{version}.{kind}", other.strip_suffix(".k8s.io").unwrap_or(other)),
    };
    format!("{package}.{version}.{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_facts_is_a_kind() {
        let catalog = Catalog::builtin();
        let rows = include_str!("../facts/resources.tsv").lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(catalog.kinds().len(), rows);
        assert_eq!(catalog.kinds().iter().filter(|kind| kind.persisted).count(), 87);
    }

    #[test]
    fn stored_rows_exist_and_have_the_same_scope() {
        let catalog = Catalog::builtin();
        for kind in catalog.kinds().iter().filter(|kind| kind.persisted) {
            let stored = catalog.stored(kind).unwrap_or_else(|| panic!("{kind:?} has no stored row"));
            assert_eq!(stored.namespaced, kind.namespaced, "{kind:?}");
        }
    }

    #[test]
    fn rows_carry_what_the_api_needs() {
        let catalog = Catalog::builtin();
        let deployment = catalog.resource("apps", "v1", "deployments").unwrap();
        assert_eq!(deployment.short_names, ["deploy"]);
        assert_eq!(
            deployment.subresource("scale").and_then(|scale| scale.gvk.clone()),
            Some(("autoscaling".into(), "v1".into(), "Scale".into()))
        );
        assert!(deployment.served && deployment.preferred && deployment.has_subresource("status"));
        let event = catalog.by_api_version("events.k8s.io/v1", "Event").unwrap();
        assert_eq!(event.storage, (String::new(), "v1".into(), "events".into()));
        assert!(!catalog.resource("resource.k8s.io", "v1beta1", "resourceclaims").unwrap().served);
        let proxy = catalog.resource("", "v1", "pods").unwrap().subresource("proxy").cloned().unwrap();
        assert_eq!(proxy.gvk, Some((String::new(), "v1".into(), "PodProxyOptions".into())));
    }

    #[test]
    fn the_preferred_version_of_a_group_comes_first() {
        let catalog = Catalog::builtin();
        assert_eq!(catalog.groups()[0].name, "");
        let versions = |group: &str| -> Vec<String> {
            catalog.group(group).unwrap().versions.iter().map(|version| version.name.clone()).collect()
        };
        assert_eq!(versions("autoscaling"), ["v2", "v1"]);
        assert_eq!(versions("resource.k8s.io"), ["v1", "v1beta2", "v1beta1", "v1alpha3"]);
        assert_eq!(versions("certificates.k8s.io"), ["v1", "v1beta1", "v1alpha1"]);
    }

    #[test]
    fn versions_are_ordered_as_upstream_does() {
        let mut versions = ["foo10", "v1alpha1", "v11beta2", "v2", "v10", "foo1", "v1", "v3beta1", "v12alpha1", "v01"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v11beta2", "v3beta1", "v12alpha1", "v1alpha1", "foo1", "foo10", "v01"]
        );
    }
}
