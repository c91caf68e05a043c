//! Rules of `flowcontrol.apiserver.k8s.io`.

use base::name;
use serde_json::{Value, json};

use super::{Case, Faults, golang, ip};
use crate::json::{at, flag, has, int, list, same, text};
use crate::path::Path;

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
const LOWEST_PRECEDENCE: i64 = 10_000;
const MOST_QUEUES: i64 = 10_000_000;
const HASH_BITS: f64 = 60.0;

/// The specs of objects that must be as the server made them.
fn fixed(case: &Case<'_>) -> Option<Value> {
    let all = |groups: &[&str], precedence: i64, level: &str, by: Option<&str>| {
        let subjects: Vec<Value> =
            groups.iter().map(|group| json!({"kind": "Group", "group": {"name": group}})).collect();
        let any = json!(["*"]);
        json!({
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "distinguisherMethod": by.map(|by| json!({"type": by})),
            "rules": [{
                "subjects": subjects,
                "resourceRules": [{"verbs": any, "apiGroups": any, "resources": any, "namespaces": any, "clusterScope": true}],
                "nonResourceRules": [{"verbs": any, "nonResourceURLs": any}],
            }],
        })
    };
    match (case.kind.kind.as_ref(), case.name()) {
        ("FlowSchema", "exempt") => Some(all(&["system:masters"], 1, "exempt", None)),
        ("FlowSchema", "catch-all") => {
            let groups = &["system:unauthenticated", "system:authenticated"];
            Some(all(groups, LOWEST_PRECEDENCE, "catch-all", Some("ByUser")))
        }
        ("PriorityLevelConfiguration", "exempt") => {
            Some(json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}))
        }
        ("PriorityLevelConfiguration", "catch-all") => {
            let limited =
                json!({"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}});
            Some(json!({"type": "Limited", "limited": limited}))
        }
        _ => None,
    }
}

pub(crate) fn schema(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let precedence = int(spec, "matchingPrecedence").unwrap_or(0);
    let on_precedence = path.field("matchingPrecedence");
    if precedence <= 0 {
        faults.invalid(&on_precedence, precedence, "must be a positive value");
    }
    if precedence > LOWEST_PRECEDENCE {
        faults.invalid(&on_precedence, precedence, format!("must not be greater than {LOWEST_PRECEDENCE}"));
    }
    if precedence == 1 && case.name() != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        faults.invalid(&on_precedence, precedence, detail);
    }
    let method = at(spec, "distinguisherMethod");
    if !method.is_null() && !matches!(text(method, "type"), "ByNamespace" | "ByUser") {
        let path = path.field("distinguisherMethod");
        let mut fault = crate::FieldError::not_supported(path.field("type"), Value::Null, &["ByNamespace", "ByUser"]);
        let shown = golang::print("FlowDistinguisherMethod", method);
        fault.detail = format!("{shown}: {}", fault.detail);
        fault.value = None;
        faults.push(fault);
    }
    let level = text(at(spec, "priorityLevelConfiguration"), "name");
    let on_level = path.field("priorityLevelConfiguration");
    match level {
        "" => faults.required(&on_level.field("name"), "must reference a priority level"),
        _ => faults.named(&on_level.field("name"), level, name::dns_subdomain),
    }
    let above = path.field("rules");
    for (index, value) in list(spec, "rules").iter().enumerate() {
        rule(value, &above.index(index), faults);
    }
    if fixed(case).is_some_and(|fixed| !same(spec, &fixed)) {
        let detail = format!("spec of '{}' must equal the fixed value", case.name());
        faults.invalid(&path, spec.clone(), detail);
    }
    status(case, faults);
}

fn rule(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let subjects = list(rule, "subjects");
    let above = path.field("subjects");
    if subjects.is_empty() {
        faults.required(&above, "subjects must contain at least one value");
    }
    for (index, value) in subjects.iter().enumerate() {
        subject(value, &above.index(index), faults);
    }
    let (resources, others) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        faults.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let above = path.field("resourceRules");
    for (index, value) in resources.iter().enumerate() {
        resource_rule(value, &above.index(index), faults);
    }
    let above = path.field("nonResourceRules");
    for (index, value) in others.iter().enumerate() {
        let path = above.index(index);
        verbs(value, &path, faults);
        let (urls, on_urls) = (list(value, "nonResourceURLs"), path.field("nonResourceURLs"));
        if urls.is_empty() {
            faults.required(&on_urls, "nonResourceURLs must contain at least one value");
        } else if !alone(value, "nonResourceURLs", "non-resource URLs", &path, faults) {
            for (index, url) in ip::texts(urls).into_iter().enumerate() {
                if let Some(why) = url_fault(url) {
                    faults.invalid(&on_urls.index(index), url, why);
                }
            }
        }
    }
}

/// The members of a subject for each of its kinds.
const SUBJECTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

fn subject(subject: &Value, path: &Path<'_>, faults: &mut Faults) {
    let kind = text(subject, "kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(known, _)| *known == kind) else {
        faults.not_supported(&path.field("kind"), kind, &["Group", "ServiceAccount", "User"]);
        return;
    };
    let (value, on_value) = (at(subject, own), path.field(own));
    if value.is_null() {
        faults.required(&on_value, format!("{own} is required when subject kind is '{kind}'"));
    } else {
        let name = text(value, "name");
        match name {
            "" => faults.required(&on_value.field("name"), ""),
            "*" => {}
            _ if *own == "serviceAccount" => faults.named(&on_value.field("name"), name, name::dns_subdomain),
            _ => {}
        }
        if *own == "serviceAccount" {
            match text(value, "namespace") {
                "" => faults.required(&on_value.field("namespace"), "must specify namespace for service account"),
                namespace => faults.named(&on_value.field("namespace"), namespace, name::dns_label),
            }
        }
    }
    let order = if *own == "serviceAccount" { ["user", "group", ""] } else { ["serviceAccount", "user", "group"] };
    for other in order.iter().filter(|other| *other != own && has(subject, other)) {
        let needed = SUBJECTS.iter().find(|(_, member)| member == other).map_or("", |(kind, _)| kind);
        let detail = format!("{other} is forbidden when subject kind is not '{needed}'");
        faults.forbidden(&path.field(other), detail);
    }
}

fn has_wildcard(of: &Value, name: &str) -> bool {
    list(of, name).iter().any(|item| item == "*")
}

/// Whether a list has `*`, which must then be alone.
fn alone(of: &Value, name: &str, what: &str, path: &Path<'_>, faults: &mut Faults) -> bool {
    let items = list(of, name);
    let wild = has_wildcard(of, name);
    if wild && items.len() > 1 {
        let detail = format!("if '*' is present, must not specify other {what}");
        faults.invalid(&path.field(name), items.to_vec(), detail);
    }
    wild
}

fn verbs(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let verbs = list(rule, "verbs");
    let on_verbs = path.field("verbs");
    if verbs.is_empty() {
        faults.required(&on_verbs, "verbs must contain at least one value");
    } else if !alone(rule, "verbs", "verbs", path, faults) && !ip::texts(verbs).iter().all(|verb| VERBS.contains(verb))
    {
        faults.not_supported(&on_verbs, verbs.to_vec(), VERBS);
    }
}

fn resource_rule(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    verbs(rule, path, faults);
    for (name, one, many) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")] {
        if list(rule, name).is_empty() {
            faults.required(&path.field(name), format!("resource rules must supply at least one {one}"));
        } else {
            alone(rule, name, many, path, faults);
        }
    }
    let (namespaces, above) = (list(rule, "namespaces"), path.field("namespaces"));
    if namespaces.is_empty() && !flag(rule, "clusterScope") {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        faults.required(&above, detail);
    } else if !alone(rule, "namespaces", "namespaces", path, faults) {
        for (index, namespace) in ip::texts(namespaces).into_iter().enumerate() {
            for reason in name::dns_label(namespace).err().into_iter().flatten() {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {reason}");
                faults.invalid(&above.index(index), namespace, detail);
            }
        }
    }
}

fn url_fault(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        url if !url.starts_with('/') => Some("must start with slash"),
        url if url.contains(' ') => Some("must not contain white-space"),
        url if url.contains("//") => Some("must not contain double slash"),
        url if stars > 1 || (stars == 1 && !url.ends_with("/*")) => Some("wildcard can only do suffix matching"),
        _ => None,
    }
}

const PRESERVE_ZERO: &str = "flowcontrol.k8s.io/preserve-zero-concurrency-shares";

pub(crate) fn level(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let meta = root.field("metadata");
    if has(case.annotations(), PRESERVE_ZERO) {
        faults.forbidden(&meta.field("annotations"), format!("annotation '{PRESERVE_ZERO}' is forbidden"));
    }
    let (spec, path) = (case.spec(), root.field("spec"));
    let kind = text(spec, "type");
    let exempt = case.name() == "exempt";
    if exempt != (kind == "Exempt") {
        faults.invalid(&path.field("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match kind {
        "Exempt" => {
            if has(spec, "limited") {
                faults.forbidden(&path.field("limited"), "must be nil if the type is not Limited");
            }
            shares(at(spec, "exempt"), &path.field("exempt"), faults);
        }
        "Limited" => {
            if has(spec, "exempt") {
                faults.forbidden(&path.field("exempt"), "must be nil if the type is Limited");
            }
            match at(spec, "limited") {
                Value::Null => faults.required(&path.field("limited"), "must not be empty when type is Limited"),
                limited => self::limited(limited, &path.field("limited"), faults),
            }
        }
        other => faults.not_supported(&path.field("type"), other, &["Exempt", "Limited"]),
    }
    fixed_level(case, exempt, &path, faults);
    status(case, faults);
}

fn fixed_level(case: &Case<'_>, exempt: bool, path: &Path<'_>, faults: &mut Faults) {
    let Some(fixed) = fixed(case) else { return };
    let mut have = case.spec().clone();
    let but = if exempt {
        have["exempt"] = fixed["exempt"].clone();
        " except the 'spec.exempt' field"
    } else {
        ""
    };
    if !same(&have, &fixed) {
        let detail = format!("spec of '{}'{but} must equal the fixed value", case.name());
        faults.shown(path, &golang::print("PriorityLevelConfigurationSpec", case.spec()), &detail);
    }
}

fn shares(of: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(shares) = int(of, "nominalConcurrencyShares").filter(|shares| *shares < 0) {
        faults.invalid(&path.field("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    if let Some(share) = int(of, "lendablePercent").filter(|share| !(0..=100).contains(share)) {
        faults.invalid(&path.field("lendablePercent"), share, "must be between 0 and 100, inclusive");
    }
}

fn limited(limited: &Value, path: &Path<'_>, faults: &mut Faults) {
    let only = |name: &str| json!({name: at(limited, name)});
    shares(&only("nominalConcurrencyShares"), path, faults);
    let (response, on_response) = (at(limited, "limitResponse"), path.field("limitResponse"));
    let (queuing, on_queuing) = (at(response, "queuing"), on_response.field("queuing"));
    match text(response, "type") {
        "Reject" if !queuing.is_null() => {
            faults.forbidden(&on_queuing, "must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if queuing.is_null() => {
            faults.required(&on_queuing, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => queues(queuing, &on_queuing, faults),
        other => faults.not_supported(&on_response.field("type"), other, &["Queue", "Reject"]),
    }
    shares(&only("lendablePercent"), path, faults);
    if let Some(limit) = int(limited, "borrowingLimitPercent").filter(|limit| *limit < 0) {
        let detail = "if specified, must be a non-negative integer";
        faults.invalid(&path.field("borrowingLimitPercent"), limit, detail);
    }
}

fn queues(queuing: &Value, path: &Path<'_>, faults: &mut Faults) {
    let number = |name| int(queuing, name).unwrap_or(0);
    let (length, queues, hand) = (number("queueLengthLimit"), number("queues"), number("handSize"));
    if length <= 0 {
        faults.invalid(&path.field("queueLengthLimit"), length, "must be positive");
    }
    let on_queues = path.field("queues");
    if queues <= 0 {
        faults.invalid(&on_queues, queues, "must be positive");
    } else if queues > MOST_QUEUES {
        faults.invalid(&on_queues, queues, format!("must not be greater than {MOST_QUEUES}"));
    }
    let on_hand = path.field("handSize");
    if hand <= 0 {
        faults.invalid(&on_hand, hand, "must be positive");
    } else if hand > queues {
        faults.invalid(&on_hand, hand, format!("should not be greater than queues ({queues})"));
    } else if ((queues as f64).log2() * hand as f64).ceil() > HASH_BITS {
        let detail = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        faults.invalid(&on_hand, hand, detail);
    }
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    let above = status.field("conditions");
    let conditions = list(at(case.new, "status"), "conditions");
    for (index, condition) in conditions.iter().enumerate() {
        let path = above.index(index);
        let kind = text(condition, "type");
        if conditions[..index].iter().any(|other| text(other, "type") == kind) {
            faults.duplicate(&path.field("type"), kind);
        }
        if kind.is_empty() {
            faults.required(&path.field("type"), "");
        }
    }
}
