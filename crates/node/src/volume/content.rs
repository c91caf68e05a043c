//! What configMap, secret, downwardAPI and projected volumes contain.
//!
//! Invariant: pure; objects and tokens were fetched before. A required object or key that is
//! missing fails the whole volume, as upstream: half a configuration is worse than none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use super::atomic::{File, Payload};
use crate::env::fields::{self, Facts};
use crate::env::{Objects, Reference};

/// A token a projected volume asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokenKey {
    pub audience: String,
    pub seconds: i64,
}

impl TokenKey {
    pub(crate) fn of(projection: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: projection.audience.clone().unwrap_or_default(),
            seconds: projection.expiration_seconds.unwrap_or(3600),
        }
    }
}

/// Everything contents are made from.
pub(crate) struct Inputs<'a> {
    pub pod: &'a Pod,
    pub facts: &'a Facts,
    pub objects: &'a Objects,
    pub tokens: &'a BTreeMap<TokenKey, String>,
    /// Where the data of claims lies.
    pub claims: &'a super::claim::Claims,
    /// Where this node keeps volumes of its own.
    pub place: &'a super::local::Place,
    /// The one user all containers run as, if there is one: tokens are made readable to it.
    pub user: Option<u32>,
    pub group: Option<u32>,
}

/// The volume is made from content (and not from a directory of the host).
pub(crate) fn is_content(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// The objects a volume reads.
pub(crate) fn references(volume: &Volume) -> Vec<Reference> {
    let mut found = Vec::new();
    found.extend(volume.config_map.iter().map(|source| Reference::ConfigMap(source.name.clone())));
    found.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()).map(Reference::Secret));
    for source in projections(volume) {
        found.extend(source.config_map.iter().map(|map| Reference::ConfigMap(map.name.clone())));
        found.extend(source.secret.iter().map(|secret| Reference::Secret(secret.name.clone())));
    }
    found
}

/// The tokens a volume needs.
pub(crate) fn tokens(volume: &Volume) -> Vec<TokenKey> {
    projections(volume).filter_map(|source| source.service_account_token.as_ref()).map(TokenKey::of).collect()
}

fn projections(volume: &Volume) -> impl Iterator<Item = &VolumeProjection> {
    volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten())
}

/// The files of a content volume, or what is missing.
pub(crate) fn payload(inputs: &Inputs<'_>, volume: &Volume) -> Result<Payload, String> {
    if let Some(source) = &volume.config_map {
        let from = Source::new(Reference::ConfigMap(source.name.clone()), source.optional);
        return objects(inputs, &from, source.items.as_deref(), mode(source.default_mode));
    }
    if let Some(source) = &volume.secret {
        let from = Source::new(Reference::Secret(source.secret_name.clone().unwrap_or_default()), source.optional);
        return objects(inputs, &from, source.items.as_deref(), mode(source.default_mode));
    }
    if let Some(source) = &volume.downward_api {
        return downward(inputs, source.items.as_deref().unwrap_or_default(), mode(source.default_mode));
    }
    let default = mode(volume.projected.as_ref().and_then(|projected| projected.default_mode));
    let mut all = Payload::new();
    for source in projections(volume) {
        all.extend(projection(inputs, source, default)?); // a later source wins over an earlier one
    }
    Ok(all)
}

fn projection(inputs: &Inputs<'_>, source: &VolumeProjection, default: u32) -> Result<Payload, String> {
    if let Some(map) = &source.config_map {
        let from = Source::new(Reference::ConfigMap(map.name.clone()), map.optional);
        return objects(inputs, &from, map.items.as_deref(), default);
    }
    if let Some(secret) = &source.secret {
        let from = Source::new(Reference::Secret(secret.name.clone()), secret.optional);
        return objects(inputs, &from, secret.items.as_deref(), default);
    }
    if let Some(fields) = &source.downward_api {
        return downward(inputs, fields.items.as_deref().unwrap_or_default(), default);
    }
    if let Some(token) = &source.service_account_token {
        let value = inputs.tokens.get(&TokenKey::of(token)).ok_or("the service account token is not there yet")?;
        let private = inputs.user.is_some() || inputs.group.is_some();
        let file = File {
            data: value.clone().into_bytes(),
            mode: if private { 0o600 } else { default },
            owner: if inputs.group.is_none() { inputs.user } else { None },
        };
        return Ok(Payload::from([(token.path.clone(), file)]));
    }
    if let Some(bundle) = &source.cluster_trust_bundle {
        if bundle.optional.unwrap_or(false) {
            return Ok(Payload::new());
        }
        return Err("clusterTrustBundle projections are not supported by this node".into());
    }
    Err("a projected source names nothing this node supports".into())
}

struct Source {
    reference: Reference,
    optional: bool,
}

impl Source {
    fn new(reference: Reference, optional: Option<bool>) -> Self {
        Self { reference, optional: optional.unwrap_or(false) }
    }
}

fn objects(inputs: &Inputs<'_>, from: &Source, items: Option<&[KeyToPath]>, default: u32) -> Result<Payload, String> {
    let data = match inputs.objects.get(&from.reference).and_then(Option::as_ref) {
        Some(data) => data,
        None if from.optional => return Ok(Payload::new()),
        None => return Err(from.reference.missing().to_string()),
    };
    let file = |data: &Vec<u8>, mode| File { data: data.clone(), mode, owner: None };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.iter().map(|(key, value)| (key.clone(), file(value, default))).collect());
    };
    let mut chosen = Payload::new();
    for item in items {
        let mode = item.mode.map_or(default, |own| mode(Some(own)));
        match data.get(&item.key) {
            Some(value) => {
                chosen.insert(item.path.clone(), file(value, mode));
            }
            None if from.optional => {}
            None => {
                let kind = if matches!(from.reference, Reference::Secret(_)) { "secret" } else { "config" };
                return Err(format!("references non-existent {kind} key: {}", item.key));
            }
        }
    }
    Ok(chosen)
}

fn downward(inputs: &Inputs<'_>, items: &[DownwardAPIVolumeFile], default: u32) -> Result<Payload, String> {
    let mut files = Payload::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            fields::field(inputs.pod, inputs.facts, &field.field_path)
                .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path))?
        } else if let Some(resource) = &item.resource_field_ref {
            let container = resource.container_name.as_deref().unwrap_or_default();
            fields::resource(inputs.pod, inputs.facts, container, resource)?
        } else {
            return Err(format!("downwardAPI file {:?} names no field", item.path));
        };
        let mode = item.mode.map_or(default, |own| mode(Some(own)));
        files.insert(item.path.clone(), File { data: text.into_bytes(), mode, owner: None });
    }
    Ok(files)
}

fn mode(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn build(volume: serde_json::Value) -> Result<BTreeMap<String, (String, u32)>, String> {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web", "labels": {"app": "w"}}})).unwrap();
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let data = BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let objects = Objects::from([
            (Reference::ConfigMap("cm".into()), Some(data.clone())),
            (Reference::Secret("s".into()), Some(data)),
        ]);
        let key = TokenKey { audience: String::new(), seconds: 3607 };
        let tokens = BTreeMap::from([(key, "jwt".to_owned())]);
        let facts = Facts::default();
        let (claims, place) = (Default::default(), super::super::local::Place::new("/none".into()));
        let inputs = Inputs {
            pod: &pod,
            facts: &facts,
            objects: &objects,
            tokens: &tokens,
            claims: &claims,
            place: &place,
            user: None,
            group: None,
        };
        let payload = payload(&inputs, &volume)?;
        Ok(payload.into_iter().map(|(path, f)| (path, (String::from_utf8(f.data).unwrap(), f.mode))).collect())
    }

    #[test]
    fn a_config_map_shows_every_key_with_the_default_mode() {
        let files = build(json!({"name": "v", "configMap": {"name": "cm", "defaultMode": 0o400}})).unwrap();
        assert_eq!(files["a"], ("1".to_owned(), 0o400));
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn items_choose_and_rename_keys() {
        let items = json!([{"key": "b", "path": "deep/c", "mode": 0o600}]);
        let files = build(json!({"name": "v", "secret": {"secretName": "s", "items": items}})).unwrap();
        assert_eq!(files, BTreeMap::from([("deep/c".to_owned(), ("2".to_owned(), 0o600))]));
    }

    #[test]
    fn what_is_missing_is_named_unless_optional() {
        let gone = |optional| json!({"name": "v", "configMap": {"name": "gone", "optional": optional}});
        assert_eq!(build(gone(false)).unwrap_err(), "configmap \"gone\" not found");
        assert!(build(gone(true)).unwrap().is_empty());
        let key = json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "z", "path": "z"}]}});
        assert_eq!(build(key).unwrap_err(), "references non-existent config key: z");
    }

    #[test]
    fn the_usual_service_account_volume_is_put_together() {
        let files = build(json!({"name": "kube-api-access", "projected": {"defaultMode": 0o644, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "cm", "items": [{"key": "a", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        ]}}))
        .unwrap();
        let text: Vec<(&str, &str)> = files.iter().map(|(path, (data, _))| (path.as_str(), data.as_str())).collect();
        assert_eq!(text, [("ca.crt", "1"), ("labels", "app=\"w\""), ("token", "jwt")]);
    }
}
