//! Secrets that hold a token of a service account (`kubernetes.io/service-account-token`).
//!
//! Invariant: such a Secret lives as long as the account it names, by name and by uid. One that names an account that is not
//! there is deleted, as upstream does it; a Secret without a uid takes that of the account it finds.
//! What the token claims is not known here: who starts the controllers gives a function that signs for a [`Subject`].

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

/// The type of these Secrets.
pub const TYPE: &str = "kubernetes.io/service-account-token";
pub(crate) const ACCOUNT: &str = "kubernetes.io/service-account.name";
pub(crate) const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

const CA: &str = "ca.crt";
const NAMESPACE: &str = "namespace";
const TOKEN: &str = "token";

/// Whom a token is for, and the Secret it dies with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Of the account and the Secret.
    pub namespace: String,
    /// The account's name.
    pub account: String,
    /// The account's uid.
    pub uid: String,
    /// The Secret's name.
    pub secret: String,
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Its account is gone.
    Delete,
    /// Something is missing. A token is to be made if a subject is named.
    Fill(Option<Subject>),
}

/// Which account a Secret names; the uid only if it is said.
pub fn names(secret: &Secret) -> Option<(&str, Option<&str>)> {
    let said = |key: &str| secret.annotations().get(key).map(String::as_str).filter(|text| !text.is_empty());
    Some((said(ACCOUNT)?, said(ACCOUNT_UID)))
}

/// Whether that account is the one the Secret names.
pub fn is_of(secret: &Secret, account: &str, uid: &str) -> bool {
    names(secret).is_some_and(|(name, wanted)| name == account && wanted.is_none_or(|wanted| wanted == uid))
}

/// Decides what to do with a Secret; `uid` is that of the account of the name it names, if there is one.
pub fn plan(secret: &Secret, uid: Option<&str>, ca: &str) -> Option<Action> {
    if secret.type_.as_deref() != Some(TYPE) || secret.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let (account, wanted) = names(secret)?;
    let Some(uid) = uid.filter(|uid| wanted.is_none_or(|wanted| wanted == *uid)) else {
        return Some(Action::Delete);
    };
    let subject = held(secret, TOKEN).is_none().then(|| Subject {
        namespace: secret.namespace().unwrap_or_default(),
        account: account.to_owned(),
        uid: uid.to_owned(),
        secret: secret.name_any(),
    });
    let complete = held(secret, CA) == Some(ca.as_bytes()) && held(secret, NAMESPACE).is_some() && subject.is_none();
    (!complete).then_some(Action::Fill(subject))
}

/// The Secret with what it lacks.
pub fn filled(secret: &Secret, uid: &str, ca: &str, token: Option<String>) -> Secret {
    let mut next = secret.clone();
    let namespace = next.namespace().unwrap_or_default();
    let data = next.data.get_or_insert_default();
    data.insert(CA.to_owned(), ByteString(ca.as_bytes().to_vec()));
    if data.get(NAMESPACE).is_none_or(|held| held.0.is_empty()) {
        data.insert(NAMESPACE.to_owned(), ByteString(namespace.into_bytes()));
    }
    if let Some(token) = token {
        data.insert(TOKEN.to_owned(), ByteString(token.into_bytes()));
    }
    next.annotations_mut().insert(ACCOUNT_UID.to_owned(), uid.to_owned());
    next
}

fn held<'s>(secret: &'s Secret, key: &str) -> Option<&'s [u8]> {
    secret.data.as_ref()?.get(key).map(|value| &*value.0).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn secret(annotations: Value, data: Value) -> Secret {
        serde_json::from_value(json!({
            "metadata": { "name": "t", "namespace": "ns", "annotations": annotations }, "type": TYPE, "data": data,
        }))
        .expect("a secret")
    }

    fn subject() -> Subject {
        Subject { namespace: "ns".into(), account: "web".into(), uid: "u1".into(), secret: "t".into() }
    }

    #[test]
    fn a_secret_gets_token_authority_and_namespace_and_the_uid_of_its_account() {
        let new = secret(json!({ ACCOUNT: "web" }), Value::Null);
        assert_eq!(plan(&new, Some("u1"), "PEM"), Some(Action::Fill(Some(subject()))));
        let full = filled(&new, "u1", "PEM", Some("jwt".into()));
        let expected = secret(
            json!({ ACCOUNT: "web", ACCOUNT_UID: "u1" }),
            json!({ "ca.crt": "UEVN", "namespace": "bnM=", "token": "and0" }),
        );
        assert_eq!(full, expected);
        assert_eq!(plan(&full, Some("u1"), "PEM"), None);
    }

    #[test]
    fn a_token_is_made_once_and_the_authority_follows_ours() {
        let old = secret(
            json!({ ACCOUNT: "web", ACCOUNT_UID: "u1" }),
            json!({ "ca.crt": "T0xE", "namespace": "bXk=", "token": "and0" }),
        );
        assert_eq!(plan(&old, Some("u1"), "PEM"), Some(Action::Fill(None)));
        let next = filled(&old, "u1", "PEM", None);
        assert_eq!(held(&next, TOKEN), Some(&b"jwt"[..]));
        assert_eq!(held(&next, NAMESPACE), Some(&b"my"[..]), "what somebody said of the namespace stays");
    }

    #[test]
    fn a_secret_goes_with_its_account() {
        let bound = secret(json!({ ACCOUNT: "web", ACCOUNT_UID: "u1" }), Value::Null);
        assert_eq!(plan(&bound, None, "PEM"), Some(Action::Delete));
        assert_eq!(plan(&bound, Some("u2"), "PEM"), Some(Action::Delete), "another account of that name");
        assert_eq!(plan(&secret(json!({ ACCOUNT: "web" }), Value::Null), None, "PEM"), Some(Action::Delete));
        assert!(is_of(&bound, "web", "u1") && !is_of(&bound, "web", "u2") && !is_of(&bound, "other", "u1"));
    }

    #[test]
    fn what_names_no_account_or_is_no_such_secret_is_left_alone() {
        assert_eq!(plan(&secret(json!({}), Value::Null), None, "PEM"), None);
        let mut other = secret(json!({ ACCOUNT: "web" }), Value::Null);
        other.type_ = Some("Opaque".into());
        assert_eq!(plan(&other, None, "PEM"), None);
        let mut leaving = secret(json!({ ACCOUNT: "web" }), Value::Null);
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(crate::world::NOW));
        assert_eq!(plan(&leaving, None, "PEM"), None);
    }

    proptest! {
        #[test]
        fn planning_after_applying_yields_nothing(
            uid in prop::option::of("u[12]"),
            live in prop::option::of("u[12]"),
            data in prop::collection::btree_map("ca.crt|namespace|token|extra", "[A-Z]{0,3}", 0..4),
        ) {
            let mut one = secret(json!({ ACCOUNT: "web" }), Value::Null);
            if let Some(uid) = uid {
                one.annotations_mut().insert(ACCOUNT_UID.into(), uid);
            }
            one.data = Some(data.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))).collect());
            match plan(&one, live.as_deref(), "PEM") {
                Some(Action::Fill(subject)) => {
                    let uid = live.clone().expect("filled only for an account");
                    let next = filled(&one, &uid, "PEM", subject.map(|_| "jwt".to_owned()));
                    prop_assert_eq!(plan(&next, live.as_deref(), "PEM"), None);
                }
                Some(Action::Delete) => prop_assert!(live.is_none() || one.annotations().get(ACCOUNT_UID) != live.as_ref()),
                None => {}
            }
        }
    }
}
