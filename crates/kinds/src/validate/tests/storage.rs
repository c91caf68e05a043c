//! Mistakes in objects of `storage`, and what is told of them.

pub(super) const TABLE: &str = r#"
object csidrivers.storage.k8s.io {"spec": {"attachRequired": true, "podInfoOnMount": true, "storageCapacity": true, "fsGroupPolicy": "File", "tokenRequests": [{"audience": "a", "expirationSeconds": 600}], "volumeLifecycleModes": ["Persistent"], "seLinuxMount": true, "nodeAllocatableUpdatePeriodSeconds": 10, "serviceAccountTokenInSecrets": true}, "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "row"}}
create /spec/tokenRequests twice
    spec.tokenRequests[1].audience: Duplicate value: "a"
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/fsGroupPolicy ""
    spec.fsGroupPolicy: Unsupported value: "": supported values: "File", "None", "ReadWriteOnceWithFSType"
create /spec/nodeAllocatableUpdatePeriodSeconds 0
    spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 0: must be greater than or equal to 10 seconds
create /spec/tokenRequests/0/expirationSeconds 0
    spec.tokenRequests[0].expirationSeconds: Invalid value: 0: may not specify a duration less than 10 minutes
create /spec/tokenRequests -
    spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified
update /spec/attachRequired false
    spec.attachedRequired: Invalid value: false: field is immutable
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /spec/volumeLifecycleModes twice
    spec.volumeLifecycleModes: Invalid value: ["Persistent","Persistent"]: field is immutable
object csidrivers.storage.k8s.io {"spec": {}, "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
object csinodes.storage.k8s.io {"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n", "topologyKeys": ["a"], "allocatable": {"count": 1}}, {"name": "e.example.com", "nodeID": "n"}]}, "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": "row"}}
create /spec/drivers/0/name -
    spec.drivers[0].name: Required value
create /spec/drivers/0/topologyKeys twice
    spec.drivers[0]: Duplicate value: "a"
create /spec/drivers/0/nodeID -
    spec.drivers[0].nodeID: Required value
create /spec/drivers twice
    spec.drivers[2].name: Duplicate value: "d.example.com"
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/drivers/1 {}
    spec.drivers[1].name: Required value
    spec.drivers[1].nodeID: Required value
create /spec/drivers/0/allocatable/count -1
    spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /spec/drivers/0/topologyKeys []
    spec.drivers: Invalid value: {"Name":"d.example.com","NodeID":"n","TopologyKeys":[],"Allocatable":null}: field is immutable
update /spec/drivers/1/nodeID -
    spec.drivers[1].nodeID: Required value
    spec.drivers: Invalid value: {"Name":"e.example.com","NodeID":"","TopologyKeys":null,"Allocatable":null}: field is immutable
object csinodes.storage.k8s.io {"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n", "topologyKeys": ["a"], "allocatable": {"count": 1}}, {"name": "e.example.com", "nodeID": "n"}]}, "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
object csistoragecapacities.storage.k8s.io {"storageClassName": "c", "nodeTopology": {"matchLabels": {"a": "b"}}, "capacity": "1Gi", "maximumVolumeSize": "1Gi", "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /capacity "-1"
    capacity: Invalid value: "-1": must be greater than or equal to 0
create /storageClassName -
    storageClassName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
create /nodeTopology/matchLabels/a "-1"
    nodeTopology.matchLabels: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
update /nodeTopology {}
    nodeTopology: Invalid value: {}: field is immutable
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object csistoragecapacities.storage.k8s.io {"storageClassName": "c", "nodeTopology": {"matchLabels": {"a": "b"}}, "capacity": "1Gi", "maximumVolumeSize": "1Gi", "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
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
object storageclasses.storage.k8s.io {"provisioner": "example.com/p", "parameters": {"a": "b"}, "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate", "allowVolumeExpansion": true, "allowedTopologies": [{"matchLabelExpressions": [{"key": "k", "values": ["a"]}]}], "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "row"}}
create /provisioner -
    provisioner: Required value
create /allowedTopologies twice
    allowedTopologies[1].matchLabelExpressions: Duplicate value: ""
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /allowedTopologies/0/matchLabelExpressions/0/values -
    allowedTopologies[0].matchLabelExpressions[0].values: Required value
create /allowedTopologies/0/matchLabelExpressions twice
    allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: "k"
create /allowedTopologies/0/matchLabelExpressions/0/values twice
    allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "a"
create /volumeBindingMode ""
    volumeBindingMode: Unsupported value: "": supported values: "Immediate", "WaitForFirstConsumer"
create /allowedTopologies/0/matchLabelExpressions/0/key "-1"
    allowedTopologies[0].matchLabelExpressions[0].key: Invalid value: "-1": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
update /parameters -
    parameters: Invalid value: null: field is immutable
update /reclaimPolicy ""
    reclaimPolicy: Invalid value: "": field is immutable
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object volumeattachments.storage.k8s.io {"spec": {"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}, "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "row"}}
create /spec/attacher ""
    spec.attacher: Required value
create /spec/attacher -
    spec.attacher: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/source -
    spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName
create /spec/nodeName -
    spec.nodeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
create /spec/source/persistentVolumeName "-1"
    spec.source.persistentVolumeName: Invalid value: "-1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object volumeattachments.storage.k8s.io {"spec": {"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}, "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
object volumeattributesclasses.storage.k8s.io {"driverName": "d.example.com", "parameters": {"a": "b"}, "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": "row"}}
create /driverName -
    driverName: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /driverName ""
    driverName: Required value
update /parameters/a ""
    parameters: Forbidden: updates to parameters are forbidden.
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object volumeattributesclasses.storage.k8s.io {"driverName": "d.example.com", "parameters": {"a": "b"}, "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
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
