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
pub(crate) const POD_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

/// Answers a TokenRequest of `user` for the account `namespace/name`.
pub(crate) fn create(core: &Core, user: &User, namespace: &str, name: &str, request: Value) -> Result<Value, ApiError> {
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
pub(crate) fn key_set(core: &Core) -> Value {
    core.access.token_key.key_set()
}

/// `/.well-known/openid-configuration`, so that others can trust our tokens without asking us each time.
pub(crate) fn openid_configuration(core: &Core) -> Value {
    let host = std::net::SocketAddr::new(core.config.advertise, core.config.port);
    json!({
        "issuer": core.config.token_issuer,
        "jwks_uri": format!("https://{host}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::testing;

    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

    async fn world() -> Core {
        let core = testing::core();
        let objects = [
            json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": "web", "namespace": "ns", "uid": "sa-1"}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "uid": "pod-1"},
                "spec": {"serviceAccountName": "web", "nodeName": "n1"}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "namespace": "ns", "uid": "pod-2"},
                "spec": {"serviceAccountName": "other"}}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "uid": "node-1"}}),
        ];
        for object in objects {
            testing::put(&core, object).await;
        }
        core
    }

    fn admin() -> User {
        User::component("admin", &["system:masters"])
    }

    async fn refused(request: Value, expected: Expect) {
        let core = world().await;
        let error = create(&core, &admin(), "ns", "web", request).unwrap_err();
        expected.assert_eq(&format!("{} {}", error.code, error.message));
    }

    #[tokio::test]
    async fn a_token_is_accepted_back_with_what_it_is_bound_to() {
        let core = world().await;
        let target = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "pod-1"});
        let request = json!({"spec": {"boundObjectRef": target, "expirationSeconds": 600}});
        let answer = create(&core, &admin(), "ns", "web", request).unwrap();
        assert_eq!(answer["spec"]["audiences"], json!([ISSUER]));
        let token = answer["status"]["token"].as_str().unwrap();
        let (user, _) = core.access.accounts.user(token, &[]).unwrap();
        assert_eq!(user.name, "system:serviceaccount:ns:web");
        assert_eq!(user.extra["authentication.kubernetes.io/pod-uid"], ["pod-1"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n1"]);
    }

    #[tokio::test]
    async fn a_pods_default_token_outlives_what_was_asked_for() {
        let core = world().await;
        let now = base::time::now();
        let lifetime = |request: Value| {
            let answer = create_at(&core, "ns", "web", request, now).unwrap();
            let claims = core.access.token_key.verify(answer["status"]["token"].as_str().unwrap()).unwrap();
            let told = base::time::parse(answer["status"]["expirationTimestamp"].as_str().unwrap()).unwrap();
            (claims["exp"].as_i64().unwrap() - now.as_second(), told.as_second() - now.as_second())
        };
        let target = json!({"kind": "Pod", "apiVersion": "v1", "name": "p"});
        let spec = json!({"spec": {"boundObjectRef": target, "expirationSeconds": POD_SECONDS}});
        assert_eq!(lifetime(spec), (EXTENDED_SECONDS, POD_SECONDS));
        assert_eq!(lifetime(json!({"spec": {"expirationSeconds": POD_SECONDS}})), (POD_SECONDS, POD_SECONDS));
        assert_eq!(lifetime(json!({})), (DEFAULT_SECONDS, DEFAULT_SECONDS));
    }

    #[tokio::test]
    async fn wrong_requests_are_refused_with_upstreams_words() {
        let bound = |kind: &str, name: &str, uid: &str| json!({"spec": {"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name, "uid": uid}}});
        refused(
            json!({"spec": {"expirationSeconds": 599}}),
            expect![[r#"422 TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"#]],
        )
        .await;
        refused(bound("Pod", "gone", ""), expect![[r#"404 pods "gone" not found"#]]).await;
        refused(
            bound("Pod", "q", ""),
            expect![[
                r#"400 cannot bind token for serviceaccount "web" to pod running with different serviceaccount name."#
            ]],
        )
        .await;
        refused(
            bound("Pod", "p", "pod-0"),
            expect![[r#"409 Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (pod-0) does not match the UID in record. The object might have been deleted and then recreated"#]],
        )
        .await;
        refused(bound("ConfigMap", "c", ""), expect!["400 cannot bind token to object of type /v1, Kind=ConfigMap"])
            .await;
    }

    #[tokio::test]
    async fn a_node_gets_tokens_of_its_own_pods_only() {
        let core = world().await;
        let ask = |node: &str, target: Value| {
            let user = User::component(format!("system:node:{node}"), &["system:nodes"]);
            create(&core, &user, "ns", "web", json!({"spec": {"boundObjectRef": target}}))
                .map_err(|error| error.message)
        };
        let target = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "pod-1"});
        ask("n1", target.clone()).unwrap();
        assert!(ask("n2", target).unwrap_err().ends_with("bound to a pod scheduled on a different node"));
        assert!(ask("n1", Value::Null).unwrap_err().ends_with("node requested token not bound to a pod"));
    }
}
