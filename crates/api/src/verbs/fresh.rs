//! A read at a revision that is not there yet waits for it, for as long as a cache of upstream's would lag behind its
//! storage.

use std::time::Duration;

use kinds::Kind;

use crate::{core::Core, error::ApiError};

/// Upstream's `blockTimeout` of the watch cache.
const PATIENCE: Duration = Duration::from_secs(3);
/// When to ask again after that.
const RETRY_AFTER: u32 = 1;

/// Waits until the store shows `asked`; fails with upstream's words if it does not come.
pub(crate) async fn reach(core: &Core, kind: &Kind, asked: u64) -> Result<(), ApiError> {
    let mut progress = core.store.progress();
    if core.store.revision() >= asked {
        return Ok(());
    }
    // events come from storage without a cache in between, so there is nothing to wait for
    if is_uncached(kind) {
        return Err(ApiError::too_large_resource_version(asked, core.store.revision()));
    }
    let there = async { progress.wait_for(|newest| *newest >= asked).await.is_ok() };
    match tokio::time::timeout(PATIENCE, there).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(ApiError::unavailable("the server is stopping")),
        Err(_) => {
            let error = ApiError::too_large_resource_version(asked, core.store.revision());
            Err(error.with_retry_after(RETRY_AFTER))
        }
    }
}

fn is_uncached(kind: &Kind) -> bool {
    kind.is("", "Event") || kind.is("events.k8s.io", "Event")
}
