//! Mistakes in objects of `apps`, and what is told of them.

pub(super) const TABLE: &str = r#"
object controllerrevisions.apps {"revision": 1, "data": {"x": 1}, "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "row", "namespace": "default"}}
create /data -
    data: Required value: data is mandatory
create /revision -1
    revision: Invalid value: -1: must be greater than or equal to 0
create /metadata/name -
    metadata.name: Required value: name or generateName is required
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /data {}
    data: Invalid value: {}: field is immutable
object controllerrevisions.apps {"revision": 1, "data": {"x": 1}, "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
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
object daemonsets.apps {"spec": {"minReadySeconds": 1, "revisionHistoryLimit": 1, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}, "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "web"}], "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}}]}}}, "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "row", "namespace": "default"}}
create /spec/template/spec {}
    spec.template.spec.containers: Required value
create /spec/template/spec/containers/0/name -
    spec.template.spec.containers[0].name: Required value
create /spec/template/spec/containers/0/image -
    spec.template.spec.containers[0].image: Required value
create /spec/template/spec/containers twice
    spec.template.spec.containers[1].name: Duplicate value: "c"
create /spec/template/spec/containers/0/env/0 {}
    spec.template.spec.containers[0].env[0].name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/template/spec/containers/0/ports twice
    spec.template.spec.containers[0].ports[1].name: Duplicate value: "web"
create /spec/template/spec/containers/0/ports/0 {}
    spec.template.spec.containers[0].ports[0].containerPort: Required value
create /spec/selector {}
    spec.selector: Invalid value: {}: empty selector is invalid for daemonset
create /spec/minReadySeconds -1
    spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object deployments.apps {"spec": {"replicas": 1, "minReadySeconds": 1, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "25%"}}, "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "web"}], "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}}]}}}, "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "row", "namespace": "default"}}
create /spec/template/spec {}
    spec.template.spec.containers: Required value
create /spec/template/spec/containers/0/name -
    spec.template.spec.containers[0].name: Required value
create /spec/template/spec/containers/0/image -
    spec.template.spec.containers[0].image: Required value
create /spec/template/spec/containers twice
    spec.template.spec.containers[1].name: Duplicate value: "c"
create /spec/template/spec/containers/0/env/0 {}
    spec.template.spec.containers[0].env[0].name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/replicas -1
    spec.replicas: Invalid value: -1: must be greater than or equal to 0
create /spec/template/spec/containers/0/ports twice
    spec.template.spec.containers[0].ports[1].name: Duplicate value: "web"
create /spec/template/spec/containers/0/ports/0 {}
    spec.template.spec.containers[0].ports[0].containerPort: Required value
create /spec/selector {}
    spec.selector: Invalid value: {}: empty selector is invalid for deployment
create /spec/minReadySeconds -1
    spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0
object replicasets.apps {"spec": {"replicas": 1, "minReadySeconds": 1, "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "web"}], "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}}]}}}, "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "row", "namespace": "default"}}
create /spec/template/spec {}
    spec.template.spec.containers: Required value
create /spec/template/spec/containers/0/name -
    spec.template.spec.containers[0].name: Required value
create /spec/template/spec/containers/0/image -
    spec.template.spec.containers[0].image: Required value
create /spec/template/spec/containers twice
    spec.template.spec.containers[1].name: Duplicate value: "c"
create /spec/template/spec/containers/0/env/0 {}
    spec.template.spec.containers[0].env[0].name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/replicas -1
    spec.replicas: Invalid value: -1: must be greater than or equal to 0
create /spec/template/spec/containers/0/ports twice
    spec.template.spec.containers[0].ports[1].name: Duplicate value: "web"
create /spec/template/spec/containers/0/ports/0 {}
    spec.template.spec.containers[0].ports[0].containerPort: Required value
create /spec/selector {}
    spec.selector: Invalid value: {}: empty selector is invalid for deployment
create /spec/minReadySeconds -1
    spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0
object statefulsets.apps {"spec": {"replicas": 1, "minReadySeconds": 1, "revisionHistoryLimit": 1, "podManagementPolicy": "Parallel", "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}, "ordinals": {"start": 1}, "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Delete"}, "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "web"}], "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}}]}}, "serviceName": "s", "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}, "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "row", "namespace": "default"}}
create /spec/template/spec {}
    spec.template.spec.containers: Required value
create /spec/template/spec/containers/0/name -
    spec.template.spec.containers[0].name: Required value
create /spec/template/spec/containers/0/image -
    spec.template.spec.containers[0].image: Required value
create /spec/template/spec/containers twice
    spec.template.spec.containers[1].name: Duplicate value: "c"
create /spec/template/spec/containers/0/env/0 {}
    spec.template.spec.containers[0].env[0].name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/replicas -1
    spec.replicas: Invalid value: -1: must be greater than or equal to 0
create /spec/volumeClaimTemplates/0/spec/resources -
    spec.volumeClaimTemplates[0].spec.resources[storage]: Required value
create /spec/template/spec/containers/0/ports twice
    spec.template.spec.containers[0].ports[1].name: Duplicate value: "web"
create /spec/template/spec/containers/0/ports/0 {}
    spec.template.spec.containers[0].ports[0].containerPort: Required value
create /spec/ordinals/start -1
    spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0
"#;
