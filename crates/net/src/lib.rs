//! The pod network of one node and the service proxy.
//!
//! Knows links, addresses and nf_tables; does not know containers or who asks for an address.
//! - [`Pods`]: a bridge, a pair of interfaces for each pod, and the addresses they have.
//! - [`proxy`]: cluster addresses and node ports, as data in nf_tables maps.
//!
//! Invariant: every link and table is named for its cluster, so that several clusters fit one
//! machine and [`purge`] removes exactly one of them.

mod ipam;
mod links;
mod names;
pub mod nft;
mod pods;
pub mod proxy;

pub use pods::{Config, Error, Pods};

/// Removes the network of a cluster: its links and its table. What is not there is fine.
///
/// # Errors
/// When the kernel refuses to remove something that is there.
pub async fn purge(cluster_name: &str) -> Result<(), Error> {
    links::remove_bridge(&names::bridge(cluster_name)).await?;
    let table = names::table(cluster_name);
    tokio::task::spawn_blocking(move || nft::delete_table(&table))
        .await
        .map_err(|_| Error::Interrupted)?
        .map_err(Error::Rules)
}
