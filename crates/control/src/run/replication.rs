//! The ReplicationController's controller: the ReplicaSet controller, over the older kind.

use std::borrow::Cow;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::ReplicationController;

use super::replicaset::{self, Keeper};
use crate::plan::labels::Labels;
use crate::plan::replication as plan;
use crate::{Launch, Shared};

impl Keeper for ReplicationController {
    const NAME: &'static str = "replication-controller";

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        Cow::Owned(plan::as_set(self))
    }

    fn selects(&self, pod: &Labels) -> bool {
        plan::selects(self, pod)
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Option<Self> {
        plan::with_status(self, status)
    }
}

pub(crate) fn start(shared: &Shared) -> Launch {
    replicaset::start_as::<ReplicationController>(shared)
}
