//! Mistakes in objects of flow control, and what is told of them.

pub(super) const TABLE: &str = r#"
object flowschemas.flowcontrol.apiserver.k8s.io {"spec": {"priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 5000, "distinguisherMethod": {"type": "ByUser"}, "rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}, {"kind": "Group", "group": {"name": "g"}}, {"kind": "ServiceAccount", "serviceAccount": {"name": "s", "namespace": "n"}}], "resourceRules": [{"verbs": ["get"], "apiGroups": ["a"], "resources": ["r"], "namespaces": ["n"]}], "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/a"]}]}]}, "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "row"}}
create /spec/rules/0/subjects/0/user {}
    spec.rules[0].subjects[0].user.name: Required value
create /spec/rules/0/subjects/1/group {}
    spec.rules[0].subjects[1].group.name: Required value
create /spec/rules/0/subjects/2/serviceAccount/name -
    spec.rules[0].subjects[2].serviceAccount.name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/matchingPrecedence -1
    spec.matchingPrecedence: Invalid value: -1: must be a positive value
create /spec/rules/0/subjects -
    spec.rules[0].subjects: Required value: subjects must contain at least one value
create /spec {}
    spec.priorityLevelConfiguration.name: Required value: must reference a priority level
create /spec/rules/0/nonResourceRules/0/nonResourceURLs/0 ""
    spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "": must not be empty
create /spec/rules/0/resourceRules/0/verbs -
    spec.rules[0].resourceRules[0].verbs: Required value: verbs must contain at least one value
create /spec/rules/0/subjects/0/user -
    spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object prioritylevelconfigurations.flowcontrol.apiserver.k8s.io {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}, "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": "row"}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/limited -
    spec.limited: Required value: must not be empty when type is Limited
create /spec -
    spec.type: Unsupported value: "": supported values: "Exempt", "Limited"
create /spec/limited/nominalConcurrencyShares -1
    spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer
create /spec/limited {}
    spec.limited.limitResponse.type: Unsupported value: "": supported values: "Queue", "Reject"
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object prioritylevelconfigurations.flowcontrol.apiserver.k8s.io {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 1, "borrowingLimitPercent": 1, "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 6, "queueLengthLimit": 50}}}}, "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": "row"}}
create /spec/limited/limitResponse/queuing/handSize -1
    spec.limited.limitResponse.queuing.handSize: Invalid value: -1: must be positive
create /spec/limited/lendablePercent -1
    spec.limited.lendablePercent: Invalid value: -1: must be between 0 and 100, inclusive
create /spec/limited/limitResponse/queuing/queueLengthLimit -1
    spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive
object prioritylevelconfigurations.flowcontrol.apiserver.k8s.io {"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}, "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration"}
create /spec/exempt/lendablePercent -1
    spec.exempt.lendablePercent: Invalid value: -1: must be between 0 and 100, inclusive
create /spec/exempt/nominalConcurrencyShares -1
    spec.exempt.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer
"#;
