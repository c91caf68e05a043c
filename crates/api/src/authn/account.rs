//! Service account tokens: what they claim, and whether the objects they are bound to still live.
//!
//! A signature only says that we once issued the token. Whether it still counts is read from the store on every request:
//! the account with its uid, and the pod, secret or node it is bound to. Deleting any of these revokes the token at once.
//! Verified signatures are remembered by the token's hash; live objects never are.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ring::digest;
use serde::{Deserialize, Serialize};
use store::{Record, Store};

use super::{jwt, usage::Usage};
use crate::identity::User;

pub(crate) const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const EXTRA: &str = "authentication.kubernetes.io/";
/// Clocks of nodes differ; upstream's JWT library allows a minute.
const LEEWAY: i64 = 60;
const REMEMBERED: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the bearer token cannot be verified")]
    Token(#[from] jwt::Error),
    #[error("the token's claims are not those of a service account token")]
    Claims,
    #[error("the token was issued by {0:?}, not by us")]
    Issuer(String),
    #[error("service account token has expired")]
    Expired,
    #[error("service account token is not valid yet")]
    NotYet,
    #[error("token audiences {held:?} is invalid for the target audiences {wanted:?}")]
    Audience { held: Vec<String>, wanted: Vec<String> },
    #[error("service account {namespace}/{name} is gone")]
    NoAccount { namespace: String, name: String },
    #[error("{what} UID ({live}) does not match claim ({claimed})")]
    OtherUid { what: &'static str, live: String, claimed: String },
    #[error("service account token has been invalidated")]
    Invalidated,
    #[error(
        "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked invalid. Use \
         tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label \
         from the secret to temporarily allow use of this token"
    )]
    Marked { namespace: String, secret: String, account: String },
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Ref {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Private {
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Ref>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Ref>,
    pub(crate) serviceaccount: Ref,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(untagged)]
enum Audience {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn list(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    #[serde(default)]
    aud: Audience,
    exp: Option<i64>,
    nbf: Option<i64>,
    iat: Option<i64>,
    #[serde(default)]
    jti: String,
    #[serde(rename = "kubernetes.io")]
    bound: Option<Private>,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default)]
    legacy_namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default)]
    legacy_secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", default)]
    legacy_name: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", default)]
    legacy_uid: String,
}

/// Checks tokens against one key and one store.
pub(crate) struct Accounts {
    key: Arc<jwt::Key>,
    issuer: String,
    store: Arc<dyn Store>,
    verified: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
    /// Of tokens in Secrets, which have no end.
    pub(crate) usage: Usage,
}

/// What a token in a Secret claims: an account, and the Secret it dies with.
pub(crate) fn legacy_claims(namespace: &str, secret: &str, account: &Ref) -> serde_json::Value {
    serde_json::json!({
        "iss": LEGACY_ISSUER,
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": account.name,
        "kubernetes.io/serviceaccount/service-account.uid": account.uid,
        "sub": format!("system:serviceaccount:{namespace}:{}", account.name),
    })
}

/// What of a stored object decides whether tokens bound to it count.
struct Life {
    uid: String,
    /// Seconds since the epoch at which its grace period ends.
    ends: Option<i64>,
}

impl Life {
    fn of(record: &Record) -> &Self {
        record.memo(|record| {
            #[derive(Deserialize)]
            struct Object {
                metadata: Metadata,
            }
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Metadata {
                #[serde(default)]
                uid: String,
                deletion_timestamp: Option<String>,
            }
            let parsed = serde_json::from_slice::<Object>(&record.value);
            let metadata = parsed.map_or(Metadata { uid: String::new(), deletion_timestamp: None }, |o| o.metadata);
            let ends = metadata.deletion_timestamp.and_then(|at| base::time::parse(&at).ok());
            Self { uid: metadata.uid, ends: ends.map(|at| at.as_second()) }
        })
    }
}

impl Accounts {
    pub(crate) fn new(key: Arc<jwt::Key>, issuer: impl Into<String>, store: Arc<dyn Store>) -> Self {
        Self { key, issuer: issuer.into(), store, verified: Mutex::default(), usage: Usage::default() }
    }

    /// The user of a token and which of the wanted audiences it is for; no wanted audience means the API server's.
    pub(crate) fn user(&self, token: &str, wanted: &[String]) -> Result<(User, Vec<String>), Error> {
        self.user_at(token, wanted, base::time::now().as_second())
    }

    fn user_at(&self, token: &str, wanted: &[String], now: i64) -> Result<(User, Vec<String>), Error> {
        let claims = self.claims(token)?;
        if claims.exp.is_some_and(|exp| now > exp + LEEWAY) {
            return Err(Error::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now < nbf - LEEWAY) || claims.iat.is_some_and(|iat| now < iat - LEEWAY) {
            return Err(Error::NotYet);
        }
        let ours = [self.issuer.clone()];
        let wanted = if wanted.is_empty() { &ours } else { wanted };
        // A legacy token names no audience and is for the API server only.
        let held = if claims.iss == LEGACY_ISSUER { &ours } else { claims.aud.list() };
        let matched: Vec<String> = wanted.iter().filter(|audience| held.contains(audience)).cloned().collect();
        if matched.is_empty() {
            return Err(Error::Audience { held: held.to_vec(), wanted: wanted.to_vec() });
        }
        let user =
            if claims.iss == LEGACY_ISSUER { self.legacy(&claims, token, now)? } else { self.bound(&claims, now)? };
        Ok((user, matched))
    }

    fn claims(&self, token: &str) -> Result<Arc<Claims>, Error> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        if let Some(claims) = self.verified.lock().get(&hash) {
            return Ok(Arc::clone(claims));
        }
        let claims: Claims = serde_json::from_value(self.key.verify(token)?).map_err(|_| Error::Claims)?;
        if claims.iss != self.issuer && claims.iss != LEGACY_ISSUER {
            return Err(Error::Issuer(claims.iss));
        }
        let claims = Arc::new(claims);
        let mut verified = self.verified.lock();
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(hash, Arc::clone(&claims));
        Ok(claims)
    }

    /// An object that exists, is the one meant, and is not past its deletion.
    fn alive(&self, what: &'static str, key: &str, uid: &str, now: i64) -> Result<(), Error> {
        let record = self.store.get(key).ok_or(Error::Invalidated)?;
        let life = Life::of(&record);
        if life.uid != uid {
            return Err(Error::OtherUid { what, live: life.uid.clone(), claimed: uid.to_owned() });
        }
        if life.ends.is_some_and(|ends| ends < now - LEEWAY) {
            return Err(Error::Invalidated);
        }
        Ok(())
    }

    fn account(&self, namespace: &str, account: &Ref, now: i64) -> Result<User, Error> {
        let name = &account.name;
        let key = format!("/core/serviceaccounts/{namespace}/{name}");
        self.alive("service account", &key, &account.uid, now).map_err(|error| match error {
            Error::Invalidated => Error::NoAccount { namespace: namespace.to_owned(), name: name.clone() },
            other => other,
        })?;
        Ok(User { uid: Some(account.uid.clone()), ..User::service_account(namespace, name) })
    }

    fn bound(&self, claims: &Claims, now: i64) -> Result<User, Error> {
        let bound = claims.bound.as_ref().ok_or(Error::Claims)?;
        let (namespace, account) = (&bound.namespace, &bound.serviceaccount);
        if claims.sub != format!("system:serviceaccount:{namespace}:{}", account.name) {
            return Err(Error::Claims);
        }
        let mut user = self.account(namespace, account, now)?;
        if let Some(secret) = &bound.secret {
            self.alive("secret", &format!("/core/secrets/{namespace}/{}", secret.name), &secret.uid, now)?;
        }
        let mut told = |what: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(format!("{EXTRA}{what}"), vec![value.to_owned()]);
            }
        };
        if let Some(pod) = &bound.pod {
            self.alive("pod", &format!("/core/pods/{namespace}/{}", pod.name), &pod.uid, now)?;
            told("pod-name", &pod.name);
            told("pod-uid", &pod.uid);
        }
        if let Some(node) = &bound.node {
            if bound.pod.is_none() {
                self.alive("node", &format!("/core/nodes/{}", node.name), &node.uid, now)?;
            }
            told("node-name", &node.name);
            told("node-uid", &node.uid);
        }
        if !claims.jti.is_empty() {
            told("credential-id", &format!("JTI={}", claims.jti));
        }
        Ok(user)
    }

    fn legacy(&self, claims: &Claims, token: &str, now: i64) -> Result<User, Error> {
        let (namespace, name) = (&claims.legacy_namespace, &claims.legacy_name);
        let complete = [namespace, name, &claims.legacy_secret, &claims.legacy_uid].iter().all(|part| !part.is_empty());
        if !complete || claims.sub != format!("system:serviceaccount:{namespace}:{name}") {
            return Err(Error::Claims);
        }
        let key = format!("/core/secrets/{namespace}/{}", claims.legacy_secret);
        let record = self.store.get(&key).ok_or(Error::Invalidated)?;
        let secret: serde_json::Value = serde_json::from_slice(&record.value).map_err(|_| Error::Invalidated)?;
        let held = secret["data"]["token"].as_str().unwrap_or_default();
        let same = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, held).is_ok_and(|h| h == token.as_bytes());
        if !same || secret["metadata"]["deletionTimestamp"].is_string() {
            return Err(Error::Invalidated);
        }
        let user = self.account(namespace, &Ref { name: name.clone(), uid: claims.legacy_uid.clone() }, now)?;
        self.usage.note(namespace, &claims.legacy_secret, &secret, now);
        if secret["metadata"]["labels"][INVALID_SINCE].as_str().is_some_and(|since| !since.is_empty()) {
            let (namespace, secret, account) = (namespace.clone(), claims.legacy_secret.clone(), name.clone());
            return Err(Error::Marked { namespace, secret, account });
        }
        Ok(user)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};
    use store::{Expect, Write};

    use super::*;

    const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

    fn put(key: &str, uid: &str) -> Write {
        let value = json!({"metadata": {"uid": uid}}).to_string().into();
        Write::Put { key: key.to_owned(), value, expect: Expect::Any }
    }

    async fn world() -> (Accounts, Arc<jwt::Key>, Arc<dyn Store>) {
        let store: Arc<dyn Store> = Arc::new(store::in_memory(store::Options::new(|raw, _| raw.clone())).unwrap());
        let objects = vec![
            put("/core/serviceaccounts/ns/web", "sa-1"),
            put("/core/pods/ns/web-0", "pod-1"),
            put("/core/nodes/n1", "node-1"),
        ];
        store.commit(objects).await.unwrap();
        let key = Arc::new(jwt::Key::from_pem(&pki::generate_key_pem().unwrap()).unwrap());
        (Accounts::new(Arc::clone(&key), ISSUER, Arc::clone(&store)), key, store)
    }

    fn claims() -> Value {
        json!({
            "iss": ISSUER, "aud": [ISSUER], "sub": "system:serviceaccount:ns:web", "iat": 1000, "nbf": 1000, "exp": 4600,
            "jti": "id-1",
            "kubernetes.io": {
                "namespace": "ns", "serviceaccount": {"name": "web", "uid": "sa-1"},
                "pod": {"name": "web-0", "uid": "pod-1"}, "node": {"name": "n1", "uid": "node-1"},
            },
        })
    }

    #[tokio::test]
    async fn a_bound_token_names_the_account_its_pod_and_its_node() {
        let (accounts, key, _) = world().await;
        let token = key.sign(&claims()).unwrap();
        for _ in 0..2 {
            let (user, audiences) = accounts.user_at(&token, &[], 2000).unwrap();
            assert_eq!(user.name, "system:serviceaccount:ns:web");
            assert_eq!(user.uid.as_deref(), Some("sa-1"));
            assert!(user.is_in("system:serviceaccounts:ns") && user.is_in("system:authenticated"));
            assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["web-0"]);
            assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["node-1"]);
            assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], ["JTI=id-1"]);
            assert_eq!(audiences, [ISSUER]);
        }
    }

    #[tokio::test]
    async fn a_token_counts_in_its_time_and_for_its_audience_only() {
        let (accounts, key, _) = world().await;
        let token = key.sign(&claims()).unwrap();
        accounts.user_at(&token, &[], 4600 + LEEWAY).unwrap();
        assert!(matches!(accounts.user_at(&token, &[], 4601 + LEEWAY), Err(Error::Expired)));
        assert!(matches!(accounts.user_at(&token, &[], 999 - LEEWAY), Err(Error::NotYet)));
        let vault = ["vault".to_owned()];
        assert!(matches!(accounts.user_at(&token, &vault, 2000), Err(Error::Audience { .. })));
        let mut other = claims();
        other["aud"] = json!("vault");
        let other = key.sign(&other).unwrap();
        assert!(matches!(accounts.user_at(&other, &[], 2000), Err(Error::Audience { .. })));
        assert_eq!(accounts.user_at(&other, &vault, 2000).unwrap().1, vault);
        let mut foreign = claims();
        foreign["iss"] = json!("https://elsewhere");
        assert!(matches!(accounts.user_at(&key.sign(&foreign).unwrap(), &[], 2000), Err(Error::Issuer(_))));
    }

    #[tokio::test]
    async fn deleting_or_replacing_the_pod_or_the_account_revokes_the_token() {
        let (accounts, key, store) = world().await;
        let token = key.sign(&claims()).unwrap();
        accounts.user_at(&token, &[], 2000).unwrap();
        store.commit(vec![put("/core/pods/ns/web-0", "pod-2")]).await.unwrap();
        assert!(matches!(accounts.user_at(&token, &[], 2000), Err(Error::OtherUid { what: "pod", .. })));
        let gone = |key: &str| Write::Delete { key: key.to_owned(), expect: Expect::Any, last: "{}".into() };
        store.commit(vec![gone("/core/pods/ns/web-0")]).await.unwrap();
        assert!(matches!(accounts.user_at(&token, &[], 2000), Err(Error::Invalidated)));
        store.commit(vec![gone("/core/serviceaccounts/ns/web")]).await.unwrap();
        assert!(matches!(accounts.user_at(&token, &[], 2000), Err(Error::NoAccount { .. })));
    }

    #[tokio::test]
    async fn a_pod_past_its_grace_period_has_no_token() {
        let (accounts, key, store) = world().await;
        let token = key.sign(&claims()).unwrap();
        let dying =
            json!({"metadata": {"uid": "pod-1", "deletionTimestamp": "1970-01-01T00:33:20Z"}}).to_string().into();
        let write = Write::Put { key: "/core/pods/ns/web-0".to_owned(), value: dying, expect: Expect::Any };
        store.commit(vec![write]).await.unwrap();
        accounts.user_at(&token, &[], 2000).unwrap();
        assert!(matches!(accounts.user_at(&token, &[], 2001 + LEEWAY), Err(Error::Invalidated)));
    }

    #[tokio::test]
    async fn a_legacy_token_lives_as_long_as_its_secret_holds_it() {
        let (accounts, key, store) = world().await;
        let token = key.sign(&legacy_claims("ns", "t", &Ref { name: "web".into(), uid: "sa-1".into() })).unwrap();
        assert!(matches!(accounts.user_at(&token, &[], 2000), Err(Error::Invalidated)));
        let data = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &token);
        let held = |labels: Value| {
            let value = json!({"metadata": {"uid": "s", "labels": labels}, "data": {"token": data}}).to_string().into();
            vec![Write::Put { key: "/core/secrets/ns/t".to_owned(), value, expect: Expect::Any }]
        };
        store.commit(held(json!({}))).await.unwrap();
        assert_eq!(accounts.user_at(&token, &[], 2000).unwrap().0.name, "system:serviceaccount:ns:web");
        store.commit(held(json!({INVALID_SINCE: "1970-01-01"}))).await.unwrap();
        let refused = accounts.user_at(&token, &[], 2000).unwrap_err();
        assert!(refused.to_string().starts_with("the token in secret ns/t for service account ns/web has been marked"));
        store.commit(vec![put("/core/serviceaccounts/ns/web", "sa-2")]).await.unwrap();
        assert!(matches!(accounts.user_at(&token, &[], 2000), Err(Error::OtherUid { .. })));
    }
}
