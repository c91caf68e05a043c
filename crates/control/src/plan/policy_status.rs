//! What is told of a ValidatingAdmissionPolicy: which of its expressions cannot be right for the objects it is about.
//!
//! Invariant: of each generation it is told once. A kind that is named by a wildcard, or that is not there, says nothing; so
//! what is told is never about more than the policy itself names.
//! Upstream: `pkg/controller/validatingadmissionpolicystatus` and the type checker of the admission plugin. Not as upstream:
//! a field whose schema names no type, as quantities have it, or leads back to where it came from, may be anything; upstream
//! warns of fields that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use expressions::admission::{Checker, Known};
use expressions::{Format, Meaning, Property, Shape};
use k8s_openapi::api::admissionregistration::v1::{
    ExpressionWarning, NamedRuleWithOperations, ValidatingAdmissionPolicy,
};
use serde_json::Value;

/// So many kinds of a rule are looked at.
const MOST: usize = 10;
/// Schemas that refer to each other more deeply than this say nothing more.
const DEEPEST: usize = 64;
const REFERENCE: &str = "#/components/schemas/";

/// A group and a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub group: String,
    pub version: String,
}

impl Version {
    /// `v1`, `apps/v1`.
    pub fn parse(text: &str) -> Self {
        let (group, version) = text.split_once('/').unwrap_or(("", text));
        Self { group: group.to_owned(), version: version.to_owned() }
    }

    /// Where the API tells of it.
    pub fn path(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }
}

/// A kind in one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    pub version: Version,
    pub kind: String,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.version.group, self.version.version, self.kind)
    }
}

/// A resource that a rule names.
pub type Resource = (Version, String);

/// Whether its status tells of it as it is now.
pub fn is_told(policy: &ValidatingAdmissionPolicy) -> bool {
    let observed = policy.status.as_ref().and_then(|status| status.observed_generation).unwrap_or_default();
    policy.metadata.generation.unwrap_or_default() <= observed
}

fn rules(policy: &ValidatingAdmissionPolicy) -> impl Iterator<Item = &NamedRuleWithOperations> {
    let constraints = policy.spec.as_ref().and_then(|spec| spec.match_constraints.as_ref());
    constraints.into_iter().flat_map(|constraints| constraints.resource_rules.iter().flatten())
}

/// The resources that a rule names, in order; none if its groups or versions are wildcards.
fn named(rule: &NamedRuleWithOperations) -> Vec<Resource> {
    let sorted = |list: &Option<Vec<String>>| list.iter().flatten().cloned().collect::<BTreeSet<String>>();
    let (groups, versions) = (sorted(&rule.api_groups), sorted(&rule.api_versions));
    if groups.iter().chain(&versions).any(|name| name.contains('*')) {
        return Vec::new();
    }
    let resources: Vec<String> =
        sorted(&rule.resources).into_iter().filter(|name| !name.contains(['*', '/'])).collect();
    let mut found = Vec::new();
    for group in &groups {
        for version in &versions {
            let version = Version { group: group.clone(), version: version.clone() };
            found.extend(resources.iter().map(|resource| (version.clone(), resource.clone())));
        }
    }
    found
}

/// The versions to ask for their resources.
pub fn versions(policy: &ValidatingAdmissionPolicy) -> BTreeSet<Version> {
    rules(policy).flat_map(named).map(|(version, _)| version).collect()
}

/// The kinds to check against; `kind_of` knows which there are.
pub fn kinds(policy: &ValidatingAdmissionPolicy, kind_of: impl Fn(&Resource) -> Option<String>) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    for rule in rules(policy) {
        let mut count = 0;
        for resource in named(rule) {
            let Some(kind) = kind_of(&resource) else { continue };
            kinds.insert(Kind { version: resource.0, kind });
            count += 1;
            if count == MOST {
                return kinds;
            }
        }
    }
    kinds
}

/// The kind of the parameters, if there are any.
pub fn parameters(policy: &ValidatingAdmissionPolicy) -> Option<Kind> {
    let kind = policy.spec.as_ref()?.param_kind.as_ref()?;
    let version = Version::parse(kind.api_version.as_deref().unwrap_or_default());
    let kind = kind.kind.clone().unwrap_or_default();
    (!kind.is_empty() || !version.version.is_empty()).then_some(Kind { version, kind })
}

/// What is wrong with the expressions, for kinds whose shape is known. Parameters of unknown shape may be anything.
pub fn warnings(
    policy: &ValidatingAdmissionPolicy,
    objects: &BTreeMap<Kind, Arc<Shape>>,
    params: Option<Known>,
) -> Vec<ExpressionWarning> {
    let Some(spec) = &policy.spec else { return Vec::new() };
    let variables: Vec<(&str, &str)> =
        spec.variables.iter().flatten().map(|variable| (&*variable.name, &*variable.expression)).collect();
    let checkers: Vec<(&Kind, Checker)> = objects
        .iter()
        .map(|(kind, shape)| (kind, Checker::new(Some(shape.clone()), params.clone(), variables.iter().copied())))
        .collect();
    let mut warnings = Vec::new();
    let mut check = |field_ref: String, expression: &str| {
        let faults = checkers.iter().filter_map(|(kind, checker)| Some((kind, checker.faults(expression)?)));
        let told: Vec<String> = faults.map(|(kind, faults)| format!("{kind}: {faults}\n")).collect();
        if !told.is_empty() {
            warnings.push(ExpressionWarning { field_ref, warning: told.join("\n") });
        }
    };
    for (index, validation) in spec.validations.iter().flatten().enumerate() {
        check(format!("spec.validations[{index}].expression"), &validation.expression);
        if let Some(message) = validation.message_expression.as_deref().filter(|message| !message.is_empty()) {
            check(format!("spec.validations[{index}].messageExpression"), message);
        }
    }
    warnings
}

/// The shape of a kind by an OpenAPI document of its version; none if it tells nothing of the kind.
pub fn shape(document: &Value, kind: &Kind) -> Option<Arc<Shape>> {
    let schemas = &document["components"]["schemas"];
    let is_it = |schema: &Value| {
        schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten().any(|row| {
            row["group"].as_str().unwrap_or_default() == kind.version.group
                && row["version"] == *kind.version.version
                && row["kind"] == *kind.kind
        })
    };
    let (name, schema) = schemas.as_object()?.iter().find(|(_, schema)| is_it(schema))?;
    let mut reader = Reader { schemas, above: vec![name] };
    reader.read(schema, true, &kind.kind)
}

/// Makes shapes of schemas, following references.
struct Reader<'d> {
    schemas: &'d Value,
    /// The references that were followed to get here.
    above: Vec<&'d str>,
}

impl<'d> Reader<'d> {
    /// The shape of a schema; none if it cannot be named in expressions. A root always has a kind and a name.
    fn read(&mut self, schema: &'d Value, root: bool, name: &str) -> Option<Arc<Shape>> {
        if let Some(reference) = reference(schema) {
            if self.above.contains(&reference) || self.above.len() >= DEEPEST {
                return Some(Arc::new(Shape::dynamic())); // a circle is followed once
            }
            let target = self.schemas.get(reference)?;
            self.above.push(reference);
            let shape = self.read(target, root, name);
            self.above.pop();
            return shape;
        }
        let length = schema["maxLength"].as_i64();
        if schema["format"] == "int-or-string" || schema["x-kubernetes-int-or-string"] == true {
            return Some(Arc::new(Shape::int_or_string(length)));
        }
        let shape = match schema["type"].as_str() {
            Some("boolean") => Shape::boolean(),
            Some("integer") => Shape::integer(),
            Some("number") => Shape::number(),
            Some("string") => string(schema, length),
            Some("array") => {
                let items = self.inner(schema.get("items")?, &format!("{name}.@idx"))?;
                Shape::list(items, schema["maxItems"].as_i64(), meaning(schema))
            }
            Some("object") => match schema.get("additionalProperties").filter(|values| values.is_object()) {
                Some(values) if !root => {
                    let values = self.inner(values, &format!("{name}.@elem"))?;
                    Shape::map(values, schema["maxProperties"].as_i64())
                }
                _ => self.object(schema, root, name),
            },
            _ if schema["oneOf"].is_array() => Shape::dynamic(),
            _ => return None,
        };
        Some(Arc::new(shape.nullable(schema["nullable"] == true)))
    }

    fn inner(&mut self, schema: &'d Value, name: &str) -> Option<Arc<Shape>> {
        self.read(schema, schema["x-kubernetes-embedded-resource"] == true, name)
    }

    fn object(&mut self, schema: &'d Value, root: bool, name: &str) -> Shape {
        let required: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut properties = Vec::new();
        for (property, inner) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(shape) = self.inner(inner, &format!("{name}.{property}")) {
                let required = required.contains(property.as_str()) && inner.get("default").is_none();
                properties.push(Property { name: property, shape, required });
            }
        }
        let text = || Arc::new(Shape::string(None, None));
        for always in ["apiVersion", "kind", "metadata"] {
            if root && properties.iter().all(|property| property.name != always) {
                let named = ["name", "generateName"].map(|name| Property { name, shape: text(), required: false });
                let metadata = || Arc::new(Shape::object(format!("{name}.metadata"), named));
                let shape = if always == "metadata" { metadata() } else { text() };
                properties.push(Property { name: always, shape, required: false });
            }
        }
        Shape::object(name.to_owned(), properties)
    }
}

/// What a schema refers to, perhaps wrapped to have a description.
fn reference(schema: &Value) -> Option<&str> {
    let own = schema["$ref"].as_str();
    let wrapped = || schema["allOf"].as_array()?.iter().find_map(reference);
    own.map(|text| text.strip_prefix(REFERENCE).unwrap_or(text)).or_else(wrapped)
}

fn string(schema: &Value, length: Option<i64>) -> Shape {
    let format = match schema["format"].as_str() {
        Some("byte") => Format::Byte,
        Some("date") => Format::Date,
        Some("date-time") => Format::DateTime,
        Some("duration") => Format::Duration,
        _ => {
            let values = schema["enum"].as_array().filter(|values| !values.is_empty());
            let longest = values.map(|values| values.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0));
            return Shape::string(length, longest);
        }
    };
    Shape::formatted(format, length)
}

fn meaning(schema: &Value) -> Meaning {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Meaning::Set,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            Meaning::Map(keys.filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => Meaning::Atomic,
    }
}

#[cfg(test)]
mod tests;
