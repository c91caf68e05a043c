//! Which policy is in force for what, whatever the kind of policy (GEP-713, GEP-2648: direct
//! attachment by `targetRefs` to objects of the policy's own namespace).
//!
//! Of policies of one kind for one target (section included) the oldest is in force, then the one
//! first by name; the others are told so ([`Verdict::Conflicted`]). For a request there is a chain
//! of subjects, the most specific first: the rule of a route, the route, the listener, the
//! Gateway. [`Index::along`] gives what is in force along it in that order. Pure, no clock.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use base::Key;
use jiff::Timestamp;

/// What a policy names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Group of the kind; empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name of an object in the policy's namespace.
    pub name: String,
    /// A listener, a rule of a route, or a port of a service; the whole object when none.
    pub section: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)?;
        self.section.as_ref().map_or(Ok(()), |section| write!(f, " ({section})"))
    }
}

/// A policy with what decides about it.
#[derive(Clone, Debug)]
pub struct Candidate<P> {
    /// Its name.
    pub key: Key,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What it names.
    pub targets: Vec<Target>,
    /// The policy; none when it contradicts itself and so is never in force.
    pub policy: Option<Arc<P>>,
}

/// What became of a policy at one of its targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in force.
    Accepted,
    /// Another one is in force there: the older, named here.
    Conflicted(Key),
    /// There is no such object, or no such section of it.
    TargetNotFound,
    /// It contradicts itself.
    Invalid,
}

impl Verdict {
    /// The reason of the condition `Accepted`, as GEP-713 names it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Conflicted(_) => "Conflicted",
            Self::TargetNotFound => "TargetNotFound",
            Self::Invalid => "Invalid",
        }
    }
}

/// Something a policy may be in force for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Kind: those named here are of one group each.
    pub kind: &'a str,
    /// Its name.
    pub key: &'a Key,
    /// A section of it.
    pub section: Option<&'a str>,
}

/// Kind, namespace, name, section.
type Place = (String, Key, Option<String>);

/// All policies of one kind.
#[derive(Debug)]
pub struct Index<P> {
    in_force: BTreeMap<Place, (Key, Arc<P>)>,
    verdicts: BTreeMap<Key, Vec<(Target, Verdict)>>,
}

impl<P> Default for Index<P> {
    fn default() -> Self {
        Self { in_force: BTreeMap::new(), verdicts: BTreeMap::new() }
    }
}

impl<P> Index<P> {
    /// Decides about all of them. `exists` tells whether a target in a namespace is there.
    #[must_use]
    pub fn new(mut candidates: Vec<Candidate<P>>, exists: impl Fn(&str, &Target) -> bool) -> Self {
        candidates.sort_by(|one, other| {
            let age = |of: &Candidate<P>| (of.created.is_none(), of.created);
            (age(one), &one.key).cmp(&(age(other), &other.key))
        });
        let mut index = Self::default();
        for candidate in candidates {
            let mut verdicts: Vec<(Target, Verdict)> = Vec::new();
            for target in candidate.targets {
                if verdicts.iter().any(|(known, _)| *known == target) {
                    continue; // named twice
                }
                let verdict = match &candidate.policy {
                    _ if !exists(&candidate.key.namespace, &target) => Verdict::TargetNotFound,
                    None => Verdict::Invalid,
                    Some(policy) => index.claim(&candidate.key, &target, policy),
                };
                verdicts.push((target, verdict));
            }
            index.verdicts.insert(candidate.key, verdicts);
        }
        index
    }

    fn claim(&mut self, key: &Key, target: &Target, policy: &Arc<P>) -> Verdict {
        let object = Key::new(&key.namespace, &target.name);
        match self.in_force.entry((target.kind.clone(), object, target.section.clone())) {
            Entry::Vacant(free) => {
                free.insert((key.clone(), Arc::clone(policy)));
                Verdict::Accepted
            }
            Entry::Occupied(taken) => Verdict::Conflicted(taken.get().0.clone()),
        }
    }

    /// What is in force for exactly `subject`.
    #[must_use]
    pub fn at(&self, subject: Subject<'_>) -> Option<(&Key, &Arc<P>)> {
        let place = (subject.kind.to_owned(), subject.key.clone(), subject.section.map(str::to_owned));
        self.in_force.get(&place).map(|(key, policy)| (key, policy))
    }

    /// What is in force along `chain`, the most specific first; a section comes before its object.
    pub fn along<'a>(&'a self, chain: &'a [Subject<'a>]) -> impl Iterator<Item = (&'a Key, &'a Arc<P>)> {
        chain.iter().flat_map(|subject| {
            let whole = Subject { section: None, ..*subject };
            let section = subject.section.is_some().then(|| self.at(*subject)).flatten();
            section.into_iter().chain(self.at(whole))
        })
    }

    /// What is in force for whole objects of a kind.
    pub fn in_force<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a Key, &'a Arc<P>)> {
        let whole = self.in_force.iter().filter(move |((known, _, section), _)| known == kind && section.is_none());
        whole.map(|((_, object, _), (_, policy))| (object, policy))
    }

    /// What became of each policy at each of its targets.
    #[must_use]
    pub fn verdicts(&self) -> &BTreeMap<Key, Vec<(Target, Verdict)>> {
        &self.verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(kind: &str, name: &str, section: &str) -> Target {
        let section = Some(section.to_owned()).filter(|section| !section.is_empty());
        Target { group: String::new(), kind: kind.to_owned(), name: name.to_owned(), section }
    }

    fn candidate(name: &str, second: i64, targets: &[Target]) -> Candidate<String> {
        Candidate {
            key: Key::new("shop", name),
            created: Timestamp::from_second(second).ok(),
            targets: targets.to_vec(),
            policy: Some(Arc::new(name.to_owned())),
        }
    }

    fn along(index: &Index<String>, chain: &[(&str, &str, &str)]) -> Vec<String> {
        let keys: Vec<Key> = chain.iter().map(|(_, name, _)| Key::new("shop", *name)).collect();
        let subjects: Vec<Subject<'_>> = chain
            .iter()
            .zip(&keys)
            .map(|((kind, _, section), key)| Subject {
                kind,
                key,
                section: Some(*section).filter(|section| !section.is_empty()),
            })
            .collect();
        index.along(&subjects).map(|(_, policy)| policy.to_string()).collect()
    }

    #[test]
    fn the_most_specific_comes_first_and_of_equals_the_oldest_is_in_force() {
        let gateway = target("Gateway", "door", "");
        let route = target("HTTPRoute", "web", "");
        let mut broken = candidate("broken", 1, std::slice::from_ref(&route));
        broken.policy = None;
        let index = Index::new(
            vec![
                candidate("young", 20, &[route.clone(), target("HTTPRoute", "gone", "")]),
                candidate("old", 10, &[route.clone(), route.clone()]),
                candidate("everywhere", 30, std::slice::from_ref(&gateway)),
                candidate("https", 40, &[target("Gateway", "door", "https")]),
                candidate("same-age-b", 50, &[target("Service", "a", "")]),
                candidate("same-age-a", 50, &[target("Service", "a", "")]),
                broken,
            ],
            |namespace, target| namespace == "shop" && target.name != "gone",
        );
        assert_eq!(
            along(&index, &[("HTTPRoute", "web", "rule-0"), ("Gateway", "door", "https")]),
            ["old", "https", "everywhere"]
        );
        assert_eq!(along(&index, &[("HTTPRoute", "other", ""), ("Gateway", "door", "http")]), ["everywhere"]);
        assert_eq!(along(&index, &[("Service", "a", "")]), ["same-age-a"]);
        let verdicts = |name: &str| -> Vec<Verdict> {
            index.verdicts()[&Key::new("shop", name)].iter().map(|(_, verdict)| verdict.clone()).collect()
        };
        assert_eq!(verdicts("young"), [Verdict::Conflicted(Key::new("shop", "old")), Verdict::TargetNotFound]);
        assert_eq!(verdicts("old"), [Verdict::Accepted]);
        assert_eq!(verdicts("broken"), [Verdict::Invalid]);
    }

    proptest! {
        #[test]
        fn every_target_that_is_there_has_one_policy_in_force_and_the_order_of_reading_does_not_matter(
            policies in proptest::collection::vec((0..20_i64, proptest::collection::vec(0..4_u8, 1..3)), 1..12), turn in 0..12_usize,
        ) {
            let mut candidates: Vec<Candidate<String>> = policies.iter().enumerate().map(|(number, (second, targets))| {
                let targets: Vec<Target> = targets.iter().map(|name| target("Service", &name.to_string(), "")).collect();
                candidate(&format!("p{number}"), *second, &targets)
            }).collect();
            let index = Index::new(candidates.clone(), |_, _| true);
            let turn = turn % candidates.len();
            candidates.rotate_left(turn);
            let again = Index::new(candidates, |_, _| true);
            prop_assert_eq!(index.verdicts(), again.verdicts());
            let accepted = index.verdicts().values().flatten().filter(|(_, verdict)| *verdict == Verdict::Accepted).count();
            prop_assert_eq!(accepted, index.in_force.len());
            for (number, (second, targets)) in policies.iter().enumerate() {
                for name in targets {
                    let key = Key::new("shop", name.to_string());
                    let (winner, _) = index.at(Subject { kind: "Service", key: &key, section: None }).expect("somebody");
                    let winner: usize = winner.name[1..].parse().expect("a number");
                    let (first, this) = ((policies[winner].0, format!("p{winner}")), (*second, format!("p{number}")));
                    prop_assert!(first <= this);
                }
            }
        }
    }
}
