//! A cluster made of manifests, and what its objects are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::backend::{Endpoints, Port};
use crate::certificates;
use crate::gateways::kinds::Gateway;
use crate::gateways::listeners::RouteKind;
use crate::gateways::{Pool, SharedPorts, Statuses, World, plan, status};
use crate::ingress::Certificate;
use crate::model::{Model, Socket};

/// A cluster, as manifests.
#[derive(Clone, Debug, Default)]
pub(super) struct House {
    pub(super) objects: Vec<Value>,
    pub(super) pool: Pool,
    pub(super) unbound: BTreeMap<Socket, String>,
    pub(super) before: Statuses,
}

impl House {
    pub(super) fn of(manifest: &str) -> Self {
        let class = "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: knarr, generation: 1 }
spec: { controllerName: knarr.dev/gateway }";
        let all = format!("{class}\n---\n{manifest}");
        let mut objects: Vec<Value> =
            all.split("\n---\n").map(|text| serde_saphyr::from_str(text).expect("a manifest")).collect();
        for (at, object) in objects.iter_mut().enumerate() {
            let metadata = &mut object["metadata"];
            if metadata["namespace"].is_null() {
                metadata["namespace"] = json!("default");
            }
            metadata["generation"] = json!(1);
            metadata["creationTimestamp"] = json!(format!("2026-01-01T00:00:{at:02}Z"));
        }
        Self { objects, ..Self::default() }
    }

    pub(super) fn all<K: DeserializeOwned>(&self, kind: &str) -> Vec<Arc<K>> {
        let ours = self.objects.iter().filter(|object| object["kind"] == kind);
        ours.map(|object| Arc::new(serde_json::from_value(object.clone()).expect("an object"))).collect()
    }

    pub(super) fn find(&self, kind: &str, key: &Key) -> Option<&Value> {
        self.objects.iter().find(|object| {
            object["kind"] == kind
                && object["metadata"]["name"] == key.name.as_str()
                && (key.namespace.is_empty() || object["metadata"]["namespace"] == key.namespace.as_str())
        })
    }

    pub(super) fn plan(&self) -> (Statuses, Model) {
        let mut model = Model::default();
        let pair = pair();
        let world = World {
            classes: &self.all("GatewayClass"),
            gateways: &self.all("Gateway"),
            sets: &self.all("ListenerSet"),
            http: &self.all("HTTPRoute"),
            grpc: &self.all("GRPCRoute"),
            tls: &self.all("TLSRoute"),
            tcp: &self.all("TCPRoute"),
            udp: &self.all("UDPRoute"),
            grants: &self.all("ReferenceGrant"),
            policies: &self.all("BackendTLSPolicy"),
            namespace: &|name| Some(BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())])),
            service: &|key| {
                let service = self.find("Service", key)?.clone();
                Some(Arc::new(serde_json::from_value::<Service>(service).expect("a service")))
            },
            endpoints: &|key, port: &Port, transport| {
                Arc::new(Endpoints::new(key.clone(), port.clone(), transport, Vec::<std::net::SocketAddr>::new()))
            },
            certificate: &|key| {
                let secret = self.find("Secret", key)?;
                let read = match secret["spoiled"].as_str() {
                    Some(why) => Err(why.to_owned()),
                    None => certificates::parse(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes())
                        .map_err(|error| error.to_string()),
                };
                Some(Certificate::after(None, read))
            },
            guard: &|key, settings| {
                let means = identity::Means::new(tasks::context_for_tests().0.children);
                let guard = identity::Guard::new(&key.to_string(), settings, &|_: &identity::Source| None, &means);
                guard.map(Arc::new).map_err(|faults| faults.to_string())
            },
            secret: &|_, field| {
                Some(if field == "tls.crt" { &pair.cert_pem } else { &pair.key_pem }.clone().into_bytes())
            },
            authorities: &|key| {
                let text = self.find("ConfigMap", key)?["data"]["ca.crt"].as_str()?;
                Some(if text == "good" { pair.cert_pem.as_str().into() } else { text.into() })
            },
            pool: &self.pool,
            before: &self.before,
            shared: &["192.0.2.1".parse().expect("an address")],
            ports: SharedPorts { http: 8080, https: 8443 },
            system: &Arc::from(vec![vec![0]]),
            unbound: &self.unbound,
        };
        let statuses = plan(&world, &mut model);
        (statuses, model)
    }

    /// Writes everything that is to be told, as the API would; how many writes that were.
    pub(super) fn apply(&mut self, statuses: &Statuses) -> usize {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let patches: Vec<(String, Key, Value)> = self
            .objects
            .iter()
            .filter_map(|object| {
                let kind = object["kind"].as_str()?.to_owned();
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                let key = Key::new(text("namespace"), text("name"));
                let patch = patch(&kind, &key, object, statuses, now)?;
                Some((kind, key, patch))
            })
            .collect();
        let count = patches.len();
        for (kind, key, patch) in patches {
            let object = self.objects.iter_mut().find(|object| {
                object["kind"] == kind.as_str()
                    && object["metadata"]["name"] == key.name.as_str()
                    && object["metadata"]["namespace"] == key.namespace.as_str()
            });
            object.expect("the object")["status"] = patch["status"].clone();
        }
        count
    }

    /// All conditions, a line each: `Kind name [parent or listener]: Type=Status(Reason) ...`.
    pub(super) fn told(&mut self) -> Vec<String> {
        let (statuses, _) = self.plan();
        self.apply(&statuses);
        let mut lines = Vec::new();
        for object in &self.objects {
            let name = format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
            let status = &object["status"];
            if status["conditions"].is_array() {
                lines.push(format!("{name}: {}", conditions(&status["conditions"])));
            }
            for listener in status["listeners"].as_array().into_iter().flatten() {
                let kinds: Vec<String> = listener["supportedKinds"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|kind| text(&kind["kind"]))
                    .collect();
                let (listener_name, attached) = (text(&listener["name"]), &listener["attachedRoutes"]);
                let conditions = conditions(&listener["conditions"]);
                lines.push(format!("{name} {listener_name} [{}] {attached}: {conditions}", kinds.join(",")));
            }
            for part in ["parents", "ancestors"] {
                for parent in status[part].as_array().into_iter().flatten() {
                    let at = if part == "parents" { &parent["parentRef"] } else { &parent["ancestorRef"] };
                    lines.push(format!("{name} at {}: {}", text(&at["name"]), conditions(&parent["conditions"])));
                }
            }
        }
        lines.retain(|line| !line.starts_with("GatewayClass"));
        lines
    }
}

pub(super) fn patch(kind: &str, key: &Key, object: &Value, statuses: &Statuses, now: Timestamp) -> Option<Value> {
    use crate::gateways::kinds::{BackendTlsPolicy, GatewayClass, HttpRoute, ListenerSet};
    pub(super) fn typed<K: DeserializeOwned>(object: &Value) -> K {
        serde_json::from_value(object.clone()).expect("an object")
    }
    match kind {
        "GatewayClass" => status::class_patch(&typed::<GatewayClass>(object), statuses.classes.get(&key.name)?, now),
        "Gateway" => statuses.gateways.get(key)?.patch(&typed::<Gateway>(object), now),
        "ListenerSet" => statuses.sets.get(key)?.patch(&typed::<ListenerSet>(object), now),
        "BackendTLSPolicy" => {
            status::policy_patch(&typed::<BackendTlsPolicy>(object), statuses.policies.get(key)?, now)
        }
        _ => {
            let kinds = [RouteKind::Http, RouteKind::Grpc, RouteKind::Tls, RouteKind::Tcp];
            let found = kinds.into_iter().chain([RouteKind::Udp]).find(|found| found.name() == kind)?;
            // What statuses have in common is all that counts here.
            let mut route = object.clone();
            route["spec"] = json!({});
            let route: HttpRoute = typed(&route);
            status::route_patch(&route.metadata, &route.status, statuses.routes.get(&(found, key.clone()))?, now)
        }
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn conditions(all: &Value) -> String {
    let one = |condition: &Value| {
        let status = if condition["status"] == "True" { "" } else { "not" };
        let (kind, reason) = (text(&condition["type"]), text(&condition["reason"]));
        if reason == kind || reason == "NoConflicts" {
            format!("{status}{kind}")
        } else {
            format!("{status}{kind}({reason})")
        }
    };
    let all: Vec<String> = all.as_array().into_iter().flatten().map(one).collect();
    all.join(" ").replace(" notConflicted", "")
}

pub(super) fn pair() -> pki::Pair {
    let request = pki::Request {
        common_name: "a.example".to_owned(),
        organization: None,
        names: vec!["a.example".to_owned()],
        usage: pki::Usage::Server,
        lifetime: std::time::Duration::from_secs(3600),
    };
    pki::Authority::generate("test").and_then(|authority| authority.issue(&request)).expect("a pair")
}

#[track_caller]
pub(super) fn check(manifest: &str, expected: &[&str]) {
    assert_eq!(House::of(manifest).told(), expected);
}

pub(super) const SERVICE: &str = "kind: Service
metadata: { name: web }
spec: { ports: [{ port: 80 }] }
---
";

/// A Gateway called `g` with `listeners`.
pub(super) fn gateway(listeners: &str) -> String {
    format!(
        "kind: Gateway\nmetadata: {{ name: g }}\nspec: {{ gatewayClassName: knarr, listeners: [{listeners}] }}\n---\n"
    )
}

pub(super) const PLAIN: &str = "{ name: http, port: 80, protocol: HTTP }";
