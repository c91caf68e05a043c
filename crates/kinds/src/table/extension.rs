//! How the kinds that extend or tune the API print: webhooks, policies, aggregation, fairness, devices, migrations.

use super::read::{self, NONE, UNSET, at, count, number, text, text_or};
use super::{AGE, NAME, Printer, Spec};
use base::time::Timestamp;
use serde_json::Value;

const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const FLOW_SPEC: &str = "api.flowcontrol.v1.FlowSchemaSpec";
const QUEUING: &str = "api.flowcontrol.v1.QueuingConfiguration";
const SLICE: &str = "api.resource.v1.ResourceSliceSpec";
const STORED: &str = "api.apiserverinternal.v1alpha1.StorageVersionStatus";

const WEBHOOKS: &[Spec] = &[
    NAME,
    Spec::text("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration").of("integer"),
    AGE,
];
const PARAM_KIND: Spec =
    Spec::text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy");
const POLICY_BINDING: &[Spec] = &[
    NAME,
    Spec::text("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
    Spec::text("ParamRef", "ParamRef indicates the param resource which sets the configration param"),
    AGE,
];

pub(super) static PRINTERS: [Printer; 15] = [
    Printer::new(ADMISSION, "MutatingWebhookConfiguration", WEBHOOKS, webhooks),
    Printer::new(ADMISSION, "ValidatingWebhookConfiguration", WEBHOOKS, webhooks),
    Printer::new(
        ADMISSION,
        "ValidatingAdmissionPolicy",
        &[
            NAME,
            Spec::text(
                "Validations",
                "Validations indicates the number of validation rules defined in this configuration",
            )
            .of("integer"),
            PARAM_KIND,
            AGE,
        ],
        |object, now| policy(object, now, "spec.validations"),
    ),
    Printer::new(
        ADMISSION,
        "MutatingAdmissionPolicy",
        &[
            NAME,
            Spec::text("Mutations", "Mutation indicates the number of mutations rules defined in this configuration")
                .of("integer"),
            PARAM_KIND,
            AGE,
        ],
        |object, now| policy(object, now, "spec.mutations"),
    ),
    Printer::new(ADMISSION, "ValidatingAdmissionPolicyBinding", POLICY_BINDING, policy_binding),
    Printer::new(ADMISSION, "MutatingAdmissionPolicyBinding", POLICY_BINDING, policy_binding),
    Printer::new(
        "apiregistration.k8s.io",
        "APIService",
        &[
            NAME,
            Spec::text("Service", "The reference to the service that hosts this API endpoint."),
            Spec::text("Available", "Whether this service is available."),
            AGE,
        ],
        api_service,
    ),
    Printer::new(
        FLOW,
        "FlowSchema",
        &[
            NAME,
            Spec::field("PriorityLevel", "api.flowcontrol.v1.PriorityLevelConfigurationReference", "name"),
            Spec::field("MatchingPrecedence", FLOW_SPEC, "matchingPrecedence"),
            Spec::field("DistinguisherMethod", FLOW_SPEC, "distinguisherMethod"),
            AGE,
            Spec::text("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
        ],
        flow_schema,
    ),
    Printer::new(
        FLOW,
        "PriorityLevelConfiguration",
        &[
            NAME,
            Spec::field("Type", "api.flowcontrol.v1.PriorityLevelConfigurationSpec", "type"),
            Spec::field(
                "NominalConcurrencyShares",
                "api.flowcontrol.v1.LimitedPriorityLevelConfiguration",
                "nominalConcurrencyShares",
            ),
            Spec::field("Queues", QUEUING, "queues"),
            Spec::field("HandSize", QUEUING, "handSize"),
            Spec::field("QueueLengthLimit", QUEUING, "queueLengthLimit"),
            AGE,
        ],
        priority_level,
    ),
    Printer::new(
        "internal.apiserver.k8s.io",
        "StorageVersion",
        &[
            NAME,
            Spec::field("CommonEncodingVersion", STORED, "commonEncodingVersion"),
            Spec::field("StorageVersions", STORED, "storageVersions"),
            AGE,
        ],
        storage_version,
    ),
    Printer::new(RESOURCE, "DeviceClass", &[NAME, AGE], name_and_age),
    Printer::new(
        RESOURCE,
        "ResourceClaim",
        &[NAME, Spec::text("State", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE],
        |object, now| vec![read::name(object), claim_state(object).into(), read::age(object, now)],
    ),
    Printer::new(RESOURCE, "ResourceClaimTemplate", &[NAME, AGE], name_and_age),
    Printer::new(
        RESOURCE,
        "ResourceSlice",
        &[
            NAME,
            Spec::field("Node", SLICE, "nodeName"),
            Spec::field("Driver", SLICE, "driver"),
            Spec::field("Pool", "api.resource.v1.ResourcePool", "name"),
            AGE,
        ],
        |object, now| {
            let field = |path| Value::from(text(object, path));
            vec![
                read::name(object),
                field("spec.nodeName"),
                field("spec.driver"),
                field("spec.pool.name"),
                read::age(object, now),
            ]
        },
    ),
    Printer::new(
        "storagemigration.k8s.io",
        "StorageVersionMigration",
        &[NAME, Spec::text("Resource", "Fully qualified resource to migrate")],
        |object, _| {
            let parts = ["spec.resource.resource", "spec.resource.version", "spec.resource.group"];
            let parts = parts.map(|path| text(object, path)).into_iter().filter(|part| !part.is_empty());
            vec![read::name(object), read::join(parts, ".").into()]
        },
    ),
];

fn name_and_age(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![read::name(object), read::age(object, now)]
}

fn webhooks(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![read::name(object), count(object, "webhooks").into(), read::age(object, now)]
}

fn policy(object: &Value, now: Timestamp, rules: &str) -> Vec<Value> {
    let parameter = at(object, "spec.paramKind")
        .map_or(UNSET.to_owned(), |kind| format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind")));
    vec![read::name(object), count(object, rules).into(), parameter.into(), read::age(object, now)]
}

fn policy_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameter = match (text(object, "spec.paramRef.name"), text(object, "spec.paramRef.namespace")) {
        ("", _) if at(object, "spec.paramRef.selector").is_some() => read::selector(object, "spec.paramRef.selector"),
        ("", _) => UNSET.to_owned(),
        // The row does not say whether the parameter kind has namespaces.
        (name, "") => format!("*/{name}"),
        (name, namespace) => format!("{namespace}/{name}"),
    };
    vec![read::name(object), text(object, "spec.policyName").into(), parameter.into(), read::age(object, now)]
}

fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = at(object, "spec.service")
        .map_or("Local".to_owned(), |service| format!("{}/{}", text(service, "namespace"), text(service, "name")));
    let available = match read::condition(object, "Available") {
        None => "Unknown".to_owned(),
        Some(condition) if text(condition, "status") == "True" => "True".to_owned(),
        Some(condition) => format!("{} ({})", text(condition, "status"), text(condition, "reason")),
    };
    vec![read::name(object), service.into(), available.into(), read::age(object, now)]
}

fn flow_schema(object: &Value, now: Timestamp) -> Vec<Value> {
    let dangling = read::condition(object, "Dangling").map_or("?", |condition| text(condition, "status"));
    vec![
        read::name(object),
        text(object, "spec.priorityLevelConfiguration.name").into(),
        number(object, "spec.matchingPrecedence").into(),
        text_or(object, "spec.distinguisherMethod.type", NONE).into(),
        read::age(object, now),
        dangling.into(),
    ]
}

fn priority_level(object: &Value, now: Timestamp) -> Vec<Value> {
    let limited = |path: &str| at(object, path).cloned().unwrap_or_else(|| NONE.into());
    vec![
        read::name(object),
        text(object, "spec.type").into(),
        limited("spec.limited.nominalConcurrencyShares"),
        limited("spec.limited.limitResponse.queuing.queues"),
        limited("spec.limited.limitResponse.queuing.handSize"),
        limited("spec.limited.limitResponse.queuing.queueLengthLimit"),
        read::age(object, now),
    ]
}

fn storage_version(object: &Value, now: Timestamp) -> Vec<Value> {
    let versions: Vec<String> = read::items(object, "status.storageVersions")
        .iter()
        .map(|version| format!("{}={}", text(version, "apiServerID"), text(version, "encodingVersion")))
        .collect();
    vec![
        read::name(object),
        text_or(object, "status.commonEncodingVersion", UNSET).into(),
        read::some_of(&versions, 3, UNSET).into(),
        read::age(object, now),
    ]
}

fn claim_state(object: &Value) -> String {
    let mut states = Vec::new();
    let deleted = read::is_deleted(object);
    if deleted {
        states.push("deleted");
    }
    if at(object, "status.allocation").is_some() {
        states.push("allocated");
        if count(object, "status.reservedFor") > 0 {
            states.push("reserved");
        }
    } else if !deleted {
        states.push("pending");
    }
    states.join(",")
}
