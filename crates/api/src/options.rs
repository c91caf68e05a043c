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
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    pub(crate) pretty: bool,
    pub(crate) include_object: String,
    pub(crate) delete: DeleteOptions,
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
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.as_ref();
            match name.as_ref() {
                "labelSelector" => value.clone_into(&mut options.label_selector),
                "fieldSelector" => value.clone_into(&mut options.field_selector),
                "limit" => options.limit = integer::<i64>("limit", value)?.try_into().unwrap_or(0),
                "continue" => value.clone_into(&mut options.continue_token),
                "resourceVersion" => value.clone_into(&mut options.resource_version),
                "resourceVersionMatch" => value.clone_into(&mut options.resource_version_match),
                "watch" => options.watch = flag(value),
                "allowWatchBookmarks" => options.allow_watch_bookmarks = flag(value),
                "timeoutSeconds" => {
                    options.timeout_seconds = u64::try_from(integer::<i64>("timeoutSeconds", value)?).ok()
                }
                "sendInitialEvents" => options.send_initial_events = Some(flag(value)),
                "dryRun" => options.dry_run = dry_run(value)?,
                "fieldValidation" => options.field_validation = field_validation(value)?,
                "pretty" => options.pretty = flag(value),
                "includeObject" => value.clone_into(&mut options.include_object),
                "gracePeriodSeconds" => {
                    options.delete.grace_period_seconds = Some(integer("gracePeriodSeconds", value)?);
                }
                "propagationPolicy" => options.delete.propagation = Some(value.to_owned()),
                "orphanDependents" => options.delete.orphan_dependents = Some(flag(value)),
                _ => {}
            }
        }
        options.delete.dry_run = options.dry_run;
        options.delete.check()?;
        Ok(options)
    }

    /// The rules between list options; `watch` says which of the two sets applies.
    pub(crate) fn check_list(&self, watch: bool) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        let matching = self.resource_version_match.as_str();
        let mut forbid = |path: &str, detail: &str| errors.push(fault(path, Cause::Forbidden, detail));
        if watch {
            match (self.send_initial_events, matching) {
                (Some(_), "") => forbid(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ),
                (Some(_), "NotOlderThan") | (None, "") => {}
                (Some(_), _) => forbid(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ),
                (None, _) => forbid(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ),
            }
        } else {
            if self.send_initial_events.is_some() {
                forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
            }
            match matching {
                "" => {}
                "Exact" | "NotOlderThan" if self.resource_version.is_empty() => forbid(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ),
                "Exact" | "NotOlderThan" if !self.continue_token.is_empty() => {
                    forbid("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided");
                }
                "Exact" if self.resource_version == "0" => forbid(
                    "resourceVersionMatch",
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ),
                "Exact" | "NotOlderThan" => {}
                other => errors.push(unsupported("resourceVersionMatch", other, &["Exact", "NotOlderThan"])),
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", &errors))
    }
}

impl DeleteOptions {
    /// Reads a `DeleteOptions` body.
    pub(crate) fn from_body(body: &Value) -> Result<Self, ApiError> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let runs = body.get("dryRun").and_then(Value::as_array);
        let mut dry = false;
        for run in runs.into_iter().flatten() {
            dry |= dry_run(run.as_str().unwrap_or_default())?;
        }
        let options = Self {
            grace_period_seconds: body.get("gracePeriodSeconds").and_then(Value::as_i64),
            propagation: text("/propagationPolicy"),
            orphan_dependents: body.get("orphanDependents").and_then(Value::as_bool),
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            dry_run: dry,
        };
        options.check()?;
        Ok(options)
    }

    fn check(&self) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        if self.propagation.is_some() && self.orphan_dependents.is_some() {
            errors.push(FieldError {
                path: "propagationPolicy".to_owned(),
                kind: Cause::Invalid,
                detail: "orphanDependents and deletionPropagation cannot be both set".to_owned(),
                value: self.propagation.clone().map(Value::String),
            });
        }
        match self.propagation.as_deref() {
            None | Some("Foreground" | "Background" | "Orphan") => {}
            Some(other) => {
                errors.push(unsupported("propagationPolicy", other, &["Foreground", "Background", "Orphan"]))
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid_kind("meta.k8s.io", "DeleteOptions", "", &errors))
    }
}

fn fault(path: &str, kind: Cause, detail: &str) -> FieldError {
    FieldError { path: path.to_owned(), kind, detail: detail.to_owned(), value: None }
}

fn unsupported(path: &str, value: &str, supported: &[&str]) -> FieldError {
    let listed: Vec<String> = supported.iter().map(|one| format!("\"{one}\"")).collect();
    FieldError {
        path: path.to_owned(),
        kind: Cause::NotSupported,
        detail: format!("supported values: {}", listed.join(", ")),
        value: Some(Value::String(value.to_owned())),
    }
}

/// Upstream's conversion: everything but "false" and "0" is true, also an empty value.
fn flag(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

fn integer<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, ApiError> {
    value
        .parse()
        .map_err(|_| ApiError::bad_request(format!("cannot read {name}={value:?}: strconv.ParseInt: invalid syntax")))
}

fn dry_run(value: &str) -> Result<bool, ApiError> {
    match value {
        "" => Ok(false),
        "All" => Ok(true),
        other => {
            let error = unsupported("dryRun", other, &["All"]);
            Err(ApiError::invalid_kind("meta.k8s.io", "CreateOptions", "", &[error]))
        }
    }
}

fn field_validation(value: &str) -> Result<FieldValidation, ApiError> {
    match value {
        "Ignore" => Ok(FieldValidation::Ignore),
        "" | "Warn" => Ok(FieldValidation::Warn),
        "Strict" => Ok(FieldValidation::Strict),
        other => {
            let error = unsupported("fieldValidation", other, &["Ignore", "Strict", "Warn"]);
            Err(ApiError::invalid_kind("meta.k8s.io", "CreateOptions", "", &[error]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(query: &str, watch: bool) -> String {
        match Options::parse(query).and_then(|options| options.check_list(watch)) {
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
        assert!(message("resourceVersion=5&resourceVersionMatch=Newest", false).contains("Unsupported value"));
        assert!(message("sendInitialEvents=true", true).contains("NotOlderThan"));
        assert!(message("limit=many", false).starts_with("400 "));
    }

    #[test]
    fn a_flag_is_false_only_when_it_says_so() {
        let options = Options::parse("watch&allowWatchBookmarks=0&dryRun=All").expect("options");
        assert!(options.watch && !options.allow_watch_bookmarks && options.dry_run);
        assert_eq!(Options::parse("dryRun=Some").expect_err("refused").code, 422);
    }
}
