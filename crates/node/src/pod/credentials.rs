//! Which of a pod's image pull secrets fits a registry.
//!
//! Invariant: pure; an unreadable secret is skipped, as upstream, because another one may fit.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::image::Auth;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
}

/// The registry a reference names, as docker understands it.
pub(crate) fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// The credentials for `reference` in the data of a secret.
pub(crate) fn find(reference: &str, secret: &BTreeMap<String, Vec<u8>>) -> Option<Auth> {
    let auths = if let Some(config) = secret.get(".dockerconfigjson") {
        serde_json::from_slice::<DockerConfig>(config).ok()?.auths
    } else {
        serde_json::from_slice::<BTreeMap<String, Entry>>(secret.get(".dockercfg")?).ok()?
    };
    let path = match reference.split_once('/') {
        Some((first, rest)) if first == registry(reference) => rest,
        _ => reference,
    };
    let host = registry(reference);
    let mut fitting: Vec<(usize, &Entry)> =
        auths.iter().filter_map(|(key, entry)| fits(key, host, path).map(|score| (score, entry))).collect();
    fitting.sort_by_key(|(score, _)| std::cmp::Reverse(*score)); // the longest path wins, as upstream
    fitting.into_iter().find_map(|(_, entry)| entry.auth())
}

fn fits(key: &str, host: &str, path: &str) -> Option<usize> {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let (key_host, key_path) = key.split_once('/').unwrap_or((key, ""));
    let docker = |name: &str| matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    if !(key_host == host || docker(key_host) && docker(host) || wildcard(key_host, host)) {
        return None;
    }
    if key_path.is_empty() || matches!(key_path, "v1" | "v2") {
        return Some(0);
    }
    path.starts_with(key_path).then_some(key_path.len())
}

fn wildcard(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len() && pattern.iter().zip(&host).all(|(p, h)| p == h || *p == "*")
}

impl Entry {
    fn auth(&self) -> Option<Auth> {
        if !self.username.is_empty() {
            return Some(Auth::Basic { username: self.username.clone(), password: self.password.clone() });
        }
        let text = String::from_utf8(STANDARD.decode(&self.auth).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Auth::Basic { username: username.to_owned(), password: password.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(config: &str) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([(".dockerconfigjson".to_owned(), config.as_bytes().to_vec())])
    }

    fn user(auth: Option<Auth>) -> String {
        match auth {
            Some(Auth::Basic { username, .. }) => username,
            _ => String::new(),
        }
    }

    #[test]
    fn the_registry_of_a_short_name_is_docker_hub() {
        assert_eq!(registry("nginx"), "docker.io");
        assert_eq!(registry("library/nginx"), "docker.io");
        assert_eq!(registry("localhost:5000/a/b"), "localhost:5000");
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let secret = secret(
            r#"{"auths": {"quay.io": {"auth": "YW55Om5v"}, "quay.io/team": {"username": "team", "password": "x"},
                "https://index.docker.io/v1/": {"username": "hub", "password": "x"}}}"#,
        );
        assert_eq!(user(find("quay.io/team/app:1", &secret)), "team");
        assert_eq!(user(find("quay.io/else/app:1", &secret)), "any");
        assert_eq!(user(find("nginx", &secret)), "hub");
        assert_eq!(user(find("ghcr.io/x", &secret)), "");
    }
}
