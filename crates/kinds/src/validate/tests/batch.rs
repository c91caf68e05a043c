//! Mistakes in objects of batch and autoscaling, and what is told of them.

pub(super) const TABLE: &str = r#"
object cronjobs.batch {"spec": {"schedule": "* * * * *", "timeZone": "Etc/UTC", "startingDeadlineSeconds": 10, "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1, "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"parallelism": 1, "backoffLimit": 1, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "web"}], "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}}], "restartPolicy": "Never"}}}}}, "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "row", "namespace": "default"}}
create /spec/schedule -
    spec.schedule: Required value
create /spec/timeZone "-1"
    spec.timeZone: Invalid value: "-1": unknown time zone -1
create /spec/jobTemplate/spec/template/spec/containers -
    spec.jobTemplate.spec.template.spec.containers: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/jobTemplate/spec/template/spec/containers/0/name -
    spec.jobTemplate.spec.template.spec.containers[0].name: Required value
create /spec/jobTemplate/spec/template/spec/containers/0/image -
    spec.jobTemplate.spec.template.spec.containers[0].image: Required value
create /spec/jobTemplate/spec/template/spec/containers twice
    spec.jobTemplate.spec.template.spec.containers[1].name: Duplicate value: "c"
create /spec/jobTemplate/spec/template/spec/containers/0/env/0 {}
    spec.jobTemplate.spec.template.spec.containers[0].env[0].name: Required value
create /spec/failedJobsHistoryLimit -1
    spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0
create /spec/startingDeadlineSeconds -1
    spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
object jobs.batch {"spec": {"parallelism": 1, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "maxFailedIndexes": 1, "activeDeadlineSeconds": 10, "ttlSecondsAfterFinished": 1, "managedBy": "a.b/c", "podReplacementPolicy": "Failed", "suspend": false, "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}, "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [1]}}, {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}, {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [0]}}]}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "web"}], "env": [{"name": "A", "value": "b"}], "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}}], "restartPolicy": "Never"}}}, "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "row", "namespace": "default"}}
create /spec/managedBy ""
    spec.managedBy: Required value
create /spec/template/spec/containers/0/image -
    spec.template.spec.containers[0].image: Required value
create /spec/template/spec/containers twice
    spec.template.spec.containers[1].name: Duplicate value: "c"
create /spec/template/spec/containers/0/env/0 {}
    spec.template.spec.containers[0].env[0].name: Required value
create /spec/template/spec/containers/0/ports twice
    spec.template.spec.containers[0].ports[1].name: Duplicate value: "web"
create /spec/parallelism -1
    spec.parallelism: Invalid value: -1: must be greater than or equal to 0
create /spec/template/spec/containers/0/ports/0 {}
    spec.template.spec.containers[0].ports[0].containerPort: Required value
create /spec/podFailurePolicy/rules/0/onExitCodes/values twice
    spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Duplicate value: 1
create /spec/maxFailedIndexes -1
    spec.maxFailedIndexes: Invalid value: -1: must be greater than or equal to 0
create /spec/podReplacementPolicy ""
    spec.podReplacementPolicy: Unsupported value: "": supported values: "Failed"
create /spec/backoffLimitPerIndex -1
    spec.backoffLimitPerIndex: Invalid value: -1: must be greater than or equal to 0
create /spec/activeDeadlineSeconds -1
    spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0
create /spec/ttlSecondsAfterFinished -1
    spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0
create /spec/template/spec/restartPolicy -
    spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
object horizontalpodautoscalers.autoscaling {"spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}, {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}}, {"type": "Object", "object": {"describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"}, "metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}}, {"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}}, {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 50}}}], "behavior": {"scaleUp": {"stabilizationWindowSeconds": 1, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}], "tolerance": "0.1"}, "scaleDown": {"policies": [{"type": "Percent", "value": 1, "periodSeconds": 1}]}}}, "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "row", "namespace": "default"}}
create /spec/scaleTargetRef/kind -
    spec.scaleTargetRef.kind: Required value
create /spec/scaleTargetRef/name -
    spec.scaleTargetRef.name: Required value
create /spec/metrics/2/object/describedObject/kind -
    spec.metrics[2].object.describedObject.kind: Required value
create /spec/metrics/2/object/describedObject/name -
    spec.metrics[2].object.describedObject.name: Required value
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /spec/minReplicas 0
    spec.minReplicas: Invalid value: 0: must be greater than or equal to 1
create /spec/metrics/2/object/target/value "-1"
    spec.metrics[2].object.target.value: Invalid value: "-1": must be positive
create /spec/metrics/0/resource/name -
    spec.metrics[0].resource.name: Required value: must specify a resource name
create /spec/metrics/1/pods/metric -
    spec.metrics[1].pods.metric.name: Required value: must specify a metric name
create /spec/metrics/3/external/target/value "-1"
    spec.metrics[3].external.target.value: Invalid value: "-1": must be positive
update /metadata/resourceVersion -
    metadata.resourceVersion: Invalid value: "": must be specified for an update
"#;
