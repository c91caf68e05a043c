//! The objects a Knarr cluster has beyond upstream's own: the platform's namespace, roles and
//! DNS service. The API server ensures them at start, like its bootstrap roles.

use serde_json::{Value, json};

use crate::credentials::Credentials;
use crate::meant::Settings;

/// The platform's namespace.
pub(crate) const NAMESPACE: &str = "knarr-system";
/// The issuer that certificates for Ingress hosts come from, and the Secret with its key.
pub(crate) const ISSUER: &str = "knarr-ca";
/// The class of claims that have not chosen one, and who provisions for it.
const STORAGE_CLASS: &str = "local";
pub(crate) const PROVISIONER: &str = "knarr.dev/local";

/// What one platform service may do: (apiGroup, resources, verbs) each.
struct Role {
    service: &'static str,
    rules: &'static [(&'static str, &'static [&'static str], &'static [&'static str])],
}

const READ: &[&str] = &["get", "list", "watch"];
const RECORD: &[&str] = &["create", "patch", "update"];

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const GATEWAY_KINDS: &[&str] = &[
    "gatewayclasses",
    "gateways",
    "listenersets",
    "httproutes",
    "grpcroutes",
    "tlsroutes",
    "tcproutes",
    "udproutes",
    "referencegrants",
    "backendtlspolicies",
];
const GATEWAY_STATUSES: &[&str] = &[
    "gatewayclasses/status",
    "gateways/status",
    "listenersets/status",
    "httproutes/status",
    "grpcroutes/status",
    "tlsroutes/status",
    "tcproutes/status",
    "udproutes/status",
    "backendtlspolicies/status",
];

static ROLES: &[Role] = &[
    Role {
        service: "dns",
        rules: &[
            ("", &["services", "namespaces", "pods"], READ),
            ("discovery.k8s.io", &["endpointslices"], READ),
            ("acme.cert-manager.io", &["challenges"], READ),
        ],
    },
    Role {
        service: "gateway",
        rules: &[
            ("", &["services", "secrets", "nodes"], READ),
            ("discovery.k8s.io", &["endpointslices"], READ),
            ("networking.k8s.io", &["ingresses", "ingressclasses"], READ),
            ("networking.k8s.io", &["ingresses/status"], &["update", "patch"]),
            ("acme.cert-manager.io", &["challenges"], READ),
            ("", &["namespaces", "configmaps"], READ),
            ("apiextensions.k8s.io", &["customresourcedefinitions"], &["list", "watch"]),
            (GATEWAY_API, GATEWAY_KINDS, READ),
            (GATEWAY_API, GATEWAY_STATUSES, &["patch"]),
            ("gateway.knarr.dev", &["trafficpolicies", "accesspolicies", "cachepolicies"], READ),
            (
                "gateway.knarr.dev",
                &["trafficpolicies/status", "accesspolicies/status", "cachepolicies/status"],
                &["patch"],
            ),
            ("", &["events"], RECORD),
            ("events.k8s.io", &["events"], RECORD),
        ],
    },
    // defines the kinds of the Gateway API where they are missing, and keeps its own definitions up to date
    Role {
        service: "gateway-definitions",
        rules: &[
            ("apiextensions.k8s.io", &["customresourcedefinitions"], &["get", "create", "patch"]),
            (GATEWAY_API, &["gatewayclasses"], &["create"]),
        ],
    },
    // as upstream's metrics-server: of kubelets, the figures and nothing else
    Role { service: "metrics", rules: &[("", &["nodes/metrics"], &["get"]), ("", &["pods", "nodes"], READ)] },
    Role {
        service: "volumes",
        rules: &[
            ("", &["persistentvolumes"], &["get", "list", "watch", "create", "update", "delete"]),
            ("", &["persistentvolumeclaims"], &["get", "list", "watch", "patch"]),
            ("", &["persistentvolumeclaims/status"], &["update"]),
            ("", &["nodes"], READ),
            ("storage.k8s.io", &["storageclasses"], READ),
            ("", &["events"], RECORD),
            ("events.k8s.io", &["events"], RECORD),
        ],
    },
    // what a node does with the volumes that lie on it
    Role { service: "local-volumes", rules: &[("", &["persistentvolumes"], &["get", "list", "watch", "update"])] },
    Role {
        service: "certs",
        rules: &[
            ("cert-manager.io", &["certificates"], &["get", "list", "watch", "create", "patch", "delete"]),
            ("cert-manager.io", &["certificaterequests"], &["get", "list", "watch", "create", "delete"]),
            ("cert-manager.io", &["issuers"], READ),
            ("cert-manager.io", &["clusterissuers"], &["get", "list", "watch", "create"]),
            (
                "cert-manager.io",
                &["certificates/status", "certificaterequests/status", "issuers/status", "clusterissuers/status"],
                &["patch"],
            ),
            // who makes what an object owns says that it must not go before: only who may finalize the owner may say that
            ("cert-manager.io", &["certificates/finalizers", "certificaterequests/finalizers"], &["update"]),
            ("acme.cert-manager.io", &["orders"], &["get", "list", "watch", "create"]),
            ("acme.cert-manager.io", &["challenges"], &["get", "list", "watch", "create", "patch", "delete"]),
            ("acme.cert-manager.io", &["orders/status", "challenges/status"], &["patch"]),
            ("acme.cert-manager.io", &["orders/finalizers"], &["update"]),
            ("networking.k8s.io", &["ingresses"], READ),
            ("networking.k8s.io", &["ingresses/finalizers"], &["update"]),
            ("gateway.networking.k8s.io", &["gateways"], READ),
            ("gateway.networking.k8s.io", &["gateways/finalizers"], &["update"]),
            ("", &["secrets"], &["get", "list", "watch", "create", "update", "patch", "delete"]),
            // for Vault, in the name of the account that an issuer names
            ("", &["serviceaccounts/token"], &["create"]),
            ("", &["events"], RECORD),
            ("events.k8s.io", &["events"], RECORD),
        ],
    },
];

/// All platform objects, in the order to create them.
pub(crate) fn objects(settings: &Settings, credentials: &Credentials) -> Vec<Value> {
    let mut objects = vec![json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } })];
    for role in ROLES {
        let name = format!("knarr:{}", role.service);
        let rules: Vec<Value> = role
            .rules
            .iter()
            .map(|(group, resources, verbs)| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs }))
            .collect();
        objects.push(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": role.service, "namespace": NAMESPACE } }));
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules,
        }));
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": role.service, "namespace": NAMESPACE }],
        }));
    }
    objects.push(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": { "name": settings.ingress_class, "annotations": { "ingressclass.kubernetes.io/is-default-class": "true" } },
        "spec": { "controller": "knarr.dev/gateway" },
    }));
    objects.push(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": { "name": STORAGE_CLASS, "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } },
        "provisioner": PROVISIONER, "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Delete",
        "allowVolumeExpansion": true,
    }));
    objects.push(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": ISSUER, "namespace": NAMESPACE },
        "stringData": { "tls.crt": credentials.cluster_ca.cert_pem(), "tls.key": credentials.cluster_ca.key_pem() },
    }));
    if settings.certs {
        objects.extend(certificates());
    }
    objects.extend(dns(settings));
    objects.extend(metrics());
    objects
}

/// The kinds of cert-manager, and who may read and write them: as upstream's chart says it.
fn certificates() -> Vec<Value> {
    const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    let role = |name: &str, into: &[&str], verbs: &[&str]| {
        let labels: serde_json::Map<String, Value> =
            into.iter().map(|role| (format!("rbac.authorization.k8s.io/aggregate-to-{role}"), json!("true"))).collect();
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": name, "labels": labels },
            "rules": [
                rule("cert-manager.io", &["certificates", "certificaterequests", "issuers"], verbs),
                rule("acme.cert-manager.io", &["challenges", "orders"], verbs),
            ],
        })
    };
    let mut objects = certs::definitions::all();
    objects.push(role("knarr:certificates-view", &["view", "edit", "admin"], READ));
    let mut edit = role("knarr:certificates-edit", &["edit", "admin"], WRITE);
    if let Some(rules) = edit["rules"].as_array_mut() {
        rules.push(rule("cert-manager.io", &["certificates/status"], &["update", "patch"])); // to renew by hand
    }
    objects.push(edit);
    objects
}

/// Where the resource metrics API is served: by this process, until somebody writes a service into the object. And who may
/// read it.
fn metrics() -> [Value; 2] {
    let into = |role: &str| format!("rbac.authorization.k8s.io/aggregate-to-{role}");
    [
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": { "name": format!("{}.{}", metrics::VERSION, metrics::GROUP), "labels": { "k8s-app": "metrics-server" } },
            "spec": {
                "group": metrics::GROUP, "version": metrics::VERSION, "groupPriorityMinimum": 100, "versionPriority": 100,
            },
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": "system:aggregated-metrics-reader", "labels": {
                "k8s-app": "metrics-server", into("admin"): "true", into("edit"): "true", into("view"): "true",
            } },
            "rules": [{ "apiGroups": [metrics::GROUP], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"] }],
        }),
    ]
}

/// The service every resolv.conf names, and where it leads: the DNS server on this node.
fn dns(settings: &Settings) -> [Value; 2] {
    let ports = |field: &str, number: u16| json!([{ "name": "dns", "protocol": "UDP", field: number }, { "name": "dns-tcp", "protocol": "TCP", field: number }]);
    let labels =
        json!({ "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS" });
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "kube-dns", "namespace": "kube-system", "labels": labels },
            "spec": { "clusterIP": settings.dns_ip(), "ports": ports("port", 53) },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": "kube-dns", "namespace": "kube-system", "labels": {
                "kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": "dns.knarr.dev",
            } },
            "endpoints": [{ "addresses": [settings.dns.ip()], "conditions": { "ready": true }, "nodeName": settings.node_name }],
            "ports": ports("port", settings.dns.port()),
        }),
    ]
}
