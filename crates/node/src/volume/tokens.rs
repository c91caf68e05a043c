//! Bound service-account tokens for projected volumes: asked for once, renewed before they expire.
//!
//! Invariant: a token is renewed at 80 % of its life and after a day at the latest; while renewing
//! fails the old one stays, until it has expired.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};

use super::content::TokenKey;

#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    cached: BTreeMap<TokenKey, Token>,
}

#[derive(Debug, Clone)]
struct Token {
    value: String,
    expires: Timestamp,
    renew: Timestamp,
}

impl Tokens {
    /// Gets or renews the tokens for `keys`.
    pub(crate) async fn ensure(
        &mut self,
        client: &kube::Client,
        pod: &Pod,
        keys: &[TokenKey],
        now: Timestamp,
    ) -> Result<(), String> {
        for key in keys {
            if self.cached.get(key).is_some_and(|token| now < token.renew) {
                continue;
            }
            match request(client, pod, key, now).await {
                Ok(token) => {
                    self.cached.insert(key.clone(), token);
                }
                Err(error) => match self.cached.get_mut(key).filter(|token| now < token.expires) {
                    Some(token) => {
                        tracing::warn!("cannot renew a service account token, trying again in 10 s: {error}");
                        token.renew = now + SignedDuration::from_secs(10);
                    }
                    None => return Err(format!("failed to fetch token: {error}")),
                },
            }
        }
        Ok(())
    }

    /// When the next token is to be renewed.
    pub(crate) fn renew_at(&self) -> Option<Timestamp> {
        self.cached.values().map(|token| token.renew).min()
    }

    pub(crate) fn values(&self) -> BTreeMap<TokenKey, String> {
        self.cached.iter().map(|(key, token)| (key.clone(), token.value.clone())).collect()
    }
}

async fn request(client: &kube::Client, pod: &Pod, key: &TokenKey, now: Timestamp) -> Result<Token, String> {
    let meta = &pod.metadata;
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let spec = TokenRequestSpec {
        audiences: (!key.audience.is_empty()).then(|| vec![key.audience.clone()]),
        expiration_seconds: Some(key.seconds),
        bound_object_ref: Some(BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
        }),
    };
    let wanted = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let answer = api.create_token_request(account, &PostParams::default(), &wanted).await;
    let status = answer.map_err(|error| base::error::chain(&error))?.status;
    let token = status.and_then(|status| Some((status.token?, status.expiration_timestamp?.0)));
    let (value, expires) = token.ok_or("the API answered without a token")?;
    let (expires, renew) = schedule(now, expires);
    Ok(Token { value, expires, renew })
}

fn schedule(now: Timestamp, expires: Timestamp) -> (Timestamp, Timestamp) {
    const DAY: i64 = 24 * 3600;
    let life = expires.duration_since(now).as_secs().max(0);
    (expires, now + SignedDuration::from_secs((life * 4 / 5).clamp(1, DAY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_at_four_fifths_of_its_life_but_daily() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(schedule(at(0), at(3600)).1, at(2880));
        assert_eq!(schedule(at(0), at(365 * 86_400)).1, at(86_400));
        assert_eq!(schedule(at(100), at(50)).1, at(101));
    }
}
