//! Rates out of two looks at the same thing (as upstream's metrics-server keeps them).
//!
//! Invariant: a rate is over what was counted between two readings of one run: what was restarted in between, or has been
//! read only once, has none, and a pod has one only if all its containers have.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::page::{Page, Pod, Point};

/// An average over more says nothing of now.
pub(crate) const LONGEST: SignedDuration = SignedDuration::from_secs(120);
/// What started this long ago, and has not been read before, is judged by its whole life.
const FRESH: SignedDuration = SignedDuration::from_secs(10);

/// A reading, with the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Track {
    last: Point,
    before: Option<Point>,
}

/// What is used over a window that ended at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) at: Timestamp,
    pub(crate) window: SignedDuration,
    /// Billionths of a core.
    pub(crate) cpu: u64,
    /// Bytes.
    pub(crate) memory: u64,
}

/// The last readings of everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    nodes: BTreeMap<String, Track>,
    pods: BTreeMap<Pod, BTreeMap<String, Track>>,
}

impl Track {
    fn next(known: Option<&Self>, point: Point) -> Self {
        let restarted = |before: &Point| point.started.is_some_and(|started| started >= before.at);
        let before = match known {
            Some(known) if restarted(&known.last) => None,
            // a kubelet may tell an old reading again
            Some(known) if known.last.at >= point.at => known.before.filter(|before| before.at < point.at),
            Some(known) => Some(known.last),
            None => None,
        };
        let born = point.started.filter(|started| {
            let age = point.at.duration_since(*started);
            (FRESH..LONGEST).contains(&age)
        });
        let whole_life = || born.map(|started| Point { at: started, started: Some(started), cpu: 0, memory: 0 });
        Self { last: point, before: before.or_else(whole_life) }
    }

    fn used(&self) -> Option<Use> {
        let before = self.before?;
        let window = self.last.at.duration_since(before.at);
        if window <= SignedDuration::ZERO || window > LONGEST {
            return None;
        }
        let spent = u128::from(self.last.cpu.checked_sub(before.cpu)?);
        let cpu = spent * 1_000_000_000 / u128::try_from(window.as_nanos()).ok()?;
        Some(Use { at: self.last.at, window, cpu: u64::try_from(cpu).ok()?, memory: self.last.memory })
    }
}

impl Book {
    /// The book after another look at all nodes; what was not seen is forgotten.
    pub(crate) fn after(&self, pages: Vec<(String, Page)>) -> Self {
        let mut next = Self::default();
        for (node, page) in pages {
            if let Some(point) = page.node {
                next.nodes.insert(node.clone(), Track::next(self.nodes.get(&node), point));
            }
            for (pod, containers) in page.pods {
                let known = self.pods.get(&pod);
                let tracks = containers.into_iter().map(|(name, point)| {
                    let track = Track::next(known.and_then(|known| known.get(&name)), point);
                    (name, track)
                });
                let tracks: BTreeMap<String, Track> = tracks.collect();
                next.pods.insert(pod, tracks);
            }
        }
        next
    }

    pub(crate) fn node(&self, name: &str) -> Option<Use> {
        self.nodes.get(name)?.used()
    }

    /// What each container of the pod uses.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Vec<(&str, Use)>> {
        let containers = self.pods.get(&(namespace.to_owned(), name.to_owned()))?;
        containers.iter().map(|(name, track)| Some((name.as_str(), track.used()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        START + SignedDuration::from_secs(seconds)
    }

    fn point(second: i64, started: i64, cpu_millis: u64) -> Point {
        Point { at: at(second), started: Some(at(started)), cpu: cpu_millis * 1_000_000, memory: 4096 }
    }

    fn look(containers: &[(&str, Point)]) -> Vec<(String, Page)> {
        let containers: BTreeMap<String, Point> =
            containers.iter().map(|(name, point)| ((*name).to_owned(), *point)).collect();
        let pod = (!containers.is_empty()).then(|| (("ns".to_owned(), "p".to_owned()), containers));
        let pods = pod.into_iter().collect();
        vec![("n".to_owned(), Page { node: None, pods })]
    }

    /// Millicores and seconds of the window of each container after these looks; none if the pod has no figures.
    fn check(looks: &[&[(&str, Point)]], expected: Option<&[(u64, i64)]>) {
        let mut book = Book::default();
        for containers in looks {
            book = book.after(look(containers));
        }
        let used = book.pod("ns", "p");
        let used = used.map(|all| all.iter().map(|(_, one)| (one.cpu / 1_000_000, one.window.as_secs())).collect());
        let expected: Option<Vec<(u64, i64)>> = expected.map(<[(u64, i64)]>::to_vec);
        assert_eq!(used, expected);
    }

    #[test]
    fn a_rate_needs_two_readings_of_one_run() {
        check(&[&[("a", point(1000, 0, 500))]], None);
        check(&[&[("a", point(1000, 0, 500))], &[("a", point(1010, 0, 5500))]], Some(&[(500, 10)]));
        check(&[&[("a", point(1000, 0, 500))], &[("a", point(1010, 1005, 700))]], None);
        check(&[&[("a", point(1000, 0, 500))], &[("a", point(1200, 0, 600))]], None);
    }

    #[test]
    fn a_reading_told_twice_changes_nothing() {
        let (first, second) = (point(1000, 0, 500), point(1010, 0, 1500));
        check(&[&[("a", first)], &[("a", second)], &[("a", second)]], Some(&[(100, 10)]));
    }

    #[test]
    fn what_has_just_started_is_judged_by_its_life() {
        check(&[&[("a", point(9, 0, 900))]], None);
        check(&[&[("a", point(12, 0, 600))]], Some(&[(50, 12)]));
        check(&[&[("a", point(1000, 0, 0))], &[("a", point(1020, 1005, 1500))]], Some(&[(100, 15)]));
    }

    #[test]
    fn a_pod_has_figures_when_all_its_containers_have() {
        let (a, b) = (point(1000, 0, 0), point(1010, 0, 1000));
        check(&[&[("a", a)], &[("a", b), ("b", point(1010, 1008, 0))]], None);
        check(&[&[("a", a), ("b", a)], &[("a", b), ("b", b)]], Some(&[(100, 10), (100, 10)]));
        check(&[&[("a", a)], &[]], None);
    }

    proptest! {
        #[test]
        fn a_rate_is_never_more_than_what_was_counted(
            steps in prop::collection::vec((-5_i64..50, 0_u64..5_000, prop::bool::weighted(0.2)), 1..10),
        ) {
            let (mut book, mut second, mut cpu, mut started) = (Book::default(), 1000, 0, 0);
            for (passed, spent, restarts) in steps {
                second += passed;
                if restarts {
                    (cpu, started) = (0, second);
                }
                cpu += spent;
                book = book.after(look(&[("a", point(second, started, cpu))]));
                for (_, used) in book.pod("ns", "p").unwrap_or_default() {
                    prop_assert!(used.window > SignedDuration::ZERO && used.window <= LONGEST);
                    let counted = u128::from(used.cpu) * u128::try_from(used.window.as_nanos()).unwrap() / 1_000_000_000;
                    prop_assert!(counted <= u128::from(cpu) * 1_000_000);
                }
            }
        }
    }
}
