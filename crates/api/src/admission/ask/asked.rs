//! A request as webhooks and policies hear of it, and who wants to hear of it.

use std::sync::Arc;

use base::selector::LabelSelector;
use kinds::Kind;
use serde_json::{Value, json};

use crate::{
    admission::{Admit, Operation},
    call::Call,
    core::Core,
    error::ApiError,
    identity::User,
    options::FieldValidation,
};

const GROUP: &str = "admissionregistration.k8s.io";
/// Kinds of that group about which nobody is asked.
const DECIDERS: [&str; 6] = [
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// Subresources to which objects of other kinds are sent.
const SENT: [&str; 3] = ["binding", "eviction", "token"];
/// The operation of exec, attach, port-forward and proxies; their object are their options.
const CONNECT: &str = "CONNECT";

/// A write, or a connection, that others may be asked about.
pub(super) struct Asked<'a> {
    pub(super) core: &'a Core,
    pub(super) call: &'a Call,
    pub(super) user: &'a User,
    pub(super) operation: &'static str,
    pub(super) kind: &'a Kind,
    pub(super) subresource: &'a str,
    /// Of the object; that of a namespace is its own name.
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) dry_run: bool,
}

impl<'a> Asked<'a> {
    /// None for writes about which nobody is asked.
    pub(super) fn of(core: &'a Core, admit: &Admit<'a>) -> Option<Self> {
        let call = admit.call?;
        let operation = match admit.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => CONNECT,
        };
        if admit.kind.group == GROUP && DECIDERS.contains(&admit.kind.kind.as_str()) {
            return None;
        }
        let namespace = if admit.kind.is("", "Namespace") { admit.name } else { admit.namespace };
        Some(Self {
            core,
            call,
            user: admit.user,
            operation,
            kind: admit.kind,
            subresource: admit.subresource,
            namespace,
            name: admit.name,
            dry_run: admit.dry_run,
        })
    }

    /// The objects of one of the deciding kinds, in the order of their names.
    pub(super) fn deciders(&self, plural: &str) -> Vec<Arc<Value>> {
        self.core.kind(GROUP, plural).map(|kind| self.core.list_kept(kind, "")).unwrap_or_default()
    }

    /// The kind in whose version the rules want the object, if they want it: its own, or another of the same resource.
    pub(super) fn wanted(&self, rules: &Value, policy: &Value) -> Option<Arc<Kind>> {
        let catalog = self.core.catalog();
        let own = catalog.resource(&self.kind.group, &self.kind.version, &self.kind.plural)?;
        if self.is_named(rules, own) {
            return Some(own.clone());
        }
        if policy == "Exact" {
            return None;
        }
        let (group, _, plural) = &self.kind.storage;
        let related = catalog.resources(&self.kind.group, &self.kind.plural);
        let elsewhere = catalog.resources(group, plural).filter(|other| other.group != self.kind.group);
        let mut others = related.chain(elsewhere).filter(|other| self.core.serves(other));
        others.find(|other| self.is_named(rules, other)).cloned()
    }

    /// Whether one of the rules is about this as `kind` has it.
    fn is_named(&self, rules: &Value, kind: &Kind) -> bool {
        rules.as_array().into_iter().flatten().any(|rule| self.matches(rule, kind))
    }

    fn matches(&self, rule: &Value, kind: &Kind) -> bool {
        let has = |field: &str, value: &str| {
            let mut held = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            held.any(|one| one == "*" || one == value)
        };
        let mut names = rule["resourceNames"].as_array().into_iter().flatten().peekable();
        let scope = match rule["scope"].as_str().unwrap_or("*") {
            "Namespaced" => self.kind.namespaced,
            "Cluster" => !self.kind.namespaced,
            _ => true,
        };
        let resource = |held: &str| {
            let (resource, subresource) = held.split_once('/').unwrap_or((held, ""));
            (resource == "*" || resource == kind.plural) && (subresource == "*" || subresource == self.subresource)
        };
        scope
            && has("operations", self.operation)
            && has("apiGroups", &kind.group)
            && has("apiVersions", &kind.version)
            && rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str).any(resource)
            && (names.peek().is_none() || names.any(|name| name == self.name))
    }

    /// Whether a namespace selector and an object selector pick the request. What has no namespace is picked by every
    /// namespace selector, and an object by what it was or by what it becomes.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub(super) fn is_selected(
        &self,
        namespaces: &Value,
        objects: &Value,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<bool, ApiError> {
        let objects = selector(objects)?;
        let picked = objects.is_everything() || [new, old].into_iter().flatten().any(|one| objects.matches_object(one));
        let namespaces = selector(namespaces)?;
        if !picked || namespaces.is_everything() || self.namespace.is_empty() {
            return Ok(picked);
        }
        // what a write makes of a namespace is not to be found anywhere else yet
        let itself = self.kind.is("", "Namespace") && self.subresource.is_empty();
        if let Some(new) = new.filter(|_| itself) {
            return Ok(namespaces.matches_object(new));
        }
        Ok(namespaces.matches_object(&*self.space()?))
    }

    /// The namespace of the object.
    pub(super) fn space(&self) -> Result<Arc<Value>, ApiError> {
        let kind = self.core.kind("", "namespaces").ok_or_else(ApiError::no_such_path)?;
        self.core.kept(kind, "", self.namespace).ok_or_else(|| ApiError::not_found(kind, self.namespace))
    }

    /// Whether the object of the request is not the one at its path, but one that is sent there.
    pub(super) fn is_sent(&self) -> bool {
        self.operation == CONNECT || SENT.contains(&self.subresource)
    }

    /// The object as `kind` has it; a Scale where only the scale was written.
    pub(super) async fn shown(&self, object: Option<&Value>, kind: &Kind) -> Result<Value, ApiError> {
        let Some(object) = object else { return Ok(Value::Null) };
        if self.is_sent() {
            return Ok(object.clone());
        }
        if self.subresource == "scale" {
            return Ok(kinds::strategy::scale_get(self.kind, object).unwrap_or(Value::Null));
        }
        self.core.in_version(self.kind, kind, object.clone()).await
    }

    /// An `AdmissionRequest` about the object as `kind` has it, without the object and a name of its own.
    pub(super) fn request(&self, kind: &Kind) -> Value {
        let mut request = json!({
            "kind": self.kind_of(kind),
            "resource": resource_of(kind),
            "requestKind": self.kind_of(self.kind),
            "requestResource": resource_of(self.kind),
            "operation": self.operation,
            "userInfo": user_info(self.user),
            "dryRun": self.dry_run,
            "options": self.options(),
        });
        let texts = [
            ("subResource", self.subresource),
            ("requestSubResource", self.subresource),
            ("name", self.name),
            ("namespace", self.namespace),
        ];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            request[field] = json!(text);
        }
        request
    }

    /// Group, version and kind of what was sent.
    fn kind_of(&self, kind: &Kind) -> Value {
        let body = kind.subresources.iter().find(|one| one.name == self.subresource).and_then(|one| one.gvk.as_ref());
        let (group, version, name) = match body {
            Some((group, version, name)) => (group.as_str(), version.as_str(), name.as_str()),
            None => (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()),
        };
        json!({ "group": group, "version": version, "kind": name })
    }

    /// The options of the request, as upstream hands them on: a patch comes as an update.
    fn options(&self) -> Value {
        if self.operation == CONNECT {
            return Value::Null;
        }
        let options = &self.call.options;
        let kind = match self.operation {
            "CREATE" => "CreateOptions",
            "DELETE" => "DeleteOptions",
            _ => "UpdateOptions",
        };
        let mut shown = json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
        if self.dry_run {
            shown["dryRun"] = json!(["All"]);
        }
        if self.operation != "DELETE" {
            if !options.field_manager.is_empty() {
                shown["fieldManager"] = json!(options.field_manager);
            }
            shown["fieldValidation"] = json!(match options.field_validation {
                FieldValidation::Ignore => "Ignore",
                FieldValidation::Warn => "Warn",
                FieldValidation::Strict => "Strict",
            });
        }
        shown
    }
}

fn resource_of(kind: &Kind) -> Value {
    json!({ "group": kind.group, "version": kind.version, "resource": kind.plural })
}

fn user_info(user: &User) -> Value {
    let mut info = json!({ "username": user.name, "groups": user.groups });
    if let Some(uid) = &user.uid {
        info["uid"] = json!(uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// A selector of a configuration; without one, everything.
fn selector(selector: &Value) -> Result<LabelSelector, ApiError> {
    if selector.is_null() {
        return Ok(LabelSelector::everything());
    }
    LabelSelector::from_json(selector).map_err(ApiError::internal)
}
