//! What the tests of this crate share: requests, means with a clock that is set by hand, servers on loopback.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base::time::Timestamp;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri};
use rustls::pki_types::CertificateDer;

use crate::{Asked, Data, Means, Source, SystemResolver};

/// A request that owns its parts.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) scheme: String,
    pub(crate) host: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) client: IpAddr,
    pub(crate) certificate: Option<Vec<CertificateDer<'static>>>,
    pub(crate) body: Option<Bytes>,
}

impl Request {
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked {
            method: &self.method,
            scheme: &self.scheme,
            host: &self.host,
            target: &self.target,
            headers: &self.headers,
            client: self.client,
            certificate: self.certificate.as_deref(),
            body: self.body.as_ref(),
        }
    }

    pub(crate) fn from(mut self, client: &str) -> Self {
        self.client = client.parse().expect("an address");
        self
    }
}

/// A request from 192.0.2.9.
pub(crate) fn ask(method: &str, url: &str, headers: &[(&str, &str)]) -> Request {
    let uri: Uri = url.parse().expect("a URL");
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_str(value).expect("a value"))
    };
    let mut map = HeaderMap::new();
    headers.iter().map(pair).for_each(|(name, value)| {
        map.append(name, value);
    });
    Request {
        method: method.parse().expect("a method"),
        scheme: uri.scheme_str().unwrap_or("http").to_owned(),
        host: uri.authority().map(ToString::to_string).unwrap_or_default(),
        target: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: map,
        client: "192.0.2.9".parse().expect("an address"),
        certificate: None,
        body: None,
    }
}

/// The second that tests begin at.
pub(crate) const START: i64 = 1_800_000_000;

/// A clock that is set by hand.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicI64>);

impl Hand {
    pub(crate) fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Means that reach loopback, and the hand on their clock.
pub(crate) fn means_and_clock() -> (Means, Hand) {
    let hand = Hand(Arc::new(AtomicI64::new(START)));
    let read = hand.clone();
    let clock = Arc::new(move || Timestamp::from_second(read.now()).expect("a time"));
    let children = tasks::context_for_tests().0.children;
    let means = Means::new(children).with_clock(clock).with_resolver(Arc::new(SystemResolver { loopback: true }));
    (means, hand)
}

pub(crate) fn means() -> Means {
    means_and_clock().0
}

/// Secrets and ConfigMaps: `secret name`, `configmap name`, with their data.
pub(crate) fn sources(objects: &[(&str, &[(&str, &str)])]) -> impl Fn(&Source) -> Option<Data> + use<> {
    let row = |(name, data): &(&str, &[(&str, &str)])| {
        let data: Data = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        ((*name).to_owned(), data)
    };
    let held: BTreeMap<String, Data> = objects.iter().map(row).collect();
    move |source| {
        let name = match source {
            Source::Secret(name) => format!("secret {name}"),
            Source::ConfigMap(name) => format!("configmap {name}"),
        };
        held.get(&name).cloned()
    }
}

#[test]
fn the_kind_is_one_that_an_api_server_takes() {
    use kube::CustomResourceExt as _;
    let crd = serde_json::to_value(crate::AccessPolicy::crd()).expect("JSON");
    let text = crd.to_string();
    assert_eq!(crd["metadata"]["name"], "accesspolicies.gateway.knarr.dev");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let spec = &schema["properties"]["spec"];
    assert_eq!(spec["required"], serde_json::json!(["targetRefs"]));
    assert!(spec["x-kubernetes-validations"][0]["rule"].as_str().is_some_and(|rule| rule.contains("has(self.oidc)")));
    assert_eq!(spec["properties"]["oidc"]["properties"]["issuer"]["pattern"], "^https?://");
    assert_eq!(spec["properties"]["targetRefs"]["maxItems"], 16);
    let oidc = &spec["properties"]["oidc"]["properties"];
    assert_eq!(oidc["allow"]["default"], serde_json::json!({"groupsClaim": "groups"}));
    for forbidden in
        ["$ref", "definitions", "\"oneOf\":[", "\"anyOf\":[", "additionalProperties\":false", "uniqueItems", "uint32"]
    {
        assert!(!text.contains(forbidden), "{forbidden} is in no structural schema: {text}");
    }
}
