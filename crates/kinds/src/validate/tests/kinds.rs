//! Golden texts of workloads, services and the other kinds.

use super::*;

#[test]
fn workloads_need_a_selector_that_picks_their_pods() {
    check(
        "deployments.apps",
        json!({"spec": {}}),
        expect![[r#"
            spec.selector: Required value
            spec.template.spec.containers: Required value
        "#]],
    );
    check(
        "deployments.apps",
        workload(json!({"app": "other"})),
        expect![[r#"
        spec.template.metadata.labels: Invalid value: {"app":"other"}: `selector` does not match template `labels`
    "#]],
    );
    let mut odd = workload(json!({"app": "web"}));
    odd["spec"]["replicas"] = json!(-1);
    odd["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}});
    odd["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    odd["spec"]["progressDeadlineSeconds"] = json!(0);
    check(
        "deployments.apps",
        odd,
        expect![[r#"
        spec.replicas: Invalid value: -1: must be greater than or equal to 0
        spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"
        spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'
        spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds
    "#]],
    );
    let mut rolling = workload(json!({"app": "web"}));
    rolling["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}});
    check(
        "deployments.apps",
        rolling,
        expect![[r#"
        spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0
    "#]],
    );
}

#[test]
fn the_selector_of_a_workload_never_changes() {
    let mut new = workload(json!({"app": "web", "a": "b"}));
    new["spec"]["selector"]["matchLabels"]["a"] = json!("b");
    check_change(
        "deployments.apps",
        workload(json!({"app": "web"})),
        new.clone(),
        expect![[r#"
        spec.selector: Invalid value: {"matchLabels":{"a":"b","app":"web"}}: field is immutable
    "#]],
    );
    new["spec"]["serviceName"] = json!("x");
    check_change(
        "statefulsets.apps",
        workload(json!({"app": "web"})),
        new,
        expect![[r#"
        spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden
    "#]],
    );
}

#[test]
fn services_are_checked() {
    check(
        "services",
        json!({"spec": {}}),
        expect![[r#"
        spec.ports: Required value
    "#]],
    );
    check(
        "services",
        json!({"spec": {"type": "Magic", "ports": [{"port": 0}, {"name": "A", "port": 80, "nodePort": 30000}, {"name": "b", "port": 80}], "clusterIP": "x"}}),
        expect![[r#"
            spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"
            spec.ports[0].name: Required value
            spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.ports[1].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.ports[2]: Duplicate value: {"name":"b","port":80,"protocol":"TCP","targetPort":80}
            spec.clusterIP: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        "#]],
    );
    check(
        "services",
        json!({"spec": {"type": "ExternalName", "clusterIP": "10.0.0.1"}}),
        expect![[r#"
        spec.clusterIP: Forbidden: may not be set for ExternalName services
        spec.externalName: Required value
    "#]],
    );
    check_change(
        "services",
        json!({"spec": {"clusterIP": "10.43.0.1", "clusterIPs": ["10.43.0.1"], "ports": [{"port": 80}]}}),
        json!({"spec": {"clusterIP": "10.43.0.2", "clusterIPs": ["10.43.0.2"], "ports": [{"port": 80}]}}),
        expect![[r#"
            spec.clusterIPs[0]: Invalid value: ["10.43.0.2"]: may not change once set
        "#]],
    );
}

#[test]
fn contents_of_config_maps_and_secrets_are_checked() {
    check(
        "configmaps",
        json!({"data": {"a b": "", "..": "x", "k": ""}, "binaryData": {"k": ""}}),
        expect![[r#"
        data[..]: Invalid value: "..": must not be '..'
        data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
        data[k]: Invalid value: "k": duplicate of key present in binaryData
    "#]],
    );
    check(
        "configmaps",
        json!({"data": {"a": "x".repeat(1 << 21)}}),
        expect![[r#"
        : Too long: may not be more than 1048576 bytes
    "#]],
    );
    check(
        "secrets",
        json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
        expect![[r#"
        data[tls.key]: Required value
    "#]],
    );
    let sealed = json!({"immutable": true, "data": {"a": "b"}});
    check_change(
        "configmaps",
        sealed,
        json!({"data": {"a": "c"}}),
        expect![[r#"
        immutable: Forbidden: field is immutable when `immutable` is set
        data: Forbidden: field is immutable when `immutable` is set
    "#]],
    );
    check_change(
        "secrets",
        json!({"type": "a"}),
        json!({"type": "b"}),
        expect![[r#"
        type: Invalid value: "b": field is immutable
    "#]],
    );
}

#[test]
fn jobs_and_cron_jobs_are_checked() {
    check(
        "jobs.batch",
        json!({"spec": {"template": pod(json!({})), "parallelism": -1}}),
        expect![[r#"
        spec.parallelism: Invalid value: -1: must be greater than or equal to 0
        spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
    "#]],
    );
    let job = json!({"spec": {"template": pod(json!({"restartPolicy": "Never"}))}});
    let mut other = job.clone();
    other["spec"]["completions"] = json!(4);
    other["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    let kind = self::kind("jobs.batch");
    let faults = validate_update(kind, &complete(kind, other), &complete(kind, job));
    let paths: Vec<_> = faults.iter().map(|fault| (fault.path.as_str(), fault.detail.as_str())).collect();
    assert_eq!(paths, [("spec.completions", IMMUTABLE), ("spec.template", IMMUTABLE)]);
    check(
        "cronjobs.batch",
        json!({"metadata": {"name": "a".repeat(53)}, "spec": {"schedule": "* *", "concurrencyPolicy": "X", "jobTemplate": {}}}),
        expect![[r#"
            metadata.name: Invalid value: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": must be no more than 52 characters
            spec.schedule: Invalid value: "* *": expected exactly 5 fields, found 2: ["*", "*"]
            spec.concurrencyPolicy: Unsupported value: "X": supported values: "Allow", "Forbid", "Replace"
            spec.jobTemplate.spec.template.spec.containers: Required value
            spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
        "#]],
    );
}

#[test]
fn ingresses_and_slices_are_checked() {
    check(
        "ingresses.networking.k8s.io",
        json!({"spec": {}}),
        expect![[r#"
        spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified
    "#]],
    );
    check(
        "ingresses.networking.k8s.io",
        json!({"spec": {"rules": [{"host": "10.0.0.1", "http": {"paths": [
            {"path": "x", "pathType": "Prefix", "backend": {"service": {"name": "a"}}}, {"path": "/", "backend": {}},
        ]}}]}}),
        expect![[r#"
            spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address
            spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path
            spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number is required
            spec.rules[0].http.paths[1].pathType: Required value: pathType must be specified
            spec.rules[0].http.paths[1].backend: Required value: either resource or service must be specified
        "#]],
    );
    check(
        "endpointslices.discovery.k8s.io",
        json!({"addressType": "IPv5", "endpoints": [{"addresses": []}, {"addresses": ["x"]}], "ports": [{"port": 1}, {"port": 2}]}),
        expect![[r#"
            addressType: Unsupported value: "IPv5": supported values: "FQDN", "IPv4", "IPv6"
            endpoints[0].addresses: Required value: must contain at least 1 address
            endpoints[1].addresses[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            ports[1].name: Duplicate value: ""
        "#]],
    );
    check(
        "networkpolicies.networking.k8s.io",
        json!({"spec": {"ingress": [{"from": [{}, {"ipBlock": {"cidr": "x"}}]}]}}),
        expect![[r#"
        spec.ingress[0].from[0]: Required value: must specify a peer
        spec.ingress[0].from[1].ipBlock.cidr: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)
    "#]],
    );
}

#[test]
fn roles_and_bindings_are_checked() {
    check(
        "roles.rbac.authorization.k8s.io",
        json!({"rules": [{"verbs": []}, {"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
        expect![[r#"
            rules[0].verbs: Required value: verbs must contain at least one value
            rules[0].apiGroups: Required value: resource rules must supply at least one api group
            rules[0].resources: Required value: resource rules must supply at least one resource
            rules[1].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs
        "#]],
    );
    check(
        "rolebindings.rbac.authorization.k8s.io",
        json!({"roleRef": {"kind": "X"}, "subjects": [{"kind": "User"}, {"kind": "Robot", "name": "r"}]}),
        expect![[r#"
            roleRef.kind: Unsupported value: "X": supported values: "ClusterRole", "Role"
            roleRef.name: Required value
            subjects[0].name: Required value
            subjects[1].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"
        "#]],
    );
    let binding = |name: &str| json!({"roleRef": {"kind": "Role", "name": name}});
    check_change(
        "rolebindings.rbac.authorization.k8s.io",
        binding("a"),
        binding("b"),
        expect![[r#"
        roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"b"}: cannot change roleRef
    "#]],
    );
}

#[test]
fn the_schema_alone_finds_enums_and_required_texts() {
    check("csidrivers.storage.k8s.io", json!({"spec": {"tokenRequests": [{"audience": ""}]}}), expect![""]);
    check(
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        json!({"webhooks": [{"name": "a.b.c", "failurePolicy": "Maybe", "clientConfig": {"service": {"name": "x"}}}]}),
        expect![[r#"
            webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1
            webhooks[0].sideEffects: Required value
            webhooks[0].clientConfig.service.namespace: Required value
            webhooks[0].failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"
        "#]],
    );
    check(
        "priorityclasses.scheduling.k8s.io",
        json!({"value": 2_000_000_000, "preemptionPolicy": "X"}),
        expect![[r#"
        value: Forbidden: maximum allowed value of a user defined priority is 1000000000
        preemptionPolicy: Unsupported value: "X": supported values: "Never", "PreemptLowerPriority"
    "#]],
    );
    check(
        "volumeattachments.storage.k8s.io",
        json!({"spec": {"attacher": "x", "source": {}}}),
        expect![[r#"
        spec.nodeName: Required value
    "#]],
    );
    check(
        "poddisruptionbudgets.policy",
        json!({"spec": {"minAvailable": 1, "maxUnavailable": "200%"}}),
        expect![[r#"
        spec: Invalid value: {"maxUnavailable":"200%","minAvailable":1}: minAvailable and maxUnavailable cannot be both set
        spec.maxUnavailable: Invalid value: "200%": must not be greater than 100%
    "#]],
    );
}
