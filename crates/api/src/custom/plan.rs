//! What becomes of a definition: which of the names it asks for it gets, and which conditions it has.
//!
//! Invariant: pure; the same definition and the same taken names give the same status, and planning again after writing
//! it yields nothing.

use std::collections::{HashMap, HashSet};

use kinds::structural::{Definition, Names};
use serde_json::{Map, Value, json};

/// Names that definitions have been given, by group.
#[derive(Default)]
pub(crate) struct Taken {
    /// Group to name to the definitions that have it; resources and kinds are apart.
    resources: HashMap<String, HashMap<String, HashSet<String>>>,
    kinds: HashMap<String, HashMap<String, HashSet<String>>>,
    /// What each definition has, so that it can be given back.
    held: HashMap<String, (String, Names)>,
}

fn resources(names: &Names) -> impl Iterator<Item = &String> {
    [&names.plural, &names.singular].into_iter().chain(&names.short_names).filter(|name| !name.is_empty())
}

fn kinds_of(names: &Names) -> impl Iterator<Item = &String> {
    [&names.kind, &names.list_kind].into_iter().filter(|name| !name.is_empty())
}

impl Taken {
    /// Gives a definition these names and no others. True if it gave any back, so that others may ask again.
    pub(crate) fn give(&mut self, definition: &str, group: &str, names: &Names) -> bool {
        if self.held.get(definition).is_some_and(|(_, held)| held == names) {
            return false;
        }
        let freed = self.free(definition).is_some();
        let put = |map: &mut HashMap<String, HashMap<String, HashSet<String>>>, name: &String| {
            let owners = map.entry(group.to_owned()).or_default().entry(name.clone()).or_default();
            owners.insert(definition.to_owned());
        };
        resources(names).for_each(|name| put(&mut self.resources, name));
        kinds_of(names).for_each(|name| put(&mut self.kinds, name));
        self.held.insert(definition.to_owned(), (group.to_owned(), names.clone()));
        freed
    }

    /// Takes all names of a definition; its group if it had any.
    pub(crate) fn free(&mut self, definition: &str) -> Option<String> {
        let (group, names) = self.held.remove(definition)?;
        let take = |map: &mut HashMap<String, HashMap<String, HashSet<String>>>, name: &String| {
            let Some(owners) = map.get_mut(&group) else { return };
            if let Some(held) = owners.get_mut(name) {
                held.remove(definition);
                if held.is_empty() {
                    owners.remove(name);
                }
            }
        };
        resources(&names).for_each(|name| take(&mut self.resources, name));
        kinds_of(&names).for_each(|name| take(&mut self.kinds, name));
        Some(group)
    }

    fn is_free(map: &HashMap<String, HashMap<String, HashSet<String>>>, group: &str, name: &str, asker: &str) -> bool {
        let owners = map.get(group).and_then(|names| names.get(name));
        owners.is_none_or(|owners| owners.iter().all(|owner| owner == asker))
    }
}

/// Why names were refused: reason and message.
type Refusal = (&'static str, String);

/// The names a definition gets: those it asks for, as far as nobody else has them.
fn names(definition: &Definition, taken: &Taken) -> (Names, Option<Refusal>) {
    let (asked, held) = (&definition.spec.names, &definition.status.accepted_names);
    let (name, group) = (definition.metadata.name.as_str(), definition.spec.group.as_str());
    let resource = |text: &str| Taken::is_free(&taken.resources, group, text, name);
    let kind = |text: &str| Taken::is_free(&taken.kinds, group, text, name);
    let mut given = held.clone();
    let mut refusal = None;
    let in_use = |text: &str| format!("\"{text}\" is already in use");
    let one = |asked: &String, held: &mut String, free: bool, reason, refusal: &mut Option<Refusal>| {
        if asked == held || free {
            held.clone_from(asked);
        } else {
            *refusal = Some((reason, in_use(asked)));
        }
    };
    one(&asked.plural, &mut given.plural, resource(&asked.plural), "PluralConflict", &mut refusal);
    one(&asked.singular, &mut given.singular, resource(&asked.singular), "SingularConflict", &mut refusal);
    let clashes: Vec<String> = asked
        .short_names
        .iter()
        .filter(|short| !held.short_names.contains(short) && !resource(short))
        .map(|short| in_use(short))
        .collect();
    if clashes.is_empty() {
        given.short_names.clone_from(&asked.short_names);
    } else {
        let message = if clashes.len() == 1 { clashes[0].clone() } else { format!("[{}]", clashes.join(", ")) };
        refusal = Some(("ShortNamesConflict", message));
    }
    one(&asked.kind, &mut given.kind, kind(&asked.kind), "KindConflict", &mut refusal);
    one(&asked.list_kind, &mut given.list_kind, kind(&asked.list_kind), "ListKindConflict", &mut refusal);
    given.categories.clone_from(&asked.categories);
    (given, refusal)
}

/// The status a definition should have; none if it has it.
pub(crate) fn status(definition: &Definition, object: &Value, taken: &Taken, now: &str) -> Option<Value> {
    let mut status = object.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    let before = status.clone();
    if definition.metadata.deletion_timestamp.is_none() {
        accept(definition, taken, now, &mut status);
    }
    tell(object, now, &mut status);
    (status != before).then_some(Value::Object(status))
}

fn accept(definition: &Definition, taken: &Taken, now: &str, status: &mut Map<String, Value>) {
    let mut accepted = definition.is("NamesAccepted");
    if definition.spec.names != definition.status.accepted_names {
        let (given, refusal) = names(definition, taken);
        accepted = refusal.is_none();
        let condition = match &refusal {
            Some((reason, message)) => ("NamesAccepted", "False", *reason, message.as_str()),
            None => ("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        };
        status.insert("acceptedNames".to_owned(), json!(given));
        kinds::strategy::set_condition(status, condition, now);
    }
    if definition.is("Established") {
        return;
    }
    let condition = match accepted {
        true if !trusts(definition) => {
            ("Established", "False", "InvalidCABundle", "The conversion webhook CABundle is invalid")
        }
        true => ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
        false => ("Established", "False", "NotAccepted", "not all names are accepted"),
    };
    kinds::strategy::set_condition(status, condition, now);
}

/// Whether the authority of the conversion webhook can be used, if there is one.
fn trusts(definition: &Definition) -> bool {
    let conversion = definition.spec.conversion.as_ref();
    let bundle = conversion.and_then(|held| held.pointer("/webhook/clientConfig/caBundle")?.as_str());
    bundle.is_none_or(super::webhook::is_authority)
}

/// Conditions that nobody acts on.
fn tell(object: &Value, now: &str, status: &mut Map<String, Value>) {
    if let Some((state, reason, message)) = kinds::structural::approval(object) {
        let condition = ("KubernetesAPIApprovalPolicyConformant", state, reason, message.as_str());
        kinds::strategy::set_condition(status, condition, now);
    }
    match kinds::structural::non_structural(object) {
        Some((state, reason, message)) => {
            kinds::strategy::set_condition(status, ("NonStructuralSchema", state, reason, message.as_str()), now);
        }
        None => {
            if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
                conditions.retain(|condition| condition["type"] != "NonStructuralSchema");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &[&str]) -> Value {
        let singular = kind.to_lowercase();
        json!({
            "metadata": {"name": format!("{plural}.x.io"), "uid": "1", "generation": 1},
            "spec": {
                "group": "x.io", "scope": "Namespaced",
                "names": {
                    "plural": plural, "singular": singular, "kind": kind, "listKind": format!("{kind}List"),
                    "shortNames": short,
                },
                "versions": [{"name": "v1", "served": true, "storage": true}],
            },
        })
    }

    /// Plans, applies, and plans again until nothing changes; the conditions as text.
    fn settle(object: &mut Value, taken: &mut Taken) -> String {
        for _ in 0..3 {
            let read: Definition = serde_json::from_value(object.clone()).unwrap();
            match status(&read, object, taken, "2024-01-01T00:00:00Z") {
                Some(next) => object["status"] = next,
                None => break,
            }
            let read: Definition = serde_json::from_value(object.clone()).unwrap();
            taken.give(&read.metadata.name, &read.spec.group, &read.status.accepted_names);
            assert_eq!(status(&read, object, taken, "2024-01-01T00:00:09Z"), None, "planning again yields nothing");
        }
        let conditions = object["status"]["conditions"].as_array().unwrap().iter();
        let told = conditions.map(|held| format!("{}={} {}", held["type"], held["status"], held["reason"]));
        told.collect::<Vec<_>>().join(", ").replace('"', "")
    }

    #[test]
    fn a_definition_alone_is_established() {
        let mut object = definition("as", "A", &["a"]);
        let told = settle(&mut object, &mut Taken::default());
        assert_eq!(told, "NamesAccepted=True NoConflicts, Established=True InitialNamesAccepted");
        assert_eq!(object["status"]["acceptedNames"], object["spec"]["names"]);
    }

    #[test]
    fn a_name_that_somebody_has_is_refused_until_it_is_free() {
        let mut taken = Taken::default();
        let (mut first, mut second) = (definition("as", "A", &["x"]), definition("bs", "A", &["x"]));
        settle(&mut first, &mut taken);
        let told = settle(&mut second, &mut taken);
        assert_eq!(told, "NamesAccepted=False ListKindConflict, Established=False NotAccepted");
        assert_eq!(second["status"]["acceptedNames"]["plural"], "bs");
        assert_eq!(second["status"]["acceptedNames"]["kind"], "");
        assert_eq!(taken.free("as.x.io").as_deref(), Some("x.io"));
        let told = settle(&mut second, &mut taken);
        assert_eq!(told, "NamesAccepted=True NoConflicts, Established=True InitialNamesAccepted");
    }

    #[test]
    fn a_protected_group_is_told_what_its_approval_is_worth() {
        let mut object = definition("as", "A", &[]);
        object["spec"]["group"] = json!("x.k8s.io");
        object["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "unapproved, a test"});
        let told = settle(&mut object, &mut Taken::default());
        assert!(told.ends_with("KubernetesAPIApprovalPolicyConformant=False UnapprovedAnnotation"), "{told}");
    }
}
