//! Questions answered instead of objects stored: whose token is this, and may they do that.
//!
//! The answers come from the same authenticator and authorizer that judge requests, so a review cannot say one thing
//! and the pipeline do another. The spec is given back as it was asked; only `status` is ours.

use std::sync::Arc;

use kinds::{FieldError, Kind};
use serde_json::{Value, json};

use crate::{
    attributes::Attributes,
    authz::{Decision, rule::Rule},
    core::{Core, text},
    error::ApiError,
    identity::User,
};

/// Answers a review of `kind`, created by `user`.
pub(crate) fn create(
    core: &Core,
    user: &User,
    kind: &Kind,
    namespace: &str,
    mut review: Value,
) -> Result<Value, ApiError> {
    let status = match kind.kind.as_str() {
        "TokenReview" => token(core, &review)?,
        "SelfSubjectReview" => json!({"userInfo": user_info(user)}),
        "SubjectAccessReview" => access(core, &subject(kind, &review)?, kind, &review)?,
        "SelfSubjectAccessReview" => access(core, user, kind, &review)?,
        "LocalSubjectAccessReview" => {
            let asked = text(&review, "/spec/resourceAttributes/namespace");
            if asked != namespace {
                let message = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
                return Err(ApiError::bad_request(message));
            }
            access(core, &subject(kind, &review)?, kind, &review)?
        }
        "SelfSubjectRulesReview" => rules(core, user, &review)?,
        _ => return Err(ApiError::no_such_path()),
    };
    review["status"] = status;
    Ok(review)
}

fn token(core: &Core, review: &Value) -> Result<Value, ApiError> {
    let token = text(review, "/spec/token");
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let wanted: Vec<String> = strings(&review["spec"]["audiences"]);
    Ok(match core.access.accounts.user(token, &wanted) {
        Ok((user, audiences)) => json!({"authenticated": true, "user": user_info(&user), "audiences": audiences}),
        Err(error) => {
            let error = format!("[invalid bearer token, {}]", base::error::chain(&error));
            json!({"user": {}, "error": error})
        }
    })
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name});
    if let Some(uid) = user.uid.as_deref().filter(|uid| !uid.is_empty()) {
        info["uid"] = json!(uid);
    }
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The user a review asks about.
fn subject(kind: &Kind, review: &Value) -> Result<User, ApiError> {
    let spec = &review["spec"];
    let user = User {
        name: text(spec, "/user").to_owned(),
        uid: spec["uid"].as_str().filter(|uid| !uid.is_empty()).map(str::to_owned),
        groups: strings(&spec["groups"]),
        extra: spec["extra"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), strings(v))).collect(),
    };
    if user.name.is_empty() && user.groups.is_empty() {
        let fault = FieldError::invalid("spec.user", "", "at least one of user or group must be specified");
        return Err(ApiError::invalid(kind, "", &[fault]));
    }
    Ok(user)
}

fn access(core: &Core, user: &User, kind: &Kind, review: &Value) -> Result<Value, ApiError> {
    let (resource, path) = (&review["spec"]["resourceAttributes"], &review["spec"]["nonResourceAttributes"]);
    let ask = match (resource.is_object(), path.is_object()) {
        (true, false) => Attributes {
            user: Arc::new(user.clone()),
            verb: text(resource, "/verb").to_owned(),
            group: text(resource, "/group").to_owned(),
            version: text(resource, "/version").to_owned(),
            resource: text(resource, "/resource").to_owned(),
            subresource: text(resource, "/subresource").to_owned(),
            namespace: text(resource, "/namespace").to_owned(),
            name: text(resource, "/name").to_owned(),
            path: String::new(),
            is_resource: true,
            field_selector: String::new(),
        },
        (false, true) => Attributes {
            verb: text(path, "/verb").to_owned(),
            path: text(path, "/path").to_owned(),
            is_resource: false,
            ..Attributes::resource(user, "", "", "", "", "")
        },
        (both, _) => {
            let field = if both { "spec.nonResourceAttributes" } else { "spec.resourceAttributes" };
            let value = if both { path } else { resource };
            let detail = if both {
                "cannot be specified in combination with resourceAttributes"
            } else {
                "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            };
            let fault = FieldError::invalid(field, value.clone(), detail);
            return Err(ApiError::invalid(kind, "", &[fault]));
        }
    };
    let mut status = json!({"allowed": false});
    match core.access.authorizer.authorize(&ask) {
        Decision::Allow => status["allowed"] = json!(true),
        Decision::NoOpinion(why) if !why.is_empty() => status["reason"] = json!(why),
        Decision::NoOpinion(_) => {}
    }
    Ok(status)
}

fn rules(core: &Core, user: &User, review: &Value) -> Result<Value, ApiError> {
    let namespace = text(review, "/spec/namespace");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let granted = core.access.authorizer.rules_for(user, namespace);
    let part = |paths: bool| -> Vec<Value> {
        granted.rules.iter().filter(|rule| rule.urls.is_empty() != paths).map(|rule| Rule::to_json(rule)).collect()
    };
    let mut status = json!({
        "resourceRules": part(false),
        "nonResourceRules": part(true),
        "incomplete": !granted.incomplete.is_empty(),
    });
    if !granted.incomplete.is_empty() {
        status["evaluationError"] = json!(granted.incomplete.join(", "));
    }
    Ok(status)
}
