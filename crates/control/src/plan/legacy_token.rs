//! Which tokens that nobody made on purpose may go: those in Secrets that an account lists, as old clusters made them.
//!
//! Invariant: a token is marked invalid only after a year in which its use was followed and it was not used, and deleted only
//! a year after that; until then taking away the label brings it back. Dates are those of UTC, and compare as text.
//! Upstream: `legacy_serviceaccount_token_cleaner.go`.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::ResourceExt;
use serde_json::Value;

use super::account_token;

/// Where the API server says since when it follows the use of tokens.
pub const TRACKING: (&str, &str) = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking");
const SINCE: &str = "since";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
pub(crate) const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const UNUSED: SignedDuration = SignedDuration::from_hours(365 * 24);

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// To say that it is invalid since this day.
    Mark(String),
    Delete,
}

/// Whether the use of tokens has been followed long enough to judge by it.
///
/// # Errors
/// When nobody can tell since when it is followed.
pub fn followed_long_enough(tracking: &ConfigMap, now: Timestamp) -> Result<bool, String> {
    let since = tracking.data.as_ref().and_then(|data| data.get(SINCE)).ok_or("it does not say since when")?;
    let since: Date = since.parse().map_err(|_| format!("{since:?} is not a day like 2026-01-31"))?;
    // the first day may have been followed only in part
    let first = since.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC)).map_err(|error| error.to_string())?;
    Ok(now >= first.timestamp() + UNUSED)
}

/// Whether a Secret holds a token that was not used for a year, as far as it says itself.
pub fn is_unused(secret: &Secret, now: Timestamp) -> bool {
    let made = secret.metadata.creation_timestamp.as_ref().map(|made| made.0);
    secret.type_.as_deref() == Some(account_token::TYPE)
        && secret.metadata.deletion_timestamp.is_none()
        && made.is_some_and(|made| made < now - UNUSED)
        // a date that cannot be read says nothing
        && secret.labels().get(LAST_USED).is_none_or(|used| used.parse::<Date>().is_ok() && *used < day(now - UNUSED))
}

/// Decides about an unused token; `account` is the live one of the name it has, `mounted` whether a pod uses the Secret.
pub fn plan(secret: &Secret, account: Option<&ServiceAccount>, mounted: bool, now: Timestamp) -> Option<Action> {
    let is_its = |account: &&ServiceAccount| {
        account_token::is_of(secret, &account.name_any(), account.metadata.uid.as_deref().unwrap_or_default())
    };
    let account = account.filter(is_its)?;
    let name = secret.name_any();
    let listed = account.secrets.iter().flatten().any(|reference| reference.name.as_deref() == Some(name.as_str()));
    if !is_unused(secret, now) || !listed || mounted {
        return None; // whoever is not listed was made on purpose
    }
    let marked = secret.labels().get(INVALID_SINCE).filter(|since| since.parse::<Date>().is_ok());
    match marked {
        None => Some(Action::Mark(day(now))),
        Some(since) => (*since < day(now - UNUSED)).then_some(Action::Delete),
    }
}

/// The day, as labels have it.
fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// The Secrets that the spec of a pod refers to.
pub fn secrets_of(spec: &Value) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    collect(spec, &mut found);
    found
}

fn collect<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => {
            for (name, inner) in fields {
                match name.as_str() {
                    "secretName" => found.extend(inner.as_str()),
                    "secret" | "secretRef" | "secretKeyRef" | "nodePublishSecretRef" => {
                        found.extend(inner["name"].as_str());
                    }
                    "imagePullSecrets" => {
                        found.extend(inner.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()));
                    }
                    _ => {}
                }
                collect(inner, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0); // 2027-01-15

    fn secret(made: &str, labels: Value) -> Secret {
        serde_json::from_value(json!({
            "metadata": {
                "name": "web-token", "namespace": "ns", "creationTimestamp": made, "labels": labels,
                "annotations": { account_token::ACCOUNT: "web", account_token::ACCOUNT_UID: "u1" },
            },
            "type": account_token::TYPE,
        }))
        .expect("a secret")
    }

    fn account(uid: &str, secrets: Value) -> ServiceAccount {
        serde_json::from_value(
            json!({ "metadata": { "name": "web", "namespace": "ns", "uid": uid }, "secrets": secrets }),
        )
        .expect("an account")
    }

    fn check(labels: Value, expected: Option<Action>) {
        let account = account("u1", json!([{ "name": "web-token" }]));
        let secret = secret("2025-01-01T00:00:00Z", labels.clone());
        assert_eq!(plan(&secret, Some(&account), false, NOW), expected, "{labels}");
    }

    #[test]
    fn a_token_is_marked_after_a_year_and_deleted_after_another() {
        let mark = || Some(Action::Mark("2027-01-15".into()));
        check(json!({}), mark());
        check(json!({ LAST_USED: "2026-01-14" }), mark());
        check(json!({ LAST_USED: "2026-01-15" }), None);
        check(json!({ LAST_USED: "lately" }), None);
        check(json!({ INVALID_SINCE: "" }), mark());
        check(json!({ INVALID_SINCE: "2027-01-15" }), None);
        check(json!({ INVALID_SINCE: "2026-01-15" }), None);
        check(json!({ INVALID_SINCE: "2026-01-14" }), Some(Action::Delete));
    }

    #[test]
    fn planning_after_marking_yields_nothing() {
        let account = account("u1", json!([{ "name": "web-token" }]));
        let mut secret = secret("2025-01-01T00:00:00Z", json!({}));
        let Some(Action::Mark(since)) = plan(&secret, Some(&account), false, NOW) else { panic!("must mark") };
        secret.labels_mut().insert(INVALID_SINCE.into(), since);
        assert_eq!(plan(&secret, Some(&account), false, NOW), None);
    }

    #[test]
    fn what_is_young_mounted_or_made_on_purpose_stays() {
        let (old, young) = (secret("2025-01-01T00:00:00Z", json!({})), secret("2026-06-01T00:00:00Z", json!({})));
        let listing = account("u1", json!([{ "name": "web-token" }]));
        assert_eq!(plan(&young, Some(&listing), false, NOW), None);
        assert_eq!(plan(&old, Some(&listing), true, NOW), None);
        assert_eq!(plan(&old, Some(&account("u1", json!([]))), false, NOW), None);
        assert_eq!(plan(&old, Some(&account("u2", json!([{ "name": "web-token" }]))), false, NOW), None);
        assert_eq!(plan(&old, None, false, NOW), None);
    }

    #[test]
    fn nothing_is_judged_before_use_was_followed_for_a_year() {
        let tracking = |since: &str| -> ConfigMap {
            serde_json::from_value(json!({ "data": { "since": since } })).expect("a map")
        };
        assert_eq!(followed_long_enough(&tracking("2026-01-14"), NOW), Ok(true));
        assert_eq!(followed_long_enough(&tracking("2026-01-15"), NOW), Ok(false), "in part of the first day");
        assert!(followed_long_enough(&tracking("yesterday"), NOW).is_err());
        assert!(followed_long_enough(&ConfigMap::default(), NOW).is_err());
    }

    #[test]
    fn every_way_a_pod_uses_a_secret_is_seen() {
        let spec = json!({
            "imagePullSecrets": [{ "name": "pull" }],
            "containers": [{
                "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "key", "key": "k" } } }],
                "envFrom": [{ "secretRef": { "name": "all" } }],
            }],
            "volumes": [
                { "name": "a", "secret": { "secretName": "mounted" } },
                { "name": "b", "projected": { "sources": [{ "secret": { "name": "part" } }] } },
                { "name": "c", "csi": { "driver": "d", "nodePublishSecretRef": { "name": "publish" } } },
            ],
        });
        assert_eq!(secrets_of(&spec), BTreeSet::from(["all", "key", "mounted", "part", "publish", "pull"]));
    }
}
