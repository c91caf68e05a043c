//! Joins the node agent to the pod network: the two layers do not know each other.

use std::net::IpAddr;
use std::path::Path;

use async_trait::async_trait;
use node::{Network, PodRef};

/// The pod network as the node agent sees it.
pub(crate) struct PodNetwork(pub(crate) net::Pods);

#[async_trait]
impl Network for PodNetwork {
    async fn attach(&self, pod: &PodRef, netns: &Path) -> anyhow::Result<Vec<IpAddr>> {
        Ok(vec![self.0.attach(&pod.uid, netns).await?.into()])
    }

    async fn detach(&self, uid: &str) -> anyhow::Result<()> {
        self.0.detach(uid).await.map_err(Into::into)
    }
}
