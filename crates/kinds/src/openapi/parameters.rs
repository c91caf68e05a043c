//! The query and path parameters of API operations.
//!
//! Invariant: clients decide by these names what the server can do: `kubectl` looks for `fieldValidation` and `dryRun`
//! among the parameters of the patch operation. So they are listed only where the pipeline honours them.

use std::collections::BTreeMap;

/// One parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: &'static str,
    pub(super) kind: &'static str,
    pub(super) description: &'static str,
}

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: "query", kind, description }
}

const fn path(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: "path", kind: "string", description }
}

impl Parameter {
    /// Whether the parameter belongs to all operations of a path.
    pub(super) fn is_in(&self, path: &str) -> bool {
        self.place == "query" || path.contains(&format!("{{{}}}", self.name))
    }
}

/// Every parameter once, by name.
pub(super) fn all() -> impl Iterator<Item = &'static Parameter> {
    let lists = [IN_PATHS, PATCH, DELETE, LIST, LOG];
    let by_name: BTreeMap<&str, &Parameter> = lists.into_iter().flatten().map(|one| (one.name, one)).collect();
    by_name.into_values()
}

/// The parameters of paths as such; the rest belong to operations.
pub(super) const IN_PATHS: &[Parameter] = &[
    path("name", "name of the object"),
    path("namespace", "object name and auth scope, such as for teams and projects"),
    path("path", "path to the resource"),
    query("pretty", "string", "If 'true', then the output is pretty printed."),
];

const DRY_RUN: Parameter =
    query("dryRun", "string", "Do everything but store the change; the only value besides none is All.");
const FIELD_MANAGER: Parameter =
    query("fieldManager", "string", "The name of the actor that makes the change, at most 128 printable characters.");
const FIELD_VALIDATION: Parameter = query(
    "fieldValidation",
    "string",
    "What to do with unknown and duplicate fields: Ignore drops them, Warn drops them with a warning, Strict refuses the request.",
);

pub(super) const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];

pub(super) const PATCH: &[Parameter] = &[
    DRY_RUN,
    FIELD_MANAGER,
    FIELD_VALIDATION,
    query("force", "boolean", "Take over fields that other managers own; for apply patches only."),
];

pub(super) const DELETE: &[Parameter] = &[
    DRY_RUN,
    query("gracePeriodSeconds", "integer", "How long the object may take to end; zero deletes it at once."),
    query("orphanDependents", "boolean", "Deprecated: use propagationPolicy. Whether dependents are left alone."),
    query("propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."),
];

const FIELD_SELECTOR: Parameter =
    query("fieldSelector", "string", "Restricts the objects by their fields; everything by default.");
const LABEL_SELECTOR: Parameter =
    query("labelSelector", "string", "Restricts the objects by their labels; everything by default.");

/// What a deletion of a collection picks its objects by.
pub(super) const SELECTION: &[Parameter] = &[FIELD_SELECTOR, LABEL_SELECTOR];

pub(super) const LIST: &[Parameter] = &[
    query("allowWatchBookmarks", "boolean", "Send BOOKMARK events, which carry only a resource version."),
    query("continue", "string", "Where to go on: the token of the chunk before."),
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    query("limit", "integer", "The most objects one answer may hold; what is left is read with continue."),
    query("resourceVersion", "string", "The version to read at or to watch from."),
    query("resourceVersionMatch", "string", "How resourceVersion binds a list: Exact or NotOlderThan."),
    query("sendInitialEvents", "boolean", "Begin a watch with the objects that exist, ended by a BOOKMARK."),
    query("timeoutSeconds", "integer", "Ends the list or watch after that time, whatever happens."),
    query("watch", "boolean", "Stream changes instead of returning a list."),
];

pub(super) const LOG: &[Parameter] = &[
    query("container", "string", "The container; may be left out if there is only one."),
    query("follow", "boolean", "Go on with new lines as they come."),
    query("insecureSkipTLSVerifyBackend", "boolean", "Do not check the certificate of the node."),
    query("limitBytes", "integer", "Stop after so many bytes."),
    query("previous", "boolean", "The instance of the container before this one."),
    query("sinceSeconds", "integer", "Only lines of the last so many seconds."),
    query("stream", "string", "All, Stdout or Stderr."),
    query("tailLines", "integer", "Only the last so many lines."),
    query("timestamps", "boolean", "Begin each line with its time."),
];
