//! The definitions of our kinds: names, columns and schemas, as upstream has them.
//!
//! A schema is written as a table of lines: depth by two spaces, a name (`!` where it is required), what it is, and what
//! it means. Fields that are only kept (providers we do not serve, pods of solvers) are `any`. Why not derived from the
//! structs in [`crate::api`]: those have what we act on; users' tools write more, and nothing of it may be lost.

use serde_json::{Map, Value, json};

/// One kind's definition.
struct Kind {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    /// Name, path, and whether only `-o wide` shows it.
    columns: &'static [(&'static str, &'static str, bool)],
    spec: &'static [&'static str],
    status: &'static [&'static str],
}

const ISSUER_REF: &str = include_str!("definitions/issuer-ref.txt");
const ISSUER: &str = include_str!("definitions/issuer.txt");
const SOLVER: &str = include_str!("definitions/solver.txt");
const READY: (&str, &str, bool) = ("Ready", r#".status.conditions[?(@.type=="Ready")].status"#, false);
const STATUS: (&str, &str, bool) = ("Status", r#".status.conditions[?(@.type=="Ready")].message"#, true);
const CONDITIONS: &str = include_str!("definitions/conditions.txt");

static KINDS: &[Kind] = &[
    Kind {
        group: crate::api::GROUP,
        kind: "Certificate",
        plural: "certificates",
        short: &["cert", "certs"],
        namespaced: true,
        columns: &[READY, ("Secret", ".spec.secretName", false), ("Issuer", ".spec.issuerRef.name", true), STATUS],
        spec: &[include_str!("definitions/certificate.txt"), ISSUER_REF],
        status: &[CONDITIONS, include_str!("definitions/certificate-status.txt")],
    },
    Kind {
        group: crate::api::GROUP,
        kind: "CertificateRequest",
        plural: "certificaterequests",
        short: &["cr", "crs"],
        namespaced: true,
        columns: &[
            ("Approved", r#".status.conditions[?(@.type=="Approved")].status"#, false),
            ("Denied", r#".status.conditions[?(@.type=="Denied")].status"#, false),
            READY,
            ("Issuer", ".spec.issuerRef.name", false),
            ("Requester", ".spec.username", false),
            STATUS,
        ],
        spec: &[include_str!("definitions/request.txt"), ISSUER_REF],
        status: &[CONDITIONS, include_str!("definitions/request-status.txt")],
    },
    Kind {
        group: crate::api::GROUP,
        kind: "Issuer",
        plural: "issuers",
        short: &["iss"],
        namespaced: true,
        columns: &[READY, STATUS],
        spec: &[ISSUER],
        status: &[CONDITIONS, include_str!("definitions/issuer-status.txt")],
    },
    Kind {
        group: crate::api::GROUP,
        kind: "ClusterIssuer",
        plural: "clusterissuers",
        short: &["ciss"],
        namespaced: false,
        columns: &[READY, STATUS],
        spec: &[ISSUER],
        status: &[CONDITIONS, include_str!("definitions/issuer-status.txt")],
    },
    Kind {
        group: crate::api::ACME_GROUP,
        kind: "Order",
        plural: "orders",
        short: &[],
        namespaced: true,
        columns: &[
            ("State", ".status.state", false),
            ("Issuer", ".spec.issuerRef.name", true),
            ("Reason", ".status.reason", true),
        ],
        spec: &[include_str!("definitions/order.txt"), ISSUER_REF],
        status: &[include_str!("definitions/order-status.txt")],
    },
    Kind {
        group: crate::api::ACME_GROUP,
        kind: "Challenge",
        plural: "challenges",
        short: &[],
        namespaced: true,
        columns: &[
            ("State", ".status.state", false),
            ("Domain", ".spec.dnsName", false),
            ("Reason", ".status.reason", true),
        ],
        spec: &[include_str!("definitions/challenge.txt"), ISSUER_REF],
        status: &[include_str!("definitions/challenge-status.txt")],
    },
];

/// The CustomResourceDefinitions, to be created where they are missing.
#[must_use]
pub fn all() -> Vec<Value> {
    KINDS.iter().map(definition).collect()
}

/// The names of the definitions.
#[must_use]
pub fn names() -> Vec<String> {
    KINDS.iter().map(|kind| format!("{}.{}", kind.plural, kind.group)).collect()
}

fn definition(kind: &Kind) -> Value {
    let mut columns: Vec<Value> = kind
        .columns
        .iter()
        .map(|(name, path, wide)| json!({ "name": name, "type": "string", "jsonPath": path, "priority": i32::from(*wide) }))
        .collect();
    columns.push(json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" }));
    let mut categories = vec!["cert-manager"];
    if kind.group == crate::api::ACME_GROUP {
        categories.push("cert-manager-acme");
    }
    let part = |texts: &[&str]| schema(&texts.concat());
    let fields: Vec<Value> =
        if kind.kind == "Certificate" || kind.kind.ends_with("Request") || kind.group == crate::api::ACME_GROUP {
            ["group", "kind", "name"]
                .iter()
                .map(|field| json!({ "jsonPath": format!(".spec.issuerRef.{field}") }))
                .collect()
        } else {
            Vec::new()
        };
    let mut version = json!({
        "name": "v1", "served": true, "storage": true, "subresources": { "status": {} }, "additionalPrinterColumns": columns,
        "schema": { "openAPIV3Schema": {
            "type": "object", "required": ["spec"],
            "properties": {
                "apiVersion": { "type": "string" }, "kind": { "type": "string" }, "metadata": { "type": "object" },
                "spec": part(kind.spec), "status": part(kind.status),
            },
        } },
    });
    if !fields.is_empty() {
        version["selectableFields"] = Value::Array(fields);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", kind.plural, kind.group), "labels": { "app.kubernetes.io/part-of": "knarr" } },
        "spec": {
            "group": kind.group, "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
            "names": {
                "kind": kind.kind, "listKind": format!("{}List", kind.kind), "plural": kind.plural,
                "singular": kind.kind.to_lowercase(), "shortNames": kind.short, "categories": categories,
            },
            "versions": [version],
        },
    })
}

/// The schema that lines describe.
fn schema(text: &str) -> Value {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .flat_map(|line| {
            let depth = (line.len() - line.trim_start().len()) / 2;
            // the solver stands in issuers and in challenges
            match line.trim() {
                "@solver" => SOLVER
                    .lines()
                    .map(|inner| (depth + (inner.len() - inner.trim_start().len()) / 2, inner.trim()))
                    .collect(),
                own => vec![(depth, own)],
            }
        })
        .collect();
    object(&lines)
}

fn object(lines: &[(usize, &str)]) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let depth = lines.first().map_or(0, |(depth, _)| *depth);
    let mut index = 0;
    while let Some((_, line)) = lines.get(index) {
        let below = lines.iter().skip(index + 1).take_while(|(deeper, _)| *deeper > depth).count();
        let (line, meaning) = line.split_once(" # ").unwrap_or((line, ""));
        let (name, kind) = line.split_once(' ').unwrap_or((line, "any"));
        let inner = lines.get(index + 1..index + 1 + below).unwrap_or_default();
        let mut value = self::kind(kind.trim(), inner);
        if !meaning.is_empty() {
            value["description"] = json!(meaning);
        }
        if name.ends_with('!') {
            required.push(json!(name.trim_end_matches('!')));
        }
        properties.insert(name.trim_end_matches('!').to_owned(), value);
        index += 1 + below;
    }
    let mut object = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        object["required"] = Value::Array(required);
    }
    object
}

fn kind(text: &str, inner: &[(usize, &str)]) -> Value {
    if let Some(item) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return json!({ "type": "array", "items": kind(item, inner) });
    }
    match text.split_once(' ').unwrap_or((text, "")) {
        ("object", _) => object(inner),
        ("map", _) => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        ("any", _) => json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
        ("time", _) => json!({ "type": "string", "format": "date-time" }),
        ("bytes", _) => json!({ "type": "string", "format": "byte" }),
        ("int", _) => json!({ "type": "integer", "format": "int64" }),
        ("string", values) if !values.is_empty() => {
            json!({ "type": "string", "enum": values.split('|').collect::<Vec<_>>() })
        }
        (plain, _) => json!({ "type": plain }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_schema() {
        let expected = json!({
            "type": "object", "required": ["name"],
            "properties": {
                "name": { "type": "string", "description": "Its name." },
                "deep": { "type": "array", "items": { "type": "object", "properties": { "kind": { "type": "string", "enum": ["A", "B c"] } } } },
                "rest": { "type": "object", "additionalProperties": { "type": "string" } },
            },
        });
        assert_eq!(schema("name! string # Its name.\ndeep [object]\n  kind string A|B c\nrest map\n"), expected);
    }

    #[test]
    fn every_definition_has_its_parts_and_solvers_stand_where_they_belong() {
        for definition in all() {
            let version = &definition["spec"]["versions"][0];
            let schema = &version["schema"]["openAPIV3Schema"]["properties"];
            assert!(schema["spec"]["properties"].as_object().is_some_and(|all| all.len() > 3), "{definition}");
            assert!(schema["status"]["properties"].as_object().is_some_and(|all| !all.is_empty()));
            assert!(!definition.to_string().contains('@') || definition.to_string().contains("@.type"));
        }
        let solver = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let issuer = definition(&KINDS[2]);
        let challenge = definition(&KINDS[5]);
        let one = issuer.pointer(&format!("{solver}/acme/properties/solvers/items/properties/http01"));
        assert!(one.is_some() && one == challenge.pointer(&format!("{solver}/solver/properties/http01")));
    }
}
