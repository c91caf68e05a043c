//! The loop every controller shares: take a key, act, say when to look again.

use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::Queue;

/// When to look at the item again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    Done,
    /// After this long, even if nothing changes.
    After(Duration),
}

/// Starts `workers` children called `name` that act on the items of `queue` until the service
/// stops. An error is logged with its item, and the item is tried again with growing waits.
pub fn work<T, F, R>(queue: &Queue<T>, workers: usize, context: &tasks::Context, name: &'static str, act: F)
where
    T: Hash + Eq + Clone + Display + Send + Sync + 'static,
    F: Fn(T) -> R + Send + Sync + 'static,
    R: Future<Output = anyhow::Result<Next>> + Send,
{
    let act = Arc::new(act);
    for _ in 0..workers.max(1) {
        let (queue, act, stop) = (queue.clone(), Arc::clone(&act), context.stop.clone());
        context.children.try_spawn(name, async move {
            loop {
                let item = tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(()),
                    item = queue.next() => item,
                };
                match act(item.clone()).await {
                    Ok(next) => {
                        queue.forget(&item);
                        if let Next::After(delay) = next {
                            queue.add_after(item.clone(), delay);
                        }
                    }
                    Err(error) => {
                        if is_conflict(&error) {
                            tracing::debug!(worker = name, %item, "{error:#}; trying again");
                        } else {
                            tracing::warn!(worker = name, %item, "{error:#}; trying again");
                        }
                        queue.retry(item.clone());
                    }
                }
                queue.done(&item);
            }
        });
    }
}

/// A write that lost a race: normal, the next look sees what won.
fn is_conflict(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 409)
}
