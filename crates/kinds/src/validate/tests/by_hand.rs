//! Mistakes in events and services of the API, and what is told of them.

pub(super) const TABLE: &str = r#"
object events.events.k8s.io {"eventTime": "2026-01-02T03:04:05.000006Z", "reportingController": "example.com/c", "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal", "regarding": {"namespace": "default", "kind": "Pod", "name": "p"}, "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "row", "namespace": "default"}, "related": {"kind": "Pod", "namespace": "default", "name": "q"}, "note": "n", "series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:06.000006Z"}}
create /eventTime -
    eventTime: Required value
create /reportingController -
    reportingController: Required value
    reportingController: Invalid value: "": name part must be non-empty
    reportingController: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
create /reportingController "Bad_Value!"
    reportingController: Invalid value: "Bad_Value!": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
create /reportingInstance -
    reportingInstance: Required value
create /reportingInstance "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    reportingInstance: Invalid value: "": can have at most 128 characters
create /action -
    action: Required value
create /action "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    action: Invalid value: "": can have at most 128 characters
create /reason -
    reason: Required value
create /reason "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    reason: Invalid value: "": can have at most 128 characters
create /type -
    type: Invalid value: "": has invalid value: 
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /metadata/name "x/y/z"
    metadata.name: Invalid value: "x/y/z": may not contain '/'
create /series {}
    series.count: Invalid value: "": should be at least 2
    series.lastObservedTime: Required value
create /series/lastObservedTime -
    series.lastObservedTime: Required value
update /eventTime -
    eventTime: Invalid value: null: field is immutable
update /reportingController -
    reportingController: Required value
    reportingController: Invalid value: "": name part must be non-empty
    reportingController: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
    reportingController: Invalid value: "": field is immutable
object apiservices.apiregistration.k8s.io {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1.widgets.example.com"}, "spec": {"group": "widgets.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10, "insecureSkipTLSVerify": true, "service": {"name": "s", "namespace": "n", "port": 443}}}
create /metadata/name -
    metadata.name: Required value: name or generateName is required
create /metadata/name "Bad_Value!"
    metadata.name: Invalid value: "Bad_Value!": must be `spec.version+"."+spec.group`: "v1.widgets.example.com"
create /spec/groupPriorityMinimum -
    spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000
create /spec/groupPriorityMinimum -1
    spec.groupPriorityMinimum: Invalid value: -1: must be positive and less than 20000
create /spec/groupPriorityMinimum 70000
    spec.groupPriorityMinimum: Invalid value: 70000: must be positive and less than 20000
create /spec/groupPriorityMinimum 2000000000
    spec.groupPriorityMinimum: Invalid value: 2000000000: must be positive and less than 20000
create /spec/versionPriority -
    spec.versionPriority: Invalid value: 0: must be positive and less than 1000
create /spec/versionPriority -1
    spec.versionPriority: Invalid value: -1: must be positive and less than 1000
create /spec/versionPriority 70000
    spec.versionPriority: Invalid value: 70000: must be positive and less than 1000
create /spec/versionPriority 2000000000
    spec.versionPriority: Invalid value: 2000000000: must be positive and less than 1000
create /spec/service -
    spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify
create /spec/service {}
    spec.service.namespace: Required value
    spec.service.name: Required value
create /spec/service/name -
    spec.service.name: Required value
create /spec/service/port -1
    spec.service.port: Invalid value: -1: port is not valid: must be between 1 and 65535, inclusive
create /spec/service/port 0
    spec.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive
create /spec/service/port 70000
    spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive
"#;
