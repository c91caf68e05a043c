//! Issuing service account tokens (`serviceaccounts/token`), and publishing the key that checks them.
//!
//! A token is bound to what asked for it: to a pod, a secret or a node, by name and uid, so that it dies with that object.
//! The answer tells the expiration that was asked for; a pod's default token really lives a year, as upstream's does, so
//! that clients which read their token once at start keep working (`warnafter` marks the time that was asked for).

use kinds::FieldError;
use serde_json::{Value, json};

use crate::{
    admission::node,
    authn::account::{Private, Ref},
    core::{Core, text},
    error::ApiError,
    identity::User,
};

const GROUP: &str = "authentication.k8s.io";
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
const DEFAULT_SECONDS: i64 = 3600;
/// What the projected volume of the ServiceAccount admission plugin asks for; the odd number marks it.
pub const POD_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// Answers a TokenRequest of `user` for the account `namespace/name`.
pub fn create(core: &Core, user: &User, namespace: &str, name: &str, request: Value) -> Result<Value, ApiError> {
    if let Err(why) = node::check_token(core, user, namespace, &request) {
        let message = format!("serviceaccounts \"{name}\" is forbidden: {why}");
        return Err(ApiError::new(403, "Forbidden", message));
    }
    create_at(core, namespace, name, request, base::time::now())
}

fn create_at(
    core: &Core,
    namespace: &str,
    name: &str,
    mut request: Value,
    now: base::time::Timestamp,
) -> Result<Value, ApiError> {
    for (field, wanted) in [("name", name), ("namespace", namespace)] {
        let path = format!("metadata.{field}");
        let given = text(&request, &format!("/metadata/{field}"));
        if !given.is_empty() && given != wanted {
            let fault =
                FieldError::invalid(path, given, format!("must match the service account {field} if specified"));
            return Err(ApiError::invalid_kind(GROUP, "TokenRequest", name, &[fault]));
        }
    }
    let account = object(core, "serviceaccounts", namespace, name)?;
    let uid = text(&account, "/metadata/uid").to_owned();
    let given = text(&request, "/metadata/uid");
    if !given.is_empty() && given != uid {
        let why =
            format!("the UID in the token request ({given}) does not match the UID of the service account ({uid})");
        return Err(mismatch("TokenRequest.authentication.k8s.io", name, &why));
    }
    let audiences = audiences(&request).unwrap_or_else(|| vec![core.config.token_issuer.clone()]);
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    check_seconds(seconds)?;

    let mut claims = Private {
        namespace: namespace.to_owned(),
        serviceaccount: Ref { name: name.to_owned(), uid: uid.clone() },
        ..Private::default()
    };
    bind(core, name, &request["spec"]["boundObjectRef"], &mut claims)?;
    let issued = now.as_second();
    let extended = claims.pod.is_some() && seconds == POD_SECONDS && audiences == [core.config.token_issuer.clone()];
    let lifetime = if extended { EXTENDED_SECONDS } else { seconds };
    claims.warnafter = extended.then_some(issued + seconds);
    let claims = json!({
        "aud": audiences,
        "exp": issued + lifetime,
        "iat": issued,
        "iss": core.config.token_issuer,
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": serde_json::to_value(claims).map_err(ApiError::internal)?,
        "nbf": issued,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    });
    let token = core.access.token_key.sign(&claims).map_err(ApiError::internal)?;

    let expires = now.checked_add(base::time::SignedDuration::from_secs(seconds)).map_err(ApiError::internal)?;
    request["kind"] = json!("TokenRequest");
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["metadata"]["name"] = json!(name);
    request["metadata"]["namespace"] = json!(namespace);
    request["metadata"]["uid"] = json!(uid);
    request["metadata"]["creationTimestamp"] = json!(base::time::rfc3339(now));
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = json!(seconds);
    if request["spec"].get("boundObjectRef").is_none() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request["status"] = json!({"token": token, "expirationTimestamp": base::time::rfc3339(expires)});
    Ok(request)
}

fn audiences(request: &Value) -> Option<Vec<String>> {
    let list = request["spec"]["audiences"].as_array()?;
    let list: Vec<String> = list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    (!list.is_empty()).then_some(list)
}

fn check_seconds(seconds: i64) -> Result<(), ApiError> {
    let detail = match seconds {
        ..MIN_SECONDS => "may not specify a duration less than 10 minutes",
        MIN_SECONDS..=MAX_SECONDS => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let fault = FieldError::invalid("spec.expirationSeconds", seconds, detail);
    Err(ApiError::invalid_kind(GROUP, "TokenRequest", "", &[fault]))
}

/// Fills in what the token dies with.
fn bind(core: &Core, account: &str, target: &Value, claims: &mut Private) -> Result<(), ApiError> {
    if target.is_null() {
        return Ok(());
    }
    let (version, kind, name) = (text(target, "/apiVersion"), text(target, "/kind"), text(target, "/name"));
    let namespace = claims.namespace.clone();
    let (bound, plural) = match (version, kind) {
        ("v1", "Pod") => (object(core, "pods", &namespace, name)?, "Pod"),
        ("v1", "Secret") => (object(core, "secrets", &namespace, name)?, "Secret"),
        ("v1", "Node") => (object(core, "nodes", "", name)?, "Node"),
        _ => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let message = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(message));
        }
    };
    let reference = Ref { name: name.to_owned(), uid: text(&bound, "/metadata/uid").to_owned() };
    if kind == "Pod" && text(&bound, "/spec/serviceAccountName") != account {
        let message = format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        );
        return Err(ApiError::bad_request(message));
    }
    let given = text(target, "/uid");
    if !given.is_empty() && given != reference.uid {
        let why = format!(
            "the UID in the bound object reference ({given}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        return Err(mismatch(plural, name, &why));
    }
    match kind {
        "Pod" => {
            let node = text(&bound, "/spec/nodeName");
            if !node.is_empty() {
                // A node that is not there yet is still worth its name.
                let uid = object(core, "nodes", "", node).map(|node| text(&node, "/metadata/uid").to_owned());
                claims.node = Some(Ref { name: node.to_owned(), uid: uid.unwrap_or_default() });
            }
            claims.pod = Some(reference);
        }
        "Secret" => claims.secret = Some(reference),
        _ => claims.node = Some(reference),
    }
    Ok(())
}

fn object(core: &Core, plural: &str, namespace: &str, name: &str) -> Result<std::sync::Arc<Value>, ApiError> {
    let kind = core.kind("", plural).ok_or_else(ApiError::no_such_path)?;
    core.get(kind, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))
}

fn mismatch(what: &str, name: &str, why: &str) -> ApiError {
    ApiError::new(409, "Conflict", format!("Operation cannot be fulfilled on {what} \"{name}\": {why}"))
}

/// `/openid/v1/jwks`: the public half of the signing key.
pub fn key_set(core: &Core) -> Value {
    core.access.token_key.key_set()
}

/// `/.well-known/openid-configuration`, so that others can trust our tokens without asking us each time.
pub fn openid_configuration(core: &Core) -> Value {
    let host = std::net::SocketAddr::new(core.config.advertise, core.config.port);
    json!({
        "issuer": core.config.token_issuer,
        "jwks_uri": format!("https://{host}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}
