//! Mistakes in objects of pods, what makes them and what leads to them, and what is told of them.

pub(super) const TABLE: &str = r#"
object pods. {"spec": {"containers": [{"name": "c", "image": "i"}]}, "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "row", "namespace": "default"}}
create /spec -
    spec.containers: Required value
create /spec/containers/0/name -
    spec.containers[0].name: Required value
create /spec/containers/0/image -
    spec.containers[0].image: Required value
object pods. {"spec": {"containers": [{"name": "c", "image": "i", "command": ["a"], "workingDir": "/", "imagePullPolicy": "Always", "terminationMessagePolicy": "File", "ports": [{"name": "web", "containerPort": 80, "hostPort": 8080, "protocol": "TCP", "hostIP": "10.0.0.1"}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}], "env": [{"name": "A", "value": "b"}, {"name": "F", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}, {"name": "R", "valueFrom": {"resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}}}, {"name": "CM", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}], "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "s"}}], "resources": {"limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}, "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}], "livenessProbe": {"httpGet": {"path": "/", "port": "web", "scheme": "HTTP", "httpHeaders": [{"name": "X", "value": "y"}]}, "periodSeconds": 5, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3, "initialDelaySeconds": 1, "terminationGracePeriodSeconds": 5}, "readinessProbe": {"tcpSocket": {"port": 80}}, "startupProbe": {"grpc": {"port": 80, "service": "x"}}, "lifecycle": {"preStop": {"exec": {"command": ["a"]}}, "postStart": {"sleep": {"seconds": 1}}}, "securityContext": {"runAsUser": 1, "runAsGroup": 1, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "procMount": "Default", "seccompProfile": {"type": "RuntimeDefault"}, "appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}}, "volumeMounts": [{"name": "e", "mountPath": "/e", "subPath": "s"}, {"name": "h", "mountPath": "/h", "readOnly": true}, {"name": "p", "mountPath": "/p", "mountPropagation": "HostToContainer"}], "volumeDevices": [{"name": "pvc", "devicePath": "/dev/x"}]}], "initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]}, {"name": "i2", "image": "i"}], "volumes": [{"name": "e", "emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}}, {"name": "h", "hostPath": {"path": "/x", "type": "Directory"}}, {"name": "pvc", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "cm", "configMap": {"name": "cm", "defaultMode": 420, "items": [{"key": "k", "path": "p", "mode": 420}]}}, {"name": "s", "secret": {"secretName": "s", "defaultMode": 420, "items": [{"key": "k", "path": "p"}]}}, {"name": "d", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}, {"name": "p", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600, "audience": "a"}}, {"configMap": {"name": "cm", "items": [{"key": "k", "path": "p"}]}}, {"secret": {"name": "s"}}, {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}, {"name": "nfs", "nfs": {"server": "s", "path": "/x"}}, {"name": "csi", "csi": {"driver": "d.example.com", "nodePublishSecretRef": {"name": "s"}}}, {"name": "eph", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}, {"name": "img", "image": {"reference": "r", "pullPolicy": "Always"}}, {"name": "iscsi", "iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2001-04.com.example:storage", "lun": 1}}, {"name": "fc", "fc": {"targetWWNs": ["500a0982991b8dc5"], "lun": 1}}, {"name": "rbd", "rbd": {"monitors": ["m"], "image": "i"}}, {"name": "ceph", "cephfs": {"monitors": ["m"]}}, {"name": "gl", "glusterfs": {"endpoints": "e", "path": "p"}}, {"name": "git", "gitRepo": {"repository": "r", "directory": "d"}}, {"name": "gce", "gcePersistentDisk": {"pdName": "p", "partition": 1}}, {"name": "aws", "awsElasticBlockStore": {"volumeID": "v", "partition": 1}}, {"name": "az", "azureDisk": {"diskName": "d", "diskURI": "https://x/y.vhd", "kind": "Shared", "cachingMode": "None"}}, {"name": "azf", "azureFile": {"secretName": "s", "shareName": "h"}}, {"name": "flk", "flocker": {"datasetName": "d"}}, {"name": "flex", "flexVolume": {"driver": "k/d"}}, {"name": "qb", "quobyte": {"registry": "h:1", "volume": "v"}}, {"name": "vs", "vsphereVolume": {"volumePath": "p"}}, {"name": "px", "portworxVolume": {"volumeID": "v"}}, {"name": "sio", "scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}}}, {"name": "sos", "storageos": {"volumeName": "v"}}, {"name": "cin", "cinder": {"volumeID": "v"}}, {"name": "pho", "photonPersistentDisk": {"pdID": "p"}}], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "activeDeadlineSeconds": 10, "dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}]}, "nodeSelector": {"a": "b"}, "serviceAccountName": "sa", "hostNetwork": false, "shareProcessNamespace": false, "schedulerName": "s", "hostname": "h", "subdomain": "s", "securityContext": {"runAsUser": 1, "fsGroup": 1, "supplementalGroups": [1], "fsGroupChangePolicy": "Always", "supplementalGroupsPolicy": "Merge", "seccompProfile": {"type": "Localhost", "localhostProfile": "p"}, "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}, "imagePullSecrets": [{"name": "s"}], "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}], "priorityClassName": "pc", "readinessGates": [{"conditionType": "a/b"}], "runtimeClassName": "rc", "enableServiceLinks": true, "preemptionPolicy": "Never", "overhead": {"cpu": "1"}, "os": {"name": "linux"}, "setHostnameAsFQDN": false, "schedulingGates": [{"name": "a/b"}], "resourceClaims": [{"name": "rc", "resourceClaimName": "x"}], "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute", "tolerationSeconds": 3}], "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2, "nodeAffinityPolicy": "Honor", "nodeTaintsPolicy": "Ignore", "labelSelector": {"matchLabels": {"a": "b"}}}], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}], "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}, "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [{"key": "k", "operator": "Gt", "values": ["1"]}]}}]}, "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}, "namespaces": ["n"]}], "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["a"]}]}, "matchLabelKeys": ["q"]}}]}, "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "namespaceSelector": {}}]}}}, "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "row", "namespace": "default"}}
create /spec/os {}
    spec.os.name: Required value
create /spec/volumes/3 {}
    spec.volumes[3].name: Required value
create /spec/preemptionPolicy ""
    spec.preemptionPolicy: Required value
create /spec/volumes/7/nfs/server -
    spec.volumes[7].nfs.server: Required value
create /spec/volumes/8/csi {}
    spec.volumes[8].csi.driver: Required value
create /spec/volumes/11/iscsi/iqn -
    spec.volumes[11].iscsi.iqn: Required value
create /spec/volumes/13/rbd/image -
    spec.volumes[13].rbd.image: Required value
create /spec/initContainers/0/name -
    spec.initContainers[0].name: Required value
create /spec/volumes twice
    spec.volumes[30].name: Duplicate value: "e"
create /spec/resourceClaims/0/name -
    spec.resourceClaims[0].name: Required value
create /spec/initContainers/0/image -
    spec.initContainers[0].image: Required value
object serviceaccounts. {"secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "x"}], "automountServiceAccountToken": true, "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /metadata/name ""
    metadata.name: Required value: name or generateName is required
create /metadata/name "-1"
    metadata.name: Invalid value: "-1": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /metadata/resourceVersion ""
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object serviceaccounts. {"secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "x"}], "automountServiceAccountToken": true, "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
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
object namespaces. {"metadata": {"name": "row"}, "spec": {"finalizers": ["kubernetes"]}, "apiVersion": "v1", "kind": "Namespace"}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/finalizers/0 "x/y/z"
    spec.finalizers: Invalid value: "x/y/z": a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
create /metadata/name ""
    metadata.name: Required value: name or generateName is required
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /metadata/resourceVersion ""
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object namespaces. {"metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}, "spec": {"finalizers": ["kubernetes"]}, "apiVersion": "v1", "kind": "Namespace"}
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
object nodes. {"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": "p", "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}, "status": {"capacity": {"cpu": "1", "memory": "1Gi"}, "allocatable": {"cpu": "1"}, "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}, "apiVersion": "v1", "kind": "Node", "metadata": {"name": "row"}}
create /spec/taints/0/effect -
    metadata.taints[0].effect: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /status/capacity/cpu "-1"
    status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0
create /status/capacity/memory "-1"
    status.capacity.memory: Invalid value: "-1": must be greater than or equal to 0
create /status/allocatable/cpu "-1"
    status.allocatable.cpu: Invalid value: "-1": must be greater than or equal to 0
create /spec/podCIDR "-1"
    spec.podCIDRs[0]: Invalid value: "-1": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
create /spec/podCIDRs twice
    spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.0.0/24"]: may specify no more than one CIDR for each IP family
create /spec/taints twice
    metadata.taints[1]: Duplicate value: {"Key":"k","Value":"v","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key and effect pair
create /spec/taints/0/key "-1"
    metadata.taints[0].key: Invalid value: "-1": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /spec/providerID -
    spec.providerID: Forbidden: node updates may not change providerID except from "" to valid
object endpoints. {"subsets": [{"addresses": [{"ip": "10.1.2.3", "hostname": "h", "nodeName": "n"}], "notReadyAddresses": [{"ip": "10.1.2.4"}], "ports": [{"port": 80, "name": "a", "protocol": "TCP", "appProtocol": "x"}]}], "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /subsets/0 {}
    subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`
create /subsets/0/ports/0 {}
    subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
create /subsets/0/ports/0/protocol "-1"
    subsets[0].ports[0].protocol: Unsupported value: "-1": supported values: "SCTP", "TCP", "UDP"
create /subsets/0/addresses/0 {}
    subsets[0].addresses[0].ip: Invalid value: "": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
    subsets[0].addresses[0].ip: Invalid value: "": must be a valid IP address
create /subsets/0/notReadyAddresses/0 {}
    subsets[0].notReadyAddresses[0].ip: Invalid value: "": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
    subsets[0].notReadyAddresses[0].ip: Invalid value: "": must be a valid IP address
create /subsets/0/ports/0/name "-1"
    subsets[0].ports[0].name: Invalid value: "-1": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
create /subsets/0/addresses/0/hostname "-1"
    subsets[0].addresses[0].hostname: Invalid value: "-1": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
create /subsets/0/ports/0/appProtocol "-1"
    subsets[0].ports[0].appProtocol: Invalid value: "-1": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
create /subsets/0/addresses/0/nodeName ""
    subsets[0].addresses[0].nodeName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object podtemplates. {"template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "web"}], "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}}]}}, "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "row", "namespace": "default"}}
create /template/spec {}
    template.spec.containers: Required value
create /template/spec/containers/0/name -
    template.spec.containers[0].name: Required value
create /template/spec/containers/0/image -
    template.spec.containers[0].image: Required value
create /template/spec/containers twice
    template.spec.containers[1].name: Duplicate value: "c"
create /template/spec/containers/0/env/0 {}
    template.spec.containers[0].env[0].name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /template/spec/containers/0/ports twice
    template.spec.containers[0].ports[1].name: Duplicate value: "web"
create /template/spec/containers/0/ports/0 {}
    template.spec.containers[0].ports[0].containerPort: Required value
create /template/spec/containers/0/resources/requests/cpu "-1"
    template.spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0
create /template/spec/containers/0/ports/0/name "x/y/z"
    template.spec.containers[0].ports[0].name: Invalid value: "x/y/z": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object replicationcontrollers. {"spec": {"replicas": 1, "minReadySeconds": 1, "selector": {"app": "x"}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "web"}], "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}}]}}}, "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "row", "namespace": "default"}}
create /spec/template -
    spec.template: Required value
create /spec/template/spec {}
    spec.template.spec.containers: Required value
create /spec/template/spec/containers/0/name -
    spec.template.spec.containers[0].name: Required value
create /spec/template/spec/containers/0/image -
    spec.template.spec.containers[0].image: Required value
create /spec {}
    spec.selector: Required value
    spec.template: Required value
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
object services. {"spec": {"ports": [{"port": 80, "name": "a", "protocol": "TCP", "targetPort": "web", "appProtocol": "x"}, {"port": 81, "name": "b", "targetPort": 81}], "selector": {"a": "b"}, "type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}}, "externalIPs": ["10.1.1.1"], "trafficDistribution": "PreferClose"}, "apiVersion": "v1", "kind": "Service", "metadata": {"name": "row", "namespace": "default"}}
create /spec {}
    spec.ports: Required value
create /spec/clusterIPs -
    spec.clusterIPs: Required value
create /spec/ports/0/name -
    spec.ports[0].name: Required value
create /spec/ipFamilies twice
    spec.ipFamilies[1]: Duplicate value: "IPv4"
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/ipFamilies/0 ""
    spec.ipFamilies[0]: Unsupported value: "": supported values: "IPv4", "IPv6"
create /spec/ports/0/port -
    spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
create /spec/ports/1/port -1
    spec.ports[1].port: Invalid value: -1: must be between 1 and 65535, inclusive
create /spec/ports/1/targetPort -1
    spec.ports[1].targetPort: Invalid value: -1: must be between 1 and 65535, inclusive
create /spec/sessionAffinity "-1"
    spec.sessionAffinity: Unsupported value: "-1": supported values: "ClientIP", "None"
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object services. {"spec": {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30000}], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "loadBalancerSourceRanges": ["10.0.0.0/8"], "loadBalancerClass": "a/b", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001, "allocateLoadBalancerNodePorts": true, "loadBalancerIP": "10.0.0.1"}, "apiVersion": "v1", "kind": "Service", "metadata": {"name": "row", "namespace": "default"}}
create /spec/healthCheckNodePort -
    spec.healthCheckNodePort: Required value
update /spec/loadBalancerClass -
    spec.loadBalancerClass: Invalid value: null: may not change once set
object services. {"spec": {"type": "ExternalName", "externalName": "a.b"}, "apiVersion": "v1", "kind": "Service", "metadata": {"name": "row", "namespace": "default"}}
create /spec/externalName -
    spec.externalName: Required value
"#;
