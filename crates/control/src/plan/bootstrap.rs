//! Tokens by which new machines come to trust a cluster, and the cluster them: Secrets `bootstrap-token-ID` in `kube-system`.
//!
//! Invariant: `cluster-info` is signed with every token that may sign and with no other, so that who has a token can tell
//! that the map is of the cluster the token is of. A token whose end cannot be read has ended.
//! Upstream: `pkg/controller/bootstrap`, and `cluster-bootstrap/token/jws` for the form of a signature.

use std::collections::BTreeMap;
use std::time::Duration;

use base::time;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use ring::hmac;
use serde_json::json;

/// The type of these Secrets.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The map that is signed, by namespace and name.
pub const CLUSTER_INFO: (&str, &str) = ("kube-public", "cluster-info");
/// Where the Secrets are.
pub const NAMESPACE: &str = "kube-system";

const CONTENT: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";
const PREFIX: &str = "bootstrap-token-";

/// When a token goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Expiry {
    Never,
    In(Duration),
    Now,
}

fn text<'s>(secret: &'s Secret, key: &str) -> &'s str {
    let held = secret.data.as_ref().and_then(|data| data.get(key));
    held.and_then(|value| std::str::from_utf8(&value.0).ok()).unwrap_or_default()
}

/// When a token goes.
pub fn expiry(secret: &Secret, now: Timestamp) -> Expiry {
    if secret.type_.as_deref() != Some(TYPE) || secret.metadata.deletion_timestamp.is_some() {
        return Expiry::Never;
    }
    let end = text(secret, "expiration");
    if end.is_empty() {
        return Expiry::Never;
    }
    let left = time::parse(end).ok().and_then(|end| Duration::try_from(end.duration_since(now)).ok());
    left.filter(|left| !left.is_zero()).map_or(Expiry::Now, Expiry::In)
}

/// The id and the secret of a token that may sign.
fn signer(secret: &Secret, now: Timestamp) -> Option<(String, &str)> {
    let name = secret.name_any();
    let id = name.strip_prefix(PREFIX)?;
    let is_id = id.len() == 6 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let key = text(secret, "token-secret");
    let may = is_id
        && secret.type_.as_deref() == Some(TYPE)
        && text(secret, "token-id") == id
        && !key.is_empty()
        && text(secret, "usage-bootstrap-signing") == "true"
        && expiry(secret, now) != Expiry::Now;
    may.then(|| (id.to_owned(), key))
}

/// The map as it should be, if it is not so.
pub fn plan<'s>(map: &ConfigMap, secrets: impl IntoIterator<Item = &'s Secret>, now: Timestamp) -> Option<ConfigMap> {
    let content = map.data.as_ref()?.get(CONTENT)?;
    let signers = secrets.into_iter().filter_map(|secret| signer(secret, now));
    let wanted: BTreeMap<String, String> =
        signers.map(|(id, key)| (format!("{SIGNATURE}{id}"), signature(content, &id, key))).collect();
    let mut next = map.clone();
    let data = next.data.get_or_insert_default();
    data.retain(|key, _| !key.starts_with(SIGNATURE));
    data.extend(wanted);
    (next.data != map.data).then_some(next)
}

/// A JSON Web Signature by HS256, without what is signed.
fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = BASE64.encode(json!({ "alg": "HS256", "kid": id }).to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{header}.{}", BASE64.encode(content)).as_bytes());
    format!("{header}..{}", BASE64.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0); // 2027-01-15T08:00:00Z

    fn token(name: &str, pairs: &[(&str, &str)]) -> Secret {
        let data =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect();
        let mut secret = Secret { type_: Some(TYPE.into()), data: Some(data), ..Secret::default() };
        secret.metadata.name = Some(name.into());
        secret
    }

    fn good(id: &str) -> Secret {
        let pairs = [("token-id", id), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-signing", "true")];
        token(&format!("bootstrap-token-{id}"), &pairs)
    }

    fn with(mut secret: Secret, key: &str, value: &str) -> Secret {
        secret.data.get_or_insert_default().insert(key.into(), ByteString(value.as_bytes().to_vec()));
        secret
    }

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        let data = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ConfigMap { data: Some(data), ..ConfigMap::default() }
    }

    #[test]
    fn signatures_are_those_of_upstream() {
        let content = "Hello from the other side. I must have called a thousand times.";
        let header = "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9";
        for (content, secret, expected) in [
            (content, "my voice is my passcode", "VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"),
            ("", "my voice is my passcode", "7Ui1ALizW4jXphVUB7xUqC9vLYLL9RZeOFfVLoB7Tgk"),
            (content, "", "UfkqvDGiIFxrMnFseDj9LYJOLNrvjW8aHhF71mvvAs8"),
        ] {
            assert_eq!(signature(content, "joshua", secret), format!("{header}..{expected}"));
        }
    }

    #[test]
    fn every_token_that_may_sign_signs_and_old_signatures_go() {
        let info = map(&[("kubeconfig", "c"), ("jws-kubeconfig-zzzzzz", "old"), ("other", "o")]);
        let next = plan(&info, &[good("abcdef"), good("012345")], NOW).expect("a change");
        let keys: Vec<&str> = next.data.as_ref().expect("data").keys().map(String::as_str).collect();
        assert_eq!(keys, ["jws-kubeconfig-012345", "jws-kubeconfig-abcdef", "kubeconfig", "other"]);
        assert_eq!(plan(&next, &[good("abcdef"), good("012345")], NOW), None);
        assert_eq!(plan(&map(&[("other", "o")]), &[good("abcdef")], NOW), None, "nothing to sign");
    }

    #[test]
    fn a_token_that_is_not_whole_does_not_sign() {
        let info = map(&[("kubeconfig", "c")]);
        let mut typeless = good("abcdef");
        typeless.type_ = Some("Opaque".into());
        let mut renamed = good("abcdef");
        renamed.metadata.name = Some("bootstrap-token-ABCDEF".into());
        for (what, secret) in [
            ("another type", typeless),
            ("no name of a token", renamed),
            ("another id", with(good("abcdef"), "token-id", "fedcba")),
            ("no secret", with(good("abcdef"), "token-secret", "")),
            ("not for signing", with(good("abcdef"), "usage-bootstrap-signing", "yes")),
            ("ended", with(good("abcdef"), "expiration", "2027-01-15T08:00:00Z")),
            ("an end nobody can read", with(good("abcdef"), "expiration", "soon")),
        ] {
            assert_eq!(plan(&info, &[secret], NOW), None, "{what}");
        }
        assert!(plan(&info, &[with(good("abcdef"), "expiration", "2027-01-15T08:00:01Z")], NOW).is_some());
    }

    #[test]
    fn a_token_goes_when_it_ends() {
        for (end, expected) in [
            ("", Expiry::Never),
            ("2027-01-15T08:01:00Z", Expiry::In(Duration::from_secs(60))),
            ("2027-01-15T10:01:00+02:00", Expiry::In(Duration::from_secs(60))),
            ("2027-01-15T08:00:00Z", Expiry::Now),
            ("2020-01-01T00:00:00Z", Expiry::Now),
            ("soon", Expiry::Now),
        ] {
            assert_eq!(expiry(&with(good("abcdef"), "expiration", end), NOW), expected, "{end}");
        }
        let mut other = with(good("abcdef"), "expiration", "soon");
        other.type_ = Some("Opaque".into());
        assert_eq!(expiry(&other, NOW), Expiry::Never);
    }

    proptest! {
        #[test]
        fn planning_after_applying_yields_nothing(
            ids in prop::collection::btree_set("[a-c0-1]{6}", 0..4),
            held in prop::collection::btree_map("jws-kubeconfig-[a-c0-1]{6}|kubeconfig|other", "[a-z]{0,3}", 0..5),
        ) {
            let secrets: Vec<Secret> = ids.iter().map(|id| good(id)).collect();
            let info = ConfigMap { data: Some(held), ..ConfigMap::default() };
            if let Some(next) = plan(&info, &secrets, NOW) {
                prop_assert_eq!(plan(&next, &secrets, NOW), None);
            }
        }
    }
}
