//! Mistakes in objects of `networking`, and what is told of them.

pub(super) const TABLE: &str = r#"
object ingressclasses.networking.k8s.io {"spec": {"controller": "example.com/c", "parameters": {"apiGroup": "a.b", "kind": "K", "name": "n", "scope": "Namespace", "namespace": "n"}}, "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "row"}}
create /spec -
    spec.controller: Required value
create /spec/parameters/kind -
    spec.parameters.kind: Required value
create /spec/parameters/name -
    spec.parameters.name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/parameters/scope -
    spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'
create /spec/parameters/scope ""
    spec.parameters.scope: Unsupported value: "": supported values: "Cluster", "Namespace"
create /spec/parameters/apiGroup ""
    spec.parameters.apiGroup: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object ingressclasses.networking.k8s.io {"spec": {"controller": "example.com/c", "parameters": {"apiGroup": "a.b", "kind": "K", "name": "n", "scope": "Namespace", "namespace": "n"}}, "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
object ingresses.networking.k8s.io {"spec": {"ingressClassName": "c", "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}, "tls": [{"hosts": ["a.b"], "secretName": "s"}], "rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"name": "web"}}}}, {"path": "/x", "pathType": "ImplementationSpecific", "backend": {"resource": {"apiGroup": "a.b", "kind": "K", "name": "n"}}}]}}, {"host": "*.a.b", "http": {"paths": [{"path": "/", "pathType": "Exact", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}, "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "row", "namespace": "default"}}
create /spec/rules/0/http {}
    spec.rules[0].http.paths: Required value
create /spec/defaultBackend/service/name -
    spec.defaultBackend.service.name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/rules/0/http/paths/0/backend/service/name -
    spec.rules[0].http.paths[0].backend.service.name: Required value
create /spec/rules/0/http/paths/1/backend/resource/kind -
    spec.rules[0].http.paths[1].backend.resource.kind: Required value
create /spec/rules/0/http/paths/1/backend/resource/name -
    spec.rules[0].http.paths[1].backend.resource.name: Required value
create /spec/defaultBackend/service/port -
    spec.defaultBackend: Required value: port name or number is required
create /spec/rules/0/http/paths/0/path -
    spec.rules[0].http.paths[0].path: Invalid value: "": must be an absolute path
create /spec -
    spec: Invalid value: null: either `defaultBackend` or `rules` must be specified
create /spec/rules/0/http/paths/0 {}
    spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object ipaddresses.networking.k8s.io {"metadata": {"name": "10.43.9.9"}, "spec": {"parentRef": {"group": "a.b", "resource": "services", "namespace": "default", "name": "s"}}, "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress"}
create /spec -
    spec.parentRef: Required value
create /spec/parentRef/name -
    spec.parentRef.name: Required value
create /spec/parentRef/resource -
    spec.parentRef.resource: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/parentRef/namespace "x/y/z"
    spec.parentRef.namespace: Invalid value: "x/y/z": may not contain '/'
create /spec/parentRef/group "-1"
    spec.parentRef.group: Invalid value: "-1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object ipaddresses.networking.k8s.io {"metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "10.43.9.9"}, "spec": {"parentRef": {"group": "a.b", "resource": "services", "namespace": "default", "name": "s"}}, "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress"}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/apiVersion -
    metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
object networkpolicies.networking.k8s.io {"spec": {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Ingress", "Egress"], "ingress": [{"ports": [{"port": 80, "endPort": 90, "protocol": "TCP"}, {"port": "web"}], "from": [{"podSelector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}}, {"namespaceSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}], "egress": [{"to": [{"ipBlock": {"cidr": "fd00::/8"}}], "ports": [{"port": 1}]}]}, "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "row", "namespace": "default"}}
create /spec/egress/0/to/0/ipBlock {}
    spec.egress[0].to[0].ipBlock.cidr: Required value
create /spec/ingress/0/from/2/ipBlock {}
    spec.ingress[0].from[2].ipBlock.cidr: Required value
create /spec/egress/0/to/0 {}
    spec.egress[0].to[0]: Required value: must specify a peer
create /spec/ingress/0/from/0 {}
    spec.ingress[0].from[0]: Required value: must specify a peer
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/policyTypes/0 ""
    spec.policyTypes[0]: Unsupported value: "": supported values: "Ingress", "Egress"
create /spec/egress/0/ports/0/port 0
    spec.egress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
create /spec/ingress/0/ports/0/port 0
    spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
create /spec/ingress/0/ports/0/endPort 1
    spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`
create /spec/ingress/0/ports/0/protocol ""
    spec.ingress[0].ports[0].protocol: Unsupported value: "": supported values: "TCP", "UDP", "SCTP"
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object servicecidrs.networking.k8s.io {"spec": {"cidrs": ["10.44.0.0/16", "fd00::/112"]}, "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "row"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/cidrs/1 ""
    spec.cidrs[1]: Invalid value: "": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
update /spec -
    spec.cidrs: Invalid value: null: field is immutable
update /spec/cidrs/0 ""
    spec.cidrs[0]: Invalid value: "": field is immutable
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object servicecidrs.networking.k8s.io {"spec": {"cidrs": ["10.44.0.0/16", "fd00::/112"]}, "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/apiVersion -
    metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
create /metadata/labels/a "-1"
    metadata.labels: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
create /metadata/finalizers/0 "x/y/z"
    metadata.finalizers: Invalid value: "x/y/z": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
"#;
