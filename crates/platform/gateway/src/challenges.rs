//! Answers to `http-01` challenges (RFC 8555, 8.3), read from the Challenges of `acme.cert-manager.io/v1`.
//!
//! Whoever makes certificates writes a Challenge with host, token and key, and says `presented`; from then on until it is
//! over the gateway answers `/.well-known/acme-challenge/TOKEN` for that host with the key, before any route is looked at.
//! Invariant: a token is answered for its own host only, and nothing but the key leaves: no Ingress, no pod, no route.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use informer::Informers;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use parking_lot::RwLock;

/// What a path to be answered begins with.
const PREFIX: &str = "/.well-known/acme-challenge/";
/// Between two looks for the definition of Challenges, where there is none.
const LOOK: Duration = Duration::from_secs(10);

/// The part of a Challenge that matters here.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Challenge {
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    dns_name: String,
    token: String,
    key: String,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Status {
    presented: bool,
}

impl Resource for Challenge {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Challenge".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "acme.cert-manager.io".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "challenges".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Host (in lower case) and token, to the key that answers.
type Answers = HashMap<(String, String), String>;

/// The challenges that are to be answered now. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub struct Challenges {
    answers: Arc<RwLock<Answers>>,
}

impl Challenges {
    /// The body to answer with, if `path` asks for a challenge of `host` (a port is ignored); the type is
    /// `application/octet-stream` (RFC 8555, 8.3) and the status 200. None: it is a request like any other.
    #[must_use]
    pub fn answer(&self, host: &str, path: &str) -> Option<String> {
        let token = path.strip_prefix(PREFIX)?;
        let answers = self.answers.read();
        if answers.is_empty() {
            return None; // the usual case takes no more than this
        }
        answers.get(&(bare(host), token.to_owned())).cloned()
    }

    /// Answers for `host` with `key` from now on.
    fn put(&self, host: &str, token: &str, key: &str) {
        self.answers.write().insert((bare(host), token.to_owned()), key.to_owned());
    }

    /// No longer.
    fn remove(&self, host: &str, token: &str) {
        self.answers.write().remove(&(bare(host), token.to_owned()));
    }

    fn change(&self, old: Option<&Challenge>, new: Option<&Challenge>) {
        let counts =
            |one: &&Challenge| one.status.presented && one.spec.kind == "HTTP-01" && !one.spec.token.is_empty();
        let (old, new) = (old.filter(counts), new.filter(counts));
        if let Some(new) = new {
            self.put(&new.spec.dns_name, &new.spec.token, &new.spec.key);
        }
        if let Some(old) = old.filter(|old| {
            new.is_none_or(|new| (&new.spec.dns_name, &new.spec.token) != (&old.spec.dns_name, &old.spec.token))
        }) {
            self.remove(&old.spec.dns_name, &old.spec.token);
        }
    }
}

/// A host without its port, in lower case.
fn bare(host: &str) -> String {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

/// Keeps `challenges` as the objects are, until the service of `ctx` ends. Where the kind is not defined it waits for
/// that; so nobody has to wait for this.
pub async fn follow(client: Client, challenges: Challenges, ctx: tasks::Context) {
    loop {
        let served = client.list_api_group_resources("acme.cert-manager.io/v1").await;
        if served.is_ok_and(|served| served.resources.iter().any(|one| one.name == "challenges")) {
            break;
        }
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let informers = Informers::new(client, &ctx);
    informers.of::<Challenge>().on_change(move |change| {
        challenges.change(change.old.map(|old| &**old), change.new.map(|new| &**new));
        tracing::debug!(challenge = %change.latest().name_any(), "a challenge changed");
    });
    ctx.stop.cancelled().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(host: &str, kind: &str, presented: bool) -> Challenge {
        let spec = Spec {
            kind: kind.to_owned(),
            dns_name: host.to_owned(),
            token: "token".to_owned(),
            key: format!("key of {host}"),
        };
        Challenge { spec, status: Status { presented }, ..Challenge::default() }
    }

    #[test]
    fn a_token_is_answered_for_its_host_while_it_is_presented() {
        let all = Challenges::default();
        let path = "/.well-known/acme-challenge/token";
        let (waiting, there) =
            (challenge("Shop.example", "HTTP-01", false), challenge("Shop.example", "HTTP-01", true));
        all.change(None, Some(&waiting));
        assert_eq!(all.answer("shop.example", path), None);
        all.change(Some(&waiting), Some(&there));
        for host in ["shop.example", "SHOP.example:80", "shop.example."] {
            assert_eq!(all.answer(host, path).as_deref(), Some("key of Shop.example"), "{host}");
        }
        for (host, path) in [
            ("other.example", path),
            ("shop.example", "/.well-known/acme-challenge/"),
            ("shop.example", "/.well-known/acme-challenge/token/x"),
            ("shop.example", "/token"),
        ] {
            assert_eq!(all.answer(host, path), None, "{host} {path}");
        }
        all.change(Some(&there), None);
        assert_eq!(all.answer("shop.example", path), None);
    }

    #[test]
    fn challenges_for_dns_are_not_answered_here() {
        let all = Challenges::default();
        all.change(None, Some(&challenge("a", "DNS-01", true)));
        assert_eq!(all.answer("a", "/.well-known/acme-challenge/token"), None);
    }

    #[test]
    fn addresses_are_hosts_too() {
        assert_eq!(
            (bare("[::1]:80"), bare("[::1]"), bare("::1"), bare("10.0.0.1:8080")),
            ("::1".into(), "::1".into(), "::1".into(), "10.0.0.1".into())
        );
    }
}
