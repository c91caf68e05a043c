//! Mistakes in objects of admission, and what is told of them.

pub(super) const TABLE: &str = r#"
object mutatingwebhookconfigurations.admissionregistration.k8s.io {"webhooks": [{"name": "hook.example.com", "clientConfig": {"url": "https://hook.example.com/"}, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore", "rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"]}]}], "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "row"}}
create /webhooks/0/name -
    webhooks[0].name: Required value
create /webhooks/0/rules/0/apiGroups -
    webhooks[0].rules[0].apiGroups: Required value
create /webhooks/0/rules/0/resources -
    webhooks[0].rules[0].resources: Required value
create /webhooks/0/rules/0/operations -
    webhooks[0].rules[0].operations: Required value
create /webhooks/0/rules/0/apiVersions -
    webhooks[0].rules[0].apiVersions: Required value
create /webhooks twice
    webhooks[1].name: Duplicate value: "hook.example.com"
object mutatingwebhookconfigurations.admissionregistration.k8s.io {"webhooks": [{"name": "hook.example.com", "clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/a", "port": 443}}, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore", "matchPolicy": "Exact", "timeoutSeconds": 10, "namespaceSelector": {"matchLabels": {"a": "b"}}, "objectSelector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}, "matchConditions": [{"name": "c", "expression": "true"}], "rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"], "scope": "*"}], "reinvocationPolicy": "Never"}], "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "row"}}
create /webhooks/0/matchConditions/0/name -
    webhooks[0].matchConditions[0].name: Required value
create /webhooks/0/clientConfig/service/namespace -
    webhooks[0].clientConfig.service.name: Required value
create /webhooks/0/matchConditions twice
    webhooks[0].matchConditions[1].name: Duplicate value: "c"
create /webhooks/0/matchConditions/0/expression " request.name "
    webhooks[0].matchConditions[0].expression: Invalid value: "request.name": must evaluate to bool but got string
create /webhooks/0/matchConditions/0/expression -
    webhooks[0].matchConditions[0].expression: Required value
create /webhooks/0/clientConfig/service/name -
    webhooks[0].clientConfig.service.namespace: Required value
object validatingwebhookconfigurations.admissionregistration.k8s.io {"webhooks": [{"name": "hook.example.com", "clientConfig": {"url": "https://hook.example.com/"}, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore", "rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"]}]}], "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "row"}}
create /webhooks/0/name -
    webhooks[0].name: Required value
create /webhooks/0/rules/0/apiGroups -
    webhooks[0].rules[0].apiGroups: Required value
create /webhooks/0/rules/0/resources -
    webhooks[0].rules[0].resources: Required value
create /webhooks/0/rules/0/operations -
    webhooks[0].rules[0].operations: Required value
create /webhooks/0/rules/0/apiVersions -
    webhooks[0].rules[0].apiVersions: Required value
create /webhooks twice
    webhooks[1].name: Duplicate value: "hook.example.com"
object validatingwebhookconfigurations.admissionregistration.k8s.io {"webhooks": [{"name": "hook.example.com", "clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/a", "port": 443}}, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore", "matchPolicy": "Exact", "timeoutSeconds": 10, "namespaceSelector": {"matchLabels": {"a": "b"}}, "objectSelector": {"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}, "matchConditions": [{"name": "c", "expression": "true"}], "rules": [{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"], "scope": "*"}]}], "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "row"}}
create /webhooks/0/matchConditions/0/name -
    webhooks[0].matchConditions[0].name: Required value
create /webhooks/0/clientConfig/service/namespace -
    webhooks[0].clientConfig.service.name: Required value
create /webhooks/0/matchConditions twice
    webhooks[0].matchConditions[1].name: Duplicate value: "c"
create /webhooks/0/matchConditions/0/expression " request.name "
    webhooks[0].matchConditions[0].expression: Invalid value: "request.name": must evaluate to bool but got string
create /webhooks/0/matchConditions/0/expression -
    webhooks[0].matchConditions[0].expression: Required value
create /webhooks/0/clientConfig/service/name -
    webhooks[0].clientConfig.service.namespace: Required value
object validatingadmissionpolicies.admissionregistration.k8s.io {"spec": {"failurePolicy": "Fail", "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": {"matchPolicy": "Exact", "namespaceSelector": {"matchLabels": {"a": "b"}}, "objectSelector": {}, "resourceRules": [{"resourceNames": ["n"], "operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"], "scope": "*"}], "excludeResourceRules": [{"operations": ["UPDATE"], "apiGroups": ["a.b"], "apiVersions": ["v1"], "resources": ["y"]}]}, "matchConditions": [{"name": "c", "expression": "true"}], "variables": [{"name": "v", "expression": "1"}], "validations": [{"expression": "true", "message": "m", "reason": "Invalid"}], "auditAnnotations": [{"key": "k", "valueExpression": "'a'"}]}, "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "row"}}
create /spec/paramKind/kind -
    spec.paramKind.kind: Required value
create /spec/matchConstraints -
    spec.matchConstraints: Required value
create /spec/paramKind/apiVersion -
    spec.paramKind.apiVersion: Required value
create /spec/matchConditions/0/name -
    spec.matchConditions[0].name: Required value
create /spec/matchConditions twice
    spec.matchConditions[1].name: Duplicate value: "c"
create /spec/matchConditions/0/expression -
    spec.matchConditions[0].expression: Required value
create /spec/auditAnnotations twice
    spec.auditAnnotations[1].key: Duplicate value: "k"
create /spec/matchConstraints {}
    spec.matchConstraints.resourceRules: Required value
create /spec/variables/0/name -
    spec.variables[0].name: Required value: name is not specified
create /spec/matchConstraints/resourceRules/0/apiGroups -
    spec.matchConstraints.resourceRules[0].apiGroups: Required value
create /spec/matchConstraints/resourceRules/0/resources -
    spec.matchConstraints.resourceRules[0].resources: Required value
object mutatingadmissionpolicies.admissionregistration.k8s.io {"spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never", "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": {"matchPolicy": "Exact", "namespaceSelector": {"matchLabels": {"a": "b"}}, "objectSelector": {}, "resourceRules": [{"resourceNames": ["n"], "operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"], "scope": "*"}], "excludeResourceRules": [{"operations": ["UPDATE"], "apiGroups": ["a.b"], "apiVersions": ["v1"], "resources": ["y"]}]}, "matchConditions": [{"name": "c", "expression": "true"}], "variables": [{"name": "v", "expression": "1"}], "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/a'}]"}}]}, "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "row"}}
create /spec/mutations/0/jsonPatch/expression "[]"
    spec.mutations[0].jsonPatch.expression: Invalid value: "[]": must evaluate to list(JSONPatch) but got list(dyn)
create /spec/mutations/0 {}
    spec.mutations[0].patchType: Required value
create /spec/mutations/0/jsonPatch {}
    spec.mutations[0].jsonPatch.expression: Required value
create /spec/mutations -
    spec.mutations: Required value: mutations must contain at least one item
create /spec/mutations/0/jsonPatch -
    spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch
create /spec {}
    spec.matchConstraints: Required value
    spec.mutations: Required value: mutations must contain at least one item
    spec.reinvocationPolicy: Required value
create /spec/mutations/0/patchType -
    spec.mutations[0].patchType: Required value
create /spec/mutations/0/jsonPatch/expression -
    spec.mutations[0].jsonPatch.expression: Required value
create /spec/mutations []
    spec.mutations: Required value: mutations must contain at least one item
create /spec/mutations/0/patchType "-1"
    spec.mutations[0].patchType: Unsupported value: "-1": supported values: "ApplyConfiguration", "JSONPatch"
update /spec/mutations/0/jsonPatch -
    spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch
update /spec/mutations/0/patchType "-1"
    spec.mutations[0].patchType: Unsupported value: "-1": supported values: "ApplyConfiguration", "JSONPatch"
object validatingadmissionpolicybindings.admissionregistration.k8s.io {"spec": {"policyName": "p.example.com", "validationActions": ["Deny", "Audit"], "paramRef": {"name": "p", "parameterNotFoundAction": "Deny"}, "matchResources": {"matchPolicy": "Exact", "namespaceSelector": {"matchLabels": {"a": "b"}}, "objectSelector": {}, "resourceRules": [{"resourceNames": ["n"], "operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"], "scope": "*"}], "excludeResourceRules": [{"operations": ["UPDATE"], "apiGroups": ["a.b"], "apiVersions": ["v1"], "resources": ["y"]}]}}, "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "row"}}
create /spec/policyName -
    spec.policyName: Required value
create /spec/validationActions twice
    spec.validationActions[2]: Duplicate value: "Deny"
create /spec/paramRef/parameterNotFoundAction -
    spec.paramRef.parameterNotFoundAction: Required value
create /spec/matchResources/resourceRules/0/apiGroups -
    spec.matchResources.resourceRules[0].apiGroups: Required value
create /spec/matchResources/resourceRules/0/resources -
    spec.matchResources.resourceRules[0].resources: Required value
create /spec/paramRef/name "x/y/z"
    spec.paramRef.name: Invalid value: "x/y/z": may not contain '/'
create /spec/matchResources/resourceRules/0/operations -
    spec.matchResources.resourceRules[0].operations: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/matchResources/resourceRules/0/apiVersions -
    spec.matchResources.resourceRules[0].apiVersions: Required value
create /spec/matchResources/excludeResourceRules/0/apiGroups -
    spec.matchResources.excludeResourceRules[0].apiGroups: Required value
create /spec/matchResources/excludeResourceRules/0/resources -
    spec.matchResources.excludeResourceRules[0].resources: Required value
object mutatingadmissionpolicybindings.admissionregistration.k8s.io {"spec": {"policyName": "p.example.com", "paramRef": {"name": "p", "parameterNotFoundAction": "Deny"}, "matchResources": {"matchPolicy": "Exact", "namespaceSelector": {"matchLabels": {"a": "b"}}, "objectSelector": {}, "resourceRules": [{"resourceNames": ["n"], "operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"], "scope": "*"}], "excludeResourceRules": [{"operations": ["UPDATE"], "apiGroups": ["a.b"], "apiVersions": ["v1"], "resources": ["y"]}]}}, "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "row"}}
create /spec -
    spec.policyName: Required value
create /spec/paramRef/parameterNotFoundAction -
    spec.paramRef.parameterNotFoundAction: Required value
create /spec/matchResources/resourceRules/0/apiGroups -
    spec.matchResources.resourceRules[0].apiGroups: Required value
create /spec/matchResources/resourceRules/0/resources -
    spec.matchResources.resourceRules[0].resources: Required value
create /spec/paramRef/name "x/y/z"
    spec.paramRef.name: Invalid value: "x/y/z": may not contain '/'
create /spec/matchResources/resourceRules/0/operations -
    spec.matchResources.resourceRules[0].operations: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/matchResources/resourceRules/0/apiVersions -
    spec.matchResources.resourceRules[0].apiVersions: Required value
create /spec/matchResources/excludeResourceRules/0/apiGroups -
    spec.matchResources.excludeResourceRules[0].apiGroups: Required value
create /spec/matchResources/excludeResourceRules/0/resources -
    spec.matchResources.excludeResourceRules[0].resources: Required value
create /spec/matchResources/excludeResourceRules/0/operations -
    spec.matchResources.excludeResourceRules[0].operations: Required value
"#;
