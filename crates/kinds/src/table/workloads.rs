//! How controllers of pods print: deployments, sets, jobs, autoscalers.

use super::read::{self, NONE, UNKNOWN, UNSET, at, items, number, text, text_or};
use super::{AGE, CONTAINERS, IMAGES, NAME, Printer, Spec, duration};
use base::time::Timestamp;
use serde_json::{Value, json};

const RC_SPEC: &str = "api.core.v1.ReplicationControllerSpec";
const RC_STATUS: &str = "api.core.v1.ReplicationControllerStatus";
const RS_SPEC: &str = "api.apps.v1.ReplicaSetSpec";
const RS_STATUS: &str = "api.apps.v1.ReplicaSetStatus";
const DEPLOYMENT_STATUS: &str = "api.apps.v1.DeploymentStatus";
const DAEMON_STATUS: &str = "api.apps.v1.DaemonSetStatus";
const CRON_SPEC: &str = "api.batch.v1.CronJobSpec";
const CRON_STATUS: &str = "api.batch.v1.CronJobStatus";
const HPA_SPEC: &str = "api.autoscaling.v2.HorizontalPodAutoscalerSpec";
const HPA_STATUS: &str = "api.autoscaling.v2.HorizontalPodAutoscalerStatus";

const fn selector(definition: &'static str) -> Spec {
    Spec::field("Selector", definition, "selector").wide()
}

pub(super) static PRINTERS: [Printer; 9] = [
    Printer::new(
        "",
        "ReplicationController",
        &[
            NAME,
            Spec::field("Desired", RC_SPEC, "replicas").of("integer"),
            Spec::field("Current", RC_STATUS, "replicas").of("integer"),
            Spec::field("Ready", RC_STATUS, "readyReplicas").of("integer"),
            AGE,
            CONTAINERS.wide(),
            IMAGES.wide(),
            selector(RC_SPEC),
        ],
        |object, now| replicas(object, now, read::labels(object, "spec.selector")),
    ),
    Printer::new(
        "apps",
        "ReplicaSet",
        &[
            NAME,
            Spec::field("Desired", RS_SPEC, "replicas").of("integer"),
            Spec::field("Current", RS_STATUS, "replicas").of("integer"),
            Spec::field("Ready", RS_STATUS, "readyReplicas").of("integer"),
            AGE,
            CONTAINERS.wide(),
            IMAGES.wide(),
            selector(RS_SPEC),
        ],
        |object, now| replicas(object, now, read::selector(object, "spec.selector")),
    ),
    Printer::new(
        "apps",
        "Deployment",
        &[
            NAME,
            Spec::text("Ready", "Number of the pod with ready state"),
            Spec::field("Up-to-date", DEPLOYMENT_STATUS, "updatedReplicas"),
            Spec::field("Available", DEPLOYMENT_STATUS, "availableReplicas"),
            AGE,
            CONTAINERS.wide(),
            IMAGES.wide(),
            selector("api.apps.v1.DeploymentSpec"),
        ],
        deployment,
    ),
    Printer::new(
        "apps",
        "DaemonSet",
        &[
            NAME,
            Spec::field("Desired", DAEMON_STATUS, "desiredNumberScheduled").of("integer"),
            Spec::field("Current", DAEMON_STATUS, "currentNumberScheduled").of("integer"),
            Spec::field("Ready", DAEMON_STATUS, "numberReady").of("integer"),
            Spec::field("Up-to-date", DAEMON_STATUS, "updatedNumberScheduled").of("integer"),
            Spec::field("Available", DAEMON_STATUS, "numberAvailable").of("integer"),
            Spec::field("Node Selector", "api.core.v1.PodSpec", "nodeSelector"),
            AGE,
            CONTAINERS.wide(),
            IMAGES.wide(),
            selector("api.apps.v1.DaemonSetSpec"),
        ],
        daemon_set,
    ),
    Printer::new(
        "apps",
        "StatefulSet",
        &[NAME, Spec::text("Ready", "Number of the pod with ready state"), AGE, CONTAINERS.wide(), IMAGES.wide()],
        stateful_set,
    ),
    Printer::new(
        "apps",
        "ControllerRevision",
        &[
            NAME,
            Spec::text("Controller", "Controller of the object"),
            Spec::field("Revision", "api.apps.v1.ControllerRevision", "revision"),
            AGE,
        ],
        controller_revision,
    ),
    Printer::new(
        "batch",
        "Job",
        &[
            NAME,
            Spec::text("Status", "Status of the job."),
            Spec::field("Completions", "api.batch.v1.JobStatus", "succeeded"),
            Spec::text("Duration", "Time required to complete the job."),
            AGE,
            CONTAINERS.wide(),
            IMAGES.wide(),
            selector("api.batch.v1.JobSpec"),
        ],
        job,
    ),
    Printer::new(
        "batch",
        "CronJob",
        &[
            NAME,
            Spec::field("Schedule", CRON_SPEC, "schedule"),
            Spec::field("Timezone", CRON_SPEC, "timeZone"),
            Spec::field("Suspend", CRON_SPEC, "suspend").of("boolean"),
            Spec::field("Active", CRON_STATUS, "active").of("integer"),
            Spec::field("Last Schedule", CRON_STATUS, "lastScheduleTime"),
            AGE,
            CONTAINERS.wide(),
            IMAGES.wide(),
            selector("api.batch.v1.JobSpec"),
        ],
        cron_job,
    ),
    Printer::new(
        "autoscaling",
        "HorizontalPodAutoscaler",
        &[
            NAME,
            Spec::field("Reference", HPA_SPEC, "scaleTargetRef"),
            Spec::field("Targets", HPA_SPEC, "metrics"),
            Spec::field("MinPods", HPA_SPEC, "minReplicas"),
            Spec::field("MaxPods", HPA_SPEC, "maxReplicas"),
            Spec::field("Replicas", HPA_STATUS, "currentReplicas"),
            AGE,
        ],
        autoscaler,
    ),
];

/// The `scale` subresource of any of them.
pub(super) static SCALE: Printer = Printer::new(
    "autoscaling",
    "Scale",
    &[
        Spec { format: "", ..NAME },
        Spec::field("Desired", "api.autoscaling.v1.ScaleSpec", "replicas").of("integer"),
        Spec::field("Available", "api.autoscaling.v1.ScaleStatus", "replicas").of("integer"),
        AGE,
    ],
    |object, now| {
        vec![
            read::name(object),
            number(object, "spec.replicas").into(),
            number(object, "status.replicas").into(),
            read::age(object, now),
        ]
    },
);

fn replicas(object: &Value, now: Timestamp, selector: String) -> Vec<Value> {
    let [names, images] = read::containers(object, "spec.template.spec.containers");
    vec![
        read::name(object),
        number(object, "spec.replicas").into(),
        number(object, "status.replicas").into(),
        number(object, "status.readyReplicas").into(),
        read::age(object, now),
        names,
        images,
        selector.into(),
    ]
}

fn ready_of_desired(object: &Value) -> Value {
    format!("{}/{}", number(object, "status.readyReplicas"), number(object, "spec.replicas")).into()
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = read::containers(object, "spec.template.spec.containers");
    // Upstream's deployment printer alone shows an empty selector as empty and a broken one as invalid.
    let selector = match read::selector(object, "spec.selector").as_str() {
        NONE => String::new(),
        "<error>" => "<invalid>".to_owned(),
        selector => selector.to_owned(),
    };
    vec![
        read::name(object),
        ready_of_desired(object),
        number(object, "status.updatedReplicas").into(),
        number(object, "status.availableReplicas").into(),
        read::age(object, now),
        names,
        images,
        selector.into(),
    ]
}

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = read::containers(object, "spec.template.spec.containers");
    vec![
        read::name(object),
        number(object, "status.desiredNumberScheduled").into(),
        number(object, "status.currentNumberScheduled").into(),
        number(object, "status.numberReady").into(),
        number(object, "status.updatedNumberScheduled").into(),
        number(object, "status.numberAvailable").into(),
        read::labels(object, "spec.template.spec.nodeSelector").into(),
        read::age(object, now),
        names,
        images,
        read::selector(object, "spec.selector").into(),
    ]
}

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = read::containers(object, "spec.template.spec.containers");
    vec![read::name(object), ready_of_desired(object), read::age(object, now), names, images]
}

fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owners = items(object, "metadata.ownerReferences");
    let controller = owners.iter().find(|owner| read::flag(owner, "controller")).map(|owner| {
        let kind = match read::group_of(text(owner, "apiVersion")) {
            "" => text(owner, "kind").to_owned(),
            group => format!("{}.{group}", text(owner, "kind")),
        };
        format!("{}/{}", kind.to_lowercase(), text(owner, "name"))
    });
    vec![
        read::name(object),
        controller.unwrap_or_else(|| NONE.to_owned()).into(),
        number(object, "revision").into(),
        read::age(object, now),
    ]
}

fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = number(object, "status.succeeded");
    let completions = match at(object, "spec.completions").and_then(Value::as_i64) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None => match number(object, "spec.parallelism") {
            parallelism @ 2.. => format!("{succeeded}/1 of {parallelism}"),
            _ => format!("{succeeded}/1"),
        },
    };
    let took = read::timestamp(object, "status.startTime").map(|start| {
        let end = read::timestamp(object, "status.completionTime").unwrap_or(now);
        duration::human(end.duration_since(start))
    });
    let [names, images] = read::containers(object, "spec.template.spec.containers");
    vec![
        read::name(object),
        job_status(object).into(),
        completions.into(),
        took.unwrap_or_default().into(),
        read::age(object, now),
        names,
        images,
        read::selector(object, "spec.selector").into(),
    ]
}

fn job_status(object: &Value) -> &'static str {
    let is = |condition| read::condition_is_true(object, condition);
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if read::is_deleted(object) {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let suspend = match at(object, "spec.suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => UNSET,
    };
    let last = match at(object, "status.lastScheduleTime") {
        Some(_) => read::since(object, "status.lastScheduleTime", now),
        None => NONE.to_owned(),
    };
    let [names, images] = read::containers(object, "spec.jobTemplate.spec.template.spec.containers");
    vec![
        read::name(object),
        text(object, "spec.schedule").into(),
        text_or(object, "spec.timeZone", NONE).into(),
        suspend.into(),
        read::count(object, "status.active").into(),
        last.into(),
        read::age(object, now),
        names,
        images,
        read::selector(object, "spec.jobTemplate.spec.selector").into(),
    ]
}

fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let target = |field| text(object, field);
    let minimum = at(object, "spec.minReplicas").map_or_else(|| UNSET.to_owned(), Value::to_string);
    vec![
        read::name(object),
        format!("{}/{}", target("spec.scaleTargetRef.kind"), target("spec.scaleTargetRef.name")).into(),
        metrics(object).into(),
        minimum.into(),
        number(object, "spec.maxReplicas").into(),
        number(object, "status.currentReplicas").into(),
        read::age(object, now),
    ]
}

/// The targets of an autoscaler: `cpu: 20%/80%`, at most two, then how many more.
fn metrics(object: &Value) -> String {
    const MAX: usize = 2;
    let (specs, statuses) = metric_lists(object);
    let shown: Vec<String> = specs.iter().enumerate().map(|(i, spec)| metric(spec, statuses.get(i))).collect();
    match shown.len() {
        0 => NONE.to_owned(),
        len if len > MAX => format!("{} + {} more...", shown[..MAX].join(", "), len - MAX),
        _ => shown.join(", "),
    }
}

/// Targets and current values; those of `autoscaling/v1` in the form of `v2`.
fn metric_lists(object: &Value) -> (Vec<Value>, Vec<Value>) {
    if at(object, "spec.metrics").is_some() {
        return (items(object, "spec.metrics").to_vec(), items(object, "status.currentMetrics").to_vec());
    }
    let resource = |field: &str, percent: &Value| json!({"type": "Resource", "resource": {"name": "cpu", field: {"averageUtilization": percent}}});
    let one = |path, field| at(object, path).map(|percent| resource(field, percent)).into_iter().collect();
    (one("spec.targetCPUUtilizationPercentage", "target"), one("status.currentCPUUtilizationPercentage", "current"))
}

fn metric(spec: &Value, status: Option<&Value>) -> String {
    let (source, prefix) = match text(spec, "type") {
        "External" => ("external", ""),
        "Pods" => ("pods", ""),
        "Object" => ("object", ""),
        "Resource" => ("resource", "name"),
        "ContainerResource" => ("containerResource", "name"),
        _ => return "<unknown type>".to_owned(),
    };
    let (Some(spec), status) = (at(spec, source), status.and_then(|status| at(status, source))) else {
        return "<unknown type>".to_owned();
    };
    let amount = |path: &str| status.map_or(UNKNOWN.to_owned(), |status| read::quantity(at(status, path)));
    let percent =
        |value: Option<&Value>, fallback: &str| value.map_or(fallback.to_owned(), |value| format!("{value}%"));
    let average = at(spec, "target.averageValue");
    let shown = match source {
        "pods" => format!("{}/{}", amount("current.averageValue"), read::quantity(average)),
        "external" | "object" if average.is_some() => {
            let known = status.and_then(|status| at(status, "current.averageValue"));
            let current = known.map_or(UNKNOWN.to_owned(), |value| read::quantity(Some(value)));
            format!("{current}/{} (avg)", read::quantity(average))
        }
        "external" | "object" => format!("{}/{}", amount("current.value"), read::quantity(at(spec, "target.value"))),
        _ if average.is_some() => format!("{}/{}", amount("current.averageValue"), read::quantity(average)),
        _ => {
            let current = status.and_then(|status| at(status, "current.averageUtilization"));
            format!("{}/{}", percent(current, UNKNOWN), percent(at(spec, "target.averageUtilization"), "<auto>"))
        }
    };
    if prefix.is_empty() { shown } else { format!("{}: {shown}", text(spec, prefix)) }
}
