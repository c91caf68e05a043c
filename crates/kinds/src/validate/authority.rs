//! Rules of APIService, StorageVersion and StorageVersionMigration.

use base::name::{self, Reasons, Verdict};
use serde_json::Value;

use super::{Case, Faults, IMMUTABLE, condition};
use crate::json::{at, flag, int, list, same, text};
use crate::path::Path;

/// The name of an APIService says what it is about.
pub(crate) fn own_service_name(service: &Value, name: &str) -> Verdict {
    name::path_segment(name)?;
    let spec = at(service, "spec");
    let right = format!("{}.{}", text(spec, "version"), text(spec, "group"));
    if name == right {
        return Ok(());
    }
    let shown = crate::error::quote(&right);
    Err(Reasons::from(format!("must be `spec.version+\".\"+spec.group`: {shown}")))
}

pub(crate) fn api_service(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    match text(spec, "group") {
        "" if text(spec, "version") != "v1" => {
            faults.required(&path.field("group"), "only v1 may have an empty group and it better be legacy kube");
        }
        group => faults.optional_name(&path.field("group"), group, name::dns_subdomain),
    }
    faults.named(&path.field("version"), text(spec, "version"), name::dns1035_label);
    for (name, limit) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let number = int(spec, name).unwrap_or(0);
        if !(1..=limit).contains(&number) {
            faults.invalid(&path.field(name), number, format!("must be positive and less than {limit}"));
        }
    }
    let skips = flag(spec, "insecureSkipTLSVerify");
    let bundle = crate::base64::length(text(spec, "caBundle"));
    let service = at(spec, "service");
    let on_skip = path.field("insecureSkipTLSVerify");
    if service.is_null() {
        if bundle > 0 {
            let detail = "local APIServices may not have a caBundle";
            faults.invalid(&path.field("caBundle"), format!("{bundle} bytes"), detail);
        }
        if skips {
            faults.invalid(&on_skip, true, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    let on_service = path.field("service");
    faults.required_text(service, "namespace", &on_service);
    faults.required_text(service, "name", &on_service);
    if let Some(port) = int(service, "port")
        && let Err(reasons) = name::port_number(port)
    {
        faults.invalid(&on_service.field("port"), port, format!("port is not valid: {reasons}"));
    }
    if skips && bundle > 0 {
        faults.invalid(&on_skip, true, "may not be true if caBundle is present");
    }
}

pub(crate) fn api_service_status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    let above = status.field("conditions");
    for (index, condition) in list(at(case.new, "status"), "conditions").iter().enumerate() {
        let status = text(condition, "status");
        if !matches!(status, "True" | "False" | "Unknown") {
            let known = &["True", "False", "Unknown"];
            faults.not_supported(&above.index(index).field("status"), status, known);
        }
    }
}

/// The name of a StorageVersion: group and resource.
pub(crate) fn storage_version_name(text: &str) -> Verdict {
    let Some((group, resource)) = text.rsplit_once('.') else {
        return Err(Reasons::from("name must be in the form of <group>.<resource>"));
    };
    let mut reasons: Vec<String> = Vec::new();
    for (verdict, what) in [(name::dns_subdomain(group), "group"), (name::dns1035_label(resource), "resource")] {
        let faults = verdict.err().into_iter().flatten();
        reasons.extend(faults.map(|reason| format!("the {what} segment {reason}")));
    }
    if reasons.is_empty() { Ok(()) } else { Err(reasons.into_iter().collect()) }
}

pub(crate) fn storage_version(case: &Case<'_>, faults: &mut Faults) {
    if case.old.is_none() {
        storage_version_status(case, faults);
    }
}

pub(crate) fn storage_version_status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    let servers = list(status, "storageVersions");
    let above = path.field("storageVersions");
    for (index, value) in servers.iter().enumerate() {
        let path = above.index(index);
        let id = text(value, "apiServerID");
        if servers[..index].iter().any(|other| text(other, "apiServerID") == id) {
            faults.duplicate(&path.field("apiServerID"), id);
        }
        server(value, &path, faults);
    }
    common_version(status, servers, &path.field("commonEncodingVersion"), faults);
    let conditions = list(status, "conditions");
    for (index, condition) in conditions.iter().enumerate() {
        // As upstream, the path leaves the name of the list out.
        let path = path.index(index);
        let kind = text(condition, "type");
        if let Some(first) = conditions[..index].iter().rposition(|other| text(other, "type") == kind) {
            let detail = format!("the type of the condition is not unique, it also appears in conditions[{first}]");
            faults.invalid(&path.field("type"), kind, detail);
        }
        faults.named(&path.field("type"), kind, name::qualified_name);
        faults.named(&path.field("status"), text(condition, "status"), name::qualified_name);
        faults.required_text(condition, "reason", &path);
        faults.required_text(condition, "message", &path);
    }
}

fn common_version(status: &Value, servers: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let first = servers.first().map(|server| text(server, "encodingVersion"));
    let actual = first.filter(|first| servers.iter().all(|server| text(server, "encodingVersion") == *first));
    match (actual, at(status, "commonEncodingVersion").as_str()) {
        (None, Some(told)) => {
            let detail = "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet";
            faults.invalid(path, told, detail);
        }
        (Some(actual), None) => {
            faults.invalid(path, Value::Null, format!("the common encoding version is {actual}"));
        }
        (Some(actual), Some(told)) if actual != told => {
            faults.invalid(path, told, format!("the actual common encoding version is {actual}"));
        }
        _ => {}
    }
}

fn server(server: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.named(&path.field("apiServerID"), text(server, "apiServerID"), name::dns_subdomain);
    let version = |value: &str, path: &Path<'_>, faults: &mut Faults| {
        let reasons = version_faults(value);
        if !reasons.is_empty() {
            faults.invalid(path, value, reasons.join(","));
        }
    };
    let encoding = text(server, "encodingVersion");
    version(encoding, &path.field("encodingVersion"), faults);
    let decodable = super::ip::texts(list(server, "decodableVersions"));
    let above = path.field("decodableVersions");
    for (index, value) in decodable.iter().enumerate() {
        version(value, &above.index(index), faults);
    }
    if !decodable.contains(&encoding) {
        let detail = format!("decodableVersions must include encodingVersion {encoding}");
        faults.invalid(&above, at(server, "decodableVersions").clone(), detail);
    }
    let above = path.field("servedVersions");
    for (index, value) in super::ip::texts(list(server, "servedVersions")).into_iter().enumerate() {
        version(value, &above.index(index), faults);
        if !decodable.contains(&value) {
            let all = decodable.join(" ");
            let detail = format!("individual served version : {value} must be included in decodableVersions : [{all}]");
            faults.invalid(&above.index(index), value, detail);
        }
    }
}

fn version_faults(text: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut add = |verdict: Verdict, part: &str| {
        reasons.extend(verdict.err().into_iter().flatten().map(|reason| format!("{part} part: {reason}")));
    };
    let required = |text: &str, rule: fn(&str) -> Verdict| {
        if text.is_empty() { Err(Reasons::from("must be non-empty")) } else { rule(text) }
    };
    match text.split('/').collect::<Vec<_>>()[..] {
        [version] => add(required(version, name::dns1035_label), "version"),
        [group, version] => {
            add(required(group, name::dns_subdomain), "group");
            add(required(version, name::dns1035_label), "version");
        }
        _ => {
            let label = name::regex_message(
                "a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
                "[a-z]([-a-z0-9]*[a-z0-9])?",
                &["my-name", "abc-123"],
            );
            return vec![format!(
                "an apiVersion is {label} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')"
            )];
        }
    }
    reasons
}

pub(crate) fn migration(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let (resource, on_resource) = (at(spec, "resource"), path.field("resource"));
    let joined = |reasons: Reasons| reasons.into_iter().collect::<Vec<_>>().join(",");
    match text(resource, "resource") {
        "" => faults.required(&on_resource.field("resource"), "resource is required to be set"),
        plural => {
            if let Err(reasons) = name::dns1035_label(plural) {
                faults.invalid(&on_resource.field("resource"), plural, joined(reasons));
            }
        }
    }
    let group = text(resource, "group");
    if let Some(Err(reasons)) = (!group.is_empty()).then(|| name::dns_subdomain(group)) {
        faults.invalid(&on_resource.field("group"), group, joined(reasons));
    }
    if let Some(old) = case.old
        && !same(spec, at(old, "spec"))
    {
        let shown =
            super::go(&[("Resource", serde_json::json!({"group": group, "resource": text(resource, "resource")}))]);
        faults.shown(&path, &shown, IMMUTABLE);
    }
}

pub(crate) fn migration_status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, old, path) = (at(case.new, "status"), at(case.old(), "status"), root.field("status"));
    let (version, before) = (text(status, "resourceVersion"), text(old, "resourceVersion"));
    let on_version = path.field("resourceVersion");
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if !version.is_empty() && !number(version) {
        let shown = crate::error::quote(version);
        faults.invalid(&on_version, version, format!("resource version is not well formed: {shown}"));
    }
    condition::list_of(status, &path, faults);
    if !before.is_empty() && before != version {
        faults.invalid(&on_version, version, IMMUTABLE);
    }
    let shown = || at(status, "conditions").clone();
    let on_conditions = path.field("conditions");
    let now = |kind| condition::is_true(status, kind);
    if now("Succeeded") && now("Failed") {
        let detail = "Both success and failed conditions cannot be true at the same time";
        faults.invalid(&on_conditions, shown(), detail);
    }
    for (kind, what) in [("Succeeded", "Success"), ("Failed", "Failed")] {
        if condition::is_true(old, kind) && !now(kind) {
            let detail = format!("{what} condition cannot be set to false once it is true");
            faults.invalid(&on_conditions, shown(), detail);
        }
    }
}
