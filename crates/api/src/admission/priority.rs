//! Priority: the class a pod names becomes the number the scheduler compares; there is at most one default class.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Admit, Operation};
use crate::{
    core::{Core, text},
    error::ApiError,
};

const GROUP: &str = "scheduling.k8s.io";

pub(super) struct Priority;

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        if !super::is_pod(admit) {
            return Ok(());
        }
        let (kind, name, old) = (admit.kind, admit.name, admit.old);
        let Some(pod) = admit.object.as_deref_mut() else { return Ok(()) };
        match (admit.operation, old) {
            (Operation::Create, _) => set(core, pod).map_err(|why| ApiError::denied(kind, name, &why)),
            (Operation::Update, Some(old)) => {
                for field in ["priority", "preemptionPolicy"] {
                    let held = &old["spec"][field];
                    if pod["spec"].get(field).is_none_or(Value::is_null) && !held.is_null() {
                        pod["spec"][field] = held.clone();
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn validate(&self, core: &Core, admit: &Admit<'_>) -> Result<(), ApiError> {
        let class = admit.kind.group == GROUP && admit.kind.plural == "priorityclasses";
        let Some(object) = admit.object.as_deref().filter(|object| class && object["globalDefault"] == true) else {
            return Ok(());
        };
        match default_class(core).filter(|other| other["metadata"]["name"] != object["metadata"]["name"]) {
            Some(other) => {
                let other = text(&other, "/metadata/name");
                let why = format!("PriorityClass {other} is already marked as default. Only one default can exist");
                Err(ApiError::denied(admit.kind, admit.name, &why))
            }
            None => Ok(()),
        }
    }
}

fn default_class(core: &Core) -> Option<std::sync::Arc<Value>> {
    let kind = core.kind(GROUP, "priorityclasses")?;
    let classes = core.list_kept(kind, "");
    classes.into_iter().filter(|class| class["globalDefault"] == true).min_by_key(|class| class["value"].as_i64())
}

fn set(core: &Core, pod: &mut Value) -> Result<(), String> {
    let named = text(pod, "/spec/priorityClassName");
    let class = if named.is_empty() {
        default_class(core)
    } else {
        let kind = core.kind(GROUP, "priorityclasses");
        let class = kind.and_then(|kind| core.kept(kind, "", named));
        Some(class.ok_or_else(|| format!("no PriorityClass with name {named} was found"))?)
    };
    let value = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(0);
    let policy = class.as_ref().and_then(|class| class["preemptionPolicy"].as_str()).unwrap_or("PreemptLowerPriority");
    let spec = &mut pod["spec"];
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != value) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; \
             priority admission controller computed {value} from the given PriorityClass name"
        ));
    }
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    if let Some(class) = &class {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
    }
    spec["priority"] = json!(value);
    spec["preemptionPolicy"] = json!(policy);
    Ok(())
}
