//! Acting as somebody else: `kubectl --as`.
//!
//! Every part of the borrowed identity (user or service account, each group, uid, each extra value) is asked of the
//! authorizer with the verb `impersonate`, for the user who really sent the request. Only then does the request go on, as
//! the other user alone: nothing of the first identity remains in it.

use std::collections::BTreeMap;

use http::{HeaderMap, header::HeaderName};
use percent_encoding::percent_decode_str;

use crate::{
    attributes::Attributes,
    authz::{Authorizer, Decision},
    error::ApiError,
    identity::{AUTHENTICATED, UNAUTHENTICATED, User},
};

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");
const UID: HeaderName = HeaderName::from_static("impersonate-uid");
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// The identity the headers ask for; none if they ask for nothing.
pub(crate) fn impersonate(
    authorizer: &dyn Authorizer,
    user: &User,
    headers: &HeaderMap,
) -> Result<Option<User>, ApiError> {
    let values = |name: &HeaderName| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let name = values(&USER).into_iter().next().filter(|name| !name.is_empty());
    let mut groups = values(&GROUP);
    let uid = values(&UID).into_iter().next().filter(|uid| !uid.is_empty());
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for header in headers.keys() {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            let key =
                percent_decode_str(key).decode_utf8().map_or_else(|_| key.to_owned(), std::borrow::Cow::into_owned);
            extra.entry(key).or_default().extend(values(header));
        }
    }
    let Some(name) = name else {
        if groups.is_empty() && uid.is_none() && extra.is_empty() {
            return Ok(None);
        }
        return Err(ApiError::bad_request("requested impersonation headers without impersonating a user"));
    };
    let ask = |group: &str, resource: &str, namespace: &str, name: &str| {
        let attributes = Attributes::resource(user, "impersonate", group, resource, namespace, name);
        match authorizer.authorize(&attributes) {
            Decision::Allow => Ok(()),
            Decision::NoOpinion(why) => Err(ApiError::forbidden(&attributes, &why)),
        }
    };
    let specified = !groups.is_empty();
    match account(&name) {
        Some((namespace, account)) => {
            ask("", "serviceaccounts", namespace, account)?;
            if !specified {
                groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
            }
        }
        None => ask("", "users", "", &name)?,
    }
    if specified {
        groups.iter().try_for_each(|group| ask("", "groups", "", group))?;
    }
    for (key, values) in &extra {
        values.iter().try_for_each(|value| ask(AUTHENTICATION, &format!("userextras/{key}"), "", value))?;
    }
    if let Some(uid) = &uid {
        ask(AUTHENTICATION, "uids", "", uid)?;
    }
    let has = |group: &str| groups.iter().any(|held| held == group);
    if name == User::anonymous().name {
        if !has(UNAUTHENTICATED) {
            groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !has(AUTHENTICATED) && !has(UNAUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    Ok(Some(User { name, uid, groups, extra }))
}

fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid = base::name::dns_label(namespace).is_ok() && base::name::dns_subdomain(name).is_ok();
    valid.then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authz::rbac::{Part, Policy, Rbac};

    fn rbac() -> Rbac {
        let mut policy = Policy::default();
        let role = json!({"rules": [
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["ann"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["devs"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
            {"verbs": ["impersonate"], "apiGroups": [AUTHENTICATION], "resources": ["userextras/scopes"]},
        ]});
        policy.put(Part::Role, "", "r", &role);
        let binding = json!({
            "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "root"}],
        });
        policy.put(Part::Binding, "", "b", &binding);
        let rbac = Rbac::default();
        rbac.replace(policy);
        rbac
    }

    fn check(headers: &[(&'static str, &str)]) -> Result<Option<User>, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        impersonate(&rbac(), &User::component("root", &[]), &map).map_err(|error| error.message)
    }

    #[test]
    fn the_other_user_replaces_the_first_altogether() {
        assert_eq!(check(&[]), Ok(None));
        let ann = check(&[("impersonate-user", "ann")]).unwrap().unwrap();
        assert_eq!(ann, User::component("ann", &[]));
        let ann = check(&[
            ("impersonate-user", "ann"),
            ("impersonate-group", "devs"),
            ("impersonate-extra-scopes", "a"),
            ("impersonate-extra-scopes", "b"),
        ]);
        let ann = ann.unwrap().unwrap();
        assert_eq!(ann.groups, ["devs", AUTHENTICATED]);
        assert_eq!(ann.extra["scopes"], ["a", "b"]);
        let bot = check(&[("impersonate-user", "system:serviceaccount:ns:bot")]).unwrap().unwrap();
        assert_eq!(bot, User::service_account("ns", "bot"));
    }

    #[test]
    fn each_part_needs_its_own_permission() {
        let refused = |headers: &[(&'static str, &str)]| check(headers).unwrap_err();
        assert_eq!(
            refused(&[("impersonate-user", "bob")]),
            r#"users "bob" is forbidden: User "root" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
        assert!(refused(&[("impersonate-user", "ann"), ("impersonate-group", "system:masters")]).starts_with("groups"));
        assert!(refused(&[("impersonate-user", "ann"), ("impersonate-uid", "1")]).starts_with("uids"));
        assert!(refused(&[("impersonate-user", "ann"), ("impersonate-extra-other", "1")]).starts_with("userextras"));
        assert!(refused(&[("impersonate-group", "devs")]).contains("without impersonating a user"));
    }
}
