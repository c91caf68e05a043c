//! Rules of pods and of the templates of pods (upstream `core/validation`).
//!
//! Invariant: a template obeys the same rules as a pod; what only a pod may or must have is told by `Context::pod`.

mod annotations;
mod change;
mod lenience;
mod resize;
mod status;

pub(crate) use annotations::APP_ARMOR;
use base::name::{self, range_message};
use serde_json::Value;

use super::resources::Owner;
use super::volume;
use super::{Case, Faults, container, golang, ip, meta, resources, scheduling, security, spread};
use crate::json::{at, flag, has, int, list, text};
use crate::path::Path;

pub(crate) use lenience::Lenience;
pub(crate) use resize::resize;
pub(crate) use status::status;

/// What the rules of a pod's parts must know of the whole.
pub(crate) struct Context<'v> {
    pub spec: &'v Value,
    /// The metadata of a pod; none in a template.
    pub meta: Option<&'v Value>,
    /// A pod and not a template.
    pub pod: bool,
    pub lenient: Lenience,
    pub claims: Vec<&'v str>,
    pub grace: Option<i64>,
    pub os: Option<&'v str>,
    /// Users of the pod are users of the host.
    pub host_users: bool,
    /// Volumes that are added to the pods of a StatefulSet, and hide its own of the same name.
    pub extra: &'v [Value],
    /// Names that a StatefulSet gives its pods itself are not looked at.
    pub named_by_set: bool,
}

impl<'v> Context<'v> {
    fn new(spec: &'v Value, meta: Option<&'v Value>, lenient: Lenience) -> Self {
        let claims = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name"));
        Self {
            spec,
            meta,
            pod: meta.is_some(),
            lenient,
            claims: claims.filter(|name| !name.is_empty()).collect(),
            grace: int(spec, "terminationGracePeriodSeconds"),
            os: at(at(spec, "os"), "name").as_str(),
            host_users: at(spec, "hostUsers") != &Value::Bool(false),
            extra: &[],
            named_by_set: false,
        }
    }

    /// The volumes of the pod in the order they are looked at.
    pub(crate) fn volumes(&self) -> Vec<&'v Value> {
        let hidden = |volume: &&Value| self.extra.iter().any(|extra| text(extra, "name") == text(volume, "name"));
        self.extra.iter().chain(list(self.spec, "volumes").iter().filter(|volume| !hidden(volume))).collect()
    }
}

pub(crate) fn check(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let lenient = case.old.map(Lenience::of_pod).unwrap_or_default();
    whole(case, lenient, faults);
    match case.old {
        None => only_new(case, &root.field("spec"), faults),
        Some(old) => change::check(case, old, lenient, faults),
    }
}

/// Metadata and spec of a pod.
fn whole(case: &Case<'_>, lenient: Lenience, faults: &mut Faults) {
    let root = Path::Root;
    let (meta, path) = (at(case.new, "metadata"), root.field("spec"));
    let metadata = root.field("metadata");
    annotations::check(at(meta, "annotations"), case.spec(), lenient, &metadata.field("annotations"), faults);
    spec(&Context::new(case.spec(), Some(meta), lenient), &path, faults);
    if text(case.spec(), "serviceAccountName").is_empty() {
        let volumes = path.field("volumes");
        for (index, volume) in list(case.spec(), "volumes").iter().enumerate() {
            let place = volumes.index(index);
            let projected = place.field("projected");
            let sources = projected.field("sources");
            for (index, source) in list(at(volume, "projected"), "sources").iter().enumerate() {
                if has(source, "serviceAccountToken") {
                    let detail = "must not be specified when serviceAccountName is not set";
                    faults.forbidden(&sources.index(index).field("serviceAccountToken"), detail);
                }
            }
        }
    }
    for kind in ["containers", "initContainers"] {
        let above = path.field(kind);
        for (index, container) in list(case.spec(), kind).iter().enumerate() {
            container::image_only(container, &above.index(index), faults);
        }
    }
}

fn only_new(case: &Case<'_>, path: &Path<'_>, faults: &mut Faults) {
    let spec = case.spec();
    if !list(spec, "ephemeralContainers").is_empty() {
        faults.forbidden(&path.field("ephemeralContainers"), "cannot be set on create");
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        faults.forbidden(&path.field("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    annotations::match_fields(case.annotations(), spec, path, faults);
}

/// The subresource `ephemeralcontainers`.
pub(crate) fn ephemeral(case: &Case<'_>, faults: &mut Faults) {
    let old = case.old();
    let lenient = Lenience::of_pod(old);
    whole(case, lenient, faults);
    let root = Path::Root;
    let metadata = root.field("metadata");
    annotations::change(case, old, &metadata.field("annotations"), faults);
    change::ephemeral(case, old, faults);
}

/// How a controller's template of pods is looked at.
#[derive(Clone, Copy, Default)]
pub(crate) struct Template<'v> {
    /// The template as it was.
    pub old: Option<&'v Value>,
    pub extra: &'v [Value],
    pub named_by_set: bool,
}

/// A pod template inside another object.
pub(crate) fn template(template: &Value, how: Template<'_>, path: &Path<'_>, faults: &mut Faults) {
    let lenient = how.old.map(Lenience::of_template).unwrap_or_default();
    let (meta, spec) = (at(template, "metadata"), at(template, "spec"));
    template_meta(template, lenient, path, faults);
    let above = path.field("spec");
    let context = Context { extra: how.extra, named_by_set: how.named_by_set, ..Context::new(spec, None, lenient) };
    self::spec(&context, &above, faults);
    annotations::match_fields(at(meta, "annotations"), spec, &above, faults);
    if !list(spec, "ephemeralContainers").is_empty() {
        faults.forbidden(&above.field("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Labels and annotations of a template.
pub(crate) fn template_meta(template: &Value, lenient: Lenience, path: &Path<'_>, faults: &mut Faults) {
    let (meta, spec) = (at(template, "metadata"), at(template, "spec"));
    meta::labels(at(meta, "labels"), &path.field("labels"), faults);
    meta::annotations(meta, &path.field("annotations"), faults);
    annotations::check(at(meta, "annotations"), spec, lenient, &path.field("annotations"), faults);
}

fn spec(context: &Context<'_>, path: &Path<'_>, faults: &mut Faults) {
    let spec = context.spec;
    if context.grace.is_none() {
        faults.required(&path.field("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::check(context, path, faults);
    claims(context, &path.field("resourceClaims"), faults);
    container::main(context, &volumes, &path.field("containers"), faults);
    container::init(context, &volumes, &path.field("initContainers"), faults);
    container::ephemeral(context, &volumes, &path.field("ephemeralContainers"), faults);
    resources::pod_level(spec, &context.claims, context.lenient.odd_pages, path, faults);
    if flag(spec, "hostNetwork") {
        container::host_network_ports(context, path, faults);
    }
    faults.one_of(spec, "restartPolicy", path, &["Always", "OnFailure", "Never"]);
    faults.one_of(spec, "dnsPolicy", path, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    meta::labels(at(spec, "nodeSelector"), &path.field("nodeSelector"), faults);
    security::pod(context, &path.field("securityContext"), faults);
    scheduling::affinity(at(spec, "affinity"), context.lenient.affinity, &path.field("affinity"), faults);
    dns(spec, &path.field("dnsConfig"), faults);
    gates(spec, path, faults);
    let on_spread = path.field("topologySpreadConstraints");
    spread::check(spec, context.lenient.spread, &on_spread, faults);
    security::host_processes(spec, path, faults);
    security::host_users(context, path, faults);
    host_name(spec, path, faults);
    names(context, path, faults);
    if has(spec, "overhead") {
        let limits = serde_json::json!({"limits": at(spec, "overhead")});
        resources::requirements(&limits, Owner::NOBODY, &path.field("overhead"), faults);
    }
    if has(spec, "os") {
        security::operating_system(spec, path, faults);
    }
    file_keys(context, path, faults);
}

/// Names and numbers of the spec itself, in upstream's order.
fn names(context: &Context<'_>, path: &Path<'_>, faults: &mut Faults) {
    let spec = context.spec;
    for name in ["serviceAccountName", "nodeName"] {
        faults.optional_name(&path.field(name), text(spec, name), name::dns_subdomain);
    }
    if let Some(seconds) = int(spec, "activeDeadlineSeconds").filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        let detail = range_message(1, i64::from(i32::MAX));
        faults.invalid(&path.field("activeDeadlineSeconds"), seconds, detail);
    }
    if !context.named_by_set {
        for name in ["hostname", "subdomain"] {
            faults.optional_name(&path.field(name), text(spec, name), name::dns_label);
        }
    }
    let tolerations = list(spec, "tolerations");
    scheduling::tolerations(tolerations, context.lenient.comparing, &path.field("tolerations"), faults);
    let above = path.field("hostAliases");
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = above.index(index);
        ip::legacy(text(alias, "ip"), &[], &path.field("ip"), faults);
        let hosts = path.field("hostnames");
        for (index, host) in list(alias, "hostnames").iter().filter_map(Value::as_str).enumerate() {
            faults.named(&hosts.index(index), host, name::dns_subdomain);
        }
    }
    faults.optional_name(&path.field("priorityClassName"), text(spec, "priorityClassName"), name::dns_subdomain);
    if let Some(class) = at(spec, "runtimeClassName").as_str() {
        faults.named(&path.field("runtimeClassName"), class, name::dns_subdomain);
    }
    if has(spec, "preemptionPolicy") {
        faults.one_of(spec, "preemptionPolicy", path, &["PreemptLowerPriority", "Never"]);
    }
}

/// Claims of devices, by name or from a template.
fn claims(context: &Context<'_>, above: &Path<'_>, faults: &mut Faults) {
    let claims = list(context.spec, "resourceClaims");
    let is_static = context.meta.is_some_and(|meta| has(at(meta, "annotations"), annotations::MIRROR));
    if is_static && !claims.is_empty() {
        faults.forbidden(&Path::Root, "static pods do not support resource claims");
        return;
    }
    for (index, claim) in claims.iter().enumerate() {
        let path = above.index(index);
        let name = text(claim, "name");
        if name.is_empty() {
            faults.required(&path.field("name"), "");
        } else if claims[..index].iter().any(|other| text(other, "name") == name) {
            faults.duplicate(&path.field("name"), name);
        } else {
            faults.named(&path.field("name"), name, name::dns_label);
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let detail = match sources.iter().filter(|name| has(claim, name)).count() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => "",
            _ => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
        };
        if !detail.is_empty() {
            faults.shown(&path, &golang::print("PodResourceClaim", claim), detail);
        }
        for source in sources {
            if let Some(name) = at(claim, source).as_str() {
                faults.named(&path.field(source), name, name::dns_subdomain);
            }
        }
    }
}

const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const LONGEST_SEARCHES: usize = 2048;

fn dns(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let config = at(spec, "dnsConfig");
    let servers = list(config, "nameservers");
    if text(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            faults.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            faults.required(&path.field("nameservers"), detail);
            return;
        }
    }
    let above = path.field("nameservers");
    if servers.len() > MOST_SERVERS {
        faults.invalid(&above, servers.to_vec(), "must not have more than 3 nameservers");
    }
    for (index, server) in ip::texts(servers).iter().enumerate() {
        ip::legacy(server, &[], &above.index(index), faults);
    }
    let (above, searches) = (path.field("searches"), list(config, "searches"));
    if searches.len() > MOST_SEARCHES {
        faults.invalid(&above, searches.to_vec(), "must not have more than 32 search paths");
    }
    if ip::texts(searches).join(" ").len() > LONGEST_SEARCHES {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        faults.invalid(&above, searches.to_vec(), detail);
    }
    for (index, search) in ip::texts(searches).into_iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        faults.named(&above.index(index), search, name::dns_subdomain_with_underscore);
    }
    let above = path.field("options");
    for (index, _) in list(config, "options").iter().enumerate().filter(|(_, option)| text(option, "name").is_empty()) {
        faults.required(&above.index(index), "must not be empty");
    }
}

fn gates(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("readinessGates");
    for (index, gate) in list(spec, "readinessGates").iter().enumerate() {
        let place = above.index(index);
        faults.named(&place.field("conditionType"), text(gate, "conditionType"), name::qualified_name);
    }
    let (above, gates) = (path.field("schedulingGates"), list(spec, "schedulingGates"));
    for (index, gate) in gates.iter().enumerate() {
        let name = text(gate, "name");
        faults.named(&above.index(index), name, name::qualified_name);
        if gates[..index].iter().any(|other| text(other, "name") == name) {
            faults.duplicate(&above.index(index), name);
        }
    }
}

fn host_name(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let Some(name) = at(spec, "hostnameOverride").as_str() else { return };
    let path = path.field("hostnameOverride");
    if flag(spec, "setHostnameAsFQDN") {
        faults.forbidden(&path, "may not be specified when setHostnameAsFQDN is true");
    }
    if flag(spec, "hostNetwork") {
        faults.forbidden(&path, "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        faults.too_long(&path, 64);
    }
    faults.named(&path, name, name::dns_subdomain);
}

/// Variables that are read from files need the volume of these files.
fn file_keys(context: &Context<'_>, path: &Path<'_>, faults: &mut Faults) {
    for (kind, index, container) in security::all_containers(context.spec) {
        for (place, variable) in list(container, "env").iter().enumerate() {
            let reference = at(at(variable, "valueFrom"), "fileKeyRef");
            if reference.is_null() {
                continue;
            }
            let name = text(reference, "volumeName");
            let (containers, volumes) = (path.field(kind), context.volumes());
            let container = containers.index(index);
            let env = container.field("env");
            let variable = env.index(place);
            let from = variable.field("valueFrom");
            let key = from.field("fileKeyRef");
            let on_name = key.field("volumeName");
            match volumes.iter().rev().find(|volume| text(volume, "name") == name) {
                None => faults.not_found(&on_name, name),
                Some(volume) if !has(volume, "emptyDir") => {
                    faults.invalid(&on_name, name, "referenced volume must be of type emptyDir");
                }
                Some(_) => {}
            }
        }
    }
}

/// Whether a template's labels are picked by a structured selector; faults of the selector are reported elsewhere.
pub(crate) fn selector_matches(selector: &Value, template: &Value) -> bool {
    let labels = at(at(template, "metadata"), "labels");
    base::selector::LabelSelector::from_json(selector)
        .is_ok_and(|selector| selector.matches(|key| labels.get(key)?.as_str()))
}
