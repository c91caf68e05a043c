//! The stages between applying a web application and its first answer, as a watching client sees
//! them happen.

use std::time::Instant;

use anyhow::Context as _;
use serde_json::Value;

use crate::client::{Client, Events};

/// Stages in the order they should happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    ReplicaSet,
    Pod,
    Bound,
    Started,
    Ready,
    Endpoint,
}

impl Stage {
    pub(crate) const ALL: [Self; 6] =
        [Self::ReplicaSet, Self::Pod, Self::Bound, Self::Started, Self::Ready, Self::Endpoint];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ReplicaSet => "replica set created",
            Self::Pod => "pod created",
            Self::Bound => "pod bound to a node",
            Self::Started => "container started",
            Self::Ready => "pod ready",
            Self::Endpoint => "endpoint in its slice",
        }
    }

    /// True when `object` shows that the stage was reached.
    fn seen_in(self, object: &Value) -> bool {
        let any = |pointer: &str, wanted: &dyn Fn(&Value) -> bool| {
            object.pointer(pointer).and_then(Value::as_array).is_some_and(|items| items.iter().any(wanted))
        };
        match self {
            Self::ReplicaSet | Self::Pod => true,
            Self::Bound => object.pointer("/spec/nodeName").is_some(),
            Self::Started => any("/status/containerStatuses", &|status| status.pointer("/state/running").is_some()),
            Self::Ready => {
                any("/status/conditions", &|condition| condition["type"] == "Ready" && condition["status"] == "True")
            }
            Self::Endpoint => any("/endpoints", &|endpoint| endpoint["conditions"]["ready"] == true),
        }
    }
}

/// An open watch on one kind in one namespace, and the stages it shows.
pub(crate) struct Watch {
    events: Events,
    stages: &'static [Stage],
}

impl Watch {
    /// Watches on everything that matters; returns when the server has accepted them.
    pub(crate) fn open(client: &Client, namespace: &str) -> anyhow::Result<Vec<Self>> {
        let kinds: [(&str, &str, &'static [Stage]); 3] = [
            ("apis/apps/v1", "replicasets", &[Stage::ReplicaSet]),
            ("api/v1", "pods", &[Stage::Pod, Stage::Bound, Stage::Started, Stage::Ready]),
            ("apis/discovery.k8s.io/v1", "endpointslices", &[Stage::Endpoint]),
        ];
        let open = |(root, plural, stages): (&str, &str, &'static [Stage])| {
            let events = client.connect()?.watch(&format!("/{root}/namespaces/{namespace}/{plural}"))?;
            Ok(Self { events, stages })
        };
        kinds.into_iter().map(open).collect()
    }

    /// When each stage was first seen; returns when all were.
    pub(crate) fn follow(mut self) -> anyhow::Result<Vec<(Stage, Instant)>> {
        let mut seen: Vec<(Stage, Instant)> = Vec::new();
        while seen.len() < self.stages.len() {
            let object = self.events.next().with_context(|| format!("no more stages than {seen:?}"))?;
            let now = Instant::now();
            for stage in self.stages {
                if seen.iter().all(|(known, _)| known != stage) && stage.seen_in(&object) {
                    seen.push((*stage, now));
                }
            }
        }
        Ok(seen)
    }
}
