//! ControllerRevisions: what the template of a StatefulSet or a DaemonSet was, so that it can be so again.
//!
//! Invariant: the data of a revision never changes; a template that comes back gives its revision a new, highest number.
//! Revisions are equal when their templates mean the same; the hash names a revision but never decides equality.
//! The data is a strategic merge patch that replaces the template, which is what `kubectl rollout history` shows and
//! `kubectl rollout undo` sends.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::claim;
use super::template::strip;

/// A longer name of the owner is cut, so that the name with its hash fits.
const LONGEST_PREFIX: usize = 223;
const DIRECTIVE: &str = "$patch";

/// What gives an owner the revision of its template as the latest one.
#[derive(Debug)]
pub enum Step {
    /// It is the latest already.
    Keep(Arc<ControllerRevision>),
    /// There is one, which gets this number.
    Renumber(Arc<ControllerRevision>, i64),
    /// There is none yet.
    Create(Box<ControllerRevision>),
}

/// The revisions of one owner, sorted against its template.
#[derive(Debug)]
pub struct Choice {
    pub step: Step,
    /// Others of the same template, older than the one chosen.
    pub duplicates: Vec<Arc<ControllerRevision>>,
    /// Those of other templates, oldest first.
    pub old: Vec<Arc<ControllerRevision>>,
}

/// What a new revision is made of.
#[derive(Debug)]
pub struct Source<'a, O> {
    pub owner: &'a O,
    pub template: &'a PodTemplateSpec,
    /// How often a name was taken; makes another one.
    pub collisions: i32,
    /// The label that carries the hash.
    pub label: &'static str,
}

impl<O: Resource<DynamicType = ()>> Source<'_, O> {
    /// Finds the revision of the template among those of its owner, or makes it.
    pub fn choose(&self, mut revisions: Vec<Arc<ControllerRevision>>) -> Choice {
        sort(&mut revisions);
        let data = data(self.template);
        let (mut equal, old): (Vec<_>, Vec<_>) =
            revisions.into_iter().partition(|one| one.data.as_ref().is_some_and(|known| same(&known.0, &data)));
        let highest = old.last().map_or(0, |one| one.revision);
        let step = match equal.pop() {
            Some(known) if known.revision > highest => Step::Keep(known),
            Some(known) => Step::Renumber(known, highest + 1),
            None => Step::Create(Box::new(self.make(data, highest + 1))),
        };
        Choice { step, duplicates: equal, old }
    }

    fn make(&self, data: Value, number: i64) -> ControllerRevision {
        let hash = hash(&data, self.collisions);
        let owner = self.owner.name_any();
        let prefix = &owner[..owner.len().min(LONGEST_PREFIX)];
        let metadata = self.template.metadata.as_ref();
        let mut labels = metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
        labels.insert(self.label.to_owned(), hash.clone());
        ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{prefix}-{hash}")),
                namespace: self.owner.namespace(),
                labels: Some(labels),
                annotations: self.owner.meta().annotations.clone(),
                owner_references: Some(vec![claim::reference(self.owner)]),
                ..ObjectMeta::default()
            },
            data: Some(RawExtension(data)),
            revision: number,
        }
    }
}

/// Oldest first.
pub fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    let created = |one: &ControllerRevision| one.metadata.creation_timestamp.as_ref().map(|time| time.0);
    revisions.sort_by(|a, b| {
        let age = || created(a).cmp(&created(b));
        a.revision.cmp(&b.revision).then_with(age).then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
}

/// The patch that brings the template back.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    template[DIRECTIVE] = json!("replace");
    json!({ "spec": { "template": template } })
}

/// The template that a revision holds.
pub fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.as_ref()?.0.pointer("/spec/template")?;
    serde_json::from_value(template.clone()).ok()
}

/// Whether two revisions hold the same template.
pub fn is_same(a: &ControllerRevision, b: &ControllerRevision) -> bool {
    let (Some(a), Some(b)) = (&a.data, &b.data) else { return false };
    same(&a.0, &b.0)
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || canonical(a) == canonical(b)
}

fn canonical(data: &Value) -> Value {
    let mut data = data.clone();
    strip(&mut data);
    data
}

fn hash(data: &Value, collisions: i32) -> String {
    let template = canonical(data);
    base::names::template_hash(&match collisions {
        0 => template,
        count => json!({ "template": template, "collisions": count }),
    })
}

/// Of `revisions`, oldest first, the oldest `count` that nothing uses.
pub fn oldest_unused(
    revisions: &[Arc<ControllerRevision>],
    count: usize,
    used: impl Fn(&ControllerRevision) -> bool,
) -> Vec<Arc<ControllerRevision>> {
    revisions.iter().filter(|one| !used(one)).take(count).cloned().collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::StatefulSet;

    use super::*;

    fn template(image: &str) -> PodTemplateSpec {
        let containers = json!([{ "name": "c", "image": image }]);
        let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": containers } });
        serde_json::from_value(template).expect("a template")
    }

    fn owner(name: &str) -> StatefulSet {
        let annotations = json!({ "kubernetes.io/change-cause": "because" });
        let metadata = json!({ "name": name, "namespace": "shop", "uid": "u", "annotations": annotations });
        serde_json::from_value(json!({ "metadata": metadata, "spec": {
            "selector": {}, "template": template("v1") } }))
        .expect("a set")
    }

    fn choose(image: &str, collisions: i32, revisions: &[(&str, i64)]) -> Choice {
        let owner = owner("web");
        let made = revisions.iter().map(|(image, number)| {
            let template = template(image);
            let source = Source { owner: &owner, template: &template, collisions: 0, label: "hash" };
            let mut revision = source.make(data(&template), *number);
            revision.metadata.name = Some(format!("web-{number}"));
            Arc::new(revision)
        });
        Source { owner: &owner, template: &template(image), collisions, label: "hash" }.choose(made.collect())
    }

    fn check(image: &str, revisions: &[(&str, i64)], expected: &str) {
        let Choice { step, duplicates, old } = choose(image, 0, revisions);
        let step = match step {
            Step::Keep(one) => format!("keep {}", one.name_any()),
            Step::Renumber(one, number) => format!("{} becomes {number}", one.name_any()),
            Step::Create(one) => format!("create {}", one.revision),
        };
        let names =
            |list: &[Arc<ControllerRevision>]| list.iter().map(|one| one.name_any()).collect::<Vec<_>>().join(" ");
        assert_eq!(format!("{step}, duplicates [{}], old [{}]", names(&duplicates), names(&old)), expected);
    }

    #[test]
    fn a_template_has_the_highest_number_among_its_revisions() {
        check("v1", &[], "create 1, duplicates [], old []");
        check("v2", &[("v1", 1)], "create 2, duplicates [], old [web-1]");
        check("v2", &[("v2", 2), ("v1", 1)], "keep web-2, duplicates [], old [web-1]");
        check("v1", &[("v1", 1), ("v2", 2)], "web-1 becomes 3, duplicates [], old [web-2]");
        check("v1", &[("v1", 1), ("v2", 2), ("v1", 3)], "keep web-3, duplicates [web-1], old [web-2]");
    }

    #[test]
    fn a_revision_says_how_to_come_back() {
        let Step::Create(revision) = choose("v1", 0, &[]).step else { panic!("nothing to keep") };
        assert_eq!(template("v1"), super::template(&revision).expect("a template"));
        let data = revision.data.clone().expect("data").0;
        assert_eq!(data["spec"]["template"]["$patch"], json!("replace"));
        assert_eq!(revision.metadata.annotations.as_ref().map(|all| all.len()), Some(1));
        let labels = revision.labels();
        assert_eq!((labels["app"].as_str(), format!("web-{}", labels["hash"])), ("web", revision.name_any()));
    }

    #[test]
    fn a_revision_that_others_wrote_is_known_by_what_it_means() {
        let mut foreign = data(&template("v1"));
        foreign["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
        foreign["spec"]["template"]["spec"]["securityContext"] = json!({});
        assert!(same(&foreign, &data(&template("v1"))));
        assert!(!same(&foreign, &data(&template("v2"))));
    }

    #[test]
    fn a_collision_makes_another_name_and_a_long_name_is_cut() {
        let name = |collisions| match choose("v1", collisions, &[]).step {
            Step::Create(revision) => revision.name_any(),
            other => panic!("{other:?}"),
        };
        assert_ne!(name(0), name(1));
        let (owner, template) = (owner(&"a".repeat(253)), template("v1"));
        let source = Source { owner: &owner, template: &template, collisions: 0, label: "hash" };
        assert!(source.make(data(&template), 1).name_any().len() <= 253);
    }

    #[test]
    fn the_oldest_go_first_and_what_is_used_stays() {
        let old = choose("v9", 0, &[("v1", 1), ("v2", 2), ("v3", 3)]).old;
        let gone = oldest_unused(&old, 1, |one| one.revision == 1);
        assert_eq!(gone.iter().map(|one| one.revision).collect::<Vec<_>>(), [2]);
    }
}
