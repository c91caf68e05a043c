//! How long nodes may believe what they know of Secrets and ConfigMaps: longer, the more nodes there are that ask.
//!
//! Invariant: bounds overlap, so that a cluster between two sizes does not write to all its nodes at each change.
//! Upstream: `pkg/controller/ttl`.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

pub const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Seconds for clusters of at least and at most so many nodes.
const STEPS: &[(usize, usize, u32)] =
    &[(0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, usize::MAX, 300)];

/// Where in the table a cluster is; it goes from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step(usize);

impl Step {
    /// The step of a cluster that was at this one and has so many nodes now.
    #[must_use]
    pub fn at(self, nodes: usize) -> Self {
        let mut step = self.0;
        while nodes > STEPS[step].1 {
            step += 1;
        }
        while nodes < STEPS[step].0 {
            step -= 1;
        }
        Self(step)
    }

    /// Seconds for which nodes may believe what they know.
    pub fn seconds(self) -> u32 {
        STEPS[self.0].2
    }
}

/// The seconds to write on a node, if it says something else.
pub fn plan(node: &Node, step: Step) -> Option<u32> {
    let said = node.annotations().get(ANNOTATION).and_then(|text| text.parse::<u32>().ok());
    (said != Some(step.seconds())).then(|| step.seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_grows_with_the_cluster_and_bounds_overlap() {
        let seconds = |sizes: &[usize]| -> Vec<u32> {
            let mut step = Step::default();
            let mut told = Vec::new();
            for size in sizes {
                step = step.at(*size);
                told.push(step.seconds());
            }
            told
        };
        assert_eq!(seconds(&[1, 100, 101, 90, 89]), [0, 0, 15, 15, 0]);
        assert_eq!(seconds(&[500, 501, 450, 449]), [15, 30, 30, 15]);
        assert_eq!(seconds(&[1001, 2001, 1800, 1799, 0]), [60, 300, 300, 60, 0]);
        assert_eq!(seconds(&[5000]), [300], "many at once");
    }

    #[test]
    fn a_node_is_told_once() {
        let mut node = Node::default();
        for (said, expected) in [(None, Some(0)), (Some("0"), None), (Some("15"), Some(0)), (Some("soon"), Some(0))] {
            node.metadata.annotations = said.map(|said| [(ANNOTATION.to_owned(), said.to_owned())].into());
            assert_eq!(plan(&node, Step::default()), expected, "{said:?}");
            if let Some(seconds) = expected {
                node.annotations_mut().insert(ANNOTATION.into(), seconds.to_string());
                assert_eq!(plan(&node, Step::default()), None);
            }
        }
    }
}
