//! Mistakes in objects of volumes, configuration and limits in the core group, and what is told of them.

pub(super) const TABLE: &str = r#"
object configmaps. {"data": {"a": "b"}, "binaryData": {"c": "ZA=="}, "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object configmaps. {"data": {"a": "b"}, "immutable": true, "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "row", "namespace": "default"}}
update /data -
    data: Forbidden: field is immutable when `immutable` is set
update /immutable -
    immutable: Forbidden: field is immutable when `immutable` is set
update /data {}
    data: Forbidden: field is immutable when `immutable` is set
object configmaps. {"data": {"a": "b"}, "immutable": true, "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
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
object secrets. {"data": {"a": "YQ=="}, "type": "Opaque", "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
update /type "-1"
    type: Invalid value: "-1": field is immutable
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object secrets. {"type": "kubernetes.io/tls", "data": {"tls.crt": "YQ==", "tls.key": "YQ=="}, "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "row", "namespace": "default"}}
create /data/tls.crt -
    data[tls.crt]: Required value
create /data/tls.key -
    data[tls.key]: Required value
object secrets. {"type": "kubernetes.io/basic-auth", "data": {"username": "YQ=="}, "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "row", "namespace": "default"}}
create /data -
    data[username]: Required value
    data[password]: Required value
object secrets. {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}, "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "row", "namespace": "default"}}
create /data -
    data[.dockerconfigjson]: Required value
object secrets. {"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": "YQ=="}, "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "row", "namespace": "default"}}
create /data -
    data[ssh-privatekey]: Required value
object secrets. {"type": "kubernetes.io/service-account-token", "metadata": {"annotations": {"kubernetes.io/service-account.name": "s"}, "name": "row", "namespace": "default"}, "apiVersion": "v1", "kind": "Secret"}
create /metadata/annotations -
    metadata.annotations[kubernetes.io/service-account.name]: Required value
object secrets. {"immutable": true, "data": {"a": "YQ=="}, "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "row", "namespace": "default"}}
update /data -
    data: Forbidden: field is immutable when `immutable` is set
update /immutable -
    immutable: Forbidden: field is immutable when `immutable` is set
object events. {"involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"}, "reason": "R", "type": "Normal", "message": "m", "apiVersion": "v1", "kind": "Event", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name "x/y/z"
    metadata.name: Invalid value: "x/y/z": may not contain '/'
create /involvedObject/namespace "-1"
    involvedObject.namespace: Invalid value: "-1": does not match event.namespace
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /metadata/name ""
    metadata.name: Required value: name or generateName is required
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object events. {"involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"}, "reason": "R", "type": "Normal", "message": "m", "apiVersion": "v1", "kind": "Event", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
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
create /metadata/labels/a "-1"
    metadata.labels: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
object limitranges. {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}}, {"type": "Pod", "max": {"memory": "1Gi"}}, {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}, "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "row", "namespace": "default"}}
create /spec/limits twice
    spec.limits[3].type: Duplicate value: "Container"
create /spec/limits/0/maxLimitRequestRatio/cpu "-1"
    spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "-1": ratio -1 is less than 1
create /spec/limits/0/defaultRequest/cpu "-1"
    spec.limits[0].defaultRequest[cpu]: Invalid value: "-1": min value 1 is greater than default request value -1
create /spec/limits/2/max -
    spec.limits[2].limits: Required value: either minimum or maximum storage value is required, but neither was provided
create /spec/limits/0/type "-1"
    spec.limits[0].type: Invalid value: "-1": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
create /metadata/name "-1"
    metadata.name: Invalid value: "-1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
create /spec/limits/1 {}
    spec.limits[1].type: Invalid value: "": name part must be non-empty
    spec.limits[1].type: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
create /spec/limits/2/type "x/y/z"
    spec.limits[2].type: Invalid value: "x/y/z": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
create /spec/limits/0/max/cpu "-1"
    spec.limits[0].min[cpu]: Invalid value: "1": min value 1 is greater than max value -1
    spec.limits[0].defaultRequest[cpu]: Invalid value: "1": default request value 1 is greater than max value -1
    spec.limits[0].default[cpu]: Invalid value: "-1": default value 2 is greater than max value -1
    spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "2": ratio 2 is greater than max/min = -1.000000
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object limitranges. {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}}, {"type": "Pod", "max": {"memory": "1Gi"}}, {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}, "apiVersion": "v1", "kind": "LimitRange", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
object persistentvolumeclaims. {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "s", "volumeMode": "Filesystem", "selector": {"matchLabels": {"a": "b"}}, "volumeName": "v", "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}, "volumeAttributesClassName": "v"}, "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "row", "namespace": "default"}}
create /spec/resources -
    spec.resources[storage]: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/accessModes -
    spec.accessModes: Required value: at least 1 access mode is required
create /spec/volumeMode ""
    spec.volumeMode: Unsupported value: "": supported values: "Block", "Filesystem"
create /spec/storageClassName "-1"
    spec.storageClassName: Invalid value: "-1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
create /spec/selector/matchLabels/a "-1"
    spec.selector.matchLabels: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
create /spec/volumeAttributesClassName "-1"
    spec.volumeAttributesClassName: Invalid value: "-1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object persistentvolumeclaims. {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "s", "volumeMode": "Filesystem", "selector": {"matchLabels": {"a": "b"}}, "volumeName": "v", "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}, "volumeAttributesClassName": "v"}, "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
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
object persistentvolumes. {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}, "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "s", "volumeMode": "Filesystem", "claimRef": {"namespace": "d", "name": "c"}}, "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "row"}}
create /spec/accessModes -
    spec.accessModes: Required value
create /spec/hostPath {}
    spec.hostPath.path: Required value
create /spec/hostPath -
    spec: Required value: must specify a volume type
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/volumeMode ""
    spec.volumeMode: Unsupported value: "": supported values: "Block", "Filesystem"
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object persistentvolumes. {"spec": {"accessModes": ["ReadWriteMany"], "capacity": {"storage": "1Gi"}, "csi": {"driver": "d.example.com", "volumeHandle": "h", "nodeStageSecretRef": {"name": "s", "namespace": "n"}}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}]}]}}, "mountOptions": ["ro"]}, "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "row"}}
create /spec/csi/driver -
    spec.csi.driver: Required value
create /spec/csi/volumeHandle -
    spec.csi.volumeHandle: Required value
create /spec/nodeAffinity {}
    spec.nodeAffinity.required: Required value: must specify required node constraints
update /spec/nodeAffinity -
    nodeAffinity: Invalid value: null: field is immutable, except for updating from beta label to GA
object persistentvolumes. {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "local": {"path": "/x"}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}]}]}}}, "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "row"}}
create /spec/local {}
    spec.local.path: Required value
create /spec/nodeAffinity -
    spec.nodeAffinity: Required value: Local volume requires node affinity
object persistentvolumes. {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "nfs": {"server": "s", "path": "/x"}}, "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "row"}}
create /spec/nfs/server -
    spec.nfs.server: Required value
create /spec/nfs/path "-1"
    spec.nfs.path: Invalid value: "-1": must be an absolute path
object resourcequotas. {"spec": {"hard": {"pods": "10", "requests.cpu": "1", "limits.memory": "1Gi", "count/jobs.batch": "2"}, "scopes": ["NotTerminating", "NotBestEffort"], "scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["a"]}]}}, "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/hard/pods "-1"
    spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0
create /spec/hard/requests.cpu "-1"
    spec.hard[requests.cpu]: Invalid value: "-1": must be greater than or equal to 0
create /spec/hard/limits.memory "-1"
    spec.hard[limits.memory]: Invalid value: "-1": must be greater than or equal to 0
create /spec/scopeSelector/matchExpressions/0/scopeName -
    spec.scopeSelector.matchExpressions.scopeName: Invalid value: "": unsupported scope
create /spec/hard/count~1jobs.batch "-1"
    spec.hard[count/jobs.batch]: Invalid value: "-1": must be greater than or equal to 0
create /spec/scopeSelector/matchExpressions/0/operator -
    spec.scopeSelector.matchExpressions.operator: Invalid value: "": not a valid selector operator
create /spec/scopeSelector/matchExpressions/0/values -
    spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector
update /spec -
    spec.scopes: Invalid value: null: field is immutable
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object resourcequotas. {"spec": {"hard": {"services": "10"}}, "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "row", "namespace": "default"}}
create /spec/hard/services "-1"
    spec.hard[services]: Invalid value: "-1": must be greater than or equal to 0
"#;
