//! Shared read caches of Kubernetes objects, and the work queues they feed.
//!
//! Knows the watch protocol (requests and types are those of `kube`), not any controller. Invariants:
//! - one watch per kind per [`Informers`], shared by everyone who asks for that kind;
//! - a change reaches the cache before any handler hears of it, and handlers hear changes in order;
//! - a wake-up carries a key, never the change: what a worker acts on is read from the cache;
//! - a [`Queue`] never hands the same item to two workers at once.

mod cache;
mod follow;
mod informers;
mod part;
mod queue;
mod work;

pub use cache::{Change, Informer};
pub use follow::{Follow, Form};
pub use informers::{Informers, Object};
pub use part::{Kept, Part, identity};
pub use queue::Queue;
pub use work::{Next, work};
