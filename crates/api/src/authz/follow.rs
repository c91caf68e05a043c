//! Keeps what authorization reads equal to the store: the compiled policy, the node graph, the aggregated roles.
//!
//! Loaded whole before the first request, then followed through the store's watch; a watch that fell behind loads whole
//! again. The policy is at most one watch delivery behind a committed write (upstream's informers are too). Aggregation
//! lives here and not among the controllers, because the roles `admin`, `edit` and `view` must work while nothing but the
//! API server runs.

use std::sync::Arc;

use serde_json::Value;
use store::{Event, Range, RangeError, Revision, Store, Watch, WatchError};

use super::{
    node::graph::Graph,
    rbac::{Part, Policy, Rbac},
};
use crate::core::{Core, parse};

const GROUP: &str = "rbac.authorization.k8s.io";
const PODS: &str = "/core/pods/";
const TOPICS: [(&str, Part); 4] = [
    ("/rbac.authorization.k8s.io/clusterroles/", Part::Role),
    ("/rbac.authorization.k8s.io/clusterrolebindings/", Part::Binding),
    ("/rbac.authorization.k8s.io/roles/", Part::Role),
    ("/rbac.authorization.k8s.io/rolebindings/", Part::Binding),
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the objects that authorization depends on")]
    Range(#[from] RangeError),
    #[error("cannot follow the objects that authorization depends on")]
    Watch(#[from] WatchError),
}

/// Where each topic was read, so that following starts just after.
pub(crate) struct Position {
    policy: [Revision; 4],
    pods: Revision,
}

/// Reads everything there is.
pub(crate) fn load(store: &dyn Store, rbac: &Rbac, graph: &Graph) -> Result<Position, Error> {
    let all = |prefix| store.range(Range { prefix, after: None, limit: 0, at: None });
    let mut policy = Policy::default();
    let mut position = Position { policy: [0; 4], pods: 0 };
    for (index, (prefix, part)) in TOPICS.iter().enumerate() {
        let page = all(prefix)?;
        position.policy[index] = page.revision;
        for record in &page.records {
            let (namespace, name) = place(&record.key, prefix);
            policy.put(*part, namespace, name, &parse(record));
        }
    }
    rbac.replace(policy);
    let page = all(PODS)?;
    position.pods = page.revision;
    graph.clear();
    for record in &page.records {
        graph.put(&record.key, &record.value);
    }
    Ok(position)
}

/// Follows the store from `position` until the service stops.
pub(crate) async fn run(
    core: Arc<Core>,
    rbac: Arc<Rbac>,
    graph: Arc<Graph>,
    mut position: Position,
) -> Result<(), Error> {
    loop {
        match follow(&core, &rbac, &graph, &position).await {
            Err(Error::Watch(WatchError::Closed)) => return Ok(()),
            Err(Error::Watch(WatchError::Compacted { .. })) => position = load(core.store.as_ref(), &rbac, &graph)?,
            other => return other,
        }
    }
}

async fn follow(core: &Core, rbac: &Rbac, graph: &Graph, position: &Position) -> Result<(), Error> {
    let watch = |index: usize| core.store.watch(TOPICS[index].0, position.policy[index]);
    let (mut cluster_roles, mut cluster_bindings, mut roles, mut bindings) =
        (watch(0)?, watch(1)?, watch(2)?, watch(3)?);
    let mut pods = core.store.watch(PODS, position.pods)?;
    aggregate(core).await;
    loop {
        let index = tokio::select! {
            events = next(&mut cluster_roles) => apply(rbac, 0, &events?),
            events = next(&mut cluster_bindings) => apply(rbac, 1, &events?),
            events = next(&mut roles) => apply(rbac, 2, &events?),
            events = next(&mut bindings) => apply(rbac, 3, &events?),
            events = next(&mut pods) => {
                for event in events? {
                    match &*event {
                        Event::Put { record, .. } => graph.put(&record.key, &record.value),
                        Event::Delete { record, .. } => graph.remove(&record.key),
                    }
                }
                continue;
            }
        };
        if index == 0 {
            aggregate(core).await;
        }
    }
}

async fn next(watch: &mut Watch) -> Result<Vec<Arc<Event>>, WatchError> {
    watch.next().await
}

fn apply(rbac: &Rbac, index: usize, events: &[Arc<Event>]) -> usize {
    let (prefix, part) = TOPICS[index];
    let mut policy = Policy::clone(&rbac.policy());
    for event in events {
        match &**event {
            Event::Put { record, .. } => {
                let (namespace, name) = place(&record.key, prefix);
                policy.put(part, namespace, name, &parse(record));
            }
            Event::Delete { record, .. } => {
                let (namespace, name) = place(&record.key, prefix);
                policy.remove(part, namespace, name);
            }
        }
    }
    rbac.replace(policy);
    index
}

fn place<'a>(key: &'a str, prefix: &str) -> (&'a str, &'a str) {
    let rest = key.strip_prefix(prefix).unwrap_or(key);
    rest.split_once('/').unwrap_or(("", rest))
}

/// Gives aggregated roles the rules of their parts. A lost race is not retried: the winner's write is the next event.
async fn aggregate(core: &Core) {
    let Some(kind) = core.kind(GROUP, "clusterroles") else { return };
    let roles: Vec<Value> = core.list(kind, "").iter().map(|role| Value::clone(role)).collect();
    for (index, rules) in crate::policy::aggregate(&roles) {
        let mut role = roles[index].clone();
        role["rules"] = rules;
        if let Err(error) = core.replace(kind, role).await
            && !error.is("Conflict")
            && !error.is("NotFound")
        {
            tracing::warn!(%error, role = %roles[index]["metadata"]["name"], "cannot aggregate a cluster role");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use crate::{
        access,
        attributes::Attributes,
        bootstrap,
        core::Core,
        identity::User,
        testing::{self, put},
    };

    async fn until(core: &Core, ask: &Attributes, allowed: bool) {
        let wait = async {
            while core.access.authorizer.authorize(ask).is_allowed() != allowed {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the policy never followed the store");
    }

    #[tokio::test]
    async fn what_is_granted_in_the_store_counts_at_once_and_flows_into_the_roles_that_gather_it() {
        let core = std::sync::Arc::new(testing::core());
        bootstrap::apply(&core).await.unwrap();
        let position = core.access.load(core.store.as_ref()).unwrap();
        let ann = User::component("ann", &[]);
        let pods = Attributes::resource(&ann, "list", "", "pods", "ns", "");
        let things = Attributes::resource(&ann, "list", "example.com", "things", "ns", "");
        let scenario = async {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": "viewers", "namespace": "ns"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}],
            });
            assert!(!core.access.authorizer.authorize(&pods).is_allowed());
            put(&core, binding).await;
            until(&core, &pods, true).await;
            let part = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": "things", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
                "rules": [{"verbs": ["list"], "apiGroups": ["example.com"], "resources": ["things"]}],
            });
            put(&core, part).await;
            until(&core, &things, true).await;
            let key = "/rbac.authorization.k8s.io/rolebindings/ns/viewers".to_owned();
            let gone = store::Write::Delete { key, expect: store::Expect::Any, last: "{}".into() };
            core.store.commit(vec![gone]).await.unwrap();
            until(&core, &pods, false).await;
        };
        tokio::select! {
            ended = access::follow(std::sync::Arc::clone(&core), position) => panic!("the follower ended: {ended:?}"),
            () = scenario => {}
        }
    }
}
