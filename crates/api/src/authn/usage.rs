//! On which day the tokens in Secrets were last used: a label of the Secret, from which a cleaner tells what nobody needs.
//!
//! Invariant: a request never waits for the label, and a Secret is written once a day at most, however often its token is
//! used. A use that is not written, because somebody else changed the Secret just then, is noted by the next request.
//! Upstream: `pkg/serviceaccount/legacy.go`, `patchSecretWithLastUsedDate`.

use std::collections::BTreeSet;

use base::time::Timestamp;
use jiff::{ToSpan as _, tz::TimeZone};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::core::Core;

const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// Where it says since when use is followed.
pub(crate) const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";

/// The Secrets whose tokens were used and do not say so yet, by namespace and name.
#[derive(Default)]
pub(crate) struct Usage {
    used: Mutex<BTreeSet<(String, String)>>,
    wake: Notify,
}

/// A day of UTC, some days after `now`.
pub(crate) fn day(now: Timestamp, later: i32) -> String {
    let day = now.to_zoned(TimeZone::UTC).date();
    day.checked_add(i64::from(later).days()).unwrap_or(day).to_string()
}

impl Usage {
    /// Notes that the token of a Secret was used.
    pub(super) fn note(&self, namespace: &str, name: &str, secret: &Value, now: i64) {
        let Ok(now) = Timestamp::from_second(now) else { return };
        let said = secret["metadata"]["labels"][LAST_USED].as_str().unwrap_or_default();
        // servers before us in time may have written tomorrow
        if said != day(now, 0) && said != day(now, 1) {
            self.used.lock().insert((namespace.to_owned(), name.to_owned()));
            self.wake.notify_one();
        }
    }

    async fn next(&self) -> BTreeSet<(String, String)> {
        loop {
            let used = std::mem::take(&mut *self.used.lock());
            if !used.is_empty() {
                return used;
            }
            self.wake.notified().await;
        }
    }
}

/// Writes what is noted, for ever.
pub(crate) async fn follow(core: std::sync::Arc<Core>) {
    let Some(kind) = core.kind("", "secrets") else { return };
    loop {
        for (namespace, name) in core.access.accounts.usage.next().await {
            let Some(secret) = core.get(kind, &namespace, &name) else { continue };
            let mut secret = Value::clone(&secret);
            secret["metadata"]["labels"][LAST_USED] = json!(day(base::time::now(), 0));
            if let Err(error) = core.replace(kind, secret).await
                && !error.is("Conflict")
                && !error.is("NotFound")
            {
                tracing::warn!(%error, namespace, name, "cannot label a token with the day it was last used");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_noted_once_a_day() {
        let now = Timestamp::UNIX_EPOCH.as_second() + 100;
        for (said, noted) in [
            (Value::Null, true),
            (json!("1969-12-31"), true),
            (json!("1970-01-01"), false),
            (json!("1970-01-02"), false),
            (json!("1970-01-03"), true),
        ] {
            let usage = Usage::default();
            usage.note("ns", "t", &json!({"metadata": {"labels": {LAST_USED: said}}}), now);
            assert_eq!(usage.used.lock().len(), usize::from(noted), "{said}");
        }
    }
}
