//! Mistakes in objects of the small groups, and what is told of them.

pub(super) const TABLE: &str = r#"
object leases.coordination.k8s.io {"spec": {"holderIdentity": "h", "leaseDurationSeconds": 15, "leaseTransitions": 1, "strategy": "OldestEmulationVersion", "preferredHolder": "p"}, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/leaseDurationSeconds 0
    spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0
create /spec/leaseTransitions -1
    spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /spec/strategy -
    spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined
update /spec/strategy "-1"
    spec.strategy.strategy: Unsupported value: "-1": supported values: "OldestEmulationVersion"
object leases.coordination.k8s.io {"spec": {"holderIdentity": "h", "leaseDurationSeconds": 15, "leaseTransitions": 1, "strategy": "OldestEmulationVersion", "preferredHolder": "p"}, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/apiVersion -
    metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
create /metadata/finalizers/0 "-1"
    metadata.finalizers: Invalid value: "-1": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
object leasecandidates.coordination.k8s.io {"spec": {"leaseName": "row", "binaryVersion": "1.36.0", "emulationVersion": "1.36.0", "strategy": "OldestEmulationVersion"}, "apiVersion": "coordination.k8s.io/v1beta1", "kind": "LeaseCandidate", "metadata": {"name": "row", "namespace": "default"}}
create /spec/strategy -
    spec.strategy: Required value
create /spec/leaseName -
    spec.leaseName: Required value
create /spec/binaryVersion -
    spec.binaryVersion: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/strategy "-1"
    spec.strategy.strategy: Unsupported value: "-1": supported values: "OldestEmulationVersion"
create /spec/emulationVersion -
    spec.emulationVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object leasecandidates.coordination.k8s.io {"spec": {"leaseName": "row", "binaryVersion": "1.36.0", "emulationVersion": "1.36.0", "strategy": "OldestEmulationVersion"}, "apiVersion": "coordination.k8s.io/v1beta1", "kind": "LeaseCandidate", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/apiVersion -
    metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
object endpointslices.discovery.k8s.io {"addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"], "hostname": "h", "nodeName": "n", "zone": "z", "hints": {"forZones": [{"name": "z"}]}, "conditions": {"ready": true}, "deprecatedTopology": {"a": "b"}}], "ports": [{"name": "a", "port": 80, "protocol": "TCP", "appProtocol": "x"}], "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "row", "namespace": "default"}}
create /addressType -
    addressType: Required value
create /ports twice
    ports[1].name: Duplicate value: "a"
create /endpoints/0/hints/forZones twice
    endpoints[0].hints.forZones[1].name: Duplicate value: "z"
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /endpoints/0 {}
    endpoints[0].addresses: Required value: must contain at least 1 address
create /ports/0/protocol ""
    ports[0].protocol: Unsupported value: "": supported values: "SCTP", "TCP", "UDP"
create /ports/0/name "-1"
    ports[0].name: Invalid value: "-1": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
create /endpoints/0/hostname ""
    endpoints[0].hostname: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
create /ports/0/appProtocol "-1"
    ports[0].appProtocol: Invalid value: "-1": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object endpointslices.discovery.k8s.io {"addressType": "FQDN", "endpoints": [{"addresses": ["a.b"]}], "ports": [], "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "row", "namespace": "default"}}
create /endpoints/0/addresses/0 ""
    endpoints[0].addresses[0]: Required value
object runtimeclasses.node.k8s.io {"handler": "h", "overhead": {"podFixed": {"cpu": "1"}}, "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]}, "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "row"}}
create /handler -
    handler: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /overhead/podFixed/cpu "-1"
    overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0
create /scheduling/tolerations/0/operator "-1"
    scheduling.tolerations[0].operator: Unsupported value: "-1": supported values: "Equal", "Exists"
create /scheduling/tolerations/0/effect "-1"
    scheduling.tolerations[0].effect: Unsupported value: "-1": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
create /scheduling/tolerations twice
    scheduling.tolerations[1]: Duplicate value: {"Key":"k","Operator":"Exists","Value":"","Effect":"NoSchedule","TolerationSeconds":null}
create /scheduling/tolerations/0/key "-1"
    scheduling.tolerations[0].key: Invalid value: "-1": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
create /scheduling/nodeSelector/a "-1"
    scheduling.nodeSelector: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object runtimeclasses.node.k8s.io {"handler": "h", "overhead": {"podFixed": {"cpu": "1"}}, "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]}, "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
object poddisruptionbudgets.policy {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}, "unhealthyPodEvictionPolicy": "AlwaysAllow"}, "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name "x/y/z"
    metadata.name: Invalid value: "x/y/z": may not contain '/'
create /spec/minAvailable -1
    spec.minAvailable: Invalid value: -1: must be greater than or equal to 0
create /spec/selector/matchExpressions/0/operator -
    spec.selector.matchExpressions[0].operator: Invalid value: "": not a valid selector operator
create /spec/unhealthyPodEvictionPolicy ""
    spec.unhealthyPodEvictionPolicy: Unsupported value: "": supported values: "AlwaysAllow", "IfHealthyBudget"
create /spec/selector/matchExpressions/0/values -
    spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'
create /spec/selector/matchExpressions/0/key "-1"
    spec.selector.matchExpressions[0].key: Invalid value: "-1": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
create /spec/selector/matchLabels/app "-1"
    spec.selector.matchLabels: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
create /spec/selector/matchExpressions/0/values/0 "-1"
    spec.selector.matchExpressions[0].values[0]: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object poddisruptionbudgets.policy {"spec": {"maxUnavailable": "10%", "selector": {}}, "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "row", "namespace": "default"}}
create /spec/maxUnavailable ""
    spec.maxUnavailable: Invalid value: "": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')
object poddisruptionbudgets.policy {"spec": {"maxUnavailable": "10%", "selector": {}}, "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
object priorityclasses.scheduling.k8s.io {"value": 10, "preemptionPolicy": "Never", "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "row"}}
create /preemptionPolicy ""
    preemptionPolicy: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
update /value -
    value: Forbidden: may not be changed in an update.
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /value -1
    value: Forbidden: may not be changed in an update.
object priorityclasses.scheduling.k8s.io {"value": 10, "preemptionPolicy": "Never", "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
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
object podgroups.scheduling.k8s.io {"spec": {"schedulingPolicy": {"basic": {}}}, "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec -
    spec.schedulingPolicy: Invalid value: "": must specify one of: `basic`, `gang`
create /metadata/name ""
    metadata.name: Required value: name or generateName is required
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /metadata/resourceVersion ""
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object podgroups.scheduling.k8s.io {"spec": {"schedulingPolicy": {"basic": {}}}, "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
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
object workloads.scheduling.k8s.io {"spec": {"podGroupTemplates": [{"name": "g", "schedulingPolicy": {"basic": {}}}]}, "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "Workload", "metadata": {"name": "row", "namespace": "default"}}
create /spec -
    spec.podGroupTemplates: Required value
create /spec/podGroupTemplates/0/name -
    spec.podGroupTemplates[0].name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/podGroupTemplates/0/schedulingPolicy -
    spec.podGroupTemplates[0].schedulingPolicy: Invalid value: "": must specify one of: `basic`, `gang`
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object workloads.scheduling.k8s.io {"spec": {"podGroupTemplates": [{"name": "g", "schedulingPolicy": {"basic": {}}}]}, "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "Workload", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
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
