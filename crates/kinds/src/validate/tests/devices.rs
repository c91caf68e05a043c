//! Mistakes in objects of devices, and what is told of them.

pub(super) const TABLE: &str = r#"
object deviceclasses.resource.k8s.io {"spec": {"selectors": [{"cel": {"expression": "true"}}], "config": [{"opaque": {"driver": "d.example.com", "parameters": {"a": 1}}}], "extendedResourceName": "example.com/gpu"}, "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "row"}}
create /spec/selectors/0/cel/expression "device.driver"
    spec.selectors[0].cel.expression: Invalid value: "device.driver": must evaluate to bool or the unknown type, not string
create /spec/selectors/0 {}
    spec.selectors[0].cel: Required value
create /spec/config/0 {}
    spec.config[0].opaque: Required value
create /spec/config/0/opaque/driver -
    spec.config[0].opaque.driver: Required value
create /spec/config/0/opaque/parameters -
    spec.config[0].opaque.parameters: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/extendedResourceName ""
    spec.extendedResourceName: Invalid value: "": must be a valid extended resource name
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object deviceclasses.resource.k8s.io {"spec": {"selectors": [{"cel": {"expression": "true"}}], "config": [{"opaque": {"driver": "d.example.com", "parameters": {"a": 1}}}], "extendedResourceName": "example.com/gpu"}, "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/apiVersion -
    metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
object resourceclaims.resource.k8s.io {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c.example.com", "allocationMode": "ExactCount", "count": 1, "selectors": [{"cel": {"expression": "true"}}], "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]}}, {"name": "q", "firstAvailable": [{"name": "a", "deviceClassName": "c", "allocationMode": "All"}]}], "constraints": [{"requests": ["r"], "matchAttribute": "a.b/c"}], "config": [{"requests": ["q/a"], "opaque": {"driver": "d.example.com", "parameters": {"a": 1}}}]}}, "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "row", "namespace": "default"}}
create /spec/devices/config/0 {}
    spec.devices.config[0].opaque: Required value
create /spec/devices/requests twice
    spec.devices.requests[2]: Duplicate value: "r"
create /spec/devices/config/0/opaque/driver -
    spec.devices.config[0].opaque.driver: Required value
create /spec/devices/config/0/opaque/parameters -
    spec.devices.config[0].opaque.parameters: Required value
create /spec/devices/config/0/requests twice
    spec.devices.config[0].requests[1]: Duplicate value: "q/a"
create /spec/devices/constraints/0/requests twice
    spec.devices.constraints[0].requests[1]: Duplicate value: "r"
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/devices/requests/0/exactly {}
    spec.devices.requests[0].exactly.deviceClassName: Required value
create /spec/devices/requests/1/firstAvailable twice
    spec.devices.requests[1].firstAvailable[1]: Duplicate value: "a"
create /spec/devices/requests/0/exactly/selectors/0/cel/expression "int('x') == 1"
    spec.devices.requests[0].exactly.selectors[0].cel.expression: Internal error: program instantiation failed: type conversion error from 'string' to 'int'
create /spec/devices/requests/0/exactly/selectors/0 {}
    spec.devices.requests[0].exactly.selectors[0].cel: Required value
create /spec/devices/requests/1/firstAvailable/0/deviceClassName -
    spec.devices.requests[1].firstAvailable[0].deviceClassName: Required value
object resourceclaimtemplates.resource.k8s.io {"spec": {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c.example.com"}}]}}}, "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": "row", "namespace": "default"}}
create /spec/spec/devices/requests twice
    spec.spec.devices.requests[1]: Duplicate value: "r"
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/spec/devices/requests/0/exactly {}
    spec.spec.devices.requests[0].exactly.deviceClassName: Required value
create /spec/spec/devices/requests/0/exactly -
    spec.spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required
create /spec/spec/devices/requests/0/name -
    spec.spec.devices.requests[0].name: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
create /spec/metadata/labels/a "-1"
    spec.metadata.labels: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object resourceclaimtemplates.resource.k8s.io {"spec": {"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c.example.com"}}]}}}, "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/apiVersion -
    metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
object resourceslices.resource.k8s.io {"spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d0", "attributes": {"a": {"string": "x"}, "b.example.com/b": {"version": "1.0.0"}}, "capacity": {"m": {"value": "1Gi"}}, "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}], "consumesCounters": [{"counterSet": "c", "counters": {"x": {"value": "1"}}}]}, {"name": "d1", "allowMultipleAllocations": true, "capacity": {"m": {"value": "10", "requestPolicy": {"default": "1", "validValues": ["1", "2"]}}}, "bindingConditions": ["a"], "bindingFailureConditions": ["b"]}, {"name": "d2", "allowMultipleAllocations": true, "capacity": {"m": {"value": "10", "requestPolicy": {"default": "1", "validRange": {"min": "1", "max": "5", "step": "2"}}}}}]}, "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "row"}}
create /spec/driver -
    spec.driver: Required value
create /spec/pool/name -
    spec.pool.name: Required value
create /spec/devices twice
    spec.devices[3]: Duplicate value: "d0"
create /spec/devices/0/taints/0/effect -
    spec.devices[0].taints[0].effect: Required value
create /spec/devices/0/consumesCounters twice
    spec.devices[0].consumesCounters[1]: Duplicate value: "c"
create /spec/devices/1/bindingConditions twice
    spec.devices[1].bindingConditions[1]: Duplicate value: "a"
create /spec/devices/0/consumesCounters/0/counters -
    spec.devices[0].consumesCounters[0].counters: Required value
create /spec/devices/0/consumesCounters/0/counterSet -
    spec.devices[0].consumesCounters[0].counterSet: Required value
object resourceslices.resource.k8s.io {"spec": {"driver": "d.example.com", "nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}]}]}, "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "sharedCounters": [{"name": "c", "counters": {"x": {"value": "1"}}}]}, "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "row"}}
create /spec/sharedCounters/0/name -
    spec.sharedCounters[0].name: Required value
create /spec/sharedCounters twice
    spec.sharedCounters[1]: Duplicate value: "c"
create /spec/sharedCounters/0/counters -
    spec.sharedCounters[0].counters: Required value
object devicetaintrules.resource.k8s.io {"spec": {"deviceSelector": {"driver": "row.example.com", "pool": "p", "device": "d"}, "taint": {"key": "example.com/row", "effect": "NoSchedule"}}, "apiVersion": "resource.k8s.io/v1beta2", "kind": "DeviceTaintRule", "metadata": {"name": "row"}}
create /spec/taint/effect -
    spec.taint.effect: Required value
create /spec/deviceSelector/pool ""
    spec.deviceSelector.pool: Required value
create /spec/deviceSelector/driver ""
    spec.deviceSelector.driver: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/taint/key "-1"
    spec.taint.key: Invalid value: "-1": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
create /spec/deviceSelector/device ""
    spec.deviceSelector.device: Invalid value: "": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object devicetaintrules.resource.k8s.io {"spec": {"deviceSelector": {"driver": "row.example.com", "pool": "p", "device": "d"}, "taint": {"key": "example.com/row", "effect": "NoSchedule"}}, "apiVersion": "resource.k8s.io/v1beta2", "kind": "DeviceTaintRule", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/name -
    metadata.ownerReferences.name: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/apiVersion -
    metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
object resourcepoolstatusrequests.resource.k8s.io {"spec": {"driver": "row.example.com"}, "apiVersion": "resource.k8s.io/v1alpha3", "kind": "ResourcePoolStatusRequest", "metadata": {"name": "row"}}
create /spec -
    spec.driver: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec {}
    spec.driver: Required value
create /metadata/name ""
    metadata.name: Required value: name or generateName is required
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object resourcepoolstatusrequests.resource.k8s.io {"spec": {"driver": "row.example.com"}, "apiVersion": "resource.k8s.io/v1alpha3", "kind": "ResourcePoolStatusRequest", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
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
