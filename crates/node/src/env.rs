//! The environment of a container: literal values, references and service variables, merged and
//! expanded in the kubelet's order (`makeEnvironmentVariables`).
//!
//! Invariant: evaluation is pure. Config maps and secrets are fetched beforehand by whoever calls
//! (`references` says which), so that a missing one is an error value and never half an environment.
//! Why not fetch in place: the same evaluation also runs for `subPathExpr` and in tests.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod, Service};

pub(crate) mod expand;
pub(crate) mod fields;
pub(crate) mod services;

use fields::Facts;

/// What keeps a container's configuration from being made: shown as `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey { kind: &'static str, namespace: String, name: String, key: String },
    #[error("cannot read {kind} \"{name}\": {why}")]
    Unreadable { kind: &'static str, name: String, why: String },
    #[error("{0}")]
    Invalid(String),
}

/// An object an environment or a volume reads from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reference {
    ConfigMap(String),
    Secret(String),
}

/// The data of the referenced objects; `None` where the object does not exist.
pub(crate) type Objects = BTreeMap<Reference, Option<BTreeMap<String, Vec<u8>>>>;

/// The objects the environment of `container` reads.
pub(crate) fn references(container: &Container) -> Vec<Reference> {
    let mut found = Vec::new();
    for source in container.env_from.iter().flatten() {
        if let Some(map) = &source.config_map_ref {
            found.push(Reference::ConfigMap(map.name.clone()));
        }
        if let Some(secret) = &source.secret_ref {
            found.push(Reference::Secret(secret.name.clone()));
        }
    }
    for from in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
        if let Some(key) = &from.config_map_key_ref {
            found.push(Reference::ConfigMap(key.name.clone()));
        }
        if let Some(key) = &from.secret_key_ref {
            found.push(Reference::Secret(key.name.clone()));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Everything an environment is made from.
pub(crate) struct Inputs<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub facts: &'a Facts,
    pub objects: &'a Objects,
    /// The services this pod gets variables for, see `services::visible`.
    pub services: &'a BTreeMap<String, String>,
}

/// The environment in upstream's order: `envFrom`, then `env` over it, then service variables that are not overridden.
pub(crate) fn evaluate(inputs: &Inputs<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut env = BTreeMap::new();
    for source in inputs.container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(map) = &source.config_map_ref {
            let reference = Reference::ConfigMap(map.name.clone());
            merge(&mut env, prefix, inputs.objects, &reference, map.optional.unwrap_or(false))?;
        }
        if let Some(secret) = &source.secret_ref {
            let reference = Reference::Secret(secret.name.clone());
            merge(&mut env, prefix, inputs.objects, &reference, secret.optional.unwrap_or(false))?;
        }
    }
    for var in inputs.container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) if !value.is_empty() => {
                expand::expand(value, |name| env.get(name).or_else(|| inputs.services.get(name)).cloned())
            }
            (_, Some(from)) => match reference_value(inputs, from)? {
                Some(value) => value,
                None => continue, // an optional reference that is absent leaves the variable unset
            },
            _ => String::new(),
        };
        env.insert(var.name.clone(), value);
    }
    for (name, value) in inputs.services {
        env.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(env)
}

/// The service variables of `pod`, from all services of the cluster.
pub(crate) fn service_variables<'a>(
    pod: &Pod,
    services: impl Iterator<Item = &'a Service>,
) -> BTreeMap<String, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    services::variables(services, namespace, links)
}

fn merge(
    env: &mut BTreeMap<String, String>,
    prefix: &str,
    objects: &Objects,
    reference: &Reference,
    optional: bool,
) -> Result<(), ConfigError> {
    let Some(Some(data)) = objects.get(reference) else {
        return if optional { Ok(()) } else { Err(reference.missing()) };
    };
    for (key, value) in data {
        env.insert(format!("{prefix}{key}"), String::from_utf8_lossy(value).into_owned());
    }
    Ok(())
}

fn reference_value(inputs: &Inputs<'_>, from: &EnvVarSource) -> Result<Option<String>, ConfigError> {
    if let Some(field) = &from.field_ref {
        return fields::field(inputs.pod, inputs.facts, &field.field_path)
            .map(Some)
            .ok_or_else(|| ConfigError::Invalid(format!("unsupported fieldPath: {}", field.field_path)));
    }
    if let Some(resource) = &from.resource_field_ref {
        let name = resource.container_name.as_deref().unwrap_or(&inputs.container.name);
        return fields::resource(inputs.pod, inputs.facts, name, resource).map(Some).map_err(ConfigError::Invalid);
    }
    if let Some(selector) = &from.config_map_key_ref {
        let reference = Reference::ConfigMap(selector.name.clone());
        return key_value(inputs, &reference, &selector.key, selector.optional.unwrap_or(false));
    }
    if let Some(selector) = &from.secret_key_ref {
        let reference = Reference::Secret(selector.name.clone());
        return key_value(inputs, &reference, &selector.key, selector.optional.unwrap_or(false));
    }
    Err(ConfigError::Invalid("a variable's valueFrom names a source this node does not support".into()))
}

fn key_value(
    inputs: &Inputs<'_>,
    reference: &Reference,
    key: &str,
    optional: bool,
) -> Result<Option<String>, ConfigError> {
    match inputs.objects.get(reference).and_then(Option::as_ref) {
        None if optional => Ok(None),
        None => Err(reference.missing()),
        Some(data) => match data.get(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            None if optional => Ok(None),
            None => Err(ConfigError::MissingKey {
                kind: reference.kind(),
                namespace: inputs.pod.metadata.namespace.clone().unwrap_or_default(),
                name: reference.name().to_owned(),
                key: key.to_owned(),
            }),
        },
    }
}

impl Reference {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::ConfigMap(name) | Self::Secret(name) => name,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::ConfigMap(_) => "ConfigMap",
            Self::Secret(_) => "Secret",
        }
    }

    /// The error for an object that does not exist, in the words of the API's own `not found`.
    pub(crate) fn missing(&self) -> ConfigError {
        let kind = match self {
            Self::ConfigMap(_) => "configmap",
            Self::Secret(_) => "secret",
        };
        ConfigError::Missing { kind, name: self.name().to_owned() }
    }
}

#[cfg(test)]
mod tests;
