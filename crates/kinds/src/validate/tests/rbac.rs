//! Mistakes in objects of authorization, and what is told of them.

pub(super) const TABLE: &str = r#"
object clusterrolebindings.rbac.authorization.k8s.io {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}, {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "g"}], "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "row"}}
create /roleRef/name -
    roleRef.name: Required value
create /subjects/0/name -
    subjects[0].name: Required value
create /subjects/1/namespace -
    subjects[1].namespace: Required value
create /metadata/name "x/y/z"
    metadata.name: Invalid value: "x/y/z": may not contain '/'
create /roleRef/kind -
    roleRef.kind: Unsupported value: "": supported values: "ClusterRole"
create /roleRef/apiGroup "-1"
    roleRef.apiGroup: Unsupported value: "-1": supported values: "rbac.authorization.k8s.io"
create /subjects/0/apiGroup "-1"
    subjects[0].apiGroup: Unsupported value: "-1": supported values: "rbac.authorization.k8s.io"
create /subjects/0/kind -
    subjects[0].kind: Unsupported value: "": supported values: "ServiceAccount", "User", "Group"
create /subjects/1 {}
    subjects[1].name: Required value
    subjects[1].kind: Unsupported value: "": supported values: "ServiceAccount", "User", "Group"
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /roleRef/name "-1"
    roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"-1"}: cannot change roleRef
object rolebindings.rbac.authorization.k8s.io {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}], "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "row", "namespace": "default"}}
create /roleRef/name -
    roleRef.name: Required value
create /subjects/0/name -
    subjects[0].name: Required value
create /metadata/name "x/y/z"
    metadata.name: Invalid value: "x/y/z": may not contain '/'
create /roleRef/kind -
    roleRef.kind: Unsupported value: "": supported values: "Role", "ClusterRole"
create /roleRef/apiGroup "-1"
    roleRef.apiGroup: Unsupported value: "-1": supported values: "rbac.authorization.k8s.io"
create /subjects/0/apiGroup "-1"
    subjects[0].apiGroup: Unsupported value: "-1": supported values: "rbac.authorization.k8s.io"
create /subjects/0/kind -
    subjects[0].kind: Unsupported value: "": supported values: "ServiceAccount", "User", "Group"
create /subjects/1 {}
    subjects[1].name: Required value
    subjects[1].kind: Unsupported value: "": supported values: "ServiceAccount", "User", "Group"
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
update /roleRef/name "-1"
    roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"-1"}: cannot change roleRef
object rolebindings.rbac.authorization.k8s.io {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}], "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
object clusterroles.rbac.authorization.k8s.io {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, {"nonResourceURLs": ["/a"], "verbs": ["get"]}], "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}, "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "row"}}
create /metadata/name "x/y/z"
    metadata.name: Invalid value: "x/y/z": may not contain '/'
create /rules/0/verbs -
    rules[0].verbs: Required value: verbs must contain at least one value
create /rules/0/resources -
    rules[0].resources: Required value: resource rules must supply at least one resource
create /rules/0/apiGroups -
    rules[0].apiGroups: Required value: resource rules must supply at least one api group
create /aggregationRule {}
    aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil
create /rules/1/nonResourceURLs -
    rules[1].apiGroups: Required value: resource rules must supply at least one api group
    rules[1].resources: Required value: resource rules must supply at least one resource
create /rules/1 {}
    rules[1].verbs: Required value: verbs must contain at least one value
    rules[1].apiGroups: Required value: resource rules must supply at least one api group
    rules[1].resources: Required value: resource rules must supply at least one resource
create /aggregationRule/clusterRoleSelectors/0/matchLabels/a "-1"
    aggregationRule.clusterRoleSelectors[0].matchLabels: Invalid value: "-1": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
    aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector.
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object clusterroles.rbac.authorization.k8s.io {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, {"nonResourceURLs": ["/a"], "verbs": ["get"]}], "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}, "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row"}}
create /metadata/ownerReferences/0/uid -
    metadata.ownerReferences.uid: Invalid value: "": must not be empty
create /metadata/ownerReferences/0/kind -
    metadata.ownerReferences.kind: Invalid value: "": must not be empty
object roles.rbac.authorization.k8s.io {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]}], "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "row", "namespace": "default"}}
create /metadata/name "x/y/z"
    metadata.name: Invalid value: "x/y/z": may not contain '/'
create /rules/0/verbs -
    rules[0].verbs: Required value: verbs must contain at least one value
create /rules/0/resources -
    rules[0].resources: Required value: resource rules must supply at least one resource
create /rules/0/apiGroups -
    rules[0].apiGroups: Required value: resource rules must supply at least one api group
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object roles.rbac.authorization.k8s.io {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]}], "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"labels": {"a": "b"}, "annotations": {"a.b/c": "d"}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}], "name": "row", "namespace": "default"}}
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
