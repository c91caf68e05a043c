//! The query of a request, typed: list, write and delete options.
//!
//! Unknown parameters are ignored and malformed ones are refused, as upstream does. Delete options may also come in the
//! body; then the body wins and the query is not looked at, which is upstream's rule too.

use kinds::{Cause, FieldError};
use serde_json::Value;

use crate::error::ApiError;

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) resource_version: String,
    pub(crate) resource_version_match: String,
    pub(crate) watch: bool,
    pub(crate) allow_watch_bookmarks: bool,
    pub(crate) timeout_seconds: Option<u64>,
    send_initial_events: Option<bool>,
    /// A create, update or patch is not stored.
    pub(crate) dry_run: bool,
    dry_runs: Vec<String>,
    pub(crate) field_validation: FieldValidation,
    unknown_validation: Option<String>,
    pub(crate) field_manager: String,
    force: Option<bool>,
    /// Indented or not, if the query says so.
    pub(crate) pretty: Option<bool>,
    pub(crate) include_object: String,
    delete: DeleteOptions,
    /// Parameters that are no numbers, each with who reads it. They are told only by who does: a request that is
    /// relayed to an application may have parameters of the same name.
    unreadable: Vec<(Reader, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    List,
    Delete,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation: Option<String>,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

impl Options {
    /// Never fails: what is wrong is told by the check of the verb that reads it.
    pub(crate) fn parse(query: &str) -> Self {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.as_ref();
            let text = || value.to_owned();
            match name.as_ref() {
                "labelSelector" => options.label_selector = text(),
                "fieldSelector" => options.field_selector = text(),
                "limit" => {
                    let limit = options.integer(Reader::List, value);
                    options.limit = limit.and_then(|limit| limit.try_into().ok()).unwrap_or(0);
                }
                "continue" => options.continue_token = text(),
                "resourceVersion" => {
                    options.resource_version = text();
                    options.delete.resource_version = Some(text()).filter(|version| !version.is_empty());
                }
                "resourceVersionMatch" => options.resource_version_match = text(),
                "watch" => options.watch = flag(value),
                "allowWatchBookmarks" => options.allow_watch_bookmarks = flag(value),
                "timeoutSeconds" => {
                    let seconds = options.integer(Reader::List, value);
                    options.timeout_seconds = seconds.and_then(|seconds| seconds.try_into().ok());
                }
                "sendInitialEvents" => options.send_initial_events = Some(flag(value)),
                "dryRun" => options.dry_runs.push(text()),
                "fieldValidation" => match value {
                    "Ignore" => options.field_validation = FieldValidation::Ignore,
                    "" | "Warn" => options.field_validation = FieldValidation::Warn,
                    "Strict" => options.field_validation = FieldValidation::Strict,
                    other => options.unknown_validation = Some(other.to_owned()),
                },
                "fieldManager" => options.field_manager = text(),
                "force" => options.force = Some(flag(value)),
                "pretty" if !value.is_empty() => options.pretty = Some(flag(value)),
                "includeObject" => options.include_object = text(),
                "gracePeriodSeconds" => {
                    options.delete.grace_period_seconds = options.integer(Reader::Delete, value);
                }
                "propagationPolicy" => options.delete.propagation = Some(text()),
                "orphanDependents" => options.delete.orphan_dependents = Some(flag(value)),
                "uid" => options.delete.uid = Some(text()).filter(|uid| !uid.is_empty()),
                _ => {}
            }
        }
        options.dry_run = options.dry_runs.iter().any(|run| run == ALL);
        options.delete.dry_run = options.dry_run;
        options
    }

    fn integer(&mut self, reader: Reader, value: &str) -> Option<i64> {
        let number = value.parse().ok();
        if number.is_none() {
            let why = format!("strconv.ParseInt: parsing {value:?}: invalid syntax");
            self.unreadable.push((reader, why));
        }
        number
    }

    fn readable(&self, reader: Reader) -> Result<(), ApiError> {
        match self.unreadable.iter().find(|(by, _)| *by == reader) {
            Some((_, why)) => Err(ApiError::bad_request(why.clone())),
            None => Ok(()),
        }
    }

    /// Whether a watch begins with what exists. A watch from nowhere does, unless it says otherwise.
    pub(crate) fn initial_events(&self) -> bool {
        let legacy = self.resource_version_match.is_empty() && matches!(self.resource_version.as_str(), "" | "0");
        self.send_initial_events.unwrap_or(legacy)
    }

    /// The rules between list options; `watch` says which of the two sets applies.
    pub(crate) fn check_list(&self, watch: bool) -> Result<(), ApiError> {
        self.readable(Reader::List)?;
        let errors = if watch { self.watch_faults() } else { self.list_faults() };
        refuse("ListOptions", &errors)
    }

    fn list_faults(&self) -> Vec<FieldError> {
        const MATCH: &str = "resourceVersionMatch";
        let mut errors = Vec::new();
        let matching = self.resource_version_match.as_str();
        if !matching.is_empty() {
            if self.resource_version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(FieldError::forbidden(MATCH, why));
            }
            if !self.continue_token.is_empty() {
                errors
                    .push(FieldError::forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
            }
            if !matches!(matching, "Exact" | "NotOlderThan") {
                errors.push(unsupported(MATCH, matching, &["Exact", "NotOlderThan", ""]));
            }
            if matching == "Exact" && self.resource_version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(FieldError::forbidden(MATCH, why));
            }
        }
        if self.send_initial_events.is_some() {
            errors.push(FieldError::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    fn watch_faults(&self) -> Vec<FieldError> {
        const MATCH: &str = "resourceVersionMatch";
        let mut errors = Vec::new();
        let matching = self.resource_version_match.as_str();
        if self.send_initial_events.is_some() && matching != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        if matching.is_empty() {
            return errors;
        }
        if self.send_initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(MATCH, why));
        }
        if matching != "NotOlderThan" {
            errors.push(unsupported(MATCH, matching, &["NotOlderThan"]));
        }
        if !self.continue_token.is_empty() {
            errors.push(FieldError::forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"));
        }
        errors
    }

    /// The options of a create, update or patch; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    pub(crate) fn check_write(&self, kind: &str) -> Result<(), ApiError> {
        self.check_options(kind, Vec::new())
    }

    /// The options of a patch: an apply must say who applies, and it alone may force.
    pub(crate) fn check_patch(&self, apply: bool) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        if apply && self.field_manager.is_empty() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        if !apply && self.force.is_some() {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        self.check_options("PatchOptions", errors)
    }

    /// Whether an apply takes fields from their owners.
    pub(crate) fn force(&self) -> bool {
        self.force.unwrap_or(false)
    }

    fn check_options(&self, kind: &str, mut errors: Vec<FieldError>) -> Result<(), ApiError> {
        check_manager(&self.field_manager, &mut errors);
        check_dry_run(&self.dry_runs, &mut errors);
        if let Some(unknown) = &self.unknown_validation {
            errors.push(unsupported("fieldValidation", unknown.as_str(), &["", "Ignore", "Strict", "Warn"]));
        }
        refuse(kind, &errors)
    }

    /// The delete options of the query; looked at only if the body has none.
    pub(crate) fn delete_options(&self) -> Result<DeleteOptions, ApiError> {
        self.readable(Reader::Delete)?;
        self.delete.check(&self.dry_runs)?;
        Ok(self.delete.clone())
    }
}

impl DeleteOptions {
    /// Reads a `DeleteOptions` body.
    pub(crate) fn from_body(body: &Value) -> Result<Self, ApiError> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let runs = body.get("dryRun").and_then(Value::as_array);
        let runs: Vec<String> =
            runs.into_iter().flatten().map(|run| run.as_str().unwrap_or_default().to_owned()).collect();
        let options = Self {
            grace_period_seconds: body.get("gracePeriodSeconds").and_then(Value::as_i64),
            propagation: text("/propagationPolicy"),
            orphan_dependents: body.get("orphanDependents").and_then(Value::as_bool),
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            dry_run: runs.iter().any(|run| run == ALL),
        };
        options.check(&runs)?;
        Ok(options)
    }

    fn check(&self, dry_runs: &[String]) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        if self.propagation.is_some() && self.orphan_dependents.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid("propagationPolicy", self.propagation.clone(), why));
        }
        match self.propagation.as_deref() {
            None | Some("Foreground" | "Background" | "Orphan") => {}
            Some(other) => {
                errors.push(unsupported("propagationPolicy", other, &["Foreground", "Background", "Orphan", "nil"]));
            }
        }
        check_dry_run(dry_runs, &mut errors);
        refuse("DeleteOptions", &errors)
    }
}

const ALL: &str = "All";

/// Upstream's limit for the name of a field manager.
pub(crate) const LONGEST_MANAGER: usize = 128;

fn check_manager(manager: &str, errors: &mut Vec<FieldError>) {
    if manager.len() > LONGEST_MANAGER {
        errors.push(FieldError::too_long("fieldManager", LONGEST_MANAGER));
    }
    for (place, character) in manager.char_indices().filter(|(_, character)| character.is_control()) {
        let why = format!("invalid character U+{:04X} (at position {place})", u32::from(character));
        errors.push(FieldError::invalid("fieldManager", manager, why));
    }
}

fn check_dry_run(runs: &[String], errors: &mut Vec<FieldError>) {
    if runs.iter().any(|run| run != ALL) {
        errors.push(unsupported("dryRun", runs, &[ALL]));
    }
}

fn refuse(kind: &str, errors: &[FieldError]) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_kind("meta.k8s.io", kind, "", errors))
}

/// The supported values in upstream's order, which is not always the alphabet's.
fn unsupported(path: &str, value: impl Into<Value>, supported: &[&str]) -> FieldError {
    let listed: Vec<String> = supported.iter().map(|one| format!("\"{one}\"")).collect();
    let detail = format!("supported values: {}", listed.join(", "));
    FieldError::new(Cause::NotSupported, path, detail, Some(value.into()))
}

/// Upstream's conversion: everything but "false" and "0" is true, also an empty value.
fn flag(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(query: &str, watch: bool) -> String {
        match Options::parse(query).check_list(watch) {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{} {}", error.code, error.message),
        }
    }

    #[test]
    fn contradicting_list_options_are_refused_with_the_field() {
        assert_eq!(message("resourceVersion=5&resourceVersionMatch=Exact", false), "ok");
        assert_eq!(message("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", true), "ok");
        assert!(
            message("resourceVersionMatch=Exact", false).contains("is forbidden unless resourceVersion is provided")
        );
        assert!(message("resourceVersion=0&resourceVersionMatch=Exact", false).starts_with("422 "));
        assert_eq!(
            message("resourceVersion=5&resourceVersionMatch=Newest", false),
            "422 ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \"Newest\": \
             supported values: \"Exact\", \"NotOlderThan\", \"\""
        );
        assert_eq!(
            message("sendInitialEvents=true&resourceVersionMatch=Exact", true),
            "422 ListOptions.meta.k8s.io \"\" is invalid: [resourceVersionMatch: Forbidden: sendInitialEvents requires \
             setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: \"Exact\": \
             supported values: \"NotOlderThan\"]"
        );
        assert_eq!(message("limit=many", false), "400 strconv.ParseInt: parsing \"many\": invalid syntax");
        assert!(message("sendInitialEvents=true", false).contains("sendInitialEvents is forbidden for list"));
    }

    #[test]
    fn a_watch_from_nowhere_begins_with_what_exists() {
        for (query, initial) in [
            ("", true),
            ("resourceVersion=0", true),
            ("resourceVersion=5", false),
            ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", false),
            ("resourceVersion=5&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", true),
        ] {
            assert_eq!(Options::parse(query).initial_events(), initial, "{query}");
        }
    }

    #[test]
    fn a_flag_is_false_only_when_it_says_so() {
        let options = Options::parse("watch&allowWatchBookmarks=0&dryRun=All");
        assert!(options.watch && !options.allow_watch_bookmarks && options.dry_run);
    }

    #[test]
    fn options_of_a_write_are_refused_under_the_name_of_its_verb() {
        let told = |query: &str| Options::parse(query).check_write("PatchOptions").unwrap_err().message;
        assert_eq!(
            told("dryRun=Some"),
            "PatchOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
        );
        assert!(told("fieldValidation=No").ends_with("supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""));
    }

    #[test]
    fn an_apply_names_its_manager_and_it_alone_forces() {
        let told = |query: &str, apply: bool| match Options::parse(query).check_patch(apply) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.message.replace("PatchOptions.meta.k8s.io \"\" is invalid: ", ""),
        };
        assert_eq!(told("", true), "fieldManager: Required value: is required for apply patch");
        assert_eq!(told("force=true", false), "force: Forbidden: may not be specified for non-apply patch");
        assert_eq!(told("fieldManager=a&force=true", true), "ok");
        assert_eq!(
            told(&format!("fieldManager={}", "x".repeat(129)), false),
            "fieldManager: Too long: may not be more than 128 bytes"
        );
        assert_eq!(
            told("fieldManager=a%07", true),
            "fieldManager: Invalid value: \"a\\x07\": invalid character U+0007 (at position 1)"
        );
    }

    #[test]
    fn delete_options_come_from_the_query_too() {
        let options = Options::parse("uid=u&resourceVersion=7&gracePeriodSeconds=0&propagationPolicy=Orphan");
        let delete = options.delete_options().expect("options");
        assert_eq!((delete.uid.as_deref(), delete.resource_version.as_deref()), (Some("u"), Some("7")));
        assert_eq!((delete.grace_period_seconds, delete.propagation.as_deref()), (Some(0), Some("Orphan")));
        let told = |query: &str| Options::parse(query).delete_options().unwrap_err().message;
        assert_eq!(told("gracePeriodSeconds=x"), "strconv.ParseInt: parsing \"x\": invalid syntax");
        assert!(told("propagationPolicy=x").ends_with("\"Foreground\", \"Background\", \"Orphan\", \"nil\""));
        assert!(told("propagationPolicy=Orphan&orphanDependents=true").contains("cannot be both set"));
    }
}
